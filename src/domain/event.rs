//! What operators are told of by themselves: which events there are, when one is told and when it only
//! counts, and when a delivery that failed is tried again.
//!
//! An event holds ids, counts and codes, never a name, an address or a neighbour's words.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::guard::Guarded;
use super::subscription::Resource;
use super::user::UserId;

/// Users named in one event; there may be more, and then only their number is told.
const USERS_AT_MOST: usize = 50;
/// Deliveries that may wait for one receiver. When there are more, the oldest is given up.
pub const WAITING_AT_MOST: usize = 200;
/// What is told of an error is cut here, so that a body stays far below the 20 kB of the standard.
const ERROR_AT_MOST: usize = 500;

/// Below this share, notifications are not what finds changes any more.
pub const COVERAGE_LOW: f64 = 0.9;

/// Before which try of a delivery one waits how long.
/// Source: Standard Webhooks, "Retry schedule".
const SCHEDULE: [Duration; 9] = {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    [
        Duration::from_secs(5),
        Duration::from_secs(5 * MINUTE),
        Duration::from_secs(30 * MINUTE),
        Duration::from_secs(2 * HOUR),
        Duration::from_secs(5 * HOUR),
        Duration::from_secs(10 * HOUR),
        Duration::from_secs(14 * HOUR),
        Duration::from_secs(20 * HOUR),
        Duration::from_secs(24 * HOUR),
    ]
};
/// Added to each wait, as a part of it, so that not all who failed together come back together.
const JITTER: f64 = 0.1;
/// No delivery waits longer; one that seems to was timed by a clock that has been set back.
const LONGEST_WAIT: Duration = Duration::from_secs(27 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    #[serde(rename = "guard.tripped")]
    GuardTripped,
    #[serde(rename = "user.parked")]
    UserParked,
    #[serde(rename = "subscription.lost")]
    SubscriptionLost,
    #[serde(rename = "circuit.open")]
    CircuitOpen,
    #[serde(rename = "credential.expiring")]
    CredentialExpiring,
    #[serde(rename = "coverage.low")]
    CoverageLow,
    /// Only sent when somebody asks for it, and always then.
    #[serde(rename = "test")]
    Test,
}

impl Kind {
    /// All that come by themselves.
    pub const ALL: [Self; 6] = [
        Self::GuardTripped,
        Self::UserParked,
        Self::SubscriptionLost,
        Self::CircuitOpen,
        Self::CredentialExpiring,
        Self::CoverageLow,
    ];

    /// The `type` of the body, and its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GuardTripped => "guard.tripped",
            Self::UserParked => "user.parked",
            Self::SubscriptionLost => "subscription.lost",
            Self::CircuitOpen => "circuit.open",
            Self::CredentialExpiring => "credential.expiring",
            Self::CoverageLow => "coverage.low",
            Self::Test => "test",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What an operator does about it.
    pub const fn todo(self) -> &'static str {
        match self {
            Self::GuardTripped => {
                "see `cxone-sync held list`; let it pass with `held approve`, or forbid it with `held reject`"
            }
            Self::UserParked => {
                "see `cxone-sync queue show USER`; after the cause is removed, `cxone-sync queue retry --parked`"
            }
            Self::SubscriptionLost => {
                "see `cxone-sync subscriptions list`; a new one is made by itself, and the poll finds what was missed"
            }
            Self::CircuitOpen => {
                "nothing is lost, jobs wait; see `/status` for the reason, and check the network and the credentials"
            }
            Self::CredentialExpiring => "put a new one in place before it ends; no restart is needed",
            Self::CoverageLow => {
                "see `cxone-sync subscriptions list`, and whether Graph reaches service.public_url; the poll finds \
                 what is missed"
            }
            Self::Test => "nothing: somebody asked for it",
        }
    }

    /// Where the documentation says more, below `docs/`.
    pub const fn anchor(self) -> &'static str {
        match self {
            Self::GuardTripped => "runbooks.md#guard-tripped",
            Self::UserParked => "runbooks.md#user-parked",
            Self::SubscriptionLost => "runbooks.md#subscription-lost",
            Self::CircuitOpen => "runbooks.md#circuit-open",
            Self::CredentialExpiring => "runbooks.md#credential-expiring",
            Self::CoverageLow => "runbooks.md#coverage-low",
            Self::Test => "events.md#try-it",
        }
    }
}

/// How a subscription was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// Graph does not list it any more, or does not know it.
    Gone,
    /// Somebody has changed where it notifies.
    Changed,
}

