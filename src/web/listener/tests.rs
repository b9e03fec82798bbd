//! Most of these run on connections made of memory and on paused time, so the real limits are
//! tested to the millisecond and nothing waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use super::*;

/// Connections made of memory. An error handed over is what `accept` fails with.
struct Pipes(tokio::sync::Mutex<mpsc::UnboundedReceiver<io::Result<DuplexStream>>>);

impl Endpoint for Pipes {
    type Socket = DuplexStream;

    async fn accept(&self) -> io::Result<DuplexStream> {
        match self.0.lock().await.recv().await {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }
}

impl Socket for DuplexStream {
    type Stream = Self;

    async fn greet(self) -> io::Result<Self> {
        Ok(self)
    }

    fn refuse(self) {}
}

struct Server {
    knock: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(router: Router, limits: Limits) -> Self {
        let (knock, heard) = mpsc::unbounded_channel();
        let (endpoint, shutdown) = (Pipes(heard.into()), Shutdown::new());
        let (tasks, _) = Tasks::new(shutdown.clone());
        let running = tokio::spawn(serve("test", endpoint, router, limits, shutdown.clone(), tasks));
        Self { knock, shutdown, running }
    }

    fn connect(&self) -> DuplexStream {
        self.connect_with(1 << 20)
    }

    fn connect_with(&self, buffer_bytes: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(buffer_bytes);
        self.knock.send(Ok(theirs)).unwrap();
        ours
    }
}

#[derive(Default)]
struct Gate {
    reached: Notify,
    go: Notify,
}

/// `GET /` and `POST /` answer; `/wait` when told to.
fn router() -> (Router, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let wait = {
        let gate = gate.clone();
        move || async move {
            gate.reached.notify_one();
            gate.go.notified().await;
            "done"
        }
    };
    let echo = async |request: Request| match axum::body::to_bytes(request.into_body(), 1 << 20).await {
        Ok(body) => (StatusCode::OK, body),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, Bytes::new()),
    };
    let router = Router::new()
        .route("/", get(async || "hello").post(echo))
        .route("/wait", get(wait))
        .route("/large", get(async || Body::from(vec![b'x'; 4 << 20])))
        .route("/panic", post(async || -> &'static str { panic!("a handler breaks") }));
    (router, gate)
}

fn server() -> Server {
    Server::start(router().0, Limits::public())
}

const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

async fn send(client: &mut DuplexStream, request: &str) -> Answer {
    client.write_all(request.as_bytes()).await.unwrap();
    Answer::read(client).await.expect("an answer")
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.ok()?;
        Some(Self { status, head, body })
    }

    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

/// Reads to the end, and says how long that took.
async fn closed(client: &mut (impl AsyncReadExt + Unpin)) -> (Duration, Vec<u8>) {
    let (started, mut rest) = (Instant::now(), Vec::new());
    // A reset ends the connection as well as an orderly end does.
    client.read_to_end(&mut rest).await.ok();
    (started.elapsed(), rest)
}

fn about(found: Duration, expected: Duration) {
    let late = found.saturating_sub(expected);
    assert!(found >= expected && late < Duration::from_millis(5), "{found:?}, not {expected:?}");
}

/// Sends `byte` every second until the connection is closed; how long that took.
async fn dribble(client: DuplexStream, byte: &'static [u8]) -> (Duration, Vec<u8>) {
    let (mut read, mut write) = tokio::io::split(client);
    let dribbling = tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(1)).await;
            if write.write_all(byte).await.is_err() {
                return;
            }
        }
    });
    let ended = closed(&mut read).await;
    dribbling.abort();
    ended
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_closed() {
    let mut client = server().connect();
    about(closed(&mut client).await.0, Limits::public().head);
}

#[tokio::test(start_paused = true)]
async fn a_dribbled_head_is_timed_as_a_whole() {
    let mut client = server().connect();
    client.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    about(dribble(client, b"x").await.0, Limits::public().head);
}

