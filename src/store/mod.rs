//! What must not be lost: the queue, the links, the groups, the rounds and the history, in one file.
//!
//! [`Store`] is made of whole transactions in the words of the domain; that there are tables and
//! redb behind it is nobody else's business. Every change goes through one writer thread
//! (`writer.rs`), which commits whatever has queued up while it was busy; `Ok` comes after the
//! commit, so it means "on disk". Reads run beside it, in short transactions on blocking threads.
//!
//! Reading order: the façade here, how it writes (`writer`, `transaction`), the rules of the queue
//! (`jobs`, pure; `queue`, its tables; `journal`, `chores`, `operator`), what comes before a write and
//! stays of it (`guard`, `log`, `cases`), what else is kept (`links`, `states`, `samples`, `groups`, `rounds`,
//! `subscriptions`, `events`, `meta`, and `survey` of it all), how it looks on disk (`tables`, `record`), how
//! the file is opened (`open`, `disk`) or looked at from outside (`health`), and how it is copied and put back
//! (`snapshot`, `restore`, `restored`).

mod error;

mod claim;
mod transaction;
mod writer;

mod chores;
mod jobs;
mod journal;
mod operator;
mod queue;

mod cases;
mod events;
mod groups;
mod guard;
mod links;
mod log;
mod meta;
mod rounds;
mod samples;
mod states;
mod subscriptions;
mod survey;

mod record;
mod tables;

mod disk;
pub mod health;
mod migrate;
mod open;

mod restore;
mod restored;
mod snapshot;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::sync::futures::Notified;

pub use cases::{Ruled, Ruling, Verdict};
pub use claim::{ChoreClaim, Claim};
pub use error::{Error, Fault, OpenError, RestoreError};
pub use events::{Hearer, Outgoing, ReceiverId};
pub use groups::GroupDiff;
pub use guard::Begun;
pub use journal::Told;
pub use links::Adoption;
pub use log::{Break, ChainKey, Entries, Recorded, Verification, Wanted};
pub use meta::{COVERAGE_MEMO, FULL_COMPARE_MEMO};
pub use operator::Replay;
pub use restore::{Inspected, Replaced, Restoring, inspect};
pub use rounds::{PageNext, PageOutcome, PageRecord, Round};
pub use snapshot::{Snapshot, SnapshotError};
pub use states::SeenStates;
pub use survey::Survey;

use crate::domain::case::{Case, HeldItem, Preapproval, Work};
use crate::domain::event::{Delivery, Event};
use crate::domain::guard::{Budgets, Guarded, Usage};
use crate::domain::link::Link;
use crate::domain::pulse::Sample;
use crate::domain::queue::{
    Chore, ChoreEntry, ChoreOutcome, Depth, Intent, Job, Mark, News, Outcome, Remark, State, Write, Wrote,
};
use crate::domain::seen::SeenState;
use crate::domain::subscription::{Resource, Subscription};
use crate::domain::user::{Attribute, GroupId, GroupMembers, Membership, ScimId, UserId};
use crate::telemetry::{self, Metrics};
use disk::Disk;
use snapshot::Darkroom;
use writer::Writer;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Bytes of news that may wait for the writer at once; more callers wait for room.
const WAITING_NEWS_BYTES: usize = 16 << 20;

/// Jobs or records changed in one transaction by a call about many of them.
const STEP: usize = 500;

/// Records of the journal that are looked through for the news of one user.
const NEWS_AMONG: usize = 20_000;
/// Entries of the history that are looked through for remarks.
const REMARKS_AMONG: usize = 20_000;

/// Where the store is and how much it may take.
#[derive(Clone, Debug)]
pub struct Options {
    pub path: PathBuf,
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// Size of `<path>.ballast`, which is given up when the disk is full. News is refused while less
    /// than a quarter of it is free.
    pub ballast_bytes: u64,
    /// How long accepted notifications are kept for replay.
    pub retention_journal: Duration,
    /// How long writes are kept, and what was seen of users.
    pub retention_history: Duration,
    /// What seals the history.
    pub history_key: ChainKey,
}

