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
pub struct Details(Mutex<Shown>);

/// What one selection of attributes showed. With another, all of it is worth nothing: an attribute
/// that was not asked for looks as if it were not set.
#[derive(Debug, Default)]
struct Shown {
    selected: String,
    users: HashMap<UserId, Seen>,
}

#[derive(Debug)]
struct Seen {
    user: SourceUser,
    /// When the request for the page began.
    asked_at: Timestamp,
}

impl Details {
    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.0.lock().expect("no panic while the details are held")
    }

    /// `selected`: the attributes that were asked for.
    pub fn remember(&self, user: SourceUser, asked_at: Timestamp, selected: &str) {
        let mut shown = self.shown();
        if shown.selected != selected {
            *shown = Shown { selected: selected.to_owned(), users: HashMap::new() };
        }
        let seen = &mut shown.users;
        if seen.len() >= MOST {
            seen.retain(|_, old| until(old.asked_at, asked_at) <= FRESH_FOR);
        }
        if seen.len() < MOST {
            seen.insert(user.id, Seen { user, asked_at });
        }
    }

    /// Takes the details of a user if all that is `selected` was asked for, after `latest_news_at`:
    /// older ones may not know what the news is about.
    pub fn take(
        &self,
        user: UserId,
        latest_news_at: Timestamp,
        now: Timestamp,
        selected: &str,
    ) -> Option<SourceUser> {
        let mut shown = self.shown();
        if shown.selected != selected {
            return None;
        }
        let seen = shown.users.remove(&user)?;
        // What was asked for in the future, before the clock was set back, may be of any age.
        let past = seen.asked_at <= now;
        let fresh = past && until(seen.asked_at, now) <= FRESH_FOR && seen.asked_at >= latest_news_at;
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
            details.remember(user.clone(), at(asked), "id");
            assert_eq!(
                details.take(id, at(news), at(now), "id").is_some(),
                expected,
                "asked {asked} news {news} now {now}"
            );
            assert_eq!(details.take(id, at(news), at(now), "id"), None);
        };
        check(10, 9, 11, true);
        check(10, 10, 11, true);
        check(10, 11, 12, false);
        check(10, 9, 71, false);
        check(10, 5, 9, false);
    }

    #[test]
    fn details_of_another_selection_are_not_used() {
        let user =
            SourceUser { id: UserId::from_bytes([7; 16]), enabled: true, properties: Default::default() };
        let (details, now) = (Details::default(), Timestamp::UNIX_EPOCH);
        details.remember(user.clone(), now, "id");
        assert_eq!(details.take(user.id, now, now, "id,mail"), None);
        details.remember(user.clone(), now, "id,mail");
        assert_eq!(details.take(user.id, now, now, "id"), None);
        assert_eq!(details.take(user.id, now, now, "id,mail"), Some(user));
    }
}
