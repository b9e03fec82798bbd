//! The words of the queue: news, marks, jobs, chores, and what a finished run leaves behind.
//!
//! Jobs are level-triggered: a mark says "this user may be out of date", never what changed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::case::CaseChange;
use super::conflict::Why;
use super::evidence::{Evidence, FirstSight, RemovedReason};
use super::guard::Spend;
use super::link::Link;
use super::seen::SeenState;
use super::subscription::Resource;
use super::user::{Attribute, Attributes, GroupId, ScimId, UserId, Value};

/// The code of a job that the guard holds.
pub const GUARD: &str = "guard";
/// The code of the remark that the guard holds something new.
pub const HELD: &str = "held";
/// The code of a job whose user was written the same so often that it is no use to go on.
pub const WRITTEN_TOO_OFTEN: &str = "written_too_often";

/// Why a user was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    Notification,
    Delta,
    Group,
    Replay,
    Operator,
    Recheck,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::Delta => "delta",
            Self::Group => "group",
            Self::Replay => "replay",
            Self::Operator => "operator",
            Self::Recheck => "recheck",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One verified item of a notification, as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum News {
    /// `deleted` when Graph says the user is permanently gone: only a reason to hurry, not evidence.
    User {
        id: UserId,
        deleted: bool,
    },
    Group {
        id: GroupId,
    },
    Lifecycle {
        subscription: String,
        event: LifecycleEvent,
    },
}

/// What Graph tells about a subscription itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LifecycleEvent {
    ReauthorizationRequired,
    SubscriptionRemoved,
    Missed,
}

/// "This user may be out of date."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub user: UserId,
    pub reason: Reason,
    /// When we first heard of the change.
    pub news_at: Timestamp,
    /// The account may be disabled or deleted: goes before everything that is not.
    pub urgent: bool,
    /// A delta round said `@removed`.
    pub removed: Option<RemovedReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// May be claimed now.
    Due,
    /// May be claimed when its time has come.
    Waiting,
    /// Claimed, not settled.
    Running,
    /// Used up its attempts or cannot succeed: the dead letters.
    Parked,
    /// Stopped by the guard or by an ambiguity, for an operator.
    Held,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Due, Self::Waiting, Self::Running, Self::Parked, Self::Held];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Held => "held",
        }
    }
}

/// The one queue entry of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub user: UserId,
    pub state: State,
    /// Of the mark that made the entry; an operator's replaces any other.
    pub reason: Reason,
    pub first_news_at: Timestamp,
    pub latest_news_at: Timestamp,
    /// Not claimed before.
    pub due_at: Timestamp,
    /// Runs begun since the last success, the present one included.
    pub attempts: u32,
    /// Raised by every mark.
    pub generation: u64,
    pub urgent: bool,
    pub removed: Option<RemovedReason>,
    /// When a look first found the user neither in the directory nor among its deleted items.
    pub absent_since: Option<Timestamp>,
    /// When a look first found the user out of scope, and every look since.
    #[serde(default)]
    pub out_of_scope: Option<FirstSight>,
    /// It waits for something else than the end of a backoff: news makes it due.
    #[serde(default)]
    pub open_to_news: bool,
    /// How often in a row the target said yes and changed nothing.
    pub not_applied: u32,
    /// A reason code such as `attempts_used_up`, for parked and held jobs.
    pub stopped: Option<String>,
    /// The neighbour's last words, or ours.
    pub last_error: Option<String>,
    pub changed_at: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The user is right. With `recheck_at`, look once more then: a replica may have lagged.
    Done {
        recheck_at: Option<Timestamp>,
    },
    /// Run again at `due_at`. Without `counts`, the attempt is given back: the fault was not the
    /// job's.
    Again {
        due_at: Timestamp,
        counts: bool,
        error: String,
    },
    /// Nothing can be decided yet: look again at `due_at`, or as soon as there is news. No attempt is used.
    Wait {
        due_at: Timestamp,
        why: String,
    },
    Park {
        code: &'static str,
        error: String,
    },
    Hold {
        code: &'static str,
        error: String,
    },
}

/// Everything a run leaves behind, written in one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub settlement: Settlement,
    pub link: LinkChange,
    /// How the writes of the run ended.
    pub writes: Vec<Wrote>,
    pub absent_since: Option<Timestamp>,
    pub out_of_scope: Option<FirstSight>,
    pub not_applied: u32,
    pub case: CaseChange,
    /// For the history.
    pub remarks: Vec<Remark>,
    /// What both sides showed; `None` when it was not seen, or is not ours to remember.
    pub seen: Option<Box<SeenState>>,
}

