//! Why Graph gave no usable answer, told apart by what that costs.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::credential::CredentialError;
use super::wire;
use crate::outbound::{self, Response, StatusCode};

/// Cheap to clone: one failed batch fails many callers. Messages name codes and never what Graph
/// wrote in prose, which may hold names; that is in `message`, for an operator's eyes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or nothing may be sent now ([`outbound::Error::Throttled`]).
    #[error("cannot {doing}")]
    Outbound {
        doing: &'static str,
        #[source]
        source: Arc<outbound::Error>,
    },
    /// The token service said no to our credentials. It is not asked again for 30 s.
    #[error("the token service refused our credentials: {0}")]
    Refused(Refusal),
    /// Our credentials cannot even be sent: a file that is not there, a key that is none.
    #[error("cannot use our credentials for Microsoft Graph")]
    Credential(#[source] Arc<CredentialError>),
    /// A token that is not of the directory the store belongs to: nobody kept there is in it.
    #[error(
        "the token for Microsoft Graph is of directory {found}, and the store belongs to another: correct \
         graph.tenant_id and the credential, or give this directory a store.path of its own"
    )]
    ForeignTenant { found: String },
    /// 401, with a fresh token too.
    #[error("Microsoft Graph does not accept our token (401) when asked to {doing}")]
    Unauthorized { doing: &'static str },
    /// A permission or its consent is missing, or a quota is used up.
    #[error("Microsoft Graph forbids us to {doing} (403 {code})")]
    Forbidden { doing: &'static str, code: String, message: String },
    /// Any other status that is not success. `code` is empty when the answer was not Graph's.
    #[error("cannot {doing}: the answer was {status} {code}")]
    Status { doing: &'static str, status: u16, code: String, message: String },
    /// Success, but not what was asked for: HTML, cut short, another id, no `accountEnabled`.
    /// It says nothing about the directory.
    #[error("cannot {doing}: {fault}")]
    Malformed { doing: &'static str, fault: String },
    /// The delta link is worth nothing any more: begin a full round.
    #[error("the delta link has expired and a full round is needed")]
    ResyncRequired,
    /// The process is ending and the call was dropped half-way.
    #[error("cannot {doing}: the process is ending")]
    Interrupted { doing: &'static str },
}

/// What the token service said, without prose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// The OAuth code (RFC 6749, 5.2) and Entra's numbers, such as `invalid_client AADSTS7000215`.
    pub code: String,
}

impl Refusal {
    /// What an operator can do about it, for the codes met most.
    /// Source: Microsoft Entra authentication and authorization error codes.
    pub fn hint(&self) -> Option<&'static str> {
        let hints = [
            ("AADSTS7000215", "the client secret is wrong: use its value, not its id"),
            ("AADSTS7000222", "the client secret has expired: make a new one"),
            ("AADSTS700016", "the application is not known in this tenant: check client_id and tenant_id"),
            ("AADSTS700027", "the certificate is not registered with the application, or has expired"),
            ("AADSTS70021", "no federated credential matches the token's issuer and subject"),
            ("AADSTS90002", "the tenant does not exist in this cloud: check tenant_id and cloud"),
            ("AADSTS500011", "this cloud does not know the resource: check cloud"),
        ];
        let mut codes = self.code.split(' ');
        codes.find_map(|code| hints.iter().find(|(known, _)| *known == code)).map(|(_, hint)| *hint)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.code)?;
        self.hint().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl Error {
    pub(super) fn outbound(doing: &'static str, source: outbound::Error) -> Self {
        Self::Outbound { doing, source: Arc::new(source) }
    }

    pub(super) fn malformed(doing: &'static str, fault: impl fmt::Display) -> Self {
        Self::Malformed { doing, fault: fault.to_string() }
    }

    /// What an answer other than success means.
    pub(super) fn refusal(doing: &'static str, response: &Response) -> Self {
        let status = response.status.as_u16();
        let request_id = response.headers.get("request-id").and_then(|id| id.to_str().ok());
        let fault = wire::Fault::read(&response.body).unwrap_or_default();
        tracing::debug!(
            http.status = status,
            graph.code = fault.code,
            graph.request_id = request_id,
            "Microsoft Graph would not {doing}"
        );
        let wire::Fault { code, message, .. } = fault;
        match response.status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized { doing },
            StatusCode::FORBIDDEN => Self::Forbidden { doing, code, message },
            _ if response.status.is_success() => {
                Self::malformed(doing, format!("unexpected status {status}"))
            }
            _ => Self::Status { doing, status, code, message },
        }
    }

    /// Until when Graph (or its token service) asked us to wait.
    pub fn throttled_until(&self) -> Option<Timestamp> {
        match self.outbound_error()? {
            outbound::Error::Throttled { until, .. } => Some(*until),
            _ => None,
        }
    }

    pub fn outbound_error(&self) -> Option<&outbound::Error> {
        match self {
            Self::Outbound { source, .. } => Some(source),
            _ => None,
        }
    }
}
