//! How many requests may be under way: halves when the neighbour is overloaded, grows back slowly.

use std::sync::Mutex;

use tokio::sync::Notify;

/// Additive increase, multiplicative decrease, never above the configured maximum or below one.
#[derive(Debug)]
pub struct Limit {
    max: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    under_way: usize,
    /// Successes since the limit last changed.
    successes: usize,
}

/// The right to have one request under way; given back when dropped.
#[derive(Debug)]
pub struct Permit<'a>(&'a Limit);

impl Limit {
    pub fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            state: Mutex::new(State { limit: max, under_way: 0, successes: 0 }),
            freed: Notify::new(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the limit is held")
    }

    pub fn current(&self) -> usize {
        self.state().limit
    }

    pub async fn acquire(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                if state.under_way < state.limit {
                    state.under_way += 1;
                    return Permit(self);
                }
            }
            freed.await;
        }
    }

    /// The neighbour is overloaded.
    pub fn halve(&self) {
        let mut state = self.state();
        state.limit = (state.limit / 2).max(1);
        state.successes = 0;
    }

    /// The neighbour answered well; a whole window of such answers allows one more at once.
    pub fn grow(&self) {
        let mut state = self.state();
        state.successes += 1;
        if state.successes >= state.limit && state.limit < self.max {
            state.limit += 1;
            state.successes = 0;
            drop(state);
            self.freed.notify_one();
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_halves_at_once_and_grows_back_one_by_one() {
        let limit = Limit::new(8);
        limit.halve();
        limit.halve();
        assert_eq!(limit.current(), 2);
        limit.grow();
        assert_eq!(limit.current(), 2);
        limit.grow();
        assert_eq!(limit.current(), 3);
        for _ in 0..200 {
            limit.grow();
        }
        assert_eq!(limit.current(), 8);
        for _ in 0..10 {
            limit.halve();
        }
        assert_eq!(limit.current(), 1);
    }

    #[tokio::test]
    async fn never_more_than_allowed_are_under_way() {
        let limit = Limit::new(2);
        let first = limit.acquire().await;
        let _second = limit.acquire().await;
        let third = limit.acquire();
        let mut third = std::pin::pin!(third);
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        drop(first);
        third.await;
    }
}
