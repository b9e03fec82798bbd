//! What other rules would have made of what was seen: both rule sets decide about the same state, and
//! what differs at the end is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::case::Restraint;
use super::evidence::OUT_OF_SCOPE_TWICE_APART;
use super::guard::{Budgets, Guarded, Spend, Usage, over};
use super::link::Link;
use super::patch::same;
use super::plan::{Action, Inputs, Plan, Reason, Target, apply, decide};
use super::rules::Rules;
use super::seen::SeenState;
use super::user::{Attribute, Attributes, GroupId, Membership, ScimId, UserId, Value};

/// What the new rules do otherwise about a user. In the order in which it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    Deactivated,
    Reactivated,
    /// The present rules turn the account off.
    StaysActive,
    Created,
    /// The present rules create the user.
    NotCreated,
    LosesRole(String),
    GainsRole(String),
    /// The present rules take it.
    KeepsRole(String),
    /// The present rules give it.
    NotGivenRole(String),
    Changed(Attribute),
    Held(&'static str),
    Parked(&'static str),
    /// What was seen does not say enough, for this reason.
    CannotBeTold(String),
}

impl Difference {
    /// Its name for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Reactivated => "reactivated",
            Self::StaysActive => "stays_active",
            Self::Created => "created",
            Self::NotCreated => "not_created",
            Self::LosesRole(_) => "loses_role",
            Self::GainsRole(_) => "gains_role",
            Self::KeepsRole(_) => "keeps_role",
            Self::NotGivenRole(_) => "not_given_role",
            Self::Changed(_) => "changed",
            Self::Held(_) => "held",
            Self::Parked(_) => "parked",
            Self::CannotBeTold(_) => "cannot_be_told",
        }
    }

    /// The role, the attribute or the reason.
    pub fn of(&self) -> Option<&str> {
        match self {
            Self::LosesRole(role)
            | Self::GainsRole(role)
            | Self::KeepsRole(role)
            | Self::NotGivenRole(role) => Some(role),
            Self::Changed(attribute) => Some(attribute.name()),
            Self::Held(code) | Self::Parked(code) => Some(code),
            Self::CannotBeTold(why) => Some(why),
            Self::Deactivated | Self::Reactivated | Self::StaysActive | Self::Created | Self::NotCreated => {
                None
            }
        }
    }

    /// How many it happens to, as a line for an operator.
    pub fn sentence(&self, n_users: usize) -> String {
        match self {
            Self::Deactivated => format!("{n_users} deactivated"),
            Self::Reactivated => format!("{n_users} reactivated"),
            Self::StaysActive => format!("{n_users} not deactivated any more"),
            Self::Created => format!("{n_users} created"),
            Self::NotCreated => format!("{n_users} not created any more"),
            Self::LosesRole(role) => format!("-{n_users} lose role {role}"),
            Self::GainsRole(role) => format!("+{n_users} gain role {role}"),
            Self::KeepsRole(role) => format!("{n_users} keep role {role}"),
            Self::NotGivenRole(role) => format!("{n_users} not given role {role} any more"),
            Self::Changed(attribute) => format!("{n_users} get another {attribute}"),
            Self::Held(code) => format!("{n_users} held ({code})"),
            Self::Parked(code) => format!("{n_users} parked ({code})"),
            Self::CannotBeTold(why) => format!("{n_users} cannot be told ({why})"),
        }
    }
}

/// Rules to be tried against those in force.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    pub present: &'a Rules,
    pub new: &'a Rules,
    /// The groups whose members are known. Whether somebody is in another one cannot be told.
    pub kept: &'a BTreeSet<GroupId>,
}

