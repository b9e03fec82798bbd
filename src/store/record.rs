//! The values in the tables: versioned JSON.
//!
//! A value is `{"v":1,"is":{…}}`. Fields may be added with `#[serde(default)]` at any time; what an
//! older program could misread gets a new version and a step in `open::MIGRATIONS`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Fault;
use crate::domain::case::{Case, Preapproval};
use crate::domain::event::{Delivery, Quiet};
use crate::domain::evidence::RemovedReason;
use crate::domain::link::Link;
use crate::domain::pulse::Sample;
use crate::domain::queue::{ChoreEntry, Intent, Job, Mark, News, Reason, Remark, Write, WriteResult, Wrote};
use crate::domain::seen::SeenState;
use crate::domain::subscription::Subscription;
use crate::domain::user::{Attributes, GroupId, ScimId, UserId};

/// A kind of value that a table holds.
pub(super) trait Record: Serialize + DeserializeOwned {
    const KIND: &'static str;
    const VERSION: u16 = 1;
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    v: u16,
    is: &'a T,
}

#[derive(Deserialize)]
struct Incoming<T> {
    v: u16,
    is: T,
}

#[derive(Deserialize)]
struct Version {
    v: u16,
}

pub(super) fn encode<T: Record>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Outgoing { v: T::VERSION, is: record })
        .expect("records have string keys and cannot fail to serialise")
}

pub(super) fn decode<T: Record>(bytes: &[u8]) -> Result<T, Fault> {
    let parsed = serde_json::from_slice::<Incoming<T>>(bytes);
    // A record of another version need not fit `T` at all, so its version is looked at on its own.
    let version = match &parsed {
        Ok(record) => Some(record.v),
        Err(_) => serde_json::from_slice::<Version>(bytes).ok().map(|record| record.v),
    };
    if let Some(found) = version
        && found != T::VERSION
    {
        return Err(Fault::Version { kind: T::KIND, found });
    }
    parsed.map(|record| record.is).map_err(|source| Fault::Record { kind: T::KIND, source })
}

/// A job, and what came in while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobRecord {
    pub job: Job,
    /// The marks since the claim, merged. They are the next run's, not this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_claim: Option<Pending>,
    /// The trace of the first news, as a W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The merged marks of a run that has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub reason: Reason,
    pub first_news_at: Timestamp,
    pub urgent: bool,
    pub removed: Option<RemovedReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChoreRecord {
    pub entry: ChoreEntry,
    /// When it was asked for again while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<Timestamp>,
}

/// One line of the journal: some notifications accepted at one moment, or marks too many for one
/// commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Part {
    News {
        at: Timestamp,
        news: Vec<News>,
        /// The trace in which they came, as a W3C `traceparent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    Marks {
        at: Timestamp,
        marks: Vec<MarkRecord>,
    },
}

impl Part {
    pub fn at(&self) -> Timestamp {
        match self {
            Self::News { at, .. } | Self::Marks { at, .. } => *at,
        }
    }
}

/// All that one commit adds to the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JournalRecord {
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MarkRecord {
    user: UserId,
    reason: Reason,
    news_at: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    urgent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed: Option<RemovedReason>,
}

impl From<&Mark> for MarkRecord {
    fn from(mark: &Mark) -> Self {
        let Mark { user, reason, news_at, urgent, removed } = *mark;
        Self { user, reason, news_at, urgent, removed }
    }
}

impl From<MarkRecord> for Mark {
    fn from(record: MarkRecord) -> Self {
        let MarkRecord { user, reason, news_at, urgent, removed } = record;
        Self { user, reason, news_at, urgent, removed }
    }
}

/// A relevant group; its users are in a table of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupRecord {
    /// Named by the configuration.
    pub root: bool,
    /// When its members were last read to the end.
    pub read_at: Option<Timestamp>,
    /// The groups that are its direct members.
    pub groups: BTreeSet<GroupId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RoundRecord {
    pub next: String,
    pub in_progress: bool,
    pub full: bool,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
}

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Entry {
    Intent {
        intent: Box<Intent>,
        /// The minute of the guard's clock in which it was charged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charged: Option<u64>,
        /// The charge was taken over from a write of which it is not known whether it was done.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        carried: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preapproval: Option<[u8; 16]>,
    },
    Outcome(Box<OutcomeRecord>),
    Remark(Box<Remark>),
}

