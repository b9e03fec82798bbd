//! Undo: there and back, and then quiet.

use proptest::prelude::*;

use super::world::{World, busy_world, restraint, some_changes, user};
use super::*;
use crate::domain::queue::{self, Intent, Write, WriteResult};
use crate::domain::undo::{UndoSkip, holding_back, inverse};

/// The plan as the history tells it once it was carried out.
fn written(plan: &Plan) -> Option<Write> {
    let intent = Intent {
        at: at(0),
        user: user(),
        scim_id: Some(scim_id()),
        operation: plan.operation()?,
        changes: plan.changes(),
        why: plan.why(),
        reason: queue::Reason::Delta,
        evidence: plan.evidence().cloned(),
        plan: plan.hash(user(), None),
        desired: plan.desired_hash(),
        batch: None,
        approved_by: None,
        spend: Default::default(),
    };
    Some(Write { number: 1, intent, result: WriteResult::Applied, shown: Attributes::new(), lag_ms: 0 })
}

fn undo(
    world: &World,
    changes: &[Change],
    evidence: Option<&str>,
) -> (Plan, Vec<crate::domain::undo::Skipped>) {
    super::super::undo(&world.rules, &world.inputs(), changes, evidence)
}

proptest! {
    #[test]
    fn nobody_is_turned_on_by_an_undo_who_has_left_for_another_reason(
        world in busy_world(), changes in some_changes(),
    ) {
        let left = match &world.source {
            Source::Present(user) => !user.enabled,
            Source::Gone(_) => true,
            Source::Unknown => false,
        };
        let is_out = match &world.source {
            Source::Present(user) if user.enabled => {
                matches!(world.rules.scope.of(user, &world.membership, world.now), InScope::No(_))
            }
            _ => false,
        };
        let turns_on = |plan: &Plan| plan.changes().iter().any(|it| it.attribute == Attribute::Active);
        let (plan, skipped) = undo(&world, &changes, Some(OUT_OF_SCOPE));
        let (same, _) = undo(&world, &changes, Some(if world.is_gone() { "absent_twice" } else { "disabled" }));
        prop_assert!(!(left && turns_on(&plan)), "{:?}", plan);
        let is_told = skipped.iter().any(|skipped| skipped.code == UndoSkip::LeftSince);
        prop_assert_eq!(is_told, left && turns_on(&same), "{:?}", skipped);
        // Who is out of scope now is not turned on by an undo of something else.
        prop_assert!(!(is_out && turns_on(&same)), "{:?}", same);
        if !is_told && !is_out {
            prop_assert_eq!(plan, same);
        }
    }

    #[test]
    fn an_undone_write_leaves_what_was_there_and_is_not_repeated(mut world in busy_world()) {
        if let Target::Found(shown) = &mut world.target {
            shown.attributes.entry(Attribute::Active).or_insert(Value::Flag(true));
        }
        let plan = world.decide();
        let Some(write) = written(&plan) else { return Ok(()) };
        if matches!(plan.action, Action::Create(_) | Action::Reactivate(_)) {
            return Ok(());
        }
        let back = inverse(&[write]);
        prop_assert_eq!(&back.skipped, &[]);

        let done = world.having_done(&plan);
        let (undo, skipped) = undo(&done, &back.changes, back.evidence.as_deref());
        prop_assert_eq!(skipped, vec![]);
        let mut undone = done.having_done(&undo);
        let (before, after) = (world.shown().unwrap(), undone.shown().unwrap().attributes.clone());
        for attribute in Attribute::ALL {
            let (was, is) = (before.attributes.get(&attribute), after.get(&attribute));
            prop_assert!(same(attribute, was, is), "{}: {:?} and {:?}", attribute, was, is);
        }

        let forbidden = holding_back(&back.changes, &after);
        undone.restraints = forbidden.into_iter().map(restraint).collect();
        let next = undone.decide();
        prop_assert_eq!(next.operation(), None, "{:?} after {:?}", next, undo);
        prop_assert_eq!(&next.lift, &[]);
    }
}