impl Options {
    /// At `path`, with what is usual for the rest: 64 MiB of cache and of ballast, 7 and 90 days.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            path: path.into(),
            cache_bytes: 64 << 20,
            ballast_bytes: 64 << 20,
            retention_journal: 7 * DAY,
            retention_history: 90 * DAY,
            history_key: ChainKey::new([0; 32]),
        }
    }
}

/// What a settlement left in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// There was news during the run: the job is due again whatever its outcome.
    pub remarked: bool,
    /// The state of the job now; `None` when it has left the queue.
    pub state: Option<State>,
}

/// The handle to the store. Clones share it; the last one dropped closes the file.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    writer: Writer,
    thread: Option<JoinHandle<()>>,
    room: Arc<Semaphore>,
    darkroom: Darkroom,
    retention_journal: Duration,
    retention_history: Duration,
    chain: ChainKey,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread finishes what was sent before and closes the file. Waiting for it (a commit or so)
        // lets whoever opens the store next find it free.
        self.writer.end();
        if let Some(thread) = self.thread.take() {
            // It catches its panics and keeps them as failures.
            thread.join().ok();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// Opening and closing.
impl Store {
    /// Opens the store, or makes it if there never was one. Blocks: for a large file, about 2 ms a
    /// megabyte. Whatever was running when the last process ended is due.
    pub fn open(options: Options, now: Timestamp, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let disk = Disk::beside(&options.path, options.ballast_bytes);
        let opened = open::open(&options.path, &disk, options.cache_bytes, &options.history_key, now)?;
        Self::start(opened, disk, &options, metrics)
    }

    /// Opens or makes a store on other storage than a file: memory, or one that fails on purpose.
    pub fn open_on(
        backend: impl redb::StorageBackend,
        now: Timestamp,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let options = Options::at("");
        let (bytes, key) = (options.cache_bytes, &options.history_key);
        let opened = open::open_on(backend, bytes, key, open::MIGRATIONS, now)?;
        Self::start(opened, Disk::boundless(), &options, metrics)
    }

    fn start(
        opened: open::Opened,
        disk: Disk,
        options: &Options,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let chain = options.history_key.clone();
        let started = Writer::start(opened.engine, chain.clone(), opened.next_journal, disk, metrics);
        let (writer, thread) = started.map_err(|source| OpenError::Io {
            doing: "start the writer of",
            path: options.path.clone(),
            source,
        })?;
        Ok(Self(Arc::new(Inner {
            writer,
            thread: Some(thread),
            room: Arc::new(Semaphore::new(WAITING_NEWS_BYTES)),
            darkroom: Darkroom::of(Some(options.path.clone()).filter(|path| !path.as_os_str().is_empty())),
            retention_journal: options.retention_journal,
            retention_history: options.retention_history,
            chain,
        })))
    }

    /// Finishes what was asked for before and closes the file; later calls fail with
    /// [`Error::Closed`].
    pub async fn close(&self) {
        self.0.writer.close().await;
    }
}

/// What comes in.
impl Store {
    /// Keeps verified notifications. On `Ok` they are on disk. Calls made at the same moment share a
    /// commit, and the trace under way is kept with them. After an `Err` they may be there or not; answer
    /// 503, and Graph sends them again.
    pub async fn accept(&self, news: Vec<News>, received_at: Timestamp) -> Result<()> {
        let parts = journal::parts(&news, received_at, telemetry::traceparent().as_deref());
        drop(news);
        if parts.is_empty() {
            return Ok(());
        }
        let n_bytes = parts.iter().map(|(part, _)| part.n_bytes()).sum::<usize>().min(WAITING_NEWS_BYTES);
        let n_bytes = u32::try_from(n_bytes).expect("the bound fits");
        let room = self.0.room.clone().acquire_many_owned(n_bytes).await.map_err(|_| Error::Closed)?;
        self.0.writer.accept(parts, room).await
    }

    /// Marks users as possibly out of date. On `Ok` the marks are on disk. How many users there are.
    pub async fn mark(&self, marks: Vec<Mark>, now: Timestamp) -> Result<usize> {
        let n_users = rounds::n_users(&marks);
        self.write("marking users", move |tx| journal::mark(tx, &marks, now)).await?;
        Ok(n_users)
    }

    /// Asks for a chore at `due_at`; one that is there already keeps the earlier time, one that runs is
    /// run again afterwards.
    pub async fn schedule(&self, chore: Chore, due_at: Timestamp, now: Timestamp) -> Result<()> {
        self.write("scheduling a chore", move |tx| chores::schedule(tx, chore, due_at, now)).await
    }
}

/// The queue.
impl Store {
    /// Takes up to `limit` due jobs: the urgent first, then those with the oldest news. Before that,
    /// accepted notifications become marks, some thousand a call; `claim(0, now)` does only this.
    pub async fn claim(&self, limit: usize, now: Timestamp) -> Result<Vec<Claim>> {
        let writer = self.0.writer.clone();
        self.write("claiming jobs", move |tx| {
            journal::fold(tx, now)?;
            let jobs = queue::claim(tx, limit, now)?;
            Ok(jobs.into_iter().map(|record| Claim::new(record, writer.clone())).collect())
        })
        .await
    }

    /// Writes the outcome of a run: the job, the link, the history and what was seen in one commit.
    pub async fn settle(&self, claim: Claim, outcome: Outcome, now: Timestamp) -> Result<Settled> {
        let job = claim.use_up();
        self.write("settling a job", move |tx| {
            links::change(tx, job.user, &outcome.link)?;
            outcome.writes.iter().try_for_each(|wrote| guard::end(tx, job.user, wrote))?;
            cases::change(tx, job.user, &outcome.case)?;
            outcome.remarks.iter().try_for_each(|remark| log::remark(tx, remark))?;
            states::record(tx, job.user, outcome.seen.as_deref(), &outcome.link, now)?;
            queue::settle(tx, &job, &outcome, now)
        })
        .await
    }

    /// The latest news of a user that the journal still has, newest first.
    pub async fn news_of(&self, user: UserId, limit: usize) -> Result<Vec<Told>> {
        self.read("reading the journal", move |tx| journal::news_of(tx, user, NEWS_AMONG, limit)).await
    }

    /// Those of the users of whom a notification has come since then.
    pub async fn announced_since(
        &self,
        since: Timestamp,
        users: BTreeSet<UserId>,
    ) -> Result<BTreeSet<UserId>> {
        if users.is_empty() {
            return Ok(users);
        }
        self.read("reading the journal", move |tx| journal::announced_since(tx, since, &users)).await
    }

    /// When there is next a job to claim or news to fold; `now` when there is already.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read("looking for due jobs", move |tx| {
            if journal::has_unfolded(tx)? { Ok(Some(now)) } else { queue::next_due(tx, now) }
        })
        .await
    }

    /// Wakes when there may be something new to do, and when the store has failed. Enable it before
    /// looking, or what comes in between is slept through.
    pub fn changed(&self) -> Notified<'_> {
        self.0.writer.shared().changed.notified()
    }

    /// Takes every chore that is due. Folds accepted notifications first, as [`Store::claim`] does.
    pub async fn claim_chores(&self, now: Timestamp) -> Result<Vec<ChoreClaim>> {
        let writer = self.0.writer.clone();
        self.write("claiming chores", move |tx| {
            journal::fold(tx, now)?;
            let entries = chores::claim(tx, now)?;
            Ok(entries.into_iter().map(|entry| ChoreClaim::new(entry, writer.clone())).collect())
        })
        .await
    }

    /// Writes how a chore ended.
    pub async fn settle_chore(&self, claim: ChoreClaim, outcome: ChoreOutcome, now: Timestamp) -> Result<()> {
        let entry = claim.use_up();
        self.write("settling a chore", move |tx| chores::settle(tx, &entry.chore, outcome, now)).await
    }

    pub async fn chores(&self) -> Result<Vec<ChoreEntry>> {
        let entries = |records: Vec<record::ChoreRecord>| records.into_iter().map(|record| record.entry);
        self.read("reading the chores", move |tx| Ok(entries(chores::all(tx)?).collect())).await
    }

    /// When there is next a chore to claim or news to fold; `now` when there is already.
    pub async fn next_chore_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read("looking for due chores", move |tx| {
            if journal::has_unfolded(tx)? { Ok(Some(now)) } else { chores::next_due(tx, now) }
        })
        .await
    }
}

