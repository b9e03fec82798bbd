//! `doctor`: each check seen right and wrong, with the real service and without; and that it writes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::Clock;
use cxone_sync::outbound::{Api, HeaderValue, Method, Request, Transport, header};
use cxone_sync::sim::{CxoneOptions, Dialect, Fault, Faults, GraphOptions, What, When};
use cxone_sync::telemetry::Metrics;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::process::{Process, binary, run, write_config};
use super::stage::{Stage, until};

/// Exit code and findings by id.
struct Report(i32, BTreeMap<String, Value>);

fn report(output: &Output) -> Report {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let findings = answer["findings"].as_array().unwrap().iter();
    let by_id =
        findings.map(|finding| (finding["id"].as_str().unwrap().to_owned(), finding.clone())).collect();
    Report(output.status.code().unwrap(), by_id)
}

fn examined(stage: &Stage) -> Report {
    report(&run(stage, &["doctor", "-o", "json"]))
}

impl Report {
    #[track_caller]
    fn is(&self, id: &str, state: &str, words: &str) {
        let finding = self.1.get(id).unwrap_or_else(|| panic!("{id} is not told"));
        assert_eq!(finding["state"], state, "{finding:#}");
        assert!(finding["found"].as_str().unwrap().contains(words), "{finding:#} should say {words:?}");
        assert_eq!(finding["docs"], format!("docs/doctor.md#{id}"));
    }

    /// Nothing but these failed.
    #[track_caller]
    fn fails(&self, ids: &[&str]) {
        let failed: Vec<&str> =
            self.1.iter().filter(|(_, it)| it["state"] == "fail").map(|(id, _)| id.as_str()).collect();
        assert_eq!(failed, ids, "{:#}", json!(self.1));
    }
}

async fn serve(stage: &Stage) -> Process {
    let process = Process::start(stage, &[("CXONE_SYNC__SYNC__RECHECK_AFTER", "0s")]).await;
    subscribe(stage.folder.path()).await.unwrap();
    process
}

/// Puts another value in place of that of a key.
fn configure(stage: &mut Stage, key: &str, value: &str) {
    let lines = stage.configuration.lines().map(|line| match line.starts_with(&format!("{key} =")) {
        true => format!("{key} = \"{value}\""),
        false => line.to_owned(),
    });
    stage.configuration = lines.collect::<Vec<_>>().join("\n");
}

