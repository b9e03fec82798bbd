use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::graph::script::{ANA, TENANT};

const FIXTURE: &str = include_str!("../../../fixtures/graph/notifications.json");
const NONCE: [u8; 16] = [7; 16];

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn verifier() -> Verifier {
    Verifier::new(vec![secret("new secret"), secret("old secret")], TENANT)
}

fn signed(resource: Resource) -> String {
    verifier().sign(resource, NONCE).0
}

fn counts<const N: usize>(pairs: [(&'static str, u64); N]) -> BTreeMap<&'static str, u64> {
    pairs.into()
}

fn user(id: &str) -> News {
    News::User { id: id.parse().unwrap(), deleted: false }
}

#[test]
fn a_mixed_body_is_read_item_by_item() {
    let body =
        FIXTURE.replace("{users}", &signed(Resource::Users)).replace("{groups}", &signed(Resource::Groups));
    let read = read(body.as_bytes(), &verifier()).unwrap();
    assert_eq!(
        read.news,
        [
            user(ANA),
            News::Group { id: "77aa0000-1111-4222-8333-444455556666".parse().unwrap() },
            user("5b000000-2222-4222-8333-444455556666"),
            News::User { id: "5b000000-3333-4222-8333-444455556666".parse().unwrap(), deleted: true },
            News::Lifecycle {
                subscription: "9d000000-1111-4222-8333-444455556666".to_owned(),
                event: LifecycleEvent::ReauthorizationRequired
            },
        ]
    );
    assert_eq!(read.counts, counts([("accepted", 5), ("irrelevant", 1)]));
}

/// A genuine item about Ana with some members replaced; `"-"` removes one.
fn item(changes: Json) -> Json {
    let mut item = json!({
        "changeType": "updated", "clientState": signed(Resource::Users), "tenantId": TENANT,
        "subscriptionId": "9d000000-1111-4222-8333-444455556666", "resource": format!("Users/{ANA}"),
        "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": ANA, "sequenceNumber": 638992050721234567u64},
    });
    for (name, value) in changes.as_object().unwrap() {
        if value == "-" {
            item.as_object_mut().unwrap().remove(name);
        } else {
            item[name] = value.clone();
        }
    }
    item
}

fn judged(item: &str) -> Result<News, &'static str> {
    let body = format!(r#"{{"value":[{item}]}}"#);
    let mut read = read(body.as_bytes(), &verifier()).unwrap();
    assert_eq!(read.counts.values().sum::<u64>(), 1, "{body}");
    match read.news.pop() {
        Some(news) => Ok(news),
        None => Err(*read.counts.keys().next().unwrap()),
    }
}

#[track_caller]
fn check(changes: Json, expected: Result<News, &'static str>) {
    assert_eq!(judged(&item(changes.clone()).to_string()), expected, "{changes}");
}

#[test]
fn only_our_own_client_states_are_genuine() {
    let good = signed(Resource::Users);
    check(json!({}), Ok(user(ANA)));
    let bad = Err("bad_client_state");
    check(json!({"clientState": "-"}), bad.clone());
    check(json!({"clientState": null}), bad.clone());
    check(json!({"clientState": ""}), bad.clone());
    check(json!({"clientState": good.to_uppercase()}), bad.clone());
    check(json!({"clientState": good.to_lowercase()}), bad.clone());
    check(json!({"clientState": format!("{good}A")}), bad.clone());
    check(json!({"clientState": format!("A{good}")}), bad.clone());
    check(json!({"clientState": format!("{good} ")}), bad.clone());
    check(json!({"clientState": format!("{good}=")}), bad.clone());
    check(json!({"clientState": format!("{good}.")}), bad.clone());
    check(json!({"clientState": good.replacen('1', "2", 1)}), bad.clone());
    check(json!({"clientState": good.replace(".u.", ".g.")}), bad.clone());
    check(json!({"clientState": good.replace(".u.", ".x.")}), bad.clone());
    check(json!({"clientState": good.replace(".u.", "..")}), bad.clone());
    for at in 0..good.len() {
        let cut = &good[..at];
        check(json!({"clientState": cut}), bad.clone());
        let mut flipped = good.clone().into_bytes();
        flipped[at] = if flipped[at] == b'B' { b'C' } else { b'B' };
        check(json!({"clientState": String::from_utf8(flipped).unwrap()}), bad.clone());
    }
    let of = |secrets: &str, tenant: &str| client_state(secrets.as_bytes(), NONCE, tenant, Resource::Users);
    check(json!({"clientState": of("another secret", TENANT)}), bad.clone());
    check(json!({"clientState": of("new secret", "21112222-3333-4444-5555-666677778888")}), bad);
    // Rotated: the old one verifies, the first one signs.
    check(json!({"clientState": of("old secret", TENANT)}), Ok(user(ANA)));
    assert_eq!(good, of("new secret", TENANT));
    // Of the wrong type: the item cannot be read at all.
    for odd in [json!(7), json!(true), json!([good]), json!({"a": good})] {
        check(json!({"clientState": odd}), Err("malformed_item"));
    }
}

#[test]
fn only_our_tenant_counts() {
    let unknown = Err("unknown_tenant");
    check(json!({"tenantId": TENANT.to_uppercase()}), Ok(user(ANA)));
    check(json!({"tenantId": "-"}), unknown.clone());
    check(json!({"tenantId": null}), unknown.clone());
    check(json!({"tenantId": "21112222-3333-4444-5555-666677778888"}), unknown.clone());
    check(json!({"tenantId": ""}), unknown);
    check(json!({"tenantId": 7}), Err("malformed_item"));
}

#[test]
fn a_tenant_known_by_its_domain_is_bound_by_the_client_state() {
    let verifier = Verifier::new(vec![secret("s")], "Contoso.example");
    let (state, _) = verifier.sign(Resource::Users, NONCE);
    assert_eq!(verifier.verify(&state), Some(Resource::Users));
    let body = json!({"value": [item(json!({"clientState": state}))]}).to_string();
    assert_eq!(read(body.as_bytes(), &verifier).unwrap().news, [user(ANA)]);
    let other = Verifier::new(vec![secret("s")], "fabrikam.example");
    assert_eq!(other.verify(&state), None);
}

#[test]
fn an_item_says_whom_it_is_about_or_is_malformed() {
    let data = |id: Json| json!({"resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": id}});
    let malformed = Err("malformed_item");
    check(json!({"resourceData": "-"}), malformed.clone());
    check(json!({"resourceData": null}), malformed.clone());
    check(json!({"resourceData": "Users"}), malformed.clone());
    check(json!({"resourceData": {}}), malformed.clone());
    for id in [json!(null), json!(7), json!(""), json!("../groups"), json!("ana@example.com"), json!([ANA])] {
        check(data(id), malformed.clone());
    }
    check(data(json!(ANA.to_uppercase())), Ok(user(ANA)));
    check(json!({"resourceData": {"id": ANA}}), Ok(user(ANA)));
    check(json!({"resourceData": {"@odata.type": "#microsoft.graph.user", "id": ANA}}), Ok(user(ANA)));
    // The client state of the users' subscription does not speak for groups.
    for kind in ["#Microsoft.Graph.Group", "#Microsoft.Graph.Message", ""] {
        check(json!({"resourceData": {"@odata.type": kind, "id": ANA}}), Err("irrelevant"));
    }
    let group = json!({"clientState": signed(Resource::Groups), "resourceData": {"@odata.type": "#Microsoft.Graph.Group", "id": ANA}});
    check(group, Ok(News::Group { id: ANA.parse().unwrap() }));
    check(json!({"clientState": signed(Resource::Groups)}), Err("irrelevant"));
}

#[test]
fn any_change_type_is_news() {
    for kind in [json!("updated"), json!("created"), json!("unknownFutureValue"), json!(null), json!("-")] {
        check(json!({"changeType": kind}), Ok(user(ANA)));
    }
    for kind in ["deleted", "Deleted"] {
        check(json!({"changeType": kind}), Ok(News::User { id: ANA.parse().unwrap(), deleted: true }));
    }
}

#[test]
fn lifecycle_items_need_a_plain_subscription_id() {
    let of = |event: &str, id: Json| json!({"lifecycleEvent": event, "subscriptionId": id, "resource": "-", "resourceData": "-", "changeType": "-"});
    for (name, event) in [
        ("reauthorizationRequired", LifecycleEvent::ReauthorizationRequired),
        ("subscriptionRemoved", LifecycleEvent::SubscriptionRemoved),
        ("missed", LifecycleEvent::Missed),
    ] {
        check(of(name, json!("9d-1")), Ok(News::Lifecycle { subscription: "9d-1".to_owned(), event }));
    }
    check(of("somethingNew", json!("9d-1")), Err("irrelevant"));
    for id in
        [json!(null), json!(""), json!(".."), json!("a/b"), json!("a%2fb"), json!("a".repeat(65)), json!("-")]
    {
        check(of("missed", id), Err("malformed_item"));
    }
    let mut forged = of("missed", json!("9d-1"));
    forged["clientState"] = json!("forged");
    check(forged, Err("bad_client_state"));
}

#[test]
fn one_bad_item_spoils_no_other() {
    let good = item(json!({})).to_string();
    let depth = 5_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for bad in [
        "7",
        "null",
        "\"text\"",
        "[]",
        "{}",
        "true",
        "1e999",
        r#""\ud800""#,
        r#"{"tenantId":1e999}"#,
        r#"{"tenantId":"\ud800"}"#,
        r#"{"tenantId":"a","tenantId":"b"}"#,
        r#"{"sequenceNumber":99999999999999999999999999999999}"#,
        &deep,
        &format!(r#"{{"resourceData":{deep}}}"#),
        &format!(r#"{{"unknown":{deep}}}"#),
    ] {
        let body = format!(r#"{{"value":[{bad},{good},{bad}]}}"#);
        let read = read(body.as_bytes(), &verifier()).unwrap_or_else(|_| panic!("{bad:.60}"));
        assert_eq!(read.news, [user(ANA)], "{bad:.60}");
        assert_eq!(read.counts["accepted"], 1);
        assert_eq!(read.counts.values().sum::<u64>(), 3);
    }
}

#[test]
fn numbers_larger_than_a_double_break_nothing() {
    let text = item(json!({})).to_string();
    assert!(text.contains("638992050721234567"));
    for number in ["18446744073709551616", "-1", "1e400", "0.1", "\"text\""] {
        assert_eq!(judged(&text.replace("638992050721234567", number)), Ok(user(ANA)), "{number}");
    }
}

#[test]
fn a_body_that_is_no_collection_is_refused() {
    let whole = json!({"value": [item(json!({}))]}).to_string();
    for body in [
        "",
        " ",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        "<html>",
        r#"{"value":null}"#,
        r#"{"value":{}}"#,
        r#"{"value":"x"}"#,
        r#"{"Value":[]}"#,
        r#"{"value":[]}}"#,
        r#"{"value":[],"value":[]}"#,
        r#"{"value":[]} x"#,
        r#"{"value":[,]}"#,
    ] {
        assert_eq!(read(body.as_bytes(), &verifier()), Err(NotJson), "{body}");
    }
    for at in 0..whole.len() {
        assert_eq!(read(&whole.as_bytes()[..at], &verifier()), Err(NotJson), "cut at {at}");
    }
    assert_eq!(read(b"{\"value\":[\"\xff\"]}", &verifier()), Err(NotJson));
    assert_eq!(
        read(br#"{"validationTokens":[],"value":[],"other":{"value":[7]}}"#, &verifier()),
        Ok(Read::default())
    );
    // The key may be written with escapes as well.
    assert_eq!(read(br#"{"\u0076alue":[]}"#, &verifier()), Ok(Read::default()));
}

#[test]
fn items_beyond_the_limit_are_only_counted() {
    let good = item(json!({})).to_string();
    let body = format!(r#"{{"value":[{}]}}"#, vec![good; MOST_ITEMS + 3].join(","));
    let read = read(body.as_bytes(), &verifier()).unwrap();
    assert_eq!(read.news.len(), MOST_ITEMS);
    assert_eq!(read.counts, counts([("accepted", MOST_ITEMS as u64), ("too_many", 3)]));
}

#[test]
fn a_client_state_is_short_ascii_and_never_the_same() {
    for resource in Resource::ALL {
        let (state, _) = verifier().sign(resource, NONCE);
        assert!(state.is_ascii() && state.len() <= 128, "{state}");
        assert_eq!(verifier().verify(&state), Some(resource));
        assert_ne!(state, verifier().sign(resource, [8; 16]).0);
    }
}

#[test]
#[should_panic(expected = "a client state needs a secret")]
fn an_empty_secret_is_none() {
    Verifier::new(vec![secret("good"), secret("")], TENANT);
}

/// Bytes that look like a notification here and there.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let good = item(json!({})).to_string();
    let piece = prop_oneof![
        Just(r#"{"value":["#.to_owned()),
        Just("]}".to_owned()),
        Just(",".to_owned()),
        Just(good),
        Just(r#"{"clientState":"#.to_owned()),
        Just("}".to_owned()),
        Just("\"".to_owned()),
        Just("1e999".to_owned()),
        "\\PC{0,12}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        read(&body, &verifier()).ok();
    }

    #[test]
    fn reading_what_is_almost_right_never_panics(body in almost(), cut in any::<prop::sample::Index>()) {
        read(&body, &verifier()).ok();
        read(&body[..cut.index(body.len() + 1)], &verifier()).ok();
    }

    #[test]
    fn nothing_but_a_signature_verifies(state in "1\\.[A-Za-z0-9_-]{22}\\.[ug]\\.[A-Za-z0-9_-]{43}") {
        prop_assert_eq!(verifier().verify(&state), None);
    }
}

#[test]
fn a_secret_that_is_exchanged_verifies_until_nothing_it_signed_can_arrive() {
    let at = |hours: i64| Timestamp::from_second(1_800_000_000 + 3600 * hours).unwrap();
    let verifier = Verifier::new(vec![secret("one")], TENANT);
    let (old, old_mark) = verifier.sign(Resource::Users, NONCE);
    assert!(!verifier.is_outdated(Some(&old_mark)) && !verifier.is_outdated(None));
    verifier.exchange(vec![secret("two")]);
    let (new, new_mark) = verifier.sign(Resource::Users, NONCE);
    assert_eq!(verifier.signed_by(&old), Some((Resource::Users, old_mark.clone())));
    assert_eq!(verifier.signed_by(&new), Some((Resource::Users, new_mark.clone())));
    assert!(verifier.is_outdated(Some(&old_mark)) && verifier.is_outdated(None));
    assert!(!verifier.is_outdated(Some(&new_mark)));

    // While a subscription is signed by it, it is not let go.
    let in_use = BTreeSet::from([old_mark.clone(), new_mark.clone()]);
    assert_eq!(verifier.retire(&in_use, at(0)), 1);
    assert_eq!(verifier.retire(&in_use, at(900)), 1);
    let in_use = BTreeSet::from([new_mark]);
    assert_eq!(verifier.retire(&in_use, at(901)), 1);
    assert_eq!(verifier.retire(&in_use, at(904)), 1, "Graph repeats for four hours");
    assert!(verifier.verify(&old).is_some());
    assert_eq!(verifier.retire(&in_use, at(905)), 0);
    assert_eq!((verifier.verify(&old), verifier.verify(&new)), (None, Some(Resource::Users)));

    // One that comes back is configured, and nothing else.
    verifier.exchange(vec![secret("one"), secret("two")]);
    assert_eq!(verifier.retire(&BTreeSet::new(), at(906)), 0);
    assert!(verifier.verify(&old).is_some() && !verifier.is_outdated(Some(&old_mark)));
}
