//! Graph's JSON. Open types: unknown members are skipped, and what may be missing is an `Option`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A user object: which members it has depends on `$select`.
pub type Object = Map<String, Value>;

/// One page of any collection.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    pub value: Vec<T>,
    #[serde(rename = "@odata.nextLink")]
    pub next_link: Option<String>,
    #[serde(rename = "@odata.deltaLink")]
    pub delta_link: Option<String>,
}

/// A directory object of which only the id was selected.
#[derive(Debug, Deserialize)]
pub struct Reference {
    pub id: String,
    #[serde(rename = "@odata.type")]
    pub kind: Option<String>,
}

/// An item of `groups/delta`. The members themselves are read anew, so only their presence counts.
#[derive(Debug, Deserialize)]
pub struct GroupChange {
    pub id: String,
    #[serde(rename = "@removed")]
    pub removed: Option<Value>,
    #[serde(rename = "members@delta")]
    pub members: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    pub id: String,
    pub resource: String,
    pub expiration_date_time: Option<String>,
    pub change_type: Option<String>,
    pub notification_url: Option<String>,
    pub lifecycle_notification_url: Option<String>,
    pub client_state: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSubscription<'a> {
    pub change_type: &'a str,
    pub notification_url: &'a str,
    pub lifecycle_notification_url: &'a str,
    pub resource: &'a str,
    pub expiration_date_time: String,
    pub client_state: &'a str,
    pub latest_supported_tls_version: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    pub expiration_date_time: String,
}

#[derive(Debug, Serialize)]
pub struct Batch {
    pub requests: Vec<BatchRequest>,
}

#[derive(Debug, Serialize)]
pub struct BatchRequest {
    pub id: String,
    pub method: &'static str,
    /// Relative to the version: `/users/…`.
    pub url: String,
}

#[derive(Debug, Deserialize)]
pub struct BatchAnswer {
    pub responses: Vec<BatchResponse>,
}

#[derive(Debug, Deserialize)]
pub struct BatchResponse {
    pub id: String,
    pub status: u16,
    /// Values are strings, and sometimes numbers.
    pub headers: Option<HashMap<String, Value>>,
    pub body: Option<Box<RawValue>>,
}

/// What the token service and the managed identity endpoints answer. The latter write numbers as
/// strings, and some give only `expires_on`.
#[derive(Debug, Deserialize)]
pub struct Token {
    pub access_token: String,
    pub expires_in: Option<Value>,
    /// Seconds since 1970.
    pub expires_on: Option<Value>,
}

/// A number, or a string that holds one.
pub fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// RFC 6749, 5.2, and Entra's addition of numbers.
#[derive(Debug, Default, Deserialize)]
pub struct TokenFault {
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub error_codes: Vec<u32>,
}

/// Graph's error object.
#[derive(Debug, Default)]
pub struct Fault {
    pub code: String,
    pub message: String,
    inner: Vec<String>,
}

impl Fault {
    /// `None` when the answer is not one of Graph's errors, whole and with a code.
    pub fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: Value,
        }
        let Body { error } = serde_json::from_slice(body).ok()?;
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        let code = text(&error, "code").filter(|code| !code.is_empty())?;
        let message = text(&error, "message").unwrap_or_default();
        // The samples spell it one way, the schema the other.
        let deeper = |value: &Value| value.get("innerError").or(value.get("innererror")).cloned();
        let inner = std::iter::successors(deeper(&error), deeper);
        let inner = inner.filter_map(|value| text(&value, "code")).collect();
        Some(Self { code, message, inner })
    }

    /// Whether the code, or one further in, is one of these. Graph writes some in either case.
    pub fn is(&self, codes: &[&str]) -> bool {
        let mut all = std::iter::once(&self.code).chain(&self.inner);
        all.any(|code| codes.iter().any(|known| code.eq_ignore_ascii_case(known)))
    }

    /// Whether the outermost code is this one.
    pub fn says(&self, code: &str) -> bool {
        self.code == code
    }
}
