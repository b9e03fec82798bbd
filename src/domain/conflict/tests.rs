use expect_test::expect_file;

use super::*;

const DOCS: &str = include_str!("../../../docs/conflicts.md");
const OWNERS: [Owner; 4] = [Owner::Entra, Owner::Cxone, Owner::Newest, Owner::Hold];
const SIDES: [Side; 2] = [Side::Entra, Side::Cxone];

/// Who has changed since the sides were last settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Nobody,
    Entra,
    Cxone,
    Both,
    /// There is no baseline to tell by.
    Unknown,
}

const MOVES: [Moved; 5] = [Moved::Entra, Moved::Cxone, Moved::Both, Moved::Nobody, Moved::Unknown];

/// Values of the two sides that differ, in every way they can: one may be absent.
const DIFFERING: [(Option<&str>, Option<&str>); 3] =
    [(Some("ours"), Some("theirs")), (None, Some("theirs")), (Some("ours"), None)];

fn value(text: Option<&str>) -> Option<Value> {
    text.map(Value::text)
}

/// The baselines after which `desired` and `shown` have moved so.
fn baselines(moved: Moved, desired: Option<&str>, shown: Option<&str>) -> Vec<Option<Baseline>> {
    let baseline =
        |source: Option<&str>, target| Some(Baseline { source: value(source), target: value(target) });
    // Something else; nothing is something else too, where there is something now.
    let (other, nothing) = (Some("earlier"), None);
    match moved {
        Moved::Unknown => vec![None],
        Moved::Nobody => vec![baseline(desired, shown)],
        Moved::Entra if desired.is_some() => vec![baseline(other, shown), baseline(nothing, shown)],
        Moved::Entra => vec![baseline(other, shown)],
        Moved::Cxone if shown.is_some() => vec![baseline(desired, other), baseline(desired, nothing)],
        Moved::Cxone => vec![baseline(desired, other)],
        Moved::Both => vec![baseline(other, other)],
    }
}

/// What is decided, whatever the values: the same for all of them.
#[track_caller]
fn decided(owner: Owner, tie: Side, create_only: bool, moved: Moved) -> (Decision, Why) {
    let rule = Rule { from: None, owner, tie, create_only };
    let mut all = Vec::new();
    for (desired, shown) in DIFFERING {
        for baseline in baselines(moved, desired, shown) {
            let (desired, shown) = (value(desired), value(shown));
            all.push(resolve(
                Attribute::DisplayName,
                &rule,
                desired.as_ref(),
                shown.as_ref(),
                baseline.as_ref(),
            ));
        }
    }
    all.dedup();
    assert_eq!(all.len(), 1, "{owner:?} {tie:?} {moved:?}");
    all[0]
}

fn owner_name(owner: Owner) -> &'static str {
    match owner {
        Owner::Entra => "entra",
        Owner::Cxone => "cxone",
        Owner::Newest => "newest",
        Owner::Hold => "hold",
    }
}

fn tie_name(tie: Side) -> &'static str {
    match tie {
        Side::Entra => "entra",
        Side::Cxone => "cxone",
    }
}

/// The row of the table: who changed, and what is known of before.
fn moved_words(moved: Moved) -> &'static str {
    match moved {
        Moved::Nobody => "neither | known",
        Moved::Entra => "Entra | known",
        Moved::Cxone => "CXone | known",
        Moved::Both => "both | known",
        Moved::Unknown => "cannot be told | none",
    }
}

fn because(owner: Owner, (decision, why): (Decision, Why)) -> &'static str {
    match (owner, decision, why) {
        (Owner::Cxone, ..) => "CXone's word holds once the user is there",
        (Owner::Entra, _, Why::Drift) => "somebody changed CXone: what Entra owns is written back",
        (Owner::Entra, ..) => "what Entra owns is written wherever CXone differs",
        (_, _, Why::SourceChanged) => "only Entra moved",
        (_, _, Why::TargetChanged) => "only CXone moved",
        (_, _, Why::SettledDifference) => "a difference that was settled stays until one side moves",
        (_, Decision::Hold, _) => "an operator says which is right",
        (_, Decision::Write, _) => "`tie` says Entra",
        (_, Decision::Keep, _) => "`tie` says CXone",
    }
}

fn cells(decision: Decision, why: Why) -> String {
    let decision = match decision {
        Decision::Keep => "keep",
        Decision::Write => "**write**",
        Decision::Hold => "**hold**",
    };
    format!("{decision} | `{}`", why.code())
}

