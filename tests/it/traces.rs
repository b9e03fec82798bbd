//! One trace from a notification to the write it causes, through the queue and a restart, as a
//! collector gets it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use cxone_sync::cli::demo::subscribe;
use cxone_sync::sim::{Fault, Faults, What, When};
use serde_json::json;

use super::process::{Process, log_of};
use super::stage::{Stage, until};

/// What was posted to the collector since the last look.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl Collector {
    /// On loopback; its address.
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        std::thread::spawn({
            let collector = collector.clone();
            move || listener.incoming().flatten().for_each(|connection| collector.take_from(connection))
        });
        (collector, address)
    }

    fn take_from(&self, mut connection: std::net::TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        let (mut line, mut n_bytes) = (String::new(), 0);
        let mut first = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            let lower = line.trim().to_ascii_lowercase();
            if first.is_empty() {
                first.clone_from(&lower);
            }
            if let Some(length) = lower.strip_prefix("content-length:") {
                n_bytes = length.trim().parse().unwrap();
            }
            line.clear();
        }
        assert!(first.starts_with("post /v1/traces "), "{first}");
        let mut body = vec![0; n_bytes];
        reader.read_exact(&mut body).unwrap();
        self.0.lock().unwrap().push(body);
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = std::mem::take(&mut *self.0.lock().unwrap());
        bodies.iter().flat_map(|body| spans_in(body)).collect()
    }
}

#[derive(Debug)]
struct Span {
    trace: String,
    name: String,
    /// As they came, to look for what must not be in them.
    bytes: Vec<u8>,
}

/// The fields of a protobuf message that hold bytes: number and content. Source: protobuf.dev, "Encoding".
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let n_bytes = match key & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (content, rest) = message.split_at(n_bytes);
        message = rest;
        if key & 7 == 2 {
            found.push((key >> 3, content));
        }
    }
    found
}

fn all(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |(of, _)| *of == number).map(|(_, content)| content)
}

/// `ExportTraceServiceRequest`: resource_spans 1, scope_spans 2, spans 2; of a span trace_id 1, name 5.
fn spans_in(request: &[u8]) -> Vec<Span> {
    let of_resources = all(request, 1).flat_map(|resource| all(resource, 2));
    let spans = of_resources.flat_map(|scope| all(scope, 2));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let span = |span: &[u8]| Span {
        trace: hex(all(span, 1).next().unwrap()),
        name: String::from_utf8(all(span, 5).next().unwrap().to_vec()).unwrap(),
        bytes: span.to_vec(),
    };
    spans.map(span).collect()
}

fn traces_of<'a>(spans: &'a [Span], name: &str) -> Vec<&'a str> {
    spans.iter().filter(|span| span.name == name).map(|span| span.trace.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_and_its_write_are_one_trace_even_with_a_restart_between_them() {
    let mut stage = Stage::new();
    let (collector, address) = Collector::start();
    stage.configuration += &format!("[telemetry]\notlp_endpoint = \"{address}\"\n");
    stage.configuration = stage.configuration.replace("poll_interval = \"3s\"", "poll_interval = \"6d\"");
    let service = Process::start(&stage, &[]).await;
    subscribe(stage.folder.path()).await.unwrap();
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.graph().deliveries_settled().await;
    assert_eq!(service.terminate(), Some(0), "{}", log_of(&stage));
    let spans = collector.spans();
    let (received, written) = (traces_of(&spans, "notification.receive"), traces_of(&spans, "cxone.request"));
    let both: Vec<_> = received.iter().filter(|trace| written.contains(trace)).collect();
    assert!(!both.is_empty(), "no trace has both: {received:?} {written:?}");
    for name in ["job.run", "store.commit"] {
        assert!(traces_of(&spans, name).contains(both[0]), "{name} is not in it");
    }
    assert!(!traces_of(&spans, "graph.request").is_empty());

    // What comes before the restart, and what after.
    let service = Process::start(&stage, &[]).await;
    let struck = stage.cxone().faults_struck();
    stage.cxone().add_fault(Fault::new("*", "/scim/v2/*", When::Always, What::Status(500, None)));
    stage.graph().update_user(&ana, json!({ "displayName": "Ana Silva" }));
    assert!(until(|| stage.cxone().faults_struck() > struck).await, "{}", log_of(&stage));
    assert_eq!(service.terminate(), Some(0));
    let before = collector.spans();
    stage.cxone().set_faults(Faults::default());
    let service = Process::start(&stage, &[]).await;
    stage.arrives(&ana).await;
    assert_eq!(service.terminate(), Some(0));
    let after = collector.spans();
    let (received, written) =
        (traces_of(&before, "notification.receive"), traces_of(&after, "cxone.request"));
    let both: Vec<_> = received.iter().filter(|trace| written.contains(trace)).collect();
    assert!(!both.is_empty(), "no trace has both: {received:?} {written:?}");
    let log = log_of(&stage);
    let is_told = both.iter().any(|trace| log.contains(&format!("\"trace_id\":\"{trace}\"")));
    assert!(is_told, "no line of the log is in {both:?}:\n{log}");

    for span in spans.iter().chain(&before).chain(&after) {
        let text = String::from_utf8_lossy(&span.bytes);
        for secret in ["example.com", "Martin", "Silva", "Bearer", "clientState"] {
            assert!(!text.contains(secret), "{} holds {secret}: {text}", span.name);
        }
    }
}
