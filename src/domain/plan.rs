//! The decision about one user: what both sides look like, what is to be sent, and why.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::case::{Forbidden, Restraint};
use super::conflict::{Decision, Why, resolve};
use super::digest::of_json;
use super::evidence::{DISABLED, Evidence, OUT_OF_SCOPE, OutOfScope, news_of};
use super::guard::{Guarded, Spend};
use super::link::{Baseline, Link};
use super::patch::{self, fit, same};
use super::queue::{Change, Operation};
use super::roles::RoleTable;
use super::rules::{MatchKey, OnDelete, Owner, Rules};
use super::scope::InScope;
use super::undo;
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

/// All that a decision about one user rests on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub user: UserId,
    pub source: &'a Source,
    pub membership: &'a Membership,
    pub target: &'a Target,
    pub link: Option<&'a Link>,
    /// What an operator forbade.
    pub restraints: &'a [Restraint],
    /// Attributes whose value in CXone an operator wants to be Entra's again.
    pub revert: &'a BTreeSet<Attribute>,
    /// The first of the looks in a row that found the user out of scope.
    pub out_of_scope_since: Option<Timestamp>,
    /// When the user was read.
    pub now: Timestamp,
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
    /// Restraints that have lost their object: Entra says something else now.
    pub lift: Vec<Restraint>,
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
    /// Out of scope since then, but not yet by two looks far enough apart.
    Confirm {
        since: Timestamp,
    },
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
    OutOfScopeOnce(String),
    ProtectedUser,
    ProtectedAccount(String),
    /// An operator rejected it, or took it back.
    Restrained(String),
    /// The account belongs to somebody who came after.
    PassedOn,
    /// An operator takes writes back.
    Undo,
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
            Self::OutOfScopeOnce(_) => "out_of_scope_once",
            Self::ProtectedUser => "protected_user",
            Self::ProtectedAccount(_) => "protected_account",
            Self::Restrained(_) => "restrained",
            Self::PassedOn => "passed_on",
            Self::Undo => "undo",
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
            Self::OutOfScopeOnce(rule) => {
                format!(
                    "out of scope ({rule}) by one look; another, later one must agree before anything is done"
                )
            }
            Self::ProtectedUser => "the user is in guard.protected_users: never written".to_owned(),
            Self::ProtectedAccount(why) => format!("the CXone account is protected: {why}"),
            Self::Restrained(why) => format!("Entra's word is not carried out: {why}"),
            Self::PassedOn => {
                "the user left, and the CXone account belongs to somebody else by now".to_owned()
            }
            Self::Undo => "an operator takes writes back".to_owned(),
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
pub fn decide(rules: &Rules, inputs: &Inputs<'_>) -> Plan {
    if let Some(reason) = protection(rules, inputs) {
        return plan(Action::Nothing, reason);
    }
    let user = match inputs.source {
        Source::Unknown => return plan(Action::LookAgain, Reason::SourceUnknown),
        Source::Gone(evidence) => return leaver(rules, inputs, Ok(evidence.clone()), OnlyIf::Linked),
        Source::Present(user) => user,
    };
    let scope = rules.scope.of(user, inputs.membership, inputs.now);
    let disabled = Evidence::disabled(user);
    let as_disabled = disabled.map(|evidence| leaver(rules, inputs, Ok(evidence), OnlyIf::Matched));
    let is_restrained = |plan: &Plan| matches!(plan.reason, Reason::Restrained(_));
    let mut plan = match (&scope, as_disabled) {
        // Of who is ours already it does not matter whether they are in scope too: that is another reason,
        // which takes longer and may not count. But it may hold where this one is forbidden.
        (_, Some(plan)) if inputs.link.is_some() && !is_restrained(&plan) => plan,
        (InScope::Yes, Some(plan)) => plan,
        (InScope::Yes, None) => stay(rules, user, inputs),
        (InScope::Unknown(what), _) => plan(Action::LookAgain, Reason::ScopeUnknown(what.clone())),
        (InScope::No(sighting), _) => {
            leaver(rules, inputs, sighting.clone().confirmed(inputs.out_of_scope_since), OnlyIf::Linked)
        }
    };
    let void = inputs.restraints.iter().filter(|it| keeps_on(it) && is_outdated(it, user, &scope));
    plan.lift.extend(void.cloned());
    plan
}

