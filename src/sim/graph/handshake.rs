//! Does this address answer? `POST {url}?validationToken=…` must bring back the decoded token, as
//! plain text, exactly, within 10 seconds.

use std::time::Duration;

use super::Tenant;

const TIMEOUT: Duration = Duration::from_secs(10);

/// `Err` is what Graph says when it refuses the address.
pub(super) async fn shake(sim: &Tenant, url: &str) -> Result<(), String> {
    let id = sim.traffic.dice.guid();
    let token =
        format!("Validation: Testing client application reachability for subscription Request-Id: {id}");
    // As it was seen on the wire: a plus for a space, lower-case hexadecimal.
    let encoded = token.replace(':', "%3a").replace(' ', "+");
    let joint = if url.contains('?') { '&' } else { '?' };
    let refused = |why: &str| Err(format!("Subscription validation request failed. {why}"));
    let request = sim
        .client
        .post(format!("{url}{joint}validationToken={encoded}"))
        .header("content-type", "text/plain; charset=utf-8")
        .timeout(TIMEOUT)
        .send();
    let must_answer = "Notification endpoint must respond with 200 OK to validation request.";
    let answer = match request.await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => {
            return Err("Subscription validation request timed out.".to_owned());
        }
        Err(_) => return refused(must_answer),
    };
    if answer.status() != reqwest::StatusCode::OK {
        let status = answer.status().canonical_reason().unwrap_or("unknown").replace(' ', "");
        return refused(&format!("HTTP status code is '{status}'. {must_answer}"));
    }
    let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    let is_plain = content_type.is_some_and(|value| {
        value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain"))
    });
    match answer.bytes().await {
        Ok(body) if is_plain && body == token.as_bytes() => Ok(()),
        Ok(_) => refused("Response must exactly match validationToken query parameter."),
        Err(error) if error.is_timeout() => Err("Subscription validation request timed out.".to_owned()),
        Err(_) => refused(must_answer),
    }
}
