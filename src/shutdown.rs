//! Starting and ending: which tasks run, who may end, and how the process stops.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The signal to stop. `requested` asks for an orderly end.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn request(&self) {
        self.0.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once an orderly end was asked for.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}

/// Why a part of the service ended although nobody asked.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("{part} ended unasked")]
    Quietly { part: &'static str },
    #[error("{part} failed")]
    Failed {
        part: &'static str,
        #[source]
        source: anyhow::Error,
    },
    #[error("{part} panicked")]
    Panicked { part: &'static str },
}

/// The spawner: every task of the service is started here, so none is forgotten at the end.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Tasks {
    /// The second value yields a report for every part that ended unasked.
    pub fn new(shutdown: Shutdown) -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (ended, reports) = mpsc::unbounded_channel();
        (Self { tracker: TaskTracker::new(), shutdown, ended }, reports)
    }

    /// Starts a part that must run until shutdown: ending earlier, by whatever way, is reported.
    pub fn part(&self, part: &'static str, run: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (shutdown, ended) = (self.shutdown.clone(), self.ended.clone());
        let run = tokio::spawn(run);
        self.tracker.spawn(async move {
            let report = match run.await {
                Ok(Ok(())) if shutdown.is_requested() => return,
                Ok(Ok(())) => Ended::Quietly { part },
                Ok(Err(source)) => Ended::Failed { part, source },
                Err(_) => Ended::Panicked { part },
            };
            // Nobody listens any more only when the process is already ending for another reason.
            ended.send(report).ok();
        });
    }

    /// Starts a task that is free to end, such as one job or one connection.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Waits for everything started here, at most `grace`. `false` when something was still running.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_unasked_is_reported() {
        let (tasks, mut reports) = Tasks::new(Shutdown::new());
        tasks.part("poller", async { Ok(()) });
        assert_eq!(reports.recv().await.unwrap().to_string(), "poller ended unasked");
        tasks.part("writer", async { anyhow::bail!("disk gone") });
        assert_eq!(reports.recv().await.unwrap().to_string(), "writer failed");
        tasks.part("worker", async { panic!("boom") });
        assert_eq!(reports.recv().await.unwrap().to_string(), "worker panicked");
    }

    #[tokio::test]
    async fn a_part_that_ends_when_asked_is_not() {
        let shutdown = Shutdown::new();
        let (tasks, mut reports) = Tasks::new(shutdown.clone());
        tasks.part("poller", {
            let shutdown = shutdown.clone();
            async move {
                shutdown.requested().await;
                Ok(())
            }
        });
        shutdown.request();
        assert!(tasks.finish(Duration::from_secs(5)).await);
        assert!(reports.try_recv().is_err());
    }
}
