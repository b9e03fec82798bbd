//! The decision about one user: what both sides look like, what is to be sent, and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::conflict::{Decision, Why, resolve};
use super::evidence::Evidence;
use super::link::{Baseline, Link};
use super::patch::{self, fit};
use super::queue::Change;
use super::rules::{MatchKey, OnDelete, Owner, Rules};
use super::scope::InScope;
use super::user::{Attribute, Attributes, Membership, ScimId, SourceUser, TargetUser, UserId, Value};

/// CXone refuses a user without these. Source: NICE, "Provision employee accounts with SCIM".
pub const REQUIRED: [Attribute; 4] =
    [Attribute::UserName, Attribute::GivenName, Attribute::FamilyName, Attribute::Emails];

/// What a look at Entra found. A look that failed is none of these: it decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Present(SourceUser),
    Gone(Evidence),
    /// Found nowhere, but not proven gone.
    Unknown,
}

/// What a look at CXone found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Found(TargetUser),
    /// Every usable key was asked, none hit.
    Absent,
    Ambiguous {
        key: MatchKey,
        hits: usize,
    },
    /// The hit belongs to somebody else.
    Taken {
        id: ScimId,
        by: UserId,
    },
    /// The target refused every key we could ask by.
    Unmatchable,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub action: Action,
    pub reason: Reason,
    /// Empty where no attribute was compared.
    pub verdicts: Vec<Verdict>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Both sides are right, or the user is none of ours.
    Nothing,
    Create(Attributes),
    Patch(Vec<Change>),
    /// A patch that turns the account on again.
    Reactivate(Vec<Change>),
    /// Cannot be built without evidence.
    Deactivate {
        change: Change,
        evidence: Evidence,
    },
    /// An operator must decide.
    Hold,
    /// Cannot succeed as things are.
    Park,
    /// Nothing can be told: look again.
    LookAgain,
}

/// Why the whole plan is what it is. The names are the reason codes operators see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", content = "detail", rename_all = "snake_case")]
pub enum Reason {
    InSync,
    Differs,
    Joiner,
    Leaver,
    Returned,
    AlreadyInactive,
    /// A leaver that CXone does not know, or that was never ours.
    NothingToLeave,
    CreateIsOff,
    OnDeleteIsIgnore,
    ActiveOwnedByCxone,
    SourceUnknown,
    ScopeUnknown(String),
    RequiredMissing(Vec<&'static str>),
    UnfitValue(String),
    MappingFailed(String),
    AmbiguousMatch(String),
    MatchTaken(String),
    Unmatchable,
    ConflictHeld(Vec<&'static str>),
}

impl Reason {
    /// The code alone, for metrics, jobs and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Differs => "differs",
            Self::Joiner => "joiner",
            Self::Leaver => "leaver",
            Self::Returned => "returned",
            Self::AlreadyInactive => "already_inactive",
            Self::NothingToLeave => "nothing_to_leave",
            Self::CreateIsOff => "create_is_off",
            Self::OnDeleteIsIgnore => "on_delete_is_ignore",
            Self::ActiveOwnedByCxone => "active_owned_by_cxone",
            Self::SourceUnknown => "source_unknown",
            Self::ScopeUnknown(_) => "scope_unknown",
            Self::RequiredMissing(_) => "required_missing",
            Self::UnfitValue(_) => "unfit_value",
            Self::MappingFailed(_) => "mapping_failed",
            Self::AmbiguousMatch(_) => "ambiguous_match",
            Self::MatchTaken(_) => "match_taken",
            Self::Unmatchable => "unmatchable",
            Self::ConflictHeld(_) => "conflict_held",
        }
    }