/// The guard, and what is open between it and the operators.
impl Store {
    /// How much of what is guarded was done within the last hour and day of the guard's clock.
    pub async fn guard_usage(&self, guarded: Guarded, clock: Duration) -> Result<Usage> {
        self.read("reading the guard's ledger", move |tx| guard::usage(tx, guarded, clock)).await
    }

    /// How long the guard's clock had run when it was last written down.
    pub async fn guard_clock(&self) -> Result<Duration> {
        self.read("reading the guard's clock", guard::clock).await
    }

    /// The wall clock was set back by this, to `now`: what is put off, or dated, beyond it comes as much
    /// earlier.
    pub async fn set_back(&self, by: Duration, now: Timestamp) -> Result<()> {
        self.write("setting the chores back", move |tx| {
            groups::set_back(tx, by, now)?;
            chores::set_back(tx, by, now)
        })
        .await?;
        let mut after = None;
        loop {
            let users: Vec<UserId> = self.jobs(None, STEP, after).await?.iter().map(|job| job.user).collect();
            let Some(last) = users.last().copied() else { return Ok(()) };
            after = Some(last);
            self.write("setting jobs back", move |tx| queue::set_back(tx, &users, by, now)).await?;
        }
    }

    pub async fn run_guard_clock(&self, to: Duration) -> Result<()> {
        self.write("writing the guard's clock", move |tx| guard::run_clock(tx, to).map(drop)).await
    }

