//! The request a plan would send, before anybody sends it.

use serde::Serialize;
use serde_json::Value as Json;

use super::errors::Error;
use super::wire::User;
use super::{Cxone, Dialect, dialect, merge};
use crate::domain::queue::Change;
use crate::domain::user::Attributes;
use crate::outbound::Method;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub enum Intent<'a> {
    Create(&'a Attributes),
    Update(&'a User, &'a [Change]),
}

/// A request to CXone, as it would leave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Draft {
    pub method: String,
    /// With the path of `cxone.scim_url` before it.
    pub path: String,
    pub body: Json,
}

impl Cxone {
    /// The request that [`Cxone::create`] or [`Cxone::update`] would send first, in the dialect that
    /// is known by now, else in the one that is tried first; `None` when the user needs no change.
    /// Sends nothing.
    ///
    /// # Errors
    /// When the user cannot be written at all, as the write itself would say.
    pub fn preview(&self, intent: Intent<'_>) -> Result<Option<Draft>, Error> {
        let (method, url, body) = match intent {
            Intent::Create(attributes) => {
                (Method::POST, self.inner.scim.url(["Users"]), merge::created(attributes))
            }
            Intent::Update(user, changes) => {
                let Some(raw) = user.raw.as_object() else {
                    let what = "it is no object".to_owned();
                    return Err(Error::Malformed { asked: "the user to change", what });
                };
                let (_, dialects) = self.dialects();
                let Some(update) = dialect::update(raw, changes, dialects[0], &self.roles) else {
                    return Ok(None);
                };
                (update.method, self.user_url(&user.view.id)?, update.body)
            }
        };
        Ok(Some(Draft { method: method.to_string(), path: url.path().to_owned(), body }))
    }

    /// The requests by which [`Cxone::update_in`] would make these changes, in each dialect.
    pub fn previews(&self, user: &User, changes: &[Change]) -> Vec<(Dialect, Draft)> {
        let (Some(raw), Ok(url)) = (user.raw.as_object(), self.user_url(&user.view.id)) else {
            return Vec::new();
        };
        let draft = |dialect| {
            let update = dialect::update(raw, changes, dialect, &self.roles)?;
            let (method, path) = (update.method.to_string(), url.path().to_owned());
            Some((dialect, Draft { method, path, body: update.body }))
        };
        Dialect::ALL.into_iter().filter_map(draft).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cxone::tests::{USER, target};
    use crate::cxone::wire::RoleNames;

    #[test]
    fn who_needs_no_change_needs_no_request() {
        let never = target(|_, _| panic!("must not be sent"));
        let user = User::read(USER.as_bytes(), &RoleNames::default()).unwrap();
        assert_eq!(never.cxone.preview(Intent::Update(&user, &[])).unwrap(), None);
        let odd = User { raw: json!([]), ..user };
        assert!(never.cxone.preview(Intent::Update(&odd, &[])).is_err());
    }
}
