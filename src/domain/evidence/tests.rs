use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn user(n: u8) -> UserId {
    UserId::from_bytes([n; 16])
}

fn group(n: u8) -> GroupId {
    GroupId::from_bytes([n; 16])
}

fn in_groups(groups: &[u8], scope_read_at: Option<i64>) -> Membership {
    let groups = groups.iter().map(|n| group(*n)).collect();
    Membership { groups, scope_read_at: scope_read_at.map(at), ..Membership::default() }
}

fn source(enabled: bool) -> SourceUser {
    SourceUser { id: user(1), enabled, properties: Default::default() }
}

#[test]
fn only_a_disabled_account_is_evidence_of_one() {
    assert_eq!(Evidence::disabled(&source(true)), None);
    assert_eq!(Evidence::disabled(&source(false)).unwrap().code(), "disabled");
}

#[test]
fn a_deleted_item_speaks_for_nobody_else() {
    let found = DeletedItem { id: user(1) };
    assert_eq!(Evidence::in_deleted_items(user(1), &found).unwrap().code(), "in_deleted_items");
    assert_eq!(Evidence::in_deleted_items(user(2), &found), None);
}

#[test]
fn two_looks_count_only_when_they_are_far_enough_apart() {
    assert_eq!(Evidence::absent_twice(at(0), at(599)), None);
    assert_eq!(Evidence::absent_twice(at(600), at(0)), None, "the wrong way round");
    assert_eq!(Evidence::absent_twice(at(0), at(600)).unwrap().code(), "absent_twice");

    let seen = |second| OutOfScope::in_no_scope_group(&in_groups(&[], Some(second)), &[group(1)]).unwrap();
    assert_eq!(seen(300).confirmed(None), Err(seen(300)));
    assert_eq!(seen(299).confirmed(Some(at(0))), Err(seen(299)));
    assert_eq!(seen(0).confirmed(Some(at(300))), Err(seen(0)), "the wrong way round");
    let evidence = seen(300).confirmed(Some(at(0))).unwrap();
    assert_eq!(evidence.code(), "out_of_scope");
    let sentence = evidence.sentence();
    assert!(sentence.contains(&at(0).to_string()) && sentence.contains(&at(300).to_string()), "{sentence}");
}

#[test]
fn only_a_complete_read_of_the_groups_shows_that_somebody_is_outside() {
    let outside = |groups: &[u8], read_at| {
        OutOfScope::in_no_scope_group(&in_groups(groups, read_at), &[group(1), group(2)])
    };
    assert_eq!(outside(&[], None), None, "not all have been read");
    assert_eq!(outside(&[2], Some(0)), None);
    let seen = outside(&[3], Some(7)).unwrap();
    assert_eq!((seen.rule(), seen.seen_at()), ("in none of scope.groups", at(7)));

    let excluded = |groups: &[u8], read_at| {
        OutOfScope::in_excluded_group(&in_groups(groups, read_at), &[group(1), group(2)])
    };
    assert_eq!(excluded(&[2], None), None);
    assert_eq!(excluded(&[3], Some(0)), None);
    let seen = excluded(&[3, 2], Some(8)).unwrap();
    assert_eq!(seen.rule(), format!("in scope.exclude_groups: {}", group(2)));
    assert_eq!(seen.seen_at(), at(8));

    let seen = OutOfScope::rule_says_no(&source(true), "[a] = 1", at(9));
    assert_eq!((seen.rule(), seen.seen_at()), ("scope.rules: [a] = 1", at(9)));
}

#[test]
fn only_who_is_gone_for_good_never_comes_back_under_the_id() {
    let permanent = [
        (Evidence::removed_in_delta(RemovedReason::Deleted), true),
        (Evidence::removed_in_delta(RemovedReason::Changed), false),
        (Evidence::absent_twice(at(0), at(600)).unwrap(), true),
        (Evidence::disabled(&source(false)).unwrap(), false),
    ];
    for (evidence, expected) in permanent {
        assert_eq!(evidence.is_permanent(), expected, "{evidence:?}");
    }
}

#[test]
fn every_kind_has_a_sentence_and_comes_back_from_the_store() {
    let scope = OutOfScope::rule_says_no(&source(true), "[a]", at(300)).confirmed(Some(at(0))).unwrap();
    let all = [
        (Evidence::disabled(&source(false)).unwrap(), "disabled in Entra"),
        (Evidence::in_deleted_items(user(1), &DeletedItem { id: user(1) }).unwrap(), "deleted items"),
        (Evidence::removed_in_delta(RemovedReason::Changed), "soft-deleted"),
        (Evidence::removed_in_delta(RemovedReason::Deleted), "permanently"),
        (Evidence::absent_twice(at(0), at(600)).unwrap(), "found nowhere"),
        (scope, "scope.rules: [a]; seen at"),
    ];
    let mut codes = std::collections::BTreeSet::new();
    for (evidence, words) in all {
        assert!(evidence.sentence().contains(words), "{}", evidence.sentence());
        let stored = serde_json::to_string(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&stored).unwrap(), evidence);
        codes.insert(evidence.code());
    }
    assert_eq!(codes.len(), 5);
    let old: Evidence =
        serde_json::from_str(r#"{"kind":"outOfScope","rule":"in none of scope.groups"}"#).unwrap();
    assert_eq!(old.sentence(), "out of scope: in none of scope.groups");
}

#[test]
fn deleted_is_deleted_however_it_was_seen_and_nothing_else() {
    for code in ["in_deleted_items", "removed_in_delta", "absent_twice"] {
        assert_eq!(news_of(code), "gone");
    }
    for code in ["disabled", OUT_OF_SCOPE] {
        assert_eq!(news_of(code), code);
    }
}