/// Whether it forbids to turn the account off.
fn keeps_on(restraint: &Restraint) -> bool {
    restraint.forbids_value(Attribute::Active, Some(&Value::Flag(false)))
}

/// Whether Entra says otherwise by now than when an operator kept the account on.
fn is_outdated(restraint: &Restraint, user: &SourceUser, scope: &InScope) -> bool {
    let in_scope = *scope == InScope::Yes;
    match restraint.evidence.as_deref().map(news_of) {
        Some(DISABLED) => user.enabled,
        Some(OUT_OF_SCOPE) => in_scope,
        Some(_) => true,
        None => user.enabled && in_scope,
    }
}

fn plan(action: Action, reason: Reason) -> Plan {
    Plan { action, reason, verdicts: Vec::new(), lift: Vec::new() }
}

/// Why the user, or the account, is never written.
fn protection(rules: &Rules, inputs: &Inputs<'_>) -> Option<Reason> {
    if rules.protected.user(inputs.user) {
        return Some(Reason::ProtectedUser);
    }
    match inputs.target {
        Target::Found(shown) => rules.protected.account(shown).map(Reason::ProtectedAccount),
        _ => None,
    }
}

/// How sure we must be that the account is ours before we turn it off.
#[derive(PartialEq)]
enum OnlyIf {
    Linked,
    Matched,
}

fn leaver(
    rules: &Rules,
    inputs: &Inputs<'_>,
    evidence: Result<Evidence, OutOfScope>,
    only_if: OnlyIf,
) -> Plan {
    if only_if == OnlyIf::Linked && rules.on_delete == OnDelete::Ignore {
        return plan(Action::Nothing, Reason::OnDeleteIsIgnore);
    }
    if only_if == OnlyIf::Linked && inputs.link.is_none() {
        return plan(Action::Nothing, Reason::NothingToLeave);
    }
    if let (Source::Gone(_), Target::Taken { .. }) = (inputs.source, inputs.target) {
        return plan(Action::Nothing, Reason::PassedOn);
    }
    let shown = match found(inputs.target) {
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
    let code = evidence.as_ref().map_or(OUT_OF_SCOPE, Evidence::code);
    // Who was kept although out of scope is not kept when they are disabled.
    if let Some(restraint) = inputs.restraints.iter().find(|it| it.forbids(&change, Some(code))) {
        return plan(Action::Nothing, Reason::Restrained(words_of(restraint)));
    }
    let evidence = match evidence {
        Ok(evidence) => evidence,
        Err(sighting) => {
            // From this look, not from the reading it rests on: the groups may have been read long ago,
            // and one of them anew a moment ago.
            let since = inputs.out_of_scope_since.unwrap_or(inputs.now).min(inputs.now);
            return plan(Action::Confirm { since }, Reason::OutOfScopeOnce(sighting.rule().to_owned()));
        }
    };
    plan(Action::Deactivate { change, evidence }, Reason::Leaver)
}

/// What forbids to write this value.
fn forbidding<'a>(
    restraints: &'a [Restraint],
    of: Attribute,
    value: Option<&Value>,
) -> Option<&'a Restraint> {
    restraints.iter().find(|restraint| restraint.forbids_value(of, value))
}

