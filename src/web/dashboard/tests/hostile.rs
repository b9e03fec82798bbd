//! Whoever may edit their own name in the directory writes on these pages. Nothing they write may be
//! anything but text.

use super::*;
use crate::domain::case::{Approval, Forbidden, HeldItem, Restraint, RestraintReason};
use crate::domain::conflict::{Decision, Why};
use crate::domain::drift::Drift;
use crate::domain::guard::Spend;
use crate::domain::link::{Baseline, Link};
use crate::domain::queue::{Change, Intent, Job, LinkChange, Operation, Write, WriteResult};
use crate::domain::rules::Owner;
use crate::domain::user::{Attribute, ScimId, Value as Held};

/// What people have been seen to put into names, and what a test of it must hold.
fn corpus() -> Vec<String> {
    let mut corpus: Vec<String> = [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "\"><script>alert(1)</script>",
        "' onmouseover='alert(1)",
        "\" autofocus onfocus=\"alert(1)",
        "</td></tr></table><h1>owned</h1>",
        "</title></textarea></style></script><svg onload=alert(1)>",
        "--><!--",
        "]]><![CDATA[",
        "{{7*7}}{% raw %}${7*7}#{7*7}",
        "&lt;script&gt;&#60;b&#62;&amp;",
        "javascript:alert(1)",
        "=cmd|' /C calc'!A0",
        "+1+1\t@SUM(A1)",
        "line\r\nbreak\u{0}\u{1b}[2J\u{7}\u{8}",
        "\u{202E}gnp.exe\u{2066}x\u{2069}\u{200F}",
        "a\u{200B}\u{200D}\u{FEFF}b\u{2028}c\u{2029}d",
        "\u{FFFE}\u{FFFF}\u{10FFFF}",
        "Z\u{0351}\u{036B}\u{0343}\u{0363}algo",
        "../../../etc/passwd?x=<b>#y",
    ]
    .map(str::to_owned)
    .into();
    corpus.push("A".repeat(1 << 20));
    corpus.push("<b>".repeat(1 << 10));
    corpus
}

fn change(text: &str) -> Change {
    let (before, after) = (Held::text(text), Held::List(vec![text.to_owned(), text.to_owned()]));
    Change { attribute: Attribute::DisplayName, before: Some(before), after: Some(after) }
}

fn with(about: &impl serde::Serialize, text: &str) -> Value {
    let mut is = json!(about);
    is["user"] = json!(ANA);
    is["userName"] = json!(text);
    is
}

/// An API that says `text` wherever it could come from outside.
fn saying(text: &str) -> Router {
    let at: jiff::Timestamp = "2026-11-23T11:00:00Z".parse().unwrap();
    let words = || text.to_owned();
    let job = Job {
        user: ana(),
        state: JobState::Parked,
        reason: Reason::Delta,
        first_news_at: at,
        latest_news_at: at,
        due_at: at,
        attempts: 3,
        generation: 1,
        urgent: false,
        removed: None,
        absent_since: None,
        out_of_scope: None,
        open_to_news: false,
        not_applied: 0,
        stopped: Some(words()),
        last_error: Some(words()),
        changed_at: at,
    };
    let held = HeldItem {
        since: at,
        plan: words(),
        operation: Operation::Deactivate,
        scim_id: Some(ScimId(words())),
        changes: vec![change(text)],
        evidence: None,
        spend: Spend::default(),
        words: words(),
    };
    let approval = Approval { plan: words(), set: words(), by: words(), at, expires_at: at };
    let restraint =
        |forbids| Restraint { forbids, why: RestraintReason::Undone, evidence: None, by: words(), at };
    let value = Forbidden::Value { attribute: Attribute::Emails, value: Some(Held::text(text)) };
    let restraints = [
        restraint(value),
        restraint(Forbidden::GiveRole { role: words() }),
        restraint(Forbidden::TakeRole { role: words() }),
    ];
    let drift = Drift {
        attribute: Attribute::DisplayName,
        since: at,
        baseline: Some(Held::text(text)),
        shown: Some(Held::text(text)),
        entra: Some(Held::text(text)),
        owner: Owner::Hold,
        decision: Decision::Keep,
        why: Why::TargetChanged,
        both_changed: false,
        roles: Vec::new(),
    };
    let intent = Intent {
        at,
        user: ana(),
        scim_id: Some(ScimId(words())),
        operation: Operation::Patch,
        changes: vec![change(text)],
        why: Default::default(),
        reason: Reason::Delta,
        evidence: None,
        plan: words(),
        desired: words(),
        batch: Some(words()),
        approved_by: Some(words()),
        spend: Spend::default(),
    };
    let write =
        |result| Write { number: 1, intent: intent.clone(), result, shown: Default::default(), lag_ms: 5 };
    let writes = [
        write(WriteResult::Applied),
        write(WriteResult::Refused { error: words() }),
        write(WriteResult::Unknown { error: words() }),
    ];
    let link = link(text, at);
    let status = json!({
        "version": text, "mode": text, "queue": { "parked": 1 }, "delta": {},
        "circuits": { "graph": { "state": "open", "error": text }, "cxone": { "state": "closed" } },
        "subscriptions": [{ "resource": text, "seconds_left": 5, "expires_at": at }],
        "credentials": [{ "name": text, "days_left": 3 }],
        "guard": { "deactivations": { "bounds": [{ "name": text, "window": text, "used": 1, "limit": 2, "percent": 5.0 }] } },
    });
    let subscriptions = json!({ "subscriptions": [{
        "id": text, "resource": text, "notification_url": text, "expires_at": at, "seconds_left": 5, "state": text,
    }, {
        "id": text, "resource": text, "notification_url": text, "expires_at": at, "seconds_left": 5, "state": "ours",
    }]});
    let explained = json!({
        "source": { "enabled": true, "properties": { "displayName": text, "x": [text, text] }, "gone": text },
        "membership": { "groups": [{ "group": text }], "complete": false },
        "roles": [{ "role": text, "group": text, "given": true, "held": false, "code": text, "owner": text }],
        "news": [{ "at": at, "reason": text }],
        "plan": { "sentence": text, "reason": text, "evidence": text, "error": text, "changes": [change(text)],
            "attributes": [{ "attribute": text, "source": text, "target": [text], "owner": text, "decision": text, "reason": text }] },
    });
    let one = json!({
        "held": held, "restraints": restraints, "drift": [drift],
        "order": { "by": text, "task": { "task": text } },
    });
    let all = json!({
        "set": text, "held": [with(&held, text)], "jobs": [with(&json!({ "code": text, "since": at, "words": text }), text)],
        "approvals": [with(&approval, text)],
        "restraints": restraints.iter().map(|it| with(it, text)).collect::<Vec<_>>(),
    });
    let answers: Vec<(String, Value)> = vec![
        ("/status".to_owned(), status),
        ("/api/v1/pulse".to_owned(), json!({ "points": [] })),
        ("/api/v1/history".to_owned(), json!({ "writes": writes })),
        ("/api/v1/queue/stats".to_owned(), json!({ "parked": 1 })),
        ("/api/v1/queue".to_owned(), json!({ "jobs": [job] })),
        (format!("/api/v1/queue/{ANA}"), json!({ "job": job, "link": link, "history": writes })),
        ("/api/v1/held".to_owned(), all),
        (format!("/api/v1/held/{ANA}"), one),
        ("/api/v1/drift".to_owned(), json!({ "drift": [with(&drift, text)], "next": null })),
        ("/api/v1/subscriptions".to_owned(), subscriptions),
        (format!("/api/v1/explain/{ANA}"), explained),
    ];
    let refused = json!({ "error": { "message": text } });
    Router::new().fallback(async move |request: AxumRequest| {
        let path = request.uri().path();
        match answers.iter().find(|(known, _)| known == path) {
            Some((_, answer)) => (StatusCode::OK, Json(answer.clone())),
            None => (StatusCode::CONFLICT, Json(refused.clone())),
        }
    })
}