    pub async fn case(&self, user: UserId) -> Result<Option<Case>> {
        self.read("reading a case", move |tx| cases::case(tx, user)).await
    }

    /// Cases in the order of their users, from the one after `after` on.
    pub async fn cases(&self, after: Option<UserId>, limit: usize) -> Result<Vec<(UserId, Case)>> {
        self.read("reading cases", move |tx| cases::cases(tx, after, limit)).await
    }

    /// Everything the guard holds.
    pub async fn held(&self) -> Result<Vec<(UserId, HeldItem)>> {
        self.read("reading what is held", cases::held).await
    }

    /// Approves or rejects exactly the set that was shown, in one commit.
    pub async fn rule(&self, ruling: Ruling, now: Timestamp) -> Result<Ruled> {
        self.write("ruling on what is held", move |tx| cases::rule(tx, &ruling, now)).await
    }

    /// Ends what forbids something of a user. How many restraints there were.
    pub async fn lift(&self, user: UserId, by: String, now: Timestamp) -> Result<usize> {
        self.write("lifting a restraint", move |tx| cases::lift(tx, user, &by, now)).await
    }

    /// Gives users something to do, in steps.
    pub async fn order(&self, orders: Vec<(UserId, Work)>, now: Timestamp) -> Result<()> {
        for orders in orders.chunks(STEP) {
            let orders = orders.to_vec();
            self.write("ordering work", move |tx| cases::order(tx, &orders, now)).await?;
        }
        Ok(())
    }

    /// The users who have work of this order still to be done.
    pub async fn working_on(&self, batch: &str) -> Result<Vec<UserId>> {
        let batch = batch.to_owned();
        self.read("reading an order", move |tx| cases::working_on(tx, &batch)).await
    }

