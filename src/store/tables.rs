//! The tables of the file, and the keys that order them.
//!
//! Only `u64`, byte strings and fixed-width bytes are used as types, and every value that is more
//! than an id is a versioned record of our own (`record.rs`): no release of redb that changes how
//! it encodes richer types can touch our data.

use jiff::Timestamp;
use redb::{Key, TableDefinition, Value};

use crate::domain::queue::State;
use crate::domain::user::{GroupId, UserId};

pub(super) type Id = [u8; 16];
/// An instant as bytes that sort as the instants do, to the nanosecond.
pub(super) type Instant = [u8; 16];

type Definition<K, V> = TableDefinition<'static, K, V>;

/// Schema, identity and epoch of the file.
pub(super) const META: Definition<&[u8], &[u8]> = TableDefinition::new("meta");
/// Small facts of other modules.
pub(super) const MEMOS: Definition<&[u8], &[u8]> = TableDefinition::new("memos");
/// `user` → `JobRecord`
pub(super) const JOBS: Definition<&Id, &[u8]> = TableDefinition::new("jobs");
/// `state · patient · order · user` → due time. The one index over `JOBS`; see [`job_key`].
pub(super) const JOB_ORDER: Definition<&JobKey, &[u8]> = TableDefinition::new("job_order");
/// Canonical JSON of a `Chore` → `ChoreRecord`
pub(super) const CHORES: Definition<&[u8], &[u8]> = TableDefinition::new("chores");
/// Sequence number → what was accepted or is to be marked. Those above `FOLDED` are still to do.
pub(super) const JOURNAL: Definition<u64, &[u8]> = TableDefinition::new("journal");
/// `user` → `Link`, and its reverse.
pub(super) const LINKS: Definition<&Id, &[u8]> = TableDefinition::new("links");
pub(super) const LINKED_TO: Definition<&[u8], &Id> = TableDefinition::new("linked_to");
/// `group` → `GroupRecord`. A group is here exactly as long as it is relevant.
pub(super) const GROUPS: Definition<&Id, &[u8]> = TableDefinition::new("groups");
/// `group` → the ids of its direct users, sorted, one after the other.
pub(super) const GROUP_USERS: Definition<&Id, &[u8]> = TableDefinition::new("group_users");
pub(super) const SUBSCRIPTIONS: Definition<&[u8], &[u8]> = TableDefinition::new("subscriptions");
/// Resource path → `RoundRecord`
pub(super) const ROUNDS: Definition<&[u8], &[u8]> = TableDefinition::new("rounds");
/// Page number of the full users round in progress → the ids seen on it, one after the other.
pub(super) const SEEN: Definition<u64, &[u8]> = TableDefinition::new("seen");
/// Number → seal and `Entry`: the history, in the order it was written. See `log.rs`.
pub(super) const LOG: Definition<u64, &[u8]> = TableDefinition::new("log");
/// `user · number` and `time · number`, of the intents.
pub(super) const LOG_OF_USER: Definition<&LogKey, &[u8]> = TableDefinition::new("log_of_user");
pub(super) const LOG_AT: Definition<&LogKey, &[u8]> = TableDefinition::new("log_at");
/// `user · number`, of the remarks about one.
pub(super) const REMARKS_OF_USER: Definition<&LogKey, &[u8]> = TableDefinition::new("remarks_of_user");
/// `batch · 0 · number`, of the intents and of the remarks of an order. See [`batch_key`].
pub(super) const LOG_OF_BATCH: Definition<&[u8], &[u8]> = TableDefinition::new("log_of_batch");
pub(super) const REMARKS_OF_BATCH: Definition<&[u8], &[u8]> = TableDefinition::new("remarks_of_batch");
/// An intent → its outcome.
pub(super) const LOG_OUTCOMES: Definition<u64, u64> = TableDefinition::new("log_outcomes");
/// `user` → the intent whose outcome is not known yet.
pub(super) const LOG_OPEN: Definition<&Id, u64> = TableDefinition::new("log_open");
/// `kind · minute of the guard's clock` → how much was done in it.
pub(super) const SPENT: Definition<&[u8; 9], u64> = TableDefinition::new("spent");
/// `user` → `Case`
pub(super) const CASES: Definition<&Id, &[u8]> = TableDefinition::new("cases");
/// `user` → since when the guard holds something of theirs; they have a case too.
pub(super) const HELD: Definition<&Id, &[u8]> = TableDefinition::new("held");
/// `batch · 0 · user`: who has work of the order still to be done. See [`batch_key`].
pub(super) const WORKING_ON: Definition<&[u8], &[u8]> = TableDefinition::new("working_on");
/// Id → `Preapproval`, and `id · user` for those it is for.
pub(super) const PREAPPROVALS: Definition<&Id, &[u8]> = TableDefinition::new("preapprovals");
pub(super) const PREAPPROVED: Definition<&[u8; 32], &[u8]> = TableDefinition::new("preapproved");

