use std::sync::{Arc, Mutex};

use expect_test::expect;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::{client, json as answer};
use crate::cli::screen::testing::screen;
use crate::clock::Clock;

const ID: &str = "3f0c2a9e-1111-4222-8333-444455556666";

#[test]
fn drift_is_shown_with_its_owner_and_the_group_of_each_role() {
    let found = json!([
        {"user": ID, "userName": "ana@example.com", "attribute": "displayName",
         "since": "2026-11-23T10:00:00Z", "baseline": "Ana", "shown": "By hand\u{1b}", "entra": "Ana",
         "owner": "newest", "decision": "keep", "why": "target_changed", "bothChanged": true},
        {"user": ID, "userName": "ana@example.com", "attribute": "roles", "since": "2026-11-23T10:00:00Z",
         "baseline": ["Agent"], "shown": ["Admin", "Supervisor"], "entra": ["Agent", "Admin"],
         "owner": "cxone", "decision": "keep", "why": "owned_by_cxone", "bothChanged": false,
         "roles": [{"role": "Supervisor", "given": true, "group": ID},
                   {"role": "Admin", "given": true, "group": null},
                   {"role": "Agent", "given": false, "group": ID}]},
    ]);
    let found: Vec<Found> = serde_json::from_value(found).unwrap();
    expect![[r#"
        ana@example.com (3f0c2a9e-1111-4222-8333-444455556666)
          displayName since 2026-11-23T10:00:00Z: CXone By hand  | was Ana | Entra Ana
              keep, owner newest (target_changed); Entra changed too
          roles since 2026-11-23T10:00:00Z: CXone Admin, Supervisor | was Agent | Entra Agent, Admin
              Supervisor given by hand; the table's group for it is 3f0c2a9e-1111-4222-8333-444455556666
              Admin given by hand; not in the table: never touched
              Agent taken by hand; the table's group for it is 3f0c2a9e-1111-4222-8333-444455556666
              keep, owner cxone (owned_by_cxone)
    "#]]
    .assert_eq(&listed(&found, &screen(false, "").0));
    assert_eq!(listed(&[], &screen(false, "").0), "No drift.\n");
}

/// Runs `drift revert` against a service that refuses one attribute and takes this long: the exit
/// code, what was asked, and what was printed.
async fn revert_one(follow: Follow, state: &'static str, via: Via) -> (Exit, Vec<String>, String) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let asked = asked.clone();
        move |request: crate::outbound::Request| {
            let path = request.url.path().strip_prefix("/api/v1/").unwrap().to_owned();
            asked.lock().unwrap().push(path.clone());
            match path.as_str() {
                "drift/revert" => {
                    answer(200, json!({"batch": "b1", "refused": [{"attribute": "locale", "why": "no"}]}))
                }
                "batches/b1" => {
                    let user = json!({"user": ID, "state": state, "words": null});
                    answer(200, json!({"pending": 0, "users": [user], "skipped": []}))
                }
                path => panic!("{path}"),
            }
        }
    };
    let (screen, out, _) = screen(false, "");
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let mut session = Session { client: client(service), via, clock, screen };
    let what = What { user: ID.to_owned(), attributes: vec![Attribute::Locale, Attribute::Team] };
    let args = RevertArgs { what, by: By::default(), follow, output: Output::default() };
    let exit = revert(&args, &mut session).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    (exit, asked, out.text())
}

#[tokio::test]
async fn a_revert_is_followed_and_what_was_refused_shows() {
    let (exit, asked, text) = revert_one(Follow::usual(), "applied", Via::Socket).await;
    assert_eq!((exit, asked.len()), (Exit::SomeFailed, 2));
    assert_eq!(text, "locale refused: no\n1 user: 1 done\n");
    assert_eq!(revert_one(Follow::usual(), "held", Via::Socket).await.0, Exit::Held);
    let (_, asked, text) = revert_one(Follow::none(), "applied", Via::Socket).await;
    assert_eq!((asked.len(), text.as_str()), (1, "locale refused: no\nOrdered as b1.\n"));
    let (_, asked, _) = revert_one(Follow::usual(), "applied", Via::Offline).await;
    assert_eq!(asked.len(), 1, "nobody would do it");
}
