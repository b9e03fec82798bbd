//! Finds out how the target wants a change written, by changing one value of a named user and taking it
//! back: jobs would find it out too, but on whoever comes first, and with the first change that counts.
//!
//! Whatever the target answers, what it shows afterwards decides: the value is read after every request,
//! and until it is as before, taken back in every dialect there is. The account is held all the while, as
//! a job holds it, and each request is in the history. Killed half-way, the next comparison finds the
//! value, and writes it back if Entra owns it.

use serde::Serialize;
use serde_json::{Value as Json, json};
use tracing::{info, warn};

use crate::cxone::{self, Cxone, Dialect, Draft};
use crate::domain::digest::of_json;
use crate::domain::observed::Observed;
use crate::domain::patch::{not_applied, same};
use crate::domain::queue::{Change, Intent, Mark, Operation, Reason, WriteResult, Wrote};
use crate::domain::user::{Attribute, ScimId, TargetUser, UserId, Value};
use crate::store::{self, Begun};

use super::Worker;
use super::failure::{Stopped, words};
use super::look::Known;

/// Why nothing was tried.
#[derive(Debug)]
pub enum NotLearned {
    /// No one CXone account is this user's.
    NoAccount,
    /// It is never written, whoever asks.
    Protected(String),
    /// It has no value that could be changed and taken back.
    NothingToChange,
    /// What would be written is not what was agreed to.
    OtherByNow {
        plan: String,
    },
    /// An operator has forbidden this very change.
    Forbidden,
    Stopped(Stopped),
}

impl From<Stopped> for NotLearned {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<store::Error> for NotLearned {
    fn from(error: store::Error) -> Self {
        Self::Stopped(error.into())
    }
}

/// What would be written, before anybody agrees to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    pub user: UserId,
    pub scim_id: ScimId,
    pub user_name: Option<Value>,
    pub attribute: Attribute,
    /// What it is, and is to be again.
    pub before: Value,
    pub meanwhile: Value,
    /// Sent along as it is: targets differ in how they take a truth value, and no other change shows that.
    pub active: Option<Value>,
    /// In the order in which they are tried, until one works.
    pub requests: Vec<Request>,
    /// Nothing else is written at present.
    pub observe: bool,
    /// Stands for exactly this, to be agreed to.
    pub plan: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    pub dialect: Dialect,
    #[serde(flatten)]
    pub draft: Draft,
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Learning {
    pub user: UserId,
    pub scim_id: ScimId,
    pub attribute: Attribute,
    pub tried: Vec<Tried>,
    /// The one that works.
    pub dialect: Option<Dialect>,
    /// Whether the account is as it was before, as far as it shows.
    pub restored: bool,
    /// What differs from before, where it does, or why that is not known.
    pub left: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    pub dialect: Dialect,
    pub outcome: Outcome,
    /// The target's own words, if it refused.
    pub words: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Understood,
    /// The target said yes and changed nothing.
    Ignored,
    Refused,
    /// No answer that says anything of the dialect: nothing more is tried.
    Unknown,
}

impl Worker {
    /// What [`Worker::learn`] would write. Reads only.
    pub async fn would_learn(&self, user: UserId) -> Result<Proposal, NotLearned> {
        let look = self.look(user, Known::default()).await?;
        let found = look.found.as_ref().ok_or(NotLearned::NoAccount)?;
        self.proposal(user, found)
    }

