//! What can be said about a configuration that is not right: where, what, and what to do.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

/// Where a value comes from. The later layers win, in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// It follows from another key, which is named.
    Follows(&'static str),
    /// Line and column count from 1; a column is a character.
    File {
        name: Arc<str>,
        line: usize,
        column: usize,
    },
    /// The variable's name.
    Environment(String),
    Flag(String),
    /// The content of a file that a `<key>_file` names.
    SecretFile {
        path: PathBuf,
        named_by: Box<Origin>,
    },
}

impl Origin {
    /// For `config print`: the column is of no use there.
    pub fn describe(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Follows(key) => format!("follows from {key}"),
            Self::File { name, line, .. } => format!("from {name}:{line}"),
            Self::Environment(variable) => format!("environment {variable}"),
            Self::Flag(key) => format!("flag {key}"),
            Self::SecretFile { path, named_by } => {
                format!("content of {}, {}", path.display(), named_by.describe())
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Default => json!({ "kind": "default" }),
            Self::Follows(key) => json!({ "kind": "follows", "key": key }),
            Self::File { name, line, column } => {
                json!({ "kind": "file", "file": &**name, "line": line, "column": column })
            }
            Self::Environment(variable) => json!({ "kind": "environment", "variable": variable }),
            Self::Flag(key) => json!({ "kind": "flag", "flag": key }),
            Self::SecretFile { path, named_by } => {
                json!({ "kind": "secret_file", "path": path.display().to_string(), "named_by": named_by.to_json() })
            }
        }
    }
}

/// For errors.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(key) => write!(f, "flag {key}"),
            Self::SecretFile { named_by, .. } => named_by.fmt(f),
            Self::Default | Self::Follows(_) => f.write_str("default"),
        }
    }
}

/// One thing that is wrong. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `None` where something is missing.
    pub place: Option<Origin>,
    pub what: String,
    /// Empty where `what` says it all.
    pub todo: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.what)?;
        for line in self.todo.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| {
            // What is missing stands nowhere: last.
            (a.place.is_none(), &a.place).cmp(&(b.place.is_none(), &b.place))
        });
        problems.dedup();
        Self(problems)
    }

    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
