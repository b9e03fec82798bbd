//! What goes wrong, sorted by what it means, and the server's words about it.
//!
//! NICE publishes no error body for SCIM. Four kinds can be expected: SCIM's own (RFC 7644, 3.12),
//! that of UserHub `{code, details}`, that of Spring `{status, error, message, path}`, and pages.

use serde_json::{Map, Value as Json};

use super::place::{MESSAGES, has_schema, lookup};
use crate::outbound::{self, Response, StatusCode};

/// As much of the server's words as is kept.
const LONGEST_DETAIL: usize = 300;

/// Why CXone did not do, or did not say, what was asked.
///
/// The messages are fit for log lines. The server's words ([`Error::detail`]) are not: they may hold
/// names and addresses.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or none allowed to be asked for.
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
    /// The token endpoint does not accept our credentials (or did not, within the last 30 s).
    #[error("the token endpoint of CXone refused our credentials")]
    Refused { detail: String },
    /// A token that is not of the tenant the store belongs to: no account kept there is in it.
    #[error(
        "the token of CXone is of tenant {found}, and the store belongs to another: correct the credentials, or \
         give this tenant a store.path of its own"
    )]
    ForeignTenant { found: String },
    /// 403.
    #[error("CXone does not permit us to do this (403)")]
    Forbidden { detail: String },
    /// 401, also with a new token.
    #[error("CXone does not accept our token (401)")]
    Unauthorized,
    /// 409, or 400 with `uniqueness`: somebody has this userName or externalId already.
    #[error("CXone reports a conflict with another user")]
    Conflict { detail: String },
    /// 412: the user changed since we looked.
    #[error("the user changed in CXone since we looked (412)")]
    Precondition,
    /// 400 and 422: asking again will not help.
    #[error("CXone rejected the request ({status} {})", scim_type.as_deref().unwrap_or("without a type"))]
    Rejected { status: u16, scim_type: Option<String>, detail: String },
    /// Any other status that is not success; a 404 that does not answer the question is one too.
    #[error("CXone answered with status {status}")]
    Status { status: u16, detail: String },
    /// Success, but not with what was asked for: nothing may be concluded.
    #[error("CXone did not answer with {asked}: {what}")]
    Malformed { asked: &'static str, what: String },
}

impl Error {
    /// The server's own words, for the operator's eyes only.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Refused { detail }
            | Self::Forbidden { detail }
            | Self::Conflict { detail }
            | Self::Rejected { detail, .. }
            | Self::Status { detail, .. } => Some(detail),
            Self::Outbound(_)
            | Self::ForeignTenant { .. }
            | Self::Unauthorized
            | Self::Precondition
            | Self::Malformed { .. } => None,
        }
    }

    /// What an answer that is not success means.
    pub fn of(response: &Response) -> Self {
        let said = Said::read(&response.body);
        let (status, detail) = (response.status.as_u16(), said.detail);
        match response.status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden { detail },
            StatusCode::CONFLICT => Self::Conflict { detail },
            StatusCode::PRECONDITION_FAILED => Self::Precondition,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => match said.scim_type {
                Some(kind) if kind.eq_ignore_ascii_case("uniqueness") => Self::Conflict { detail },
                scim_type => Self::Rejected { status, scim_type, detail },
            },
            _ => Self::Status { status, detail },
        }
    }
}

/// What an error body says.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Of SCIM's own form.
    pub is_scim: bool,
    /// The status the body itself gives.
    pub status: Option<u16>,
    pub scim_type: Option<String>,
    pub detail: String,
}

