//! Whose data we work on: a token of another tenant than before is not used. What is kept (links,
//! evidence, what was seen) would be taken for that of people who are not in it.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// A tenant: known from before, or told by the first token. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tenant(Arc<OnceLock<String>>);

impl Tenant {
    pub fn new(known: Option<String>) -> Self {
        Self(Arc::new(known.map(OnceLock::from).unwrap_or_default()))
    }

    pub fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Whether something that shows this tenant is ours. The first that shows one says which is.
    pub fn is(&self, found: &str) -> bool {
        self.0.get_or_init(|| found.to_owned()).eq_ignore_ascii_case(found)
    }
}

/// A text among the claims of a JWT (RFC 7519); `None` also of a token that is none. The signature is
/// not looked at: the token comes from the token service itself.
pub fn claim(token: &str, name: &str) -> Option<String> {
    claims(token)?[name].as_str().map(str::to_owned)
}

/// All claims of a JWT, under the same caution.
pub fn claims(token: &str) -> Option<serde_json::Value> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_counts_and_no_other_after_it() {
        let tenant = Tenant::default();
        assert_eq!(tenant.get(), None);
        assert!(tenant.is("A"));
        assert!(tenant.clone().is("a"), "GUIDs are the same in either case");
        assert!(!tenant.is("b"));
        assert_eq!(tenant.get(), Some("A"));
        assert!(!Tenant::new(Some("b".to_owned())).is("a"));
    }

    #[test]
    fn a_claim_is_read_where_there_is_one() {
        let token = |claims: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(claim(&token(r#"{"tid":"a"}"#), "tid").as_deref(), Some("a"));
        for none in [r#"{"tid":7}"#, "{}", "[]", "no JSON"] {
            assert_eq!(claim(&token(none), "tid"), None, "{none}");
        }
        for opaque in ["", "opaque", "a.b", "a.%.c"] {
            assert_eq!(claim(opaque, "tid"), None, "{opaque}");
        }
    }
}
