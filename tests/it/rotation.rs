//! Credentials that are exchanged while people come and go: nothing is parked, and nothing is lost.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use cxone_sync::app::Running;
use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::Clock;
use serde_json::{Value, json};

use super::events::{Receiver, is_signed, told};
use super::stage::{Stage, stop, until, until_async};

const CLIENT_STATE: &str = "only-for-the-demo-and-never-elsewhere";
const ADMIN: &str = "an-admin-token-for-tests";

/// Secrets as Kubernetes mounts them: each a link into `..data`, which is a link that is exchanged.
struct Mount(PathBuf);

impl Mount {
    fn new(stage: &Stage) -> Self {
        let folder = stage.folder.path().join("secrets");
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Another version, with these contents; what is not named stays as it was.
    fn put(&self, contents: &[(&str, &str)]) {
        let version = self.0.join(format!("..{}", std::fs::read_dir(&self.0).unwrap().count()));
        std::fs::create_dir(&version).unwrap();
        if let Ok(before) = std::fs::read_dir(self.0.join("..data")) {
            for file in before.map(Result::unwrap) {
                std::fs::copy(file.path(), version.join(file.file_name())).unwrap();
            }
        }
        for (name, content) in contents {
            std::fs::write(version.join(name), content).unwrap();
            if !self.0.join(name).is_symlink() {
                symlink(PathBuf::from("..data").join(name), self.0.join(name)).unwrap();
            }
        }
        let next = self.0.join("..data_tmp");
        symlink(version.file_name().unwrap(), &next).unwrap();
        std::fs::rename(next, self.0.join("..data")).unwrap();
    }
}

/// A stage whose secrets are mounted.
fn mounted() -> (Stage, Mount) {
    let mut stage = Stage::new();
    let mount = Mount::new(&stage);
    let graph = stage.graph().options().client_secret.clone();
    let cxone = stage.cxone().options().client_secret.clone();
    mount.put(&[("graph", &graph), ("cxone", &cxone), ("state", CLIENT_STATE), ("admin", ADMIN)]);
    let file = |section: &str, key: &str, secret: &str, name: &str, text: &str| {
        let heading = format!("[{section}]\n");
        let at = text.find(&heading).unwrap();
        let line = format!("{key} = \"{secret}\"");
        let line_at = at + text[at..].find(&line).unwrap();
        let named = format!("{key}_file = \"{}\"", mount.path(name));
        format!("{}{named}{}", &text[..line_at], &text[line_at + line.len()..])
    };
    let text = file("graph", "client_secret", &graph, "graph", &stage.configuration);
    let text = file("cxone", "client_secret", &cxone, "cxone", &text);
    let text = file("service", "client_state_secret", CLIENT_STATE, "state", &text);
    let admin = format!("[service]\nadmin_token_file = \"{}\"\n", mount.path("admin"));
    stage.configuration = text.replace("[service]\n", &admin);
    (stage, mount)
}

/// Serves by a clock that only the test moves, with so rare a poll that notifications have to tell.
async fn serve(stage: &Stage) -> (Running, Clock) {
    let clock = Clock::manual(Clock::system().now());
    let flags = [("sync.poll_interval", "6d"), ("sync.recheck_after", "0s")];
    let running = stage.serve_by(clock.clone(), &flags).await;
    subscribe(stage.folder.path()).await.unwrap();
    (running, clock)
}

/// Moves the clock until it is so.
async fn meanwhile(clock: &Clock, mut so: impl FnMut() -> bool) -> bool {
    until(|| {
        clock.advance(Duration::from_millis(500));
        so()
    })
    .await
}

fn count(running: &Running, line: &str) -> u64 {
    let page = running.worker.metrics.encode();
    let found = page.lines().find_map(|it| it.strip_prefix(line)).map(|n| n.trim().parse().unwrap());
    found.unwrap_or_default()
}

async fn nobody_is_parked(running: &Running) {
    let depth = running.store.depth(running.worker.clock.now()).await.unwrap();
    assert_eq!((depth.parked, depth.held), (0, 0), "{depth:?}");
}

/// Everybody there is gets an account while the clock goes on.
async fn all_arrive(stage: &Stage, clock: &Clock) {
    let id = |user: &Value| user["id"].as_str().unwrap().to_owned();
    let users: Vec<String> = stage.graph().users().iter().map(id).collect();
    let agreed = meanwhile(clock, || stage.differences(&users).is_empty()).await;
    assert!(agreed, "still different: {:#?}", stage.differences(&users));
}

/// Somebody new who gets an account while the clock goes on.
async fn hire(stage: &Stage, clock: &Clock, name: &str) -> String {
    let user = stage.hire(name);
    all_arrive(stage, clock).await;
    user
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_for_graph_is_taken_from_its_file() {
    let (stage, mount) = mounted();
    let (running, clock) = serve(&stage).await;
    hire(&stage, &clock, "Ana").await;
    stage.graph().set_client_secret("another-secret");
    stage.hire("Ben");
    mount.put(&[("graph", "another-secret\n")]);
    let logins = || {
        stage
            .graph()
            .requests()
            .iter()
            .filter(|it| it.path.ends_with("/token") && it.status == Some(200))
            .count()
    };
    let before = logins();
    all_arrive(&stage, &clock).await;
    // It is proven before the old token ends.
    let mut n = 0;
    let proven = meanwhile(&clock, || {
        n += 1;
        if n % 100 == 1 {
            stage.hire(&format!("Agent{n}"));
        }
        logins() > before
    });
    assert!(proven.await);
    stage.graph().revoke_tokens();
    hire(&stage, &clock, "Cora").await;
    nobody_is_parked(&running).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_credentials_for_cxone_the_one_that_is_good_is_used_and_files_are_followed() {
    let (mut stage, mount) = mounted();
    mount.put(&[("next", "the-next-secret")]);
    stage.configuration = stage.configuration.replace(
        "[sync]\n",
        &format!("[cxone.next]\nclient_secret_file = \"{}\"\n[sync]\n", mount.path("next")),
    );
    let (running, clock) = serve(&stage).await;
    hire(&stage, &clock, "Ana").await;
    // The old one is taken away before anybody has changed a file.
    stage.cxone().set_client_secret("the-next-secret");
    stage.cxone().revoke_tokens();
    hire(&stage, &clock, "Ben").await;
    // And a third one is put in the place of the first.
    mount.put(&[("cxone", "the-third-secret")]);
    let cora = stage.hire("Cora");
    assert!(meanwhile(&clock, || stage.account(&cora).is_some()).await);
    stage.cxone().set_client_secret("the-third-secret");
    stage.cxone().revoke_tokens();
    hire(&stage, &clock, "Dora").await;
    nobody_is_parked(&running).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_signed_anew_and_what_is_still_on_its_way_verifies() {
    let (mut stage, mount) = mounted();
    let receiver = Receiver::start().await;
    told(&mut stage, &receiver, "");
    let (running, clock) = serve(&stage).await;
    let ana = hire(&stage, &clock, "Ana").await;
    let before = stage.graph().subscriptions();
    assert_eq!(before.len(), 2);
    mount.put(&[("state", "another-secret-of-more-than-24-bytes")]);
    // People come while it is exchanged.
    let mut users = Vec::new();
    let exchanged = meanwhile(&clock, || {
        if users.len() < 60 {
            users.push(stage.hire(&format!("Agent{}", users.len())));
        }
        let now = stage.graph().subscriptions();
        now.len() == 2
            && now
                .iter()
                .all(|it| before.iter().all(|old| old.id != it.id && old.client_state != it.client_state))
    });
    assert!(exchanged.await, "{:#?}", stage.graph().subscriptions());
    hire(&stage, &clock, "Zoe").await;
    let bad = || count(&running, "cxone_sync_notifications_total{result=\"bad_client_state\"}");
    let accepted = || count(&running, "cxone_sync_notifications_total{result=\"accepted\"}");

    // One from before the exchange, hours late.
    let old = before.iter().find(|it| it.resource.contains("users")).unwrap();
    let item = json!({
        "subscriptionId": old.id, "tenantId": stage.graph().options().tenant_id, "changeType": "updated",
        "clientState": old.client_state, "resource": format!("Users/{ana}"),
        "resourceData": { "id": ana, "@odata.type": "#Microsoft.Graph.User" },
    });
    let n = accepted();
    stage.graph().send_raw_item(&old.notification_url, item.clone());
    assert!(until(|| accepted() > n).await);
    assert_eq!(bad(), 0);
    nobody_is_parked(&running).await;
    assert_eq!(receiver.got().len(), 0, "nothing was lost: {:#?}", receiver.got());

    // After that it is worth nothing any more.
    clock.advance(Duration::from_secs(3600));
    let kept = async || {
        running.store.chores().await.unwrap().iter().all(|it| !it.running && it.due_at > clock.now())
    };
    assert!(until_async(kept).await);
    clock.advance(Duration::from_secs(4 * 3600));
    assert!(until_async(kept).await);
    stage.graph().send_raw_item(&old.notification_url, item);
    assert!(until(|| bad() == 1).await);
    stop(running).await;
}

/// The status of `/status` over TCP, with this token.
fn enter(running: &Running, token: &str) -> u16 {
    let mut connection = TcpStream::connect(running.private_address).unwrap();
    let request = format!(
        "GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_token_and_the_secret_of_events_are_exchanged() {
    const NEXT: &str = "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v";
    let (mut stage, mount) = mounted();
    let receiver = Receiver::start().await;
    mount.put(&[("events", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")]);
    stage.configuration +=
        &format!("[[events]]\nurl = \"{}\"\nsecret_file = \"{}\"\n", receiver.url, mount.path("events"));
    let (running, clock) = serve(&stage).await;
    assert_eq!((enter(&running, ADMIN), enter(&running, "another-admin-token")), (200, 401));
    mount.put(&[("admin", "another-admin-token"), ("events", NEXT)]);
    assert!(meanwhile(&clock, || enter(&running, "another-admin-token") == 200).await);
    assert_eq!(enter(&running, ADMIN), 401);
    running.worker.test_events().await;
    let got = receiver.got().pop().unwrap();
    assert!(is_signed(&got, NEXT), "{got:?}");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_changes_nothing_and_is_told() {
    let (stage, mount) = mounted();
    let (running, clock) = serve(&stage).await;
    let failed = || count(&running, "cxone_sync_credential_files_failed");
    mount.put(&[("state", "half"), ("graph", "")]);
    assert!(meanwhile(&clock, || failed() == 1).await);
    hire(&stage, &clock, "Ana").await;
    std::fs::remove_file(mount.0.join("..data")).unwrap();
    stage.graph().revoke_tokens();
    hire(&stage, &clock, "Ben").await;
    let graph = stage.graph().options().client_secret.clone();
    symlink("..0", mount.0.join("..data")).unwrap();
    mount.put(&[("state", CLIENT_STATE), ("graph", &graph)]);
    assert!(meanwhile(&clock, || failed() == 0).await);
    assert_eq!(enter(&running, ADMIN), 200);
    stop(running).await;
}

/// What the private socket answers.
fn status(stage: &Stage) -> Value {
    let mut connection = UnixStream::connect(stage.folder.path().join("demo.sock")).unwrap();
    connection.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_credential_is_told_thirty_seven_and_one_days_before() {
    const DAY: u64 = 86_400;
    let mut stage = Stage::new();
    let receiver = Receiver::start().await;
    told(&mut stage, &receiver, "types = [\"credential.expiring\"]\n");
    stage.configuration = stage.configuration.replace(
        "[cxone]\n",
        "client_secret_expires = \"2027-01-03\"\n[cxone]\nclient_secret_expires = \"2028-01-01\"\n",
    );
    let clock = Clock::manual("2026-11-24T00:00:00Z".parse().unwrap());
    let serve = async || stage.serve_by(clock.clone(), &[("sync.poll_interval", "6d")]).await;
    let mut running = serve().await;
    // One that was taken while the service stopped may come again, under its id.
    let days = || {
        let mut ids = std::collections::BTreeSet::new();
        let told = receiver.of_type("credential.expiring").into_iter().filter(|it| ids.insert(it.id.clone()));
        told.map(|it| it.body["data"]["daysLeft"].clone()).collect::<Vec<_>>()
    };
    // Days go by, with a restart each: what was told is remembered.
    for (days_gone, n_told) in [(9_u64, 0), (11, 1), (12, 1), (34, 2), (39, 3)] {
        let now =
            "2026-11-24T00:00:00Z".parse::<jiff::Timestamp>().unwrap() + Duration::from_secs(days_gone * DAY);
        clock.advance(Duration::try_from(now.duration_since(clock.now())).unwrap());
        let left = 40 - i64::try_from(days_gone).unwrap();
        let shown = until(|| {
            let status = status(&stage);
            let known = status["credentials"].as_array().unwrap().clone();
            known.iter().any(|it| it["name"] == "graph.client_secret" && it["days_left"] == left)
        });
        assert!(shown.await, "{}", status(&stage)["credentials"]);
        let told = running.store.memo("expiry_told").await.unwrap();
        if days_gone == 9 {
            assert_eq!(told, None);
        }
        let page = running.worker.metrics.encode();
        let line =
            "cxone_sync_credential_expiry_timestamp_seconds{credential=\"graph.client_secret\"} 1798934400.0";
        assert!(page.contains(line), "{page}");
        assert!(until(|| days().len() >= n_told).await, "{:?}", days());
        stop(running).await;
        running = serve().await;
    }
    stop(running).await;
    assert_eq!(days(), [json!(29), json!(6), json!(1)]);
    let got = receiver.got().remove(0);
    assert_eq!(got.body["data"]["credential"], "graph.client_secret");
    assert_eq!(got.body["data"]["expiresAt"], "2027-01-03T00:00:00Z");
}
