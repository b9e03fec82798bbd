//! The rules of the queue: what a mark, a claim and a settlement make of a job. Pure.
//!
//! One job a user, keyed by the user alone. A job says that a user may be out of date, so two marks
//! are one job, and news during a run is one more run.

use std::time::Duration;

use jiff::Timestamp;

use super::record::{JobRecord, Pending};
use crate::domain::evidence::RemovedReason;
use crate::domain::queue::{Job, Mark, Outcome, Reason, Settlement, State};

/// What a mark makes of the user's job.
pub(super) fn marked(
    before: Option<JobRecord>,
    mark: &Mark,
    trace: Option<&str>,
    now: Timestamp,
) -> JobRecord {
    let Some(JobRecord { mut job, since_claim, trace: earlier }) = before else {
        return first_mark(mark, trace, now);
    };
    job.generation += 1;
    job.latest_news_at = job.latest_news_at.max(mark.news_at);
    if job.state == State::Running {
        // The run under way may have looked before this news: it is kept for a run of its own.
        return JobRecord { job, since_claim: Some(since(since_claim, mark, trace)), trace: earlier };
    }
    let revived = matches!(job.state, State::Parked | State::Held);
    // A retry waits out its backoff: news does not make the neighbour well. A recheck has nothing left
    // to wait for.
    let rechecks = job.reason == Reason::Recheck && job.attempts == 0;
    // That somebody is gone was perhaps all that the last look lacked.
    let proven = job.removed.is_none() && mark.removed.is_some();
    // It waits for something else than a neighbour, and this may be it.
    let decides = job.state == State::Waiting && job.open_to_news;
    let may_wait = !rechecks && !proven && !decides && mark.reason != Reason::Operator;
    let kept_waiting = job.state == State::Waiting && may_wait;
    job.urgent |= mark.urgent;
    job.removed = stronger(job.removed, mark.removed);
    if revived {
        // The old news was answered by parking; what is measured and ordered now is the new.
        job.first_news_at = mark.news_at;
        job.latest_news_at = mark.news_at;
        forgive(&mut job);
    } else {
        job.first_news_at = job.first_news_at.min(mark.news_at);
    }
    // Merged news is told in the trace of the first, but not of what has been answered.
    let answered = revived || job.reason == Reason::Recheck;
    let trace = earlier.filter(|_| !answered).or_else(|| trace.map(str::to_owned));
    if revived || decides || mark.reason == Reason::Operator || job.reason == Reason::Recheck {
        job.reason = mark.reason;
    }
    if !kept_waiting && job.state != State::Due {
        job.state = State::Due;
        job.due_at = now;
    }
    job.changed_at = now;
    JobRecord { job, since_claim: None, trace }
}

fn first_mark(mark: &Mark, trace: Option<&str>, now: Timestamp) -> JobRecord {
    let job = Job {
        user: mark.user,
        state: State::Due,
        reason: mark.reason,
        first_news_at: mark.news_at,
        latest_news_at: mark.news_at,
        due_at: now,
        attempts: 0,
        generation: 1,
        urgent: mark.urgent,
        removed: mark.removed,
        absent_since: None,
        out_of_scope: None,
        open_to_news: false,
        not_applied: 0,
        stopped: None,
        last_error: None,
        changed_at: now,
    };
    JobRecord { job, since_claim: None, trace: trace.map(str::to_owned) }
}

fn since(pending: Option<Pending>, mark: &Mark, trace: Option<&str>) -> Pending {
    let Mark { user: _, reason, news_at, urgent, removed } = *mark;
    let new = Pending { reason, first_news_at: news_at, urgent, removed, trace: trace.map(str::to_owned) };
    let Some(old) = pending else { return new };
    Pending {
        reason: if reason == Reason::Operator { reason } else { old.reason },
        first_news_at: old.first_news_at.min(news_at),
        urgent: old.urgent || urgent,
        removed: stronger(old.removed, removed),
        trace: old.trace.or(new.trace),
    }
}

/// "Gone for good" outweighs "can be restored".
fn stronger(old: Option<RemovedReason>, new: Option<RemovedReason>) -> Option<RemovedReason> {
    match (old, new) {
        (Some(RemovedReason::Deleted), _) | (_, Some(RemovedReason::Deleted)) => Some(RemovedReason::Deleted),
        (old, new) => new.or(old),
    }
}