    /// A sentence for an operator.
    pub fn sentence(&self) -> String {
        match self {
            Self::InSync => "both sides agree".to_owned(),
            Self::Differs => "CXone differs from Entra".to_owned(),
            Self::Joiner => "CXone does not know the user yet".to_owned(),
            Self::Leaver => "the user must not log in any more".to_owned(),
            Self::Returned => "the user is back and the CXone account is inactive".to_owned(),
            Self::AlreadyInactive => "the user left and the CXone account is inactive already".to_owned(),
            Self::NothingToLeave => "the user is not ours, and no CXone account is linked".to_owned(),
            Self::CreateIsOff => "CXone does not know the user, and sync.create is false".to_owned(),
            Self::OnDeleteIsIgnore => "the user left, and sync.on_delete is \"ignore\"".to_owned(),
            Self::ActiveOwnedByCxone => "the user left, but attributes.active is owned by CXone".to_owned(),
            Self::SourceUnknown => "Entra shows the user neither as present nor as deleted".to_owned(),
            Self::ScopeUnknown(what) => format!("cannot tell whether the user is in scope: {what}"),
            Self::RequiredMissing(names) => format!(
                "CXone requires {}, which Entra does not fill: fill it, or map it from another attribute",
                names.join(", ")
            ),
            Self::UnfitValue(what) | Self::MappingFailed(what) => what.clone(),
            Self::AmbiguousMatch(what) => format!("more than one CXone user matches: {what}"),
            Self::MatchTaken(what) => what.clone(),
            Self::Unmatchable => {
                "CXone refused every key of cxone.match: choose one it can search by".to_owned()
            }
            Self::ConflictHeld(names) => {
                format!("both sides changed {}: choose which value is right", names.join(", "))
            }
        }
    }
}

/// What was decided about one attribute, with everything the decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub attribute: Attribute,
    /// Entra's value, mapped.
    pub source: Option<Value>,
    pub target: Option<Value>,
    pub baseline: Option<Baseline>,
    pub owner: Owner,
    pub decision: Decision,
    pub why: Why,
}

/// Decides about one user. Pure and total: it cannot fail, and the same input gives the same plan.
pub fn decide(
    rules: &Rules,
    source: &Source,
    membership: &Membership,
    target: &Target,
    link: Option<&Link>,
) -> Plan {
    let user = match source {
        Source::Unknown => return plan(Action::LookAgain, Reason::SourceUnknown),
        Source::Gone(evidence) => return leaver(rules, evidence.clone(), target, link, OnlyIf::Linked),
        Source::Present(user) => user,
    };
    match rules.scope.of(user, membership) {
        InScope::Unknown(what) => plan(Action::LookAgain, Reason::ScopeUnknown(what)),
        InScope::No(evidence) => leaver(rules, evidence, target, link, OnlyIf::Linked),
        InScope::Yes => match Evidence::disabled(user) {
            Some(evidence) => leaver(rules, evidence, target, link, OnlyIf::Matched),
            None => stay(rules, user, membership, target, link),
        },
    }
}

fn plan(action: Action, reason: Reason) -> Plan {
    Plan { action, reason, verdicts: Vec::new() }
}

/// How sure we must be that the account is ours before we turn it off.
#[derive(PartialEq)]
enum OnlyIf {
    Linked,
    Matched,
}

fn leaver(rules: &Rules, evidence: Evidence, target: &Target, link: Option<&Link>, only_if: OnlyIf) -> Plan {
    if only_if == OnlyIf::Linked && rules.on_delete == OnDelete::Ignore {
        return plan(Action::Nothing, Reason::OnDeleteIsIgnore);
    }
    if only_if == OnlyIf::Linked && link.is_none() {
        return plan(Action::Nothing, Reason::NothingToLeave);
    }
    let shown = match found(target) {
        Ok(Some(shown)) => shown,
        Ok(None) => return plan(Action::Nothing, Reason::NothingToLeave),
        Err(stop) => return *stop,
    };
    if !shown.is_active() {
        return plan(Action::Nothing, Reason::AlreadyInactive);
    }
    // Whether somebody may log in is never a matter of who changed it last: any owner but CXone
    // means that Entra decides.
    match rules.attributes.get(&Attribute::Active) {
        Some(rule) if rule.owner != Owner::Cxone => {}
        _ => return plan(Action::Nothing, Reason::ActiveOwnedByCxone),
    }
    let before = shown.attributes.get(&Attribute::Active).cloned();
    let change = Change { attribute: Attribute::Active, before, after: Some(Value::Flag(false)) };
    plan(Action::Deactivate { change, evidence }, Reason::Leaver)
}

