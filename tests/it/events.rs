//! What operators are told of by themselves, as a receiver sees it that checks every signature by its own
//! means.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::Clock;
use cxone_sync::domain::queue::Chore;
use cxone_sync::domain::subscription::Resource;
use cxone_sync::sim::{Fault, What, When};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::process::{log_of, run, write_config};
use super::stage::{PATIENCE, Stage, stop, until, until_async};

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const OTHER: &str = "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v";

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Got {
    pub id: String,
    pub sent_at: i64,
    pub signatures: Vec<String>,
    pub text: String,
    pub body: Value,
}

#[derive(Default)]
struct Desk {
    got: Mutex<Vec<Got>>,
    /// The next answers; 204 when there is none.
    answers: Mutex<VecDeque<(u16, Option<u32>)>>,
}

/// A receiver on loopback. It takes everything down, whatever it answers.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    desk: Arc<Desk>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
        let desk = Arc::<Desk>::default();
        let router = axum::Router::new().route("/hook", post(take)).with_state(desk.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, desk }
    }

    pub fn will_answer(&self, answers: impl IntoIterator<Item = (u16, Option<u32>)>) {
        self.desk.answers.lock().unwrap().extend(answers);
    }

    pub fn got(&self) -> Vec<Got> {
        self.desk.got.lock().unwrap().clone()
    }

    pub fn of_type(&self, kind: &str) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.body["type"] == kind).collect()
    }

    /// Waits for so many of a type.
    pub async fn gets(&self, kind: &str, n: usize) -> Vec<Got> {
        let came = until(|| self.of_type(kind).len() >= n).await;
        assert!(came, "no {n} of {kind}: {:#?}", self.got());
        self.of_type(kind)
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let text = String::from_utf8(body.to_vec()).unwrap();
    desk.got.lock().unwrap().push(Got {
        id: header("webhook-id").unwrap(),
        sent_at: header("webhook-timestamp").unwrap().parse().unwrap(),
        signatures: header("webhook-signature").unwrap_or_default().split(' ').map(str::to_owned).collect(),
        body: serde_json::from_str(&text).unwrap(),
        text,
    });
    let (status, wait) = desk.answers.lock().unwrap().pop_front().unwrap_or((204, None));
    let mut headers = HeaderMap::new();
    if let Some(seconds) = wait {
        headers.insert("retry-after", seconds.into());
    }
    (StatusCode::from_u16(status).unwrap(), headers)
}

