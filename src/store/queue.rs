//! The table of jobs and its one index: a job and its place are only ever written together.

use std::time::Duration;

use jiff::Timestamp;
use redb::{ReadableTable, Table};

use super::Settled;
use super::cases;
use super::error::Fault;
use super::jobs;
use super::record::{JobRecord, decode, encode};
use super::tables::{Id, JOB_ORDER, JOBS, JobKey, instant, job_key, job_keys, timestamp, user_of};
use super::transaction::{Reading, Writing};
use crate::domain::queue::{Depth, Job, Mark, Outcome, State};
use crate::domain::user::UserId;

/// Waiting jobs made due in one transaction at most, beyond what is claimed.
const PROMOTED_AT_ONCE: usize = 1000;

/// The place of a job in the index, and what the index keeps with it.
fn place(job: &Job) -> (JobKey, Vec<u8>) {
    let due_at = || instant(job.due_at).to_vec();
    match job.state {
        State::Due => (job_key(State::Due, !job.urgent, job.first_news_at, job.user), due_at()),
        State::Waiting => (job_key(State::Waiting, false, job.due_at, job.user), Vec::new()),
        State::Running | State::Parked | State::Held => {
            (job_key(job.state, false, job.changed_at, job.user), Vec::new())
        }
    }
}

/// Both tables, open to be written.
pub(super) struct Queue<'t> {
    jobs: Table<'t, &'static Id, &'static [u8]>,
    order: Table<'t, &'static JobKey, &'static [u8]>,
    tx: &'t Writing,
}

impl<'t> Queue<'t> {
    pub fn open(tx: &'t Writing) -> Result<Self, Fault> {
        Ok(Self { jobs: tx.write(JOBS)?, order: tx.write(JOB_ORDER)?, tx })
    }

    pub fn get(&self, user: UserId) -> Result<Option<JobRecord>, Fault> {
        self.jobs.get(user.as_bytes())?.map(|value| decode(value.value())).transpose()
    }

    /// Puts `after` in the place of `before`, which must be what is stored; `None` is no job.
    pub fn replace(&mut self, before: Option<&Job>, after: Option<&JobRecord>) -> Result<(), Fault> {
        if let Some(JobRecord { job, .. }) = after {
            self.tx.count(jobs::is_added(before, job), jobs::is_retried(before, job));
        }
        let old = before.map(place);
        let new = after.map(|record| place(&record.job));
        if old != new {
            if let Some((key, _)) = &old {
                self.order.remove(key)?;
            }
            if let Some((key, value)) = &new {
                self.order.insert(key, value.as_slice())?;
            }
        }
        match (before, after) {
            (_, Some(record)) => {
                self.jobs.insert(record.job.user.as_bytes(), encode(record).as_slice())?;
            }
            (Some(job), None) => {
                self.jobs.remove(job.user.as_bytes())?;
            }
            (None, None) => {}
        }
        Ok(())
    }

    pub fn mark(&mut self, mark: &Mark, now: Timestamp) -> Result<(), Fault> {
        self.mark_traced(mark, None, now)
    }

    /// As [`Queue::mark`]; `trace` is the one in which the news came.
    pub fn mark_traced(&mut self, mark: &Mark, trace: Option<&str>, now: Timestamp) -> Result<(), Fault> {
        let before = self.get(mark.user)?;
        let old = before.as_ref().map(|record| record.job.clone());
        self.replace(old.as_ref(), Some(&jobs::marked(before, mark, trace, now)))
    }

    /// Makes due what has waited long enough.
    fn promote(&mut self, limit: usize, now: Timestamp) -> Result<(), Fault> {
        let (first, last) = job_keys(State::Waiting);
        let mut users = Vec::new();
        for entry in self.order.range::<&JobKey>(&first..=&last)?.take(limit) {
            let (key, _) = entry?;
            if timestamp(&key.value()[2..18]).is_some_and(|due_at| due_at > now) {
                break;
            }
            users.push(user_of(key.value()));
        }
        for user in users {
            let before = self.get(user)?.expect("every place in the order has a job");
            let mut after = before.clone();
            after.job.state = State::Due;
            self.replace(Some(&before.job), Some(&after))?;
        }
        Ok(())
    }

