//! The directory of the simulated tenant: users and groups, what they were a moment ago (for lagging
//! reads) and what happened to them (for delta queries and notifications). No HTTP here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::sim::clock::{seconds, ticks};
use crate::sim::dice::Dice;

pub(super) type Properties = Map<String, Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Group,
}

impl Kind {
    /// As in `@odata.type` of reads and delta queries.
    pub(super) fn odata_type(self) -> &'static str {
        match self {
            Self::User => "#microsoft.graph.user",
            Self::Group => "#microsoft.graph.group",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Live,
    /// In `deletedItems`, restorable, still a member of its groups.
    SoftDeleted,
    Gone,
}

/// What can be read of an object at one moment.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) kind: Kind,
    pub(super) properties: Properties,
    pub(super) members: BTreeMap<String, Kind>,
    pub(super) condition: Condition,
}

struct Object {
    state: State,
    /// Properties that ever had a value: delta queries leave out the others.
    ever_set: BTreeSet<String>,
    /// How far behind the replica is that answers reads of this object.
    lag: Duration,
    /// Former states, oldest first, each with the time from which it was true; empty without lag.
    earlier: VecDeque<(Timestamp, Option<State>)>,
}

/// One entry of the change log, in the order of the changes.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// .NET ticks; no two changes share one.
    pub(super) ticks: i64,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Created,
    Updated(BTreeSet<String>),
    SoftDeleted,
    Restored,
    HardDeleted,
    Joined(String, Kind),
    Left(String, Kind),
}

pub(super) struct Directory {
    objects: BTreeMap<String, Object>,
    pub(super) log: Vec<Change>,
    lag: (Duration, Duration),
    last_ticks: i64,
}

impl Directory {
    pub(super) fn new(lag: (Duration, Duration)) -> Self {
        Self { objects: BTreeMap::new(), log: Vec::new(), lag, last_ticks: 0 }
    }

    /// The object as it is, deleted ones included.
    pub(super) fn truth(&self, id: &str) -> Option<&State> {
        self.objects.get(id).map(|object| &object.state)
    }

    /// The object as its replica shows it at `now`; `None` if it does not know it yet.
    pub(super) fn replica(&self, id: &str, now: Timestamp) -> Option<&State> {
        let object = self.objects.get(id)?;
        // Each entry of `earlier` was true until the next one began; the present state began last.
        let seen_at = now - object.lag;
        match object.earlier.iter().find(|(until, _)| seen_at < *until) {
            Some((_, state)) => state.as_ref(),
            None => Some(&object.state),
        }
    }

    /// The id of the live user with this name, as replicas show it.
    pub(super) fn named(&self, name: &str, now: Timestamp) -> Option<String> {
        let is_named = |id: &String| {
            self.replica(id, now).is_some_and(|state| {
                let user_principal_name = state.properties.get("userPrincipalName").and_then(Value::as_str);
                state.kind == Kind::User
                    && state.condition == Condition::Live
                    && user_principal_name.is_some_and(|upn| upn.eq_ignore_ascii_case(name))
            })
        };
        self.objects.keys().find(|id| is_named(id)).cloned()
    }

    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = (&String, &State)> {
        let states = self.objects.iter().map(|(id, object)| (id, &object.state));
        states.filter(move |(_, state)| state.kind == kind && state.condition != Condition::Gone)
    }

    /// Whether a property ever had a value.
    pub(super) fn ever_set(&self, id: &str, property: &str) -> bool {
        self.objects.get(id).is_some_and(|object| object.ever_set.contains(property))
    }

