use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Caller, cxone, form};
use crate::sim::{CxoneOptions, CxoneSim, Dialect, Fault, Lists, PatchAnswer, Phase, RetryAfter, What, When};

const NICE: &str = "urn:ietf:params:scim:schemas:extension:nice:2.0:User";

fn ana() -> Value {
    json!({
        "userName": "Ana@example.com",
        "name": {"givenName": "Ana", "familyName": "Silva"},
        "emails": [{"type": "work", "value": "ana@example.com", "primary": true}],
        "phoneNumbers": [{"type": "mobile", "value": "+351 900"}],
        "timezone": "Europe/Lisbon",
        NICE: {"team": {"display": "Care"}},
        "shoeSize": 38,
    })
}

async fn with_ana(options: CxoneOptions) -> (CxoneSim, Caller, String) {
    let (sim, cxone) = cxone(options).await;
    let made = cxone.post("/Users", ana()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.body["id"].as_str().unwrap().to_owned();
    (sim, cxone, id)
}

fn patch_op(operations: Value) -> Option<Value> {
    Some(json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}))
}

fn query(filter: &str) -> String {
    let encoded = percent_encoding::utf8_percent_encode(filter, percent_encoding::NON_ALPHANUMERIC);
    format!("/Users?filter={encoded}")
}

#[tokio::test]
async fn a_new_user_comes_back_whole_and_in_cxones_spelling() {
    let (sim, cxone, id) = with_ana(CxoneOptions::default()).await;
    let user = cxone.get(&format!("/Users/{id}")).await.body;
    assert_eq!(user["timeZone"], "Europe/Lisbon");
    assert_eq!((&user["active"], &user["roles"][0]["display"]), (&json!(true), &json!("Agent")));
    assert_eq!(
        (&user[NICE]["team"]["display"], &user["meta"]),
        (&json!("Care"), &json!({"resourceType": "User"}))
    );
    assert!(user.get("shoeSize").is_none() && user.get("timezone").is_none());
    assert_eq!(sim.user_by_name("ANA@EXAMPLE.COM"), Some(user));

    let taken = cxone
        .post("/Users", {
            let mut user = ana();
            user["userName"] = json!("aNA@example.com");
            user
        })
        .await;
    assert_eq!(
        (taken.status, &taken.body["scimType"], &taken.body["status"]),
        (409, &json!("uniqueness"), &json!("409"))
    );
    for name in ["userName", "name", "emails"] {
        let mut user = ana();
        user[name] = Value::Null;
        assert_eq!(cxone.post("/Users", user).await.status, 400, "{name}");
    }
    assert_eq!(cxone.send("DELETE", &format!("/Users/{id}"), None).await.status, 405);
    assert_eq!(cxone.get("/Users/nobody").await.body["status"], "404");
    let nowhere = cxone.get(&sim.scim_url().replace("/v2", "/Users/1")).await;
    assert_eq!((nowhere.status, nowhere.body), (404, Value::Null));
}

#[tokio::test]
async fn without_an_agent_role_nobody_is_created() {
    let (sim, cxone) = cxone(CxoneOptions { default_role: None, ..CxoneOptions::default() }).await;
    assert_eq!(cxone.post("/Users", ana()).await.status, 400);
    assert_eq!(sim.users().len(), 0);
}

