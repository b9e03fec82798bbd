use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value as Json;

use super::*;
use crate::graph::script::{Script, TENANT, answer, settings, token};

const TOKEN_URL: &str = "https://login.example.com/11112222-3333-4444-5555-666677778888/oauth2/v2.0/token";

async fn sign_in(credential: Credential, respond: &'static str) -> (Result<(), Error>, Request) {
    let settings = super::super::Settings { credential, ..settings() };
    let script = Script::with(settings, move |_| match respond {
        "" => token("a-token"),
        body => answer(200, body),
    });
    let result = script.graph.sign_in().await;
    (result, script.sent().pop().unwrap())
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let url = Url::parse(&format!("https://localhost/?{text}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn form(request: &Request) -> BTreeMap<String, String> {
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", TOKEN_URL));
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    let form = pairs(std::str::from_utf8(&request.body).unwrap());
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "https://graph.example.com/.default");
    form
}

#[tokio::test]
async fn a_secret_is_sent_encoded() {
    let (result, request) = sign_in(settings().credential, "").await;
    result.unwrap();
    let form = form(&request);
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("the-client", "s3cret & more"));
    assert!(!String::from_utf8_lossy(&request.body).contains("& more"));
}

#[tokio::test]
async fn each_national_cloud_has_its_own_scope() {
    for (base, scope) in [
        ("https://graph.microsoft.us/v1.0", "https://graph.microsoft.us/.default"),
        ("https://microsoftgraph.chinacloudapi.cn/v1.0", "https://microsoftgraph.chinacloudapi.cn/.default"),
        ("http://127.0.0.1:9000/v1.0", "http://127.0.0.1:9000/.default"),
    ] {
        let settings = super::super::Settings { base_url: base.parse().unwrap(), ..settings() };
        let script = Script::with(settings, |_| token("a-token"));
        script.graph.sign_in().await.unwrap();
        assert_eq!(pairs(std::str::from_utf8(&script.sent()[0].body).unwrap())["scope"], scope);
    }
}

/// Keys take a while to make: one for all tests.
fn key() -> (rcgen::KeyPair, rcgen::Certificate) {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["cxone-sync".to_owned()]).unwrap().self_signed(&key).unwrap();
    (key, certificate)
}

fn certificate(certificate_pem: &str, private_key_pem: &str) -> Credential {
    Credential::Certificate {
        client_id: "the-client".to_owned(),
        certificate_pem: certificate_pem.as_bytes().to_vec(),
        private_key_pem: SecretString::from(private_key_pem),
    }
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_that_its_public_key_verifies() {
    let (key, cert) = key();
    let (result, request) = sign_in(certificate(&cert.pem(), &key.serialize_pem()), "").await;
    result.unwrap();
    let form = form(&request);
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert!(!form.contains_key("client_secret"));

    let mut validation = Validation::new(Algorithm::PS256);
    validation.set_audience(&[TOKEN_URL]);
    validation.set_issuer(&["the-client"]);
    // The clock of the test stands still; its times are looked at below.
    validation.validate_exp = false;
    let public = DecodingKey::from_rsa_pem(key.public_key_pem().as_bytes()).unwrap();
    let token = jsonwebtoken::decode::<Json>(&form["client_assertion"], &public, &validation).unwrap();
    assert_eq!(token.header.typ.as_deref(), Some("JWT"));
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(cert.der()));
    assert_eq!(token.header.x5t_s256, Some(thumbprint));
    let claims = token.claims;
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("the-client"), Some("the-client")));
    assert!(uuid::Uuid::try_parse(claims["jti"].as_str().unwrap()).is_ok());
    let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
    assert_eq!(
        (claims["nbf"].as_i64(), claims["iat"].as_i64()),
        (Some(now.as_second()), Some(now.as_second()))
    );
    let life = claims["exp"].as_i64().unwrap() - now.as_second();
    assert!((300..=600).contains(&life), "{life}");

    // The name of the header is in the token as Entra spells it, and another key does not verify it.
    let raw = URL_SAFE_NO_PAD.decode(form["client_assertion"].split('.').next().unwrap()).unwrap();
    assert!(String::from_utf8(raw).unwrap().contains("\"x5t#S256\":"));
    let (other, _) = self::key();
    let other = DecodingKey::from_rsa_pem(other.public_key_pem().as_bytes()).unwrap();
    assert!(jsonwebtoken::decode::<Json>(&form["client_assertion"], &other, &validation).is_err());
}