impl Lost {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Changed => "changed",
        }
    }
}

/// What happened, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    GuardTripped { guarded: Guarded, users: Vec<UserId> },
    UserParked { code: String, users: Vec<UserId> },
    SubscriptionLost { resource: Resource, subscription: String, how: Lost },
    CircuitOpen { api: String, error: String },
    CredentialExpiring { credential: String, expires_at: Timestamp, days_left: i64 },
    CoverageLow { announced: u64, missed: u64 },
    Test,
}

impl What {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::GuardTripped { .. } => Kind::GuardTripped,
            Self::UserParked { .. } => Kind::UserParked,
            Self::SubscriptionLost { .. } => Kind::SubscriptionLost,
            Self::CircuitOpen { .. } => Kind::CircuitOpen,
            Self::CredentialExpiring { .. } => Kind::CredentialExpiring,
            Self::CoverageLow { .. } => Kind::CoverageLow,
            Self::Test => Kind::Test,
        }
    }

    /// An API that is out of reach. `error` is fit for log lines; it is cut where it is long.
    pub fn circuit_open(api: &str, error: &str) -> Self {
        Self::CircuitOpen { api: api.to_owned(), error: error.chars().take(ERROR_AT_MOST).collect() }
    }

    /// What a poll found, if notifications announced too little of it.
    pub fn coverage(announced: u64, missed: u64) -> Option<Self> {
        let changed = announced + missed;
        let low = changed > 0 && (announced as f64) < COVERAGE_LOW * changed as f64;
        low.then_some(Self::CoverageLow { announced, missed })
    }

    /// What events of one kind are told apart by: of the same, more within the quiet window only count.
    /// A thousand users who are parked for one reason are one subject.
    pub fn subject(&self) -> String {
        match self {
            Self::GuardTripped { guarded, .. } => guarded.name().to_owned(),
            Self::UserParked { code, .. } => code.clone(),
            Self::SubscriptionLost { resource, .. } => resource.path().to_owned(),
            Self::CircuitOpen { api, .. } => api.clone(),
            // Each threshold is told, however close they come.
            Self::CredentialExpiring { credential, expires_at, days_left } => {
                format!("{credential} {} {days_left}", expires_at.as_second())
            }
            Self::CoverageLow { .. } => "users".to_owned(),
            Self::Test => String::new(),
        }
    }

    /// Code of the cause, for programs.
    pub fn reason(&self) -> String {
        match self {
            Self::GuardTripped { guarded, .. } => guarded.name().to_owned(),
            Self::UserParked { code, .. } => code.clone(),
            Self::SubscriptionLost { how, .. } => how.code().to_owned(),
            Self::CircuitOpen { error, .. } => error.clone(),
            Self::CredentialExpiring { .. } => "expires_soon".to_owned(),
            Self::CoverageLow { .. } => "changes_not_announced".to_owned(),
            Self::Test => "asked_for".to_owned(),
        }
    }

    /// What happened, as a sentence without its full stop.
    pub fn sentence(&self, suppressed: u64) -> String {
        let users = |users: &[UserId]| match (users, suppressed) {
            ([one], 0) => format!("user {one}"),
            _ => format!("{} changes of users", suppressed.saturating_add(1)),
        };
        match self {
            Self::GuardTripped { guarded, users: of } => {
                format!("the guard holds {} for an operator: over the budget of {guarded}", users(of))
            }
            Self::UserParked { code, users: of } => match (&of[..], suppressed) {
                ([one], 0) => format!("user {one} is parked: {code}"),
                _ => format!("users were parked {} times: {code}", suppressed.saturating_add(1)),
            },
            Self::SubscriptionLost { resource, subscription, how } => {
                let how = match how {
                    Lost::Gone => "is gone",
                    Lost::Changed => "notifies another address",
                };
                format!("the subscription for {resource} ({subscription}) {how}")
            }
            Self::CircuitOpen { api, error } => format!("{api} is out of reach: {error}"),
            Self::CredentialExpiring { credential, expires_at, days_left } => match days_left {
                ..0 => format!("{credential} ended at {expires_at}"),
                0 => format!("{credential} ends within a day, at {expires_at}"),
                1 => format!("{credential} ends in a day, at {expires_at}"),
                days => format!("{credential} ends in {days} days, at {expires_at}"),
            },
            Self::CoverageLow { announced, missed } => {
                format!("of {} changes, notifications announced only {announced}", announced + missed)
            }
            Self::Test => "this is a test of the events of cxone-sync".to_owned(),
        }
    }

    /// Takes along whom an earlier one of the same subject named.
    fn join(&mut self, earlier: &Self) {
        let (Self::GuardTripped { users, .. } | Self::UserParked { users, .. }) = self else { return };
        let (Self::GuardTripped { users: before, .. } | Self::UserParked { users: before, .. }) = earlier
        else {
            return;
        };
        let now = std::mem::replace(users, before.clone());
        users.extend(now.into_iter().filter(|user| !before.contains(user)));
        users.truncate(USERS_AT_MOST);
    }
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The same for every try and every receiver.
    pub id: Uuid,
    pub at: Timestamp,
    #[serde(flatten)]
    pub what: What,
    /// How many more of the same subject there were since one was told last.
    #[serde(default)]
    pub suppressed: u64,
}

