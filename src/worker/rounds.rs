//! Delta rounds: what the poll, the full compare and a burst have in common.
//!
//! A page's marks and the round's progress are one commit, so that a restart in the middle goes on
//! from the last page and nothing between two pages is lost.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::clock::later;
use crate::domain::coverage::{Bounds, Coverage, GRACE, Shown};
use crate::domain::event::What;
use crate::domain::queue::{Chore, Mark, Reason};
use crate::domain::retry::Failure;
use crate::domain::scope::InScope;
use crate::domain::subscription::Resource;
use crate::domain::user::UserId;
use crate::graph::{self, GroupItem, PageNext, UserItem, fingerprint};
use crate::store::{self, COVERAGE_MEMO, PageRecord, Round};

use super::Worker;
use super::failure::{Fault, GRAPH, Stopped};

/// A round that does not end is a fault of the neighbour: with the smallest pages seen, so many
/// still cover a million users.
const MOST_PAGES: usize = 100_000;

/// Jobs that are claimed wait for the round of their burst at most this long.
const BURST_PATIENCE: Duration = Duration::from_secs(10);

/// Which user attributes the stored delta link selects.
const SELECTION_MEMO: &str = "users_selection";

/// One round of a delta query at a time.
#[derive(Debug, Default)]
pub struct Locks {
    users: Mutex<()>,
    groups: Mutex<()>,
}

/// How a round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Where the last one ended, or the interrupted one stopped.
    Link,
    /// The beginning: everybody is looked at. A full round that began after this was asked for goes on
    /// where it was interrupted.
    Start { asked_at: Timestamp },
}

/// What a round found.
#[derive(Debug, Default)]
pub struct Found {
    pub marked: usize,
    /// Whom a round from a link showed.
    pub shown: Shown,
    /// The round went through everybody.
    pub full: bool,
}

/// Where a round stands.
struct Progress {
    link: Option<String>,
    full: bool,
    started_at: Timestamp,
    /// It began anew because the stored link was refused.
    restarted: bool,
}

fn progress_of(round: Round) -> Progress {
    Progress { link: Some(round.next), full: round.full, started_at: round.started_at, restarted: false }
}

impl Worker {
    /// One round of `users/delta`.
    pub(super) async fn user_round(&self, from: From) -> Result<Found, Stopped> {
        self.user_round_for(from, &HashSet::new()).await
    }

