//! How a command ends: the exit codes, and the errors that lead to them.

use std::fmt;
use std::process::ExitCode;

use super::client::{ClientError, ConnectError};
use super::hint;
use crate::app::Foreign;

/// What the caller of a command can tell from its exit code. The numbers are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// The command line or the configuration is wrong. clap uses the same number.
    Usage = 2,
    /// It worked, but not for every user.
    SomeFailed = 3,
    /// Stopped by the guard or by an ambiguity; an operator must decide.
    Held = 4,
    Credentials = 5,
    /// Graph, CXone or the service itself does not answer.
    Unreachable = 6,
    /// Only `plan --detailed-exitcode`: something would change.
    ChangesPending = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What an error code of the admin API means for the exit code.
pub fn exit_of(code: &str) -> Exit {
    match code {
        "configuration" | "usage" | "invalid" => Exit::Usage,
        "some_failed" => Exit::SomeFailed,
        // What was to be approved is not what is held by now.
        "held" | "set_changed" => Exit::Held,
        "credentials" | "unauthorized" | "forbidden" => Exit::Credentials,
        "unreachable" | "timeout" | "throttled" | "not_running" | "no_answer" => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// Why a command failed: with which code, and in which words.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// In one line, with its causes; only a configuration has a line for each mistake.
    pub message: String,
    /// What to do about it, see [`hint`].
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub fn with_hint(self, hint: Option<impl Into<String>>) -> Self {
        Self { hint: hint.map(Into::into), ..self }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let exit = if error.is::<Foreign>() { Exit::Usage } else { Exit::Failed };
        Self::new(exit, format!("{error:#}")).with_hint(hint::of_causes(&error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused { code, .. } => exit_of(code),
            ClientError::NoAnswer(_) => Exit::Unreachable,
            ClientError::Malformed(_) => Exit::Failed,
        };
        let hint = hint::of_answer(&error);
        Self::new(exit, format!("{:#}", anyhow::Error::from(error))).with_hint(hint)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match &error {
            ConnectError::Token { .. } | ConnectError::Socket { .. } => Exit::Credentials,
            ConnectError::Silent { .. } => Exit::Unreachable,
            ConnectError::Offline(_) => Exit::Failed,
            ConnectError::SetUp(_) => Exit::Failed,
        };
        let hint = hint::of_connection(&error);
        Self::new(exit, format!("{:#}", anyhow::Error::from(error))).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_its_exit_code() {
        for (code, number) in [
            ("internal", 1),
            ("not_found", 1),
            ("a_code_of_a_later_version", 1),
            ("configuration", 2),
            ("invalid", 2),
            ("some_failed", 3),
            ("held", 4),
            ("set_changed", 4),
            ("credentials", 5),
            ("unauthorized", 5),
            ("unreachable", 6),
            ("throttled", 6),
        ] {
            assert_eq!(exit_of(code) as u8, number, "{code}");
        }
    }

    #[test]
    fn the_causes_of_a_failure_are_shown_in_one_line() {
        let error = anyhow::anyhow!("disk gone").context("cannot write plan.json");
        assert_eq!(Failure::from(error).message, "cannot write plan.json: disk gone");
    }
}
