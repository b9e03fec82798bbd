use std::collections::BTreeMap;

use super::*;
use crate::graph::script::{ANA, Script, answer, fault};

const USER: &str = include_str!("../../../fixtures/graph/user.json");
const NOT_FOUND: &str = include_str!("../../../fixtures/graph/not-found.json");

fn ana() -> UserId {
    ANA.parse().unwrap()
}

async fn read(status: u16, body: impl Into<String>) -> Result<Observed<SourceUser>, Error> {
    let body = body.into();
    Script::new(move |_| answer(status, body.clone())).graph.user(ana()).await
}

#[tokio::test]
async fn a_whole_answer_is_a_user() {
    let Observed::Present(user) = read(200, USER).await.unwrap() else { panic!("absent") };
    assert_eq!((user.id, user.enabled), (ana(), true));
    let expected = [
        ("IsSoftDeleted", Value::text("False")),
        ("displayName", Value::text("Ana Ávila")),
        ("mail", Value::text("ana@example.com")),
        (
            "proxyAddresses",
            Value::List(vec!["SMTP:ana@example.com".into(), "smtp:a.avila@example.com".into()]),
        ),
        ("telephoneNumber", Value::text("+351 210 000 001")),
        ("userPrincipalName", Value::text("ana@example.com")),
    ];
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(user.properties, expected);
}

#[tokio::test]
async fn one_waiting_call_is_a_plain_get() {
    let script = Script::new(|_| answer(200, USER));
    script.graph.user(ana()).await.unwrap();
    assert_eq!(
        script.asked(),
        [format!(
            "GET /users/{ANA}?$select=accountEnabled,businessPhones,displayName,id,mail,proxyAddresses,userPrincipalName"
        )]
    );
}

