//! How far something has come that somebody waits for.

use std::sync::Mutex;

use serde::Serialize;

/// Shared by who does the work and who tells of it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Stage>);

/// What is being done, and how much of it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Such as "reading Entra". Empty before anything was begun.
    pub doing: &'static str,
    pub done: u64,
    /// `None`: not known yet.
    pub of: Option<u64>,
}

impl Progress {
    /// Something else is done from here on.
    pub fn begin(&self, doing: &'static str, of: Option<usize>) {
        *self.stage() = Stage { doing, done: 0, of: of.map(|of| of as u64) };
    }

    pub fn add(&self, n: usize) {
        self.stage().done += n as u64;
    }

    pub fn now(&self) -> Stage {
        *self.stage()
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.0.lock().expect("no panic while the stage is held")
    }
}
