//! Who is signed in: sessions behind a cookie, each with a token that every form must bring.
//!
//! Sessions live in this process only: a restart signs everybody out. What a browser holds is a random
//! value, of which only the digest is kept here.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::header::{self, HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::{later, until};
use crate::random::Random;

const COOKIE: &str = "cxone_sync_session";
/// A session that is not used for so long is over.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// So long at most, however busy.
const LONGEST: Duration = Duration::from_secs(8 * 3600);
/// More at once push out the one that has been idle longest.
const MOST: usize = 64;
/// So many wrong tokens in so long, from whomever, and nobody may try for the rest of it: the token
/// may be one that a person chose.
const WRONG_AT_MOST: usize = 10;
const WRONG_WITHIN: Duration = Duration::from_secs(60);

type Key = [u8; 32];

/// What is said on the next page after an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub good: bool,
    pub words: String,
}

#[derive(Clone, Debug)]
struct Session {
    /// Of the admin token it was opened with: with another, it is over.
    token: Key,
    name: String,
    form_token: String,
    ends_at: Timestamp,
    used_at: Timestamp,
    notice: Option<Notice>,
}

/// The session a request belongs to.
#[derive(Clone, Debug)]
pub struct SignedIn {
    key: Key,
    /// What the person called themselves; kept with what they decide.
    pub name: String,
    pub form_token: String,
}

impl SignedIn {
    /// Whether a form was made by us for this session.
    pub fn made(&self, form_token: &str) -> bool {
        self.form_token.as_bytes().ct_eq(form_token.as_bytes()).into()
    }
}

#[derive(Debug, Default)]
pub struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<Key, Session>,
    wrong: Vec<Timestamp>,
}

impl Sessions {
    /// Whether a token may be tried now. A try counts until [`Sessions::open`] says it was right.
    pub fn may_try(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        state.wrong.retain(|at| *at <= now && until(*at, now) < WRONG_WITHIN);
        if state.wrong.len() >= WRONG_AT_MOST {
            return false;
        }
        state.wrong.push(now);
        true
    }

    /// Signs somebody in whose token was right. What the browser is to keep.
    pub fn open(&self, name: String, token: Key, random: &Random, now: Timestamp) -> HeaderValue {
        let secret: [u8; 32] = random.secret();
        let form_token = BASE64_URL_SAFE_NO_PAD.encode(random.secret::<32>());
        let mut state = self.state();
        state.wrong.pop();
        state.drop_ended(now);
        if state.sessions.len() >= MOST {
            let idlest = state.sessions.iter().min_by_key(|(_, session)| session.used_at);
            if let Some(key) = idlest.map(|(key, _)| *key) {
                state.sessions.remove(&key);
            }
        }
        let ends_at = later(now, LONGEST);
        let session = Session { token, name, form_token, ends_at, used_at: now, notice: None };
        state.sessions.insert(Sha256::digest(secret).into(), session);
        cookie(&BASE64_URL_SAFE_NO_PAD.encode(secret), LONGEST)
    }

    /// The session of a request, if it was opened with this token; being asked for keeps it alive, but for
    /// `glance`, which a page does by itself.
    pub fn of(&self, headers: &HeaderMap, token: Key, glance: bool, now: Timestamp) -> Option<SignedIn> {
        let secret = BASE64_URL_SAFE_NO_PAD.decode(given(headers)?).ok()?;
        let key: Key = Sha256::digest(secret).into();
        let mut state = self.state();
        state.drop_ended(now);
        state.sessions.retain(|_, session| session.token == token);
        let session = state.sessions.get_mut(&key)?;
        if !glance {
            session.used_at = now;
        }
        Some(SignedIn { key, name: session.name.clone(), form_token: session.form_token.clone() })
    }

    /// Ends it. What makes the browser forget it.
    pub fn close(&self, who: &SignedIn) -> HeaderValue {
        self.state().sessions.remove(&who.key);
        cookie("", Duration::ZERO)
    }

    pub fn leave_notice(&self, who: &SignedIn, notice: Notice) {
        if let Some(session) = self.state().sessions.get_mut(&who.key) {
            session.notice = Some(notice);
        }
    }

    pub fn take_notice(&self, who: &SignedIn) -> Option<Notice> {
        self.state().sessions.get_mut(&who.key)?.notice.take()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the sessions are held")
    }
}

impl State {
    fn drop_ended(&mut self, now: Timestamp) {
        self.sessions.retain(|_, session| now < session.ends_at && until(session.used_at, now) < IDLE);
    }
}

/// Sent by the browser only to us, only with requests that begin on our pages, and shown to no script.
/// Not `Secure`: the listener is on loopback, where pages are not encrypted.
fn cookie(value: &str, lasts: Duration) -> HeaderValue {
    let lasts = lasts.as_secs();
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict");
    HeaderValue::from_str(&cookie).expect("base64 and numbers are fit for a header")
}