    /// As [`Worker::user_round`], for jobs that run already: whose details a page shows is not marked
    /// once more.
    async fn user_round_for(&self, from: From, running: &HashSet<UserId>) -> Result<Found, Stopped> {
        let _one_at_a_time = self.running.rounds.users.lock().await;
        self.settle_selection().await?;
        let before = self.store.round(Resource::Users).await?.and_then(|round| round.completed_at);
        let mut progress = self.progress(Resource::Users, from).await?;
        let mut found = Found::default();
        let mut links = HashSet::new();
        for _ in 0..MOST_PAGES {
            let asked_at = self.clock.now();
            let page = match self.graph.user_page(progress.link.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    progress = self.start_over(Resource::Users, progress, error).await?;
                    links.clear();
                    continue;
                }
            };
            self.running.circuits.reached(GRAPH);
            let mut marks = Vec::new();
            for item in &page.items {
                let served = running.contains(&item.id) && item.details.is_some();
                if !progress.full {
                    found.shown.others.insert(item.id);
                }
                if !served && let Some(mark) = self.judge(item, progress.full, asked_at, &mut found).await? {
                    marks.push(mark);
                }
                if let Some(details) = &item.details {
                    self.running.details.remember(details.clone(), asked_at, self.graph.selected());
                }
            }
            let seen = page.items.iter().filter(|item| item.removed.is_none()).map(|item| item.id).collect();
            if self
                .turn_page(Resource::Users, &mut progress, page.next, marks, seen, &mut links, &mut found)
                .await?
            {
                found.full = progress.full;
                if let (false, Some(before)) = (progress.full, before) {
                    self.learn_coverage(&found.shown, before).await?;
                }
                return Ok(found);
            }
        }
        Err(endless(Resource::Users))
    }

    /// One round of `groups/delta`: relevant groups that changed are read again.
    pub(super) async fn group_round(&self) -> Result<Found, Stopped> {
        let _one_at_a_time = self.running.rounds.groups.lock().await;
        let mut progress = self.progress(Resource::Groups, From::Link).await?;
        let mut found = Found::default();
        let mut links = HashSet::new();
        for _ in 0..MOST_PAGES {
            let page = match self.graph.group_page(progress.link.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    progress = self.start_over(Resource::Groups, progress, error).await?;
                    links.clear();
                    continue;
                }
            };
            self.running.circuits.reached(GRAPH);
            // Chores before progress: killed in between, the page comes again and changes nothing.
            for GroupItem { id, .. } in &page.items {
                if self.store.is_relevant(*id).await? {
                    self.store.schedule(Chore::Group(*id), self.clock.now(), self.clock.now()).await?;
                    found.marked += 1;
                } else {
                    debug!(group.id = %id, "group {id} gives no role and is in no scope: skipped");
                }
            }
            if self
                .turn_page(
                    Resource::Groups,
                    &mut progress,
                    page.next,
                    Vec::new(),
                    Vec::new(),
                    &mut links,
                    &mut found,
                )
                .await?
            {
                found.full = progress.full;
                return Ok(found);
            }
        }
        Err(endless(Resource::Groups))
    }

    /// A delta link goes on selecting what it was made with: with other mappings the round begins anew.
    /// Only for who holds the lock of the rounds, or a link of the old selection could come after.
    async fn settle_selection(&self) -> Result<(), store::Error> {
        let selected = self.graph.selected();
        if self.store.memo(SELECTION_MEMO).await?.as_deref() != Some(selected) {
            self.store.forget_round(Resource::Users).await?;
            self.store.set_memo(SELECTION_MEMO, selected).await?;
        }
        Ok(())
    }

    async fn progress(&self, resource: Resource, from: From) -> Result<Progress, Stopped> {
        let now = self.clock.now();
        let start = Progress { link: None, full: true, started_at: now, restarted: false };
        Ok(match (self.store.round(resource).await?, from) {
            (Some(round), From::Link) if round.in_progress => progress_of(round),
            (Some(round), From::Start { asked_at })
                if round.in_progress && round.full && round.started_at >= asked_at =>
            {
                progress_of(round)
            }
            (Some(round), From::Link) => {
                Progress { link: Some(round.next), full: false, started_at: now, restarted: false }
            }
            _ => start,
        })
    }

    /// The token has expired or was reset: everybody is looked at again. Any other error stops the
    /// round where it is.
    async fn start_over(
        &self,
        resource: Resource,
        progress: Progress,
        error: graph::Error,
    ) -> Result<Progress, Stopped> {
        if progress.restarted || !matches!(error, graph::Error::ResyncRequired) {
            // Where the new round was refused too, it is no use to insist.
            return Err(error.into());
        }
        warn!(resource = %resource, "the delta link of {resource} is no longer accepted; starting a full round");
        self.store.forget_round(resource).await?;
        Ok(Progress { link: None, full: true, started_at: self.clock.now(), restarted: true })
    }

    /// Writes a page's marks with the round's progress. `true` when it was the last page.
    #[expect(
        clippy::too_many_arguments,
        reason = "one page of one of two queries; a struct would only rename them"
    )]
    async fn turn_page(
        &self,
        resource: Resource,
        progress: &mut Progress,
        next: PageNext,
        marks: Vec<Mark>,
        seen: Vec<UserId>,
        links: &mut HashSet<String>,
        found: &mut Found,
    ) -> Result<bool, Stopped> {
        let (next, link, last) = match next {
            PageNext::More(link) => (store::PageNext::More(link.clone()), link, false),
            PageNext::End(link) => (store::PageNext::End(link.clone()), link, true),
        };
        if !last && !links.insert(link.clone()) {
            return Err(endless(resource));
        }
        let page = PageRecord { marks, seen, next, full: progress.full, started_at: progress.started_at };
        let outcome = self.store.record_page(resource, page, self.clock.now()).await?;
        found.marked += outcome.marked;
        if outcome.vanished > 0 {
            info!(n_users = outcome.vanished, "{} linked users were not in the full round", outcome.vanished);
        }
        progress.link = Some(link);
        Ok(last)
    }

    /// Whether a delta item is a reason to look at the user.
    async fn judge(
        &self,
        item: &UserItem,
        full: bool,
        asked_at: Timestamp,
        found: &mut Found,
    ) -> Result<Option<Mark>, Stopped> {
        let link = self.store.link(item.id).await?;
        let mark = |urgent| Mark {
            user: item.id,
            reason: Reason::Delta,
            news_at: asked_at,
            urgent,
            removed: item.removed,
        };
        // Of a user whose job waits or runs, what the link says may be about to change: always marked.
        let queued = self.store.job(item.id).await?.is_some();
        if item.removed.is_some() {
            if !full && !queued && link.as_ref().is_some_and(|link| !link.source_gone) {
                found.shown.news.insert(item.id);
            }
            // Somebody who was never ours cannot leave.
            return Ok((link.is_some() || queued).then(|| mark(true)));
        }
        if let Some(details) = &item.details {
            let unchanged = link
                .as_ref()
                .is_some_and(|link| link.source_fingerprint.as_deref() == Some(&fingerprint(details)));
            if unchanged && !full && !queued {
                return Ok(None);
            }
            if link.is_none() && !queued {
                let membership = self.membership(item.id).await?;
                if matches!(self.settings.rules.scope.of(details, &membership, asked_at), InScope::No(_)) {
                    return Ok(None);
                }
            }
        }
        if !full && !queued {
            found.shown.news.insert(item.id);
        }
        Ok(Some(mark(item.disabled && link.is_some())))
    }

    /// Compares what a round showed with what notifications have announced since the one before, and
    /// tunes the poll by it. Only for who holds the lock of the rounds.
    async fn learn_coverage(&self, shown: &Shown, before: Timestamp) -> Result<(), store::Error> {
        if self.settings.urls.is_none() {
            // Nobody is to notify us: nothing can be missed.
            return Ok(());
        }
        let now = self.clock.now();
        let mut coverage = self.coverage().await?;
        let (mut users, in_doubt_since) = coverage.in_doubt();
        users.extend(shown.news.iter().chain(&shown.others));
        let since = before.checked_sub(GRACE).unwrap_or(before).min(in_doubt_since.unwrap_or(before));
        let announced = self.store.announced_since(since, users).await?;
        let earlier = coverage.poll_interval(self.poll_bounds());
        let missed = coverage.learn(shown, &announced, self.poll_bounds(), now);
        let memo = serde_json::to_string(&coverage).expect("plain values become JSON");
        self.store.set_memo(COVERAGE_MEMO, &memo).await?;
        self.show_coverage(&coverage);
        self.metrics.notifications_missed.inc_by(missed);
        if missed > 0 {
            warn!(n_users = missed, "the poll found {missed} changes that no notification announced");
            let (announced, missed) = coverage.counts();
            if let Some(low) = What::coverage(announced, missed) {
                self.tell(low);
            }
        }
        let interval = coverage.poll_interval(self.poll_bounds());
        if interval != earlier {
            let interval_s = interval.as_secs();
            info!(interval_s, "polls every {interval_s} s from now on, by how much notifications announce");
        }
        // One that was put off for longer comes forward; one that is due sooner stays.
        let due_at = later(now, interval).min(coverage.verdict_at().unwrap_or(Timestamp::MAX));
        self.store.schedule(Chore::Poll(Resource::Users), due_at, now).await?;
        if interval < earlier && !self.settings.rules.relevant_groups().is_empty() {
            self.store.schedule(Chore::Poll(Resource::Groups), later(now, interval), now).await?;
        }
        Ok(())
    }

    pub(super) async fn coverage(&self) -> Result<Coverage, store::Error> {
        // What another version wrote and we cannot read is learned anew.
        let memo = self.store.memo(COVERAGE_MEMO).await?;
        Ok(memo.and_then(|memo| serde_json::from_str(&memo).ok()).unwrap_or_default())
    }

    /// Where nobody is to notify us, the poll is as it is configured, whatever was learned.
    fn poll_bounds(&self) -> Bounds {
        let most = self.settings.poll_interval;
        let least = self.settings.urls.as_ref().map_or(most, |_| self.settings.poll_interval_min);
        Bounds { least, most }
    }

    /// How often to poll at present.
    pub(super) async fn poll_interval(&self) -> Result<Duration, store::Error> {
        Ok(self.coverage().await?.poll_interval(self.poll_bounds()))
    }

    pub(super) fn show_coverage(&self, coverage: &Coverage) {
        self.metrics.webhook_coverage.set(coverage.ratio().unwrap_or(1.0));
        self.metrics.poll_interval.set(coverage.poll_interval(self.poll_bounds()).as_secs_f64());
    }

    /// A burst: one round gives the details of all who changed, and those not in it are read by id.
    /// A round that fails costs nothing but the saving.
    pub(super) async fn refresh_details(&self, due: HashSet<UserId>) {
        {
            // A round that runs already began before these jobs were claimed, and may take long.
            let Ok(_one_at_a_time) = self.running.rounds.users.try_lock() else { return };
            if self.settle_selection().await.is_err() {
                // The next commit of the worker meets the same error and ends the process.
                return;
            }
        }
        let n_due = due.len();
        if !matches!(self.store.round(Resource::Users).await, Ok(Some(round)) if !round.in_progress) {
            return;
        }
        let rounds = async {
            let users = self.user_round_for(From::Link, &due).await?;
            if !self.settings.rules.relevant_groups().is_empty() {
                self.group_round().await?;
            }
            Ok::<_, Stopped>(users)
        };
        match tokio::time::timeout(BURST_PATIENCE, rounds).await {
            Err(_) => warn!("the delta round for a burst takes too long; users are read one by one"),
            Ok(Ok(_)) => {
                info!(n_jobs = n_due, "took the details of a burst of {n_due} users from one delta round")
            }
            Ok(Err(Stopped::By(fault))) => {
                warn!(error = fault.failure.words(), "no delta round for a burst; users are read one by one")
            }
            // The next commit of the worker meets the same error and ends the process.
            Ok(Err(Stopped::Store(error))) => {
                warn!(error = &error as &dyn std::error::Error, "no delta round for a burst")
            }
        }
    }
}

pub(super) fn endless(resource: Resource) -> Stopped {
    let failure = Failure::Transient(format!("the delta round of {resource} goes round in circles"));
    Stopped::By(Fault::answered(GRAPH, failure))
}
