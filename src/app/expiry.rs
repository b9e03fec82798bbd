//! When the credentials end, as far as that can be known: from certificates and tokens themselves, and from
//! dates in the configuration for those that say nothing.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;

use crate::config::{Config, CxoneAuth, GraphCredential};
use crate::domain::expiry::Expiry;
use crate::outbound::{claims, tls};

/// What is known now. It reads files. A file that cannot be read says nothing.
pub fn known(config: &Config) -> Vec<Expiry> {
    let mut known = Vec::new();
    let mut add = |name: &str, life: Option<Life>| {
        if let Some(Life { since, expires_at }) = life {
            known.push(Expiry { name: name.to_owned(), since, expires_at });
        }
    };
    match &config.graph.credential {
        GraphCredential::Certificate { certificate_pem, .. } => {
            add("graph.certificate_file", of_certificate(certificate_pem));
        }
        GraphCredential::FederatedTokenFile { path, .. } => {
            let token = std::fs::read_to_string(path).unwrap_or_default();
            add("graph.federated_token_file", of_token(token.trim()));
        }
        GraphCredential::Secret { .. } | GraphCredential::ManagedIdentity { .. } => {}
    }
    if let Some(tls) = &config.service.tls {
        let pem = std::fs::read(&tls.certificate_file).unwrap_or_default();
        add("service.tls_certificate_file", of_certificate(&pem));
    }
    let is_dated = |name: &str| config.expiries.iter().any(|(dated, _)| *dated == name);
    if let CxoneAuth::Bearer { token } = &config.cxone.auth
        && !is_dated("cxone.token")
    {
        add("cxone.token", of_token(token.expose_secret()));
    }
    for (name, expires_at) in &config.expiries {
        add(name, Some(Life { since: None, expires_at: *expires_at }));
    }
    known
}

struct Life {
    since: Option<Timestamp>,
    expires_at: Timestamp,
}

/// Of the first certificate: the others of a chain are somebody else's.
fn of_certificate(pem: &[u8]) -> Option<Life> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (not_before, not_after) = tls::validity(&der)?;
    Some(Life { since: Some(not_before), expires_at: not_after })
}

/// Of a JWT (RFC 7519). Whose it is and who signed it is not looked at.
fn of_token(token: &str) -> Option<Life> {
    let claims = claims(token)?;
    let at = |name: &str| Timestamp::from_second(claims[name].as_i64()?).ok();
    Some(Life { since: at("iat").or_else(|| at("nbf")), expires_at: at("exp")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    #[test]
    fn a_certificate_says_when_it_ends() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wanted = rcgen::CertificateParams::new(vec!["sync.example.com".to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(2026, 1, 2);
        wanted.not_after = rcgen::date_time_ymd(2027, 3, 4);
        let pem = wanted.self_signed(&key).unwrap().pem();
        let life = of_certificate(format!("{pem}{}", key.serialize_pem()).as_bytes()).unwrap();
        assert_eq!(life.since, "2026-01-02T00:00:00Z".parse().ok());
        assert_eq!(life.expires_at, "2027-03-04T00:00:00Z".parse().unwrap());
        let half = &pem.as_bytes()[..pem.len() / 2];
        assert!(of_certificate(half).is_none() && of_certificate(b"").is_none());
    }

    #[test]
    fn a_token_says_when_it_ends() {
        let token = |claims: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let life = of_token(&token(r#"{"iat":1800000000,"exp":1800003600}"#)).unwrap();
        assert_eq!(
            (life.since.unwrap().as_second(), life.expires_at.as_second()),
            (1_800_000_000, 1_800_003_600)
        );
        assert!(of_token(&token(r#"{"iat":1}"#)).is_none() && of_token("opaque").is_none());
    }
}