    /// Takes what CXone shows as the new baseline. `Err` within says why not.
    pub async fn accept_drift(
        &self,
        user: UserId,
        attribute: Attribute,
        by: String,
        now: Timestamp,
    ) -> Result<Result<(), String>> {
        self.write("accepting a drift", move |tx| cases::accept_drift(tx, user, attribute, &by, now)).await
    }

    pub async fn preapprove(&self, preapproval: Preapproval, users: BTreeSet<UserId>) -> Result<()> {
        self.write("preapproving", move |tx| cases::preapprove(tx, &preapproval, &users)).await
    }

    pub async fn preapprovals(&self) -> Result<Vec<Preapproval>> {
        self.read("reading the preapprovals", cases::preapprovals).await
    }

    /// `false` when there is none of this id.
    pub async fn end_preapproval(&self, id: uuid::Uuid, by: String, now: Timestamp) -> Result<bool> {
        self.write("ending a preapproval", move |tx| cases::end_preapproval(tx, id, &by, now)).await
    }

    /// Forgets what was only observed: the mode is another one now.
    pub async fn forget_observed(&self) -> Result<()> {
        while self.write("forgetting what was observed", |tx| cases::forget_observed(tx, STEP)).await? {}
        Ok(())
    }
}

/// Looking at the queue. What an operator may do to it is in `operator.rs`.
impl Store {
    pub async fn job(&self, user: UserId) -> Result<Option<Job>> {
        self.read("reading a job", move |tx| queue::job(tx, user)).await
    }

    /// Jobs in the order of their users, from the one after `after` on.
    pub async fn jobs(&self, state: Option<State>, limit: usize, after: Option<UserId>) -> Result<Vec<Job>> {
        self.read("reading jobs", move |tx| queue::jobs(tx, state, limit, after)).await
    }

    /// The facts that are measured, of one moment. `overdue`: for how long a deactivation may be held.
    pub async fn survey(&self, overdue: Duration, now: Timestamp) -> Result<Survey> {
        self.read("measuring the store", move |tx| survey::survey(tx, overdue, now)).await
    }

    /// When the last genuine notification was stored.
    pub async fn last_notification_at(&self) -> Result<Option<Timestamp>> {
        self.read("reading the journal", journal::last_news).await
    }

    /// Jobs by state. What is accepted but not folded yet is in none.
    pub async fn depth(&self, now: Timestamp) -> Result<Depth> {
        self.read("counting jobs", move |tx| queue::depth(tx, now)).await
    }
}

/// Links.
impl Store {
    pub async fn link(&self, user: UserId) -> Result<Option<Link>> {
        self.read("reading a link", move |tx| links::link(tx, user)).await
    }

    pub async fn linked_to(&self, scim_id: &ScimId) -> Result<Option<UserId>> {
        let scim_id = scim_id.clone();
        self.read("reading a link", move |tx| links::linked_to(tx, &scim_id)).await
    }

    pub async fn links_count(&self) -> Result<u64> {
        self.read("counting links", links::count).await
    }

    /// Links users to CXone accounts they were found to be, in one commit. A pair of which either side
    /// is linked by now is left as it is, so this can run beside the worker. What became of each, in
    /// the order given.
    pub async fn adopt(&self, pairs: Vec<(UserId, Link)>) -> Result<Vec<Adoption>> {
        self.write("adopting accounts", move |tx| links::adopt(tx, &pairs)).await
    }

    /// Links in the order of their users, from the one after `after` on.
    pub async fn links(&self, after: Option<UserId>, limit: usize) -> Result<Vec<(UserId, Link)>> {
        self.read("reading links", move |tx| links::links(tx, after, limit)).await
    }
}

/// Groups.
impl Store {
    /// Says which groups the configuration names. What is no longer reachable from them is forgotten.
    /// The relevant groups that were never read: schedule a reading of each.
    pub async fn set_roots(&self, roots: &BTreeSet<GroupId>) -> Result<Vec<GroupId>> {
        let roots = roots.clone();
        self.write("setting the groups", move |tx| groups::set_roots(tx, &roots)).await
    }

