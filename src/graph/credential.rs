//! How we prove who we are: the ways Entra knows, each as one request for a token.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::InconsistentKeys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Error;
use crate::outbound::{HeaderName, HeaderValue, Method, Request, Url};
use crate::random::Random;

/// Entra takes assertions that live five to ten minutes.
/// Source: Microsoft identity platform, certificate credentials, "Claims (payload)".
const ASSERTION_LIFE_S: i64 = 8 * 60;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const IMDS_PATH: &str = "/metadata/identity/oauth2/token";

#[derive(Clone, Debug)]
pub enum Credential {
    Secret {
        client_id: String,
        secret: SecretString,
    },
    /// The first certificate of the PEM is the one registered with the application.
    Certificate {
        client_id: String,
        certificate_pem: Vec<u8>,
        private_key_pem: SecretString,
    },
    /// Workload identity: a token of another issuer, in a file that its owner keeps fresh.
    FederatedTokenFile {
        client_id: String,
        path: PathBuf,
    },
    ManagedIdentity {
        /// Needed when several identities are assigned.
        client_id: Option<String>,
        /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` of App Service and Container Apps.
        endpoint: Option<(Url, SecretString)>,
        /// `http://169.254.169.254`, used without `endpoint`.
        imds_url: Url,
    },
}

/// Credentials that cannot be used as they are.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("there is no certificate in the PEM file")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    #[error("there is no RSA private key in the PEM file")]
    PrivateKey(#[source] jsonwebtoken::errors::Error),
    #[error("the certificate and the private key do not belong together")]
    Mismatch,
    #[error("cannot sign with the private key")]
    Signature(#[source] jsonwebtoken::errors::Error),
    #[error("cannot read the federated token file {path}")]
    TokenFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the federated token file {path} is empty")]
    NoToken { path: PathBuf },
    #[error("the identity header holds characters that no header may have")]
    IdentityHeader,
}

/// What a request for a token is about, whoever asks.
pub(super) struct Asking<'a> {
    /// Where Entra gives tokens; also the audience of an assertion.
    pub token_url: &'a Url,
    /// The origin of the Graph of this cloud, without a slash at the end.
    pub resource: &'a str,
    pub now: Timestamp,
    pub random: &'a Random,
}

impl Credential {
    /// Whether a token could be asked for with it. Nothing is sent.
    pub async fn check(&self) -> Result<(), CredentialError> {
        if let Self::Certificate { certificate_pem, private_key_pem, .. } = self
            && !belong_together(certificate_pem, private_key_pem)
        {
            // While both are replaced, one file is new before the other.
            return Err(CredentialError::Mismatch);
        }
        let nowhere = Url::parse("https://localhost").expect("it is an address");
        let (now, random) = (Timestamp::UNIX_EPOCH, &Random::seeded(0));
        self.request(&Asking { token_url: &nowhere, resource: "", now, random }).await.map(drop)
    }

    /// Where the endpoint of a managed identity is; `None` for all that ask Entra.
    pub(super) fn own_endpoint(&self) -> Option<Url> {
        match self {
            Self::ManagedIdentity { endpoint: Some((url, _)), .. } => Some(url.clone()),
            Self::ManagedIdentity { endpoint: None, imds_url, .. } => {
                let mut url = imds_url.clone();
                if url.path() == "/" {
                    url.set_path(IMDS_PATH);
                }
                Some(url)
            }
            _ => None,
        }
    }