fn words_of(restraint: &Restraint) -> String {
    let what = match restraint.why {
        super::case::RestraintReason::Rejected => "rejected the change",
        super::case::RestraintReason::Undone => "took the change back",
    };
    format!("{} {what} at {}; `held lift` ends that", restraint.by, restraint.at)
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

fn stay(rules: &Rules, user: &SourceUser, inputs: &Inputs<'_>) -> Plan {
    let shown = match found(inputs.target) {
        Ok(shown) => shown,
        Err(stop) => return *stop,
    };
    let held = shown.and_then(|shown| shown.attributes.get(&Attribute::Roles));
    let desired = match desired(rules, user, inputs, held) {
        Ok(desired) => desired,
        Err(reason) => return plan(Action::Park, reason),
    };
    let mut plan = match shown {
        Some(shown) => change(rules, &desired, shown, inputs),
        None if rules.create => create(rules, desired.clone(), inputs.restraints),
        None => plan(Action::Nothing, Reason::CreateIsOff),
    };
    let given = rules.roles.given_by(inputs.membership);
    let is_void = |restraint: &&Restraint| match &restraint.forbids {
        // Whoever is kept on may be so out of scope too: `decide` sees to them.
        _ if keeps_on(restraint) => false,
        Forbidden::Value { attribute, .. } => !restraint.forbids_value(*attribute, desired.get(attribute)),
        Forbidden::GiveRole { role } => inputs.membership.complete && !given.contains(role.as_str()),
        Forbidden::TakeRole { role } => inputs.membership.complete && given.contains(role.as_str()),
    };
    plan.lift = inputs.restraints.iter().filter(is_void).cloned().collect();
    plan
}

/// Entra's word on every mapped attribute; what is missing is empty there.
fn desired(
    rules: &Rules,
    user: &SourceUser,
    inputs: &Inputs<'_>,
    held_roles: Option<&Value>,
) -> Result<Attributes, Reason> {
    let mut desired = Attributes::new();
    for (&attribute, rule) in &rules.attributes {
        let value = match attribute {
            Attribute::Active => Some(Value::Flag(user.enabled)),
            Attribute::Roles => {
                let held = Value::items(held_roles);
                let mut roles = rules.roles.desired(inputs.membership, &held);
                for restraint in inputs.restraints {
                    match &restraint.forbids {
                        Forbidden::GiveRole { role } if !held.contains(role) => {
                            roles.remove(role);
                        }
                        Forbidden::TakeRole { role } if held.contains(role) => {
                            roles.insert(role.clone());
                        }
                        _ => {}
                    }
                }
                Some(Value::List(roles.into_iter().collect()))
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

fn create(rules: &Rules, mut desired: Attributes, restraints: &[Restraint]) -> Plan {
    let missing: Vec<&str> = REQUIRED
        .into_iter()
        .filter(|attribute| !desired.contains_key(attribute))
        .map(Attribute::name)
        .collect();
    if !missing.is_empty() {
        return plan(Action::Park, Reason::RequiredMissing(missing));
    }
    let indispensable = REQUIRED.into_iter().chain([Attribute::Active]);
    let mut forbidden = indispensable.filter_map(|it| forbidding(restraints, it, Some(desired.get(&it)?)));
    if let Some(restraint) = forbidden.next() {
        return plan(Action::Park, Reason::Restrained(words_of(restraint)));
    }
    desired.retain(|attribute, value| forbidding(restraints, *attribute, Some(value)).is_none());
    // Roles that are CXone's to give are not set at creation either.
    let ours = rules.attributes.get(&Attribute::Roles).is_some_and(|rule| rule.owner != Owner::Cxone);
    let given = matches!(desired.get(&Attribute::Roles), Some(Value::List(roles)) if !roles.is_empty());
    if !ours || !given {
        desired.remove(&Attribute::Roles);
    }
    plan(Action::Create(desired), Reason::Joiner)
}

fn change(rules: &Rules, desired: &Attributes, shown: &TargetUser, inputs: &Inputs<'_>) -> Plan {
    let (baselines, normalised) =
        (inputs.link.map(|link| &link.baseline), inputs.link.map(|link| &link.normalised));
    let mut verdicts = Vec::new();
    for (&attribute, rule) in &rules.attributes {
        let (source, target) = (desired.get(&attribute), shown.attributes.get(&attribute));
        let baseline = baselines.and_then(|baselines| baselines.get(&attribute));
        let rebased = baseline.filter(|_| attribute == Attribute::Roles).map(|baseline| Baseline {
            source: Some(rules.roles.rebased(baseline.source.as_ref(), source)),
            target: baseline.target.clone(),
        });
        let compared = rebased.as_ref().or(baseline);
        let explained = normalised
            .and_then(|known| known.get(&attribute))
            .is_some_and(|known| known.explains(attribute, source, target));
        let (decision, why) = if attribute == Attribute::Roles && !inputs.membership.complete {
            (Decision::Keep, Why::GroupsUnread)
        } else if rule.from.is_none() && !matches!(attribute, Attribute::Active | Attribute::Roles) {
            (Decision::Keep, Why::NotMapped)
        } else if source.is_none() && REQUIRED.contains(&attribute) {
            (Decision::Keep, Why::SourceEmpty)
        } else {
            match resolve(attribute, rule, source, target, compared) {
                agreed @ (_, Why::InSync) => agreed,
                _ if explained => (Decision::Keep, Why::TargetNormalises),
                _ if forbidding(inputs.restraints, attribute, source).is_some() => {
                    (Decision::Keep, Why::Restrained)
                }
                // What is never written afterwards is not written because somebody asks.
                resolved @ (_, Why::CreateOnly | Why::OwnedByCxone) => resolved,
                _ if inputs.revert.contains(&attribute) => (Decision::Write, Why::Reverted),
                resolved => resolved,
            }
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
    Plan { action, reason, verdicts, lift: Vec::new() }
}

/// What an operator's undo comes to for a user who is there: `changes` are the inverse of writes (see
/// [`undo::inverse`]) by that kind of evidence; what CXone no longer shows as it was written stays, and is
/// returned. Nobody is turned on who must not log in for another reason than the one taken back.
pub fn undo(
    rules: &Rules,
    inputs: &Inputs<'_>,
    changes: &[Change],
    evidence: Option<&str>,
) -> (Plan, Vec<undo::Skipped>) {
    if let Some(reason) = protection(rules, inputs) {
        return (plan(Action::Nothing, reason), Vec::new());
    }
    let shown = match found(inputs.target) {
        Ok(Some(shown)) => shown,
        Ok(None) => return (plan(Action::Nothing, Reason::NothingToLeave), Vec::new()),
        Err(stop) => return (*stop, Vec::new()),
    };
    let undo::Inverse { mut changes, mut skipped, .. } = undo::still_standing(changes, &shown.attributes);
    let turns_on = |change: &Change| change.attribute == Attribute::Active;
    let mut left = Vec::new();
    match inputs.source {
        Source::Present(user) => {
            let scope = rules.scope.of(user, inputs.membership, inputs.now);
            let leaves = rules.on_delete != OnDelete::Ignore && matches!(scope, InScope::No(_));
            left.extend((!user.enabled).then_some(DISABLED));
            left.extend(leaves.then_some(OUT_OF_SCOPE));
        }
        Source::Gone(evidence) => left.push(evidence.code()),
        Source::Unknown => {}
    }
    if left.iter().any(|left| evidence.map(news_of) != Some(news_of(left))) {
        let stays_off = changes.extract_if(.., |change| turns_on(change));
        skipped.extend(
            stays_off
                .map(|change| undo::Skipped { attribute: change.attribute, code: undo::UndoSkip::LeftSince }),
        );
    }
    let action = match &changes {
        none if none.is_empty() => Action::Nothing,
        some if some.iter().any(turns_on) => Action::Reactivate(changes),
        _ => Action::Patch(changes),
    };
    (Plan { action, reason: Reason::Undo, verdicts: Vec::new(), lift: Vec::new() }, skipped)
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
            Action::Nothing | Action::Hold | Action::Park | Action::LookAgain | Action::Confirm { .. } => {
                Vec::new()
            }
        }
    }

    /// What is sent; `None` when nothing is.
    pub fn operation(&self) -> Option<Operation> {
        match &self.action {
            Action::Create(_) => Some(Operation::Create),
            Action::Patch(_) => Some(Operation::Patch),
            Action::Reactivate(_) => Some(Operation::Reactivate),
            Action::Deactivate { .. } => Some(Operation::Deactivate),
            Action::Nothing | Action::Hold | Action::Park | Action::LookAgain | Action::Confirm { .. } => {
                None
            }
        }
    }

    /// Why each changed attribute changes.
    pub fn why(&self) -> BTreeMap<Attribute, Why> {
        let written = self.verdicts.iter().filter(|verdict| verdict.decision == Decision::Write);
        written.map(|verdict| (verdict.attribute, verdict.why)).collect()
    }

    /// What it takes out of the guard's budgets.
    pub fn spend(&self, table: &RoleTable) -> Spend {
        let mut spend = Spend::default();
        if let Action::Deactivate { .. } = self.action {
            spend.add(Guarded::Deactivations, 1);
        }
        for change in self.changes().iter().filter(|change| change.attribute == Attribute::Roles) {
            let (given, taken) = change.roles();
            let privileged = given.iter().filter(|role| table.is_privileged(role)).count();
            spend.add(Guarded::RoleRemovals, taken.len() as u64);
            spend.add(Guarded::PrivilegedGrants, privileged as u64);
        }
        spend
    }

    /// The plan without what `held` counts. `None`: nothing is left of it.
    pub fn without(&self, held: &BTreeSet<Guarded>, table: &RoleTable) -> Option<Self> {
        let mut plan = self.clone();
        let reduced = |changes: &[Change]| -> Vec<Change> {
            changes.iter().filter_map(|change| without_roles(change, held, table)).collect()
        };
        plan.action = match &self.action {
            Action::Deactivate { .. } if held.contains(&Guarded::Deactivations) => return None,
            Action::Create(attributes) => {
                let mut left = patch::apply(&Attributes::new(), &reduced(&created(attributes)));
                if attributes.contains_key(&Attribute::Roles) {
                    // It sends nothing, but the baseline then knows that Entra's word is to come.
                    left.entry(Attribute::Roles).or_insert(Value::List(Vec::new()));
                }
                Action::Create(left)
            }
            Action::Patch(changes) => Action::Patch(reduced(changes)),
            Action::Reactivate(changes) => Action::Reactivate(reduced(changes)),
            other => other.clone(),
        };
        (!plan.changes().is_empty()).then_some(plan)
    }

    /// The plan of these attributes alone. `None`: it is about more than attributes.
    pub fn only(&self, attributes: &BTreeSet<Attribute>) -> Option<Self> {
        let named = |changes: &[Change]| -> Vec<Change> {
            changes.iter().filter(|change| attributes.contains(&change.attribute)).cloned().collect()
        };
        let some_of = |changes: &[Change]| {
            let changes = named(changes);
            match changes.iter().any(|change| change.attribute == Attribute::Active) {
                _ if changes.is_empty() => Action::Nothing,
                true => Action::Reactivate(changes),
                false => Action::Patch(changes),
            }
        };
        let action = match &self.action {
            Action::Create(_) => return None,
            Action::Patch(changes) | Action::Reactivate(changes) => some_of(changes),
            Action::Deactivate { .. } if !attributes.contains(&Attribute::Active) => return None,
            other => other.clone(),
        };
        Some(Self { action, ..self.clone() })
    }

    /// What is left to be done once `reduced` (see [`Plan::without`]) has been.
    pub fn rest(&self, reduced: Option<&Self>) -> Self {
        let Some(reduced) = reduced else { return self.clone() };
        let roles =
            |plan: &Self| plan.changes().into_iter().find(|change| change.attribute == Attribute::Roles);
        let rest = roles(self).map(|full| Change {
            attribute: Attribute::Roles,
            before: roles(reduced).map_or(full.before, |done| done.after),
            after: full.after,
        });
        Self { action: Action::Patch(rest.into_iter().collect()), ..self.clone() }
    }

    /// Names exactly this plan for this user: who, what is sent, by which kind of evidence. Roles
    /// count by what is given and taken, not by what else is held. Hexadecimal SHA-256.
    pub fn hash(&self, user: UserId, scim_id: Option<&ScimId>) -> String {
        let changes: Vec<serde_json::Value> = self
            .changes()
            .iter()
            .map(|change| match change.attribute {
                Attribute::Roles => {
                    let (mut given, mut taken) = change.roles();
                    given.sort();
                    taken.sort();
                    serde_json::json!(["roles", given, taken])
                }
                _ => serde_json::json!([change.attribute, change.before, change.after]),
            })
            .collect();
        let operation = self.operation().map(Operation::name);
        let evidence = self.evidence().map(|evidence| news_of(evidence.code()));
        of_json(&serde_json::json!([user, scim_id, operation, changes, evidence]))
    }

    /// Names what the user is to be like in what this plan changes, however they look now: two plans
    /// that want the same have the same.
    pub fn desired_hash(&self) -> String {
        let after: Vec<_> = self
            .changes()
            .into_iter()
            .map(|change| match change.after {
                Some(Value::List(mut items)) => {
                    items.sort();
                    (change.attribute, Some(Value::List(items)))
                }
                after => (change.attribute, after),
            })
            .collect();
        of_json(&serde_json::json!(after))
    }

    /// The baseline to remember once the target shows `shown`: held attributes keep the old one, so
    /// that the conflict is still seen the next time, and so does Entra's side of what the guard has
    /// taken out of this plan, or nobody would want it any more.
    pub fn settled_baseline(&self, old: Option<&Link>, shown: &Attributes) -> BTreeMap<Attribute, Baseline> {
        let mut baseline = old.map(|link| link.baseline.clone()).unwrap_or_default();
        let changes = self.changes();
        let is_left_out = |verdict: &Verdict| {
            let of = verdict.attribute;
            let sent = changes.iter().find(|change| change.attribute == of).map(|change| &change.after);
            let whole = sent.is_some_and(|after| same(of, after.as_ref(), verdict.source.as_ref()));
            verdict.decision == Decision::Write && !whole
        };
        for verdict in &self.verdicts {
            let target = shown.get(&verdict.attribute).cloned();
            if is_left_out(verdict) {
                baseline.entry(verdict.attribute).and_modify(|old| old.target = target);
            } else if verdict.decision != Decision::Hold && verdict.why != Why::GroupsUnread {
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
        if self.reason == Reason::Undo {
            // Entra's word is still what was written before: only CXone has moved.
            for change in self.changes() {
                let target = shown.get(&change.attribute).cloned();
                let source = match baseline.get(&change.attribute) {
                    Some(old) => old.source.clone(),
                    None => change.before,
                };
                baseline.insert(change.attribute, Baseline { source, target });
            }
        }
        baseline
    }
}

/// A change of roles without what `held` counts; other changes are none of its business.
fn without_roles(change: &Change, held: &BTreeSet<Guarded>, table: &RoleTable) -> Option<Change> {
    if change.attribute != Attribute::Roles {
        return Some(change.clone());
    }
    let (given, taken) = change.roles();
    let mut after = Value::items(change.after.as_ref());
    if held.contains(&Guarded::RoleRemovals) {
        after.extend(taken);
        after.sort();
    }
    if held.contains(&Guarded::PrivilegedGrants) {
        after.retain(|role| !(given.contains(role) && table.is_privileged(role)));
    }
    let after = (change.before.is_some() || !after.is_empty()).then_some(Value::List(after));
    let differs = !same(Attribute::Roles, change.before.as_ref(), after.as_ref());
    differs.then(|| Change { attribute: Attribute::Roles, before: change.before.clone(), after })
}

/// Names a set of plans, whatever their order: what an operator approves is exactly this set.
pub fn set_hash<'a>(plans: impl IntoIterator<Item = (UserId, &'a str)>) -> String {
    let plans: BTreeSet<(UserId, &str)> = plans.into_iter().collect();
    of_json(&serde_json::json!(plans))
}

fn created(attributes: &Attributes) -> Vec<Change> {
    let change = |(&attribute, value): (&Attribute, &Value)| Change {
        attribute,
        before: None,
        after: Some(value.clone()),
    };
    let is_sent = |(_, value): &(&Attribute, &Value)| **value != Value::List(Vec::new());
    attributes.iter().filter(is_sent).map(change).collect()
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