    /// Whether the group is named by the configuration or nested in one that is.
    pub async fn is_relevant(&self, group: GroupId) -> Result<bool> {
        self.read("looking for a group", move |tx| groups::is_relevant(tx, group)).await
    }

    /// Keeps a group's direct members, completely read, and marks in the same commit every user whose
    /// transitive membership in any relevant group changed by it. Of a group that is not relevant
    /// nothing is kept.
    pub async fn record_group(
        &self,
        group: GroupId,
        members: GroupMembers,
        read_at: Timestamp,
    ) -> Result<GroupDiff> {
        self.write("recording a group", move |tx| groups::record(tx, group, members, read_at)).await
    }

    /// The relevant groups a user is in, directly or not, for whoever decides by the groups in `named`,
    /// and about the scope by those in `of_scope`: complete only if all of them are kept. Rules and kept
    /// groups are exchanged one after the other.
    pub async fn membership(
        &self,
        user: UserId,
        named: BTreeSet<GroupId>,
        of_scope: BTreeSet<GroupId>,
    ) -> Result<Membership> {
        self.read("reading a membership", move |tx| groups::membership(tx, user, &named, &of_scope)).await
    }

    /// The ways by which a user is in the configured groups: each from the group they are directly in up
    /// to a configured one. At most 100.
    pub async fn membership_paths(&self, user: UserId) -> Result<Vec<Vec<GroupId>>> {
        self.read("reading a membership", move |tx| groups::paths(tx, user)).await
    }

    pub async fn relevant_groups(&self) -> Result<Vec<GroupId>> {
        self.read("reading the groups", groups::relevant).await
    }

    /// Of these groups and all that is nested in them, those that were not read since `at`.
    pub async fn groups_read_before(&self, groups: BTreeSet<GroupId>, at: Timestamp) -> Result<Vec<GroupId>> {
        self.read("reading the groups", move |tx| groups::read_before(tx, &groups, at)).await
    }

    /// Whether every relevant group has been read: then memberships are complete.
    pub async fn are_groups_read(&self) -> Result<bool> {
        self.read("reading the groups", groups::are_read).await
    }

    /// The relevant groups that have been read, with all that is nested in them.
    pub async fn kept_groups(&self) -> Result<BTreeSet<GroupId>> {
        self.read("reading the groups", groups::kept).await
    }

    /// The users of a group, nested ones included.
    pub async fn group_members(&self, group: GroupId) -> Result<BTreeSet<UserId>> {
        self.read("reading a group", move |tx| groups::members(tx, group)).await
    }
}

/// Subscriptions and delta rounds.
impl Store {
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>> {
        self.read("reading the subscriptions", subscriptions::all).await
    }

    pub async fn put_subscription(&self, subscription: &Subscription) -> Result<()> {
        let subscription = subscription.clone();
        self.write("writing a subscription", move |tx| subscriptions::put(tx, &subscription)).await
    }

    pub async fn remove_subscription(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.write("removing a subscription", move |tx| subscriptions::remove(tx, &id)).await
    }

    /// How far the delta query has come; `None` before the first page and after
    /// [`Store::forget_round`].
    pub async fn round(&self, resource: Resource) -> Result<Option<Round>> {
        self.read("reading a delta round", move |tx| rounds::round(tx, resource)).await
    }

    /// Records a page: its marks and the progress of the round in one commit. The last page of a full
    /// round of users also marks every linked user who was on none of its pages.
    pub async fn record_page(
        &self,
        resource: Resource,
        page: PageRecord,
        now: Timestamp,
    ) -> Result<PageOutcome> {
        self.write("recording a delta page", move |tx| rounds::record_page(tx, resource, page, now)).await
    }

    /// Forgets the link: the next round is a full one.
    pub async fn forget_round(&self, resource: Resource) -> Result<()> {
        self.write("forgetting a delta round", move |tx| rounds::forget(tx, resource)).await
    }
}

