//! What both simulators need of HTTP: pairs of a query or a form, bearer and basic credentials, and
//! the one client that sends (deliveries, handshakes, the tests of the simulators).

use axum::http::{HeaderMap, header};
use base64::Engine;
use percent_encoding::percent_decode_str;

/// The pairs of `a=b&c=d`, `+` and percent-encoding undone, in order.
pub(super) fn pairs(encoded: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    encoded
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

pub(super) fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

/// User and password of `Authorization: Basic`.
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = credentials(headers, "basic")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (name, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Sends to loopback and to nothing else in practice: no proxy, no redirect followed. It trusts any
/// certificate, because the service under test makes its own.
#[expect(clippy::disallowed_methods, reason = "a simulator must not share the way out it is there to check")]
pub(super) fn client() -> reqwest::Client {
    // Another part of the process may have installed it first; it is the same one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        // No look at the system's authorities: a bare container has none, and the demo must run there.
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true)
        .build()
        .expect("a client without certificate authorities has nothing to load")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_is_a_space_and_an_encoded_plus_is_a_plus() {
        assert_eq!(
            pairs("a=1+2%2B&b&%24select=id,x"),
            [("a".into(), "1 2+".into()), ("b".into(), "".into()), ("$select".into(), "id,x".into())]
        );
    }

    #[test]
    fn credentials_are_read_by_scheme() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "basic YTpiOmM=".parse().unwrap());
        assert_eq!(basic(&headers), Some(("a".into(), "b:c".into())));
        assert_eq!(bearer(&headers), None);
    }
}