fn link(text: &str, at: jiff::Timestamp) -> Link {
    let baseline = Baseline { source: Some(Held::text(text)), target: Some(Held::text(text)) };
    Link {
        scim_id: ScimId(text.to_owned()),
        baseline: [(Attribute::UserName, baseline)].into(),
        confirmed_at: at,
        source_fingerprint: None,
        deactivated_by_us: true,
        source_gone: false,
        purged: false,
        returned_at: None,
        normalised: Default::default(),
    }
}

/// Every page, where everything that can come from outside is `text`.
async fn pages(text: &str) -> Vec<String> {
    let mut browser = Browser::before(saying(text));
    let name = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    // A name that does not fit into the form is refused there.
    browser.sign_in(if name.len() < 1000 { &name } else { "ana" }).await;
    let now = browser.clock.now();
    let mark = Mark { user: ana(), reason: Reason::Delta, news_at: now, urgent: false, removed: None };
    browser.store.mark(vec![mark], now).await.unwrap();
    let claim = browser.store.claim(1, now).await.unwrap().pop().unwrap();
    let done = Outcome::of(Settlement::Done { recheck_at: None });
    let put = LinkChange::Put(Box::new(link(text, now)));
    browser.store.settle(claim, Outcome { link: put, ..done }, now).await.unwrap();
    let mut pages = Vec::new();
    for path in PAGES {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        pages.push(answer.text);
    }
    // What was refused comes back as a notice, and as a page.
    browser.act("renew", "subscription=x").await;
    pages.push(browser.get("/").await.text);
    pages.push(browser.get("/users?user=x").await.text);
    pages
}

/// What makes a page what it is: its tags and attributes. The session's own values are not its shape.
fn shape(page: &str) -> (usize, usize, usize) {
    (page.matches('<').count(), page.matches('>').count(), page.matches('"').count())
}

#[tokio::test]
async fn whatever_comes_from_outside_is_only_text() {
    let plain = pages("Ana Martin").await;
    for page in &plain[..9] {
        assert!(page.contains("Ana Martin"), "the value is on every page: {page}");
    }
    for text in corpus() {
        let shown: String = text.chars().take(40).collect();
        let hostile = pages(&text).await;
        for (i, (page, plain)) in hostile.iter().zip(&plain).enumerate() {
            let path = PAGES.get(i).unwrap_or(&"after an action");
            let (found, expected) = (shape(page), shape(plain));
            // Long names leave out the operator's own, which is one more element.
            if text.len() < 1000 {
                assert_eq!(found, expected, "{path} with {shown:?}:\n{page}");
            }
            assert!(!page.contains("<script>") && !page.contains("<img"), "{path} with {shown:?}");
            let steers = |c: &char| {
                c.is_control() && *c != '\n'
                    || ('\u{200B}'..='\u{200F}').contains(c)
                    || ('\u{2028}'..='\u{202E}').contains(c)
                    || ('\u{2060}'..='\u{206F}').contains(c)
                    || *c == '\u{FEFF}'
            };
            assert_eq!(page.chars().find(steers), None, "{path} with {shown:?}");
            assert!(page.len() < 200_000, "{path} with {shown:?}: {} bytes", page.len());
        }
    }
}
