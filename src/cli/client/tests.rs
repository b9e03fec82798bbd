use std::sync::{Arc, Mutex};

use expect_test::expect;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::testing::{client, json as answer, text};
use super::*;

fn clock() -> Clock {
    Clock::manual(jiff::Timestamp::UNIX_EPOCH)
}

#[tokio::test]
async fn a_request_has_its_path_query_body_and_token() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let transport = Transport::in_process({
        let seen = seen.clone();
        move |request: Request| {
            let auth = request.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            seen.lock().unwrap().push(format!("{} {} {auth:?} {body}", request.method, request.url));
            async { Ok(text(200, "")) }
        }
    });
    let client =
        Client::new(transport, root_of("0.0.0.0:8081".parse().unwrap()), Some("secret".into()), clock());
    client
        .get(&["queue", "ana#EXT#@example.com"], &[("since", "2026-11-23T10:00:00Z".to_owned())])
        .await
        .unwrap();
    client.post(&["sync"], json!({"all": true})).await.unwrap();
    client.delete(&["subscriptions", "a"]).await.unwrap();
    expect![[r#"
        GET http://127.0.0.1:8081/api/v1/queue/ana%23EXT%23@example.com?since=2026-11-23T10%3A00%3A00Z Some("Bearer secret") 
        POST http://127.0.0.1:8081/api/v1/sync Some("Bearer secret") {"all":true}
        DELETE http://127.0.0.1:8081/api/v1/subscriptions/a Some("Bearer secret") "#]]
    .assert_eq(&seen.lock().unwrap().join("\n"));
}

#[tokio::test]
async fn an_error_of_the_service_keeps_its_code_and_words() {
    let refused = json!({"error": {"code": "held", "message": "over the budget"}});
    let error = client(move |_| answer(409, refused.clone())).get(&["x"], &[]).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code, .. } if code == "held"));
    assert_eq!(error.to_string(), "over the budget");
    for nonsense in ["", "<html>", "{}", r#"{"error":"no"}"#] {
        let error = client(move |_| text(502, nonsense)).get(&["x"], &[]).await.unwrap_err();
        assert!(matches!(error, ClientError::Malformed(_)), "{nonsense}");
    }
    let error = client(|_| text(200, "<html>")).get(&["x"], &[]).await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed(_)), "a page is no answer");
}

/// A directory with what a service leaves there; the port is one that nobody listens on.
struct Host {
    directory: tempfile::TempDir,
    place: Place,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let place = Place {
            socket: Some(directory.path().join("sync.sock")),
            listen: free,
            token: None,
            token_file: directory.path().join("admin-token"),
        };
        Self { directory, place }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("sync.sock")
    }

    async fn listen(&mut self, status: &'static str) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.place.listen = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, status).await;
            }
        });
    }

    fn listen_on_socket(&self, status: &'static str) {
        let listener = tokio::net::UnixListener::bind(self.socket()).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, status).await;
            }
        });
    }
}

/// Answers every request the same, with the token it came with.
async fn serve(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, status: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("none");
    let body = format!("{token:?}");
    let answer =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.ok();
}

async fn no_offline() -> anyhow::Result<Transport> {
    panic!("a service runs")
}

/// By which way, and with which token, the service is asked.
async fn found(place: &Place) -> (Via, Value) {
    let connection = connect(place, &clock(), no_offline).await.unwrap();
    (connection.via, connection.client.get(&["queue"], &[]).await.unwrap())
}

#[tokio::test]
async fn the_socket_comes_first_and_needs_no_token() {
    let mut host = Host::new();
    host.listen("200 OK").await;
    host.listen_on_socket("200 OK");
    std::fs::write(&host.place.token_file, "tok\n").unwrap();
    assert_eq!(found(&host.place).await, (Via::Socket, json!("none")));
}

#[tokio::test]
async fn then_the_listener_with_the_token_of_the_configuration_or_the_file() {
    let mut host = Host::new();
    host.listen("200 OK").await;
    // What a crash left behind.
    drop(std::os::unix::net::UnixListener::bind(host.socket()).unwrap());
    std::fs::write(&host.place.token_file, "tok\n").unwrap();
    assert_eq!(found(&host.place).await, (Via::Listener, json!("bearer tok")));
    host.place.token = Some("other".into());
    host.place.socket = None;
    assert_eq!(found(&host.place).await, (Via::Listener, json!("bearer other")));
}

