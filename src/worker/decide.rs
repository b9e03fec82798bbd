//! What is to be done in one run, and on whose word: the rules' or an operator's.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Worker;
use super::look::Look;
use crate::domain::case::{Task, Work};
use crate::domain::evidence::FirstSight;
use crate::domain::plan::{self, Inputs, Plan, Source, decide};
use crate::domain::undo::Skipped;
use crate::domain::user::UserId;

/// A plan with what stands behind it.
#[derive(Debug)]
pub struct Decided {
    pub plan: Plan,
    /// The operator's order it carries out.
    pub work: Option<Work>,
    /// What of an undo is left as it is.
    pub skipped: Vec<Skipped>,
    /// An order that is not carried out, and why.
    pub dropped: Option<(Work, &'static str)>,
}

impl Worker {
    /// Decides about one look. `out_of_scope`: the first of the looks in a row that found the user out of
    /// scope.
    pub(super) fn decided(
        &self,
        user: UserId,
        look: &Look,
        out_of_scope: Option<&FirstSight>,
        now: Timestamp,
    ) -> Decided {
        let rules = &self.settings.rules;
        let nothing = BTreeSet::new();
        let inputs = |revert| Inputs {
            user,
            source: &look.source,
            membership: &look.membership,
            target: &look.target,
            link: look.link.as_ref(),
            restraints: &look.case.restraints,
            revert,
            out_of_scope_since: out_of_scope
                .filter(|first| first.scope == rules.scope.digest())
                .map(|it| it.at),
            now,
        };
        let by_the_rules = |dropped| Decided {
            plan: decide(rules, &inputs(&nothing)),
            work: None,
            skipped: Vec::new(),
            dropped,
        };
        let Some(work) = look.case.work.clone() else { return by_the_rules(None) };
        if now >= work.expires_at {
            return by_the_rules(Some((work, "expired")));
        }
        match &work.task {
            // Of somebody who cannot be seen clearly nothing is known in CXone either.
            _ if matches!(look.source, Source::Unknown) => by_the_rules(None),
            Task::Undo { changes, evidence } => {
                let (plan, skipped) = plan::undo(rules, &inputs(&nothing), changes, evidence.as_deref());
                Decided { plan, work: Some(work), skipped, dropped: None }
            }
            Task::Revert { attributes } => {
                let plan = decide(rules, &inputs(attributes));
                // Observing, nothing is written but what was named.
                let plan = if self.settings.observe { plan.only(attributes) } else { Some(plan) };
                let Some(plan) = plan else { return by_the_rules(Some((work.clone(), "moved"))) };
                Decided { plan, work: Some(work.clone()), skipped: Vec::new(), dropped: None }
            }
            Task::Apply { plan } => {
                let decided = by_the_rules(None);
                match decided.plan.hash(user, look.scim_id()) == *plan {
                    true => Decided { work: Some(work), ..decided },
                    false => Decided { dropped: Some((work, "moved")), ..decided },
                }
            }
        }
    }
}