    pub(super) async fn request(&self, asking: &Asking<'_>) -> Result<Request, CredentialError> {
        let scope = format!("{}/.default", asking.resource);
        let form = |client_id: &str, proof: &[(&str, &str)]| {
            let grant = [("grant_type", "client_credentials"), ("client_id", client_id), ("scope", &scope)];
            let body = encode(grant.iter().chain(proof));
            Request::new(Method::POST, asking.token_url.clone())
                .body("application/x-www-form-urlencoded", body)
        };
        let assert = |client_id: &str, assertion: &str| {
            form(client_id, &[("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)])
        };
        match self {
            Self::Secret { client_id, secret } => {
                Ok(form(client_id, &[("client_secret", secret.expose_secret())]))
            }
            Self::Certificate { client_id, certificate_pem, private_key_pem } => {
                let assertion = assertion(client_id, certificate_pem, private_key_pem, asking)?;
                Ok(assert(client_id, &assertion))
            }
            Self::FederatedTokenFile { client_id, path } => {
                // Read every time: the kubelet replaces it about once an hour.
                let token = tokio::fs::read_to_string(path)
                    .await
                    .map_err(|source| CredentialError::TokenFile { path: path.clone(), source })?;
                match token.trim() {
                    "" => Err(CredentialError::NoToken { path: path.clone() }),
                    token => Ok(assert(client_id, token)),
                }
            }
            Self::ManagedIdentity { client_id, endpoint, .. } => {
                managed(client_id.as_deref(), endpoint.as_ref().map(|(_, header)| header), self, asking)
            }
        }
    }
}

fn encode<'a>(pairs: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let pair =
        |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    pairs.map(pair).collect::<Vec<_>>().join("&")
}

/// Source: "How to use managed identities to acquire an access token" (IMDS) and "Managed
/// identities in Container Apps" (`IDENTITY_ENDPOINT`).
fn managed(
    client_id: Option<&str>,
    identity_header: Option<&SecretString>,
    credential: &Credential,
    asking: &Asking<'_>,
) -> Result<Request, CredentialError> {
    let version = if identity_header.is_some() { "2019-08-01" } else { "2018-02-01" };
    let query = [("api-version", version), ("resource", asking.resource)];
    let query = encode(query.iter().chain(client_id.map(|id| ("client_id", id)).as_ref()));
    let mut url = credential.own_endpoint().expect("a managed identity has an endpoint");
    url.set_query(Some(&query));
    let request = Request::new(Method::GET, url);
    match identity_header {
        None => Ok(request.header(HeaderName::from_static("metadata"), HeaderValue::from_static("true"))),
        Some(secret) => {
            let mut value =
                HeaderValue::from_str(secret.expose_secret()).map_err(|_| CredentialError::IdentityHeader)?;
            value.set_sensitive(true);
            Ok(request.header(HeaderName::from_static("x-identity-header"), value))
        }
    }
}

/// Whether the key is that of the certificate. What cannot be read is told where it is used.
fn belong_together(certificate_pem: &[u8], private_key_pem: &SecretString) -> bool {
    let certificate = CertificateDer::from_pem_slice(certificate_pem);
    let key = PrivateKeyDer::from_pem_slice(private_key_pem.expose_secret().as_bytes());
    let (Ok(certificate), Ok(key)) = (certificate, key) else { return true };
    let Ok(key) = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) else { return true };
    let pair = rustls::sign::CertifiedKey::new(vec![certificate], key);
    !matches!(pair.keys_match(), Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)))
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    nbf: i64,
    iat: i64,
    exp: i64,
}

/// A signed statement that we hold the private key (RFC 7523), in the form Entra wants: PS256 with
/// the SHA-256 thumbprint of the certificate.
fn assertion(
    client_id: &str,
    certificate_pem: &[u8],
    private_key_pem: &SecretString,
    asking: &Asking<'_>,
) -> Result<String, CredentialError> {
    let certificate =
        CertificateDer::from_pem_slice(certificate_pem).map_err(CredentialError::Certificate)?;
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(private_key_pem.expose_secret().as_bytes())
        .map_err(CredentialError::PrivateKey)?;
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::PS256);
    header.x5t_s256 = Some(URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate)));
    let now = asking.now.as_second();
    let claims = Claims {
        aud: asking.token_url.as_str(),
        iss: client_id,
        sub: client_id,
        jti: asking.random.guid().to_string(),
        nbf: now,
        iat: now,
        exp: now + ASSERTION_LIFE_S,
    };
    jsonwebtoken::encode(&header, &claims, &key).map_err(CredentialError::Signature)
}

impl From<CredentialError> for Error {
    fn from(error: CredentialError) -> Self {
        Self::Credential(Arc::new(error))
    }
}

#[cfg(test)]
mod tests;
