//! A running contact centre is taken over: who is linked to whom afterwards, and that CXone was only
//! read.

use std::collections::BTreeMap;

use cxone_sync::clock::Clock;
use cxone_sync::domain::subscription::Resource;
use cxone_sync::sim::{CxoneOptions, Fault, GraphOptions, Lists, RetryAfter, What, When};
use cxone_sync::store::{Options, Store};
use cxone_sync::telemetry::Metrics;
use cxone_sync::telemetry::Progress;
use cxone_sync::worker::adopt::NotAdopted;
use serde_json::{Value, json};

use super::process::{Process, run};
use super::stage::{Stage, stop, until, until_async};

fn stage(lists: Lists) -> Stage {
    Stage::with(GraphOptions::default(), CxoneOptions { lists, ..CxoneOptions::default() })
}

/// Adds keys to a section of the configuration that is there, or makes it.
fn configure(stage: &mut Stage, section: &str, keys: &str) {
    let heading = format!("[{section}]\n");
    match stage.configuration.contains(&heading) {
        true => {
            stage.configuration = stage.configuration.replace(&heading, &format!("{heading}{keys}\n"));
        }
        false => {
            // The tables of the roles come last and would swallow it.
            let at = stage.configuration.find("[[roles]]").unwrap();
            stage.configuration.insert_str(at, &format!("{heading}{keys}\n"));
        }
    }
}

fn address(name: &str) -> String {
    format!("{}@example.com", name.to_lowercase())
}

/// The account somebody made for `name` before there was any synchronisation, with these changes.
fn employ(stage: &Stage, name: &str, changes: Value) -> String {
    let mut account = json!({
        "userName": address(name), "name": { "givenName": name, "familyName": "Martin" },
        "displayName": format!("{name} Martin"), "active": true,
        "emails": [{ "type": "work", "value": address(name), "primary": true }],
        "phoneNumbers": [{ "type": "work", "value": "+351 900", "primary": true }],
        "roles": [{ "value": "Agent" }],
    });
    for (key, value) in changes.as_object().unwrap() {
        account[key] = value.clone();
    }
    stage.cxone().add_user(account)
}

