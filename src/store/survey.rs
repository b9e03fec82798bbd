//! What a scrape of the metrics asks of the store: one read, of a bounded size.
//!
//! The index of the jobs is counted by its keys; of what is held, only so many values are looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use redb::ReadableTable;

use super::error::Fault;
use super::tables::{HELD, JOB_ORDER, JobKey, job_keys, timestamp};
use super::transaction::Reading;
use super::{cases, guard, journal, queue, rounds, subscriptions};
use crate::domain::guard::{Guarded, Usage};
use crate::domain::queue::{Depth, State};
use crate::domain::subscription::{Resource, Subscription};
use crate::domain::user::UserId;

/// Of what is held, so much is looked at.
const MOST_HELD: usize = 10_000;

/// The facts of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub depth: Depth,
    /// How long the jobs that run have run, added up, and the longest of them.
    pub unfinished: Duration,
    pub longest_running: Duration,
    /// Held jobs by the code of what stopped them; those that were not looked at are `more`.
    pub held: BTreeMap<String, u64>,
    /// Deactivations held for longer than was asked about.
    pub leavers_overdue: u64,
    pub subscriptions: Vec<Subscription>,
    /// When the last complete round of each delta query ended.
    pub rounds: Vec<(Resource, Timestamp)>,
    pub guard: Vec<(Guarded, Usage)>,
    pub last_notification_at: Option<Timestamp>,
}

pub(super) fn survey(tx: &impl Reading, overdue: Duration, now: Timestamp) -> Result<Survey, Fault> {
    let depth = queue::depth(tx, now)?;
    let held = held(tx, depth.held)?;
    let mut completed = Vec::new();
    for resource in Resource::ALL {
        let round = rounds::round(tx, resource)?;
        completed.extend(round.and_then(|round| round.completed_at).map(|at| (resource, at)));
    }
    let clock = guard::clock(tx)?;
    let usages = Guarded::ALL.into_iter().map(|guarded| Ok((guarded, guard::usage(tx, guarded, clock)?)));
    Ok(Survey {
        unfinished: unfinished(tx, now)?,
        longest_running: depth.running_since.map_or(Duration::ZERO, |claimed_at| since(claimed_at, now)),
        depth,
        held,
        leavers_overdue: leavers_overdue(tx, overdue, now)?,
        subscriptions: subscriptions::all(tx)?,
        rounds: completed,
        guard: usages.collect::<Result<_, Fault>>()?,
        last_notification_at: journal::last_news(tx)?,
    })
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(at).try_into().unwrap_or_default()
}

fn held(tx: &impl Reading, n_held: u64) -> Result<BTreeMap<String, u64>, Fault> {
    let mut held = BTreeMap::<String, u64>::new();
    let users = queue::users_in(&tx.read(JOB_ORDER)?, State::Held, MOST_HELD)?;
    let more = n_held.saturating_sub(users.len() as u64);
    for user in users {
        let code = queue::job(tx, user)?.and_then(|job| job.stopped);
        *held.entry(code.unwrap_or_else(|| "unknown".to_owned())).or_default() += 1;
    }
    if more > 0 {
        held.insert("more".to_owned(), more);
    }
    Ok(held)
}

/// A running job stands in the index by the time of its claim.
fn unfinished(tx: &impl Reading, now: Timestamp) -> Result<Duration, Fault> {
    let mut sum = Duration::ZERO;
    let (first, last) = job_keys(State::Running);
    for entry in tx.read(JOB_ORDER)?.range::<&JobKey>(&first..=&last)? {
        let claimed_at = timestamp(&entry?.0.value()[2..18]).unwrap_or(now);
        sum += since(claimed_at, now);
    }
    Ok(sum)
}

fn leavers_overdue(tx: &impl Reading, overdue: Duration, now: Timestamp) -> Result<u64, Fault> {
    let mut n_overdue = 0;
    for entry in tx.read(HELD)?.iter()?.take(MOST_HELD) {
        let user = UserId::from_bytes(*entry?.0.value());
        let Some(item) = cases::case(tx, user)?.and_then(|case| case.held) else { continue };
        if item.spend.of(Guarded::Deactivations) > 0 && since(item.since, now) > overdue {
            n_overdue += 1;
        }
    }
    Ok(n_overdue)
}