    pub(super) fn create(
        &mut self,
        kind: Kind,
        mut properties: Properties,
        now: Timestamp,
        dice: &Dice,
    ) -> Change {
        let id = match properties.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => dice.guid(),
        };
        properties.insert("id".to_owned(), json!(id));
        if kind == Kind::User {
            properties.entry("accountEnabled").or_insert(json!(true));
        }
        let ever_set = properties.iter().filter(|(_, value)| !value.is_null());
        let ever_set = ever_set.map(|(name, _)| name.clone()).collect();
        let state = State { kind, properties, members: BTreeMap::new(), condition: Condition::Live };
        let lag = dice.between(self.lag);
        let earlier = if lag.is_zero() { VecDeque::new() } else { VecDeque::from([(now, None)]) };
        let object = Object { state, ever_set, lag, earlier };
        assert!(self.objects.insert(id.clone(), object).is_none(), "the simulated tenant already has {id}");
        self.record(kind, id, What::Created, now)
    }

    /// `None` when nothing differs.
    pub(super) fn update(&mut self, id: &str, changes: Properties, now: Timestamp) -> Option<Change> {
        let object = self.change(id, now);
        let mut changed = BTreeSet::new();
        for (name, value) in changes {
            if object.state.properties.get(&name).unwrap_or(&Value::Null) != &value {
                if !value.is_null() {
                    object.ever_set.insert(name.clone());
                }
                object.state.properties.insert(name.clone(), value);
                changed.insert(name);
            }
        }
        let kind = object.state.kind;
        (!changed.is_empty()).then(|| self.record(kind, id.to_owned(), What::Updated(changed), now))
    }

    pub(super) fn set_condition(&mut self, id: &str, condition: Condition, now: Timestamp) -> Vec<Change> {
        let object = self.change(id, now);
        let before = std::mem::replace(&mut object.state.condition, condition);
        let kind = object.state.kind;
        let deleted_at = if condition == Condition::Live { Value::Null } else { json!(seconds(now)) };
        object.state.properties.insert("deletedDateTime".to_owned(), deleted_at);
        let what = match (before, condition) {
            (Condition::SoftDeleted, Condition::Live) => What::Restored,
            (Condition::Live, Condition::SoftDeleted) => What::SoftDeleted,
            (Condition::Live | Condition::SoftDeleted, Condition::Gone) => What::HardDeleted,
            (before, after) => panic!("{id} is {before:?} and cannot become {after:?}"),
        };
        let mut changes = vec![self.record(kind, id.to_owned(), what, now)];
        if condition == Condition::Gone {
            // Only now does it leave its groups.
            for group in self.groups_of(id) {
                changes.push(self.leave(&group, id, now));
            }
        }
        changes
    }

    fn groups_of(&self, id: &str) -> Vec<String> {
        let holds = |object: &Object| object.state.members.contains_key(id);
        self.objects.iter().filter(|(_, object)| holds(object)).map(|(group, _)| group.clone()).collect()
    }

    /// `None` when it is a member already.
    pub(super) fn join(&mut self, group: &str, member: &str, now: Timestamp) -> Option<Change> {
        let kind = self.truth(member).unwrap_or_else(|| panic!("no {member} in the simulated tenant")).kind;
        let object = self.change(group, now);
        let new = object.state.members.insert(member.to_owned(), kind).is_none();
        new.then(|| self.record(Kind::Group, group.to_owned(), What::Joined(member.to_owned(), kind), now))
    }

    pub(super) fn leave(&mut self, group: &str, member: &str, now: Timestamp) -> Change {
        let object = self.change(group, now);
        let kind = object.state.members.remove(member);
        let kind = kind.unwrap_or_else(|| panic!("{member} is no member of {group}"));
        self.record(Kind::Group, group.to_owned(), What::Left(member.to_owned(), kind), now)
    }

    /// The object, to be changed: what it was is kept for lagging reads.
    fn change(&mut self, id: &str, now: Timestamp) -> &mut Object {
        let object = self.objects.get_mut(id).unwrap_or_else(|| panic!("no {id} in the simulated tenant"));
        if !object.lag.is_zero() {
            let seen_at = now - object.lag;
            while object.earlier.front().is_some_and(|(until, _)| *until <= seen_at) {
                object.earlier.pop_front();
            }
            object.earlier.push_back((now, Some(object.state.clone())));
        }
        object
    }

    fn record(&mut self, kind: Kind, id: String, what: What, now: Timestamp) -> Change {
        self.last_ticks = ticks(now).max(self.last_ticks + 1);
        let change = Change { kind, id, ticks: self.last_ticks, what };
        self.log.push(change.clone());
        change
    }
}