/// The user that was found, `None` for absent, or the plan that an unclear target forces.
fn found(target: &Target) -> Result<Option<&TargetUser>, Box<Plan>> {
    match target {
        Target::Found(user) => Ok(Some(user)),
        Target::Absent => Ok(None),
        Target::Ambiguous { key, hits } => {
            let what = format!("{hits} hits by {}", key.name());
            Err(Box::new(plan(Action::Hold, Reason::AmbiguousMatch(what))))
        }
        Target::Taken { id, by } => {
            let what = format!("the matching CXone user {id} is already linked to Entra user {by}");
            Err(Box::new(plan(Action::Hold, Reason::MatchTaken(what))))
        }
        Target::Unmatchable => Err(Box::new(plan(Action::Park, Reason::Unmatchable))),
    }
}

fn stay(
    rules: &Rules,
    user: &SourceUser,
    membership: &Membership,
    target: &Target,
    link: Option<&Link>,
) -> Plan {
    let shown = match found(target) {
        Ok(shown) => shown,
        Err(stop) => return *stop,
    };
    let held = shown.and_then(|shown| shown.attributes.get(&Attribute::Roles));
    let desired = match desired(rules, user, membership, held) {
        Ok(desired) => desired,
        Err(reason) => return plan(Action::Park, reason),
    };
    match shown {
        Some(shown) => change(rules, &desired, membership, shown, link),
        None if rules.create => create(rules, desired),
        None => plan(Action::Nothing, Reason::CreateIsOff),
    }
}

/// Entra's word on every mapped attribute; what is missing is empty there.
fn desired(
    rules: &Rules,
    user: &SourceUser,
    membership: &Membership,
    held_roles: Option<&Value>,
) -> Result<Attributes, Reason> {
    let mut desired = Attributes::new();
    for (&attribute, rule) in &rules.attributes {
        let value = match attribute {
            Attribute::Active => Some(Value::Flag(user.enabled)),
            Attribute::Roles => {
                let held = match held_roles {
                    Some(Value::List(roles)) => roles.as_slice(),
                    _ => &[],
                };
                Some(Value::List(rules.roles.desired(membership, held).into_iter().collect()))
            }
            _ => match &rule.from {
                Some(expression) => expression
                    .evaluate(&user.properties)
                    .map_err(|error| Reason::MappingFailed(format!("attributes.{attribute}: {error}")))?,
                None => None,
            },
        };
        if let Some(value) = value {
            let value = fit(attribute, value).map_err(|unfit| Reason::UnfitValue(unfit.to_string()))?;
            desired.insert(attribute, value);
        }
    }
    Ok(desired)
}

fn create(rules: &Rules, mut desired: Attributes) -> Plan {
    let missing: Vec<&str> = REQUIRED
        .into_iter()
        .filter(|attribute| !desired.contains_key(attribute))
        .map(Attribute::name)
        .collect();
    if !missing.is_empty() {
        return plan(Action::Park, Reason::RequiredMissing(missing));
    }
    // Roles that are CXone's to give are not set at creation either.
    let ours = rules.attributes.get(&Attribute::Roles).is_some_and(|rule| rule.owner != Owner::Cxone);
    let given = matches!(desired.get(&Attribute::Roles), Some(Value::List(roles)) if !roles.is_empty());
    if !ours || !given {
        desired.remove(&Attribute::Roles);
    }
    plan(Action::Create(desired), Reason::Joiner)
}

