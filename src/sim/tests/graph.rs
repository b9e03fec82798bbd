use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use super::harness::{Caller, Manner, Receiver, form, graph};
use crate::sim::{DeltaExpiry, DeltaOptions, Fault, GraphOptions, GraphSim, What, When};

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or_default()
}

fn ana(sim: &GraphSim) -> String {
    sim.add_user(json!({
        "displayName": "Ana Silva",
        "userPrincipalName": "ana@example.com",
        "mail": "ana@example.com",
        "department": "Care",
    }))
}

#[tokio::test]
async fn a_user_shows_what_is_selected_and_no_more() {
    let (sim, graph) = graph(GraphOptions::default()).await;
    let id = ana(&sim);
    let plain = graph.get(&format!("/users/{id}")).await;
    assert_eq!(plain.status, 200);
    assert_eq!(plain.body["displayName"], "Ana Silva");
    assert_eq!(plain.body["jobTitle"], Value::Null);
    assert!(plain.body.get("accountEnabled").is_none() && plain.body.get("department").is_none());
    assert!(plain.headers.contains_key("request-id"));

    let selected = graph.get("/users/ANA%40example.com?$select=accountEnabled,department").await;
    let mut body = selected.body.as_object().unwrap().clone();
    body.shift_remove("@odata.context");
    assert_eq!(Value::Object(body), json!({"id": id, "accountEnabled": true, "department": "Care"}));

    let unknown = graph.get(&format!("/users/{id}?$select=id,shoeSize")).await;
    assert_eq!((unknown.status, code(&unknown.body)), (400, "Request_BadRequest"));
    let elsewhere = graph.get(&format!("/users/{id}?$select=skills")).await;
    assert_eq!(elsewhere.status, 501);
}

#[tokio::test]
async fn deleted_users_are_found_among_the_deleted_items_until_they_are_gone() {
    let (sim, graph) = graph(GraphOptions::default()).await;
    let id = ana(&sim);
    let (user, deleted) = (format!("/users/{id}"), format!("/directory/deletedItems/{id}"));
    assert_eq!(graph.get(&deleted).await.status, 404);
    sim.soft_delete(&id);
    let missing = graph.get(&user).await;
    assert_eq!((missing.status, code(&missing.body)), (404, "Request_ResourceNotFound"));
    let item = graph.get(&deleted).await;
    assert_eq!((item.status, &item.body["@odata.type"]), (200, &json!("#microsoft.graph.user")));
    assert!(item.body["deletedDateTime"].is_string());
    sim.restore(&id);
    assert_eq!(graph.get(&user).await.status, 200);
    sim.hard_delete(&id);
    assert_eq!((graph.get(&user).await.status, graph.get(&deleted).await.status), (404, 404));
}

#[tokio::test]
async fn tokens_are_asked_for_and_end() {
    let (sim, mut graph) = graph(GraphOptions::default()).await;
    let id = ana(&sim);
    let user = format!("/users/{id}");
    assert_eq!(graph.get(&user).await.status, 200);
    sim.clock().advance(Duration::from_secs(3599));
    let late = graph.get(&user).await;
    assert_eq!((late.status, code(&late.body)), (401, "InvalidAuthenticationToken"));
    graph.token = "no such token".to_owned();
    assert_eq!(graph.get(&user).await.status, 401);

    let url = format!("{}/{}/oauth2/v2.0/token", sim.login_url(), sim.options().tenant_id);
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_id", sim.options().client_id.as_str()),
        ("client_secret", "wrong"),
    ];
    let (status, body) = form(&url, &fields).await;
    assert_eq!(
        (status, &body["error"], &body["error_codes"]),
        (400, &json!("invalid_client"), &json!([7000215]))
    );
}

/// A token request with an assertion that is `change`d from a good one.
async fn assert_with(sim: &GraphSim, change: impl FnOnce(&mut Value, &mut Value)) -> u16 {
    let tenant = &sim.options().tenant_id;
    let url = format!("{}/{tenant}/oauth2/v2.0/token", sim.login_url());
    let client_id = sim.options().client_id.as_str();
    let now = sim.clock().now().as_second();
    let mut header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": "abc"});
    let mut claims = json!({
        "aud": url, "iss": client_id, "sub": client_id, "jti": "1", "nbf": now, "iat": now, "exp": now + 300,
    });
    change(&mut header, &mut claims);
    let encode = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let assertion = format!("{}.{}.c2lnbmF0dXJl", encode(header), encode(claims));
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_id", client_id),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion.as_str()),
    ];
    form(&url, &fields).await.0
}

