//! Everything a decision can rest on, at random.

use proptest::prelude::*;

use super::properties::{membership, role, source, text};
use super::*;
use crate::domain::case::{Restraint, RestraintReason, forbidding};
use crate::domain::evidence::{DeletedItem, RemovedReason};
use crate::domain::link::Normalised;

/// The rules, both sides, and whatever operators and earlier looks left.
#[derive(Clone, Debug)]
pub struct World {
    pub rules: Rules,
    pub source: Source,
    pub membership: Membership,
    pub target: Target,
    pub link: Option<Link>,
    pub restraints: Vec<Restraint>,
    pub revert: BTreeSet<Attribute>,
    pub out_of_scope_since: Option<Timestamp>,
    pub now: Timestamp,
}

impl World {
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            user: user(),
            source: &self.source,
            membership: &self.membership,
            target: &self.target,
            link: self.link.as_ref(),
            restraints: &self.restraints,
            revert: &self.revert,
            out_of_scope_since: self.out_of_scope_since,
            now: self.now,
        }
    }

    pub fn decide(&self) -> Plan {
        super::super::decide(&self.rules, &self.inputs())
    }

    pub fn shown(&self) -> Option<&TargetUser> {
        match &self.target {
            Target::Found(shown) => Some(shown),
            _ => None,
        }
    }

    /// The user as the plan leaves them.
    pub fn after(&self, plan: &Plan) -> Option<TargetUser> {
        apply(plan, self.shown(), &scim_id())
    }

    /// The world in which the plan has been carried out and settled.
    pub fn having_done(&self, plan: &Plan) -> Self {
        let mut world = self.clone();
        if let Some(after) = self.after(plan) {
            let link = link_to(&after, plan, self.link.as_ref());
            let normalised = self.link.as_ref().map(|link| link.normalised.clone()).unwrap_or_default();
            world.link = Some(Link { normalised, ..link });
            world.target = Target::Found(after);
        }
        world
    }

    /// The world in which operators have forbidden all of this as well.
    pub fn forbidding(&self, changes: &[Change]) -> Self {
        let mut world = self.clone();
        world.restraints.extend(forbidding(changes).into_iter().map(restraint));
        world
    }
}

pub fn user() -> UserId {
    UserId::from_bytes([7; 16])
}

pub fn restraint(forbids: Forbidden) -> Restraint {
    let why = RestraintReason::Undone;
    Restraint { forbids, why, evidence: None, by: "ana".to_owned(), at: at(0) }
}

/// What may be anything in a change: all but whether the account is on, and roles.
const TEXTS: [Attribute; 7] = [
    Attribute::UserName,
    Attribute::Emails,
    Attribute::GivenName,
    Attribute::FamilyName,
    Attribute::DisplayName,
    Attribute::PhoneNumbers,
    Attribute::ExternalId,
];

fn owner() -> impl Strategy<Value = Owner> {
    proptest::sample::select(vec![Owner::Entra, Owner::Entra, Owner::Cxone, Owner::Newest, Owner::Hold])
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let owners = proptest::collection::vec(
        (owner(), proptest::sample::select(vec![Side::Entra, Side::Cxone])),
        TEXTS.len() + 2,
    );
    let scope = (any::<bool>(), any::<bool>(), any::<bool>());
    let switches = (any::<bool>(), proptest::bool::weighted(0.8), proptest::bool::weighted(0.8));
    (owners, scope, switches).prop_map(|(owners, scope, (create_only, create, deactivate))| {
        let mut rules = rules();
        let attributes = TEXTS.into_iter().chain([Attribute::Active, Attribute::Roles]);
        for (attribute, (owner, tie)) in attributes.zip(owners) {
            let rule = rules.attributes.get_mut(&attribute).unwrap();
            (rule.owner, rule.tie) = (owner, tie);
        }
        rules.attributes.get_mut(&Attribute::ExternalId).unwrap().create_only = create_only;
        let row = |n, role: &str, privileged| RoleRow { group: group(n), role: role.to_owned(), privileged };
        rules.roles = RoleTable::new(vec![row(1, "agent", false), row(2, "supervisor", true)]).unwrap();
        let (in_groups, not_in_groups, by_rule) = scope;
        rules.scope = Scope {
            groups: if in_groups { vec![group(1), group(2)] } else { Vec::new() },
            exclude_groups: if not_in_groups { vec![group(3)] } else { Vec::new() },
            rules: Vec::new(),
        };
        if by_rule {
            let text = "IsPresent([mail])".to_owned();
            rules.scope.rules.push(ScopeRule { condition: expression(&text), text });
        }
        rules.create = create;
        rules.on_delete = if deactivate { OnDelete::Deactivate } else { OnDelete::Ignore };
        rules
    })
}

fn some_source() -> impl Strategy<Value = Source> {
    let evidence = proptest::sample::select(vec![
        Evidence::removed_in_delta(RemovedReason::Changed),
        Evidence::removed_in_delta(RemovedReason::Deleted),
        Evidence::in_deleted_items(user(), &DeletedItem { id: user() }).unwrap(),
        Evidence::absent_twice(at(0), at(600)).unwrap(),
    ]);
    prop_oneof![6 => source(), 1 => evidence.prop_map(Source::Gone)]
}