#[tokio::test(start_paused = true)]
async fn empty_lines_before_a_request_gain_nothing() {
    let client = server().connect();
    about(dribble(client, b"\r\n").await.0, Limits::public().head);
}

#[tokio::test(start_paused = true)]
async fn a_dribbled_body_is_timed_as_a_whole_and_told_so() {
    for head in ["content-length: 1000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n"] {
        let mut client = server().connect();
        client.write_all(format!("POST / HTTP/1.1\r\nhost: h\r\n{head}").as_bytes()).await.unwrap();
        let byte = if head.contains("chunked") { b"1\r\nx\r\n".as_slice() } else { b"x" };
        let (took, said) = dribble(client, byte).await;
        about(took, Limits::public().body);
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_later_than_a_silent_one() {
    let mut client = server().connect();
    assert_eq!(send(&mut client, GET).await.body, b"hello");
    about(closed(&mut client).await.0, Limits::public().idle);
}

#[tokio::test(start_paused = true)]
async fn a_later_head_is_timed_from_its_first_byte() {
    let mut client = server().connect();
    send(&mut client, GET).await;
    sleep(Duration::from_secs(12)).await;
    client.write_all(b"G").await.unwrap();
    about(closed(&mut client).await.0, Limits::public().head);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_closed() {
    let mut client = server().connect_with(1024);
    client.write_all(b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let started = Instant::now();
    // It stays, and takes nothing: only the other side can end this.
    while client.write_all(b"x").await.is_ok() {
        sleep(Duration::from_millis(1)).await;
    }
    about(started.elapsed(), Limits::public().write);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_time_is_not() {
    let mut client = server().connect_with(64 << 10);
    client.write_all(b"GET /large HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut taken, mut chunk) = (0, vec![0; 64 << 10]);
    loop {
        match client.read(&mut chunk).await.unwrap() {
            0 => break,
            n => taken += n,
        }
        sleep(Duration::from_secs(5)).await;
    }
    assert!(taken > 4 << 20, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_all_answered() {
    let mut client = server().connect();
    client.write_all(GET.repeat(3).as_bytes()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(Answer::read(&mut client).await.unwrap().body, b"hello");
    }
    about(closed(&mut client).await.0, Limits::public().idle);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_ends_with_an_answer() {
    let (mut client, started) = (server().connect(), Instant::now());
    while started.elapsed() < Limits::public().age {
        assert!(!send(&mut client, GET).await.closes());
        sleep(Duration::from_secs(10)).await;
    }
    assert!(send(&mut client, GET).await.closes());
    about(closed(&mut client).await.0, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_the_one_that_waited_longest_makes_place() {
    let limits = Limits { connections: 3, ..Limits::public() };
    let server = Server::start(router().0, limits);
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(server.connect());
        sleep(Duration::from_millis(10)).await;
    }
    // The oldest of all, but it has just been answered.
    assert_eq!(send(&mut silent[0], GET).await.status, 200);
    let mut newcomer = server.connect();
    assert_eq!(send(&mut newcomer, GET).await.body, b"hello");
    about(closed(&mut silent[1]).await.0, Duration::ZERO);
    assert_eq!(send(&mut silent[0], GET).await.status, 200);
    assert_eq!(send(&mut silent[2], GET).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_room_full_of_slow_clients_keeps_nobody_out() {
    let limits = Limits { connections: 50, ..Limits::public() };
    let server = Server::start(router().0, limits);
    let mut slow = Vec::new();
    for n in 0..1000 {
        let mut client = server.connect();
        match n % 3 {
            0 => {}
            1 => client.write_all(b"GET / HT").await.unwrap(),
            _ => client.write_all(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nx").await.unwrap(),
        }
        slow.push(client);
        if n % 10 == 0 {
            let mut genuine = server.connect();
            assert_eq!(send(&mut genuine, GET).await.body, b"hello", "{n}");
        }
    }
    let started = Instant::now();
    for client in &mut slow {
        closed(client).await;
    }
    assert!(started.elapsed() <= limits.body + Duration::from_millis(5), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_is_being_served_is_never_sent_away() {
    let (router, gate) = router();
    let server = Server::start(router, Limits { connections: 1, ..Limits::public() });
    let mut served = server.connect();
    served.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let mut newcomer = server.connect();
    about(closed(&mut newcomer).await.0, Duration::ZERO);
    gate.go.notify_one();
    assert_eq!(Answer::read(&mut served).await.unwrap().body, b"done");
    let mut newcomer = server.connect();
    assert_eq!(send(&mut newcomer, GET).await.status, 200);
}

#[tokio::test]
async fn a_full_room_is_told_to_the_newcomer() {
    let (router, gate) = router();
    let endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, shutdown) = (endpoint.local_address().unwrap(), Shutdown::new());
    let (tasks, _) = Tasks::new(shutdown.clone());
    let limits = Limits { connections: 1, ..Limits::public() };
    let running = tokio::spawn(serve("test", endpoint, router, limits, shutdown.clone(), tasks));
    let mut served = TcpStream::connect(address).await.unwrap();
    served.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    gate.reached.notified().await;
    let mut newcomer = TcpStream::connect(address).await.unwrap();
    assert_eq!(Answer::read(&mut newcomer).await.unwrap().status, 503);
    gate.go.notify_one();
    assert_eq!(Answer::read(&mut served).await.unwrap().status, 200);
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lack_of_descriptors_is_waited_out_and_costs_an_idler() {
    const EMFILE: i32 = 24;
    let server = server();
    let mut idler = server.connect();
    sleep(Duration::from_millis(1)).await;
    let started = Instant::now();
    for _ in 0..8 {
        server.knock.send(Err(io::Error::from_raw_os_error(EMFILE))).unwrap();
    }
    let mut client = server.connect();
    assert_eq!(send(&mut client, GET).await.status, 200);
    // 20, 40, 80, 160, 320, 640 ms, then a second each: less than the idler had left anyway.
    about(started.elapsed(), Duration::from_millis(1260 + 2 * 1000));
    about(closed(&mut idler).await.0, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_went_away_before_the_accept_costs_nothing() {
    let server = server();
    for _ in 0..1000 {
        server.knock.send(Err(io::ErrorKind::ConnectionAborted.into())).unwrap();
    }
    let (mut client, started) = (server.connect(), Instant::now());
    assert_eq!(send(&mut client, GET).await.status, 200);
    about(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_costs_its_client_a_503() {
    let server = server();
    let (mut one, mut other) = (server.connect(), server.connect());
    assert_eq!(send(&mut other, GET).await.status, 200);
    let answer = send(&mut one, "POST /panic HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
    assert!(answer.status == 503 && answer.closes(), "{answer:?}");
    assert_eq!(send(&mut other, GET).await.status, 200);
    assert!(!server.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_what_runs_is_finished_and_nothing_else() {
    let (router, gate) = router();
    let server = Server::start(router, Limits::public());
    let (mut idle, mut fresh, mut served) = (server.connect(), server.connect(), server.connect());
    send(&mut idle, GET).await;
    served.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(1)).await;
    server.shutdown.request();
    about(closed(&mut idle).await.0, Duration::ZERO);
    about(closed(&mut fresh).await.0, Duration::ZERO);
    assert!(server.knock.is_closed(), "it still listens");
    sleep(Duration::from_secs(20)).await;
    assert!(!server.running.is_finished());
    gate.go.notify_one();
    let answer = Answer::read(&mut served).await.unwrap();
    assert!(answer.body == b"done" && answer.closes(), "{answer:?}");
    server.running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_gets_one_of_a_few_answers() {
    let huge = "x".repeat(1 << 20);
    for (request, expected) in [
        ("\0\0\0\0\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost h\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nx: a\0b\r\n\r\n".to_owned(), 400),
        (format!("GET /{huge} HTTP/1.1\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nx: {huge}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)), 431),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(), 400),
        ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(), 400),
    ] {
        let mut client = server().connect();
        // The server may hang up before it has seen everything.
        client.write_all(request.as_bytes()).await.ok();
        let answer = Answer::read(&mut client).await.expect("an answer");
        assert_eq!(answer.status, expected, "{:?}", &request[..request.len().min(60)]);
    }
}

/// Bytes that look like requests, more or less.
fn noise() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let words = prop::sample::select(vec![
        "GET ",
        "POST ",
        "/",
        "*",
        "HTTP/1.1",
        "HTTP/1.0",
        "\r\n",
        "\n",
        ":",
        "host: h\r\n",
        "content-length: ",
        "transfer-encoding: chunked\r\n",
        "expect: 100-continue\r\n",
        "connection: upgrade\r\n",
        "0",
        "9",
        "ffff",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\n\r\n",
        "?",
        "%00",
        "=",
        ",",
    ]);
    let piece = prop_oneof![
        4 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

#[tokio::test(start_paused = true)]
async fn whatever_bytes_arrive_the_answer_is_one_of_a_few_and_the_connection_ends() {
    use proptest::strategy::{Strategy, ValueTree};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let server = server();
    for _ in 0..2000 {
        let sent = noise().new_tree(&mut runner).unwrap().current();
        let mut client = server.connect();
        client.write_all(&sent).await.ok();
        let shown = String::from_utf8_lossy(&sent);
        let (took, said) = closed(&mut client).await;
        assert!(took <= Limits::public().body + Limits::public().idle, "{took:?} for {shown:?}");
        let said = String::from_utf8_lossy(&said);
        for line in said.lines().filter(|line| line.starts_with("HTTP/1.")) {
            let status: u16 = line[9..12].parse().unwrap();
            assert!([100, 200, 400, 404, 405, 408, 414, 431].contains(&status), "{line} for {shown:?}");
        }
    }
    assert!(!server.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn two_lengths_of_one_body_end_the_connection() {
    let mut client = server().connect();
    let smuggled = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    client.write_all(smuggled.as_bytes()).await.unwrap();
    let (_, said) = closed(&mut client).await;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
}

#[tokio::test]
async fn a_socket_file_serves_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let endpoint = UnixEndpoint::bind(&path).await.unwrap();
    let shutdown = Shutdown::new();
    let (tasks, _) = Tasks::new(shutdown.clone());
    let limits = Limits::private();
    let running = tokio::spawn(serve("test", endpoint, router().0, limits, shutdown.clone(), tasks));
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut client).await.unwrap().body, b"hello");
    shutdown.request();
    running.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn hundreds_of_idle_sockets_keep_no_genuine_client_out() {
    let endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, shutdown) = (endpoint.local_address().unwrap(), Shutdown::new());
    let (tasks, _) = Tasks::new(shutdown.clone());
    let limits = Limits { connections: 32, head: Duration::from_millis(300), ..Limits::public() };
    let running = tokio::spawn(serve("test", endpoint, router().0, limits, shutdown.clone(), tasks));
    let answered = AtomicUsize::new(0);
    let mut idle = VecDeque::new();
    for n in 0..200 {
        idle.push_back(TcpStream::connect(address).await.unwrap());
        if n % 20 == 0 {
            let mut genuine = TcpStream::connect(address).await.unwrap();
            genuine.write_all(GET.as_bytes()).await.unwrap();
            assert_eq!(Answer::read(&mut genuine).await.unwrap().status, 200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert_eq!(answered.into_inner(), 10);
    for mut client in idle {
        closed(&mut client).await;
    }
    shutdown.request();
    running.await.unwrap();
}

mod tls {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    struct Made {
        certificate: CertificateDer<'static>,
        pem: String,
        key: String,
    }

    fn make() -> Made {
        let key = KeyPair::generate().unwrap();
        let made =
            CertificateParams::new(vec!["sync.example.com".to_owned()]).unwrap().self_signed(&key).unwrap();
        Made { certificate: made.der().clone(), pem: made.pem(), key: key.serialize_pem() }
    }

    struct Secure {
        address: std::net::SocketAddr,
        files: TlsFiles,
        shutdown: Shutdown,
        running: tokio::task::JoinHandle<()>,
        _directory: tempfile::TempDir,
    }

    impl Secure {
        async fn start(made: &Made, limits: Limits) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let files =
                TlsFiles { certificate: directory.path().join("c.pem"), key: directory.path().join("k.pem") };
            write(&files, &made.pem, &made.key);
            let any = "127.0.0.1:0".parse().unwrap();
            let endpoint = TlsEndpoint::looking_every(Duration::ZERO, any, files.clone()).await.unwrap();
            let (address, shutdown) = (endpoint.local_address().unwrap(), Shutdown::new());
            let (tasks, _) = Tasks::new(shutdown.clone());
            let running = tokio::spawn(serve("test", endpoint, router().0, limits, shutdown.clone(), tasks));
            Self { address, files, shutdown, running, _directory: directory }
        }

        /// One request by a client that trusts only `made`.
        async fn ask(
            &self,
            made: &Made,
            version: &'static rustls::SupportedProtocolVersion,
        ) -> io::Result<Option<Answer>> {
            let mut roots = RootCertStore::empty();
            roots.add(made.certificate.clone()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = ServerName::try_from("sync.example.com").unwrap();
            let socket = TcpStream::connect(self.address).await?;
            let mut client = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
            client.write_all(GET.as_bytes()).await?;
            Ok(Answer::read(&mut client).await)
        }

        async fn trusts(&self, made: &Made) -> bool {
            matches!(self.ask(made, &rustls::version::TLS13).await, Ok(Some(answer)) if answer.status == 200)
        }

        async fn stop(self) {
            self.shutdown.request();
            self.running.await.unwrap();
        }
    }

    fn write(files: &TlsFiles, certificate: &str, key: &str) {
        let put = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        put(&files.certificate, certificate);
        put(&files.key, key);
    }

    #[tokio::test]
    async fn both_versions_are_spoken() {
        let made = make();
        let server = Secure::start(&made, Limits::public()).await;
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let answer = server.ask(&made, version).await.unwrap().unwrap();
            assert_eq!(answer.body, b"hello", "{version:?}");
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
        let (first, second) = (make(), make());
        let server = Secure::start(&first, Limits::public()).await;
        assert!(server.trusts(&first).await);
        assert!(!server.trusts(&second).await);
        // Half replaced, as it is for a moment when somebody copies two files; then broken; then gone.
        for (certificate, key) in
            [(&second.pem, &first.key), (&first.pem, &"x".to_owned()), (&String::new(), &first.key)]
        {
            write(&server.files, certificate, key);
            assert!(server.trusts(&first).await);
        }
        std::fs::remove_file(&server.files.key).unwrap();
        assert!(server.trusts(&first).await);
        write(&server.files, &second.pem, &second.key);
        assert!(server.trusts(&second).await);
        assert!(!server.trusts(&first).await);
        server.stop().await;
    }

    #[tokio::test]
    async fn without_usable_files_there_is_no_listening() {
        let (made, other) = (make(), make());
        let directory = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: directory.path().join("c"), key: directory.path().join("k") };
        let any = "127.0.0.1:0".parse().unwrap();
        let check = async |expected: &str| {
            let error = TlsEndpoint::bind(any, files.clone()).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("cannot read").await;
        write(&files, "nothing", &made.key);
        check("holds no certificate").await;
        write(&files, &made.pem, "nothing");
        check("does not hold what it should").await;
        write(&files, &made.pem, &other.key);
        check("cannot be used together").await;
        write(&files, &made.pem, &made.key);
        assert!(TlsEndpoint::bind(any, files.clone()).await.is_ok());
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_come_is_not_waited_for() {
        let limits = Limits { head: Duration::from_millis(200), ..Limits::public() };
        let made = make();
        let server = Secure::start(&made, limits).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        let mut plain = TcpStream::connect(server.address).await.unwrap();
        plain.write_all(GET.as_bytes()).await.unwrap();
        closed(&mut silent).await;
        let (_, said) = closed(&mut plain).await;
        assert!(!said.starts_with(b"HTTP/"), "{said:?}");
        server.stop().await;
    }
}