impl Trial<'_> {
    /// What the new rules do otherwise about a user who was seen so. `link` is what is known of the pair
    /// now; whether there was one, the state knows.
    pub fn differences(&self, user: UserId, state: &SeenState, link: Option<&Link>) -> BTreeSet<Difference> {
        let unread = |rules: &Rules| rules.properties().into_iter().find(|name| !state.knows(name));
        let scoped = |rules: &Rules| {
            let properties = rules.scope.rules.iter().flat_map(|rule| rule.condition.properties());
            properties.into_iter().find(|name| !state.knows(name))
        };
        if let Some(name) = scoped(self.new).or_else(|| scoped(self.present)) {
            return [not_read(&name)].into();
        }
        let both = [self.present, self.new];
        // Where not all groups had been read, it is known only of those of the scope in force.
        let knows_scopes = || {
            let known = self.present.scope.named_groups();
            let was_read = state.scope_read.as_ref() == Some(&self.present.scope.digest());
            let mut groups = both.iter().map(|rules| rules.scope.named_groups());
            groups.all(|groups| groups.is_empty() || was_read && groups.is_subset(&known))
        };
        if !state.complete && state.gone.is_none() && !knows_scopes() {
            return [Difference::CannotBeTold(GROUPS_UNREAD.to_owned())].into();
        }

        let membership = state.membership();
        // What an operator forbade was said of the rules in force.
        let before = replay(self.present, user, state, &membership, link, &[]);
        let told = |membership: &Membership| {
            let after = replay(self.new, user, state, membership, link, &[]);
            difference(&before, &after, state)
        };
        let out = told(&membership);
        // Whoever knows nothing of a group tries both: what is the same either way can be told.
        let unkept: BTreeSet<GroupId> = self.new.relevant_groups().difference(self.kept).copied().collect();
        let mut found = if unkept.is_empty() || state.gone.is_some() {
            out
        } else {
            let groups = membership.groups.union(&unkept).copied().collect();
            let inside = told(&Membership { groups, ..membership });
            let mut same: BTreeSet<Difference> = out.intersection(&inside).cloned().collect();
            if out != inside {
                same.extend(unkept.iter().map(not_kept));
            }
            same
        };

        let of_roles = both.iter().any(|rules| rules.gives_roles() && !rules.roles.rows().is_empty());
        if !state.complete && state.gone.is_none() && of_roles {
            found.insert(Difference::CannotBeTold(GROUPS_UNREAD.to_owned()));
        }
        if let Some(name) = unread(self.new).or_else(|| unread(self.present)) {
            let reads = |rules: &Rules, attribute| {
                let from = rules.attributes.get(&attribute).and_then(|rule| rule.from.as_ref());
                from.is_some_and(|from| from.properties().iter().any(|name| !state.knows(name)))
            };
            found.retain(|difference| match difference {
                Difference::Changed(attribute) => !both.iter().any(|rules| reads(rules, *attribute)),
                Difference::Parked(_) => false,
                _ => true,
            });
            found.insert(not_read(&name));
        }
        found
    }
}

const GROUPS_UNREAD: &str = "not all groups had been read";

fn not_read(property: &str) -> Difference {
    Difference::CannotBeTold(format!("{property} was not read"))
}

fn not_kept(group: &GroupId) -> Difference {
    Difference::CannotBeTold(format!("group {group} is not kept yet"))
}

/// What a rule set decides about a state. Who is out of scope counts as proven to be. `link` is what is
/// known of the pair now, `restraints` what was forbidden then.
pub fn decided(
    rules: &Rules,
    user: UserId,
    state: &SeenState,
    link: Option<&Link>,
    restraints: &[Restraint],
) -> Plan {
    replay(rules, user, state, &state.membership(), link, restraints)
}

fn replay(
    rules: &Rules,
    user: UserId,
    state: &SeenState,
    membership: &Membership,
    link: Option<&Link>,
    restraints: &[Restraint],
) -> Plan {
    let target = state.shown().map_or(Target::Absent, Target::Found);
    let link = state.scim_id.clone().map(|scim_id| Link {
        scim_id,
        baseline: link.map(|link| link.baseline.clone()).unwrap_or_default(),
        confirmed_at: state.at,
        source_fingerprint: None,
        deactivated_by_us: link.is_some_and(|link| link.deactivated_by_us),
        source_gone: link.is_some_and(|link| link.source_gone),
        purged: false,
        returned_at: None,
        normalised: link.map(|link| link.normalised.clone()).unwrap_or_default(),
    });
    let inputs = Inputs {
        user,
        source: &state.source(user),
        membership,
        target: &target,
        link: link.as_ref(),
        restraints,
        revert: &BTreeSet::new(),
        out_of_scope_since: state.at.checked_sub(OUT_OF_SCOPE_TWICE_APART).ok(),
        now: state.at,
    };
    decide(rules, &inputs)
}

/// What the second plan leads to and the first does not.
fn difference(before: &Plan, after: &Plan, state: &SeenState) -> BTreeSet<Difference> {
    let code = after.reason.code();
    match &after.action {
        Action::Hold if before.action != Action::Hold => return [Difference::Held(code)].into(),
        Action::Park if before.action != Action::Park => return [Difference::Parked(code)].into(),
        Action::LookAgain => {
            let why = match &after.reason {
                Reason::ScopeUnknown(what) => what.clone(),
                reason => reason.sentence(),
            };
            return [Difference::CannotBeTold(why)].into();
        }
        _ => {}
    }
    let shown = state.shown();
    let end = |plan: &Plan| apply(plan, shown.as_ref(), &ScimId(String::new())).map(|user| user.attributes);
    match (end(before), end(after)) {
        (None, None) => BTreeSet::new(),
        (None, Some(_)) => [Difference::Created].into(),
        (Some(_), None) => [Difference::NotCreated].into(),
        (Some(before), Some(after)) => compared(state.target.as_ref(), &before, &after),
    }
}

