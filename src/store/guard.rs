//! The guard's ledger: what has been done, minute by minute of its own clock, and the check that comes
//! before a write. Check, charge and intent are one transaction, so no order of the writes and no
//! crash between them can break a budget.

use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::cases;
use super::error::Fault;
use super::log::{self, Charge};
use super::tables::{SPENT, meta};
use super::transaction::{Reading, Writing};
use super::{links, meta as facts};
use crate::domain::guard::{Budgets, DAY, Guarded, HOUR, Spend, Usage, over};
use crate::domain::queue::{Intent, WriteResult, Wrote};
use crate::domain::user::UserId;

/// So often may the same be written to one user within a day; more would only fight whoever changes
/// it back.
const SAME_WRITES_A_DAY: u64 = 3;

/// The answer to a write that is about to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The intent is on disk under this number: send.
    Go(u64),
    /// These would break a budget, each with which; nothing was written.
    Over(Vec<(Guarded, String)>),
    /// The same was written to this user three times within a day.
    TooOften,
    /// An operator has forbidden some of it, or ended the order it belongs to, since the user was looked at.
    Overruled,
}

const fn code(guarded: Guarded) -> u8 {
    match guarded {
        Guarded::Deactivations => 1,
        Guarded::RoleRemovals => 2,
        Guarded::PrivilegedGrants => 3,
    }
}

fn key(guarded: Guarded, minute: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = code(guarded);
    key[1..].copy_from_slice(&minute.to_be_bytes());
    key
}

fn minute(clock: Duration) -> u64 {
    clock.as_secs() / 60
}

/// What was done since. A minute counts whole: an entry leaves the window up to a minute late, never
/// early.
fn spent(tx: &impl Reading, guarded: Guarded, clock: Duration, window: Duration) -> Result<u64, Fault> {
    let from = minute(clock.saturating_sub(window));
    let mut n = 0_u64;
    for entry in tx.read(SPENT)?.range::<&[u8; 9]>(&key(guarded, from)..=&key(guarded, u64::MAX))? {
        n = n.saturating_add(entry?.1.value());
    }
    Ok(n)
}

pub(super) fn usage(tx: &impl Reading, guarded: Guarded, clock: Duration) -> Result<Usage, Fault> {
    Ok(Usage {
        last_hour: spent(tx, guarded, clock, HOUR)?,
        last_day: spent(tx, guarded, clock, DAY)?,
        linked_users: links::count(tx)?,
    })
}

/// Asks for a write and, if it may go out, writes its intent down and charges the budgets.
pub(super) fn begin(
    tx: &Writing,
    mut intent: Intent,
    budgets: &Budgets,
    clock: Duration,
) -> Result<Begun, Fault> {
    let clock = run_clock(tx, clock)?;
    let case = cases::case(tx, intent.user)?.unwrap_or_default();
    if case.overrules(&intent) {
        return Ok(Begun::Overruled);
    }
    let day_ago = intent.at.checked_sub(DAY).unwrap_or(Timestamp::MIN);
    if log::same_desire(tx, &intent, day_ago)? >= SAME_WRITES_A_DAY {
        return Ok(Begun::TooOften);
    }
    if intent.spend.is_empty() {
        return log::intend(tx, &intent, Charge::default()).map(Begun::Go);
    }
    if let Some(approval) = case.approval.filter(|given| given.covers(&intent.plan, intent.at)) {
        intent.approved_by = Some(approval.by);
        return log::intend(tx, &intent, Charge::default()).map(Begun::Go);
    }
    if let Some((id, by)) = cases::use_preapproval(tx, &intent)? {
        intent.approved_by = Some(by);
        return log::intend(tx, &intent, Charge { preapproval: Some(id), ..Charge::default() })
            .map(Begun::Go);
    }
    // Written once more because it is not known whether it was done, it is still one account: it takes
    // its charge along.
    let carried = log::uncertain(tx, &intent)?;
    if let Some(earlier) = carried {
        charge_all(tx, &intent.spend, earlier, u64::saturating_sub)?;
    }
    let mut stopped = Vec::new();
    for (guarded, n) in intent.spend.iter() {
        // Held once, held until an operator lets it go: room that frees by the hour is no approval.
        let earlier = case.held.as_ref().filter(|held| held.spend.of(guarded) > 0);
        let words = match earlier {
            Some(held) => Some(held.words.clone()),
            None => over(guarded, budgets.of(guarded), &usage(tx, guarded, clock)?, n),
        };
        stopped.extend(words.map(|words| (guarded, words)));
    }
    if !stopped.is_empty() {
        if let Some(earlier) = carried {
            charge_all(tx, &intent.spend, earlier, u64::saturating_add)?;
        }
        return Ok(Begun::Over(stopped));
    }
    let minute = minute(clock);
    charge_all(tx, &intent.spend, minute, u64::saturating_add)?;
    forget_old(tx, clock)?;
    let charge = Charge { charged: Some(minute), carried: carried.is_some(), preapproval: None };
    log::intend(tx, &intent, charge).map(Begun::Go)
}

fn charge_all(
    tx: &Writing,
    spend: &Spend,
    minute: u64,
    change: impl Fn(u64, u64) -> u64,
) -> Result<(), Fault> {
    spend.iter().try_for_each(|(guarded, n)| charge(tx, guarded, minute, |spent| change(spent, n)))
}

fn charge(tx: &Writing, guarded: Guarded, minute: u64, change: impl FnOnce(u64) -> u64) -> Result<(), Fault> {
    let mut spent = tx.write(SPENT)?;
    let before = spent.get(&key(guarded, minute))?.map_or(0, |n| n.value());
    spent.insert(&key(guarded, minute), change(before))?;
    Ok(())
}

/// Writes down how a write ended. What surely was not done is given back, but for what was carried from a
/// write that may have been.
pub(super) fn end(tx: &Writing, user: UserId, wrote: &Wrote) -> Result<(), Fault> {
    let Some((intent, charge)) = log::conclude(tx, user, wrote)? else { return Ok(()) };
    if !matches!(wrote.result, WriteResult::Refused { .. }) {
        return Ok(());
    }
    if let Some(id) = charge.preapproval {
        cases::give_preapproval_back(tx, id, intent.spend.total())?;
    }
    match charge.charged.filter(|_| !charge.carried) {
        Some(minute) => charge_all(tx, &intent.spend, minute, u64::saturating_sub),
        None => Ok(()),
    }
}

fn forget_old(tx: &Writing, clock: Duration) -> Result<(), Fault> {
    let Some(before) = minute(clock).checked_sub(minute(DAY) + 1) else { return Ok(()) };
    let mut spent = tx.write(SPENT)?;
    for guarded in Guarded::ALL {
        spent.retain_in::<&[u8; 9], _>(&key(guarded, 0)..&key(guarded, before), |_, _| false)?;
    }
    Ok(())
}

/// How long the guard's clock has run by now. It never goes back.
pub(super) fn clock(tx: &impl Reading) -> Result<Duration, Fault> {
    facts::number(tx, meta::GUARD_CLOCK).map(Duration::from_secs)
}

pub(super) fn run_clock(tx: &Writing, to: Duration) -> Result<Duration, Fault> {
    let before = clock(tx)?;
    if to.as_secs() > before.as_secs() {
        facts::set_number(tx, meta::GUARD_CLOCK, to.as_secs())?;
    }
    Ok(before.max(to))
}

/// For a store that did not count yet: all of it just now, so that an update makes no room.
pub(super) fn adopt(tx: &Writing, guarded: Guarded, n: u64) -> Result<(), Fault> {
    charge(tx, guarded, 0, |spent| spent.saturating_add(n))
}
