use std::io::{Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;

use jiff::Timestamp;

use super::*;
use crate::cli::client::Via;
use crate::cli::client::testing::client;
use crate::cli::screen::testing::screen;
use crate::clock::Clock;
use crate::config::Config;
use crate::outbound::{HeaderValue, Response, StatusCode};
use crate::store::{Options, Store};
use crate::telemetry::Metrics;

/// The bytes of a backup of an empty store.
pub async fn bytes() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let options = Options { ballast_bytes: 1 << 10, ..Options::at(directory.path().join("sync.redb")) };
    let store = Store::open(options, now, Metrics::new()).unwrap();
    let mut snapshot = store.snapshot(now).await.unwrap();
    let mut bytes = Vec::new();
    snapshot.file.rewind().unwrap();
    snapshot.file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// A configuration whose store is there.
pub fn configuration(store: &Path) -> Config {
    const EXAMPLE: &str = include_str!("../../../deploy/cxone-sync.example.toml");
    let secret = "0123456789abcdef0123456789abcdef";
    let environment = [
        ("CXONE_SYNC__STORE__PATH", store.to_str().unwrap()),
        ("CLIENT_STATE_SECRET", secret),
        ("GRAPH_CLIENT_SECRET", secret),
        ("CXONE_CLIENT_SECRET", secret),
    ];
    Config::parse("example", EXAMPLE, environment, &[]).unwrap()
}

/// What a backup to this file comes to when the service sends these bytes of so many.
async fn backup(file: &Path, force: bool, sent: Vec<u8>, n_bytes: usize) -> (Result<Exit, Failure>, String) {
    let service = move |request: crate::outbound::Request| {
        assert_eq!((request.method.as_str(), request.url.path()), ("POST", "/api/v1/backup"));
        let mut headers = crate::outbound::HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(n_bytes));
        Response { status: StatusCode::OK, headers, body: sent.clone().into() }
    };
    let (of_ours, out, _) = screen(false, "");
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let mut session = Session { client: client(service), via: Via::Socket, clock, screen: of_ours };
    let keys = KeyFiles::of(&configuration(Path::new("/var/lib/sync/sync.redb")));
    let args = Args { file: file.to_owned(), force, output: Output::default() };
    let exit = run(&args, &keys, &mut session).await;
    (exit, out.text())
}

#[tokio::test]
async fn the_file_is_private_and_what_is_not_in_it_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup.redb");
    let whole = bytes().await;
    let (exit, said) = backup(&file, false, whole.clone(), whole.len()).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(said.contains("0 links, 0 jobs, 0 entries of history, taken at 2026-11-23T10:00:00Z"), "{said}");
    assert!(said.contains("Not in it: the key of the history, the file /var/lib/sync/history-key"), "{said}");
    assert!(said.contains("Not in it: the admin token, the file /var/lib/sync/admin-token"), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
}

#[tokio::test]
async fn what_is_there_already_is_only_replaced_when_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup.redb");
    std::fs::write(&file, "an earlier one").unwrap();
    let whole = bytes().await;
    let failure = backup(&file, false, whole.clone(), whole.len()).await.0.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.hint.unwrap().contains("--force"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "an earlier one");
    // One that came meanwhile is not replaced either.
    let meanwhile = directory.path().join("meanwhile");
    let draft = Draft::of(&meanwhile, false).unwrap();
    std::fs::write(&meanwhile, "somebody's").unwrap();
    assert_eq!(draft.keep().unwrap_err().exit, Exit::Usage);
    assert_eq!(std::fs::read_to_string(&meanwhile).unwrap(), "somebody's");
    assert_eq!(backup(&file, true, whole.clone(), whole.len()).await.0.unwrap(), Exit::Done);
    assert!(store::inspect(&file).is_ok());
}

#[tokio::test]
async fn what_is_not_whole_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup.redb");
    let whole = bytes().await;
    let half = whole[..whole.len() / 2].to_vec();
    let failure = backup(&file, false, half.clone(), whole.len()).await.0.unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable, "{failure}");
    assert!(failure.message.contains("broke off after"), "{failure}");
    // Even if the length is right.
    let failure = backup(&file, false, half.clone(), half.len()).await.0.unwrap_err();
    assert!(failure.message.contains("damaged or was cut short"), "{failure}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn where_nothing_can_be_written_it_is_said_before_anything_is_asked() {
    let failure = Draft::of(Path::new("/nowhere/at/all/backup.redb"), false).err().unwrap();
    assert!(failure.message.starts_with("cannot write /nowhere/at/all/backup.redb"), "{failure}");
    assert_eq!(failure.message.lines().count(), 1);
}
