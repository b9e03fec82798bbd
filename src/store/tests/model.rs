//! The queue against a model that is too simple to be wrong: the same marks, claims, settlements and
//! restarts, in any order, must leave the same jobs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::support::*;
use crate::domain::evidence::RemovedReason;
use crate::domain::queue::{Job, Mark, News, Outcome, Reason, Settlement, State};
use crate::domain::user::UserId;
use crate::store::{Claim, Store};

const N_USERS: u8 = 4;

#[derive(Clone, Debug)]
enum Action {
    Mark(Mark),
    Accept {
        n: u8,
        deleted: bool,
    },
    Claim(usize),
    /// Of the claims held, the one with this number (around the corner), settled so.
    Settle(usize, Ending),
    DropClaim(usize),
    Retry(State),
    DropJob(u8),
    Wait(i64),
    Restart,
}

#[derive(Clone, Debug)]
enum Ending {
    Done { recheck_in: Option<i64> },
    Again { retry_in: i64, counts: bool },
    Wait { look_in: i64 },
    Park,
    Hold,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let reasons = vec![Reason::Delta, Reason::Group, Reason::Operator, Reason::Notification, Reason::Replay];
    let removed = vec![None, None, Some(RemovedReason::Changed), Some(RemovedReason::Deleted)];
    let mark =
        (0..N_USERS, prop::sample::select(reasons), 0..200_i64, any::<bool>(), prop::sample::select(removed))
            .prop_map(|(n, reason, second, urgent, removed)| Mark {
                urgent,
                removed,
                ..mark(n, reason, second)
            });
    let ending = prop_oneof![
        prop::option::of(1..50_i64).prop_map(|recheck_in| Ending::Done { recheck_in }),
        (1..50_i64, any::<bool>()).prop_map(|(retry_in, counts)| Ending::Again { retry_in, counts }),
        (1..50_i64).prop_map(|look_in| Ending::Wait { look_in }),
        Just(Ending::Park),
        Just(Ending::Hold),
    ];
    let action = prop_oneof![
        4 => mark.prop_map(Action::Mark),
        3 => (0..N_USERS, any::<bool>()).prop_map(|(n, deleted)| Action::Accept { n, deleted }),
        4 => (0..4_usize).prop_map(Action::Claim),
        6 => (any::<usize>(), ending).prop_map(|(which, ending)| Action::Settle(which, ending)),
        1 => any::<usize>().prop_map(Action::DropClaim),
        1 => prop::sample::select(State::ALL.to_vec()).prop_map(Action::Retry),
        1 => (0..N_USERS).prop_map(Action::DropJob),
        3 => (1..60_i64).prop_map(Action::Wait),
        1 => Just(Action::Restart),
    ];
    prop::collection::vec(action, 1..60)
}

/// A user's entry: what is known of the news to be worked on, and of that which came during a run.
#[derive(Clone, Debug)]
struct Entry {
    state: State,
    due_at: Timestamp,
    attempts: u32,
    stopped: bool,
    /// News decides it: the last run could decide nothing.
    open: bool,
    news: Merged,
    during: Option<Merged>,
}

#[derive(Clone, Debug, PartialEq)]
struct Merged {
    reason: Reason,
    first: Timestamp,
    urgent: bool,
    /// 0 not removed, 1 changed, 2 deleted.
    removed: u8,
}

impl Merged {
    fn of(mark: &Mark) -> Self {
        let removed = match mark.removed {
            None => 0,
            Some(RemovedReason::Changed) => 1,
            Some(RemovedReason::Deleted) => 2,
        };
        Self { reason: mark.reason, first: mark.news_at, urgent: mark.urgent, removed }
    }

    fn add(&mut self, new: &Self) {
        self.first = self.first.min(new.first);
        self.urgent |= new.urgent;
        self.removed = self.removed.max(new.removed);
        if new.reason == Reason::Operator {
            self.reason = Reason::Operator;
        }
    }
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<UserId, Entry>,
    unfolded: Vec<Mark>,
}