/// Every combination there is. One where `tie` makes no difference is one row.
fn table() -> String {
    let mut table =
        "| owner | who changed | baseline | tie | decision | reason | because |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for owner in OWNERS {
        for moved in MOVES {
            let by_tie = SIDES.map(|tie| (tie_name(tie), decided(owner, tie, false, moved)));
            let rows = match by_tie {
                [(_, one), (_, other)] if one == other => vec![("any", one)],
                both => both.to_vec(),
            };
            for (tie, found @ (decision, why)) in rows {
                let (owned, moved) = (owner_name(owner), moved_words(moved));
                let (cells, because) = (cells(decision, why), because(owner, found));
                table += &format!("| {owned} | {moved} | {tie} | {cells} | {because} |\n");
            }
        }
    }
    table
}

/// The table of `docs/conflicts.md` is what is decided. `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_documented_table_is_what_is_decided() {
    let (begin, end) = ("<!-- table: begin -->\n", "<!-- table: end -->");
    let (before, rest) = DOCS.split_once(begin).expect("the page has a table");
    let (_, after) = rest.split_once(end).expect("the table has an end");
    let page = format!("{before}{begin}\n{}\n{end}{after}", table());
    expect_file!["../../../docs/conflicts.md"].assert_eq(&page);
}

#[test]
fn sides_that_agree_are_left_alone_whoever_owns_them() {
    let texts = [Some("a"), None];
    for owner in OWNERS {
        for tie in SIDES {
            for create_only in [false, true] {
                let rule = Rule { from: None, owner, tie, create_only };
                for (agreed, moved) in texts.into_iter().flat_map(|text| MOVES.map(|moved| (text, moved))) {
                    for baseline in baselines(moved, agreed, agreed) {
                        let both = value(agreed);
                        let got = resolve(
                            Attribute::DisplayName,
                            &rule,
                            both.as_ref(),
                            both.as_ref(),
                            baseline.as_ref(),
                        );
                        assert_eq!(got, (Decision::Keep, Why::InSync), "{owner:?} {moved:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn create_only_is_never_changed_later_whoever_owns_it() {
    for owner in OWNERS {
        for tie in SIDES {
            for moved in MOVES {
                assert_eq!(decided(owner, tie, true, moved), (Decision::Keep, Why::CreateOnly));
            }
        }
    }
}

/// The table by itself, so that a change of it is not just accepted.
#[test]
fn each_owner_wins_as_the_table_says() {
    use Decision::{Hold, Keep, Write};
    let check = |owner, moved, entra_by_tie, cxone_by_tie| {
        assert_eq!(decided(owner, Side::Entra, false, moved), entra_by_tie, "{owner:?} {moved:?}");
        assert_eq!(decided(owner, Side::Cxone, false, moved), cxone_by_tie, "{owner:?} {moved:?}");
    };
    let same_for_both = |owner, moved, expected| check(owner, moved, expected, expected);
    for moved in MOVES {
        let drifted = moved == Moved::Cxone;
        let why = if drifted { Why::Drift } else { Why::SourceChanged };
        same_for_both(Owner::Entra, moved, (Write, why));
        same_for_both(Owner::Cxone, moved, (Keep, Why::OwnedByCxone));
    }
    for owner in [Owner::Newest, Owner::Hold] {
        same_for_both(owner, Moved::Entra, (Write, Why::SourceChanged));
        same_for_both(owner, Moved::Cxone, (Keep, Why::TargetChanged));
        same_for_both(owner, Moved::Nobody, (Keep, Why::SettledDifference));
    }
    for moved in [Moved::Both, Moved::Unknown] {
        check(Owner::Newest, moved, (Write, Why::Conflict), (Keep, Why::Conflict));
        same_for_both(Owner::Hold, moved, (Hold, Why::Conflict));
    }
}

#[test]
fn what_the_target_normalises_has_not_moved() {
    let rule = Rule { from: None, owner: Owner::Newest, tie: Side::Entra, create_only: false };
    let mail = |text: &str| Some(Value::text(text));
    let baseline = Baseline { source: mail("Ana@Example.com"), target: mail("Other@Example.com") };
    let (desired, shown) = (mail("ana@example.com"), mail("other@example.com"));
    let got = resolve(Attribute::Emails, &rule, desired.as_ref(), shown.as_ref(), Some(&baseline));
    assert_eq!(got, (Decision::Keep, Why::SettledDifference));
}

#[test]
fn every_reason_has_a_code_of_its_own_and_is_documented() {
    let mut codes = std::collections::BTreeSet::new();
    for why in Why::ALL {
        assert!(codes.insert(why.code()), "{} twice", why.code());
        assert_eq!(serde_json::to_value(why).unwrap(), why.code());
        assert!(DOCS.contains(&format!("| `{}` |", why.code())), "docs/conflicts.md explains {}", why.code());
    }
    assert_eq!(codes.len(), Why::ALL.len());
}
