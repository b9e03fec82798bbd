//! The one list of reason codes: whatever is done, held, parked, kept or skipped has one of these.
//! `docs/reason-codes.md` is made from it.

/// Where a code is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `plan`, `explain`, the queue: why the whole plan is what it is.
    Plan,
    /// Beside each attribute: why it is written, kept or held.
    Attribute,
    /// Beside each row of the role table.
    Role,
    /// Why a job is held or parked, where it is not the plan's own reason.
    Job,
    /// Why we believe that somebody is gone, disabled or out of scope.
    Evidence,
    /// What an `undo` or an `apply` leaves as it is.
    Skipped,
    /// Remarks in the history.
    Remark,
}

impl Place {
    pub const ALL: [Self; 7] =
        [Self::Plan, Self::Attribute, Self::Role, Self::Job, Self::Evidence, Self::Skipped, Self::Remark];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Plan => "Plans: `plan`, `explain`, `queue show`",
            Self::Attribute => "Attributes: `plan`, `explain`, `drift list`, `history`",
            Self::Role => "Rows of the role table: `explain`",
            Self::Job => "Jobs: `queue list`, `held list`",
            Self::Evidence => "Evidence: `plan`, `history`",
            Self::Skipped => "Left as it is: `undo`, `apply`",
            Self::Remark => "Remarks: `history --remarks`, `explain`",
        }
    }
}

