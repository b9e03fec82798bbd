//! Backup and export, and how far something has come.

use std::collections::BTreeMap;

use super::*;
use crate::domain::link::Link;
use crate::domain::subscription::{Resource, Subscription};
use crate::domain::user::ScimId;
use crate::outbound::{HeaderValue, Streamed, header};

impl Admin {
    async fn stream(&self, method: Method, path: &str, body: Option<Value>) -> Streamed {
        let url = self.api.base().join(&format!("/api/v1/{path}")).unwrap();
        let mut request = Request::new(method, url);
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/x-ndjson"));
        if let Some(body) = body {
            request = request.body("application/json", body.to_string());
        }
        self.api.stream(request).await.unwrap()
    }
}

/// Everything that comes, line by line.
async fn lines(mut answer: Streamed) -> Vec<Value> {
    let mut text = Vec::new();
    while let Some(piece) = answer.piece().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_backup_is_the_whole_file_and_says_its_length() {
    let admin = Admin::new();
    admin.mark(0..2000).await;
    let mut answer = admin.stream(Method::POST, "backup", Some(json!({}))).await;
    assert_eq!(answer.status.as_u16(), 200);
    let n_bytes: usize = answer.headers["content-length"].to_str().unwrap().parse().unwrap();
    // As long as one is on its way, no other is begun.
    assert_eq!(admin.post("backup", json!({})).await.1["error"]["code"], "under_way");
    let (mut bytes, mut n_pieces) = (Vec::new(), 0);
    while let Some(piece) = answer.piece().await.unwrap() {
        assert!(piece.len() <= 256 << 10, "memory is bounded");
        bytes.extend_from_slice(&piece);
        n_pieces += 1;
    }
    drop(answer);
    assert_eq!(bytes.len(), n_bytes);
    assert!(n_pieces > 1, "{n_bytes} bytes in one piece show nothing");
    let file = admin._directory.path().join("backup.redb");
    std::fs::write(&file, bytes).unwrap();
    let found = crate::store::inspect(&file).unwrap();
    assert_eq!((found.jobs, found.taken_at), (2000, Some(admin.now)));
    admin.stream(Method::POST, "backup", Some(json!({}))).await;
    assert_eq!(admin.post("backup", json!({ "path": "/etc/passwd" })).await.0, 400, "it goes nowhere else");
}

#[tokio::test]
async fn an_export_has_a_line_for_everything_and_no_secret() {
    let admin = Admin::new();
    admin.mark(1..1203).await;
    let link = Link {
        scim_id: ScimId("11f1".to_owned()),
        baseline: BTreeMap::new(),
        confirmed_at: admin.now,
        source_fingerprint: None,
        deactivated_by_us: false,
        source_gone: false,
        purged: false,
        returned_at: None,
        normalised: BTreeMap::new(),
    };
    admin.store.adopt(vec![(user(1), link)]).await.unwrap();
    let subscription = Subscription {
        id: "7f1".to_owned(),
        resource: Resource::Users,
        notification_url: "https://sync.example.com/notifications".to_owned(),
        expires_at: admin.now,
        renewed_at: admin.now,
        signed_by: None,
    };
    admin.store.put_subscription(&subscription).await.unwrap();
    admin.order_of(1).await;
    let all = lines(admin.stream(Method::GET, "export", None).await).await;
    assert_eq!(all[0]["kind"], "export");
    assert_eq!((&all[0]["schema"], &all[0]["at"]), (&json!(1), &json!(admin.now)));
    let n = |kind: &str| all.iter().filter(|line| line["kind"] == kind).count();
    let counts = ["link", "job", "case", "subscription", "write", "remark", "end"].map(n);
    assert_eq!(counts, [1, 1202, 1, 1, 1, 1, 1]);
    assert_eq!(all.last().unwrap()["lines"], all.len() - 1);
    let line = |kind: &str| all.iter().find(|line| line["kind"] == kind).unwrap();
    assert_eq!((&line("link")["user"], &line("link")["scim_id"]), (&json!(user(1)), &json!("11f1")));
    assert_eq!(line("case")["work"]["batch"], "b");
    assert_eq!(
        (&line("write")["number"], &line("write")["result"]["result"]),
        (&json!(2), &json!("pending"))
    );
    assert_eq!(line("remark")["remark"]["code"], "apply");
    assert!(all.iter().all(|line| !line.to_string().to_lowercase().contains("clientstate")));
}

#[tokio::test]
async fn an_export_of_nothing_is_whole_too() {
    let all = lines(Admin::new().stream(Method::GET, "export", None).await).await;
    assert_eq!(all.iter().map(|line| line["kind"].as_str().unwrap()).collect::<Vec<_>>(), ["export", "end"]);
}

#[tokio::test(start_paused = true)]
async fn who_wants_lines_hears_how_far_it_has_come() {
    let mut admin = Admin::new();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    admin.will_answer(|operation| {
        let Operation::Plan { progress, reply, .. } = operation else { panic!("{operation:?}") };
        progress.begin("looking at users", Some(4));
        progress.add(3);
        tokio::spawn(async move {
            ended.await.unwrap();
            reply.send(Ok(json!({ "plans": [] }))).unwrap();
        });
    });
    let mut answer = admin.stream(Method::POST, "plan", Some(json!({ "all": true }))).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let expected = "{\"progress\":{\"doing\":\"looking at users\",\"done\":3,\"of\":4}}\n";
    while answer.piece().await.unwrap().unwrap() != expected.as_bytes() {}
    end.send(()).unwrap();
    let last = lines(answer).await.pop().unwrap();
    assert_eq!(last, json!({ "answer": { "plans": [] } }));
}

#[tokio::test]
async fn an_error_comes_as_the_last_line() {
    let mut admin = Admin::new();
    admin.will_answer(|operation| {
        let Operation::Adopt { reply, .. } = operation else { panic!("{operation:?}") };
        reply.send(Err(OperationError::new(409, "under_way", "another adoption runs"))).unwrap();
    });
    let answer = admin.stream(Method::POST, "adopt", Some(json!({}))).await;
    let last = lines(answer).await.pop().unwrap();
    let error = json!({ "code": "under_way", "message": "another adoption runs" });
    assert_eq!(last, json!({ "error": error, "status": 409 }));
    // What is wrong with the request itself is said at once.
    let answer = admin.stream(Method::POST, "plan", Some(json!({}))).await;
    assert_eq!(answer.status.as_u16(), 400);
}

impl Admin {
    /// An order for this user, and a write of it that is under way.
    async fn order_of(&self, n: u128) {
        use crate::domain::case::{Task, Work};
        use crate::domain::guard::Budgets;
        use crate::domain::queue::{Intent, Operation as Does, Reason};
        let task = Task::Apply { plan: "p".to_owned() };
        let (batch, by) = ("b".to_owned(), "ana".to_owned());
        let work = Work { batch, by, at: self.now, expires_at: self.now, task };
        self.store.order(vec![(user(n), work)], self.now).await.unwrap();
        let intent = Intent {
            at: self.now,
            user: user(n),
            scim_id: None,
            operation: Does::Patch,
            changes: vec![],
            why: Default::default(),
            reason: Reason::Operator,
            evidence: None,
            plan: "p".to_owned(),
            desired: "d".to_owned(),
            batch: Some("b".to_owned()),
            approved_by: None,
            spend: Default::default(),
        };
        self.store.begin_write(intent, Budgets::default(), Duration::from_secs(60)).await.unwrap();
    }
}
