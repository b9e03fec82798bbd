//! The bearer tokens a simulator has given out.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;

#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Timestamp>>);

const HELD: &str = "no panic while tokens are held";

impl Tokens {
    pub(super) fn issue(&self, token: String, ends: Timestamp) -> String {
        self.0.lock().expect(HELD).insert(token.clone(), ends);
        token
    }

    pub(super) fn is_valid(&self, token: &str, now: Timestamp) -> bool {
        self.0.lock().expect(HELD).get(token).is_some_and(|ends| now < *ends)
    }

    pub(super) fn revoke_all(&self) {
        self.0.lock().expect(HELD).clear();
    }
}