fn value_of(stage: &Stage, key: &str) -> String {
    let line = stage.configuration.lines().find(|line| line.starts_with(&format!("{key} ="))).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_right_nothing_fails_and_nothing_is_written() {
    let stage = Stage::new();
    let process = serve(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.sent();
    let (subscriptions, before) = (stage.graph().subscriptions().len(), stage.graph().requests().len());
    let report = examined(&stage);
    assert_eq!(report.0, 0, "{:#}", json!(report.1));
    report.fails(&[]);
    // The tests write the file for everybody to read.
    report.is("configuration", "warn", "cxone-sync.toml");
    report.is("service", "ok", "socket");
    report.is("store", "ok", "held by the service, process ");
    report.is("store-files", "ok", "5 files");
    report.is("store-room", "ok", "MiB");
    report.is("clock", "ok", "as Graph's and as CXone's");
    report.is("graph-token", "ok", "");
    report.is("graph-permissions", "ok", "Group.Read.All, User.Read.All, and no others");
    report.is("tenant", "ok", "directory 7a1c0000-0000-4000-8000-00000000e17a, CXone tenant 11eb0000");
    report.is("subscriptions", "ok", "users until");
    report.is("public-dns", "ok", "127.0.0.1");
    report.is("public-tls", "skipped", "no TLS");
    report.is("public-certificate", "skipped", "no TLS");
    report.is("public-handshake", "ok", "echo the token");
    report.is("public-latency", "ok", "ms");
    report.is("cxone-token", "ok", "");
    report.is("cxone-search", "ok", "finds nobody");
    report.is("cxone-fields", "ok", "that are mapped");
    report.is("cxone-agent-role", "ok", "created at");
    report.is("cxone-dialect", "warn", "not known yet");
    assert_eq!((stage.sent(), stage.graph().subscriptions().len()), (vec![], subscriptions));
    let asked = stage.graph().requests().split_off(before);
    assert!(
        asked.iter().all(|request| request.method == "GET" || request.path.ends_with("/token")),
        "{asked:?}"
    );

    let shown = run(&stage, &["doctor"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("docs/doctor.md#cxone-dialect") && text.contains(" 0 failed"), "{text}");
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_graph_is_found() {
    let mut permissions = GraphOptions::default().permissions;
    permissions.push("Directory.ReadWrite.All".to_owned());
    let stage = Stage::with(GraphOptions { permissions, ..GraphOptions::default() }, CxoneOptions::default());
    let process = serve(&stage).await;
    stage.cxone().clock().advance(Duration::from_secs(600));
    let report = examined(&stage);
    assert_eq!(report.0, 1);
    report.fails(&["clock", "graph-permissions"]);
    report.is("graph-permissions", "fail", "may change the directory: Directory.ReadWrite.All");
    let behind = report.1["clock"]["found"].as_str().unwrap();
    assert!(behind.contains(" s behind CXone's") && behind.contains("as Graph's"), "{behind}");

    // Somebody else's, and one to our own address.
    let ours = stage.graph().subscriptions().remove(0);
    for query in ["?other=1", ""] {
        make_subscription(&stage, &format!("{}{query}", ours.notification_url)).await;
    }
    let report = examined(&stage);
    report.is("subscriptions", "warn", "to our address, but not made by this store: users");
    report.is("subscriptions", "warn", "foreign, to another address: users");
    stage.graph().remove_subscription(&ours.id);
    examined(&stage).is("subscriptions", "fail", "lost: users");
    assert_eq!(process.terminate(), Some(0));
}

/// As another program with the same app registration would.
async fn make_subscription(stage: &Stage, url: &str) {
    let api = |base: &str| {
        let transport = Transport::direct().unwrap();
        Api::new("graph", base.parse().unwrap(), transport, 1, Clock::system(), Metrics::new())
    };
    let options = stage.graph().options();
    let login = api(&stage.graph().login_url());
    let form = format!(
        "grant_type=client_credentials&scope=x/.default&client_id={}&client_secret={}",
        options.client_id, options.client_secret
    );
    let asked =
        Request::new(Method::POST, login.url([options.tenant_id.as_str(), "oauth2", "v2.0", "token"]));
    let answer = login.send(asked.body("application/x-www-form-urlencoded", form)).await.unwrap();
    let token: Value = serde_json::from_slice(&answer.body).unwrap();
    let bearer =
        HeaderValue::from_str(&format!("Bearer {}", token["access_token"].as_str().unwrap())).unwrap();
    let graph = api(&stage.graph().base_url());
    let n = stage.graph().subscriptions().len();
    // Two of one kind are one too many for Graph: each is of another change.
    let kind = if n.is_multiple_of(2) { "updated" } else { "deleted" };
    let body = json!({
        "changeType": kind, "resource": "users", "notificationUrl": url, "clientState": "other",
        "expirationDateTime": Clock::system().now() + Duration::from_secs(24 * 3600),
    });
    let asked =
        Request::new(Method::POST, graph.url(["subscriptions"])).header(header::AUTHORIZATION, bearer);
    let answer = graph.send(asked.body("application/json", body.to_string())).await.unwrap();
    assert_eq!(answer.status.as_u16(), 201, "{:?}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_and_a_refused_secret_are_credentials() {
    let permissions = vec!["User.Read.All".to_owned()];
    let graph = GraphOptions { permissions, ..GraphOptions::default() };
    let stage = Stage::with(graph, CxoneOptions::default());
    stage.cxone().set_client_secret("another");
    let report = examined(&stage);
    assert_eq!(report.0, 5, "{:#}", json!(report.1));
    report.fails(&["cxone-token", "graph-permissions"]);
    report.is("graph-permissions", "fail", "missing: Group.Read.All");
    report.is("cxone-token", "fail", "refused our credentials");
    report.is("cxone-search", "skipped", "cxone-token");
    // Of two kinds of failure none is the one.
    stage.graph().set_faults(Faults {
        rules: vec![Fault::new("*", "*/token", When::Always, What::DropBeforeWork)],
        ..Faults::none()
    });
    let report = examined(&stage);
    assert_eq!(report.0, 3);
    report.fails(&["cxone-token", "graph-token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_cxone_is_found() {
    let ignored = ["displayName"].map(str::to_owned).into();
    let cxone = CxoneOptions { ignore_filter: true, ignore_attributes: ignored, ..CxoneOptions::default() };
    let stage = Stage::with(GraphOptions::default(), cxone);
    stage.cxone().add_user(json!({ "userName": "bo@example.com", "emails": [{"value": "bo@example.com"}] }));
    let report = examined(&stage);
    assert_eq!(report.0, 1);
    report.fails(&["cxone-search"]);
    report.is("cxone-search", "fail", "is the filter ignored?");
    report.is("cxone-fields", "warn", "not in the schema of users: displayName");
    report.is("cxone-agent-role", "skipped", "cannot be told");
    stage.cxone().stop();
    let report = examined(&stage);
    assert_eq!(report.0, 6);
    report.fails(&["cxone-token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_of_scims_is_the_configurations_fault() {
    let mut stage = Stage::new();
    let wrong = stage.cxone().scim_url().replace("/v2", "/v3");
    configure(&mut stage, "scim_url", &wrong);
    let report = examined(&stage);
    assert_eq!(report.0, 2);
    report.fails(&["cxone-search"]);
    report.is("cxone-search", "fail", "nothing at cxone.scim_url");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_all_else_is_looked_at() {
    let stage = Stage::new();
    let report = examined(&stage);
    assert_eq!(report.0, 0, "{:#}", json!(report.1));
    report.is("service", "ok", "does not run");
    report.is("store", "ok", "no service holds it");
    report.is("public-handshake", "skipped", "no service runs");
    report.is("subscriptions", "warn", "not subscribed: users, groups");
    fs::set_permissions(stage.folder.path().join("demo.redb"), Permissions::from_mode(0o644)).unwrap();
    let report = examined(&stage);
    assert_eq!(report.0, 1);
    report.fails(&["store-files"]);
    report.is("store-files", "fail", "demo.redb is 0644");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_store_is_named_and_what_needs_none_is_looked_at() {
    let stage = Stage::new();
    assert_eq!(examined(&stage).0, 0);
    let store = File::open(stage.folder.path().join("demo.redb")).unwrap();
    store.lock().unwrap();
    let report = examined(&stage);
    assert_eq!(report.0, 6, "{:#}", json!(report.1));
    report.fails(&["service", "store"]);
    report.is("store", "fail", &format!("held by process {}", std::process::id()));
    report.is("cxone-search", "ok", "finds nobody");
    report.is("graph-permissions", "ok", "no others");
    report.is("subscriptions", "skipped", "not open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_before_all_else() {
    let mut stage = Stage::new();
    stage.configuration += "\n[sync2]\nx = 1\n";
    let report = examined(&stage);
    assert_eq!(report.0, 2);
    report.fails(&["configuration"]);
    report.is("configuration", "fail", "sync2");
    report.is("cxone-search", "skipped", "see what failed before");
    assert_eq!(stage.graph().load().total_requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_another_tenant_is_told() {
    let stage = Stage::new();
    let process = serve(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    assert_eq!(process.terminate(), Some(0));
    let tenant_id = "99999999-0000-4000-8000-00000000e17a".to_owned();
    let mut other =
        Stage::with(GraphOptions { tenant_id, ..GraphOptions::default() }, CxoneOptions::default());
    configure(&mut other, "path", &value_of(&stage, "path"));
    let report = examined(&other);
    assert_eq!(report.0, 2, "{:#}", json!(report.1));
    report.fails(&["tenant"]);
    report.is("tenant", "fail", "belongs to directory 7a1c0000");
    report.is("cxone-search", "ok", "finds nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_url_that_does_not_echo_is_found() {
    let mut stage = Stage::new();
    // Another service answers there.
    let other = stage.cxone().issuer();
    configure(&mut stage, "public_url", &other);
    let process = Process::start(&stage, &[]).await;
    let report = examined(&stage);
    assert_eq!(report.0, 1);
    report.fails(&["public-handshake"]);
    report.is("public-handshake", "fail", "404");
    report.is("public-latency", "skipped", "see public-handshake");
    assert_eq!(process.terminate(), Some(0));
}

/// An authority, and a certificate of it for this host, good until then.
fn certificates(stage: &Stage, until: (i32, u8, u8)) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let mut ours = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    ours.not_after = date_time_ymd(until.0, until.1, until.2);
    let key = KeyPair::generate().unwrap();
    let certificate = ours.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let write = |name: &str, text: String| fs::write(stage.folder.path().join(name), text).unwrap();
    write("authority.pem", authority_certificate.pem());
    write("tls.pem", certificate.pem());
    write("tls.key", key.serialize_pem());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_judged_by_its_authority_and_its_end() {
    let mut stage = Stage::new();
    certificates(&stage, (2100, 1, 1));
    let url = value_of(&stage, "public_url").replace("http://127.0.0.1", "https://localhost");
    configure(&mut stage, "public_url", &url);
    let folder = stage.folder.path().display().to_string();
    let keys = format!(
        "[service]\ntls_certificate_file = \"{folder}/tls.pem\"\ntls_key_file = \"{folder}/tls.key\""
    );
    stage.configuration = stage.configuration.replace("[service]", &keys);
    let process = Process::start(&stage, &[]).await;
    let report = examined(&stage);
    assert_eq!(report.0, 1);
    report.fails(&["public-certificate", "public-handshake"]);
    report.is("public-certificate", "fail", "its authority is not known, or the chain is not whole");
    report.is("public-tls", "ok", "TLS 1.2 is offered");
    assert_eq!(process.terminate(), Some(0));

    let authority = format!("{folder}/authority.pem");
    let process = Process::start(&stage, &[("SSL_CERT_FILE", &authority)]).await;
    let report = examined(&stage);
    report.fails(&[]);
    report.is("public-certificate", "ok", "good until 2100-01-01");
    report.is("public-handshake", "ok", "echo");
    assert_eq!(process.terminate(), Some(0));
}

/// Ends TLS with version 1.3 only, and answers nothing of use.
async fn only_tls_13(stage: &Stage) -> u16 {
    let (certificate, key) = (stage.folder.path().join("tls.pem"), stage.folder.path().join("tls.key"));
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = [0; 4096];
                if !matches!(stream.read(&mut head).await, Ok(1..)) {
                    return;
                }
                stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.ok();
                stream.shutdown().await.ok();
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_tls_13_alone_is_told() {
    let mut stage = Stage::new();
    certificates(&stage, (2100, 1, 1));
    let port = only_tls_13(&stage).await;
    configure(&mut stage, "public_url", &format!("https://localhost:{port}"));
    let authority = stage.folder.path().join("authority.pem");
    let mut command = binary(&write_config(&stage));
    let report =
        report(&command.args(["doctor", "-o", "json"]).env("SSL_CERT_FILE", authority).output().unwrap());
    report.fails(&["public-tls"]);
    report.is("public-tls", "fail", "TLS 1.2 is not offered");
    report.is("public-certificate", "ok", "good until 2100-01-01");
}

fn learn(stage: &Stage, user: &str) -> (i32, Value, String) {
    let output = run(stage, &["doctor", "--learn", user, "--yes", "-o", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

async fn with_ana(dialect: Dialect, keys: &str) -> (Stage, Process, String) {
    let mut stage = Stage::with(GraphOptions::default(), CxoneOptions { dialect, ..CxoneOptions::default() });
    stage.configuration += keys;
    let process = serve(&stage).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    stage.sent();
    (stage, process, ana)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_is_found_out_and_nothing_is_left_behind() {
    for (dialect, expected) in [
        (Dialect::Rfc7644, "rfc7644"),
        (Dialect::IndexedOnly, "indexed"),
        // It takes no truth value but as a text, and an address only as the JSON of all of them.
        (Dialect::CxoneStrings, "put"),
        (Dialect::PutOnly, "put"),
    ] {
        let (stage, process, ana) = with_ana(dialect, "").await;
        let before = stage.account(&ana).unwrap();
        let (exit, learned, said) = learn(&stage, "ana@example.com");
        assert_eq!(exit, 0, "{expected}: {learned:#} {said}");
        assert_eq!(
            (&learned["dialect"], &learned["restored"]),
            (&json!(expected), &json!(true)),
            "{learned:#}"
        );
        assert!(said.contains("emails is ana@example.com, becomes ana+cxone-sync@example.com"), "{said}");
        assert_eq!(stage.account(&ana).unwrap(), before);
        let sent = stage.sent();
        assert!(
            sent.iter().any(|(_, body)| body.to_string().contains("ana+cxone-sync@example.com")),
            "{sent:?}"
        );
        examined(&stage).is("cxone-dialect", "ok", &format!("found out: {expected}"));
        // To and fro, and each with its end.
        let history: Value =
            serde_json::from_slice(&run(&stage, &["history", &ana, "-o", "json"]).stdout).unwrap();
        let writes = history["writes"].as_array().unwrap();
        assert!(writes.len() >= 3 && writes.iter().all(|write| write["result"] != "pending"), "{history:#}");
        assert_eq!(run(&stage, &["history", "verify"]).status.code(), Some(0));
        assert_eq!(process.terminate(), Some(0));
        // It is still known after a restart.
        examined(&stage).is("cxone-dialect", "ok", &format!("found out: {expected}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_account_is_not_tried_on() {
    let (stage, process, _) = with_ana(Dialect::Rfc7644, "").await;
    assert_eq!(process.terminate(), Some(0));
    let protected = "[guard]\nprotected_users = [\"ana@example.com\"]";
    let configuration = stage.configuration.replace("[guard]", protected);
    let stage = Stage { configuration, ..stage };
    let (exit, _, said) = learn(&stage, "ana@example.com");
    assert_eq!((exit, stage.sent()), (1, vec![]), "{said}");
    assert!(said.contains("never written"), "{said}");
    let (exit, _, said) = learn(&stage, "nobody@example.com");
    assert_eq!(exit, 1, "{said}");
    let output = run(&stage, &["doctor", "--learn", "ana@example.com"]);
    assert_eq!(output.status.code(), Some(1), "refused before anybody is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_taken_back_and_teaches_nothing() {
    let (stage, process, ana) = with_ana(Dialect::Rfc7644, "").await;
    let before = stage.account(&ana).unwrap();
    stage.cxone().add_fault(Fault::new("PATCH", "/scim/v2/Users/*", When::First(1), What::DropAfterWork));
    let (exit, learned, said) = learn(&stage, &ana);
    assert_eq!(exit, 1, "{said}");
    assert_eq!((&learned["dialect"], &learned["restored"]), (&Value::Null, &json!(true)), "{learned:#}");
    assert_eq!(learned["tried"][0]["outcome"], "unknown");
    assert_eq!(stage.account(&ana).unwrap(), before);
    examined(&stage).is("cxone-dialect", "warn", "not known yet");
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_taken_back_is_told_and_put_right_by_the_worker() {
    let (stage, process, ana) = with_ana(Dialect::Rfc7644, "").await;
    let ill = |method, when| Fault::new(method, "/scim/v2/Users/*", when, What::Status(500, None));
    stage.cxone().add_fault(ill("PATCH", When::Between(2, 1000)));
    stage.cxone().add_fault(ill("PUT", When::Always));
    let (exit, learned, said) = learn(&stage, &ana);
    assert_eq!(exit, 1, "{said}");
    assert_eq!((&learned["restored"], &learned["left"]), (&json!(false), &json!("emails")), "{learned:#}");
    stage.cxone().set_faults(Faults::none());
    let back = || {
        run(&stage, &["queue", "retry", "--waiting"]);
        stage.differences(std::slice::from_ref(&ana)).is_empty()
    };
    assert!(until(back).await, "{:#?}", stage.account(&ana));
    assert_eq!(process.terminate(), Some(0));
}