fn change(
    rules: &Rules,
    desired: &Attributes,
    membership: &Membership,
    shown: &TargetUser,
    link: Option<&Link>,
) -> Plan {
    let baselines = link.map(|link| &link.baseline);
    let mut verdicts = Vec::new();
    for (&attribute, rule) in &rules.attributes {
        let (source, target) = (desired.get(&attribute), shown.attributes.get(&attribute));
        let baseline = baselines.and_then(|baselines| baselines.get(&attribute));
        let (decision, why) = if attribute == Attribute::Roles && !membership.complete {
            (Decision::Keep, Why::GroupsUnread)
        } else if rule.from.is_none() && !matches!(attribute, Attribute::Active | Attribute::Roles) {
            (Decision::Keep, Why::NotMapped)
        } else if source.is_none() && REQUIRED.contains(&attribute) {
            (Decision::Keep, Why::SourceEmpty)
        } else {
            resolve(attribute, rule, source, target, baseline)
        };
        let (source, target, baseline) = (source.cloned(), target.cloned(), baseline.cloned());
        verdicts.push(Verdict { attribute, source, target, baseline, owner: rule.owner, decision, why });
    }
    let held: Vec<&str> =
        verdicts.iter().filter(|v| v.decision == Decision::Hold).map(|v| v.attribute.name()).collect();
    let changes: Vec<Change> = verdicts
        .iter()
        .filter(|verdict| verdict.decision == Decision::Write)
        .map(|v| Change { attribute: v.attribute, before: v.target.clone(), after: v.source.clone() })
        .collect();
    let (action, reason) = if !held.is_empty() {
        (Action::Hold, Reason::ConflictHeld(held))
    } else if changes.is_empty() {
        (Action::Nothing, Reason::InSync)
    } else if changes.iter().any(|change| change.attribute == Attribute::Active) {
        (Action::Reactivate(changes), Reason::Returned)
    } else {
        (Action::Patch(changes), Reason::Differs)
    };
    Plan { action, reason, verdicts }
}

impl Plan {
    pub fn evidence(&self) -> Option<&Evidence> {
        match &self.action {
            Action::Deactivate { evidence, .. } => Some(evidence),
            _ => None,
        }
    }

    /// What is to be sent, attribute by attribute.
    pub fn changes(&self) -> Vec<Change> {
        match &self.action {
            Action::Patch(changes) | Action::Reactivate(changes) => changes.clone(),
            Action::Deactivate { change, .. } => vec![change.clone()],
            Action::Create(attributes) => created(attributes),
            Action::Nothing | Action::Hold | Action::Park | Action::LookAgain => Vec::new(),
        }
    }

    /// The baseline to remember once the target shows `shown`: held attributes keep the old one, so
    /// that the conflict is still seen the next time.
    pub fn settled_baseline(&self, old: Option<&Link>, shown: &Attributes) -> BTreeMap<Attribute, Baseline> {
        let mut baseline = old.map(|link| link.baseline.clone()).unwrap_or_default();
        for verdict in &self.verdicts {
            if verdict.decision != Decision::Hold && verdict.why != Why::GroupsUnread {
                let target = shown.get(&verdict.attribute).cloned();
                baseline.insert(verdict.attribute, Baseline { source: verdict.source.clone(), target });
            }
        }
        if let Action::Create(attributes) = &self.action {
            for (&attribute, value) in attributes {
                let target = shown.get(&attribute).cloned();
                baseline.insert(attribute, Baseline { source: Some(value.clone()), target });
            }
        }
        if let Action::Deactivate { change, .. } = &self.action {
            let target = shown.get(&Attribute::Active).cloned();
            baseline.insert(Attribute::Active, Baseline { source: change.after.clone(), target });
        }
        baseline
    }
}

fn created(attributes: &Attributes) -> Vec<Change> {
    let change = |(&attribute, value): (&Attribute, &Value)| Change {
        attribute,
        before: None,
        after: Some(value.clone()),
    };
    attributes.iter().map(change).collect()
}

/// The target as it will be when the plan has been carried out.
pub fn apply(plan: &Plan, target: Option<&TargetUser>, new_id: &ScimId) -> Option<TargetUser> {
    match (&plan.action, target) {
        (Action::Create(attributes), None) => {
            Some(TargetUser { id: new_id.clone(), attributes: attributes.clone() })
        }
        (_, Some(shown)) => {
            let attributes = patch::apply(&shown.attributes, &plan.changes());
            Some(TargetUser { id: shown.id.clone(), attributes })
        }
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests;