#[tokio::test]
async fn a_certificate_that_is_none_is_found_before_anything_is_sent() {
    let (key, cert) = key();
    let (cert, key) = (cert.pem(), key.serialize_pem());
    certificate(&cert, &key).check().await.unwrap();
    for (cert, key) in [("", key.as_str()), (key.as_str(), key.as_str()), (&cert, ""), (&cert, &cert)] {
        let credential = certificate(cert, key);
        assert!(credential.check().await.is_err());
        let settings = super::super::Settings { credential, ..settings() };
        let script = Script::with(settings, |_| token("a-token"));
        assert!(matches!(script.graph.sign_in().await, Err(Error::Credential(_))));
        assert_eq!(script.sent().len(), 0);
    }
}

#[tokio::test]
async fn a_federated_token_is_read_again_for_every_request() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let credential =
        Credential::FederatedTokenFile { client_id: "the-client".to_owned(), path: path.clone() };
    let settings = super::super::Settings { credential, ..settings() };
    let script = Script::with(settings, |_| token("a-token"));
    let tokens = &script.graph.inner.tokens;
    std::fs::write(&path, "first.assertion\n").unwrap();
    let bearer = tokens.current().await.unwrap();
    std::fs::write(&path, "second.assertion").unwrap();
    tokens.replace(&bearer).await.unwrap();
    let sent: Vec<String> =
        script.sent().iter().map(|request| form(request)["client_assertion"].clone()).collect();
    assert_eq!(sent, ["first.assertion", "second.assertion"]);
    std::fs::write(&path, " \n").unwrap();
    script.clock.advance(std::time::Duration::from_secs(3600));
    assert!(matches!(script.graph.sign_in().await, Err(Error::Credential(_))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(script.graph.sign_in().await, Err(Error::Credential(_))));
    // Back again, and there is no pause to wait out: the token service refused nothing.
    std::fs::write(&path, "third.assertion").unwrap();
    script.graph.sign_in().await.unwrap();
}

fn managed_by(client_id: Option<&str>, endpoint: Option<&str>) -> Credential {
    Credential::ManagedIdentity {
        client_id: client_id.map(str::to_owned),
        endpoint: endpoint.map(|url| (url.parse().unwrap(), SecretString::from("header-secret"))),
        imds_url: "http://169.254.169.254".parse().unwrap(),
    }
}

#[tokio::test]
async fn the_metadata_service_is_asked_as_it_wants() {
    let (result, request) =
        sign_in(managed_by(None, None), include_str!("../../../fixtures/graph/token-imds.json")).await;
    result.unwrap();
    assert_eq!(
        request.url.as_str().split('?').next().unwrap(),
        "http://169.254.169.254/metadata/identity/oauth2/token"
    );
    let query = pairs(request.url.query().unwrap());
    let expected = [("api-version", "2018-02-01"), ("resource", "https://graph.example.com")];
    assert_eq!(query, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!((request.method.as_str(), request.headers["metadata"].to_str().unwrap()), ("GET", "true"));
    assert!(request.body.is_empty() && !request.headers.contains_key("x-identity-header"));
}

#[tokio::test]
async fn the_identity_endpoint_is_asked_as_it_wants() {
    let endpoint = "http://localhost:42356/msi/token";
    let (result, request) = sign_in(managed_by(Some("the-client"), Some(endpoint)), "").await;
    result.unwrap();
    assert_eq!(request.url.as_str().split('?').next().unwrap(), endpoint);
    let query = pairs(request.url.query().unwrap());
    let expected = [
        ("api-version", "2019-08-01"),
        ("resource", "https://graph.example.com"),
        ("client_id", "the-client"),
    ];
    assert_eq!(query, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(request.headers["x-identity-header"], "header-secret");
    assert!(request.headers["x-identity-header"].is_sensitive());
    assert!(!request.headers.contains_key("metadata"));
}

#[test]
fn debugging_shows_no_secret() {
    let shown = format!("{:?} {:?}", settings().credential, managed_by(None, Some("http://localhost/msi")));
    assert!(!shown.contains("s3cret") && !shown.contains("header-secret"), "{shown}");
    assert!(TOKEN_URL.contains(TENANT));
}

#[tokio::test]
async fn a_key_of_another_certificate_is_found_before_it_is_used() {
    let ((key, certificate), (other, _)) = (key(), key());
    let credential = |key: &rcgen::KeyPair| Credential::Certificate {
        client_id: "the-client".to_owned(),
        certificate_pem: certificate.pem().into_bytes(),
        private_key_pem: key.serialize_pem().into(),
    };
    credential(&key).check().await.unwrap();
    let error = credential(&other).check().await.unwrap_err();
    assert!(matches!(error, CredentialError::Mismatch), "{error}");
}
