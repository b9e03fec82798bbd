//! The history: intents and outcomes, and a chain that shows what was done to it.

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::support::*;
use crate::domain::case::{CaseChange, Task, Work};
use crate::domain::guard::Budgets;
use crate::domain::queue::{Change, Intent, Operation, Outcome, Reason, Remark, Write, WriteResult, Wrote};
use crate::domain::user::{Attribute, Attributes, ScimId, Value};
use crate::store::{Begun, ChainKey, Options, Store, Wanted, open, tables};
use crate::telemetry::Metrics;

pub fn intent(n: u8, second: i64, operation: Operation) -> Intent {
    Intent {
        at: at(second),
        user: user(n),
        scim_id: Some(ScimId("x".to_owned())),
        operation,
        changes: vec![Change { attribute: Attribute::Active, before: None, after: Some(Value::Flag(true)) }],
        why: Default::default(),
        reason: Reason::Delta,
        evidence: None,
        plan: format!("plan of {n} at {second}"),
        desired: format!("wish {second}"),
        batch: None,
        approved_by: None,
        spend: Default::default(),
    }
}

pub async fn begin(store: &Store, intent: Intent) -> u64 {
    match store.begin_write(intent, Budgets::default(), 60 * SECOND).await.unwrap() {
        Begun::Go(number) => number,
        stopped => panic!("{stopped:?}"),
    }
}

fn wrote(number: u64, second: i64, result: WriteResult) -> Wrote {
    Wrote { intent: number, at: at(second), scim_id: None, result, shown: Attributes::new(), lag_ms: 5 }
}

/// Runs a job of this user that ends so.
pub async fn settle(store: &Store, n: u8, second: i64, outcome: Outcome) {
    store.mark(vec![mark(n, Reason::Operator, second)], at(second)).await.unwrap();
    let claims = store.claim(9, at(second)).await.unwrap();
    let running = claims.into_iter().find(|claim| claim.job.user == user(n)).expect("it was just marked");
    store.settle(running, outcome, at(second)).await.unwrap();
}

/// One write from its intent to its outcome.
async fn write(store: &Store, n: u8, second: i64, result: WriteResult) {
    let number = begin(store, intent(n, second, Operation::Patch)).await;
    settle(store, n, second, Outcome { writes: vec![wrote(number, second, result)], ..done() }).await;
}

pub fn work(batch: &str) -> Work {
    let task = Task::Apply { plan: "p".to_owned() };
    Work { batch: batch.to_owned(), by: "ana".to_owned(), at: at(0), expires_at: at(99), task }
}

fn seconds(writes: &[Write]) -> Vec<i64> {
    writes.iter().map(|write| write.at.as_second() - at(0).as_second()).collect()
}

#[tokio::test]
async fn the_history_is_newest_first_by_user_since_and_before() {
    let store = fresh();
    for (n, second) in [(1, 10), (2, 20), (1, 30), (1, 31)] {
        write(&store, n, second, WriteResult::Applied).await;
    }
    let list = async |user, since: Option<i64>, before: Option<i64>, limit| {
        seconds(&store.history_between(user, since.map(at), before.map(at), limit).await.unwrap())
    };
    assert_eq!(list(None, None, None, 9).await, [31, 30, 20, 10]);
    assert_eq!(list(None, None, None, 3).await, [31, 30, 20]);
    assert_eq!(list(None, Some(20), None, 9).await, [31, 30, 20]);
    assert_eq!(list(None, Some(20), Some(31), 9).await, [30, 20]);
    assert_eq!(list(Some(user(1)), None, None, 9).await, [31, 30, 10]);
    assert_eq!(list(Some(user(1)), Some(11), Some(31), 9).await, [30]);
    assert_eq!(list(Some(user(1)), None, None, 1).await, [31]);
    assert_eq!(list(Some(user(3)), None, None, 9).await, [0; 0]);
}