impl Model {
    fn mark(&mut self, mark: &Mark, now: Timestamp) {
        let news = Merged::of(mark);
        let Some(entry) = self.entries.get_mut(&mark.user) else {
            let entry = Entry {
                state: State::Due,
                due_at: now,
                attempts: 0,
                stopped: false,
                open: false,
                news,
                during: None,
            };
            self.entries.insert(mark.user, entry);
            return;
        };
        match entry.state {
            State::Running => match &mut entry.during {
                Some(during) => during.add(&news),
                None => entry.during = Some(news),
            },
            State::Parked | State::Held => {
                let urgent = entry.news.urgent || news.urgent;
                let removed = entry.news.removed.max(news.removed);
                entry.news = Merged { urgent, removed, ..news };
                (entry.state, entry.due_at, entry.attempts, entry.stopped) = (State::Due, now, 0, false);
            }
            State::Due | State::Waiting => {
                let was_recheck = entry.news.reason == Reason::Recheck;
                let proven = entry.news.removed == 0 && news.removed > 0;
                entry.news.add(&news);
                if was_recheck || (entry.open && entry.state == State::Waiting) {
                    entry.news.reason = news.reason;
                }
                let rechecks = was_recheck && entry.attempts == 0;
                if entry.state == State::Waiting
                    && (rechecks || proven || entry.open || news.reason == Reason::Operator)
                {
                    (entry.state, entry.due_at) = (State::Due, now);
                }
            }
        }
    }

    fn fold(&mut self, now: Timestamp) {
        for mark in std::mem::take(&mut self.unfolded) {
            self.mark(&mark, now);
        }
    }

    fn claim(&mut self, limit: usize, now: Timestamp) -> Vec<UserId> {
        self.fold(now);
        if limit == 0 {
            return Vec::new();
        }
        for entry in self.entries.values_mut() {
            if entry.state == State::Waiting && entry.due_at <= now {
                entry.state = State::Due;
            }
        }
        let due = self.entries.iter().filter(|(_, entry)| entry.state == State::Due);
        let mut due: Vec<_> =
            due.map(|(user, entry)| (!entry.news.urgent, entry.news.first, *user)).collect();
        due.sort();
        due.truncate(limit);
        let users: Vec<_> = due.into_iter().map(|(_, _, user)| user).collect();
        for user in &users {
            let entry = self.entries.get_mut(user).unwrap();
            entry.state = State::Running;
            entry.attempts += 1;
        }
        users
    }

    fn settle(&mut self, user: UserId, ending: &Ending, now: Timestamp) {
        let entry = self.entries.get_mut(&user).unwrap();
        let during = entry.during.take();
        entry.open = matches!(ending, Ending::Wait { .. });
        match ending {
            Ending::Done { recheck_in } => {
                entry.attempts = 0;
                if let Some(during) = during {
                    (entry.state, entry.due_at, entry.news) = (State::Due, now, during);
                } else if let Some(recheck_in) = recheck_in {
                    entry.state = State::Waiting;
                    entry.due_at = now + jiff::SignedDuration::from_secs(*recheck_in);
                    let first = entry.news.first;
                    entry.news = Merged { reason: Reason::Recheck, first, urgent: false, removed: 0 };
                } else {
                    self.entries.remove(&user);
                }
                return;
            }
            Ending::Again { retry_in, counts } => {
                entry.attempts -= u32::from(!counts);
                entry.state = State::Waiting;
                entry.due_at = now + jiff::SignedDuration::from_secs(*retry_in);
            }
            Ending::Wait { look_in } => {
                entry.attempts -= 1;
                entry.state = State::Waiting;
                entry.due_at = now + jiff::SignedDuration::from_secs(*look_in);
            }
            Ending::Park => (entry.state, entry.stopped) = (State::Parked, true),
            Ending::Hold => (entry.state, entry.stopped) = (State::Held, true),
        }
        if let Some(during) = during {
            entry.news.add(&during);
            if entry.open {
                entry.news.reason = during.reason;
            }
            (entry.state, entry.due_at, entry.stopped) = (State::Due, now, false);
        }
    }

    fn break_off(&mut self, user: UserId) {
        let entry = self.entries.get_mut(&user).unwrap();
        if let Some(during) = entry.during.take() {
            entry.news.add(&during);
        }
        entry.state = State::Due;
    }

    fn retry(&mut self, state: State, now: Timestamp) -> usize {
        if matches!(state, State::Due | State::Running) {
            return 0;
        }
        let mut n_retried = 0;
        for entry in self.entries.values_mut().filter(|entry| entry.state == state) {
            n_retried += 1;
            if state != State::Waiting {
                entry.news.first = now;
            }
            entry.news.reason = Reason::Replay;
            (entry.state, entry.due_at, entry.attempts, entry.stopped) = (State::Due, now, 0, false);
        }
        n_retried
    }

    fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.unfolded.is_empty() {
            return Some(now);
        }
        let open = self.entries.values().filter_map(|entry| match entry.state {
            State::Due => Some(now),
            State::Waiting => Some(entry.due_at.max(now)),
            _ => None,
        });
        open.min()
    }
}

fn outcome(ending: &Ending, now: Timestamp) -> Outcome {
    let after = |seconds: i64| now + jiff::SignedDuration::from_secs(seconds);
    match ending {
        Ending::Done { recheck_in } => Outcome::of(Settlement::Done { recheck_at: recheck_in.map(after) }),
        Ending::Wait { look_in } => {
            Outcome::of(Settlement::Wait { due_at: after(*look_in), why: "once".to_owned() })
        }
        Ending::Again { retry_in, counts } => Outcome::of(Settlement::Again {
            due_at: after(*retry_in),
            counts: *counts,
            error: "503".to_owned(),
        }),
        Ending::Park => park(),
        Ending::Hold => hold(),
    }
}

/// A job as far as the model knows it.
fn seen(job: &Job) -> (UserId, State, Timestamp, u32, bool, Merged) {
    let mark = Mark {
        user: job.user,
        reason: job.reason,
        news_at: job.first_news_at,
        urgent: job.urgent,
        removed: job.removed,
    };
    (job.user, job.state, job.due_at, job.attempts, job.stopped.is_some(), Merged::of(&mark))
}

async fn follow(actions: Vec<Action>) {
    let memory = Memory::default();
    let mut store: Store = open(&memory);
    let mut model = Model::default();
    let mut held: Vec<Claim> = Vec::new();
    let mut now = at(200);
    for action in actions {
        match action {
            Action::Mark(mark) => {
                store.mark(vec![mark.clone()], now).await.unwrap();
                model.mark(&mark, now);
            }
            Action::Accept { n, deleted } => {
                store.accept(vec![News::User { id: user(n), deleted }], now).await.unwrap();
                let reason = Reason::Notification;
                model.unfolded.push(Mark {
                    user: user(n),
                    reason,
                    news_at: now,
                    urgent: deleted,
                    removed: None,
                });
            }
            Action::Claim(limit) => {
                let claims = store.claim(limit, now).await.unwrap();
                let users: Vec<_> = claims.iter().map(|claim| claim.job.user).collect();
                assert_eq!(users, model.claim(limit, now));
                for claim in &claims {
                    let other = held.iter().find(|other| other.job.user == claim.job.user);
                    assert!(other.is_none(), "two runs of one user");
                }
                held.extend(claims);
            }
            Action::Settle(which, ending) if !held.is_empty() => {
                let claim = held.remove(which % held.len());
                let user = claim.job.user;
                let remarked = model.entries[&user].during.is_some();
                let settled = store.settle(claim, outcome(&ending, now), now).await.unwrap();
                model.settle(user, &ending, now);
                assert_eq!(settled.remarked, remarked);
                assert_eq!(settled.state, model.entries.get(&user).map(|entry| entry.state));
            }
            Action::DropClaim(which) if !held.is_empty() => {
                let claim = held.remove(which % held.len());
                model.break_off(claim.job.user);
                drop(claim);
                // Whatever is asked next comes after what the drop sent.
                store.claim(0, now).await.unwrap();
                model.fold(now);
            }
            Action::Settle(..) | Action::DropClaim(_) => {}
            Action::Retry(state) => {
                assert_eq!(store.retry(None, &[state], now).await.unwrap(), model.retry(state, now));
            }
            Action::DropJob(n) => {
                let idle = model.entries.get(&user(n)).is_some_and(|entry| entry.state != State::Running);
                if idle {
                    model.entries.remove(&user(n));
                }
                assert_eq!(store.drop_job(user(n), at(0)).await.unwrap(), idle);
            }
            Action::Wait(seconds) => now += jiff::SignedDuration::from_secs(seconds),
            Action::Restart => {
                store.close().await;
                for claim in held.drain(..) {
                    model.break_off(claim.job.user);
                }
                store = open(&memory);
            }
        }
        let jobs = store.jobs(None, 99, None).await.unwrap();
        let expected = model.entries.iter().map(|(user, entry)| {
            let Entry { state, due_at, attempts, stopped, ref news, .. } = *entry;
            (*user, state, due_at, attempts, stopped, news.clone())
        });
        assert_eq!(jobs.iter().map(seen).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!(store.next_due(now).await.unwrap(), model.next_due(now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_as_the_model_does(actions in actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follow(actions));
    }
}