pub fn moment() -> impl Strategy<Value = Timestamp> {
    (0i64..900).prop_map(at)
}

fn some_membership() -> impl Strategy<Value = Membership> {
    (membership(), proptest::option::weighted(0.8, moment()))
        .prop_map(|(membership, scope_read_at)| Membership { scope_read_at, ..membership })
}

pub fn some_value(attribute: Attribute) -> BoxedStrategy<Option<Value>> {
    match attribute {
        Attribute::Active => proptest::option::weighted(0.9, any::<bool>().prop_map(Value::Flag)).boxed(),
        Attribute::Roles => proptest::option::weighted(
            0.9,
            proptest::collection::btree_set(role(), 0..3)
                .prop_map(|roles| Value::List(roles.into_iter().collect())),
        )
        .boxed(),
        _ => text().boxed(),
    }
}

fn some_attribute() -> impl Strategy<Value = Attribute> {
    let all = TEXTS.into_iter().chain([Attribute::Active, Attribute::Roles]);
    proptest::sample::select(all.collect::<Vec<_>>())
}

fn some_attributes() -> impl Strategy<Value = Attributes> {
    let all: Vec<_> = TEXTS.into_iter().chain([Attribute::Active, Attribute::Roles]).collect();
    let values: Vec<_> = all.iter().map(|attribute| some_value(*attribute)).collect();
    values
        .prop_map(move |values| all.iter().copied().zip(values).filter_map(|(a, v)| Some((a, v?))).collect())
}

fn some_target() -> impl Strategy<Value = Target> {
    let found = some_attributes()
        .prop_map(|attributes| Target::Found(TargetUser { id: scim_id(), attributes }))
        .boxed();
    let unclear = proptest::sample::select(vec![
        Target::Absent,
        Target::Absent,
        Target::Absent,
        Target::Ambiguous { key: MatchKey::UserName, hits: 2 },
        Target::Taken { id: scim_id(), by: UserId::from_bytes([9; 16]) },
        Target::Unmatchable,
    ]);
    prop_oneof![4 => found, 1 => unclear]
}

/// Changes as they stand in the history, true or not.
pub fn some_changes() -> impl Strategy<Value = Vec<Change>> {
    let change = some_attribute().prop_flat_map(|attribute| {
        (some_value(attribute), some_value(attribute)).prop_map(move |(before, after)| Change {
            attribute,
            before,
            after,
        })
    });
    proptest::collection::vec(change, 0..4)
}

fn some_link() -> impl Strategy<Value = Link> {
    let pair = |attribute| (Just(attribute), some_value(attribute), some_value(attribute));
    let pairs = || proptest::collection::vec(some_attribute().prop_flat_map(pair), 0..5);
    (pairs(), pairs()).prop_map(|(baseline, normalised)| {
        let shown = TargetUser { id: scim_id(), attributes: Attributes::new() };
        let mut link = link_to(&shown, &plan(Action::Nothing, Reason::InSync), None);
        for (attribute, source, target) in baseline {
            link.baseline.insert(attribute, Baseline { source, target });
        }
        for (attribute, wrote, shows) in normalised {
            link.normalised.insert(attribute, Normalised { wrote, shows, times: 2 });
        }
        link
    })
}

fn some_restraints() -> impl Strategy<Value = Vec<Restraint>> {
    let forbidden = some_changes().prop_map(|changes| forbidding(&changes));
    forbidden.prop_map(|forbidden| forbidden.into_iter().map(restraint).collect())
}

pub fn world() -> impl Strategy<Value = World> {
    let sides =
        (some_source(), some_membership(), some_target(), proptest::option::weighted(0.8, some_link()));
    let operators = (some_restraints(), proptest::collection::btree_set(some_attribute(), 0..2));
    let times = (proptest::option::of(moment()), moment());
    (some_rules(), sides, operators, times).prop_map(
        |(rules, (source, membership, target, link), (restraints, revert), (out_of_scope_since, now))| {
            World { rules, source, membership, target, link, restraints, revert, out_of_scope_since, now }
        },
    )
}

/// A world in which Entra shows the user with everything that is required, so that most plans write.
pub fn busy_world() -> impl Strategy<Value = World> {
    let values = proptest::collection::vec("[a-cA-C]{1,3}", 7);
    (world(), values, any::<bool>(), proptest::bool::weighted(0.8)).prop_map(
        |(mut world, values, complete, linked)| {
            let names = [
                "userPrincipalName",
                "mail",
                "givenName",
                "surname",
                "displayName",
                "mobilePhone",
                "objectId",
            ];
            let properties =
                names.iter().map(|name| (*name).to_owned()).zip(values.into_iter().map(Value::Text));
            if let Source::Present(user) = &mut world.source {
                user.properties = properties.collect();
            }
            world.rules.scope = Scope::default();
            world.membership.complete |= complete;
            world.restraints.clear();
            world.revert.clear();
            if linked && let (Target::Found(shown), None) = (&world.target, &world.link) {
                let nothing = plan(Action::Nothing, Reason::InSync);
                world.link = Some(link_to(shown, &nothing, None));
            }
            world
        },
    )
}
