//! What is remembered of a look, so that other rules can be tried on it later.

use std::collections::BTreeSet;

use crate::domain::guard::Guarded;
use crate::domain::plan::{Plan, Source, Target, apply};
use crate::domain::queue::{LinkChange, Outcome, WriteResult};
use crate::domain::scope::InScope;
use crate::domain::seen::SeenState;
use crate::domain::user::{ScimId, SourceUser, TargetUser};

use super::Worker;
use super::look::Look;

impl Worker {
    /// Both sides as the run leaves them. `None` of who is neither linked nor in scope, and when a side
    /// was not seen.
    pub(super) fn seen(&self, look: &Look, plan: &Plan, outcome: &Outcome) -> Option<SeenState> {
        let shown = match &look.target {
            // What was only believed was not seen.
            Target::Found(_) if look.found.is_none() => return None,
            Target::Found(shown) => Some(shown),
            Target::Absent => None,
            Target::Ambiguous { .. } | Target::Taken { .. } | Target::Unmatchable => return None,
        };
        let scim_id = match (&outcome.link, &look.link) {
            (LinkChange::Put(link), _) => Some(link.scim_id.clone()),
            (LinkChange::Keep, Some(link)) => Some(link.scim_id.clone()),
            (LinkChange::Keep, None) | (LinkChange::Remove, _) => None,
        };
        let (gone, user) = match &look.source {
            Source::Unknown => return None,
            Source::Gone(evidence) => (Some(evidence.clone()), None),
            Source::Present(user) => (None, Some(user)),
        };
        if scim_id.is_none() && !user.is_some_and(|user| self.is_in_scope(user, look)) {
            return None;
        }
        let properties = user.map(|user| user.properties.clone()).unwrap_or_default();
        let mut unset = if user.is_some() { self.settings.rules.properties() } else { Default::default() };
        unset.retain(|name| !properties.contains_key(name));
        Some(SeenState {
            at: self.clock.now(),
            enabled: user.is_some_and(|user| user.enabled),
            properties,
            unset,
            groups: look.membership.groups.clone(),
            complete: look.membership.complete,
            scope_read: (!look.membership.complete && look.membership.scope_read_at.is_some())
                .then(|| self.settings.rules.scope.digest()),
            gone,
            target: self.after(plan, outcome, shown).map(|shown| shown.attributes),
            scim_id,
        })
    }

    pub(super) fn is_in_scope(&self, user: &SourceUser, look: &Look) -> bool {
        self.settings.rules.scope.of(user, &look.membership, self.clock.now()) == InScope::Yes
    }

    /// The target after the run: with what was surely written, and without what the guard held of it.
    fn after(&self, plan: &Plan, outcome: &Outcome, shown: Option<&TargetUser>) -> Option<TargetUser> {
        let applied = outcome.writes.last().is_some_and(|write| write.result == WriteResult::Applied);
        let held: BTreeSet<Guarded> = match &outcome.case.held {
            Some(Some(item)) => item.spend.iter().map(|(guarded, _)| guarded).collect(),
            _ => BTreeSet::new(),
        };
        let done = if held.is_empty() {
            Some(plan.clone())
        } else {
            plan.without(&held, &self.settings.rules.roles)
        };
        match done.filter(|_| applied) {
            Some(done) => apply(&done, shown, &ScimId(String::new())),
            None => shown.cloned(),
        }
    }
}