/// A new chance for a job that was given up: it starts as if it had never run.
fn forgive(job: &mut Job) {
    job.attempts = 0;
    job.not_applied = 0;
    job.stopped = None;
}

/// The job as its run begins. The attempt is counted before the run: a job that kills the process
/// must run out of attempts too.
pub(super) fn claimed(record: JobRecord, now: Timestamp) -> JobRecord {
    let JobRecord { mut job, trace, .. } = record;
    job.state = State::Running;
    job.attempts += 1;
    job.changed_at = now;
    JobRecord { job, since_claim: None, trace }
}

/// What the end of a run makes of its job, and whether there was news meanwhile. `None` for the job:
/// it is finished and leaves the queue.
pub(super) fn settled(
    stored: JobRecord,
    claimed_generation: u64,
    outcome: &Outcome,
    now: Timestamp,
) -> (Option<JobRecord>, bool) {
    let JobRecord { mut job, since_claim, trace } = stored;
    let remarked = job.generation > claimed_generation;
    job.absent_since = outcome.absent_since;
    job.out_of_scope.clone_from(&outcome.out_of_scope);
    job.not_applied = outcome.not_applied;
    job.open_to_news = matches!(outcome.settlement, Settlement::Wait { .. });
    job.changed_at = now;
    match &outcome.settlement {
        Settlement::Done { recheck_at } => {
            let trace = since_claim.as_ref().map_or(trace, |pending| pending.trace.clone());
            let next = done(job, since_claim, *recheck_at, now);
            return (next.map(|job| JobRecord { job, since_claim: None, trace }), remarked);
        }
        Settlement::Again { due_at, counts, error } => {
            wait(&mut job, *due_at, *counts, error);
        }
        Settlement::Wait { due_at, why } => wait(&mut job, *due_at, false, why),
        Settlement::Park { code, error } => stop(&mut job, State::Parked, code, error),
        Settlement::Hold { code, error } => stop(&mut job, State::Held, code, error),
    }
    let trace = trace.or_else(|| since_claim.as_ref().and_then(|pending| pending.trace.clone()));
    if let Some(pending) = since_claim {
        if job.open_to_news {
            // What was run for could decide nothing; this may.
            job.reason = pending.reason;
        }
        take_in(&mut job, pending);
        job.stopped = None;
        job.state = State::Due;
        job.due_at = now;
    }
    (Some(JobRecord { job, since_claim: None, trace }), remarked)
}

