use super::*;
use crate::domain::queue::{Change, Intent, Operation, Reason};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn write(second: i64, before: &str, after: &str, result: WriteResult) -> Write {
    let side = |text: &str| (!text.is_empty()).then(|| Value::text(text));
    let change = Change { attribute: Attribute::DisplayName, before: side(before), after: side(after) };
    let intent = Intent {
        at: at(second),
        user: UserId::from_bytes([1; 16]),
        scim_id: None,
        operation: Operation::Patch,
        changes: vec![change],
        why: Default::default(),
        reason: Reason::Delta,
        evidence: None,
        plan: String::new(),
        desired: String::new(),
        batch: Some(format!("batch {second}")),
        approved_by: None,
        spend: Default::default(),
    };
    Write { number: second as u64, intent, result, shown: Default::default(), lag_ms: 0 }
}

#[test]
fn a_value_is_what_was_written_last_or_what_the_next_write_found() {
    let refused = WriteResult::Refused { error: "no".to_owned() };
    let first = write(10, "A", "B", WriteResult::Applied);
    let lost = write(20, "B", "C", refused);
    let next = write(30, "D", "E", WriteResult::Applied);
    let known = |until_then: &[Write], later: &[Write]| {
        let values = values_at(until_then, later);
        values.first().map(|one| (one["value"].clone(), one["from"].clone()))
    };
    let (written, found) = (json!("written"), json!("found_later"));
    assert_eq!(
        known(&[lost.clone(), first.clone()], std::slice::from_ref(&next)),
        Some((json!("B"), written))
    );
    assert_eq!(known(&[lost], std::slice::from_ref(&next)), Some((json!("D"), found.clone())));
    assert_eq!(known(&[], &[first, next]), Some((json!("A"), found)));
    assert_eq!(known(&[], &[]), None);
}

#[test]
fn an_order_is_open_until_it_is_written_or_skipped() {
    let remark = |second: i64, code: &str, words: &str, batch: i64| Remark {
        at: at(second),
        user: None,
        code: code.to_owned(),
        words: words.to_owned(),
        by: Some("ana".to_owned()),
        batch: Some(format!("batch {batch}")),
    };
    let given = |batch| remark(batch, "undo", "ordered", batch);
    let open = |remarks: &[Remark], writes: &[Write]| open_orders(remarks, writes, at(50)).len();
    assert_eq!(open(&[given(10), given(20)], &[]), 2);
    assert_eq!(open(&[given(10), given(20)], &[write(10, "A", "B", WriteResult::Applied)]), 1);
    assert_eq!(open(&[remark(30, "skipped", "undo: moved", 20), given(20)], &[]), 0);
    assert_eq!(open_orders(&[given(10)], &[], at(100_000)).len(), 0, "it was not begun in time");
}
