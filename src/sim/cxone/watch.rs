//! Watches the writes: what was written, and whether two for one user ever ran at once.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::Value;

/// One POST, PUT, PATCH or DELETE that was worked on, whatever came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteRecord {
    pub at: Timestamp,
    pub method: String,
    /// The user written; of a create that was refused, `None`.
    pub id: Option<String>,
    pub body: Value,
    pub status: u16,
    /// Whether the user is different for it.
    pub changed: bool,
}

/// Two writes for one user ran at once, which must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The user's id, or for a create its name.
    pub user: String,
    /// The methods of the writes, the earlier first.
    pub methods: (String, String),
}

#[derive(Default)]
pub(super) struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    writes: Vec<WriteRecord>,
    under_way: HashMap<String, Vec<String>>,
    overlaps: Vec<Overlap>,
}

const HELD: &str = "no panic while the watch is held";

/// A write under way.
pub(super) struct Writing<'a> {
    watch: &'a Watch,
    user: String,
    method: String,
}

impl Watch {
    pub(super) fn begin(&self, method: &str, user: &str) -> Writing<'_> {
        let mut seen = self.0.lock().expect(HELD);
        let others = seen.under_way.entry(user.to_owned()).or_default();
        let earlier = others.last().cloned();
        others.push(method.to_owned());
        if let Some(earlier) = earlier {
            seen.overlaps.push(Overlap { user: user.to_owned(), methods: (earlier, method.to_owned()) });
        }
        Writing { watch: self, user: user.to_owned(), method: method.to_owned() }
    }

    pub(super) fn record(&self, write: WriteRecord) {
        self.0.lock().expect(HELD).writes.push(write);
    }

    pub(super) fn writes(&self) -> Vec<WriteRecord> {
        self.0.lock().expect(HELD).writes.clone()
    }

    pub(super) fn clear(&self) {
        self.0.lock().expect(HELD).writes.clear();
    }

    pub(super) fn overlaps(&self) -> Vec<Overlap> {
        self.0.lock().expect(HELD).overlaps.clone()
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut seen = self.watch.0.lock().expect(HELD);
        if let Some(others) = seen.under_way.get_mut(&self.user) {
            if let Some(position) = others.iter().position(|method| *method == self.method) {
                others.remove(position);
            }
            if others.is_empty() {
                seen.under_way.remove(&self.user);
            }
        }
    }
}
