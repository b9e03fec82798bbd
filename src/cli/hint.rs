//! What to do about the usual errors, in one place. A message says what is wrong; a hint, what helps.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::client::{ClientError, ConnectError};
use crate::store::OpenError;

const START: &str = "start it with `cxone-sync serve`, or leave out what needs a service that runs";
const TOKEN: &str = "run this as the user the service runs as, or give both the same service.admin_token";
const SAME: &str = "is this the configuration the service was started with, and the same host or container?";
const STOP: &str = "commands talk to a service that runs; to work on the store itself, stop it first";
const REACH: &str =
    "the service tries again by itself; look at the way from this host: DNS, firewall, HTTPS_PROXY, NO_PROXY";
const WAIT: &str = "it is tried again by itself when the time is over";
const CREDENTIALS: &str =
    "look at the credentials in [graph] and [cxone], when they expire, and at the consent in Entra";
const FILE: &str =
    "name the file with --config or CXONE_SYNC_CONFIG; deploy/cxone-sync.example.toml documents every key";
const DISK: &str = "make room on the disk of the store";

/// About an answer of the service, or none.
pub fn of_answer(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Refused { code, .. } => of_code(code),
        ClientError::NoAnswer(_) => Some("did the service end meanwhile? `cxone-sync healthcheck` asks it"),
        ClientError::Malformed(_) => Some("use the same version of cxone-sync as the service"),
    }
}

fn of_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "not_running" => START,
        "unauthorized" => TOKEN,
        "unknown_host" => "call the service by a name or an address of service.private_listen",
        "unreachable" | "timeout" | "no_answer" => REACH,
        "throttled" => WAIT,
        "credentials" | "forbidden" => CREDENTIALS,
        "no_room" => DISK,
        "set_changed" => "look at what is held now with `cxone-sync held list`",
        "store_failed" | "store" => "the service ends and starts anew by its supervisor; see its log",
        _ => return None,
    })
}

/// About the way to the service.
pub fn of_connection(error: &ConnectError) -> Option<String> {
    match error {
        ConnectError::Token { .. } => Some(TOKEN.to_owned()),
        ConnectError::Socket { socket, .. } => Some(match owner(socket) {
            Some(owner) => {
                format!("run this as the user the service runs as: sudo -u '#{owner}' cxone-sync …")
            }
            None => "run this as the user the service runs as".to_owned(),
        }),
        ConnectError::Silent { .. } => Some(SAME.to_owned()),
        ConnectError::Offline(error) => of_causes(error),
        ConnectError::SetUp(_) => None,
    }
}

fn owner(socket: &Path) -> Option<u32> {
    std::fs::symlink_metadata(socket).ok().map(|found| found.uid())
}

/// About whatever is among the causes of an error.
pub fn of_causes(error: &anyhow::Error) -> Option<String> {
    let hint = error.chain().find_map(|cause| {
        if let Some(OpenError::InUse { .. }) = cause.downcast_ref() {
            return Some(STOP);
        }
        match cause.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::PermissionDenied => {
                Some("run this as the user the service runs as, or correct the owner and the mode")
            }
            io::ErrorKind::AddrInUse => {
                Some("another service listens there: stop it, or choose another port")
            }
            io::ErrorKind::StorageFull => Some(DISK),
            _ => None,
        }
    });
    hint.map(str::to_owned)
}

/// About a configuration that cannot be used. `named`: the file that was named, if one was.
pub fn of_configuration(named: Option<&Path>) -> Option<&'static str> {
    match named {
        Some(file) if file.exists() => None,
        Some(_) | None => Some(FILE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::{Exit, Failure};
    use crate::outbound::StatusCode;

    fn refused(code: &str) -> Failure {
        let (code, message) = (code.to_owned(), "no".to_owned());
        ClientError::Refused { status: StatusCode::BAD_REQUEST, code, message }.into()
    }

    #[test]
    fn the_usual_errors_say_what_helps() {
        for (code, words) in [
            ("not_running", "cxone-sync serve"),
            ("unauthorized", "service.admin_token"),
            ("unreachable", "HTTPS_PROXY"),
            ("credentials", "consent"),
            ("no_room", "room on the disk"),
        ] {
            let failure = refused(code);
            assert_eq!(failure.message, "no", "{code}");
            assert!(failure.hint.as_deref().is_some_and(|hint| hint.contains(words)), "{code}: {failure:?}");
        }
        assert_eq!(refused("not_found").hint, None, "the message says it all");
    }

    #[test]
    fn a_socket_of_somebody_else_names_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("sync.sock");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let uid = std::fs::metadata(&socket).unwrap().uid();
        let source = io::ErrorKind::PermissionDenied.into();
        let failure = Failure::from(ConnectError::Socket { socket: socket.clone(), source });
        assert_eq!(failure.exit, Exit::Credentials);
        assert_eq!(
            failure.message,
            format!(
                "there is a socket of the service at {}, which this user may not use: permission denied",
                socket.display()
            )
        );
        assert!(failure.hint.unwrap().contains(&format!("sudo -u '#{uid}'")));
    }

    #[test]
    fn the_cause_is_found_however_deep_it_lies() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = anyhow::Error::from(denied).context("cannot open it").context("no service runs");
        let failure = Failure::from(ConnectError::Offline(error));
        assert_eq!(failure.message.lines().count(), 1, "{}", failure.message);
        assert!(failure.message.ends_with("permission denied"), "{}", failure.message);
        assert!(failure.hint.unwrap().contains("the user the service runs as"));
        let in_use = OpenError::InUse { path: "sync.redb".into() };
        assert_eq!(Failure::from(anyhow::Error::from(in_use)).hint.as_deref(), Some(STOP));
        assert_eq!(Failure::from(anyhow::anyhow!("something else")).hint, None);
    }

    #[test]
    fn who_named_no_file_is_told_how_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of_configuration(None), Some(FILE));
        assert_eq!(of_configuration(Some(Path::new("/nowhere/sync.toml"))), Some(FILE));
        assert_eq!(of_configuration(Some(file.path())), None);
    }
}
