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
        let mut left = Vec::new();
        match &world.source {
            Source::Present(user) => {
                let scope = world.rules.scope.of(user, &world.membership, world.now);
                let leaves = world.rules.on_delete != OnDelete::Ignore && matches!(scope, InScope::No(_));
                left.extend((!user.enabled).then_some("disabled"));
                left.extend(leaves.then_some(OUT_OF_SCOPE));
            }
            Source::Gone(_) => left.push("absent_twice"),
            Source::Unknown => {}
        }
        let turns_on = |plan: &Plan| plan.changes().iter().any(|it| it.attribute == Attribute::Active);
        for undone in ["disabled", "in_deleted_items", OUT_OF_SCOPE] {
            let (plan, skipped) = undo(&world, &changes, Some(undone));
            let for_another = left.iter().any(|left| news_of(left) != news_of(undone));
            prop_assert!(!(for_another && turns_on(&plan)), "{} {:?}", undone, plan);
            let is_told = skipped.iter().any(|skipped| skipped.code == UndoSkip::LeftSince);
            prop_assert!(for_another || !is_told, "{:?}", skipped);
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