#[tokio::test]
async fn a_service_whose_token_cannot_be_read_is_not_taken_for_none() {
    let mut host = Host::new();
    host.listen("200 OK").await;
    for content in [None, Some(""), Some("two words")] {
        if let Some(content) = content {
            std::fs::write(&host.place.token_file, content).unwrap();
        }
        let error = connect(&host.place, &clock(), no_offline).await.unwrap_err();
        assert!(matches!(error, ConnectError::Token { .. }), "{content:?}: {error}");
    }
    // Health needs none.
    assert_eq!(knock(&host.place, &clock()).await.unwrap().unwrap().via, Via::Listener);
}

#[tokio::test]
async fn without_a_service_the_store_itself_answers() {
    let mut host = Host::new();
    // Somebody else's server is no service.
    host.listen("404 Not Found").await;
    let offline = async || Ok(Transport::in_process(|_| async { Ok(text(200, "\"in process\"")) }));
    let connection = connect(&host.place, &clock(), offline).await.unwrap();
    assert_eq!(connection.via, Via::Offline);
    assert_eq!(connection.client.get(&["queue"], &[]).await.unwrap(), json!("in process"));
}

#[tokio::test]
async fn a_store_in_use_by_a_silent_service_is_said_plainly() {
    let mut host = Host::new();
    host.place.socket = Some("/run/sync.sock".into());
    host.place.listen = "127.0.0.1:1".parse().unwrap();
    let locked = async || Err(anyhow::anyhow!("locked").context(StoreInUse).context("cannot open"));
    let error = connect(&host.place, &clock(), locked).await.unwrap_err();
    expect!["the store is in use, so a service seems to run, but it does not answer on /run/sync.sock or on 127.0.0.1:1"].assert_eq(&error.to_string());
    let damaged = async || Err(anyhow::anyhow!("the store is damaged"));
    let error = connect(&host.place, &clock(), damaged).await.unwrap_err();
    assert!(matches!(error, ConnectError::Offline(_)), "{error}");
}

/// What is told, and how it ends, of an answer in these lines.
async fn told(lines: &'static str) -> (Vec<u64>, Result<Value, ClientError>) {
    let client = client(move |request| {
        assert_eq!(request.headers["accept"], LINES);
        let mut answer = text(200, lines);
        answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
        answer
    });
    let mut heard = Vec::new();
    let answer = client.post_told(&["plan"], json!({}), |told| heard.push(told.done)).await;
    (heard, answer)
}

#[tokio::test]
async fn how_far_it_has_come_is_told_until_the_answer() {
    let line = |done: u64| format!("{{\"progress\":{{\"doing\":\"looking\",\"done\":{done},\"of\":9}}}}\n");
    let begin: &'static str = (line(0) + &line(7)).leak();
    let (heard, answer) = told(format!("{begin}{{\"answer\":[1]}}\n").leak()).await;
    assert_eq!((heard, answer.unwrap()), (vec![0, 7], json!([1])));
    let error = "{\"error\":{\"code\":\"credentials\",\"message\":\"expired\"},\"status\":502}\n";
    let (heard, answer) = told(format!("{begin}{error}").leak()).await;
    assert_eq!(heard, [0, 7]);
    let error = answer.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { code, status, .. } if code == "credentials" && *status == 502)
    );
    for broken in ["", "{\"answer\":[1]}", "<html>\n", "{}\n"] {
        let (_, answer) = told(format!("{begin}{broken}").leak()).await;
        assert!(matches!(answer, Err(ClientError::Malformed(_))), "{broken}");
    }
}

#[tokio::test]
async fn a_service_that_knows_no_lines_is_understood_too() {
    let client = client(|_| answer(200, json!({"plans": []})));
    let answer = client.post_told(&["plan"], json!({}), |_| panic!("nothing is told")).await.unwrap();
    assert_eq!(answer, json!({"plans": []}));
}

#[tokio::test]
async fn what_is_fetched_is_a_success_or_an_error() {
    let refused = json!({"error": {"code": "no_room", "message": "make room"}});
    let error = client(move |_| answer(507, refused.clone())).fetch(Method::POST, &["backup"], None).await;
    assert!(matches!(error, Err(ClientError::Refused { code, .. }) if code == "no_room"));
    let mut answer = client(|_| text(200, "bytes")).fetch(Method::GET, &["export"], None).await.unwrap();
    assert_eq!(answer.piece().await.unwrap().unwrap(), "bytes");
    assert_eq!(answer.piece().await.unwrap(), None);
}