/// `user · time` → `SeenState`
pub(super) const STATES: Definition<&StateKey, &[u8]> = TableDefinition::new("states");
/// `time · user · time of the state`: when to see whether a state is still needed.
pub(super) const STATE_ENDS: Definition<&[u8; 48], &[u8]> = TableDefinition::new("state_ends");

/// Time → `Sample`
pub(super) const SAMPLES: Definition<&Instant, &[u8]> = TableDefinition::new("samples");
/// `receiver · time · id` → `Delivery`
pub(super) const OUTBOX: Definition<&[u8], &[u8]> = TableDefinition::new("outbox");
/// `receiver · kind · 0 · subject` → `Quiet`
pub(super) const QUIET: Definition<&[u8], &[u8]> = TableDefinition::new("quiet");

/// What is done with each table of the file, whatever is in it.
pub(super) trait EachTable {
    type Error;

    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: Definition<K, V>,
    ) -> Result<(), Self::Error>;
}

/// Every table there is: what is not named here is neither made nor in a backup.
pub(super) fn each<E: EachTable>(with: &mut E) -> Result<(), E::Error> {
    with.table(META)?;
    with.table(MEMOS)?;
    with.table(JOBS)?;
    with.table(JOB_ORDER)?;
    with.table(CHORES)?;
    with.table(JOURNAL)?;
    with.table(LINKS)?;
    with.table(LINKED_TO)?;
    with.table(GROUPS)?;
    with.table(GROUP_USERS)?;
    with.table(SUBSCRIPTIONS)?;
    with.table(ROUNDS)?;
    with.table(SEEN)?;
    with.table(LOG)?;
    with.table(LOG_OF_USER)?;
    with.table(LOG_AT)?;
    with.table(REMARKS_OF_USER)?;
    with.table(LOG_OF_BATCH)?;
    with.table(REMARKS_OF_BATCH)?;
    with.table(LOG_OUTCOMES)?;
    with.table(LOG_OPEN)?;
    with.table(SPENT)?;
    with.table(CASES)?;
    with.table(HELD)?;
    with.table(WORKING_ON)?;
    with.table(PREAPPROVALS)?;
    with.table(PREAPPROVED)?;
    with.table(STATES)?;
    with.table(STATE_ENDS)?;
    with.table(SAMPLES)?;
    with.table(OUTBOX)?;
    with.table(QUIET)
}

/// Keys of [`META`].
pub(super) mod meta {
    pub const SCHEMA: &[u8] = b"schema";
    pub const IDENTITY: &[u8] = b"identity";
    pub const EPOCH: &[u8] = b"epoch";
    /// Only in a backup: when it was taken, or, of an old copy, when it was put back.
    pub const TAKEN_AT: &[u8] = b"taken_at";
    /// The last journal record that has been folded into marks and chores.
    pub const FOLDED: &[u8] = b"folded";
    pub const READY: &[u8] = b"ready";
    /// When the last notification came that has been folded.
    pub const LAST_NEWS: &[u8] = b"last_news";
    /// The last entry of the history, and the last one that was pruned: number, seal, and a seal of both.
    pub const HEAD: &[u8] = b"history_head";
    pub const ANCHOR: &[u8] = b"history_anchor";
    /// Seconds the guard's clock has run.
    pub const GUARD_CLOCK: &[u8] = b"guard_clock";
}

pub(super) fn instant(at: Timestamp) -> Instant {
    // Flipping the sign bit makes the order of the bytes that of the signed numbers.
    let nanoseconds = at.as_nanosecond() ^ i128::MIN;
    nanoseconds.to_be_bytes()
}

pub(super) fn timestamp(bytes: &[u8]) -> Option<Timestamp> {
    let bytes: Instant = bytes.try_into().ok()?;
    Timestamp::from_nanosecond(i128::from_be_bytes(bytes) ^ i128::MIN).ok()
}

pub(super) type JobKey = [u8; 34];