/// Every code, where it is met, what it means and what can be done about it.
pub const CODES: &[(Place, &str, &str)] = &[
    (Place::Plan, "in_sync", "Both sides agree."),
    (Place::Plan, "differs", "CXone differs from Entra in what Entra decides: it is changed."),
    (Place::Plan, "joiner", "CXone does not know the user: an account is made."),
    (
        Place::Plan,
        "leaver",
        "The user must not log in any more: the account is turned off. The evidence stands beside it.",
    ),
    (Place::Plan, "returned", "The user is back and the account inactive: it is turned on."),
    (Place::Plan, "already_inactive", "The user left and the account is inactive already."),
    (Place::Plan, "nothing_to_leave", "The user is not ours, and no account is linked."),
    (Place::Plan, "create_is_off", "CXone does not know the user, and `sync.create` is false."),
    (Place::Plan, "on_delete_is_ignore", "The user left, and `sync.on_delete` is `ignore`."),
    (Place::Plan, "active_owned_by_cxone", "The user left, but `attributes.active` is owned by CXone."),
    (
        Place::Plan,
        "source_unknown",
        "Entra shows the user neither as present nor as deleted: looked at again, nothing is decided.",
    ),
    (
        Place::Plan,
        "scope_unknown",
        "Whether the user is in scope cannot be told, mostly because groups have not all been read: looked at again.",
    ),
    (
        Place::Plan,
        "out_of_scope_once",
        "Out of scope by one look. The groups are read anew, and only a second look five minutes later turns the account off.",
    ),
    (Place::Plan, "protected_user", "The user is in `guard.protected_users`: never written."),
    (
        Place::Plan,
        "protected_account",
        "The account's user name or one of its roles is protected: never written.",
    ),
    (
        Place::Plan,
        "restrained",
        "An operator rejected or undid this; `held lift` ends that, and so does another word from Entra.",
    ),
    (
        Place::Plan,
        "passed_on",
        "The user is gone, and the account belongs to whoever was hired again under its name.",
    ),
    (Place::Plan, "undo", "An operator takes writes back."),
    (
        Place::Plan,
        "required_missing",
        "CXone cannot make an account without an attribute that Entra does not fill: fill it, or map it from another.",
    ),
    (Place::Plan, "unfit_value", "A mapped value holds control characters or is too long."),
    (Place::Plan, "mapping_failed", "An expression of the mapping fails on this user."),
    (
        Place::Plan,
        "ambiguous_match",
        "More than one account matches: held, never guessed. Give the account to be taken the user's `externalId`, or correct the others.",
    ),
    (Place::Plan, "match_taken", "The matching account is linked to somebody else: held, never guessed."),
    (
        Place::Plan,
        "unmatchable",
        "CXone refused every filter of `cxone.match`, or the user has no value for any of them.",
    ),
    (
        Place::Plan,
        "conflict_held",
        "Both sides changed an attribute whose owner is `hold`: change one side, or `drift accept` or `drift revert`.",
    ),
    (Place::Plan, "look_failed", "A side could not be read: nothing is decided."),
    (Place::Attribute, "in_sync", "Both sides show the same, case and order aside where the schema says so."),
    (Place::Attribute, "source_empty", "Entra shows nothing, and CXone cannot do without it."),
    (Place::Attribute, "create_only", "Written when the account is made, never afterwards."),
    (Place::Attribute, "owned_by_cxone", "CXone's word holds."),
    (Place::Attribute, "source_changed", "Entra changed, or nothing is known of who did: written."),
    (Place::Attribute, "drift", "Somebody changed it in CXone: Entra's value is written back."),
    (
        Place::Attribute,
        "target_changed",
        "Somebody changed it in CXone, and the owner lets that be. `drift list` shows it.",
    ),
    (Place::Attribute, "conflict", "Both changed since they last agreed: `tie` or an operator decides."),
    (
        Place::Attribute,
        "settled_difference",
        "The sides differ since they were last settled, and neither moved.",
    ),
    (Place::Attribute, "groups_unread", "The groups have not all been read: roles wait."),
    (Place::Attribute, "not_mapped", "No expression, so nothing is written."),
    (
        Place::Attribute,
        "target_normalises",
        "CXone keeps this value in its own way, as two writes have shown.",
    ),
    (Place::Attribute, "restrained", "An operator rejected or undid this value; `held lift` ends that."),
    (Place::Attribute, "reverted", "An operator asked for Entra's value (`drift revert`)."),
    (Place::Role, "given", "In the group, and holds the role."),
    (Place::Role, "to_be_given", "In the group, and does not hold the role yet."),
    (
        Place::Role,
        "to_be_taken",
        "Not in the group, and holds the role: taken if `attributes.roles.owner` is not `cxone`.",
    ),
    (Place::Role, "not_a_member", "Not in the group, and does not hold the role."),
    (
        Place::Role,
        "groups_unread",
        "Not in the group as far as is known, but the groups have not all been read.",
    ),
    (Place::Role, "outside_the_table", "Held, and no row gives it: never touched."),
    (Place::Job, "guard", "The change would break a budget of `[guard]`: `held approve` or `held reject`."),
    (
        Place::Job,
        "written_too_often",
        "The same was written three times within a day and does not stay: somebody or something changes it back.",
    ),
    (
        Place::Job,
        "target_ignores_change",
        "CXone said yes twice and did not keep the attribute: enable it on its account settings page, or do not map it.",
    ),
    (
        Place::Job,
        "attempts_used_up",
        "Tried `sync.max_attempts` times: the last words of the neighbour stand with the job.",
    ),
    (
        Place::Job,
        "rejected_by_cxone",
        "CXone says that the request is wrong (400, 422): its words stand with the job.",
    ),
    (Place::Job, "rejected", "A neighbour says that the request is wrong (400, 422)."),
    (Place::Evidence, "disabled", "`accountEnabled` is false in a complete read of this very user."),
    (Place::Evidence, "in_deleted_items", "Found among the directory's deleted items."),
    (Place::Evidence, "removed_in_delta", "A delta round says `@removed`, and the user is found nowhere."),
    (Place::Evidence, "absent_twice", "Found nowhere by two looks at least ten minutes apart."),
    (
        Place::Evidence,
        "out_of_scope",
        "Out of scope by two complete readings of the groups at least five minutes apart.",
    ),
    (Place::Skipped, "moved", "One side is not any more as it was when the plan or the write was made."),
    (
        Place::Skipped,
        "created",
        "An account that was made is not unmade: CXone has no delete, and no account is turned off without evidence.",
    ),
    (
        Place::Skipped,
        "needs_evidence",
        "Taking it back would turn an account off, which needs evidence that only Entra can give.",
    ),
    (
        Place::Skipped,
        "left_since",
        "The user is disabled, deleted or out of scope by now, and that is not what was to be taken back: the account stays off.",
    ),
    (Place::Skipped, "expired", "The order was not begun within a day."),
    (Place::Skipped, "restored", "The store was restored from a backup, and it may have been done since."),
    (Place::Skipped, "look_failed", "A side could not be read when the plan was to be applied."),
    (Place::Remark, "held", "The guard began to hold a change."),
    (Place::Remark, "approved", "An operator approved exactly this set of held changes."),
    (
        Place::Remark,
        "rejected",
        "An operator rejected a held change: it is not made until it is lifted or Entra says something else.",
    ),
    (Place::Remark, "lifted", "An operator ended what forbade something."),
    (Place::Remark, "preapproved", "An operator announced a change of the members of a group."),
    (Place::Remark, "drift_accepted", "An operator took what CXone shows as the new baseline."),
    (Place::Remark, "apply", "An operator ordered exactly this plan."),
    (Place::Remark, "undo", "An operator ordered writes to be taken back."),
    (Place::Remark, "revert", "An operator ordered Entra's value over what CXone shows."),
    (
        Place::Remark,
        "restored",
        "The store was restored from a backup: everybody is compared, and what was approved, ordered or announced in it is at an end.",
    ),
    (Place::Remark, "skipped", "An order was not carried out, or not wholly: the words say what and why."),
];

/// What a code means, where it is met.
pub fn meaning(place: Place, code: &str) -> Option<&'static str> {
    CODES.iter().find(|(at, known, _)| *at == place && *known == code).map(|(_, _, meaning)| *meaning)
}

#[cfg(test)]
mod tests;
