//! What delta pages showed a moment ago, so that a burst needs no read a user.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::until;
use crate::domain::user::{SourceUser, UserId};

/// Details older than this are not used: every write rests on a read of the last minute.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// More are dropped: memory stays bounded however large the tenant is.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub struct Details(Mutex<HashMap<UserId, Seen>>);

#[derive(Debug)]
struct Seen {
    user: SourceUser,
    /// When the request for the page began.
    asked_at: Timestamp,
}

impl Details {
    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, Seen>> {
        self.0.lock().expect("no panic while the details are held")
    }

    pub fn remember(&self, user: SourceUser, asked_at: Timestamp) {
        let mut seen = self.seen();
        if seen.len() >= MOST {
            seen.retain(|_, old| until(old.asked_at, asked_at) <= FRESH_FOR);
        }
        if seen.len() < MOST {
            seen.insert(user.id, Seen { user, asked_at });
        }
    }

    /// Takes the details of a user if they were asked for after `latest_news_at`: older ones may
    /// not know what the news is about.
    pub fn take(&self, user: UserId, latest_news_at: Timestamp, now: Timestamp) -> Option<SourceUser> {
        let seen = self.seen().remove(&user)?;
        let fresh = until(seen.asked_at, now) <= FRESH_FOR && seen.asked_at >= latest_news_at;
        fresh.then_some(seen.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::later;

    #[test]
    fn details_older_than_the_news_are_not_used() {
        let at = |seconds| later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds));
        let id = UserId::from_bytes([7; 16]);
        let user = SourceUser { id, enabled: true, properties: Default::default() };
        let details = Details::default();
        let check = |asked, news, now, expected| {
            details.remember(user.clone(), at(asked));
            assert_eq!(
                details.take(id, at(news), at(now)).is_some(),
                expected,
                "asked {asked} news {news} now {now}"
            );
            assert_eq!(details.take(id, at(news), at(now)), None);
        };
        check(10, 9, 11, true);
        check(10, 10, 11, true);
        check(10, 11, 12, false);
        check(10, 9, 71, false);
    }
}