#[tokio::test]
async fn a_search_takes_a_filter_and_shows_less() {
    let (_sim, cxone, id) = with_ana(CxoneOptions::default()).await;
    let list = cxone.get(&query(r#"userName eq "ana@EXAMPLE.com""#)).await;
    assert_eq!(list.body["totalResults"], 1);
    assert!(list.body.get("startIndex").is_none());
    let hit = &list.body["Resources"][0];
    assert_eq!(hit["id"], id.as_str());
    assert!(hit.get("phoneNumbers").is_none());
    assert_eq!(cxone.get(&query(r#"userName eq "nobody""#)).await.body["totalResults"], 0);
    assert_eq!(cxone.get("/Users").await.status, 400);
    let bad = cxone.get(&query("userName is nobody")).await;
    assert_eq!((bad.status, &bad.body["scimType"]), (400, &json!("invalidFilter")));
}

#[tokio::test]
async fn a_tenant_may_refuse_or_ignore_a_filter() {
    let names = BTreeSet::from(["externalId".to_owned()]);
    let filter = query(r#"externalId eq "1""#);
    let refuse = CxoneOptions { refuse_filters: names.clone(), ..CxoneOptions::default() };
    assert_eq!(with_ana(refuse).await.1.get(&filter).await.status, 400);
    let everybody = CxoneOptions { ignore_filter: true, ..CxoneOptions::default() };
    assert_eq!(with_ana(everybody).await.1.get(&filter).await.body["totalResults"], 1);
    let (sim, cxone, id) = with_ana(CxoneOptions { blind_filters: names, ..CxoneOptions::default() }).await;
    sim.edit_by_hand(&id, json!({"externalId": "1"}));
    assert_eq!(cxone.get(&filter).await.body["totalResults"], 0);
}

/// A tenant with five users, and what it answers to a query: status, counted, ids shown.
async fn listed(lists: Lists, queries: &[&str]) -> Vec<(u16, Value, Vec<String>)> {
    let (sim, cxone) = cxone(CxoneOptions { lists, ..CxoneOptions::default() }).await;
    for n in 1..=5 {
        sim.add_user(
            json!({"id": n.to_string(), "userName": format!("u{n}@example.com"), "phoneNumbers": []}),
        );
    }
    let mut answers = Vec::new();
    for query in queries {
        let answer = cxone.get(&format!("/Users{query}")).await;
        let hits = answer.body["Resources"].as_array().cloned().unwrap_or_default();
        assert!(hits.iter().all(|hit| hit.get("phoneNumbers").is_none()), "a hit is not the whole user");
        let ids = hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect();
        answers.push((answer.status, answer.body["totalResults"].clone(), ids));
    }
    answers
}

const EVERYBODY: &str = "?filter=userName%20pr";

#[tokio::test]
async fn as_published_a_filter_is_required_and_nothing_is_paged() {
    let all: Vec<String> = ["1", "2", "3", "4", "5"].map(str::to_owned).into();
    let paged = format!("{EVERYBODY}&startIndex=3&count=2");
    let answers = listed(Lists::Published, &["?startIndex=1&count=2", EVERYBODY, &paged]).await;
    assert_eq!(answers[0].0, 400);
    assert_eq!(answers[1..], [(200, json!(5), all.clone()), (200, json!(5), all)]);
    let one = query(r#"userName eq "u3@example.com""#);
    let one = one.strip_prefix("/Users").unwrap();
    let answers = listed(Lists::Refused, &["?startIndex=1&count=2", EVERYBODY, one]).await;
    assert_eq!((answers[0].0, answers[1].0), (400, 400));
    assert_eq!(answers[2], (200, json!(1), vec!["3".to_owned()]));
}

#[tokio::test]
async fn a_tenant_that_lists_may_page_and_may_ignore_where_a_page_begins() {
    let ids = |ids: &[&str]| (200, json!(5), ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
    let later = format!("{EVERYBODY}&startIndex=3&count=2");
    let queries =
        ["", "?startIndex=0&count=2", "?startIndex=4&count=9", "?startIndex=99", "?count=-1", &later];
    let pages = listed(Lists::Paged { most: 3 }, &queries).await;
    let expected = [&["1", "2", "3"][..], &["1", "2"], &["4", "5"], &[], &[], &["3", "4"]].map(ids);
    assert_eq!(pages, expected);
    let pages = listed(Lists::IgnoresStartIndex { most: 3 }, &queries).await;
    let expected =
        [&["1", "2", "3"][..], &["1", "2"], &["1", "2", "3"], &["1", "2", "3"], &[], &["1", "2"]].map(ids);
    assert_eq!(pages, expected);
    let (_sim, cxone) =
        cxone(CxoneOptions { lists: Lists::Paged { most: 3 }, ..CxoneOptions::default() }).await;
    assert_eq!(cxone.get("/Users?startIndex=soon").await.status, 400);
    let page = cxone.get("/Users?startIndex=2").await.body;
    assert_eq!((&page["startIndex"], &page["itemsPerPage"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn a_put_clears_what_it_does_not_name() {
    let (sim, cxone, id) = with_ana(CxoneOptions::default()).await;
    let path = format!("/Users/{id}");
    let mut user = ana();
    for missing in ["id", "active"] {
        user["id"] = json!(id);
        user["active"] = json!(true);
        user[missing] = Value::Null;
        assert_eq!(cxone.send("PUT", &path, Some(user.clone())).await.status, 400, "{missing}");
    }
    let whole = json!({
        "id": id, "userName": "ana@example.com", "active": false,
        "name": {"givenName": "Ana", "familyName": "Silva"}, "emails": [{"value": "ana@example.com"}],
    });
    let answer = cxone.send("PUT", &path, Some(whole)).await;
    assert_eq!((answer.status, &answer.body["active"]), (200, &json!(false)));
    let user = sim.user(&id).unwrap();
    assert!(
        ["phoneNumbers", "roles", "timeZone", NICE].iter().all(|name| user.get(*name).is_none()),
        "{user}"
    );
}

#[tokio::test]
async fn a_patch_applies_whole_or_not_at_all() {
    let (sim, cxone, id) = with_ana(CxoneOptions::default()).await;
    let path = format!("/Users/{id}");
    let operations = json!([
        {"op": "replace", "path": "active", "value": false},
        {"op": "replace", "path": "emails[0].value", "value": "a@example.com"},
    ]);
    let answer = cxone.send("PATCH", &path, patch_op(operations)).await;
    assert_eq!((answer.status, &answer.body["scimType"]), (400, &json!("invalidPath")));
    assert_eq!(sim.user(&id).unwrap()["active"], true);
    let operations = json!([{"op": "Replace", "path": "active", "value": "False"}]);
    assert_eq!(cxone.send("PATCH", &path, patch_op(operations.clone())).await.body["active"], false);
    assert_eq!(cxone.send("PATCH", &path, patch_op(operations)).await.status, 200);
    let changed: Vec<(u16, bool)> = sim.writes().iter().map(|write| (write.status, write.changed)).collect();
    assert_eq!(changed, [(201, true), (400, false), (200, true), (200, false)]);
    let other = cxone
        .post("/Users", {
            let mut user = ana();
            user["userName"] = json!("bo@example.com");
            user
        })
        .await;
    assert_eq!(other.status, 201);
    let take_name = patch_op(json!([{"op": "replace", "path": "userName", "value": "BO@example.com"}]));
    assert_eq!(cxone.send("PATCH", &path, take_name).await.status, 409);
}

#[tokio::test]
async fn a_patch_is_answered_as_the_options_say() {
    let options = CxoneOptions { patch_answer: PatchAnswer::Empty, ..CxoneOptions::default() };
    let (_sim, cxone, id) = with_ana(options).await;
    let body = patch_op(json!([{"op": "replace", "path": "active", "value": false}]));
    assert_eq!(cxone.send("PATCH", &format!("/Users/{id}"), body.clone()).await.status, 204);
    let (sim, cxone, id) =
        with_ana(CxoneOptions { dialect: Dialect::PutOnly, ..CxoneOptions::default() }).await;
    assert_eq!(cxone.send("PATCH", &format!("/Users/{id}"), body).await.status, 501);
    assert_eq!(sim.user(&id).unwrap()["active"], true);
}

#[tokio::test]
async fn attributes_may_be_ignored_without_a_word() {
    let ignore_attributes = ["displayName", "team", "active"].map(str::to_owned).into();
    let (sim, cxone, id) =
        with_ana(CxoneOptions { ignore_attributes, lower_case_user_name: true, ..CxoneOptions::default() })
            .await;
    let before = sim.user(&id).unwrap();
    assert!(before.get(NICE).is_none() && before.get("active").is_none(), "{before}");
    assert_eq!(before["userName"], "ana@example.com");
    let body = patch_op(json!([
        {"op": "add", "path": "displayName", "value": "Ana"},
        {"op": "add", "path": format!("{NICE}:team.display"), "value": "Sales"},
    ]));
    assert_eq!(cxone.send("PATCH", &format!("/Users/{id}"), body).await.status, 200);
    assert_eq!(sim.user(&id).unwrap(), before);
}

#[tokio::test]
async fn telephone_numbers_may_be_kept_plain() {
    let (sim, _, id) = with_ana(CxoneOptions { plain_phone_numbers: true, ..CxoneOptions::default() }).await;
    assert_eq!(sim.user(&id).unwrap()["phoneNumbers"][0]["value"], "+351900");
}

#[tokio::test]
async fn etags_are_off_unless_asked_for() {
    let body = patch_op(json!([{"op": "replace", "path": "active", "value": false}]));
    for (etags, expected) in [(false, 200), (true, 412)] {
        let (_sim, cxone, id) = with_ana(CxoneOptions { etags, ..CxoneOptions::default() }).await;
        let path = format!("/Users/{id}");
        assert_eq!(cxone.get(&path).await.headers.contains_key("etag"), etags);
        let headers = [("if-match", "W/\"7\""), ("content-type", "application/scim+json")];
        let answer = cxone.try_send("PATCH", &path, body.clone(), &headers).await.unwrap();
        assert_eq!(answer.status, expected);
        let headers = [("if-match", "W/\"1\""), ("content-type", "application/scim+json")];
        assert_eq!(cxone.try_send("PATCH", &path, body.clone(), &headers).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn all_the_ways_to_a_token() {
    let (sim, cxone) = cxone(CxoneOptions::default()).await;
    let options = sim.options().clone();
    assert_eq!(cxone.get("/Users/x").await.status, 404);
    sim.clock().advance(options.token_lifetime);
    let late = cxone.get("/Users/x").await;
    assert_eq!((late.status, &late.body["error"]), (401, &json!("Unauthorized")));
    let key = |secret: &'static str| {
        [
            ("grant_type", "password"),
            ("client_id", "sim-client"),
            ("client_secret", "cxone-secret-of-the-simulator"),
            ("username", "SIMACCESSKEY=="),
            ("password", secret),
        ]
    };
    let (status, body) = form(&sim.token_url(), &key("access-key-secret+of/the=simulator==")).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(3600)));
    assert_eq!(form(&sim.token_url(), &key("wrong")).await.0, 400);
    let discovered = cxone.get(&format!("{}/.well-known/openid-configuration", sim.issuer())).await;
    assert_eq!(discovered.body["token_endpoint"], sim.token_url());
    let tenant = format!("{}/.well-known/cxone-configuration?tenantId=", sim.issuer());
    assert_eq!(cxone.get(&tenant).await.status, 404);
    let api = cxone.get(&format!("{tenant}{}", options.tenant_id)).await.body["api_endpoint"].clone();
    assert_eq!(format!("{}/scim/v2", api.as_str().unwrap()), sim.scim_url());
    let json_key =
        json!({"accessKeyId": options.access_key_id, "accessKeySecret": options.access_key_secret});
    let token = cxone.post(&sim.access_key_url(), json_key).await;
    let cxone = Caller { token: token.body["access_token"].as_str().unwrap().to_owned(), ..cxone };
    assert_eq!(cxone.get("/Users/x").await.status, 404);
    let basic = crate::sim::wire::client()
        .get(format!("{}/Users/x", sim.basic_scim_url()))
        .basic_auth(&options.access_key_id, Some(&options.access_key_secret));
    assert_eq!(basic.send().await.unwrap().status(), 404);
    assert_eq!(cxone.get(&format!("{}/Users/x", sim.basic_scim_url())).await.status, 401);
}

#[tokio::test]
async fn only_json_is_taken() {
    let (_sim, cxone) = cxone(CxoneOptions::default()).await;
    let plain =
        cxone.try_send("POST", "/Users", Some(ana()), &[("content-type", "text/plain")]).await.unwrap();
    assert_eq!(plain.status, 415);
}

#[tokio::test]
async fn two_writes_for_one_user_at_once_are_noticed() {
    let latency = (Duration::from_millis(50), Duration::from_millis(50));
    let (sim, cxone, id) = with_ana(CxoneOptions { latency, ..CxoneOptions::default() }).await;
    let path = format!("/Users/{id}");
    let body = || patch_op(json!([{"op": "replace", "path": "active", "value": false}]));
    cxone.send("PATCH", &path, body()).await;
    assert_eq!(sim.overlaps(), []);
    tokio::join!(cxone.send("PATCH", &path, body()), cxone.send("PATCH", &path, body()));
    assert_eq!(sim.overlaps().len(), 1);
    assert_eq!(sim.load().most_requests, 2);
    assert_eq!(sim.count_writes("PATCH"), 3);
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let (sim, cxone, id) = with_ana(CxoneOptions::default()).await;
    let path = format!("/Users/{id}");
    let fault = |what| Fault::new("*", &format!("/scim/v2/Users/{id}"), When::Nth(1), what);
    let set = |what| sim.set_faults(crate::sim::Faults { rules: vec![fault(what)], ..Default::default() });
    let deactivate = |value: bool| patch_op(json!([{"op": "replace", "path": "active", "value": value}]));
    let active = || sim.user(&id).unwrap()["active"].clone();

    set(What::Status(429, Some(RetryAfter::Seconds(3))));
    let answer = cxone.send("PATCH", &path, deactivate(false)).await;
    assert_eq!((answer.status, &answer.headers["retry-after"]), (429, &"3".parse().unwrap()));
    set(What::Status(503, Some(RetryAfter::Date(60))));
    let date = cxone.get(&path).await.headers["retry-after"].to_str().unwrap().to_owned();
    assert!(date.ends_with(" GMT"), "{date}");
    assert_eq!(active(), true);

    set(What::DropBeforeWork);
    assert!(cxone.try_send("PATCH", &path, deactivate(false), &[]).await.is_err());
    assert_eq!(active(), true, "no work was done");
    set(What::DropAfterWork);
    assert!(cxone.try_send("PATCH", &path, deactivate(false), &[]).await.is_err());
    assert_eq!(active(), false, "the work was done");

    set(What::Html(502));
    let page = cxone.get(&path).await;
    assert_eq!((page.status, page.body), (502, Value::Null));
    set(What::Truncate);
    assert!(cxone.try_send("GET", &path, None, &[]).await.is_err());
    set(What::Hang);
    let patience = Duration::from_millis(100);
    assert!(tokio::time::timeout(patience, cxone.get(&path)).await.is_err());
    set(What::Delay(Duration::from_millis(60)));
    let started = std::time::Instant::now();
    assert_eq!(cxone.get(&path).await.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert_eq!(sim.faults_struck(), 8);
    sim.stop();
    assert!(cxone.try_send("GET", &path, None, &[]).await.is_err());
}

#[tokio::test]
async fn a_hook_sees_the_world_before_and_after_the_work() {
    let (sim, cxone, id) = with_ana(CxoneOptions::default()).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    sim.on_request(Box::new({
        let (seen, sim) = (Arc::clone(&seen), sim.clone());
        let id = id.clone();
        move |method, _path, phase| {
            let active = sim.user(&id).unwrap()["active"].clone();
            seen.lock().unwrap().push((method.to_owned(), phase, active));
        }
    }));
    let body = patch_op(json!([{"op": "replace", "path": "active", "value": false}]));
    cxone.send("PATCH", &format!("/Users/{id}"), body).await;
    let expected =
        [("PATCH".to_owned(), Phase::Before, json!(true)), ("PATCH".to_owned(), Phase::After, json!(false))];
    assert_eq!(*seen.lock().unwrap(), expected);
}
