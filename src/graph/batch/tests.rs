use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use super::*;
use crate::clock::later;
use crate::domain::user::UserId;
use crate::graph::script::{Script, answer, fault};

const SIX: &str = include_str!("../../../fixtures/graph/batch.json");

fn user(n: usize) -> UserId {
    format!("5b000000-{n:04}-4222-8333-444455556666").parse().unwrap()
}

/// What a batch asked for, by the id of the item.
fn questions(request: &Request) -> BTreeMap<String, String> {
    let body: Json = serde_json::from_slice(&request.body).unwrap();
    let text = |item: &Json, name: &str| item[name].as_str().unwrap().to_owned();
    let items = body["requests"].as_array().unwrap().iter();
    items
        .map(|item| {
            assert_eq!(item["method"], "GET");
            (text(item, "id"), text(item, "url"))
        })
        .collect()
}

/// Answers every question with the user asked for, in reverse order.
fn echo(request: &Request) -> crate::graph::script::Answer {
    let one = |id: &str| json!({"id": id, "accountEnabled": true, "mail": format!("{id}@example.com")});
    let id_in = |path: &str| path.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    if request.url.path() != "/v1.0/$batch" {
        return answer(200, one(&id_in(request.url.path())).to_string());
    }
    let responses: Vec<Json> = questions(request)
        .into_iter()
        .rev()
        .map(|(id, url)| json!({"id": id, "status": 200, "headers": {}, "body": one(&id_in(&url))}))
        .collect();
    answer(200, json!({ "responses": responses }).to_string())
}

#[tokio::test]
async fn in_one_batch_everybody_reads_what_they_select() {
    let script = Script::new(echo);
    let other = script.graph.selecting(&["department".to_owned()].into());
    let (first, second) = tokio::join!(script.graph.user(user(1)), other.user(user(2)));
    let properties = |answer: Answer| match answer {
        Ok(Observed::Present(found)) => found.properties.into_keys().collect::<Vec<_>>(),
        answer => panic!("{answer:?}"),
    };
    assert!(properties(first).contains(&"mail".to_owned()));
    assert_eq!(properties(second), [""; 0], "what was not selected is not there");
    let sent = script.sent();
    let batch = sent.iter().find(|request| request.url.path() == "/v1.0/$batch").unwrap();
    let urls: Vec<String> = questions(batch).into_values().collect();
    assert!(urls[0].contains("mail") && !urls[0].contains("department"), "{urls:?}");
    assert!(urls[1].ends_with("$select=accountEnabled,department,id"), "{urls:?}");
}

#[tokio::test]
async fn calls_of_the_same_moment_travel_together_at_most_twenty() {
    let script = Script::new(echo);
    let answers = join_all((0..45).map(|n| script.graph.user(user(n)))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        let Ok(Observed::Present(found)) = answer else { panic!("{answer:?}") };
        assert_eq!(found.id, user(n));
        assert_eq!(found.properties["mail"].as_text().unwrap(), format!("{}@example.com", user(n)));
    }
    let batches: Vec<usize> = script
        .sent()
        .iter()
        .filter(|request| request.url.path() == "/v1.0/$batch")
        .map(|request| questions(request).len())
        .collect();
    assert_eq!(batches, [20, 20, 5]);
    assert_eq!(script.asked(), ["POST /$batch"; 3]);
}

#[tokio::test]
async fn calls_from_many_tasks_are_merged_too() {
    let script = Script::new(echo);
    let calls = (0..12).map(|n| {
        let graph = script.graph.clone();
        tokio::spawn(async move { graph.user(user(n)).await })
    });
    for (n, answer) in join_all(calls).await.into_iter().enumerate() {
        assert!(matches!(answer.unwrap(), Ok(Observed::Present(found)) if found.id == user(n)));
    }
    assert_eq!(script.asked(), ["POST /$batch"]);
    // Later ones, one after the other, go alone.
    script.graph.user(user(1)).await.unwrap();
    script.graph.user(user(2)).await.unwrap();
    assert!(script.asked()[1..].iter().all(|asked| asked.starts_with("GET /users/")));
    assert_eq!(script.asked().len(), 3);
}

/// As the worker does: one task starts many. The scheduler would run the collector right after the
/// first caller, before the others have asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_collector_waits_for_who_is_ready_to_run() {
    let script = Script::new(echo);
    let graph = script.graph.clone();
    let starter = tokio::spawn(async move {
        let calls = (0..12).map(|n| {
            let graph = graph.clone();
            tokio::spawn(async move { graph.user(user(n)).await })
        });
        join_all(calls.collect::<Vec<_>>()).await
    });
    assert!(starter.await.unwrap().into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(script.asked(), ["POST /$batch"]);
}

