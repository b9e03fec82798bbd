//! The way from the admin API to what needs Graph, CXone or the worker.
//!
//! The API only asks; whoever owns the receiver ([`Operations::channel`]) answers. A request whose
//! client has gone away, or that waited too long, is no longer listened for: `reply.is_closed()`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::domain::user::GroupId;
use crate::telemetry::Progress;

/// Where the answer goes. Not answering at all shows as 503 `no_answer`.
pub type Reply = oneshot::Sender<Result<Value, OperationError>>;

/// A question the API cannot answer from the store. The JSON named is what the client gets.
#[derive(Debug)]
pub enum Operation {
    /// Which user has this sign-in name: `{"user": "<object id>"}`.
    Resolve { user: String, reply: Reply },
    /// What would happen to these users: `{"plans": […], "guard": {…}}`.
    Plan { whom: Whom, progress: Arc<Progress>, reply: Reply },
    /// Orders plans that were made earlier: `{"batch", "ordered", "skipped"}`. `batch` goes on with an
    /// order.
    Apply { plans: Vec<Value>, by: String, batch: Option<String>, reply: Reply },
    /// Announces a change for the members of a group: the announcement.
    Preapprove { group: GroupId, most: u64, until: Timestamp, by: String, reply: Reply },
    /// Every step of the decision about one user, by id or sign-in name, as it is now or was then: an
    /// object.
    Explain { user: String, at: Option<Timestamp>, reply: Reply },
    /// Links everybody in scope to the CXone accounts there are, or only says how: a report.
    Adopt { dry_run: bool, progress: Arc<Progress>, reply: Reply },
    /// What Graph has: `{"subscriptions": […]}`.
    Subscriptions { reply: Reply },
    /// Checks the public URL, then creates or adopts: `{"check": {…}, "subscriptions": […]}`.
    Subscribe { reply: Reply },
    /// Renews one: the renewed subscription.
    Renew { id: String, reply: Reply },
    /// Deletes one: `{}`.
    Unsubscribe { id: String, reply: Reply },
    /// Has everybody looked at: an object.
    SyncAll { reply: Reply },
    /// What another configuration, by its name and text, would have done otherwise: an object.
    Simulate { name: String, text: String, since: Option<Timestamp>, reply: Reply },
    /// Looks at everything that has to be right, and writes nothing: `{"findings": […]}`.
    Doctor { reply: Reply },
    /// What finding out the target's dialect on this user would write; with the name of that plan, does it.
    Learn { user: String, plan: Option<String>, reply: Reply },
    /// What is probably not meant in the rules: `{"findings": […]}`.
    Lint { reply: Reply },
    /// Reads the configuration again and puts in force what can be: an object.
    Reload { reply: Reply },
    /// Sends every receiver of events a test: `{"receivers": […]}`.
    TestEvents { reply: Reply },
    /// What `/status` adds to what the store knows: `{"circuits": …, "tokens": …, "dialect": …}`.
    Status { reply: Reply },
}

/// For whom a plan is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// By id or sign-in name.
    Users(Vec<String>),
    /// Who is in the group now, nested groups included.
    Group(GroupId),
    All,
}

/// Why there is no answer, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OperationError {
    /// For programs, such as `not_found`.
    pub code: &'static str,
    /// For people. No secrets.
    pub message: String,
    /// The HTTP status, 400 to 599.
    pub status: u16,
}

impl OperationError {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status }
    }
}

/// Asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operations(mpsc::Sender<Operation>);

/// Questions that wait to be taken up; more wait in line at the sender, each under its own timeout.
const WAITING: usize = 16;

/// One read or write at a neighbour, retries of its token included.
const SHORT: Duration = Duration::from_secs(60);
/// Something about every user.
const LONG: Duration = Duration::from_secs(30 * 60);
/// Two reads of every user, at the pace of CXone.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// Some reads at either neighbour, each with a timeout of its own.
const CHECKS: Duration = Duration::from_secs(180);
/// What `/status` waits for.
const GLANCE: Duration = Duration::from_secs(2);

