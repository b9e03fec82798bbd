//! The rules, judged by what the directory and the people in it are like.

use serde_json::{Value, json};

use super::process::run;
use super::stage::Stage;

/// The codes of what is found, with the number of users, and the exit code.
fn lint(stage: &Stage) -> (Vec<(String, u64)>, Value, Option<i32>) {
    let output = run(stage, &["mapping", "lint", "-o", "json"]);
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let code = |finding: &Value| {
        (finding["code"].as_str().unwrap().to_owned(), finding["n_users"].as_u64().unwrap())
    };
    let codes = answer["findings"].as_array().unwrap().iter().map(code).collect();
    (codes, answer, output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_meant_is_found_before_anybody_was_seen() {
    let mut stage = Stage::new();
    stage.hire("Ana");
    let (found, answer, exit) = lint(&stage);
    assert_eq!((found, exit), (vec![], Some(0)), "{answer:#}");
    assert_eq!((&answer["from"], &answer["users"]), (&json!("directory"), &json!(1)));

    let gone = "99999999-2222-4333-8444-555566667777";
    let nobody =
        stage.graph().add_user(json!({ "userPrincipalName": "nobody@example.com", "accountEnabled": true }));
    stage.configuration += &format!(
        "[attributes.timeZone]\nfrom = \"CDate([displayName])\"\n\
         [[roles]]\ngroup = \"{gone}\"\nrole = \"agent\"\n[[roles]]\ngroup = \"{}\"\nrole = \"Lead\"\n",
        stage.nested
    );
    let (mut found, answer, exit) = lint(&stage);
    found.sort();
    let expected = [
        ("group_missing", 0),
        ("mapping_fails", 1),
        ("required_empty", 1),
        ("required_empty", 1),
        ("role_groups_nested", 0),
        ("roles_alike", 0),
    ];
    assert_eq!(found, expected.map(|(code, n)| (code.to_owned(), n)), "{answer:#}");
    assert_eq!(exit, Some(1));
    let empty =
        answer["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "required_empty");
    assert_eq!(empty.unwrap()["users"], json!([nobody]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_that_were_seen_are_tried_first() {
    let stage = Stage::new();
    let running = stage.serve(&[]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    let user = ana.parse().unwrap();
    let seen = super::stage::until_async(|| async {
        running.store.state_at(user, jiff::Timestamp::MAX).await.unwrap().is_some()
    });
    assert!(seen.await);
    let (found, answer, exit) = lint(&stage);
    assert_eq!((found, exit), (vec![], Some(0)), "{answer:#}");
    assert_eq!((&answer["from"], &answer["users"]), (&json!("seen"), &json!(1)));
    super::stage::stop(running).await;
}
