//! What is promised whatever the rules, the sides and the operators say.

use std::time::Duration;

use proptest::prelude::*;

use super::properties::by_hand;
use super::world::{World, busy_world, moment, some_changes, user, world};
use super::*;
use crate::domain::evidence::OUT_OF_SCOPE_TWICE_APART;
use crate::domain::rules::Protected;

fn turns_off(change: &Change) -> bool {
    change.attribute == Attribute::Active && change.after != Some(Value::Flag(true))
}

/// What this restraint is about is in the plan.
fn breaks(restraint: &Restraint, plan: &Plan) -> bool {
    plan.changes().iter().any(|change| {
        let (given, taken) = match change.attribute {
            Attribute::Roles => change.roles(),
            _ => Default::default(),
        };
        match &restraint.forbids {
            Forbidden::Value { attribute, value } => {
                change.attribute == *attribute && same(*attribute, change.after.as_ref(), value.as_ref())
            }
            Forbidden::GiveRole { role } => given.contains(role),
            Forbidden::TakeRole { role } => taken.contains(role),
        }
    })
}

/// Entra still says what the restraint is about; `None`: it cannot be told.
fn still_said(world: &World, restraint: &Restraint) -> Option<bool> {
    let Source::Present(user) = &world.source else { return None };
    let given = |role: &str| {
        let row = world.rules.roles.rows().iter().find(|row| row.role == role);
        row.is_some_and(|row| world.membership.groups.contains(&row.group))
    };
    match &restraint.forbids {
        Forbidden::Value { attribute: Attribute::Active, value } => {
            Some(*value == Some(Value::Flag(user.enabled)))
        }
        Forbidden::Value { attribute, value } => {
            let from = world.rules.attributes.get(attribute)?.from.as_ref()?;
            let word = from.evaluate(&user.properties).ok()?;
            Some(same(*attribute, word.as_ref(), value.as_ref()))
        }
        Forbidden::GiveRole { role } => world.membership.complete.then(|| given(role)),
        Forbidden::TakeRole { role } => world.membership.complete.then(|| !given(role)),
    }
}

proptest! {
    #[test]
    fn no_account_is_turned_off_without_evidence(world in world(), undone in some_changes()) {
        let plan = world.decide();
        prop_assert_eq!(plan.changes().iter().any(turns_off), plan.evidence().is_some(), "{:?}", plan);
        let (undo, _) = super::super::undo(&world.rules, &world.inputs(), &undone, Some("disabled"));
        prop_assert!(!undo.changes().iter().any(turns_off), "{:?}", undo);
    }

    #[test]
    fn being_out_of_scope_is_evidence_only_by_two_complete_looks_far_enough_apart(
        mut world in world(), since in proptest::option::of(moment()),
    ) {
        world.out_of_scope_since = since;
        let plan = world.decide();
        let Some(evidence) = plan.evidence().filter(|evidence| evidence.code() == "out_of_scope") else {
            return Ok(());
        };
        let stored = serde_json::to_value(evidence).unwrap();
        let time = |name: &str| stored[name].as_str().unwrap().parse::<Timestamp>().unwrap();
        let apart = Duration::try_from(time("second").duration_since(time("first"))).unwrap();
        prop_assert!(apart >= OUT_OF_SCOPE_TWICE_APART, "{:?}", apart);
        prop_assert_eq!(Some(time("first")), since);
        if stored["rule"].as_str().unwrap().contains("roups") {
            prop_assert_eq!(Some(time("second")), world.membership.scope_read_at);
        } else {
            prop_assert_eq!(time("second"), world.now);
        }
    }

    #[test]
    fn who_is_protected_is_never_written(mut world in world(), how in 0..3, undone in some_changes()) {
        let protected = &mut world.rules.protected;
        let Target::Found(shown) = &mut world.target else { return Ok(()) };
        match how {
            0 => *protected = Protected { users: [user()].into(), ..Protected::default() },
            1 => {
                shown.attributes.insert(Attribute::UserName, Value::text("Admin@Example.com"));
                protected.user_names.insert("admin@example.com".to_owned());
            }
            _ => {
                shown.attributes.insert(Attribute::Roles, Value::List(vec!["agent".into(), "by hand".into()]));
                protected.roles.insert("by hand".to_owned());
            }
        }
        let plan = world.decide();
        prop_assert_eq!((plan.changes(), plan.operation()), (Vec::new(), None));
        let (undo, _) = super::super::undo(&world.rules, &world.inputs(), &undone, Some("disabled"));
        prop_assert_eq!((undo.changes(), undo.operation()), (Vec::new(), None));
    }

    #[test]
    fn nobody_is_created_whom_the_guard_protects(mut world in world()) {
        world.rules.protected.users.insert(user());
        world.target = Target::Absent;
        prop_assert_eq!(world.decide().operation(), None);
    }

    #[test]
    fn only_roles_of_the_table_are_given_or_taken(world in world()) {
        let plan = world.decide();
        if let (Some(shown), Some(after)) = (world.shown(), world.after(&plan)) {
            prop_assert_eq!(by_hand(shown), by_hand(&after));
        }
    }

    #[test]
    fn what_is_forbidden_is_never_written(world in world()) {
        let plan = world.decide();
        for restraint in &world.restraints {
            prop_assert!(!breaks(restraint, &plan), "{:?} in {:?}", restraint, plan);
            let evidence = plan.evidence().map(Evidence::code);
            let forbids = plan.changes().iter().any(|change| restraint.forbids(change, evidence));
            prop_assert!(!forbids, "{:?} in {:?}", restraint, plan);
        }
    }

    #[test]
    fn whoever_forbids_a_whole_plan_has_nothing_of_it_done(world in busy_world()) {
        let plan = world.decide();
        let restrained = world.forbidding(&plan.changes());
        for change in plan.changes() {
            let forbids = restrained.restraints.iter().any(|it| it.forbids(&change, None));
            prop_assert!(forbids, "{:?}", change);
        }
        let second = restrained.decide();
        prop_assert_eq!(second.operation(), None, "{:?} after {:?}", second, plan);
        prop_assert_eq!(second.lift, vec![], "Entra says what it said");
    }

    #[test]
    fn a_restraint_is_lifted_when_entra_says_something_else_and_only_then(world in world()) {
        let plan = world.decide();
        for restraint in &plan.lift {
            prop_assert!(world.restraints.contains(restraint));
            prop_assert_ne!(still_said(&world, restraint), Some(true), "{:?}", restraint);
        }
        // Where attributes are compared at all, none that has lost its object stays.
        if !plan.verdicts.is_empty() {
            for restraint in world.restraints.iter().filter(|it| !plan.lift.contains(it)) {
                prop_assert_ne!(still_said(&world, restraint), Some(false), "{:?}", restraint);
            }
        }
    }
}