/// What operators are told of by themselves.
impl Store {
    /// Takes an event in for these receivers. It is handed over when this returns and on disk with `Ok` of
    /// the future, which gives how many older deliveries had to give way to it.
    pub fn hear(
        &self,
        event: Event,
        hearers: Vec<Hearer>,
        now: Timestamp,
    ) -> impl Future<Output = Result<usize>> + Send + use<> {
        let writer = self.0.writer.clone();
        let sent = writer.send_work("hearing of an event", move |tx| events::hear(tx, &event, &hearers, now));
        async move { sent?.await.unwrap_or_else(|_| Err(writer.shared().gone())) }
    }

    /// Ends the quiet windows that are over. When the next one ends that has something to tell, and how
    /// many older deliveries had to give way.
    pub async fn end_quiet_windows(
        &self,
        hearers: Vec<Hearer>,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, usize)> {
        self.write("ending quiet windows", move |tx| events::end_windows(tx, &hearers, now)).await
    }

    /// What waits for a receiver, the oldest first.
    pub async fn outgoing(&self, receiver: ReceiverId) -> Result<Vec<Outgoing>> {
        self.read("reading the outbox", move |tx| events::waiting(tx, receiver)).await
    }

    /// Puts a delivery off, or takes it off the outbox.
    pub async fn tried_delivery(&self, outgoing: Outgoing, again: Option<Delivery>) -> Result<()> {
        self.write("keeping a delivery", move |tx| events::tried(tx, &outgoing, again.as_ref())).await
    }

    /// Forgets everything of receivers other than these.
    pub async fn keep_receivers(&self, receivers: BTreeSet<ReceiverId>) -> Result<()> {
        self.write("keeping the receivers", move |tx| events::keep_only(tx, &receivers)).await
    }
}

/// The history, and odds and ends.
impl Store {
    /// Asks for a write: if the guard lets it pass, its intent is on disk and charged when this
    /// returns, and it may be sent. `clock` is how long the guard's clock has run.
    pub async fn begin_write(&self, intent: Intent, budgets: Budgets, clock: Duration) -> Result<Begun> {
        self.write("beginning a write", move |tx| guard::begin(tx, intent, &budgets, clock)).await
    }

    /// Writes down how a write ended that no job made. A job's are settled with it.
    pub async fn end_write(&self, user: UserId, wrote: Wrote) -> Result<()> {
        self.write("ending a write", move |tx| guard::end(tx, user, &wrote)).await
    }