impl Entry {
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Intent { intent, .. } => intent.at,
            Self::Outcome(outcome) => outcome.at,
            Self::Remark(remark) => remark.at,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutcomeRecord {
    pub intent: u64,
    pub at: Timestamp,
    pub scim_id: Option<ScimId>,
    pub result: WriteResult,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub shown: Attributes,
    pub lag_ms: u64,
}

impl From<&Wrote> for OutcomeRecord {
    fn from(wrote: &Wrote) -> Self {
        let Wrote { intent, at, scim_id, result, shown, lag_ms } = wrote.clone();
        Self { intent, at, scim_id, result, shown, lag_ms }
    }
}

macro_rules! records {
    ($($record:ty => $kind:literal),* $(,)?) => {$(
        impl Record for $record {
            const KIND: &'static str = $kind;
        }
    )*};
}

records! {
    JobRecord => "job",
    ChoreRecord => "chore",
    Sample => "sample",
    JournalRecord => "journal record",
    Link => "link",
    GroupRecord => "group",
    RoundRecord => "delta round",
    Subscription => "subscription",
    Write => "history entry of schema 1",
    Entry => "history entry",
    Case => "case",
    Preapproval => "preapproval",
    SeenState => "seen state",
    Delivery => "delivery",
    Quiet => "quiet window",
}

/// One [`Part`] as JSON, made on the thread of the caller so that the writer only has to join.
#[derive(Debug)]
pub(super) struct EncodedPart(Vec<u8>);

impl EncodedPart {
    pub fn of(part: &Part) -> Self {
        Self(serde_json::to_vec(part).expect("a part of the journal cannot fail to serialise"))
    }

    pub fn n_bytes(&self) -> usize {
        self.0.len()
    }
}

/// The bytes that [`encode`] gives for a [`JournalRecord`] of these parts.
pub(super) fn joined(parts: &[EncodedPart]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 + parts.iter().map(|part| part.0.len() + 1).sum::<usize>());
    bytes.extend_from_slice(br#"{"v":1,"is":{"parts":["#);
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&part.0);
    }
    bytes.extend_from_slice(b"]}}");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(second: i64) -> Part {
        let id = UserId::from_bytes([7; 16]);
        Part::News {
            at: Timestamp::from_second(second).unwrap(),
            news: vec![News::User { id, deleted: false }],
            trace: None,
        }
    }

    #[test]
    fn joined_parts_are_a_journal_record() {
        for n in 0..3 {
            let record = JournalRecord { parts: (0..n).map(part).collect() };
            let bytes = joined(&record.parts.iter().map(EncodedPart::of).collect::<Vec<_>>());
            assert_eq!(bytes, encode(&record));
            assert_eq!(decode::<JournalRecord>(&bytes).unwrap(), record);
        }
    }

    #[test]
    fn what_was_written_before_there_were_traces_can_be_read() {
        let part = br#"{"news":{"at":"2026-11-24T12:00:00Z","news":[]}}"#;
        let part: Part = serde_json::from_slice(part).unwrap();
        assert!(matches!(part, Part::News { trace: None, .. }), "{part:?}");
        // And what has none is written as it was, for the program of before.
        assert!(!serde_json::to_string(&part).unwrap().contains("trace"));
        let pending =
            r#"{"reason":"delta","first_news_at":"2026-11-24T12:00:00Z","urgent":false,"removed":null}"#;
        assert_eq!(serde_json::from_str::<Pending>(pending).unwrap().trace, None);
    }

    #[test]
    fn a_record_of_another_version_is_refused_by_name() {
        let bytes = br#"{"v":2,"is":{"anything":1}}"#;
        let error = decode::<GroupRecord>(bytes).unwrap_err();
        assert_eq!(error.to_string(), "a stored group has version 2, which this program does not know");
    }
}