    fn claim(&mut self, limit: usize, now: Timestamp) -> Result<Vec<JobRecord>, Fault> {
        self.promote(PROMOTED_AT_ONCE.max(limit), now)?;
        let users = users_in(&self.order, State::Due, limit)?;
        let mut claimed = Vec::with_capacity(users.len());
        for user in users {
            let before = self.get(user)?.expect("every place in the order has a job");
            let after = jobs::claimed(before.clone(), now);
            self.replace(Some(&before.job), Some(&after))?;
            claimed.push(after);
        }
        Ok(claimed)
    }
}

/// What earlier looks and rounds took for a first sign that somebody is gone counts no more.
pub(super) fn forget_signs(tx: &Writing) -> Result<(), Fault> {
    let mut changed = Vec::new();
    for entry in tx.read(JOBS)?.iter()? {
        let before: JobRecord = decode(entry?.1.value())?;
        let mut after = before.clone();
        (after.job.removed, after.job.absent_since, after.job.out_of_scope) = (None, None, None);
        if let Some(since_claim) = &mut after.since_claim {
            since_claim.removed = None;
        }
        if after != before {
            changed.push((before, after));
        }
    }
    let mut queue = Queue::open(tx)?;
    changed.iter().try_for_each(|(before, after)| queue.replace(Some(&before.job), Some(after)))
}

pub(super) fn users_in(
    order: &impl ReadableTable<&'static JobKey, &'static [u8]>,
    state: State,
    limit: usize,
) -> Result<Vec<UserId>, Fault> {
    let (first, last) = job_keys(state);
    let entries = order.range::<&JobKey>(&first..=&last)?.take(limit);
    entries.map(|entry| Ok(user_of(entry?.0.value()))).collect()
}

/// Takes up to `limit` jobs, the urgent first, then by the age of their news.
pub(super) fn claim(tx: &Writing, limit: usize, now: Timestamp) -> Result<Vec<JobRecord>, Fault> {
    // Looking first keeps an idle worker from committing nothing at all, once per look.
    if limit == 0 || next_due(tx, now)?.is_none_or(|due_at| due_at > now) {
        return Ok(Vec::new());
    }
    Queue::open(tx)?.claim(limit, now)
}

/// When the first job is or becomes due.
pub(super) fn next_due(tx: &impl Reading, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let order = tx.read(JOB_ORDER)?;
    if !users_in(&order, State::Due, 1)?.is_empty() {
        return Ok(Some(now));
    }
    let (first, last) = job_keys(State::Waiting);
    let waiting = order.range::<&JobKey>(&first..=&last)?.next().transpose()?;
    Ok(waiting.and_then(|(key, _)| timestamp(&key.value()[2..18])).map(|due_at| due_at.max(now)))
}

pub(super) fn job(tx: &impl Reading, user: UserId) -> Result<Option<Job>, Fault> {
    let record = tx.read(JOBS)?.get(user.as_bytes())?.map(|value| decode::<JobRecord>(value.value()));
    Ok(record.transpose()?.map(|record| record.job))
}

/// A page of jobs in the order of their users.
pub(super) fn jobs(
    tx: &impl Reading,
    state: Option<State>,
    limit: usize,
    after: Option<UserId>,
) -> Result<Vec<Job>, Fault> {
    let users = match state {
        Some(state) => {
            // By state the index is ordered by time; its keys alone are small enough to sort.
            let mut users = users_in(&tx.read(JOB_ORDER)?, state, usize::MAX)?;
            users.retain(|user| Some(*user) > after);
            users.sort_unstable();
            users.truncate(limit);
            users
        }
        None => {
            let from = after.unwrap_or(UserId::from_bytes([0; 16]));
            let table = tx.read(JOBS)?;
            let entries = table.range::<&Id>(from.as_bytes()..)?;
            let users = entries.map(|entry| Ok(UserId::from_bytes(*entry?.0.value())));
            let users = users.filter(|user| !matches!(user, Ok(user) if Some(*user) == after));
            users.take(limit).collect::<Result<_, Fault>>()?
        }
    };
    users.into_iter().filter_map(|user| job(tx, user).transpose()).collect()
}

/// The users with a job in one of `states`.
pub(super) fn users(tx: &impl Reading, states: &[State]) -> Result<Vec<UserId>, Fault> {
    let order = tx.read(JOB_ORDER)?;
    let mut users = Vec::new();
    for state in states {
        users.append(&mut users_in(&order, *state, usize::MAX)?);
    }
    Ok(users)
}

