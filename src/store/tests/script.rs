//! A short life of a store, step by step, and its whole content to compare: what is promised after a
//! crash is that everything acknowledged is there, and of what was not, all or nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, TableHandle as _, Value};

use super::faulty::Faulty;
use super::support::*;
use crate::domain::case::{Preapproval, Task, Work};
use crate::domain::guard::{Budgets, Guarded, Spend};
use crate::domain::link::Link;
use crate::domain::queue::{
    Chore, ChoreOutcome, Intent, LinkChange, News, Operation, Outcome, Reason, State, WriteResult, Wrote,
};
use crate::domain::subscription::Resource;
use crate::domain::user::{ScimId, UserId};
use crate::store::error::Fault;
use crate::store::{
    Begun, ChoreClaim, Claim, Error, GroupMembers, OpenError, PageNext, PageRecord, Replay, Store, tables,
};
use crate::telemetry::Metrics;

/// Rows of all tables but the file's own facts, which change at every opening.
pub type Content = Vec<(String, Vec<u8>, Vec<u8>)>;

pub fn content(store: &Store) -> Result<Content, Error> {
    store.0.writer.shared().read("reading everything", rows)
}

pub fn rows(tx: &ReadTransaction) -> Result<Content, Fault> {
    let mut rows = Rows { tx, content: Vec::new() };
    tables::each(&mut rows)?;
    let folded = crate::store::meta::number(tx, tables::meta::FOLDED)?;
    rows.content.push(("folded".to_owned(), Vec::new(), folded.to_be_bytes().into()));
    Ok(rows.content)
}

struct Rows<'a> {
    tx: &'a ReadTransaction,
    content: Content,
}

impl tables::EachTable for Rows<'_> {
    type Error = Fault;

    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Fault> {
        if table.name() == tables::META.name() {
            return Ok(());
        }
        for row in self.tx.open_table(table)?.iter()? {
            let (key, value) = row?;
            let key = K::as_bytes(&key.value()).as_ref().to_vec();
            let value = V::as_bytes(&value.value()).as_ref().to_vec();
            self.content.push((table.name().to_owned(), key, value));
        }
        Ok(())
    }
}

pub fn open_on(disk: &Faulty) -> Result<Store, OpenError> {
    Store::open_on(disk.clone(), at(900), Metrics::new())
}

/// What runs while the script does.
#[derive(Default)]
struct Running {
    jobs: Vec<Claim>,
    chores: Vec<ChoreClaim>,
}

impl Running {
    fn job(&mut self) -> Claim {
        self.jobs.pop().expect("the script claimed a job before")
    }
}

pub const N_STEPS: usize = 28;