    /// Tries the dialects on this user, as `agreed` by the name of the plan, and remembers which works.
    pub async fn learn(&self, user: UserId, agreed: &str) -> Result<Learning, NotLearned> {
        // The look holds the account until this returns.
        let look = self.look(user, Known::default()).await?;
        let found = look.found.as_ref().ok_or(NotLearned::NoAccount)?;
        let proposal = self.proposal(user, found)?;
        if proposal.plan != agreed {
            return Err(NotLearned::OtherByNow { plan: proposal.plan });
        }
        let trial = Trial {
            worker: self,
            user,
            original: found,
            change: Change {
                attribute: proposal.attribute,
                before: Some(proposal.before.clone()),
                after: Some(proposal.meanwhile.clone()),
            },
            active: unchanged(&proposal.active),
            plan: proposal.plan.clone(),
        };
        let mut learning = Learning {
            user,
            scim_id: proposal.scim_id,
            attribute: proposal.attribute,
            tried: Vec::new(),
            dialect: None,
            restored: true,
            left: None,
        };
        let mut sent: Vec<&Draft> = Vec::new();
        for Request { dialect, draft } in &proposal.requests {
            // Where two dialects say the same, the second would teach nothing.
            if sent.contains(&draft) {
                continue;
            }
            sent.push(draft);
            let tried = trial.try_one(*dialect, &mut learning).await?;
            let outcome = tried.outcome;
            learning.tried.push(tried);
            if outcome == Outcome::Understood {
                learning.dialect = Some(*dialect);
            }
            if matches!(outcome, Outcome::Understood | Outcome::Unknown) || !learning.restored {
                break;
            }
        }
        if let Some(dialect) = learning.dialect {
            self.cxone.learn(dialect);
            self.keep_learned().await?;
            info!(dialect = dialect.name(), user.id = %user, "an operator had the dialect of CXone found out: {}", dialect.name());
        }
        if !learning.restored {
            warn!(user.id = %user, "what was tried on user {user} could not be taken back");
            let now = self.clock.now();
            let mark = Mark { user, reason: Reason::Operator, news_at: now, urgent: false, removed: None };
            self.store.mark(vec![mark], now).await?;
        }
        Ok(learning)
    }

    fn proposal(&self, user: UserId, found: &cxone::User) -> Result<Proposal, NotLearned> {
        let protected = &self.settings.rules.protected;
        if protected.user(user) {
            return Err(NotLearned::Protected("it is in guard.protected_users".to_owned()));
        }
        if let Some(why) = protected.account(&found.view) {
            return Err(NotLearned::Protected(why));
        }
        let (attribute, before, meanwhile) = harmless(&found.view).ok_or(NotLearned::NothingToChange)?;
        let change = Change { attribute, before: Some(before.clone()), after: Some(meanwhile.clone()) };
        let active = found.view.attributes.get(&Attribute::Active).cloned();
        let changes: Vec<Change> = std::iter::once(change).chain(unchanged(&active)).collect();
        let drafts = self.cxone.previews(found, &changes);
        let requests = drafts.into_iter().map(|(dialect, draft)| Request { dialect, draft }).collect();
        let scim_id = found.view.id.clone();
        let plan = of_json(&json!([user, scim_id, attribute, before, meanwhile, active]));
        Ok(Proposal {
            user,
            scim_id,
            user_name: found.view.attributes.get(&Attribute::UserName).cloned(),
            attribute,
            before,
            meanwhile,
            active,
            requests,
            observe: self.settings.observe,
            plan,
        })
    }
}

/// A value whose change nobody minds for a second, and in which the dialects differ: one of several
/// telephone numbers, else one of several addresses.
fn harmless(shown: &TargetUser) -> Option<(Attribute, Value, Value)> {
    let text = |attribute| shown.attributes.get(&attribute).and_then(Value::as_text);
    let other =
        |attribute, before: &str, meanwhile: String| (attribute, Value::text(before), Value::text(meanwhile));
    if let Some(number) = text(Attribute::PhoneNumbers)
        && let Some(at) = number.rfind(|c: char| c.is_ascii_digit())
    {
        let last = number.as_bytes()[at] - b'0';
        let meanwhile = format!("{}{}{}", &number[..at], (last + 1) % 10, &number[at + 1..]);
        return Some(other(Attribute::PhoneNumbers, number, meanwhile));
    }
    let address = text(Attribute::Emails)?;
    let (name, host) = address.rsplit_once('@').filter(|(name, _)| !name.is_empty())?;
    Some(other(Attribute::Emails, address, format!("{name}+cxone-sync@{host}")))
}

/// Writing again what is there.
fn unchanged(active: &Option<Value>) -> Option<Change> {
    let active = active.clone()?;
    Some(Change { attribute: Attribute::Active, before: Some(active.clone()), after: Some(active) })
}

/// What differs between two answers about one user; `meta` tells when it was changed, and may.
fn differences(before: &Json, after: &Json) -> Vec<String> {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return vec!["everything".to_owned()];
    };
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |name: &&String| {
        !name.eq_ignore_ascii_case("meta") && before.get(name.as_str()) != after.get(name.as_str())
    };
    names.into_iter().filter(differs).cloned().collect()
}

