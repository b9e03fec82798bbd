//! Tells the service manager how the service is: systemd's `Type=notify` and its watchdog.
//!
//! The protocol is datagrams to the socket that `NOTIFY_SOCKET` names. Without that variable nothing is
//! sent. The watchdog is fed with commits, never by a timer alone: a process whose disk hangs still has
//! timers, but stores nothing it is told, and must be started anew.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::clock::Clock;
use crate::domain::queue::Depth;
use crate::shutdown::Shutdown;
use crate::store::{self, Store};
use crate::telemetry::Metrics;

/// How often the status line is written where no watchdog asks for more.
const STATUS_EVERY: Duration = Duration::from_secs(30);

/// Whoever started us, if it wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor {
    listens: bool,
    /// A process that says nothing for so long is killed.
    watchdog: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Ready,
    Reloading,
    Stopping,
    Alive,
}

impl Supervisor {
    pub fn of_this_process() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        Self { listens, watchdog: sd_notify::watchdog_enabled() }
    }

    /// The store is open and the listeners are bound.
    pub async fn ready(self) {
        self.tell(News::Ready, "serves").await;
    }

    pub async fn reloading(self) {
        self.tell(News::Reloading, "reads its configuration again").await;
    }

    /// The end of [`Supervisor::reloading`], whatever it came to: the service serves as before or anew.
    pub async fn reloaded(self, in_force: bool) {
        let status = match in_force {
            true => "serves, by the configuration it has just read",
            false => NOT_RELOADED,
        };
        self.tell(News::Ready, status).await;
    }

    /// Waits for the end to be asked for, and passes it on.
    pub async fn tell_of_the_end(self, shutdown: Shutdown) {
        shutdown.requested().await;
        self.tell(News::Stopping, "finishes what runs").await;
    }

    /// Feeds the watchdog and keeps the status line until the end is asked for. Fails with the store.
    pub async fn keep_told(
        self,
        store: Store,
        clock: Clock,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Result<(), store::Error> {
        if !self.listens {
            shutdown.requested().await;
            return Ok(());
        }
        let proof = || {
            let (store, clock, metrics) = (store.clone(), clock.clone(), metrics.clone());
            async move {
                store.ready(clock.now()).await?;
                let depth = store.depth(clock.now()).await?;
                Ok(status(&depth, metrics.config_reload_failed.get() == 0))
            }
        };
        let tell = |status: String| async move { self.tell(News::Alive, &status).await };
        tokio::select! {
            biased;
            () = shutdown.requested() => Ok(()),
            ended = every(beat(self.watchdog), proof, tell) => ended,
        }
    }

    /// Sends one datagram. Not being able to is no reason to end: whoever waits for it ends us.
    async fn tell(self, news: News, status: &str) {
        if !self.listens {
            return;
        }
        let status = status.to_owned();
        // It waits while the manager is behind with reading.
        let sent = tokio::task::spawn_blocking(move || sd_notify::notify(&states(news, &status))).await;
        if let Ok(Err(error)) = sent {
            let error = &error as &dyn std::error::Error;
            warn!(error, "cannot tell the service manager at NOTIFY_SOCKET: {news:?}");
        }
    }
}

const NOT_RELOADED: &str =
    "serves; the configuration it read last cannot be used (see the log), the one before is in force";

/// Half of what the watchdog allows: one beat may be late.
fn beat(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(STATUS_EVERY, |allowed| (allowed / 2).clamp(Duration::from_millis(1), STATUS_EVERY))
}

/// Proves and tells, again and again. Nothing is told before its proof has come, so that a proof that never
/// comes tells nothing.
async fn every<T, E, Proof, Told>(
    beat: Duration,
    proof: impl Fn() -> Proof,
    tell: impl Fn(T) -> Told,
) -> Result<(), E>
where
    Proof: Future<Output = Result<T, E>>,
    Told: Future<Output = ()>,
{
    let mut beats = interval(beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        tell(proof().await?).await;
    }
}