#[tokio::test]
async fn a_long_history_is_read_to_its_end_and_by_order() {
    let store = fresh();
    // More than one step reads, most of them of one moment.
    for n in 0..=255_u8 {
        for second in [7, 7, 8] {
            let batch = (second == 8 && n % 2 == 0).then(|| "a".to_owned());
            if batch.is_some() {
                store.order(vec![(user(n), work("a"))], at(second)).await.unwrap();
            }
            begin(&store, Intent { batch, ..intent(n, second, Operation::Patch) }).await;
        }
    }
    assert_eq!(store.history(None, None, 10_000).await.unwrap().len(), 768);
    let mut numbers: Vec<u64> =
        store.history(None, Some(at(7)), 600).await.unwrap().iter().map(|write| write.number).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 600);
    let of_order = Wanted { batch: Some("a".to_owned()), ..Wanted::default() };
    assert_eq!(store.writes(of_order.clone(), 10_000).await.unwrap().len(), 128);
    assert_eq!(store.writes(of_order.clone(), 3).await.unwrap().len(), 3);
    let of_user = Wanted { user: Some(user(4)), before: Some(at(8)), ..Wanted::default() };
    assert_eq!(seconds(&store.writes(of_user, 10_000).await.unwrap()), [7, 7]);
}

#[tokio::test]
async fn an_intent_is_on_disk_before_anything_is_sent_and_ends_just_once() {
    let memory = Memory::default();
    let store = open(&memory);
    let number = begin(&store, intent(1, 10, Operation::Patch)).await;
    let pending = store.history(None, None, 9).await.unwrap();
    assert_eq!((pending[0].number, &pending[0].result), (number, &WriteResult::Pending));
    let outcome = |result| Outcome { writes: vec![wrote(number, 11, result)], ..done() };
    settle(&store, 1, 11, outcome(WriteResult::Applied)).await;
    settle(&store, 1, 12, outcome(WriteResult::Refused { error: "late".to_owned() })).await;
    let ended = store.history(None, None, 9).await.unwrap();
    assert_eq!((ended.len(), &ended[0].result, ended[0].lag_ms), (1, &WriteResult::Applied, 5));
    assert_eq!(ended[0].intent, intent(1, 10, Operation::Patch));

    // Killed between the intent and the answer: the next start does not know how it ended.
    begin(&store, intent(2, 20, Operation::Patch)).await;
    store.close().await;
    let store = open(&memory);
    let left = store.history(Some(user(2)), None, 9).await.unwrap();
    assert!(matches!(&left[0].result, WriteResult::Unknown { error } if error.contains("ended")), "{left:?}");
    assert_eq!(store.verify_history(None).await.unwrap().n_breaks, 0);

    // A run that broke off leaves one too, until the next write of the same user.
    begin(&store, intent(3, 30, Operation::Patch)).await;
    begin(&store, intent(3, 40, Operation::Patch)).await;
    let both = store.history(Some(user(3)), None, 9).await.unwrap();
    assert!(matches!(both[0].result, WriteResult::Pending));
    assert!(matches!(both[1].result, WriteResult::Unknown { .. }));
}