/// One account that is tried on.
struct Trial<'a> {
    worker: &'a Worker,
    user: UserId,
    original: &'a cxone::User,
    change: Change,
    active: Option<Change>,
    plan: String,
}

impl Trial<'_> {
    fn cxone(&self) -> &Cxone {
        &self.worker.cxone
    }

    fn with_active(&self, change: Change) -> Vec<Change> {
        std::iter::once(change).chain(self.active.clone()).collect()
    }

    async fn try_one(&self, dialect: Dialect, learning: &mut Learning) -> Result<Tried, NotLearned> {
        let changes = self.with_active(self.change.clone());
        // Its version may be another by now.
        let current = self.read().await.map_err(Stopped::from)?;
        let Some(answer) = self.send(dialect, &current, &changes).await? else {
            return Err(NotLearned::Forbidden);
        };
        let words = answer.as_ref().err().map(told);
        let about_dialect = match &answer {
            Ok(()) => true,
            Err(error) => is_about_the_request(error),
        };
        let (touched, shows) = match self.read().await {
            Ok(shown) => {
                let attribute = self.change.attribute;
                let now = shown.view.attributes.get(&attribute);
                let is_other = !same(attribute, now, self.change.before.as_ref());
                (!differences(&self.original.raw, &shown.raw).is_empty(), is_other)
            }
            Err(error) => {
                // It may be changed or not. Taking it back finds out, if it can be reached again.
                learning.left = Some(told(&error));
                (true, false)
            }
        };
        if touched {
            self.take_back(dialect, learning).await?;
        }
        let outcome = match (&answer, shows) {
            (Ok(()), true) => Outcome::Understood,
            (Ok(()), false) if learning.left.is_some() => Outcome::Unknown,
            (Ok(()), false) => Outcome::Ignored,
            (Err(_), _) if about_dialect => Outcome::Refused,
            (Err(_), _) => Outcome::Unknown,
        };
        Ok(Tried { dialect, outcome, words })
    }

    /// Writes what was there before, in the dialect that was tried and then in all others, until the
    /// account shows it.
    async fn take_back(&self, first: Dialect, learning: &mut Learning) -> Result<(), NotLearned> {
        let others = Dialect::ALL.into_iter().filter(|dialect| *dialect != first);
        learning.restored = false;
        // What a write came to shows at the next read, that of the last at one more.
        for dialect in std::iter::once(first).chain(others).map(Some).chain([None]) {
            let shown = match self.read().await {
                Ok(shown) => shown,
                Err(error) => {
                    learning.left = Some(told(&error));
                    continue;
                }
            };
            let left = differences(&self.original.raw, &shown.raw);
            if left.is_empty() {
                (learning.restored, learning.left) = (true, None);
                return Ok(());
            }
            learning.left = Some(left.join(", "));
            let Some(dialect) = dialect else { break };
            let before = shown.view.attributes.get(&self.change.attribute).cloned();
            let back = Change { before, after: self.change.before.clone(), ..self.change.clone() };
            if self.send(dialect, &shown, &self.with_active(back)).await?.is_none() {
                learning.left = Some("an operator has forbidden just now to write this".to_owned());
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<cxone::User, cxone::Error> {
        match self.cxone().get(&self.original.view.id).await? {
            Observed::Present(user) => Ok(user),
            Observed::Absent => {
                let what = "it is not there any more".to_owned();
                Err(cxone::Error::Malformed { asked: "the user that is tried on", what })
            }
        }
    }

    /// One request, with its intent before and its outcome after; `None`: an operator forbids it.
    async fn send(
        &self,
        dialect: Dialect,
        user: &cxone::User,
        changes: &[Change],
    ) -> Result<Option<Result<(), cxone::Error>>, store::Error> {
        let scim_id = Some(user.view.id.clone());
        let begun = self.begin(scim_id.clone(), changes).await?;
        let Begun::Go(intent) = begun else { return Ok(None) };
        let answer = self.cxone().update_in(dialect, user, changes).await;
        let result = match &answer {
            Ok(_) => match self.read().await {
                Ok(shown) if not_applied(&shown.view.attributes, changes).is_empty() => WriteResult::Applied,
                Ok(_) => WriteResult::NotApplied,
                Err(error) => WriteResult::Unknown { error: told(&error) },
            },
            Err(error) if is_about_the_request(error) => WriteResult::Refused { error: told(error) },
            Err(error) => WriteResult::Unknown { error: told(error) },
        };
        let at = self.worker.clock.now();
        let wrote = Wrote { intent, at, scim_id, result, shown: Default::default(), lag_ms: 0 };
        self.worker.store.end_write(self.user, wrote).await?;
        Ok(Some(answer.map(drop)))
    }

    async fn begin(&self, scim_id: Option<ScimId>, changes: &[Change]) -> Result<Begun, store::Error> {
        let worker = self.worker;
        let intent = Intent {
            at: worker.clock.now(),
            user: self.user,
            scim_id,
            operation: Operation::Patch,
            changes: changes.to_vec(),
            why: Default::default(),
            reason: Reason::Operator,
            evidence: None,
            plan: self.plan.clone(),
            // To and fro is the purpose, and no fight with whoever changes it back.
            desired: worker.random.guid().to_string(),
            batch: None,
            approved_by: None,
            spend: Default::default(),
        };
        worker.store.begin_write(intent, worker.settings.budgets, worker.guard_clock().await?).await
    }
}

/// Whether the target has judged what we sent, and not us or the moment.
fn is_about_the_request(error: &cxone::Error) -> bool {
    use cxone::Error as E;
    matches!(
        error,
        E::Rejected { .. }
            | E::Conflict { .. }
            | E::Precondition
            | E::Status { status: 404 | 405 | 415 | 501, .. }
    )
}

/// For an operator: what went wrong, with the target's words.
fn told(error: &cxone::Error) -> String {
    let words = words(error);
    match error.detail() {
        Some(detail) if !detail.is_empty() => format!("{words}: {detail}"),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_changed_before_an_address_and_no_other_value_at_all() {
        let user = |attributes: &[(Attribute, &str)]| TargetUser {
            id: ScimId("1".to_owned()),
            attributes: attributes.iter().map(|(name, text)| (*name, Value::text(*text))).collect(),
        };
        let check = |attributes: &[(Attribute, &str)], expected: Option<(Attribute, &str)>| {
            let changed = harmless(&user(attributes));
            let changed = changed.as_ref().map(|(name, _, after)| (*name, after.as_text().unwrap()));
            assert_eq!(changed, expected);
        };
        use Attribute::{DisplayName, Emails, PhoneNumbers, UserName};
        check(
            &[(PhoneNumbers, "+49 170 19 (mobile)"), (Emails, "a@x.example")],
            Some((PhoneNumbers, "+49 170 10 (mobile)")),
        );
        check(&[(PhoneNumbers, "none"), (Emails, "a@x.example")], Some((Emails, "a+cxone-sync@x.example")));
        check(&[(UserName, "a@x.example"), (DisplayName, "Ana")], None);
        check(&[(Emails, "@x.example")], None);
    }

    #[test]
    fn what_differs_is_named_but_for_the_times() {
        let before = json!({"id": "1", "emails": [{"value": "a"}], "meta": {"version": "1"}});
        assert!(differences(&before, &json!({"emails": [{"value": "a"}], "id": "1", "Meta": 2})).is_empty());
        let after = json!({"id": "1", "emails": [{"value": "b"}], "team": 1});
        assert_eq!(differences(&before, &after), ["emails", "team"]);
    }
}