fn compared(shown: Option<&Attributes>, before: &Attributes, after: &Attributes) -> BTreeSet<Difference> {
    let is_active = |user: &Attributes| user.get(&Attribute::Active) != Some(&Value::Flag(false));
    match (is_active(before), is_active(after)) {
        (true, false) => return [Difference::Deactivated].into(),
        (false, true) if shown.is_some_and(is_active) => return [Difference::StaysActive].into(),
        (false, true) => return [Difference::Reactivated].into(),
        (true, true) | (false, false) => {}
    }
    let held = roles(shown.and_then(|shown| shown.get(&Attribute::Roles)));
    let (had, has) = (roles(before.get(&Attribute::Roles)), roles(after.get(&Attribute::Roles)));
    let gained = has.difference(&had).map(|role| match held.contains(role) {
        true => Difference::KeepsRole(role.clone()),
        false => Difference::GainsRole(role.clone()),
    });
    let lost = had.difference(&has).map(|role| match held.contains(role) {
        true => Difference::LosesRole(role.clone()),
        false => Difference::NotGivenRole(role.clone()),
    });
    let others =
        Attribute::ALL.into_iter().filter(|one| !matches!(one, Attribute::Roles | Attribute::Active));
    let changed = others.filter(|one| !same(*one, before.get(one), after.get(one))).map(Difference::Changed);
    gained.chain(lost).chain(changed).collect()
}

fn roles(value: Option<&Value>) -> BTreeSet<String> {
    match value {
        Some(Value::List(roles)) => roles.iter().cloned().collect(),
        Some(Value::Text(role)) => [role.clone()].into(),
        Some(Value::Flag(_)) | None => BTreeSet::new(),
    }
}

/// What a trial found, by what it is. A user counts once for each, in however many states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub n_users: u64,
    pub n_states: u64,
    found: BTreeMap<Difference, BTreeSet<UserId>>,
}

impl Effect {
    pub fn add(&mut self, trial: &Trial<'_>, user: UserId, states: &[SeenState], link: Option<&Link>) {
        self.n_users += 1;
        self.n_states += states.len() as u64;
        for (n, state) in states.iter().enumerate() {
            let mut differences = trial.differences(user, state, link);
            let lasts = |next: &SeenState| Duration::try_from(next.at.duration_since(state.at)).ok();
            let next = states.get(n + 1).map(|next| lasts(next).unwrap_or_default());
            if next.is_some_and(|lasts| lasts < OUT_OF_SCOPE_TWICE_APART) {
                // Somebody who moves between two groups is in neither for a moment, and what was unclear
                // for a moment was clear afterwards.
                let lasts =
                    |one: &Difference| !matches!(one, Difference::Deactivated | Difference::CannotBeTold(_));
                differences.retain(lasts);
            }
            for difference in differences {
                self.found.entry(difference).or_default().insert(user);
            }
        }
    }

    pub fn is_nothing(&self) -> bool {
        self.found.is_empty()
    }

    /// One line for each kind of difference.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.found.iter().map(|(difference, users)| Line { difference, users })
    }

    /// All of it in one sentence.
    pub fn summary(&self) -> String {
        let lines: Vec<String> = self.lines().map(|line| line.sentence()).collect();
        if lines.is_empty() { "nothing differs".to_owned() } else { lines.join(", ") }
    }

    /// What passes the guard: how much of it the new rules ask for at once.
    pub fn at_once(&self, new: &Rules) -> Spend {
        let mut at_once = Spend::default();
        for Line { difference, users } in self.lines() {
            let n_users = users.len() as u64;
            match difference {
                Difference::Deactivated => at_once.add(Guarded::Deactivations, n_users),
                Difference::LosesRole(_) => at_once.add(Guarded::RoleRemovals, n_users),
                Difference::GainsRole(role) if new.roles.is_privileged(role) => {
                    at_once.add(Guarded::PrivilegedGrants, n_users);
                }
                _ => {}
            }
        }
        at_once
    }
}

/// Which budgets of the guard the new rules would exceed, with nothing used of them before. Each is a
/// sentence.
pub fn exceeded(budgets: &Budgets, at_once: &Spend, linked_users: u64) -> Vec<String> {
    let usage = Usage { last_hour: 0, last_day: 0, linked_users };
    let broken = |(guarded, n)| over(guarded, budgets.of(guarded), &usage, n).map(|_| (guarded, n));
    let sentence = |(guarded, n)| format!("{n} {guarded} at once are more than guard.{guarded} lets through");
    at_once.iter().filter_map(broken).map(sentence).collect()
}

/// A difference, and whom it is about.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub difference: &'a Difference,
    pub users: &'a BTreeSet<UserId>,
}

impl Line<'_> {
    pub fn sentence(&self) -> String {
        self.difference.sentence(self.users.len())
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            kind: &'static str,
            of: Option<&'a str>,
            count: usize,
            sentence: String,
            users: &'a BTreeSet<UserId>,
        }
        let Self { difference, users } = self;
        let (kind, of, sentence) = (difference.kind(), difference.of(), self.sentence());
        Shown { kind, of, count: users.len(), sentence, users }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
