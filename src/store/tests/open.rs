//! Files and their neighbours: making, finding, refusing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::support::*;
use crate::domain::queue::{Chore, Reason};
use crate::store::{OpenError, Options, Store};
use crate::telemetry::Metrics;

fn path(directory: &TempDir) -> PathBuf {
    directory.path().join("cxone-sync.redb")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn open(path: &Path) -> Result<Store, OpenError> {
    let options = Options { ballast_bytes: 1 << 16, cache_bytes: 1 << 20, ..Options::at(path) };
    Store::open(options, at(0), Metrics::new())
}

fn names_in(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_new_store_is_private_and_named_beside() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    let store = open(&path).unwrap();
    store.mark(vec![mark(1, Reason::Delta, 1)], at(1)).await.unwrap();
    drop(store);
    assert_eq!(names_in(&directory), ["cxone-sync.redb", "cxone-sync.redb.ballast", "cxone-sync.redb.id"]);
    for name in names_in(&directory) {
        let mode = fs::metadata(directory.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let store = open(&path).unwrap();
    assert_eq!(store.depth(at(1)).await.unwrap().due, 1);
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    let first = open(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert_eq!(
        error.to_string(),
        format!("the store {} is in use by another process: stop that one, or talk to it", path.display())
    );
    drop(first);
    open(&path).unwrap();
}

#[test]
fn what_a_crash_left_of_the_making_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    fs::write(beside(&path, ".new"), b"half a file").unwrap();
    fs::write(beside(&path, ".id.new"), b"half").unwrap();
    drop(open(&path).unwrap());
    drop(open(&path).unwrap());
    assert!(!beside(&path, ".new").exists());
}

#[test]
fn somebody_else_making_the_store_right_now_is_not_disturbed() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    let draft = fs::File::create(beside(&path, ".new")).unwrap();
    draft.lock().unwrap();
    assert!(matches!(open(&path).unwrap_err(), OpenError::InUse { .. }));
    assert!(!path.exists());
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_as_they_are() {
    for content in
        [b"".as_slice(), b"x", b"a text about redb", b"redb but not really, and long enough to look"]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = path(&directory);
        fs::write(&path, content).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::NotAStore { .. } | OpenError::Damaged { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(names_in(&directory), ["cxone-sync.redb"]);
    }
}

#[test]
fn a_store_that_vanished_is_not_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    drop(open(&path).unwrap());
    fs::rename(&path, beside(&path, ".moved")).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Gone { .. }), "{error:?}");
    assert!(error.to_string().contains("remove that file to begin anew"), "{error}");
    assert!(!path.exists());
    fs::remove_file(beside(&path, ".id")).unwrap();
    open(&path).unwrap();
}

#[test]
fn a_store_that_was_exchanged_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    let other = directory.path().join("other");
    drop(open(&path).unwrap());
    drop(open(&other).unwrap());
    fs::copy(&other, &path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    // Emptied by somebody is no better.
    fs::write(&path, b"").unwrap();
    assert!(matches!(open(&path).unwrap_err(), OpenError::NotAStore { .. }));
    drop(redb::Database::create(&path).unwrap());
    assert!(matches!(open(&path).unwrap_err(), OpenError::NotAStore { .. }));
    fs::copy(&other, &path).unwrap();
    fs::write(beside(&path, ".id"), "not an identity").unwrap();
    assert!(matches!(open(&path).unwrap_err(), OpenError::Foreign { .. }));
    fs::remove_file(beside(&path, ".id")).unwrap();
    open(&path).unwrap();
}

#[tokio::test]
async fn a_store_restored_from_an_old_copy_has_everybody_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    drop(open(&path).unwrap());
    fs::copy(&path, beside(&path, ".copy")).unwrap();
    for _ in 0..3 {
        let store = open(&path).unwrap();
        assert_eq!(store.chores().await.unwrap(), []);
    }
    fs::copy(beside(&path, ".copy"), &path).unwrap();
    let store = open(&path).unwrap();
    let chores = store.chores().await.unwrap();
    assert_eq!(chores.into_iter().map(|entry| entry.chore).collect::<Vec<_>>(), [Chore::FullCompare]);
}

#[test]
fn a_directory_that_is_not_there_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nowhere/store");
    let error = open(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}", path.display()));
    assert!(matches!(error, OpenError::Io { .. }));
}

#[test]
fn damage_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    drop(open(&path).unwrap());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64 / 2, "it is left as it is");
}

#[test]
fn the_ballast_is_laid_only_where_there_is_room_to_spare() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    let options = Options { ballast_bytes: u64::MAX / 4, ..Options::at(&path) };
    drop(Store::open(options, at(0), Metrics::new()).unwrap());
    assert!(!beside(&path, ".ballast").exists());
}