#[tokio::test]
async fn remarks_stand_beside_the_writes() {
    let store = fresh();
    let remark = |n: Option<u8>, code: &str| Remark {
        at: at(1),
        user: n.map(user),
        code: code.to_owned(),
        words: "w".to_owned(),
        by: Some("ana".to_owned()),
        batch: None,
    };
    let of_order = |code| Remark { batch: Some("a".to_owned()), ..remark(Some(1), code) };
    let all = [
        remark(Some(1), "approved"),
        remark(None, "preapproved"),
        of_order("skipped"),
        remark(Some(2), "lifted"),
    ];
    for remark in all {
        settle(&store, 9, 1, Outcome { remarks: vec![remark], ..done() }).await;
    }
    let codes = async |n: Option<u8>, limit| {
        let remarks = store.remarks(n.map(user), limit).await.unwrap();
        remarks.into_iter().map(|remark| remark.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(None, 9).await, ["lifted", "skipped", "preapproved", "approved"]);
    assert_eq!(codes(None, 2).await, ["lifted", "skipped"]);
    assert_eq!(codes(Some(1), 9).await, ["skipped", "approved"]);
    assert_eq!(codes(Some(1), 1).await, ["skipped"]);
    let wanted = |batch: &str, n: Option<u8>| {
        let batch = Some(batch.to_owned());
        store.wanted_remarks(Wanted { batch, user: n.map(user), ..Wanted::default() }, 9)
    };
    assert_eq!(wanted("a", None).await.unwrap(), [of_order("skipped")]);
    assert_eq!(wanted("a", Some(1)).await.unwrap().len(), 1);
    assert_eq!(wanted("a", Some(2)).await.unwrap(), []);
    assert_eq!(wanted("", None).await.unwrap(), [], "the beginning of an id is none");
    store.prune(at(2) + 90 * DAY, 9).await.unwrap();
    assert_eq!(codes(Some(1), 9).await, Vec::<String>::new());
    assert_eq!(wanted("a", None).await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_left_of_what_was_pruned_in_any_index() {
    let memory = Memory::default();
    let store = open(&memory);
    store.order(vec![(user(1), work("a"))], at(1)).await.unwrap();
    let number =
        begin(&store, Intent { batch: Some("a".to_owned()), ..intent(1, 2, Operation::Patch) }).await;
    let case = CaseChange { work_done: Some("a".to_owned()), ..CaseChange::default() };
    let writes = vec![wrote(number, 3, WriteResult::Applied)];
    settle(&store, 1, 3, Outcome { writes, case, ..done() }).await;
    let rows = async |store: Store| {
        store.close().await;
        let engine = redb::Builder::new().create_with_backend(memory.clone()).unwrap();
        let tx = engine.begin_read().unwrap();
        let of_keys = [tables::LOG_OF_USER, tables::LOG_AT, tables::REMARKS_OF_USER];
        let of_batch = [tables::LOG_OF_BATCH, tables::REMARKS_OF_BATCH, tables::WORKING_ON];
        let of_keys = of_keys.map(|table| tx.open_table(table).unwrap().len().unwrap());
        (of_keys, of_batch.map(|table| tx.open_table(table).unwrap().len().unwrap()))
    };
    assert_eq!(rows(store).await, ([1, 1, 1], [1, 1, 0]));
    let store = open(&memory);
    store.prune(at(4) + 90 * DAY, 9).await.unwrap();
    assert_eq!(rows(store).await, ([0; 3], [0; 3]));
}

#[tokio::test]
async fn a_store_that_did_not_index_orders_does_once_it_is_opened() {
    let memory = Memory::default();
    let store = open(&memory);
    store.order(vec![(user(1), work("a"))], at(1)).await.unwrap();
    begin(&store, Intent { batch: Some("a".to_owned()), ..intent(1, 2, Operation::Patch) }).await;
    let found = async |store: &Store| {
        let wanted = Wanted { batch: Some("a".to_owned()), ..Wanted::default() };
        let remarks = store.wanted_remarks(wanted.clone(), 9).await.unwrap().len();
        let of_user = store.remarks(Some(user(1)), 9).await.unwrap().len();
        (store.working_on("a").await.unwrap(), store.writes(wanted, 9).await.unwrap().len(), remarks, of_user)
    };
    let expected = (vec![user(1)], 1, 1, 1);
    assert_eq!(found(&store).await, expected);
    store.close().await;

    let engine = redb::Builder::new().create_with_backend(memory.clone()).unwrap();
    let tx = engine.begin_write().unwrap();
    tx.delete_table(tables::WORKING_ON).unwrap();
    tx.delete_table(tables::LOG_OF_BATCH).unwrap();
    tx.delete_table(tables::REMARKS_OF_BATCH).unwrap();
    tx.delete_table(tables::REMARKS_OF_USER).unwrap();
    tx.open_table(tables::META)
        .unwrap()
        .insert(tables::meta::SCHEMA, 2_u64.to_be_bytes().as_slice())
        .unwrap();
    tx.commit().unwrap();
    drop(engine);
    assert_eq!(found(&open(&memory)).await, expected);
}

#[tokio::test]
async fn pruning_moves_the_beginning_of_the_chain_and_keeps_it_whole() {
    let store = fresh();
    for n in 0..=255_u8 {
        for second in 1..=3 {
            write(&store, n, second, WriteResult::Applied).await;
        }
    }
    write(&store, 1, 100, WriteResult::Applied).await;
    let before = store.verify_history(None).await.unwrap();
    assert_eq!((before.entries, before.first, before.n_breaks), (2 * (256 * 3 + 1), 1, 0));
    assert!(store.prune(at(50) + 90 * DAY, 1).await.unwrap(), "one step is not enough");
    assert_eq!(store.verify_history(None).await.unwrap().first, 501);
    assert!(!store.prune(at(50) + 90 * DAY, 9).await.unwrap());
    let after = store.verify_history(None).await.unwrap();
    assert_eq!((after.entries, after.last, after.n_breaks, &after.head), (2, before.last, 0, &before.head));
    assert_eq!(seconds(&store.history(None, None, 9).await.unwrap()), [100]);
    assert_eq!(seconds(&store.history(Some(user(1)), None, 9).await.unwrap()), [100]);
    assert!(!store.prune(at(101) + 90 * DAY, 9).await.unwrap());
    let empty = store.verify_history(None).await.unwrap();
    assert_eq!((empty.entries, empty.n_breaks, &empty.head), (0, 0, &before.head));
    write(&store, 1, 200, WriteResult::Applied).await;
    assert_eq!(store.verify_history(None).await.unwrap().n_breaks, 0);
}

/// A history of ten entries, closed, and what its last entry was.
async fn chained() -> (Memory, (u64, String)) {
    let memory = Memory::default();
    let store = open(&memory);
    for n in 1..=5 {
        write(&store, n, i64::from(n), WriteResult::Applied).await;
    }
    let head = store.history_head().await.unwrap();
    store.close().await;
    (memory, head)
}

/// Changes the table of the history behind the back of the store, and what a check then finds.
async fn tampered(tamper: impl FnOnce(&mut redb::Table<u64, &[u8]>)) -> Vec<u64> {
    let (memory, head) = chained().await;
    let engine = redb::Builder::new().create_with_backend(memory.clone()).unwrap();
    let tx = engine.begin_write().unwrap();
    tamper(&mut tx.open_table(tables::LOG).unwrap());
    tx.commit().unwrap();
    drop(engine);
    let found = open(&memory).verify_history(Some(head)).await.unwrap();
    assert_eq!(found.n_breaks as usize, found.breaks.len());
    found.breaks.into_iter().map(|found| found.number).collect()
}

fn read(table: &redb::Table<u64, &[u8]>, number: u64) -> Vec<u8> {
    table.get(number).unwrap().unwrap().value().to_vec()
}

#[tokio::test]
async fn whatever_is_done_to_the_history_is_found_at_its_place() {
    assert_eq!(tampered(|_| {}).await, [0; 0]);
    let n_bytes = {
        let (memory, _) = chained().await;
        let engine = redb::Builder::new().create_with_backend(memory).unwrap();
        let tx = engine.begin_read().unwrap();
        let table = tx.open_table(tables::LOG).unwrap();
        table.get(4).unwrap().unwrap().value().len()
    };
    // A bit here and there of the seal and of the entry.
    for at in (0..n_bytes).step_by(7) {
        let found = tampered(|log| {
            let mut entry = read(log, 4);
            entry[at] ^= 1;
            log.insert(4, entry.as_slice()).unwrap();
        });
        let found = found.await;
        // A changed seal breaks its own entry and the one that rests on it.
        assert!(found == [4] || found == [4, 5], "byte {at}: {found:?}");
    }
    assert_eq!(tampered(|log| drop(log.remove(4).unwrap())).await, [4, 5]);
    assert_eq!(tampered(|log| drop(log.remove(1).unwrap())).await, [1, 2]);
    let swapped = tampered(|log| {
        let (three, four) = (read(log, 3), read(log, 4));
        log.insert(3, four.as_slice()).unwrap();
        log.insert(4, three.as_slice()).unwrap();
    });
    assert_eq!(swapped.await, [3, 4, 5]);
    let inserted = tampered(|log| {
        let ten = read(log, 10);
        log.insert(11, ten.as_slice()).unwrap();
    });
    assert_eq!(inserted.await, [11, 10], "and the chain ends elsewhere than it says");
    let doubled = tampered(|log| {
        let two = read(log, 2);
        log.insert(3, two.as_slice()).unwrap();
    });
    assert_eq!(doubled.await, [3, 4]);
    let cut = tampered(|log| drop(log.remove(10).unwrap()));
    assert_eq!(cut.await, [10, 10], "the head is sealed, and it was kept elsewhere");
    assert_eq!(tampered(|log| log.retain(|_, _| false).unwrap()).await, [10, 10]);
}

#[tokio::test]
async fn a_history_sealed_with_another_key_is_not_ours() {
    let (memory, head) = chained().await;
    let key = ChainKey::new([9; 32]);
    let opened = open::open_on(memory, 1 << 20, &key, open::MIGRATIONS, at(0)).unwrap();
    let options = Options { history_key: key, ..Options::at("") };
    let store = Store::start(opened, crate::store::Disk::boundless(), &options, Metrics::new()).unwrap();
    let found = store.verify_history(Some(head)).await.unwrap();
    assert_eq!(found.n_breaks, 11, "ten entries and the head");
}

#[tokio::test]
async fn a_thief_of_the_key_who_writes_it_anew_is_found_by_what_was_kept_elsewhere() {
    let (_, (number, seal)) = chained().await;
    let store = fresh();
    for n in 1..=5 {
        write(&store, n + 1, i64::from(n), WriteResult::Applied).await;
    }
    assert_eq!(store.verify_history(None).await.unwrap().n_breaks, 0);
    let found = store.verify_history(Some((number, seal.to_uppercase()))).await.unwrap();
    assert_eq!(found.breaks[0].number, number);
    assert!(found.breaks[0].what.contains("kept elsewhere"));
    let missing = store.verify_history(Some((99, seal))).await.unwrap();
    assert!(missing.breaks[0].what.contains("is not there"));
}

#[tokio::test]
async fn a_store_without_a_chain_gets_one_and_its_guard_knows_the_last_day() {
    let memory = Memory::default();
    drop(open::open_on(memory.clone(), 1 << 20, &ChainKey::new([0; 32]), &[], at(0)).unwrap());
    let engine = redb::Builder::new().create_with_backend(memory.clone()).unwrap();
    let tx = engine.begin_write().unwrap();
    let history: redb::TableDefinition<&[u8; 33], &[u8]> = redb::TableDefinition::new("history");
    let old = |second: i64, operation: &str, result: &str| {
        format!(
            r#"{{"v":1,"is":{{"at":"{}","user":"{}","scim_id":"x","operation":"{operation}","changes":[],
               "reason":"delta","evidence":{{"kind":"disabled"}},"result":{result},"lag_ms":7}}}}"#,
            at(second),
            user(1)
        )
    };
    let applied = r#"{"result":"applied"}"#;
    let writes = [
        (1, "deactivate", applied),
        (90_000, "create", applied),
        (90_001, "deactivate", applied),
        (90_002, "deactivate", r#"{"result":"refused","error":"no"}"#),
        (90_003, "deactivate", r#"{"result":"unknown","error":"?"}"#),
    ];
    for (number, (second, operation, result)) in writes.iter().enumerate() {
        let mut key = [u8::try_from(number).unwrap(); 33];
        key[..16].copy_from_slice(&tables::instant(at(*second)));
        tx.open_table(history).unwrap().insert(&key, old(*second, operation, result).as_bytes()).unwrap();
    }
    tx.commit().unwrap();
    drop(engine);

    let store = open(&memory);
    let writes = store.history(None, None, 9).await.unwrap();
    assert_eq!(seconds(&writes), [90_003, 90_002, 90_001, 90_000, 1]);
    assert_eq!((writes[2].lag_ms, &writes[2].result), (7, &WriteResult::Applied));
    assert_eq!(writes[2].evidence.as_ref().unwrap().code(), "disabled");
    let usage = store.guard_usage(crate::domain::guard::Guarded::Deactivations, SECOND).await.unwrap();
    assert_eq!((usage.last_hour, usage.last_day), (2, 2), "what surely did not happen does not count");
    assert_eq!(store.verify_history(None).await.unwrap().n_breaks, 0);
}