impl Outcome {
    pub fn of(settlement: Settlement) -> Self {
        Self {
            settlement,
            link: LinkChange::Keep,
            writes: Vec::new(),
            absent_since: None,
            out_of_scope: None,
            not_applied: 0,
            case: CaseChange::default(),
            remarks: Vec::new(),
            seen: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    Keep,
    Put(Box<Link>),
    Remove,
}

/// One attribute that is to change, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub attribute: Attribute,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Change {
    /// Of roles: which are given and which are taken.
    pub fn roles(&self) -> (Vec<String>, Vec<String>) {
        let (before, after) = (Value::items(self.before.as_ref()), Value::items(self.after.as_ref()));
        let given = after.iter().filter(|role| !before.contains(role)).cloned().collect();
        let taken = before.into_iter().filter(|role| !after.contains(role)).collect();
        (given, taken)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Create,
    Patch,
    Reactivate,
    Deactivate,
}

impl Operation {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Reactivate => "reactivate",
            Self::Deactivate => "deactivate",
        }
    }
}

/// A write that is about to be sent. It is on disk before the first byte goes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub at: Timestamp,
    pub user: UserId,
    pub scim_id: Option<ScimId>,
    pub operation: Operation,
    pub changes: Vec<Change>,
    /// Why each attribute changes, where attributes were compared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub why: BTreeMap<Attribute, Why>,
    /// Why the user was looked at.
    pub reason: Reason,
    pub evidence: Option<Evidence>,
    /// The hash of the plan, see `Plan::hash`.
    #[serde(default)]
    pub plan: String,
    /// The hash of what the user is to be like, see `Plan::desired_hash`.
    #[serde(default)]
    pub desired: String,
    /// The order it belongs to: an `apply`, an `undo`, a `drift revert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Who let it pass although it was over a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// What it took out of the guard's budgets.
    #[serde(default, skip_serializing_if = "Spend::is_empty")]
    pub spend: Spend,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// The number of its intent in the history.
    pub intent: u64,
    pub at: Timestamp,
    pub scim_id: Option<ScimId>,
    pub result: WriteResult,
    /// What the target shows of the changed attributes, where that is something else than was sent.
    pub shown: Attributes,
    /// From the first news to the confirmation.
    pub lag_ms: u64,
}

/// One write to CXone as the history tells it: the intent, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Its number in the history.
    #[serde(default)]
    pub number: u64,
    #[serde(flatten)]
    pub intent: Intent,
    pub result: WriteResult,
    #[serde(default)]
    pub shown: Attributes,
    pub lag_ms: u64,
}

impl std::ops::Deref for Write {
    type Target = Intent;
    fn deref(&self) -> &Intent {
        &self.intent
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum WriteResult {
    Applied,
    /// The target said yes and shows something else.
    NotApplied,
    /// No answer that we understood: the next look will tell.
    Unknown {
        error: String,
    },
    Refused {
        error: String,
    },
    /// Not known yet: it is under way.
    Pending,
}

/// Something else worth keeping beside the writes: what an operator decided, what was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    pub at: Timestamp,
    pub user: Option<UserId>,
    /// Such as `approved`, `rejected`, `undo`, `skipped`.
    pub code: String,
    pub words: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
}

/// Work that is not about one user. The queue of chores follows the rules of the queue of jobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "chore", content = "of", rename_all = "camelCase")]
pub enum Chore {
    /// One delta round from the stored link.
    Poll(Resource),
    /// A delta round from the beginning: everybody is looked at.
    FullCompare,
    /// Read a group's members and mark who joined and who left.
    Group(GroupId),
    /// See that our subscriptions are there and renewed.
    Subscriptions,
    /// Renew one subscription now: Graph asked for it.
    Renew(String),
    /// Drop what is older than its retention.
    Prune,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoreEntry {
    pub chore: Chore,
    pub due_at: Timestamp,
    pub first_news_at: Timestamp,
    pub attempts: u32,
    pub generation: u64,
    pub running: bool,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChoreOutcome {
    /// Finished; `next_at` schedules the next run of a repeating chore.
    Done {
        next_at: Option<Timestamp>,
    },
    Again {
        due_at: Timestamp,
        error: String,
    },
}

/// Jobs by state, and how long the oldest due one has waited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    pub due: u64,
    pub waiting: u64,
    pub running: u64,
    pub parked: u64,
    pub held: u64,
    pub oldest_due: Duration,
    /// Since when the one that has been in its state longest has been in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Timestamp>,
}