/// The value of our cookie, if there is just one.
fn given(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    match (ours.next(), ours.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + minutes * 60).unwrap()
    }

    fn brought(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&format!("a=b; {pair}")).unwrap())])
    }

    const TOKEN: Key = [1; 32];

    fn of(sessions: &Sessions, headers: &HeaderMap, glance: bool, now: Timestamp) -> Option<SignedIn> {
        sessions.of(headers, TOKEN, glance, now)
    }

    fn open(sessions: &Sessions, seed: u64, minutes: i64) -> HeaderMap {
        brought(&sessions.open("ana".to_owned(), TOKEN, &Random::seeded(seed), at(minutes)))
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_eight_hours_at_most() {
        let sessions = Sessions::default();
        let ana = open(&sessions, 1, 0);
        assert_eq!(of(&sessions, &ana, false, at(29)).unwrap().name, "ana");
        assert!(of(&sessions, &ana, false, at(58)).is_some());
        assert!(of(&sessions, &ana, true, at(87)).is_some(), "a glance finds it");
        assert!(of(&sessions, &ana, false, at(88)).is_none(), "and does not keep it alive");
        let ana = open(&sessions, 2, 0);
        let used = (0..480).step_by(20).all(|minutes| of(&sessions, &ana, false, at(minutes)).is_some());
        assert!(used && of(&sessions, &ana, false, at(480)).is_none());
    }

    #[test]
    fn only_the_whole_cookie_counts_and_only_once() {
        let sessions = Sessions::default();
        let cookie = sessions.open("ana".to_owned(), TOKEN, &Random::seeded(1), at(0));
        let text = cookie.to_str().unwrap().to_owned();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=28800"] {
            assert!(text.contains(part), "{text}");
        }
        let pair = text.split(';').next().unwrap();
        for wrong in [&pair[..pair.len() - 2], &pair.to_uppercase(), &format!("{pair}; {pair}"), "x", ""] {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(wrong).unwrap())]);
            assert!(of(&sessions, &headers, false, at(1)).is_none(), "{wrong}");
        }
    }

    #[test]
    fn signing_out_ends_it_here_too() {
        let sessions = Sessions::default();
        let (ana, ben) = (open(&sessions, 1, 0), open(&sessions, 2, 0));
        let who = of(&sessions, &ana, false, at(1)).unwrap();
        assert!(sessions.close(&who).to_str().unwrap().contains("Max-Age=0"));
        assert!(of(&sessions, &ana, false, at(1)).is_none() && of(&sessions, &ben, false, at(1)).is_some());
    }

    #[test]
    fn a_form_is_good_for_its_own_session_only() {
        let sessions = Sessions::default();
        let [ana, ben] = [1, 2].map(|seed| of(&sessions, &open(&sessions, seed, 0), false, at(1)).unwrap());
        assert!(ana.made(&ana.form_token) && !ana.made(&ben.form_token) && !ana.made(""));
    }

    #[test]
    fn a_notice_is_shown_once() {
        let sessions = Sessions::default();
        let ana = of(&sessions, &open(&sessions, 1, 0), false, at(1)).unwrap();
        let notice = Notice { good: true, words: "done".to_owned() };
        sessions.leave_notice(&ana, notice.clone());
        assert_eq!((sessions.take_notice(&ana), sessions.take_notice(&ana)), (Some(notice), None));
    }

    #[test]
    fn after_ten_wrong_tokens_a_minute_must_pass() {
        let sessions = Sessions::default();
        assert!((0..10).all(|_| sessions.may_try(at(0))));
        assert!(!sessions.may_try(at(0)));
        assert!(sessions.may_try(at(1)));
        // Right ones do not count.
        for seed in 0..30 {
            assert!(sessions.may_try(at(1)));
            open(&sessions, seed, 1);
        }
    }

    #[test]
    fn the_longest_idle_session_makes_room() {
        let sessions = Sessions::default();
        let first = open(&sessions, 0, 0);
        let later: Vec<_> = (1..=64).map(|seed| open(&sessions, seed, 1)).collect();
        assert!(of(&sessions, &first, false, at(1)).is_none());
        assert!(later.iter().all(|headers| of(&sessions, headers, true, at(1)).is_some()));
    }

    #[test]
    fn another_admin_token_signs_everybody_out() {
        let sessions = Sessions::default();
        let ana = open(&sessions, 1, 0);
        assert!(sessions.of(&ana, TOKEN, false, at(1)).is_some());
        assert!(sessions.of(&ana, [2; 32], false, at(1)).is_none());
        assert!(sessions.of(&ana, TOKEN, false, at(1)).is_none(), "and for good");
    }
}
