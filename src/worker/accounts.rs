//! One run at a time for an account: two people who are matched to the same one at the same moment must not
//! both write to it, nor who has it and who it is passed on to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::domain::user::ScimId;

type Lock = Arc<tokio::sync::Mutex<()>>;

#[derive(Debug, Default)]
pub struct Accounts(Mutex<HashMap<ScimId, Lock>>);

/// The right to decide about an account, until it is dropped.
#[derive(Debug)]
pub struct Held {
    /// Somebody else had it: what was read of the account before may be old.
    pub waited: bool,
    _lock: OwnedMutexGuard<()>,
}

impl Accounts {
    /// Waits for whoever decides about the account now. What the store said of it before may not be
    /// true any more.
    pub async fn hold(&self, account: &ScimId) -> Held {
        let lock = {
            let mut locks = self.0.lock().expect("no panic while the accounts are held");
            // Whoever holds or waits for a lock has a clone of it.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(account.clone()).or_default().clone()
        };
        match lock.clone().try_lock_owned() {
            Ok(lock) => Held { waited: false, _lock: lock },
            Err(_) => Held { waited: true, _lock: lock.lock_owned().await },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_other_accounts_for_nobody() {
        let (accounts, id) = (Arc::new(Accounts::default()), ScimId("a".to_owned()));
        let first = accounts.hold(&id).await;
        assert!(!first.waited);
        let second = tokio::spawn({
            let (accounts, id) = (accounts.clone(), id.clone());
            async move { accounts.hold(&id).await.waited }
        });
        drop(accounts.hold(&ScimId("b".to_owned())).await);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
        drop(accounts.hold(&id).await);
        assert_eq!(accounts.0.lock().unwrap().len(), 1, "what nobody holds is forgotten");
    }
}
