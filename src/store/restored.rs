//! What a store that was put back from an older copy may not rely on.
//!
//! Time has passed that it knows nothing of. Its links and baselines are only a place to begin looking:
//! everybody is compared. What would let it act without a fresh look is given up: memberships, first
//! signs that somebody is gone, the places in the delta queries, and what operators allowed or ordered,
//! which may have been done since.

use jiff::Timestamp;

use super::error::Fault;
use super::transaction::Writing;
use super::{cases, chores, groups, log, queue, rounds};
use crate::domain::queue::{Chore, Remark};
use crate::domain::subscription::Resource;

/// In the opening transaction, so that nothing is ever claimed before. `taken_at`: when the copy was
/// made, where it says so.
pub(super) fn distrust(tx: &Writing, taken_at: Option<&str>, now: Timestamp) -> Result<(), Fault> {
    // A delta link is good for seven days, and an interrupted round saw people as they were.
    Resource::ALL.into_iter().try_for_each(|resource| rounds::forget(tx, resource))?;
    groups::forget_readings(tx)?;
    queue::forget_signs(tx)?;
    let n_promises = cases::end_promises(tx, now)?;
    chores::schedule(tx, Chore::FullCompare, now, now)?;
    let from = taken_at
        .filter(|at| !at.is_empty())
        .map_or_else(|| "an older copy".to_owned(), |at| format!("a backup of {at}"));
    let words = format!("from {from}; {n_promises} approvals, orders and announcements ended");
    let code = "restored".to_owned();
    log::remark(tx, &Remark { at: now, user: None, code, words, by: None, batch: None })
}