#[tokio::test]
async fn within_a_batch_every_answer_stands_for_itself() {
    let script = Script::new(|_| answer(200, SIX));
    let answers = join_all((0..7).map(|n| script.graph.user(user(n)))).await;
    let [zero, one, two, three, four, five, six] = answers.try_into().unwrap();
    assert!(matches!(zero, Ok(Observed::Present(found)) if found.enabled && found.id == user(0)));
    let one = one.unwrap_err();
    assert_eq!(one.throttled_until(), Some(later(script.clock.now(), Duration::from_secs(7))), "{one}");
    assert!(matches!(two, Ok(Observed::Present(found)) if !found.enabled && found.id == user(2)));
    assert!(matches!(three, Ok(Observed::Absent)));
    assert!(matches!(four, Err(Error::Status { status: 503, .. })));
    // The answer is about somebody else, and the last has none.
    assert!(matches!(five, Err(Error::Malformed { .. })));
    assert!(matches!(six, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn an_item_that_is_throttled_closes_the_gate_for_all() {
    let script = Script::new(|_| answer(200, SIX));
    join_all((0..3).map(|n| script.graph.user(user(n)))).await;
    let until = later(script.clock.now(), Duration::from_secs(7));
    assert_eq!(script.graph.closed_until(), Some(until));
    let refused = script.graph.user(user(9)).await.unwrap_err();
    assert_eq!(refused.throttled_until(), Some(until));
    assert_eq!(script.asked().len(), 1);
    script.clock.advance(Duration::from_secs(7));
    assert_eq!(script.graph.closed_until(), None);
}

#[tokio::test]
async fn the_longest_wait_of_a_batch_is_the_one_that_counts() {
    async fn wait(items: Json) -> Option<Duration> {
        let script = Script::new(move |_| answer(200, json!({ "responses": items }).to_string()));
        join_all((0..3).map(|n| script.graph.user(user(n)))).await;
        script.graph.closed_until().map(|until| crate::clock::until(script.clock.now(), until))
    }
    let item = |id: &str, status: u16, headers: Json| json!({"id": id, "status": status, "headers": headers});
    let items = json!([
        item("0", 429, json!({"Retry-After": "7"})),
        item("1", 503, json!({"retry-after": 90})),
        item("2", 429, json!({}))
    ]);
    assert_eq!(wait(items).await, Some(Duration::from_secs(90)));
    // Without a word, the usual two seconds; a plain 503 does not ask to wait.
    assert_eq!(wait(json!([item("0", 429, json!(null))])).await, Some(Duration::from_secs(2)));
    assert_eq!(wait(json!([item("0", 503, json!({}))])).await, None);
}

#[tokio::test]
async fn two_answers_to_one_question_are_none() {
    let script = Script::new(|request| {
        let answered = |enabled: bool| json!({"id": "0", "status": 200, "body": {"id": user(0).to_string(), "accountEnabled": enabled}});
        assert_eq!(questions(request).len(), 2);
        answer(200, json!({"responses": [answered(true), answered(false)]}).to_string())
    });
    let answers = join_all((0..2).map(|n| script.graph.user(user(n)))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Malformed { .. }))), "{answers:?}");
}

#[tokio::test]
async fn a_batch_that_fails_fails_every_caller() {
    for (status, body) in
        [(500, fault("InternalServerError")), (200, "<html>".to_owned()), (200, SIX[..90].to_owned())]
    {
        let shown = body.clone();
        let script = Script::new(move |_| answer(status, body.clone()));
        let answers = join_all((0..3).map(|n| script.graph.user(user(n)))).await;
        assert!(answers.iter().all(Result::is_err), "{shown}: {answers:?}");
        assert_eq!(script.asked().len(), 1);
    }
}

#[tokio::test]
async fn who_gives_up_takes_no_seat_and_harms_no_one() {
    let script = Script::new(echo);
    let (quitter, stayer) = (script.graph.user(user(1)), script.graph.user(user(2)));
    {
        let mut quitter = Box::pin(quitter);
        assert!(futures_util::poll!(quitter.as_mut()).is_pending());
    }
    assert!(matches!(stayer.await, Ok(Observed::Present(found)) if found.id == user(2)));
    assert_eq!(script.asked().len(), 1);
    assert!(script.asked()[0].starts_with("GET /users/"), "{:?}", script.asked());
}