#[tokio::test]
async fn an_answer_cut_short_is_never_a_user() {
    let whole = USER.trim_end();
    let cut = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let script = Script::new({
        let cut = cut.clone();
        // Cuts within a character too.
        move |_| {
            let at = cut.load(std::sync::atomic::Ordering::SeqCst);
            answer(200, String::from_utf8_lossy(&whole.as_bytes()[..at]))
        }
    });
    for at in 0..whole.len() {
        cut.store(at, std::sync::atomic::Ordering::SeqCst);
        let result = script.graph.user(ana()).await;
        assert!(matches!(result, Err(Error::Malformed { .. })), "cut at {at}: {result:?}");
    }
    cut.store(whole.len(), std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(script.graph.user(ana()).await, Ok(Observed::Present(_))));
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_decides_nothing() {
    for wrong in [
        "<html><body>Sign in to the network</body></html>".to_owned(),
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        format!(r#"{{"value":[{USER}]}}"#),
        format!("{USER}{USER}"),
        USER.replace("true", "null"),
        USER.replace("true", "\"true\""),
        USER.replace("true", "1"),
        USER.replace("accountEnabled\":", "accountenabled\":"),
        USER.replace("  \"accountEnabled\": true,\n", ""),
        USER.replace("3F0C2A9E", "3F0C2A9F"),
        USER.replace("\"id\"", "\"Id\""),
        USER.replace("3F0C2A9E-1111-4222-8333-444455556666", "ana@example.com"),
    ] {
        let result = read(200, wrong.clone()).await;
        assert!(matches!(result, Err(Error::Malformed { .. })), "{wrong}: {result:?}");
    }
    for status in [201, 204, 206] {
        assert!(matches!(read(status, USER).await, Err(Error::Malformed { .. })), "{status}");
    }
}

#[tokio::test]
async fn only_the_directory_itself_can_say_that_nobody_is_there() {
    assert_eq!(read(404, NOT_FOUND).await.unwrap(), Observed::Absent);
    for (status, body) in [
        (404, String::new()),
        (404, "<html>404</html>".to_owned()),
        (404, NOT_FOUND[..NOT_FOUND.len() - 9].to_owned()),
        (404, fault("ResourceNotFound")),
        (404, fault("Directory_ObjectNotFound")),
        (404, r#"{"error":"Request_ResourceNotFound"}"#.to_owned()),
        (400, NOT_FOUND.to_owned()),
        (410, NOT_FOUND.to_owned()),
        (500, NOT_FOUND.to_owned()),
    ] {
        let result = read(status, body.clone()).await;
        assert!(matches!(result, Err(Error::Status { .. })), "{status} {body}: {result:?}");
    }
    assert!(matches!(read(200, NOT_FOUND).await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn a_user_is_found_by_name() {
    let script = Script::new(|_| answer(200, USER));
    let ask = |name: &'static str| script.graph.user_by_name(name);
    assert!(matches!(ask("ana@example.com").await, Ok(Observed::Present(_))));
    assert!(matches!(ask("ana_ext#EXT#@example.com").await, Ok(Observed::Present(_))));
    assert!(matches!(ask("$o'hara@example.com").await, Ok(Observed::Present(_))));
    assert!(matches!(ask(ANA).await, Ok(Observed::Present(_))));
    for odd in ["", ".", "..", "a/b", "../groups", "a\\b", "a b", "a%2fb"] {
        assert_eq!(ask(odd).await.unwrap(), Observed::Absent, "{odd}");
    }
    let paths: Vec<String> =
        script.asked().into_iter().map(|asked| asked.split('?').next().unwrap().to_owned()).collect();
    let by_id = format!("GET /users/{ANA}");
    assert_eq!(
        paths,
        [
            "GET /users/ana@example.com",
            "GET /users/ana_ext%23EXT%23@example.com",
            "GET /users('$o''hara@example.com')",
            &by_id
        ]
    );
}

#[tokio::test]
async fn a_deleted_item_counts_only_if_it_is_this_user() {
    async fn look(status: u16, body: String) -> Result<Observed<DeletedItem>, Error> {
        Script::new(move |_| answer(status, body.clone())).graph.deleted_item(ana()).await
    }
    let item = |id: &str| format!(r##"{{"@odata.type":"#microsoft.graph.user","id":"{id}"}}"##);
    assert_eq!(look(200, item(ANA)).await.unwrap(), Observed::Present(DeletedItem { id: ana() }));
    assert_eq!(look(404, NOT_FOUND.to_owned()).await.unwrap(), Observed::Absent);
    for wrong in [
        item("5b000000-0000-4222-8333-444455556666"),
        item(ANA).replace("user", "group"),
        "{}".to_owned(),
        "<html>".to_owned(),
    ] {
        let result = look(200, wrong.clone()).await;
        assert!(matches!(result, Err(Error::Malformed { .. })), "{wrong}: {result:?}");
    }
    assert!(matches!(look(404, "<html>".to_owned()).await, Err(Error::Status { .. })));
    assert!(matches!(look(403, fault("Authorization_RequestDenied")).await, Err(Error::Forbidden { .. })));
}

#[test]
fn a_fingerprint_shows_every_difference_and_no_other() {
    let user = |enabled, pairs: &[(&str, Value)]| SourceUser {
        id: ana(),
        enabled,
        properties: pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    };
    let list = |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
    let base = user(true, &[("a", list(&["x", "y"])), ("b", Value::text("z"))]);
    assert_eq!(fingerprint(&base).len(), 64);
    assert_eq!(
        fingerprint(&base),
        fingerprint(&user(true, &[("b", Value::text("z")), ("a", list(&["y", "x"]))]))
    );
    for other in [
        user(false, &[("a", list(&["x", "y"])), ("b", Value::text("z"))]),
        user(true, &[("a", list(&["x", "y"])), ("b", Value::text("Z"))]),
        user(true, &[("a", list(&["xy"])), ("b", Value::text("z"))]),
        user(true, &[("a", list(&["x", "y", "z"])), ("b", Value::text(""))]),
        user(true, &[("a", list(&["x", "y"]))]),
        user(true, &[("a", Value::text("x, y")), ("b", Value::text("z"))]),
    ] {
        assert_ne!(fingerprint(&base), fingerprint(&other), "{other:?}");
    }
    assert_ne!(
        fingerprint(&user(true, &[("a", Value::Flag(true))])),
        fingerprint(&user(true, &[("a", Value::text("true"))]))
    );
}