/// After a success: the next run, if there is one to be.
fn done(
    mut job: Job,
    pending: Option<Pending>,
    recheck_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Job> {
    job.attempts = 0;
    job.stopped = None;
    job.last_error = None;
    // News waits for nobody, and looking at it is a look again anyway.
    if let Some(Pending { reason, first_news_at, urgent, removed, trace: _ }) = pending {
        return Some(Job { state: State::Due, due_at: now, reason, first_news_at, urgent, removed, ..job });
    }
    let due_at = recheck_at?;
    Some(Job { state: State::Waiting, due_at, reason: Reason::Recheck, urgent: false, removed: None, ..job })
}

/// Adds the news of a run's time to a job that is not finished with its own.
fn take_in(job: &mut Job, pending: Pending) {
    job.first_news_at = job.first_news_at.min(pending.first_news_at);
    job.urgent |= pending.urgent;
    job.removed = stronger(job.removed, pending.removed);
    if pending.reason == Reason::Operator {
        job.reason = Reason::Operator;
    }
}

fn wait(job: &mut Job, due_at: Timestamp, counts: bool, words: &str) {
    if !counts {
        job.attempts = job.attempts.saturating_sub(1);
    }
    job.last_error = Some(words.to_owned());
    job.state = State::Waiting;
    job.due_at = due_at;
}

fn stop(job: &mut Job, state: State, code: &str, error: &str) {
    job.state = state;
    job.stopped = Some(code.to_owned());
    job.last_error = Some(error.to_owned());
}

/// The job after its run was broken off: by the end of the process, or by dropping its claim. It is
/// due again; the attempt stays counted.
pub(super) fn broken_off(record: JobRecord) -> JobRecord {
    let JobRecord { mut job, since_claim, trace } = record;
    let trace = trace.or_else(|| since_claim.as_ref().and_then(|pending| pending.trace.clone()));
    if let Some(pending) = since_claim {
        take_in(&mut job, pending);
    }
    job.state = State::Due;
    JobRecord { job, since_claim: None, trace }
}

/// Whether a job is due that was not.
pub(super) fn is_added(before: Option<&Job>, after: &Job) -> bool {
    after.state == State::Due && before.is_none_or(|before| before.state != State::Due)
}

/// Whether a run has ended with the wish for another. A second look at what went well is none.
pub(super) fn is_retried(before: Option<&Job>, after: &Job) -> bool {
    let ran = before.is_some_and(|before| before.state == State::Running);
    ran && after.state == State::Waiting && after.last_error.is_some()
}

/// The job by a wall clock that was set back to `now`.
pub(super) fn set_back(mut record: JobRecord, by: Duration, now: Timestamp) -> JobRecord {
    let job = &mut record.job;
    let times = [&mut job.first_news_at, &mut job.latest_news_at, &mut job.due_at];
    let seen = job.absent_since.iter_mut().chain(job.out_of_scope.iter_mut().map(|first| &mut first.at));
    for at in times.into_iter().chain(seen) {
        *at = set_back_by(*at, by, now);
    }
    record
}

/// A time to come is brought along; one that has passed has passed.
pub(super) fn set_back_by(at: Timestamp, by: Duration, now: Timestamp) -> Timestamp {
    if at <= now { at } else { at.checked_sub(by).unwrap_or(now) }
}

/// What an operator's retry makes of a job; `None` when it is due or running already.
pub(super) fn retried(mut job: Job, now: Timestamp) -> Option<JobRecord> {
    match job.state {
        State::Due | State::Running => return None,
        State::Waiting => {}
        State::Parked | State::Held => job.first_news_at = now,
    }
    // To retry approves nothing: what is held is asked about anew.
    job.reason = Reason::Replay;
    forgive(&mut job);
    job.state = State::Due;
    job.due_at = now;
    job.generation += 1;
    job.changed_at = now;
    Some(JobRecord { job, since_claim: None, trace: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::UserId;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(before: Option<JobRecord>, trace: &str, second: i64) -> JobRecord {
        let (user, reason) = (UserId::from_bytes([1; 16]), Reason::Notification);
        let mark = Mark { user, reason, news_at: at(second), urgent: false, removed: None };
        marked(before, &mark, Some(trace), at(second))
    }

    fn ended(record: JobRecord, claimed_generation: u64, settlement: Settlement) -> Option<JobRecord> {
        settled(record, claimed_generation, &Outcome::of(settlement), at(9)).0
    }

    fn trace(record: Option<&JobRecord>) -> Option<&str> {
        record.and_then(|record| record.trace.as_deref())
    }

    #[test]
    fn merged_news_is_told_in_the_trace_of_the_first() {
        let twice = told(Some(told(None, "first", 1)), "second", 2);
        assert_eq!(trace(Some(&twice)), Some("first"));
        let generation = twice.job.generation;
        let running = claimed(twice, at(3));
        assert_eq!(trace(Some(&running)), Some("first"));
        let again = Settlement::Again { due_at: at(8), counts: true, error: "503".to_owned() };
        assert_eq!(trace(ended(running.clone(), generation, again.clone()).as_ref()), Some("first"));

        let news = told(Some(told(Some(running), "third", 4)), "fourth", 5);
        let done = Settlement::Done { recheck_at: None };
        assert_eq!(trace(ended(news.clone(), generation, done).as_ref()), Some("third"), "its own run");
        assert_eq!(trace(ended(news.clone(), generation, again).as_ref()), Some("first"), "not answered yet");
        assert_eq!(trace(Some(&broken_off(news))), Some("first"));
    }

    #[test]
    fn a_second_look_is_in_the_trace_of_the_first_and_news_in_one_of_its_own() {
        let running = claimed(told(None, "first", 1), at(2));
        let recheck = ended(running, 1, Settlement::Done { recheck_at: Some(at(60)) });
        assert_eq!(trace(recheck.as_ref()), Some("first"));
        assert_eq!(trace(Some(&told(recheck, "second", 10))), Some("second"));
        let running = claimed(told(None, "first", 1), at(2));
        let parked = ended(running, 1, Settlement::Park { code: "x", error: String::new() });
        assert_eq!(trace(Some(&told(parked, "second", 10))), Some("second"), "revived");
    }
}
