use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::expect_file;

use super::*;
use crate::domain::case::Task;
use crate::domain::conflict::Why;
use crate::domain::plan::Reason;
use crate::domain::queue::{GUARD, WRITTEN_TOO_OFTEN};
use crate::domain::roles::RowCode;
use crate::domain::undo::UndoSkip;

fn codes(place: Place) -> BTreeSet<&'static str> {
    CODES.iter().filter(|(at, ..)| *at == place).map(|(_, code, _)| *code).collect()
}

fn every_reason() -> Vec<Reason> {
    let words = || "w".to_owned();
    let all = vec![
        Reason::InSync,
        Reason::Differs,
        Reason::Joiner,
        Reason::Leaver,
        Reason::Returned,
        Reason::AlreadyInactive,
        Reason::NothingToLeave,
        Reason::CreateIsOff,
        Reason::OnDeleteIsIgnore,
        Reason::ActiveOwnedByCxone,
        Reason::SourceUnknown,
        Reason::ScopeUnknown(words()),
        Reason::OutOfScopeOnce(words()),
        Reason::ProtectedUser,
        Reason::ProtectedAccount(words()),
        Reason::Restrained(words()),
        Reason::PassedOn,
        Reason::Undo,
        Reason::RequiredMissing(Vec::new()),
        Reason::UnfitValue(words()),
        Reason::MappingFailed(words()),
        Reason::AmbiguousMatch(words()),
        Reason::MatchTaken(words()),
        Reason::Unmatchable,
        Reason::ConflictHeld(Vec::new()),
    ];
    for reason in &all {
        // One more arm here is one more line above.
        match reason {
            Reason::InSync
            | Reason::Differs
            | Reason::Joiner
            | Reason::Leaver
            | Reason::Returned
            | Reason::AlreadyInactive
            | Reason::NothingToLeave
            | Reason::CreateIsOff
            | Reason::OnDeleteIsIgnore
            | Reason::ActiveOwnedByCxone
            | Reason::SourceUnknown
            | Reason::ScopeUnknown(_)
            | Reason::OutOfScopeOnce(_)
            | Reason::ProtectedUser
            | Reason::ProtectedAccount(_)
            | Reason::Restrained(_)
            | Reason::PassedOn
            | Reason::Undo
            | Reason::RequiredMissing(_)
            | Reason::UnfitValue(_)
            | Reason::MappingFailed(_)
            | Reason::AmbiguousMatch(_)
            | Reason::MatchTaken(_)
            | Reason::Unmatchable
            | Reason::ConflictHeld(_) => {}
        }
    }
    all
}

#[test]
fn every_code_of_the_program_is_in_the_list_and_no_other() {
    let mut plans: BTreeSet<&str> = every_reason().iter().map(Reason::code).collect();
    plans.insert("look_failed");
    assert_eq!(codes(Place::Plan), plans);
    assert_eq!(codes(Place::Attribute), Why::ALL.map(Why::code).into());
    let mut rows: BTreeSet<&str> = RowCode::ALL.map(RowCode::code).into();
    rows.insert("outside_the_table");
    assert_eq!(codes(Place::Role), rows);
    assert!(codes(Place::Job).contains(GUARD) && codes(Place::Job).contains(WRITTEN_TOO_OFTEN));
    let skips = [UndoSkip::Created, UndoSkip::NeedsEvidence, UndoSkip::Moved, UndoSkip::LeftSince]
        .map(UndoSkip::name);
    assert!(codes(Place::Skipped).is_superset(&skips.into()));
    let tasks = [
        Task::Apply { plan: String::new() },
        Task::Undo { changes: Vec::new(), evidence: None },
        Task::Revert { attributes: BTreeSet::new() },
    ];
    assert!(codes(Place::Remark).is_superset(&tasks.iter().map(Task::name).collect()));
}

#[test]
fn codes_are_written_as_they_are_shown() {
    for why in Why::ALL {
        assert_eq!(serde_json::to_value(why).unwrap(), why.code());
    }
    for row in RowCode::ALL {
        assert_eq!(serde_json::to_value(row).unwrap(), row.code());
    }
    for reason in every_reason() {
        let shown = serde_json::to_value(&reason).unwrap();
        assert_eq!(shown["code"], reason.code(), "{shown}");
        assert!(!reason.sentence().is_empty());
    }
    assert_eq!(meaning(Place::Role, "given"), Some("In the group, and holds the role."));
    assert_eq!(meaning(Place::Role, "in_sync"), None);
}

#[test]
fn the_page_of_reason_codes_is_up_to_date() {
    let mut page = String::from(
        "# Reason codes\n\nWhatever is done, held, parked, kept or skipped has one of these. Made from the code: \
         `UPDATE_EXPECT=1 cargo test --lib the_page_of_reason_codes` writes it anew.\n",
    );
    for place in Place::ALL {
        write!(page, "\n## {}\n\n| code | what it means, and what to do |\n|---|---|\n", place.title())
            .unwrap();
        for (_, code, meaning) in CODES.iter().filter(|(at, ..)| *at == place) {
            writeln!(page, "| `{code}` | {meaning} |").unwrap();
        }
    }
    let listed: BTreeSet<_> = CODES.iter().map(|(place, code, _)| (*place, *code)).collect();
    assert_eq!(listed.len(), CODES.len(), "a code stands twice in one place");
    expect_file!["../../../docs/reason-codes.md"].assert_eq(&page);
}