#[tokio::test]
async fn an_assertion_must_be_for_this_tenant_and_in_time() {
    let sim = GraphSim::start(GraphOptions::default()).unwrap();
    assert_eq!(assert_with(&sim, |_, _| {}).await, 200);
    assert_eq!(assert_with(&sim, |_, claims| claims["exp"] = json!(1)).await, 400);
    assert_eq!(assert_with(&sim, |_, claims| claims["aud"] = json!("https://elsewhere")).await, 400);
    assert_eq!(assert_with(&sim, |_, claims| claims["sub"] = json!("somebody")).await, 400);
    assert_eq!(assert_with(&sim, |header, _| header["alg"] = json!("none")).await, 400);
}

#[tokio::test]
async fn a_managed_identity_needs_no_secret() {
    let (sim, mut graph) = graph(GraphOptions::default()).await;
    let (endpoint, secret) = sim.identity_endpoint();
    let url = format!("{endpoint}?resource=https://graph.microsoft.com&api-version=2019-08-01");
    let given = graph.try_send("GET", &url, None, &[("x-identity-header", &secret)]).await.unwrap();
    assert!(given.body["expires_on"].is_string() && given.body.get("expires_in").is_none());
    graph.token = given.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(graph.get("/users/nobody").await.status, 404);
    assert_eq!(graph.get(&url).await.status, 400, "the header is required");
}

#[tokio::test]
async fn members_come_in_pages_users_and_groups_mixed() {
    let (sim, graph) = graph(GraphOptions { page_size: 2, ..GraphOptions::default() }).await;
    let group = sim.add_group(json!({"displayName": "Agents"}));
    let nested = sim.add_group(json!({"displayName": "Night shift"}));
    let users: Vec<String> =
        (0..4).map(|n| sim.add_user(json!({"userPrincipalName": format!("u{n}@example.com")}))).collect();
    for member in users.iter().chain([&nested]) {
        sim.add_member(&group, member);
    }
    sim.soft_delete(&users[3]);
    let (mut link, mut seen, mut pages) = (format!("/groups/{group}/members?$select=id"), BTreeSet::new(), 0);
    loop {
        let page = graph.get(&link).await;
        assert_eq!(page.status, 200);
        pages += 1;
        for member in page.body["value"].as_array().unwrap() {
            let is_group = member["@odata.type"] == "#microsoft.graph.group";
            assert_eq!(is_group, member["id"] == nested.as_str());
            assert!(seen.insert(member["id"].as_str().unwrap().to_owned()));
        }
        match page.body["@odata.nextLink"].as_str() {
            Some(next) => link = next.to_owned(),
            None => break,
        }
    }
    let expected: BTreeSet<String> = users[..3].iter().chain([&nested]).cloned().collect();
    assert_eq!((seen, pages), (expected, 2));
    assert!(sim.members(&group).contains(&users[3]), "a deleted user keeps the membership");
}

/// All pages from `link`: the items, and the delta link.
async fn round(graph: &Caller, link: &str) -> (Vec<Value>, String, usize) {
    let (mut link, mut items, mut pages) = (link.to_owned(), Vec::new(), 0);
    loop {
        let page = graph.get(&link).await;
        assert_eq!(page.status, 200, "{}", page.body);
        pages += 1;
        items.extend(page.body["value"].as_array().unwrap().iter().cloned());
        let links = (page.body["@odata.nextLink"].as_str(), page.body["@odata.deltaLink"].as_str());
        match links {
            (Some(next), None) => link = next.to_owned(),
            (None, Some(delta)) => return (items, delta.to_owned(), pages),
            _ => panic!("exactly one link: {links:?}"),
        }
    }
}