const fn state_code(state: State) -> u8 {
    match state {
        State::Due => 1,
        State::Waiting => 2,
        State::Running => 3,
        State::Parked => 4,
        State::Held => 5,
    }
}

/// Where a job stands: by state; there the urgent before the patient, then by `order`; the id
/// makes it unique.
pub(super) fn job_key(state: State, patient: bool, order: Timestamp, user: UserId) -> JobKey {
    let mut key = [0; 34];
    key[0] = state_code(state);
    key[1] = u8::from(patient);
    key[2..18].copy_from_slice(&instant(order));
    key[18..].copy_from_slice(user.as_bytes());
    key
}

/// The first and the last key a state may have.
pub(super) fn job_keys(state: State) -> (JobKey, JobKey) {
    let (mut first, mut last) = ([0; 34], [u8::MAX; 34]);
    first[0] = state_code(state);
    last[0] = state_code(state);
    (first, last)
}

pub(super) fn user_of(key: &JobKey) -> UserId {
    UserId::from_bytes(key[18..].try_into().expect("a job key ends in the 16 bytes of an id"))
}

pub(super) type LogKey = [u8; 24];

/// `user · number` or `time · number`.
pub(super) fn log_key(of: &[u8; 16], number: u64) -> LogKey {
    let mut key = [0; 24];
    key[..16].copy_from_slice(of);
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn number_of(key: &LogKey) -> u64 {
    u64::from_be_bytes(key[16..].try_into().expect("a log key ends in the 8 bytes of a number"))
}

/// A key under the id of an order, which ends in `last`.
pub(super) fn batch_key(batch: &str, last: &[u8]) -> Vec<u8> {
    [batch.as_bytes(), &[0], last].concat()
}

/// What a [`batch_key`] ends in.
pub(super) fn last_of<const N: usize>(key: &[u8]) -> [u8; N] {
    *key.last_chunk().expect("a key of an order ends in a number or in a user")
}

pub(super) type StateKey = [u8; 32];

pub(super) fn state_key(user: UserId, at: Timestamp) -> StateKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(user.as_bytes());
    key[16..].copy_from_slice(&instant(at));
    key
}

/// Whose state it is, and since when.
pub(super) fn state_of(key: &StateKey) -> (UserId, Timestamp) {
    let user = key[..16].try_into().expect("a state key begins with the 16 bytes of an id");
    (UserId::from_bytes(user), timestamp(&key[16..]).unwrap_or(Timestamp::MIN))
}

pub(super) fn state_end_key(end: Timestamp, user: UserId, at: Timestamp) -> [u8; 48] {
    let mut key = [0; 48];
    key[..16].copy_from_slice(&instant(end));
    key[16..].copy_from_slice(&state_key(user, at));
    key
}

/// Ids one after the other, as `GROUP_USERS` and `SEEN` hold them.
pub(super) fn packed<'a>(ids: impl IntoIterator<Item = &'a UserId>) -> Vec<u8> {
    ids.into_iter().flat_map(|id| *id.as_bytes()).collect()
}

pub(super) fn unpacked(bytes: &[u8]) -> impl Iterator<Item = UserId> {
    bytes.as_chunks().0.iter().map(|id| UserId::from_bytes(*id))
}

/// Whether sorted packed ids hold `user`.
pub(super) fn packed_holds(bytes: &[u8], user: UserId) -> bool {
    bytes.as_chunks().0.binary_search(user.as_bytes()).is_ok()
}

pub(super) fn group_of(bytes: &Id) -> GroupId {
    GroupId::from_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_instants_sort_as_the_instants() {
        let instants = [
            "-000300-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01T00:00:00Z",
            "2026-01-01T00:00:00.000000001Z",
        ]
        .map(|text| text.parse::<Timestamp>().unwrap());
        assert!(instants.is_sorted_by_key(|at| instant(*at)));
        for at in instants {
            assert_eq!(timestamp(&instant(at)), Some(at));
        }
    }

    #[test]
    fn packed_ids_come_back_and_are_found() {
        let ids: Vec<UserId> = (0..9).map(|n| UserId::from_bytes([n; 16])).collect();
        let bytes = packed(&ids);
        assert_eq!(unpacked(&bytes).collect::<Vec<_>>(), ids);
        assert!(packed_holds(&bytes, ids[4]));
        assert!(!packed_holds(&bytes, UserId::from_bytes([9; 16])));
    }
}