/// What is remembered of one subject at one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    pub told_at: Timestamp,
    /// The latest that came within the window, with all that came before it; told when the window ends.
    pub kept: Option<Event>,
}

impl Quiet {
    /// When the window ends. One that begins in the future was begun by a clock that has been set back.
    pub fn ends_at(&self, window: Duration, now: Timestamp) -> Timestamp {
        if self.told_at > now { now } else { self.told_at.checked_add(window).unwrap_or(Timestamp::MAX) }
    }

    /// What is to be told now that the window is over, and what is remembered from then on.
    pub fn end(self, now: Timestamp) -> Option<(Event, Self)> {
        self.kept.map(|event| (event, Self { told_at: now, kept: None }))
    }
}

/// Whether something new is told at once, and what is remembered of it.
pub fn hear(
    before: Option<Quiet>,
    event: Event,
    window: Duration,
    now: Timestamp,
) -> (Option<Event>, Option<Quiet>) {
    if event.what.kind() == Kind::Test {
        return (Some(event), before);
    }
    match before {
        Some(quiet) if now < quiet.ends_at(window, now) => {
            let kept = joined(quiet.kept, event);
            (None, Some(Quiet { told_at: quiet.told_at, kept: Some(kept) }))
        }
        quiet => {
            // The window has ended, and nobody has told yet what came in it.
            let event = joined(quiet.and_then(|quiet| quiet.kept), event);
            (Some(event), Some(Quiet { told_at: now, kept: None }))
        }
    }
}

fn joined(earlier: Option<Event>, mut event: Event) -> Event {
    if let Some(earlier) = earlier {
        event.what.join(&earlier.what);
        event.suppressed += earlier.suppressed + 1;
    }
    event
}

/// An event on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub event: Event,
    /// Tries that failed.
    pub attempts: u32,
    pub due_at: Timestamp,
    pub last_error: Option<String>,
}

impl Delivery {
    pub fn new(event: Event, now: Timestamp) -> Self {
        Self { event, attempts: 0, due_at: now, last_error: None }
    }

    /// When it may be tried.
    pub fn due(&self, now: Timestamp) -> Timestamp {
        let latest = now.checked_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX);
        if self.due_at > latest { now } else { self.due_at }
    }
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// 2xx.
    Delivered,
    /// 410: the receiver wants no more.
    Gone,
    /// Anything else, with how long the receiver asks to be left alone.
    Failed { error: String, wait: Option<Duration> },
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    /// Nothing is sent to this receiver any more.
    Disable,
    Again(Delivery),
    /// It has used up its tries.
    GiveUp {
        error: String,
    },
}

/// Decides after a try. `unit` is a random number in `0.0..1.0`.
pub fn next(delivery: &Delivery, tried: Tried, now: Timestamp, unit: f64) -> Next {
    let (error, wait) = match tried {
        Tried::Delivered => return Next::Done,
        Tried::Gone => return Next::Disable,
        Tried::Failed { error, wait } => (error, wait),
    };
    let Some(pause) = SCHEDULE.get(delivery.attempts as usize) else { return Next::GiveUp { error } };
    // The receiver's word is a floor.
    let pause = pause.mul_f64(1.0 + JITTER * unit).max(wait.unwrap_or_default());
    Next::Again(Delivery {
        event: delivery.event.clone(),
        attempts: delivery.attempts + 1,
        due_at: now.checked_add(pause.min(LONGEST_WAIT)).unwrap_or(Timestamp::MAX),
        last_error: Some(error),
    })
}

#[cfg(test)]
mod tests;
