//! A plan in two parts, when the guard holds one of them, and the names of plans.

use proptest::prelude::*;

use super::properties::sorted;
use super::world::{busy_world, user, world};
use super::*;

fn subset() -> impl Strategy<Value = BTreeSet<Guarded>> {
    proptest::sample::subsequence(Guarded::ALL.to_vec(), 0..=3).prop_map(|kinds| kinds.into_iter().collect())
}

/// The sets of what an operator would be asked about: the attributes and the roles as they end.
fn end(user: Option<TargetUser>) -> Option<Attributes> {
    let mut attributes = user?.attributes;
    attributes.retain(|attribute, value| !same(*attribute, Some(value), None));
    Some(attributes.into_iter().map(|(attribute, value)| (attribute, sorted(value))).collect())
}

proptest! {
    #[test]
    fn what_is_held_and_what_is_not_make_up_the_whole(world in busy_world(), held in subset()) {
        let (plan, table) = (world.decide(), &world.rules.roles);
        let reduced = plan.without(&held, table);
        let rest = plan.rest(reduced.as_ref());
        let spends = |plan: Option<&Plan>, kind| plan.map_or(0, |plan| plan.spend(table).of(kind));
        for kind in Guarded::ALL {
            let (now, later) = (spends(reduced.as_ref(), kind), spends(Some(&rest), kind));
            prop_assert_eq!(now + later, plan.spend(table).of(kind), "{:?} is counted once", kind);
            prop_assert!(now == 0 || !held.contains(&kind), "{:?} is held", kind);
            prop_assert!(later == 0 || held.contains(&kind), "{:?} is not held", kind);
        }
        let both = match &reduced {
            Some(reduced) => world.having_done(reduced).after(&rest),
            None => world.after(&rest),
        };
        prop_assert_eq!(end(both), end(world.after(&plan)));
    }

    #[test]
    fn what_is_held_is_wanted_again_at_the_next_look(world in busy_world(), held in subset()) {
        let (plan, table) = (world.decide(), &world.rules.roles);
        let Some(reduced) = plan.without(&held, table) else { return Ok(()) };
        if matches!(plan.action, Action::Create(_)) && !world.membership.complete {
            // Roles wait until the groups have been read.
            return Ok(());
        }
        let later = world.having_done(&reduced);
        let rest = later.decide();
        prop_assert_eq!(end(later.after(&rest)), end(world.after(&plan)), "{:?}", rest);
        if !rest.changes().is_empty() {
            let id = Some(scim_id());
            prop_assert_eq!(rest.hash(user(), id.as_ref()), plan.rest(Some(&reduced)).hash(user(), id.as_ref()));
        }
    }

    #[test]
    fn a_plan_is_named_by_who_what_and_why(world in world(), other in world()) {
        let (plan, id) = (world.decide(), Some(scim_id()));
        let name = plan.hash(user(), id.as_ref());
        prop_assert_eq!(&name, &world.decide().hash(user(), id.as_ref()));
        prop_assert_ne!(&name, &plan.hash(UserId::from_bytes([8; 16]), id.as_ref()));
        prop_assert_ne!(&name, &plan.hash(user(), None));
        let second = other.decide();
        let told = |plan: &Plan| {
            let changes = plan.changes().into_iter().map(|change| match change.attribute {
                Attribute::Roles => {
                    let (given, taken) = change.roles();
                    let list = |roles| Some(sorted(Value::List(roles)));
                    (Attribute::Roles, list(taken), list(given))
                }
                attribute => (attribute, change.before, change.after),
            });
            let evidence = plan.evidence().map(|evidence| news_of(evidence.code()));
            (plan.operation(), changes.collect::<Vec<_>>(), evidence)
        };
        prop_assert_eq!(told(&plan) == told(&second), name == second.hash(user(), id.as_ref()));
    }

    #[test]
    fn a_changed_value_changes_the_name(world in busy_world(), at in any::<proptest::sample::Index>()) {
        let plan = world.decide();
        let mut other = plan.clone();
        let changed = |change: &mut Change| {
            change.after = match &change.after {
                Some(Value::Flag(flag)) => Some(Value::Flag(!flag)),
                Some(Value::List(items)) => {
                    Some(Value::List(items.iter().cloned().chain(["another".to_owned()]).collect()))
                }
                _ => Some(Value::text("another")),
            };
        };
        match &mut other.action {
            Action::Patch(changes) | Action::Reactivate(changes) => {
                let at = at.index(changes.len());
                changed(&mut changes[at]);
            }
            Action::Deactivate { change, .. } => changed(change),
            _ => return Ok(()),
        }
        prop_assert_ne!(plan.hash(user(), None), other.hash(user(), None));
        prop_assert_ne!(plan.desired_hash(), other.desired_hash());
    }

    #[test]
    fn a_set_is_named_whatever_its_order(
        plans in proptest::collection::btree_map(any::<u8>(), "[a-c]{1,2}", 1..5), rotate in 0usize..5,
    ) {
        let of = |plans: &[(u8, String)]| {
            set_hash(plans.iter().map(|(n, plan)| (UserId::from_bytes([*n; 16]), plan.as_str())))
        };
        let mut plans: Vec<_> = plans.into_iter().collect();
        let name = of(&plans);
        let n = rotate % plans.len();
        plans.rotate_left(n);
        prop_assert_eq!(&of(&plans), &name);
        plans.reverse();
        prop_assert_eq!(&of(&plans), &name);
        plans[0].1.push('x');
        prop_assert_ne!(&of(&plans), &name, "another plan of one user");
        plans.remove(0);
        prop_assert_ne!(&of(&plans), &name, "one user less");
    }
}

#[test]
fn the_kind_of_evidence_is_part_of_the_name_and_its_times_are_not() {
    let change = || Change {
        attribute: Attribute::Active,
        before: Some(Value::Flag(true)),
        after: Some(Value::Flag(false)),
    };
    let name = |evidence| {
        let action = Action::Deactivate { change: change(), evidence };
        plan(action, Reason::Leaver).hash(user(), None)
    };
    let absent = |second| Evidence::absent_twice(at(0), at(second)).unwrap();
    let disabled = Evidence::disabled(&SourceUser { enabled: false, ..ana() }).unwrap();
    assert_ne!(name(disabled), name(absent(600)));
    assert_eq!(name(absent(600)), name(absent(700)));
    let removed = Evidence::removed_in_delta(crate::domain::evidence::RemovedReason::Changed);
    assert_eq!(name(absent(600)), name(removed), "deleted is deleted, however it was seen");
}