#[tokio::test]
async fn a_users_round_tells_what_changed_since_the_last() {
    let (sim, graph) = graph(GraphOptions { page_size: 2, ..GraphOptions::default() }).await;
    let ids: Vec<String> = (0..5)
        .map(|n| sim.add_user(json!({"userPrincipalName": format!("u{n}@example.com"), "city": "Porto"})))
        .collect();
    sim.soft_delete(&ids[4]);
    let start = "/users/delta?$select=userPrincipalName,accountEnabled,mail";
    let (items, link, pages) = round(&graph, start).await;
    assert_eq!((items.len(), pages), (5, 3));
    let removed: Vec<&Value> = items.iter().filter(|item| item.get("@removed").is_some()).collect();
    assert_eq!(removed, [&json!({"id": ids[4], "@removed": {"reason": "changed"}})]);
    let whole = items.iter().find(|item| item["id"] == ids[0].as_str()).unwrap();
    assert_eq!(
        whole,
        &json!({"id": ids[0], "userPrincipalName": "u0@example.com", "accountEnabled": true}),
        "what never had a value is left out"
    );

    let (items, unchanged, _) = round(&graph, &link).await;
    assert_eq!(items.len(), 0);
    assert_ne!(unchanged, link, "the link is renewed though nothing changed");

    sim.update_user(&ids[0], json!({"city": "Braga"}));
    assert_eq!(round(&graph, &unchanged).await.0, Vec::<Value>::new(), "city was not selected");
    sim.disable(&ids[1]);
    sim.soft_delete(&ids[2]);
    sim.hard_delete(&ids[3]);
    sim.restore(&ids[4]);
    let (items, later, _) = round(&graph, &unchanged).await;
    let shown =
        |n: usize| items.iter().find(|item| item["id"] == ids[n].as_str()).cloned().unwrap_or_default();
    assert_eq!(items.len(), 4);
    assert_eq!(shown(1)["accountEnabled"], false);
    assert_eq!(shown(2)["@removed"], json!({"reason": "changed"}));
    assert_eq!(shown(3)["@removed"], json!({"reason": "deleted"}));
    assert!(shown(4).get("@removed").is_none() && shown(4)["accountEnabled"] == true);
    // An older link still works: a restart in the middle loses nothing.
    assert_eq!(round(&graph, &link).await.0.len(), 4);
    assert_eq!(round(&graph, &later).await.0.len(), 0);
}

#[tokio::test]
async fn a_page_asked_for_twice_is_the_same_page() {
    let (sim, graph) = graph(GraphOptions { page_size: 2, ..GraphOptions::default() }).await;
    for n in 0..4 {
        sim.add_user(json!({"userPrincipalName": format!("u{n}@example.com")}));
    }
    let page = graph.get("/users/delta").await;
    let next = page.body["@odata.nextLink"].as_str().unwrap();
    let before = graph.get(next).await.body["value"].clone();
    for user in sim.users() {
        sim.disable(user["id"].as_str().unwrap());
    }
    assert_eq!(graph.get(next).await.body["value"], before);
}

#[tokio::test]
async fn a_groups_round_tells_who_joined_and_who_left() {
    let (sim, graph) = graph(GraphOptions { members_per_item: 2, ..GraphOptions::default() }).await;
    let group = sim.add_group(json!({"displayName": "Agents"}));
    let ids: Vec<String> = (0..5).map(|n| sim.add_user(json!({"mailNickname": format!("u{n}")}))).collect();
    for id in &ids[..4] {
        sim.add_member(&group, id);
    }
    let (items, link, _) = round(&graph, "/groups/delta?$select=displayName,members").await;
    assert_eq!(items.len(), 2, "a group with many members comes in several items");
    assert!(items.iter().all(|item| item["id"] == group.as_str()));
    let members = items.iter().flat_map(|item| item["members@delta"].as_array().unwrap()).count();
    assert_eq!(members, 4);

    sim.remove_member(&group, &ids[0]);
    sim.add_member(&group, &ids[4]);
    sim.soft_delete(&ids[1]);
    let (items, link, _) = round(&graph, &link).await;
    let changes: BTreeSet<String> = items
        .iter()
        .flat_map(|item| item["members@delta"].as_array().unwrap())
        .map(|entry| format!("{} {}", entry["id"].as_str().unwrap(), entry["@removed"]["reason"]))
        .collect();
    let expected = [format!("{} \"deleted\"", ids[0]), format!("{} null", ids[4])];
    assert_eq!(changes, BTreeSet::from(expected), "a soft-deleted user does not leave");

    sim.hard_delete(&ids[1]);
    let (items, _, _) = round(&graph, &link).await;
    assert_eq!(items[0]["members@delta"][0]["id"], ids[1].as_str());
    assert_eq!(items[0]["members@delta"][0]["@removed"], json!({"reason": "deleted"}));
}

