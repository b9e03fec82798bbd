//! Chance, from a seed: the same seed throws the same sequence.

use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;

pub(super) struct Dice(Mutex<Rng>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::with_seed(seed)))
    }

    fn throw<T>(&self, with: impl FnOnce(&mut Rng) -> T) -> T {
        with(&mut self.0.lock().expect("no panic while the dice are held"))
    }

    /// True with `probability` (0.0 never, 1.0 always).
    pub(super) fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.throw(|rng| rng.f64()) < probability
    }

    pub(super) fn below(&self, limit: usize) -> usize {
        self.throw(|rng| rng.usize(..limit.max(1)))
    }

    pub(super) fn between(&self, (least, most): (Duration, Duration)) -> Duration {
        if most <= least {
            return least;
        }
        least + (most - least).mul_f64(self.throw(|rng| rng.f64()))
    }

    pub(super) fn shuffle<T>(&self, things: &mut [T]) {
        self.throw(|rng| rng.shuffle(things));
    }

    pub(super) fn guid(&self) -> String {
        let bytes = self.throw(|rng| rng.u128(..)).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string()
    }

    /// Opaque to the other side, safe in a URL.
    pub(super) fn token(&self, length: usize) -> String {
        self.throw(|rng| std::iter::repeat_with(|| rng.alphanumeric()).take(length).collect())
    }
}
