//! Sending a change in a dialect that the target understands, and finding out which that is.

use super::dialect::{self, Dialect, DialectChoice, Update};
use super::errors::Error;
use super::place::{Place, place};
use super::wire::User;
use super::{Cxone, unsuccessful};
use crate::domain::patch;
use crate::domain::queue::Change;
use crate::domain::user::Attribute;
use crate::outbound::Method;

/// What a failure says of the dialect.
enum Doubt {
    /// None: it is about the values, the user or the connection.
    None,
    /// It may be the user's data: worth another dialect, but not to be held against this one.
    Here,
    /// This dialect is not understood.
    Dialect,
    /// No PATCH is.
    Patch,
}

impl Cxone {
    /// Makes the changes in one request, the smallest the dialect allows. The answer's user if it
    /// has one; `None` after 204.
    ///
    /// With `auto` a dialect that is not understood is followed by the next in the same call, and
    /// what worked is remembered. Nothing is sent if `user` needs no change.
    pub async fn update(&self, user: &User, changes: &[Change]) -> Result<Option<User>, Error> {
        let Some(raw) = user.raw.as_object() else {
            return Err(Error::Malformed { asked: "the user to change", what: "it is no object".to_owned() });
        };
        let (is_known, dialects) = self.dialects();
        let (mut tried, mut ignored, mut rejection) = (Vec::<Update>::new(), None, None);
        let (mut without_patch, mut to_remember) = (false, true);
        for &dialect in dialects {
            let Some(update) = dialect::update(raw, changes, dialect, &self.roles) else {
                return Ok(Some(user.clone()));
            };
            if tried.contains(&update) || (without_patch && update.method == Method::PATCH) {
                continue;
            }
            let answer = self.send_update(user, &update).await;
            tried.push(update);
            match answer {
                // 200 does not mean applied: some targets ignore paths they do not know. A plain name
                // is no question of dialect: what ignores that, ignores the attribute.
                Ok(Some(shown)) if !is_known && is_telling(changes) && nothing_applied(&shown, changes) => {
                    ignored.get_or_insert(shown);
                }
                Ok(shown) => {
                    if to_remember && (dialect != Dialect::Rfc7644 || is_telling(changes)) {
                        self.remember(dialect);
                    }
                    return Ok(shown);
                }
                Err(error) => {
                    match doubt(&error, changes, is_known) {
                        Doubt::None => return ignored.map(Some).ok_or(error),
                        Doubt::Here => to_remember &= !is_known,
                        Doubt::Dialect => {}
                        Doubt::Patch => without_patch = true,
                    }
                    rejection = Some(more_telling(rejection, error));
                }
            }
        }
        match (ignored, rejection) {
            (Some(shown), _) => Ok(Some(shown)),
            (None, Some(error)) => Err(error),
            (None, None) => unreachable!("the first dialect is always tried"),
        }
    }

    /// As [`Cxone::update`], in this dialect and no other, and without a conclusion.
    pub async fn update_in(
        &self,
        dialect: Dialect,
        user: &User,
        changes: &[Change],
    ) -> Result<Option<User>, Error> {
        let raw = user.raw.as_object();
        match raw.and_then(|raw| dialect::update(raw, changes, dialect, &self.roles)) {
            Some(update) => self.send_update(user, &update).await,
            None => Ok(Some(user.clone())),
        }
    }

    /// Somebody has seen that the target understands this dialect. A configured one stays in force.
    pub fn learn(&self, dialect: Dialect) {
        self.remember(dialect);
    }

    /// Whether the first has proven itself, or was configured; and all that may be tried.
    pub(super) fn dialects(&self) -> (bool, &'static [Dialect]) {
        match (self.inner.dialect, self.knowledge().dialect) {
            (DialectChoice::Fixed(dialect), _) => (true, &from(dialect)[..1]),
            (DialectChoice::Auto, Some(dialect)) => (true, from(dialect)),
            (DialectChoice::Auto, None) => (false, from(Dialect::Rfc7644)),
        }
    }

    fn remember(&self, dialect: Dialect) {
        if self.inner.dialect == DialectChoice::Auto
            && self.knowledge().dialect.replace(dialect) != Some(dialect)
        {
            tracing::info!(dialect = dialect.name(), "CXone understands the dialect {}", dialect.name());
        }
    }

    async fn send_update(&self, user: &User, update: &Update) -> Result<Option<User>, Error> {
        let (id, etag) = (&user.view.id, user.etag.as_deref());
        let response = self.write(update.method.clone(), self.user_url(id)?, etag, &update.body).await?;
        if !response.status.is_success() {
            return Err(unsuccessful(&response, "the changed user"));
        }
        if response.body.trim_ascii().is_empty() {
            return Ok(None);
        }
        self.this_user(&response, id).map(Some)
    }
}

fn from(first: Dialect) -> &'static [Dialect] {
    const ALL: &[Dialect] = &Dialect::ALL;
    let earlier = ALL.iter().take_while(|dialect| **dialect != first).count();
    &ALL[earlier..]
}

/// What has become something else than it was has been understood, if in the target's own way.
fn nothing_applied(shown: &User, changes: &[Change]) -> bool {
    let ignored = patch::not_applied(&shown.view.attributes, changes);
    let is_as_before = |change: &&Change| {
        patch::same(change.attribute, shown.view.attributes.get(&change.attribute), change.before.as_ref())
    };
    ignored.len() == changes.len() && ignored.iter().all(is_as_before)
}

/// Whether the dialects of PATCH differ in this: a path such as `active` is the same in most, and
/// its success proves little.
fn is_telling(changes: &[Change]) -> bool {
    changes
        .iter()
        .any(|change| !matches!(place(change.attribute), Place::Text(_) | Place::Flag(_) | Place::Name(_)))
}

fn doubt(error: &Error, changes: &[Change], is_known: bool) -> Doubt {
    match error {
        Error::Rejected { status: 400, scim_type: Some(kind), .. } => {
            match kind.to_ascii_lowercase().as_str() {
                "invalidpath" | "invalidsyntax" => Doubt::Dialect,
                "notarget" => Doubt::Here,
                // NICE's schema has `"false"` where the RFC has `false`.
                "invalidvalue" if !is_known && changes.iter().any(|c| c.attribute == Attribute::Active) => {
                    Doubt::Here
                }
                _ => Doubt::None,
            }
        }
        // NICE's other services do not use SCIM's error body: the reason may be the path.
        Error::Rejected { status: 400, scim_type: None, .. } => Doubt::Here,
        Error::Status { status: 405 | 501, .. } => Doubt::Patch,
        _ => Doubt::None,
    }
}

/// Of several refusals, the last that is about the values, else the first.
fn more_telling(earlier: Option<Error>, later: Error) -> Error {
    let is_about_dialect = match &later {
        Error::Rejected { scim_type: Some(kind), .. } => {
            ["invalidPath", "invalidSyntax", "noTarget"].iter().any(|known| kind.eq_ignore_ascii_case(known))
        }
        Error::Rejected { .. } => false,
        _ => true,
    };
    match earlier {
        Some(earlier) if is_about_dialect => earlier,
        _ => later,
    }
}

#[cfg(test)]
mod tests;