#[tokio::test]
async fn unfriendly_rounds_still_tell_everything() {
    let delta = DeltaOptions { empty_pages: 0.5, repeats: 0.5, ..DeltaOptions::default() };
    let (sim, graph) = graph(GraphOptions { page_size: 3, delta, ..GraphOptions::default() }).await;
    for n in 0..20 {
        sim.add_user(json!({"userPrincipalName": format!("u{n}@example.com")}));
    }
    let (items, _, pages) = round(&graph, "/users/delta").await;
    let ids: BTreeSet<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 20);
    assert!(items.len() > 20 && pages > items.len().div_ceil(3));
}

#[tokio::test]
async fn delta_requests_are_read_strictly() {
    let (sim, graph) = graph(GraphOptions::default()).await;
    let id = ana(&sim);
    for query in ["$top=5", "$expand=manager", "$orderby=mail", "$select=shoeSize", "$filter=mail eq 'a'"] {
        assert_eq!(graph.get(&format!("/users/delta?{query}")).await.status, 400, "{query}");
    }
    let too_many = vec!["id eq 'x'".to_owned(); 1].into_iter().chain((0..50).map(|n| format!("id eq '{n}'")));
    let filter = too_many.collect::<Vec<_>>().join(" or ");
    assert_eq!(graph.get(&format!("/users/delta?$filter={filter}")).await.status, 400);
    ana(&sim);
    let (items, _, _) = round(&graph, &format!("/users/delta?$filter=id eq '{id}'")).await;
    assert_eq!(items.len(), 1);
    let (items, link, _) = round(&graph, "/users/delta?$deltatoken=latest").await;
    assert_eq!(items.len(), 0);
    sim.update_user(&id, json!({"displayName": "Ana"}));
    assert_eq!(round(&graph, &link).await.0.len(), 1);
    let with_select = format!("{}&$select=id", link.replace("$deltatoken", "$skiptoken"));
    assert_eq!(graph.get(&with_select).await.status, 400);
}

#[tokio::test]
async fn delta_links_die_in_both_ways() {
    let (sim, graph) = graph(GraphOptions::default()).await;
    ana(&sim);
    let (_, link, _) = round(&graph, "/users/delta").await;
    sim.expire_delta_tokens(DeltaExpiry::SyncStateNotFound);
    let dead = graph.get(&link).await;
    assert_eq!((dead.status, code(&dead.body)), (400, "syncStateNotFound"));

    let (_, link, _) = round(&graph, "/users/delta").await;
    sim.expire_delta_tokens(DeltaExpiry::Gone);
    let dead = graph.get(&link).await;
    assert_eq!(dead.status, 410);
    let (items, link, _) = round(&graph, dead.headers["location"].to_str().unwrap()).await;
    assert_eq!(items.len(), 1, "the location leads to a full round");

    sim.add_fault(Fault::new("GET", "*/users/delta", When::Nth(1), What::ResetDelta));
    let reset = graph.get(&link).await;
    assert_eq!(
        (reset.status, reset.headers["location"].to_str().unwrap().ends_with("?$deltatoken=")),
        (410, true)
    );
}

#[tokio::test]
async fn delta_links_die_of_age() {
    // A token of the bearer kind would be dead long before.
    let token_lifetime = Duration::from_secs(30 * 86_400);
    let (sim, graph) = graph(GraphOptions { token_lifetime, ..GraphOptions::default() }).await;
    let (_, link, _) = round(&graph, "/users/delta").await;
    sim.clock().advance(Duration::from_secs(7 * 86_400 - 60));
    assert_eq!(graph.get(&link).await.status, 200);
    sim.clock().advance(Duration::from_secs(120));
    assert_eq!(code(&graph.get(&link).await.body), "syncStateNotFound");
}

