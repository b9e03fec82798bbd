use std::fs;
use std::path::Path;

use super::*;
use crate::cli::backup::tests::{bytes, configuration};
use crate::cli::screen::testing::screen;
use crate::store::{Options, Store};
use crate::telemetry::Metrics;

fn clock() -> Clock {
    Clock::manual("2026-11-23T12:00:00Z".parse().unwrap())
}

fn open(store: &Path) {
    let options = Options { ballast_bytes: 1 << 10, ..Options::at(store) };
    drop(Store::open(options, clock().now(), Metrics::new()).unwrap());
}

/// The failure or what is printed; somebody is there if something is `typed`.
async fn restore(directory: &Path, force: bool, yes: bool, typed: &'static str) -> Result<String, Failure> {
    let config = configuration(&directory.join("sync.redb"));
    let args = Args { file: directory.join("backup.redb"), force, yes, output: Output::default() };
    let (of_ours, out, _) = screen(!typed.is_empty(), typed);
    put_back(&args, &config, &clock(), of_ours).await?;
    Ok(out.text())
}

#[tokio::test]
async fn a_new_host_gets_the_store_and_is_told_of_the_key() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("backup.redb"), bytes().await).unwrap();
    let said = restore(directory.path(), false, true, "").await.unwrap();
    assert!(said.starts_with("Restored: 0 links, 0 jobs"), "{said}");
    assert!(said.ends_with("At the next start everybody is compared.\n"), "{said}");
    assert!(!directory.path().join("history-key").exists(), "no key is made: it would be the wrong one");
    open(&directory.path().join("sync.redb"));
}

#[tokio::test]
async fn a_store_the_backup_is_not_of_is_only_replaced_by_force() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("sync.redb");
    fs::write(directory.path().join("backup.redb"), bytes().await).unwrap();
    open(&store);
    let before = fs::read(&store).unwrap();
    let failure = restore(directory.path(), false, true, "").await.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.hint.unwrap().contains("--force"));
    assert!(fs::read(&store).unwrap() == before);
    let said = restore(directory.path(), true, true, "").await.unwrap();
    let aside = directory.path().join("sync.redb.before-20261123T120000Z");
    assert!(said.contains(&format!("What was there is now {}\n", aside.display())), "{said}");
    assert!(fs::read(&aside).unwrap() == before, "never deleted");
    open(&store);
}

#[tokio::test]
async fn nothing_is_done_without_a_yes() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("backup.redb"), bytes().await).unwrap();
    assert_eq!(restore(directory.path(), false, false, "").await.unwrap_err().exit, Exit::Usage);
    assert_eq!(restore(directory.path(), false, false, "n\n").await.unwrap_err().exit, Exit::Failed);
    assert!(!directory.path().join("sync.redb").exists());
    restore(directory.path(), false, false, "y\n").await.unwrap();
    assert!(directory.path().join("sync.redb").exists());
}

#[test]
fn what_the_key_makes_of_the_history_is_told() {
    let mut found = Inspected {
        schema: 3,
        identity: uuid::Uuid::nil(),
        taken_at: None,
        links: 1,
        jobs: 2,
        entries: 3,
        head: (3, "5e".to_owned()),
    };
    assert!(rendered(&found, &[], None).contains("history-key"), "there is none");
    let whole = Verification { entries: 3, ..Verification::default() };
    assert!(rendered(&found, &[], Some(&whole)).contains("Its history is whole."));
    let broken = Verification { n_breaks: 1, ..whole };
    assert!(rendered(&found, &[], Some(&broken)).contains("is it the key of the old host?"));
    found.entries = 0;
    assert!(!rendered(&found, &[], None).contains("history-key"), "there is nothing to verify");
}
