//! The time, handed in as a value so that a whole run can be replayed.
#![expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

/// Longest real sleep before the wall clock is read again: a suspended machine or a corrected clock
/// is noticed at the latest after this long.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// The only source of time. Cheap to clone; clones of a manual clock share its hand.
#[derive(Clone, Debug)]
pub struct Clock(Inner);

#[derive(Clone, Debug)]
enum Inner {
    /// Since when it measures.
    System(Instant),
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now: Mutex<Timestamp>,
    run: Mutex<Duration>,
    moved: watch::Sender<()>,
}

impl Clock {
    pub fn system() -> Self {
        Self(Inner::System(Instant::now()))
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        let (now, run) = (Mutex::new(start), Mutex::new(Duration::ZERO));
        Self(Inner::Manual(Arc::new(Manual { now, run, moved: watch::channel(()).0 })))
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Inner::System(_) => Timestamp::now(),
            Inner::Manual(manual) => *manual.now.lock().expect("no panic while the clock is held"),
        }
    }

    /// How long this clock has run. Unlike [`Clock::now`] it never jumps, whoever corrects the time.
    pub fn uptime(&self) -> Duration {
        match &self.0 {
            Inner::System(since) => since.elapsed(),
            Inner::Manual(manual) => *manual.run.lock().expect("no panic while the clock is held"),
        }
    }

    /// Corrects the time of a manual clock, as an administrator or NTP does: it has not run for that.
    ///
    /// # Panics
    /// On the system clock.
    pub fn jump_to(&self, now: Timestamp) {
        let Inner::Manual(manual) = &self.0 else { panic!("only a manual clock can be set") };
        *manual.now.lock().expect("no panic while the clock is held") = now;
        manual.moved.send_replace(());
    }

    /// Moves a manual clock and wakes whoever slept until then.
    ///
    /// # Panics
    /// On the system clock, which nobody may move.
    pub fn advance(&self, by: Duration) {
        let Inner::Manual(manual) = &self.0 else { panic!("only a manual clock can be advanced") };
        *manual.now.lock().expect("no panic while the clock is held") += by;
        *manual.run.lock().expect("no panic while the clock is held") += by;
        manual.moved.send_replace(());
    }

    /// Sleeps until so much time has passed, be it by the wall clock or by how long this one has run: a
    /// suspended machine has not run, and a clock that was set back must not make it longer.
    pub async fn sleep(&self, duration: Duration) {
        let run = self.uptime() + duration;
        self.nap_until(later(self.now(), duration), run).await;
    }

    /// Sleeps until the wall clock shows this time, however often it is corrected.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        self.nap_until(deadline, Duration::MAX).await;
    }

    async fn nap_until(&self, deadline: Timestamp, run: Duration) {
        match &self.0 {
            Inner::System(_) => loop {
                let left = until(Timestamp::now(), deadline).min(run.saturating_sub(self.uptime()));
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LONGEST_NAP)).await;
            },
            Inner::Manual(manual) => {
                let mut moved = manual.moved.subscribe();
                while self.now() < deadline && self.uptime() < run {
                    moved.changed().await.expect("the clock outlives its sleepers");
                }
            }
        }
    }
}

/// `instant + duration`, held at the end of time instead of overflowing.
pub fn later(instant: Timestamp, duration: Duration) -> Timestamp {
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// How long from `now` to `instant`; zero when it has passed.
pub fn until(now: Timestamp, instant: Timestamp) -> Duration {
    Duration::try_from(instant.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_hand_passes_its_deadline() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(10)).await;
                clock.now()
            }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(7));
        assert_eq!(sleeper.await.unwrap(), later(Timestamp::UNIX_EPOCH, Duration::from_secs(11)));
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_makes_no_sleep_longer() {
        let start = later(Timestamp::UNIX_EPOCH, Duration::from_secs(86_400));
        let clock = Clock::manual(start);
        let sleep = clock.sleep(Duration::from_secs(10));
        tokio::pin!(sleep);
        assert!(futures_util::poll!(sleep.as_mut()).is_pending());
        clock.jump_to(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(9));
        assert!(futures_util::poll!(sleep.as_mut()).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(futures_util::poll!(sleep.as_mut()).is_ready());
    }

    #[test]
    fn a_corrected_clock_has_not_run() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(3));
        clock.jump_to(later(Timestamp::UNIX_EPOCH, Duration::from_secs(86_400)));
        assert_eq!(clock.uptime(), Duration::from_secs(3));
        assert_eq!(clock.now().as_second(), 86_400);
        assert!(Clock::system().uptime() < Duration::from_secs(3600));
    }

    #[test]
    fn the_past_is_no_time_away() {
        let now = later(Timestamp::UNIX_EPOCH, Duration::from_secs(5));
        assert_eq!(until(now, Timestamp::UNIX_EPOCH), Duration::ZERO);
        assert_eq!(until(Timestamp::UNIX_EPOCH, now), Duration::from_secs(5));
    }
}