#[tokio::test]
async fn a_batch_answers_each_request_on_its_own() {
    let (sim, graph) = graph(GraphOptions::default()).await;
    let (id, other) = (ana(&sim), sim.add_user(json!({"userPrincipalName": "bo@example.com"})));
    sim.add_fault(Fault::new(
        "GET",
        &format!("/v1.0/users/{other}"),
        When::Always,
        What::Status(429, Some(crate::sim::RetryAfter::Seconds(7))),
    ));
    let requests: Vec<Value> = [id.as_str(), other.as_str(), "00000000-0000-4000-8000-000000000000"]
        .iter()
        .enumerate()
        .map(|(n, id)| json!({"id": n.to_string(), "method": "GET", "url": format!("/users/{id}?$select=accountEnabled")}))
        .collect();
    let answer = graph.post("/$batch", json!({"requests": requests})).await;
    assert_eq!(answer.status, 200);
    let responses = answer.body["responses"].as_array().unwrap();
    let batched: Vec<Option<u16>> =
        sim.requests().iter().filter(|one| one.in_batch).map(|one| one.status).collect();
    assert_eq!(batched, [Some(200), Some(429), Some(404)]);
    let by_id = |id: &str| responses.iter().find(|one| one["id"] == id).unwrap();
    assert_eq!((responses.len(), &by_id("0")["body"]["accountEnabled"]), (3, &json!(true)));
    assert_eq!((&by_id("1")["status"], &by_id("1")["headers"]["Retry-After"]), (&json!(429), &json!("7")));
    assert_eq!((&by_id("2")["status"], code(&by_id("2")["body"])), (&json!(404), "Request_ResourceNotFound"));
}

#[tokio::test]
async fn an_answer_is_untrue_alone_and_in_a_batch() {
    let (sim, graph) = graph(GraphOptions::default()).await;
    let id = ana(&sim);
    let url = format!("/users/{id}?$select=accountEnabled");
    let batch = json!({"requests": [{"id": "0", "method": "GET", "url": url}]});
    let strip = || What::StripProperty("accountEnabled");
    sim.add_fault(Fault::new("GET", "/v1.0/users/*", When::First(2), strip()));
    assert_eq!(graph.get(&url).await.body["accountEnabled"], Value::Null);
    let inside = &graph.post("/$batch", batch.clone()).await.body["responses"][0];
    assert_eq!((&inside["status"], &inside["body"]["accountEnabled"]), (&json!(200), &Value::Null));
    assert_eq!(inside["body"]["id"], *id);
    assert_eq!(graph.get(&url).await.body["accountEnabled"], true, "the fault is over");
    sim.add_fault(Fault::new("GET", "/v1.0/users/delta", When::Always, What::EmptyList));
    let page = graph.get("/users/delta").await.body;
    assert_eq!(page["value"], json!([]));
    assert!(page["@odata.deltaLink"].is_string(), "{page}");
}

#[tokio::test]
async fn a_batch_that_breaks_the_rules_is_refused() {
    let (_sim, graph) = graph(GraphOptions::default()).await;
    let get = |id: &str| json!({"id": id, "method": "GET", "url": "/users/x"});
    let many: Vec<Value> = (0..21).map(|n| get(&n.to_string())).collect();
    for (why, requests) in [
        ("too many", json!(many)),
        ("same id in another case", json!([get("a"), get("A")])),
        ("no id", json!([{"method": "GET", "url": "/users/x"}])),
        ("batch in batch", json!([{"id": "1", "method": "POST", "url": "/$batch"}])),
        (
            "body without content type",
            json!([{"id": "1", "method": "POST", "url": "/subscriptions", "body": {}}]),
        ),
        ("no list", json!({})),
    ] {
        assert_eq!(graph.post("/$batch", json!({"requests": requests})).await.status, 400, "{why}");
    }
    assert_eq!(graph.post("/$batch", json!({"requests": many[..20]})).await.status, 200);
}

#[tokio::test]
async fn a_lagging_replica_shows_what_was() {
    let clock = crate::sim::SimClock::manual("2026-11-23T10:00:00Z".parse().unwrap());
    let lag = (Duration::from_secs(10), Duration::from_secs(10));
    let (sim, graph) = graph(GraphOptions { clock: clock.clone(), lag, ..GraphOptions::default() }).await;
    let id = ana(&sim);
    let user = format!("/users/{id}?$select=accountEnabled");
    assert_eq!(graph.get(&user).await.status, 404, "the replica does not know the new user yet");
    assert_eq!(round(&graph, "/users/delta").await.0.len(), 1, "delta queries are not behind");
    clock.advance(Duration::from_secs(11));
    sim.disable(&id);
    clock.advance(Duration::from_secs(5));
    sim.soft_delete(&id);
    assert_eq!(graph.get(&user).await.body["accountEnabled"], true);
    clock.advance(Duration::from_secs(6));
    assert_eq!(graph.get(&user).await.body["accountEnabled"], false);
    clock.advance(Duration::from_secs(5));
    assert_eq!(graph.get(&user).await.status, 404);
}