impl Operations {
    /// The asking and the answering end.
    pub fn channel() -> (Self, mpsc::Receiver<Operation>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    pub async fn resolve(&self, user: String) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::Resolve { user, reply }).await
    }

    pub async fn plan(&self, whom: Whom, progress: Arc<Progress>) -> Result<Value, OperationError> {
        self.ask(LONG, |reply| Operation::Plan { whom, progress, reply }).await
    }

    pub async fn apply(
        &self,
        plans: Vec<Value>,
        by: String,
        batch: Option<String>,
    ) -> Result<Value, OperationError> {
        self.ask(LONG, |reply| Operation::Apply { plans, by, batch, reply }).await
    }

    pub async fn preapprove(
        &self,
        group: GroupId,
        most: u64,
        until: Timestamp,
        by: String,
    ) -> Result<Value, OperationError> {
        self.ask(LONG, |reply| Operation::Preapprove { group, most, until, by, reply }).await
    }

    pub async fn explain(&self, user: String, at: Option<Timestamp>) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::Explain { user, at, reply }).await
    }

    pub async fn adopt(&self, dry_run: bool, progress: Arc<Progress>) -> Result<Value, OperationError> {
        self.ask(LONGEST, |reply| Operation::Adopt { dry_run, progress, reply }).await
    }

    pub async fn subscriptions(&self) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::Subscriptions { reply }).await
    }

    pub async fn subscribe(&self) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::Subscribe { reply }).await
    }

    pub async fn renew(&self, id: String) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::Renew { id, reply }).await
    }

    pub async fn unsubscribe(&self, id: String) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::Unsubscribe { id, reply }).await
    }

    pub async fn sync_all(&self) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::SyncAll { reply }).await
    }

    pub async fn simulate(
        &self,
        name: String,
        text: String,
        since: Option<Timestamp>,
    ) -> Result<Value, OperationError> {
        self.ask(LONG, |reply| Operation::Simulate { name, text, since, reply }).await
    }

    pub async fn doctor(&self) -> Result<Value, OperationError> {
        self.ask(CHECKS, |reply| Operation::Doctor { reply }).await
    }

    pub async fn learn(&self, user: String, plan: Option<String>) -> Result<Value, OperationError> {
        self.ask(LONG, |reply| Operation::Learn { user, plan, reply }).await
    }

    pub async fn lint(&self) -> Result<Value, OperationError> {
        self.ask(LONG, |reply| Operation::Lint { reply }).await
    }

    pub async fn reload(&self) -> Result<Value, OperationError> {
        self.ask(LONG, |reply| Operation::Reload { reply }).await
    }

    pub async fn test_events(&self) -> Result<Value, OperationError> {
        self.ask(SHORT, |reply| Operation::TestEvents { reply }).await
    }

    pub async fn status(&self) -> Result<Value, OperationError> {
        self.ask(GLANCE, |reply| Operation::Status { reply }).await
    }

    async fn ask(
        &self,
        patience: Duration,
        operation: impl FnOnce(Reply) -> Operation,
    ) -> Result<Value, OperationError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let closed = || OperationError::new(503, "not_running", "the service is not running");
            self.0.send(operation(reply)).await.map_err(|_| closed())?;
            let lost = || OperationError::new(503, "no_answer", "the service gave no answer");
            answer.await.map_err(|_| lost())?
        };
        tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", patience.as_secs());
            Err(OperationError::new(504, "timeout", message))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_comes_back() {
        let (operations, mut asked) = Operations::channel();
        let answering = tokio::spawn(async move {
            let Some(Operation::Renew { id, reply }) = asked.recv().await else { panic!("not a renewal") };
            reply.send(Ok(Value::from(id))).unwrap();
        });
        assert_eq!(operations.renew("abc".to_owned()).await, Ok(Value::from("abc")));
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn without_anybody_to_answer_it_is_a_503() {
        let (operations, asked) = Operations::channel();
        drop(asked);
        let error = operations.subscribe().await.unwrap_err();
        assert_eq!((error.status, error.code), (503, "not_running"));
    }

    #[tokio::test]
    async fn a_question_dropped_unanswered_is_a_503() {
        let (operations, mut asked) = Operations::channel();
        tokio::spawn(async move { drop(asked.recv().await) });
        let error = operations.status().await.unwrap_err();
        assert_eq!((error.status, error.code), (503, "no_answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (operations, mut asked) = Operations::channel();
        let error = operations.status().await.unwrap_err();
        assert_eq!((error.status, error.code), (504, "timeout"));
        let Some(Operation::Status { reply }) = asked.recv().await else {
            panic!("not asked for the status")
        };
        assert!(reply.is_closed());
    }
}