impl Said {
    pub fn read(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Json::Object(object)) => Self::of(&object),
            _ => Self::nothing(describe(body)),
        }
    }

    fn nothing(detail: &str) -> Self {
        Self { is_scim: false, status: None, scim_type: None, detail: detail.to_owned() }
    }

    fn of(object: &Map<String, Json>) -> Self {
        let text = |name: &str| lookup(object, name).and_then(words);
        let detail = text("detail").or_else(|| userhub(object)).or_else(|| text("message"));
        // RFC 7644 has it as a string; Spring, and some who misread the RFC, as a number.
        let status = text("status").and_then(|status| status.parse().ok());
        Self {
            is_scim: has_schema(object, &format!("{MESSAGES}Error")),
            status,
            scim_type: lookup(object, "scimType").and_then(Json::as_str).filter(is_word).map(str::to_owned),
            detail: tidy(&detail.or_else(|| text("error")).unwrap_or_default()),
        }
    }

    /// Whether this answers "there is no such resource". Nothing less does: a wrong host, a missing
    /// `/v2` and a gateway answer 404 as well.
    pub fn is_absence(&self) -> bool {
        self.is_scim && self.status.is_none_or(|status| status == 404)
    }
}

fn userhub(object: &Map<String, Json>) -> Option<String> {
    let code = words(lookup(object, "code")?)?;
    let details = lookup(object, "details").and_then(words);
    Some(details.map_or_else(|| code.clone(), |details| format!("{code}: {details}")))
}

fn words(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => (!text.is_empty()).then(|| text.clone()),
        Json::Null => None,
        other => Some(other.to_string()),
    }
}

/// Any of the RFC's types, and those still to come: not a place to hide a sentence in, since the type
/// goes into log lines.
fn is_word(kind: &&str) -> bool {
    (1..=40).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn describe(body: &[u8]) -> &'static str {
    let start = body.trim_ascii_start();
    match start.first() {
        None => "an empty answer",
        Some(b'<') => "a page",
        Some(_) => "an answer that is not JSON",
    }
}

/// One line of bounded length.
pub fn tidy(words: &str) -> String {
    let clean = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(LONGEST_DETAIL).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> (bool, Option<String>, String) {
        let said = Said::read(body.as_bytes());
        (said.is_absence(), said.scim_type, said.detail)
    }

    #[test]
    fn every_kind_of_error_body_yields_its_words() {
        let uniqueness = said(include_str!("../../fixtures/cxone/error-uniqueness.json"));
        assert_eq!(uniqueness, (false, Some("uniqueness".into()), "userName is taken".into()));
        let userhub = said(include_str!("../../fixtures/cxone/error-userhub.json"));
        assert_eq!(userhub, (false, None, "USR-1007: Team is not known".into()));
        let spring = said(include_str!("../../fixtures/cxone/error-spring.json"));
        assert_eq!(spring, (false, None, "No message available".into()));
        assert_eq!(said("<html><title>x</title>").2, "a page");
        assert_eq!(said("").2, "an empty answer");
        assert_eq!(said("upstream").2, "an answer that is not JSON");
        assert_eq!(said("[1]").2, "an answer that is not JSON");
    }

    #[test]
    fn only_a_scim_404_says_that_somebody_is_absent() {
        let absent = include_str!("../../fixtures/cxone/error-not-found.json");
        assert!(said(absent).0);
        assert!(said(&absent.replace(r#""404""#, "404")).0);
        assert!(!said(&absent.replace(r#""404""#, r#""500""#)).0);
        assert!(!said(include_str!("../../fixtures/cxone/error-spring.json")).0);
        assert!(!said(r#"{"code":"404","details":"no route"}"#).0);
        for end in 0..absent.trim_end().len() {
            assert!(!said(&absent[..end]).0, "{}", &absent[..end]);
        }
    }

    #[test]
    fn the_servers_words_are_one_line_and_bounded_and_not_in_the_message() {
        let body = format!(
            r#"{{"scimType":"ana@example.com","detail":"ana@example.com\r\nERROR {}"}}"#,
            "x".repeat(5000)
        );
        let response = Response {
            status: StatusCode::BAD_REQUEST,
            headers: outbound::HeaderMap::new(),
            body: body.into(),
        };
        let error = Error::of(&response);
        let detail = error.detail().unwrap();
        assert!(detail.starts_with("ana@example.com  ERROR xxx") && detail.len() <= LONGEST_DETAIL);
        assert!(!error.to_string().contains("ana"), "{error}");
    }
}