#[tokio::test]
async fn the_handshake_must_bring_back_the_decoded_token() {
    for (manner, expected, complaint) in [
        (Manner::Well, 201, ""),
        (Manner::TokenUndecoded, 400, "exactly match"),
        (Manner::TokenQuoted, 400, "exactly match"),
        (Manner::HandshakeRefused, 400, "HTTP status code is 'Forbidden'"),
    ] {
        let (sim, graph) = graph(GraphOptions::default()).await;
        let receiver = Receiver::start(manner);
        let answer = graph.post("/subscriptions", receiver.subscription("users")).await;
        let message = answer.body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(answer.status, expected, "{}", answer.body);
        assert!(message.contains(complaint), "{message}");
        assert_eq!(sim.subscriptions().len(), usize::from(expected == 201));
        let asked = if expected == 201 { 2 } else { 1 };
        assert_eq!(receiver.handshakes().len(), asked, "both addresses are asked");
        let raw = &receiver.handshakes()[0];
        assert!(raw.starts_with("validationToken=Validation%3a+Testing+client+"), "{raw}");
    }
}

#[tokio::test]
async fn subscriptions_are_held_to_the_rules() {
    let (sim, graph) = graph(GraphOptions { max_subscriptions: 2, ..GraphOptions::default() }).await;
    let receiver = Receiver::start(Manner::Well);
    let with = |name: &str, value: Value| {
        let mut body = receiver.subscription("users");
        body[name] = value;
        body
    };
    let far = (sim.clock().now() + Duration::from_secs(41_761 * 60)).to_string();
    for body in [
        with("changeType", json!("created,updated")),
        with("resource", json!("me/messages")),
        with("clientState", json!("x".repeat(129))),
        with("expirationDateTime", json!(far)),
        with("expirationDateTime", json!("tomorrow")),
        with("notificationUrl", Value::Null),
        with("includeResourceData", json!(true)),
        with("vapidPublicKey", json!("k")),
    ] {
        assert_eq!(graph.post("/subscriptions", body.clone()).await.status, 400, "{body}");
    }
    let soon = (sim.clock().now() + Duration::from_secs(60)).to_string();
    let made = graph.post("/subscriptions", with("expirationDateTime", json!(soon))).await;
    assert_eq!(made.status, 201);
    let least = sim.clock().now() + Duration::from_secs(44 * 60);
    assert!(sim.subscriptions()[0].expires_at > least, "too short a life is raised");
    assert_eq!(graph.post("/subscriptions", receiver.subscription("/users")).await.status, 409);
    assert_eq!(graph.post("/subscriptions", with("changeType", json!("deleted"))).await.status, 201);
    let third = graph.post("/subscriptions", with("changeType", json!("updated"))).await;
    assert_eq!((third.status, code(&third.body)), (403, "ExtensionError"));
    assert_eq!(graph.get("/subscriptions").await.body["value"].as_array().unwrap().len(), 2);

    let id = made.body["id"].as_str().unwrap();
    let path = format!("/subscriptions/{id}");
    assert_eq!(graph.send("PATCH", &path, Some(json!({}))).await.status, 400);
    let later = (sim.clock().now() + Duration::from_secs(7200)).to_string();
    let renewal = json!({"expirationDateTime": later});
    assert_eq!(graph.send("PATCH", &path, Some(renewal.clone())).await.status, 200);
    assert_eq!(graph.send("POST", &format!("{path}/reauthorize"), None).await.status, 204);
    assert_eq!(sim.renewal_clashes(), 1, "renewed and reauthorized within ten minutes");
    assert_eq!(graph.send("DELETE", &path, None).await.status, 204);
    assert_eq!(graph.send("PATCH", &path, Some(renewal)).await.status, 404);
    assert_eq!(graph.get(&path).await.status, 404);
}
