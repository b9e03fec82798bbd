//! The subscriptions as Graph last told us.

use redb::ReadableTable;

use super::error::Fault;
use super::record::{decode, encode};
use super::tables::SUBSCRIPTIONS;
use super::transaction::{Reading, Writing};
use crate::domain::subscription::Subscription;

pub(super) fn all(tx: &impl Reading) -> Result<Vec<Subscription>, Fault> {
    tx.read(SUBSCRIPTIONS)?.iter()?.map(|entry| decode(entry?.1.value())).collect()
}

pub(super) fn put(tx: &Writing, subscription: &Subscription) -> Result<(), Fault> {
    tx.write(SUBSCRIPTIONS)?.insert(subscription.id.as_bytes(), encode(subscription).as_slice())?;
    Ok(())
}

pub(super) fn remove(tx: &Writing, id: &str) -> Result<(), Fault> {
    tx.write(SUBSCRIPTIONS)?.remove(id.as_bytes())?;
    Ok(())
}