    /// Writes made to CXone at or after `since`, newest first.
    pub async fn history(
        &self,
        user: Option<UserId>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Write>> {
        self.history_between(user, since, None, limit).await
    }

    /// Writes begun at or after `since` and before `before`, newest first.
    pub async fn history_between(
        &self,
        user: Option<UserId>,
        since: Option<Timestamp>,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Write>> {
        self.writes(Wanted { user, since, before, batch: None }, limit).await
    }

    /// The wanted writes, newest first, read in steps.
    pub async fn writes(&self, wanted: Wanted, limit: usize) -> Result<Vec<Write>> {
        let (mut writes, mut below) = (Vec::new(), None);
        let among = STEP.min(limit);
        loop {
            let wanted = wanted.clone();
            let step =
                self.read("reading the history", move |tx| log::history(tx, &wanted, below, among)).await?;
            writes.extend(step.writes);
            writes.truncate(limit);
            below = step.below;
            if below.is_none() || writes.len() == limit {
                return Ok(writes);
            }
        }
    }

    /// The latest remarks in the history, newest first: what operators decided, what was skipped.
    pub async fn remarks(&self, user: Option<UserId>, limit: usize) -> Result<Vec<Remark>> {
        self.wanted_remarks(Wanted { user, ..Wanted::default() }, limit).await
    }

    /// The wanted remarks, newest first. Of no user, no order and without `since`, only the latest entries
    /// of the history are looked through.
    pub async fn wanted_remarks(&self, wanted: Wanted, limit: usize) -> Result<Vec<Remark>> {
        let among = if wanted.since.is_some() { usize::MAX } else { REMARKS_AMONG };
        self.read("reading the history", move |tx| log::remarks(tx, &wanted, among, limit)).await
    }

    /// Checks the seals of the whole history. `expected`: the number and the seal of an entry as they
    /// were told earlier.
    pub async fn verify_history(&self, expected: Option<(u64, String)>) -> Result<Verification> {
        let chain = self.0.chain.clone();
        self.read("verifying the history", move |tx| log::verify(tx, &chain, expected.as_ref())).await
    }

    /// The number and the seal of the last entry of the history.
    pub async fn history_head(&self) -> Result<(u64, String)> {
        self.read("reading the history", log::head).await
    }

    /// What was known of a user at a time; at the end of time, what was last seen.
    pub async fn state_at(&self, user: UserId, at: Timestamp) -> Result<Option<SeenState>> {
        self.read("reading a seen state", move |tx| states::in_force(tx, user, at)).await
    }

    /// What was seen of everybody: the state in force at `since` and the later ones, in the order of the
    /// users, from the one after `after` on. With the end of time, only the newest of each.
    pub async fn states_since(
        &self,
        since: Timestamp,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<SeenStates>> {
        self.read("reading seen states", move |tx| states::since(tx, since, after, limit)).await
    }

    /// Keeps how the last minute was, and drops what is older than two days.
    pub async fn add_sample(&self, sample: Sample) -> Result<()> {
        self.write("keeping a sample", move |tx| samples::add(tx, &sample)).await
    }

    /// The samples at or after `since`, oldest first.
    pub async fn samples(&self, since: Timestamp) -> Result<Vec<Sample>> {
        self.read("reading the samples", move |tx| samples::since(tx, since)).await
    }

    pub async fn memo(&self, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.read("reading a memo", move |tx| meta::memo(tx, &key)).await
    }

    pub async fn set_memo(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write("writing a memo", move |tx| meta::set_memo(tx, &key, &value)).await
    }

    /// Drops what is older than its retention, in at most `max_steps` small commits. Whether there is
    /// more to drop.
    pub async fn prune(&self, now: Timestamp, max_steps: usize) -> Result<bool> {
        let (journal, history) = (self.0.retention_journal, self.0.retention_history);
        let mut more = true;
        for _ in 0..max_steps {
            more = self
                .write("pruning", move |tx| {
                    let more = journal::prune(tx, journal, STEP, now)?;
                    cases::prune(tx, now)?;
                    let more = log::prune(tx, history, STEP, now)? || more;
                    Ok(states::prune(tx, history, STEP, now)? || more)
                })
                .await?;
            if !more {
                break;
            }
        }
        Ok(more)
    }

    /// Entries of the history in the order they were written, from the one after `after` on, among the
    /// next `among`.
    pub async fn entries(&self, after: u64, among: usize) -> Result<Entries> {
        self.read("reading the history", move |tx| log::entries(tx, after, among)).await
    }

    /// Copies everything as it is at one moment, while all else goes on. One at a time. The copy is
    /// beside the store and has no name.
    pub async fn snapshot(&self, now: Timestamp) -> Result<Snapshot, SnapshotError> {
        let only_one = self.0.darkroom.enter()?;
        let shared = self.0.writer.shared().clone();
        let file = self.0.darkroom.blank(&shared.disk)?;
        self.read("copying the store", move |tx| {
            snapshot::copy(tx, file, only_one, &shared.disk, now, &|| shared.is_closing())
        })
        .await?
    }

    /// Whether a commit succeeds.
    pub async fn ready(&self, now: Timestamp) -> Result<()> {
        self.write("proving that it works", move |tx| meta::touch(tx, now)).await
    }
}

impl Store {
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&transaction::Writing) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.0.writer.write(doing, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.0.writer.read(doing, work).await
    }
}