fn status(depth: &Depth, reloaded: bool) -> String {
    let Depth { due, waiting, running, parked, held, .. } = depth;
    let serves = if reloaded { "serves" } else { NOT_RELOADED };
    format!("{serves}; {due} due, {running} running, {waiting} waiting, {parked} parked, {held} held")
}

fn states(news: News, status: &str) -> Vec<NotifyState<'_>> {
    let mut states = match news {
        News::Ready => vec![NotifyState::Ready],
        // systemd 253 and later want to know when it began. A clock that cannot be read says nothing.
        News::Reloading => {
            let began = NotifyState::monotonic_usec_now().ok();
            [NotifyState::Reloading].into_iter().chain(began).collect()
        }
        News::Stopping => vec![NotifyState::Stopping],
        News::Alive => vec![NotifyState::Watchdog],
    };
    states.push(NotifyState::Status(status));
    states
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    /// The seconds in which it is told, within a minute, while each proof takes so long and the last is
    /// given.
    async fn told(beat: Duration, takes: &[u64], last: Result<(), &'static str>) -> (Vec<u64>, bool) {
        let (began, n, told) = (Instant::now(), Cell::new(0), RefCell::new(Vec::new()));
        let proof = || {
            let takes = takes.get(n.replace(n.get() + 1)).copied();
            async move {
                match takes {
                    Some(seconds) => {
                        sleep(Duration::from_secs(seconds)).await;
                        Ok::<_, &str>(())
                    }
                    None => {
                        last?;
                        std::future::pending().await
                    }
                }
            }
        };
        let tell = |()| {
            told.borrow_mut().push(began.elapsed().as_secs());
            std::future::ready(())
        };
        let ended = timeout(Duration::from_secs(60), every(beat, proof, tell)).await;
        (told.take(), matches!(ended, Ok(Err(_))))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_proven_is_not_told() {
        let beat = Duration::from_secs(5);
        assert_eq!(told(beat, &[0, 0, 0], Ok(())).await, (vec![0, 5, 10], false), "the fourth never comes");
        assert_eq!(told(beat, &[0, 12, 0], Ok(())).await, (vec![0, 17, 17], false), "late is told late");
        assert_eq!(told(beat, &[0], Err("the disk is gone")).await, (vec![0], true), "a failure ends it");
    }

    #[test]
    fn the_beat_is_half_of_what_is_allowed() {
        let s = Duration::from_secs;
        assert_eq!(beat(Some(s(30))), s(15));
        assert_eq!(beat(Some(s(600))), STATUS_EVERY, "the status line does not grow old");
        assert_eq!(beat(None), STATUS_EVERY);
        assert!(beat(Some(Duration::ZERO)) > Duration::ZERO, "an interval of nothing cannot be waited for");
    }

    #[test]
    fn what_is_sent() {
        let lines = |news| states(news, "s").iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lines(News::Ready), ["READY=1", "STATUS=s"]);
        assert_eq!(lines(News::Stopping), ["STOPPING=1", "STATUS=s"]);
        assert_eq!(lines(News::Alive), ["WATCHDOG=1", "STATUS=s"]);
        let reloading = lines(News::Reloading);
        assert_eq!((reloading.len(), reloading[0].as_str()), (3, "RELOADING=1"));
        let since_boot: u128 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(since_boot > 0);
    }

    #[test]
    fn the_status_is_one_line_that_names_what_waits_for_somebody() {
        let depth = Depth { due: 3, waiting: 1, running: 2, parked: 4, held: 5, ..Depth::default() };
        let line = status(&depth, true);
        assert_eq!(line, "serves; 3 due, 2 running, 1 waiting, 4 parked, 5 held");
        let broken = status(&depth, false);
        assert!(broken.starts_with(NOT_RELOADED) && broken.ends_with("5 held"), "{broken}");
        assert!(!broken.contains('\n'), "systemd reads a second line as something else");
    }
}