/// Runs `adopt`: the exit code and the report.
#[track_caller]
fn adopt(stage: &Stage, arguments: &[&str]) -> (i32, Value) {
    let output = run(stage, &[&["adopt", "-o", "json"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// Whatever was sent to CXone's users but reads.
fn writes(stage: &Stage) -> Vec<String> {
    let requests = stage.cxone().requests().into_iter();
    let written = requests.filter(|one| one.path.contains("/scim/") && one.method != "GET");
    written.map(|one| format!("{} {}", one.method, one.path)).collect()
}

/// One field of each entry of a list in the report, by the user's address.
fn field(report: &Value, list: &str, field: &str) -> BTreeMap<String, Value> {
    let entries = report[list].as_array().unwrap_or_else(|| panic!("no {list}: {report:#}"));
    let pair = |one: &Value| (one["userName"].as_str().unwrap().to_owned(), one[field].clone());
    entries.iter().map(pair).collect()
}

/// Who is linked to which account, by the store, while no service has it.
async fn links(stage: &Stage) -> BTreeMap<String, String> {
    let options = Options::at(stage.folder.path().join("demo.redb"));
    let store = Store::open(options, Clock::system().now(), Metrics::new()).unwrap();
    let links = store.links(None, 1000).await.unwrap();
    store.close().await;
    links.into_iter().map(|(user, link)| (user.to_string(), link.scim_id.0)).collect()
}

/// Runs a service that only observes until it has looked at everybody.
async fn observe(stage: &Stage) {
    let running = stage.serve_unsubscribed(&[("sync.mode", "observe"), ("sync.recheck_after", "0s")]).await;
    let at_rest = until_async(|| async {
        let round = running.store.round(Resource::Users).await.unwrap();
        let depth = running.store.depth(running.worker.clock.now()).await.unwrap();
        round.is_some_and(|round| round.completed_at.is_some()) && depth.due + depth.running == 0
    });
    assert!(at_rest.await, "the service never came to rest");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_contact_centre_is_taken_over_without_a_write() {
    for (lists, is_listed) in [
        (Lists::Paged { most: 7 }, true),
        (Lists::Published, true),
        (Lists::IgnoresStartIndex { most: 20 }, false),
        (Lists::Refused, false),
    ] {
        let mut stage = stage(lists);
        configure(&mut stage, "attributes.displayName", "owner = \"newest\"");
        let agents = stage.roles[0].0.clone();
        configure(&mut stage, "scope", &format!("groups = [\"{agents}\"]"));
        let mut pairs = BTreeMap::new();
        let hire = |name: &str| (stage.hire(name), address(name));
        for n in 0..27 {
            let name = format!("Agent{n}");
            // Spelt otherwise, and linked all the same.
            let changes = if n == 0 { json!({ "userName": "AGENT0@example.com" }) } else { json!({}) };
            pairs.insert(hire(&name).0, employ(&stage, &name, changes));
        }
        let (dora, _) = hire("Dora");
        let changes = json!({ "displayName": "D.", "name": { "givenName": "Dora", "familyName": "Silva" } });
        pairs.insert(dora, employ(&stage, "Dora", changes));
        let (ines, _) = hire("Ines");
        pairs.insert(ines, employ(&stage, "Ines", json!({ "active": false })));
        let (lena, _) = hire("Lena");
        stage.graph().disable(&lena);
        pairs.insert(lena, employ(&stage, "Lena", json!({})));
        hire("Twin");
        employ(&stage, "Twin", json!({}));
        employ(&stage, "Twin", json!({ "displayName": "Twin the second" }));
        hire("Nora");
        let (otto, _) = hire("Otto");
        stage.graph().disable(&otto);
        for name in ["Hand1", "Hand2", "Hand3"] {
            employ(&stage, name, json!({}));
        }
        // Has left the centre, is not in scope, and must not be deactivated for it.
        let (zoe, _) = hire("Zoe");
        stage.graph().remove_member(&agents, &zoe);
        employ(&stage, "Zoe", json!({}));

        let (exit, dry) = adopt(&stage, &["--dry-run"]);
        assert_eq!((exit, &dry["dryRun"]), (4, &json!(true)), "{lists:?} {dry:#}");
        let (exit, report) = adopt(&stage, &[]);
        assert_eq!((exit, &report["dryRun"]), (4, &json!(false)), "{lists:?}");
        for part in ["matched", "ambiguous", "unmatchedInEntra", "unmatchedInCxone", "conflicts", "failed"] {
            assert_eq!(dry[part], report[part], "a dry run says what would be done: {part}");
        }
        assert_eq!(writes(&stage), Vec::<String>::new());

        assert_eq!(report["listing"]["state"] == "complete", is_listed, "{lists:?} {:#}", report["listing"]);
        assert_eq!((&report["inScope"], &report["outOfScope"]), (&json!(33), &json!(1)));
        let next = field(&report, "matched", "next");
        assert_eq!(next.len(), 30);
        assert_eq!(next["agent0@example.com"], "nothing", "{:#}", report["matched"][0]);
        assert_eq!(next["dora@example.com"], "would_change");
        assert_eq!(next["ines@example.com"], "would_reactivate");
        assert_eq!(next["lena@example.com"], "would_deactivate");
        assert_eq!(field(&report, "matched", "active")["ines@example.com"], false);
        let conflict = |attribute: &str, entra: &str, cxone: &str, owner: &str, wins: &str| {
            json!({
                "attribute": attribute, "entra": entra, "cxone": cxone, "owner": owner, "wins": wins,
            })
        };
        let expected = json!([
            conflict("familyName", "Martin", "Silva", "entra", "entra"),
            conflict("displayName", "Dora Martin", "D.", "newest", "cxone"),
        ]);
        assert_eq!(field(&report, "matched", "conflicts")["dora@example.com"], expected);
        let expected = json!({ "familyName": 1, "displayName": 1, "active": 2 });
        assert_eq!(report["conflicts"], expected, "{report:#}");
        assert_eq!(
            field(&report, "ambiguous", "reason"),
            [("twin@example.com".to_owned(), json!("several_accounts"))].into()
        );
        let created = field(&report, "unmatchedInEntra", "wouldCreate");
        let expected = [("nora@example.com", true), ("otto@example.com", false)];
        assert_eq!(created, expected.map(|(name, created)| (name.to_owned(), json!(created))).into());
        match is_listed {
            true => {
                let strangers: Vec<_> = field(&report, "unmatchedInCxone", "active").into_keys().collect();
                let expected = ["hand1", "hand2", "hand3", "zoe"].map(address);
                assert_eq!(strangers, expected, "{lists:?}");
            }
            false => assert_eq!(report["unmatchedInCxone"], Value::Null, "{lists:?}"),
        }
        assert_eq!(report["failed"], json!([]));

        assert_eq!(links(&stage).await, pairs, "{lists:?}");
        observe(&stage).await;
        assert_eq!(links(&stage).await, pairs, "{lists:?}");
        let (exit, again) = adopt(&stage, &[]);
        assert_eq!((exit, &again["alreadyLinked"], &again["matched"]), (4, &json!(30), &json!([])));
        assert_eq!(writes(&stage), Vec::<String>::new(), "nor by a service that only observes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_service_and_then_written_as_the_owners_decide() {
    let mut stage = stage(Lists::Published);
    configure(&mut stage, "attributes.displayName", "owner = \"newest\"");
    let ana = stage.hire("Ana");
    let changes = json!({ "displayName": "A.", "name": { "givenName": "Ana", "familyName": "Silva" } });
    let account = employ(&stage, "Ana", changes);
    let observe = ("CXONE_SYNC__SYNC__MODE", "observe");
    let process = Process::start(&stage, &[observe]).await;
    let (exit, report) = adopt(&stage, &[]);
    assert_eq!((exit, field(&report, "matched", "scimId")), (0, [(address("Ana"), json!(account))].into()));
    assert_eq!(adopt(&stage, &[]).1["alreadyLinked"], 1);
    let text = String::from_utf8(run(&stage, &["adopt", "--dry-run"]).stdout).unwrap();
    assert!(text.contains("1  linked already"), "{text}");
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(writes(&stage), Vec::<String>::new());

    // Writes are on: what Entra owns is put right, what the newest side owns is settled.
    let process = Process::start(&stage, &[]).await;
    assert_eq!(run(&stage, &["sync", "all"]).status.code(), Some(0));
    let family = || stage.cxone().user(&account).unwrap()["name"]["familyName"].clone();
    assert!(until(|| family() == "Martin").await);
    assert_eq!(stage.cxone().user(&account).unwrap()["displayName"], "A.");
    assert_eq!(stage.cxone().users().len(), 1, "nobody was made a second time");
    // And from here on the newest side is whoever moves.
    stage.graph().update_user(&ana, json!({ "displayName": "Ana S." }));
    let shown = || stage.cxone().user(&account).unwrap()["displayName"].clone();
    assert!(until(|| shown() == "Ana S.").await);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_with_one_address_are_left_to_an_operator() {
    for lists in [Lists::Paged { most: 5 }, Lists::Refused] {
        let mut stage = stage(lists);
        configure(&mut stage, "cxone", "match = [\"email\"]");
        let (ana, eva) = (stage.hire("Ana"), stage.hire("Eva"));
        let ben = stage.hire("Ben");
        stage.graph().update_user(&eva, json!({ "mail": "ANA@example.com" }));
        let shared = employ(&stage, "Ana", json!({}));
        let bens = employ(&stage, "Ben", json!({}));
        let (exit, report) = adopt(&stage, &[]);
        assert_eq!(exit, 4, "{report:#}");
        assert_eq!(
            field(&report, "ambiguous", "account"),
            ["ana", "eva"].map(|name| (address(name), json!(shared))).into()
        );
        assert_eq!(field(&report, "ambiguous", "others")["ana@example.com"], json!([eva]));
        assert_eq!(links(&stage).await, [(ben, bens)].into());
        // Once one of them has another address, the other is who they are.
        stage.graph().update_user(&eva, json!({ "mail": "eva@example.com" }));
        let (exit, report) = adopt(&stage, &[]);
        assert_eq!(
            (exit, field(&report, "matched", "scimId")),
            (0, [(address("Ana"), json!(shared))].into())
        );
        assert_eq!(links(&stage).await[&ana], shared);
        assert_eq!(writes(&stage), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_be_looked_at_is_told_and_linked_the_next_time() {
    for lists in [Lists::Paged { most: 5 }, Lists::Refused] {
        let stage = stage(lists);
        let (ana, ben) = (stage.hire("Ana"), stage.hire("Ben"));
        let (anas, bens) = (employ(&stage, "Ana", json!({})), employ(&stage, "Ben", json!({})));
        stage.cxone().add_fault(Fault::new(
            "GET",
            &format!("/scim/v2/Users/{anas}"),
            When::Always,
            What::Status(500, None),
        ));
        let (exit, report) = adopt(&stage, &[]);
        assert_eq!(exit, 3, "{report:#}");
        let failed = field(&report, "failed", "error");
        assert!(failed["ana@example.com"].as_str().unwrap().contains("500"), "{failed:?}");
        assert_eq!(field(&report, "matched", "scimId"), [(address("Ben"), json!(bens))].into());
        stage.cxone().set_faults(cxone_sync::sim::Faults::none());
        assert_eq!(adopt(&stage, &[]).0, 0);
        assert_eq!(links(&stage).await, [(ana, anas), (ben, bens)].into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_asks_to_wait_is_waited_for() {
    let stage = stage(Lists::Paged { most: 5 });
    let mut pairs = BTreeMap::new();
    for n in 0..12 {
        let name = format!("Agent{n}");
        pairs.insert(stage.hire(&name), employ(&stage, &name, json!({})));
    }
    let wait = What::Status(429, Some(RetryAfter::Seconds(1)));
    stage.cxone().add_fault(Fault::new("GET", "/scim/v2/*", When::Between(2, 2), wait.clone()));
    stage.cxone().add_fault(Fault::new("GET", "/scim/v2/*", When::Between(9, 9), wait));
    stage.graph().add_fault(Fault::new("GET", "/v1.0/users/*", When::First(1), What::Status(503, None)));
    let (exit, report) = adopt(&stage, &[]);
    assert_eq!((exit, report["matched"].as_array().unwrap().len()), (0, 12), "{report:#}");
    assert_eq!(links(&stage).await, pairs);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_adopted_on_half_a_look() {
    let mut stage = stage(Lists::Paged { most: 5 });
    stage.hire("Ana");
    employ(&stage, "Ana", json!({}));
    // Nobody may read: an outage is no failure of each user.
    stage.cxone().add_fault(Fault::new("GET", "/scim/v2/*", When::Always, What::Status(403, None)));
    let output = run(&stage, &["adopt"]);
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    stage.cxone().set_faults(cxone_sync::sim::Faults::none());

    let before = stage.cxone().requests().len();
    configure(&mut stage, "scope", "groups = [\"00000000-0000-4000-8000-00000000dead\"]");
    let output = run(&stage, &["adopt"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot tell who is in scope") && said.contains("dead"), "{said}");
    assert_eq!(stage.cxone().requests().len(), before, "who is in scope comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_adoption_does_not_run_beside_the_first() {
    let stage = stage(Lists::Paged { most: 5 });
    stage.hire("Ana");
    employ(&stage, "Ana", json!({}));
    let running = stage.serve_unsubscribed(&[("sync.mode", "observe")]).await;
    let progress = Progress::default();
    let adopt = || running.worker.adopt(true, &progress);
    let (first, second) = tokio::join!(adopt(), adopt());
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(second, Err(NotAdopted::UnderWay)));
    assert!(adopt().await.is_ok());
    assert_eq!(progress.now().doing, "comparing pairs");
    // So do plans, which tell as well how far they are.
    let everybody = running.worker.everybody(&progress).await.unwrap();
    assert_eq!((progress.now().doing, progress.now().done), ("reading Entra", 1));
    running.worker.plan_many(everybody, &progress).await.unwrap();
    let stage = progress.now();
    assert_eq!((stage.doing, stage.done, stage.of), ("looking at users", 1, Some(1)));
    stop(running).await;
}