pub(super) fn depth(tx: &impl Reading, now: Timestamp) -> Result<Depth, Fault> {
    let order = tx.read(JOB_ORDER)?;
    let mut depth = Depth::default();
    let mut oldest = now;
    for state in State::ALL {
        let (first, last) = job_keys(state);
        let (mut n_jobs, mut since) = (0, None);
        for entry in order.range::<&JobKey>(&first..=&last)? {
            let (key, due_at) = entry?;
            if n_jobs == 0 {
                since = timestamp(&key.value()[2..18]);
            }
            n_jobs += 1;
            if let Some(due_at) = timestamp(due_at.value()) {
                oldest = oldest.min(due_at);
            }
        }
        match state {
            State::Due => depth.due = n_jobs,
            State::Waiting => depth.waiting = n_jobs,
            State::Running => (depth.running, depth.running_since) = (n_jobs, since),
            State::Parked => (depth.parked, depth.parked_since) = (n_jobs, since),
            State::Held => (depth.held, depth.held_since) = (n_jobs, since),
        }
    }
    depth.oldest_due = now.duration_since(oldest).try_into().unwrap_or_default();
    Ok(depth)
}

/// Makes the named jobs due now, if they are in one of `states`. How many were.
pub(super) fn retry(
    tx: &Writing,
    users: &[UserId],
    states: &[State],
    now: Timestamp,
) -> Result<usize, Fault> {
    let mut queue = Queue::open(tx)?;
    let mut n_retried = 0;
    for user in users {
        let Some(JobRecord { job, .. }) = queue.get(*user)? else { continue };
        if states.contains(&job.state)
            && let Some(after) = jobs::retried(job.clone(), now)
        {
            queue.replace(Some(&job), Some(&after))?;
            // Tried again means asked again: the budgets decide anew, but of what is approved.
            if !cases::is_approved(tx, *user, now)? {
                cases::let_go(tx, *user)?;
            }
            n_retried += 1;
        }
    }
    if n_retried > 0 {
        tx.announce();
    }
    Ok(n_retried)
}

/// Brings jobs along that were timed by a wall clock that has been set back to `now`.
pub(super) fn set_back(tx: &Writing, users: &[UserId], by: Duration, now: Timestamp) -> Result<(), Fault> {
    let mut queue = Queue::open(tx)?;
    for user in users {
        let Some(before) = queue.get(*user)? else { continue };
        let after = jobs::set_back(before.clone(), by, now);
        if after.job != before.job {
            queue.replace(Some(&before.job), Some(&after))?;
            tx.announce();
        }
    }
    Ok(())
}

/// Takes a job off the queue unless it runs.
pub(super) fn drop_job(tx: &Writing, user: UserId, now: Timestamp) -> Result<bool, Fault> {
    let mut queue = Queue::open(tx)?;
    let Some(JobRecord { job, .. }) = queue.get(user)? else { return Ok(false) };
    if job.state == State::Running {
        return Ok(false);
    }
    queue.replace(Some(&job), None)?;
    cases::let_go(tx, user)?;
    cases::drop_order(tx, user, now)?;
    Ok(true)
}

/// Makes a job due again whose claim was dropped without a settlement.
pub(super) fn release(tx: &Writing, user: UserId) -> Result<(), Fault> {
    let mut queue = Queue::open(tx)?;
    if let Some(record) = queue.get(user)?
        && record.job.state == State::Running
    {
        queue.replace(Some(&record.job.clone()), Some(&jobs::broken_off(record)))?;
        tx.announce();
    }
    Ok(())
}

/// At the start of the process nothing can be running: what was, is due.
pub(super) fn release_all(tx: &Writing) -> Result<(), Fault> {
    let running = users_in(&tx.read(JOB_ORDER)?, State::Running, usize::MAX)?;
    running.into_iter().try_for_each(|user| release(tx, user))
}

/// Writes what the end of a run makes of its job.
pub(super) fn settle(
    tx: &Writing,
    claimed: &Job,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<Settled, Fault> {
    let mut queue = Queue::open(tx)?;
    // A running job cannot be dropped or claimed again, so it is there.
    let Some(stored) = queue.get(claimed.user)? else { return Ok(Settled { remarked: false, state: None }) };
    let before = stored.job.clone();
    let (after, remarked) = jobs::settled(stored, claimed.generation, outcome, now);
    queue.replace(Some(&before), after.as_ref())?;
    if after.is_some() {
        tx.announce();
    }
    Ok(Settled { remarked, state: after.map(|record| record.job.state) })
}