/// HMAC as RFC 2104 has it, by the hash alone.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad).to_vec();
    let inner = Sha256::digest([padded(0x36), message.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}

pub fn is_signed(got: &Got, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = format!("{}.{}.{}", got.id, got.sent_at, got.text);
    let expected = format!("v1,{}", STANDARD.encode(hmac(&key, signed.as_bytes())));
    got.signatures.contains(&expected)
}

pub fn told(stage: &mut Stage, receiver: &Receiver, more: &str) {
    stage.configuration += &format!("[[events]]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n{more}", receiver.url);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_user_is_told_signed_and_without_a_name() {
    let (mut stage, receiver) = (Stage::new(), Receiver::start().await);
    told(&mut stage, &receiver, "");
    stage.configuration = stage
        .configuration
        .replace(&format!("secret = \"{SECRET}\""), &format!("secret = [\"{SECRET}\", \"{OTHER}\"]"));
    let running = stage.serve(&[]).await;
    let what = What::Status(400, None);
    stage.cxone().add_fault(Fault::new("POST", "/scim/v2/Users", When::Always, what));
    let ana = stage.hire("Ana");
    let got = receiver.gets("user.parked", 1).await.remove(0);
    assert!(is_signed(&got, SECRET) && is_signed(&got, OTHER), "{got:?}");
    let forged = Got { text: got.text.replace("parked", "parted"), ..got.clone() };
    assert!(
        !is_signed(&forged, SECRET) && !is_signed(&Got { sent_at: got.sent_at + 1, ..got.clone() }, SECRET)
    );
    assert_eq!(got.body["data"]["users"], json!([ana]));
    assert_eq!(got.body["data"]["docs"], "docs/runbooks.md#user-parked");
    assert!(!got.text.contains("example.com") && !got.text.contains("Ana") && got.text.len() < 20_000);

    // Within the window another one only counts.
    stage.hire("Ben");
    let parked = async || running.store.depth(running.worker.clock.now()).await.unwrap().parked == 2;
    assert!(until_async(parked).await);
    let status = running.worker.receivers_status().await.unwrap();
    assert_eq!(status[0]["waiting"], 0, "{status}");
    assert_eq!(receiver.of_type("user.parked").len(), 1);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_window_kept_back_is_told_as_one_at_its_end_and_retries_follow_the_schedule() {
    let (mut stage, receiver) = (Stage::new(), Receiver::start().await);
    told(&mut stage, &receiver, "quiet_window = \"10m\"\ntypes = [\"user.parked\"]\n");
    let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
    let running = stage.serve_by(clock.clone(), &[("sync.poll_interval", "6d")]).await;
    let worker = running.worker.clone();
    let parked = |code: &str, user: &str| cxone_sync::domain::event::What::UserParked {
        code: code.to_owned(),
        users: vec![user.parse().unwrap()],
    };
    let user = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02}");
    let waiting = async |n: u64| {
        let so = async || worker.receivers_status().await.unwrap()[0]["waiting"] == n;
        assert!(until_async(so).await, "{}", worker.receivers_status().await.unwrap());
    };
    let tries = async |n: usize| {
        let got = receiver.gets("user.parked", n).await;
        assert_eq!(got.len(), n, "{got:#?}");
        // The failure has been taken down before the clock goes on.
        let failed = || {
            worker.metrics.encode().contains(&format!("cxone_sync_events_total{{result=\"failed\"}} {n}\n"))
        };
        assert!(until(failed).await);
        got
    };

    receiver.will_answer([(500, None), (302, None), (503, Some(3600))]);
    worker.tell(parked("rejected", &user(1)));
    tries(1).await;
    clock.advance(Duration::from_secs(6));
    let got = tries(2).await;
    assert_eq!(got[0].id, got[1].id, "the same message");
    assert_eq!(got[1].sent_at - got[0].sent_at, 6);
    assert!(is_signed(&got[1], SECRET), "signed anew");
    worker.tell(parked("rejected", &user(2)));
    clock.advance(Duration::from_secs(331));
    tries(3).await;
    // The receiver asked for an hour, which is more than the half hour of the schedule.
    clock.advance(Duration::from_secs(3500));
    waiting(2).await;
    assert_eq!(receiver.got().len(), 3);
    clock.advance(Duration::from_secs(101));
    let got = receiver.gets("user.parked", 5).await;
    waiting(0).await;
    let digest = got.iter().find(|got| got.body["data"]["users"] == json!([user(2)])).unwrap();
    assert_eq!(digest.body["data"]["suppressed"], 0);
    assert_eq!(got.iter().filter(|it| it.id == got[0].id).count(), 4);

    // Three more within a window are one.
    worker.tell(parked("other", &user(3)));
    receiver.gets("user.parked", 6).await;
    (4..7).for_each(|n| worker.tell(parked("other", &user(n))));
    clock.advance(Duration::from_secs(599));
    waiting(0).await;
    assert_eq!(receiver.got().len(), 6);
    clock.advance(Duration::from_secs(2));
    let digest = receiver.gets("user.parked", 7).await.remove(6);
    assert_eq!(digest.body["data"]["suppressed"], 2);
    assert_eq!(digest.body["data"]["users"], json!([user(4), user(5), user(6)]));
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_left_alone_until_the_next_start_and_who_is_down_is_told_after_it() {
    let (mut stage, gone, down) = (Stage::new(), Receiver::start().await, Receiver::start().await);
    told(&mut stage, &gone, "");
    told(&mut stage, &down, "");
    let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
    let running = stage.serve_by(clock.clone(), &[]).await;
    gone.will_answer([(410, None)]);
    down.will_answer([(500, None)]);
    let what = || cxone_sync::domain::event::What::circuit_open("cxone", "403");
    running.worker.tell(what());
    let disabled = async || running.worker.receivers_status().await.unwrap()[0]["disabled"] == true;
    assert!(until_async(disabled).await);
    down.gets("circuit.open", 1).await;
    running.worker.tell(cxone_sync::domain::event::What::circuit_open("graph", "403"));
    let waits = async || running.worker.receivers_status().await.unwrap()[1]["waiting"] == 2;
    assert!(until_async(waits).await);
    assert_eq!(gone.got().len(), 1);
    stop(running).await;

    clock.advance(Duration::from_secs(6));
    let running = stage.serve_by(clock.clone(), &[]).await;
    down.gets("circuit.open", 3).await;
    running.worker.tell(cxone_sync::domain::event::What::circuit_open("login", "403"));
    gone.gets("circuit.open", 2).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_nobody() {
    let mut stage = Stage::new();
    // It takes the connection and never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    stage.configuration += &format!("[[events]]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let running = stage.serve(&[]).await;
    running.worker.tell(cxone_sync::domain::event::What::circuit_open("cxone", "403"));
    let (mut connection, _) = silent.accept().unwrap();
    std::io::Read::read_exact(&mut connection, &mut [0; 4]).unwrap();
    let users: Vec<String> = (0..20).map(|n| stage.hire(&format!("Agent{n}"))).collect();
    stage.converge(&users).await;
    let began = std::time::Instant::now();
    stop(running).await;
    assert!(began.elapsed() < PATIENCE / 2, "the end waited for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_a_lost_subscription_and_an_outage_are_told() {
    let (mut stage, receiver) = (Stage::new(), Receiver::start().await);
    told(&mut stage, &receiver, "");
    let wide = "deactivations = { per_hour = 1000000";
    assert!(stage.configuration.contains(wide));
    stage.configuration = stage.configuration.replace(wide, "deactivations = { per_hour = 0");
    let running = stage.serve(&[]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.graph().disable(&ana);
    let got = receiver.gets("guard.tripped", 1).await.remove(0);
    assert_eq!(
        (&got.body["data"]["budget"], &got.body["data"]["users"]),
        (&json!("deactivations"), &json!([ana]))
    );

    let lost = stage.graph().subscriptions().remove(0);
    stage.graph().remove_subscription(&lost.id);
    let now = running.worker.clock.now();
    running.store.schedule(Chore::Subscriptions, now, now).await.unwrap();
    let got = receiver.gets("subscription.lost", 1).await.remove(0);
    assert_eq!(got.body["data"]["subscription"], lost.id);
    assert_eq!(got.body["data"]["reason"], "gone");

    stage.cxone().set_client_secret("another");
    stage.cxone().revoke_tokens();
    stage.graph().update_user(&ana, json!({ "surname": "Silva", "accountEnabled": true }));
    let got = receiver.gets("circuit.open", 1).await.remove(0);
    assert_eq!(got.body["data"]["api"], "cxone");
    assert!(!receiver.got().iter().any(|got| got.text.contains("example.com")));
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_no_notification_announced_are_told() {
    let (mut stage, receiver) = (Stage::new(), Receiver::start().await);
    told(&mut stage, &receiver, "");
    let clock = Clock::manual(Clock::system().now());
    let flags = [("sync.poll_interval", "20s"), ("sync.recheck_after", "0s")];
    let running = stage.serve_by(clock.clone(), &flags).await;
    subscribe(stage.folder.path()).await.unwrap();
    let ana = stage.hire("Ana");
    stage.arrives_by(&clock, &ana).await;
    let user = ana.parse().unwrap();
    assert!(until_async(async || running.store.job(user).await.unwrap().is_none()).await);
    // What announced her to begin with must be too old to announce anything else.
    clock.advance(Duration::from_secs(900));
    let polled = async || {
        let round = running.store.round(Resource::Users).await.unwrap().unwrap();
        round.completed_at.is_some_and(|at| at == clock.now())
    };
    assert!(until_async(polled).await);
    stage.graph().lose_next(1000);
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    // A notification may take minutes: only then is it missed.
    let low = until(|| {
        clock.advance(Duration::from_secs(1));
        !receiver.of_type("coverage.low").is_empty()
    });
    assert!(low.await, "{:#?}", receiver.got());
    let got = receiver.of_type("coverage.low").remove(0);
    assert!(got.body["data"]["ratio"].as_f64().unwrap() < 0.9, "{got:?}");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_what_each_receiver_answers_to_a_test() {
    let (mut stage, good, bad) = (Stage::new(), Receiver::start().await, Receiver::start().await);
    write_config(&stage);
    let output = run(&stage, &["events", "test"]);
    assert_eq!(output.status.code(), Some(2), "nobody is told: {output:?}");
    told(&mut stage, &good, "");
    let output = run(&stage, &["events", "test"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    told(&mut stage, &bad, "format = \"slack\"\n");
    bad.will_answer([(403, None)]);
    let output = run(&stage, &["events", "test", "-o", "json"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        log_of(&stage)
    );
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["receivers"][0]["ok"], &answer["receivers"][1]["status"]),
        (&json!(true), &json!(403))
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("key=1"), "an address may be a secret");
    let got = good.of_type("test");
    assert!(got.len() == 2 && is_signed(&got[0], SECRET), "{got:?}");
    let text = bad.got()[0].body["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("*cxone-sync test*:"), "{text}");
}
