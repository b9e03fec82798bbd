//! Randomness, handed in as a value so that a whole run can be replayed from a seed.

use std::sync::{Arc, Mutex};

/// The only source of chance. Clones share one stream.
#[derive(Clone, Debug)]
pub struct Random(Inner);

#[derive(Clone, Debug)]
enum Inner {
    System,
    Seeded(Arc<Mutex<fastrand::Rng>>),
}

impl Random {
    /// Secrets from the operating system, jitter from a generator seeded by it.
    pub fn system() -> Self {
        Self(Inner::System)
    }

    /// The same stream for the same seed. Not for secrets outside tests and the demo.
    pub fn seeded(seed: u64) -> Self {
        Self(Inner::Seeded(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)))))
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&self) -> f64 {
        match &self.0 {
            Inner::System => fastrand::f64(),
            Inner::Seeded(rng) => rng.lock().expect("no panic while drawing").f64(),
        }
    }

    /// Bytes nobody can guess.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing safe can be done without it.
    pub fn secret<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Inner::System => getrandom::fill(&mut bytes).expect("the operating system gives random bytes"),
            Inner::Seeded(rng) => rng.lock().expect("no panic while drawing").fill(&mut bytes),
        }
        bytes
    }

    /// A random (version 4) GUID.
    pub fn guid(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(self.secret()).into_uuid()
    }
}