async fn step(n: usize, store: &Store, running: &mut Running) -> Result<(), Error> {
    let now = at(10 * i64::try_from(n).unwrap());
    let many = |n_users: u16| {
        (0..n_users).map(|n| {
            let [high, low] = n.to_be_bytes();
            UserId::from_bytes([high, low, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
        })
    };
    let page = |next, full| PageRecord {
        marks: vec![mark(11, Reason::Delta, 1)],
        seen: vec![user(11)],
        next,
        full,
        started_at: at(1),
    };
    match n {
        0 => store.accept(vec![news(1), news(2), News::Group { id: group(1) }], now).await,
        1 => store.set_roots(&BTreeSet::from([group(1)])).await.map(drop),
        2 => {
            store
                .accept(vec![News::User { id: user(3), deleted: true }, News::Group { id: group(1) }], now)
                .await
        }
        3 => {
            running.jobs = store.claim(3, now).await?;
            Ok(())
        }
        4 => store.mark(vec![mark(2, Reason::Operator, 1), mark(4, Reason::Delta, 2)], now).await.map(drop),
        5 => {
            let user = running.jobs.last().expect("the script claimed jobs before").job.user;
            let begun = store.begin_write(intent(user, now), Budgets::default(), Duration::from_secs(60));
            assert_eq!(begun.await?, Begun::Go(1));
            Ok(())
        }
        6 => {
            let link = Link {
                scim_id: ScimId("x".to_owned()),
                baseline: Default::default(),
                confirmed_at: now,
                source_fingerprint: None,
                deactivated_by_us: false,
                source_gone: false,
                purged: false,
                returned_at: None,
                normalised: Default::default(),
            };
            let outcome = Outcome {
                link: LinkChange::Put(Box::new(link)),
                writes: vec![wrote(now)],
                seen: Some(Box::new(seen(50, "a"))),
                ..done()
            };
            store.settle(running.job(), outcome, now).await.map(drop)
        }
        7 => store.settle(running.job(), again(65), now).await.map(drop),
        8 => store.settle(running.job(), park(), now).await.map(drop),
        9 => {
            running.chores = store.claim_chores(now).await?;
            assert_eq!(running.chores.len(), 1);
            Ok(())
        }
        10 => {
            let members = GroupMembers { users: many(40).collect(), groups: [group(2)].into() };
            store.record_group(group(1), members, now).await.map(drop)
        }
        11 => {
            let chore = running.chores.pop().expect("claimed before");
            store.settle_chore(chore, ChoreOutcome::Done { next_at: Some(at(500)) }, now).await
        }
        12 => store
            .record_page(Resource::Users, page(PageNext::More("p".repeat(300)), true), now)
            .await
            .map(drop),
        13 => store
            .record_page(Resource::Users, page(PageNext::End("d".repeat(300)), true), now)
            .await
            .map(drop),
        14 => store.accept(many(90).map(|id| News::User { id, deleted: false }).collect(), now).await,
        15 => {
            running.jobs = store.claim(4, now).await?;
            Ok(())
        }
        16 => store.settle(running.job(), hold(), now).await.map(drop),
        17 => store.settle(running.job(), recheck(900), now).await.map(drop),
        18 => store.retry(None, &[State::Parked, State::Held], now).await.map(drop),
        19 => store.replay(Replay { since: Some(at(0)), ..Replay::default() }, now).await.map(drop),
        20 => store.schedule(Chore::FullCompare, now, now).await,
        21 => {
            let members = GroupMembers { users: many(20).collect(), groups: BTreeSet::new() };
            store.record_group(group(1), members, now).await.map(drop)
        }
        22 => store.set_memo("dialect", "put").await,
        23 => store.prune(now + 100 * DAY, 1).await.map(drop),
        24 => store.drop_job(user(4), at(0)).await.map(drop),
        25 => {
            let task = Task::Apply { plan: "p".to_owned() };
            let (batch, by) = ("b".to_owned(), "ana".to_owned());
            let work = Work { batch, by, at: now, expires_at: at(9999), task };
            store.order(vec![(user(5), work.clone()), (user(6), work)], now).await
        }
        26 => store
            .begin_write(intent(user(5), now), Budgets::default(), Duration::from_secs(90))
            .await
            .map(drop),
        27 => {
            let preapproval = Preapproval {
                id: uuid::Uuid::from_bytes([1; 16]),
                group: group(1),
                users: 2,
                most: 9,
                used: 0,
                by: "ana".to_owned(),
                at: now,
                until: at(9999),
            };
            store.preapprove(preapproval, BTreeSet::from([user(5), user(6)])).await
        }
        _ => unreachable!("the script has {N_STEPS} steps"),
    }
}

fn intent(user: UserId, now: jiff::Timestamp) -> Intent {
    let mut spend = Spend::default();
    spend.add(Guarded::Deactivations, 1);
    Intent {
        at: now,
        user,
        scim_id: None,
        operation: Operation::Deactivate,
        changes: Vec::new(),
        why: Default::default(),
        reason: Reason::Notification,
        evidence: None,
        plan: "p".to_owned(),
        desired: "d".to_owned(),
        batch: None,
        approved_by: None,
        spend,
    }
}

fn wrote(now: jiff::Timestamp) -> Wrote {
    let (scim_id, result) = (Some(ScimId("x".to_owned())), WriteResult::Applied);
    Wrote { intent: 1, at: now, scim_id, result, shown: Default::default(), lag_ms: 1 }
}

/// Runs the script until something fails. How many steps were acknowledged. `opened` is called before
/// the first of them, `after` after each.
pub async fn run(disk: &Faulty, opened: impl FnOnce(), mut after: impl FnMut()) -> usize {
    let store = open_on(disk).expect("the disk fails only later");
    opened();
    let mut running = Running::default();
    for n in 0..N_STEPS {
        if step(n, &store, &mut running).await.is_err() {
            // The handle is not closed: this is a crash.
            return n;
        }
        after();
    }
    store.close().await;
    N_STEPS
}

/// What must be found after a restart, by the number of steps that were acknowledged.
pub struct Expected(pub Vec<Content>);

impl Expected {
    pub async fn by_a_run_without_faults() -> Self {
        let disk = Faulty::default();
        let mut images = Vec::new();
        drop(open_on(&disk).unwrap());
        images.push(disk.after_kill());
        run(&disk, || {}, || images.push(disk.after_kill())).await;
        let contents = images.into_iter().map(|image| {
            let store = open_on(&Faulty::holding(image)).unwrap();
            content(&store).unwrap()
        });
        Self(contents.collect())
    }

    /// All that was acknowledged is there, and the step under way is there whole or not at all.
    pub fn check(&self, n_acknowledged: usize, image: &Faulty, told: &dyn std::fmt::Display) {
        let store = open_on(image).unwrap_or_else(|error| panic!("{told}: {error:?}"));
        let found = content(&store).unwrap_or_else(|error| panic!("{told}: {error:?}"));
        let allowed = &self.0[n_acknowledged..=(n_acknowledged + 1).min(N_STEPS)];
        assert!(
            allowed.contains(&found),
            "{told}: after {n_acknowledged} steps the store is as after {:?}",
            self.0.iter().position(|content| *content == found)
        );
    }
}
