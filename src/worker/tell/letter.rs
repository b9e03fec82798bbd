//! What a receiver gets: the body, and the signature by which it knows that the body is ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use crate::domain::event::{Event, What};

/// Where the documentation is, as it lies beside the program.
const DOCS: &str = "docs/";

/// The id that is the same for every try.
pub fn id(event: &Event) -> String {
    format!("msg_{}", event.id.simple())
}

/// The body of Standard Webhooks: type, time of the event, data.
pub fn standard(event: &Event) -> Json {
    let (what, kind) = (&event.what, event.what.kind());
    let mut data = json!({
        "message": what.sentence(event.suppressed),
        "reason": what.reason(),
        "suppressed": event.suppressed,
        "todo": kind.todo(),
        "docs": format!("{DOCS}{}", kind.anchor()),
    });
    let more = match what {
        What::GuardTripped { guarded, users } => json!({ "budget": guarded.name(), "users": users }),
        What::UserParked { users, .. } => json!({ "users": users }),
        What::SubscriptionLost { resource, subscription, .. } => {
            json!({ "resource": resource, "subscription": subscription })
        }
        What::CircuitOpen { api, .. } => json!({ "api": api }),
        What::CredentialExpiring { credential, expires_at, days_left } => {
            json!({ "credential": credential, "expiresAt": expires_at, "daysLeft": days_left })
        }
        What::CoverageLow { announced, missed } => json!({
            "announced": announced, "missed": missed,
            "ratio": *announced as f64 / (announced + missed).max(1) as f64,
        }),
        What::Test => json!({}),
    };
    for (key, value) in more.as_object().into_iter().flatten() {
        data[key] = value.clone();
    }
    json!({ "type": kind.name(), "timestamp": event.at, "data": data })
}

/// The body that Slack and those that do as it does show in a channel.
pub fn slack(event: &Event) -> Json {
    let (what, kind) = (&event.what, event.what.kind());
    let more = match event.suppressed {
        0 => String::new(),
        n => format!(" (and {n} more since the last time)"),
    };
    let text = format!(
        "*cxone-sync {}*: {}{more}\n{}. {DOCS}{}",
        kind.name(),
        escaped(&what.sentence(event.suppressed)),
        escaped(kind.todo()),
        kind.anchor()
    );
    json!({ "text": text })
}

/// Source: Slack, "Formatting text for app surfaces", "Escaping text".
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The value of `webhook-signature`: one signature a secret.
/// Source: Standard Webhooks, "Signature scheme".
pub fn signature(secrets: &[SecretSlice<u8>], id: &str, sent_at: Timestamp, body: &[u8]) -> String {
    let of = |secret: &SecretSlice<u8>| {
        let key = secret.expose_secret();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of HMAC may have any length");
        mac.update(format!("{id}.{}.", sent_at.as_second()).as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    secrets.iter().map(of).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use uuid::Uuid;

    use super::*;
    use crate::domain::guard::Guarded;
    use crate::domain::user::UserId;

    fn event(what: What, suppressed: u64) -> Event {
        let at = "2026-11-24T10:00:00Z".parse().unwrap();
        Event { id: Uuid::from_u128(7), at, what, suppressed }
    }

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // The example of the Standard Webhooks libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let sent_at = Timestamp::from_second(1_614_265_330).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(&[secret.clone().into()], id, sent_at, body), one);
        let both = signature(&[secret.into(), vec![7; 24].into()], id, sent_at, body);
        assert!(both.starts_with(&format!("{one} v1,")), "{both}");
        assert_eq!(signature(&[], id, sent_at, body), "");
    }

    #[test]
    fn the_body_says_what_happened_and_what_to_do() {
        let users = vec![UserId::from_bytes([1; 16])];
        let what = What::GuardTripped { guarded: Guarded::Deactivations, users };
        expect![[r#"
            {
              "type": "guard.tripped",
              "timestamp": "2026-11-24T10:00:00Z",
              "data": {
                "message": "the guard holds user 01010101-0101-0101-0101-010101010101 for an operator: over the budget of deactivations",
                "reason": "deactivations",
                "suppressed": 0,
                "todo": "see `cxone-sync held list`; let it pass with `held approve`, or forbid it with `held reject`",
                "docs": "docs/runbooks.md#guard-tripped",
                "budget": "deactivations",
                "users": [
                  "01010101-0101-0101-0101-010101010101"
                ]
              }
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&standard(&event(what, 0))).unwrap());
        expect![[r#"
            "*cxone-sync circuit.open*: cxone is out of reach: &lt;no&gt; answer (and 2 more since the last time)\nnothing is lost, jobs wait; see `/status` for the reason, and check the network and the credentials. docs/runbooks.md#circuit-open""#]]
        .assert_eq(&slack(&event(What::circuit_open("cxone", "<no> answer"), 2))["text"].to_string());
    }

    #[test]
    fn no_body_is_larger_than_the_standard_recommends() {
        let users: Vec<UserId> = (0..50).map(|n| UserId::from_bytes([n; 16])).collect();
        let code = "attributes_used_up".to_owned();
        for what in
            [What::UserParked { code, users }, What::circuit_open("graph", &"\u{1f600}\"".repeat(9000))]
        {
            let event = event(what, u64::MAX);
            for body in [standard(&event), slack(&event)] {
                assert!(body.to_string().len() < 20_000, "{}", body.to_string().len());
            }
        }
    }
}
