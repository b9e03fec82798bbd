//! What the commands that decide something have in common: who does it, whom it is about, and how an
//! order is followed to its end.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Via;
use super::exit::{Exit, Failure};
use super::screen::{Paint, count, printable};
use super::when::{duration, rough};
use super::{Session, part, understood};
use crate::clock::{later, until};
use crate::domain::queue::Remark;
use crate::domain::user::UserId;

/// The option `--by`, for every command whose giver the history names.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct By {
    /// Who decides, for the history [default: $SUDO_USER or $USER]
    #[arg(long = "by", value_name = "NAME")]
    name: Option<String>,
}

impl By {
    pub fn name(&self) -> Option<String> {
        self.name_or(|variable| std::env::var(variable).ok())
    }

    fn name_or(&self, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let set = |name| variable(name).filter(|value| !value.trim().is_empty());
        self.name.clone().or_else(|| set("SUDO_USER")).or_else(|| set("USER"))
    }
}

/// The id of a user on the command line.
pub async fn id_of(user: &str, session: &Session) -> Result<UserId, Failure> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    part(&session.client.get(&["resolve", user], &[]).await?, "user")
}

pub async fn ids_of(users: &[String], session: &Session) -> Result<Vec<UserId>, Failure> {
    let mut ids = Vec::with_capacity(users.len());
    for user in users {
        ids.push(id_of(user, session).await?);
    }
    Ok(ids)
}

/// The options of commands that wait for what they ordered.
#[derive(Clone, Debug, clap::Args)]
pub struct Follow {
    /// Wait for the end, which is usual while a service runs
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Only order it
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

#[cfg(test)]
impl Follow {
    pub fn none() -> Self {
        Self { wait: false, no_wait: true, timeout: Duration::from_secs(1) }
    }

    pub fn usual() -> Self {
        Self { no_wait: false, ..Self::none() }
    }
}

/// What became of an order.
pub struct Followed {
    pub exit: Exit,
    /// As the service told it; null when nobody waited.
    pub answer: Value,
    pub words: String,
}

impl Follow {
    /// Whether somebody can wait at all, before anything is ordered.
    pub fn check(&self, session: &Session) -> Result<(), Failure> {
        if self.wait && session.via == Via::Offline {
            return Err(Failure::usage("no service runs that would do it: start it, or leave out --wait"));
        }
        Ok(())
    }

    /// Follows an order to its end, if that is wanted and a service runs.
    pub async fn order(&self, batch: &str, session: &mut Session) -> Result<Followed, Failure> {
        if session.via == Via::Offline {
            session.screen.note("It is on disk, and done when the service starts.");
        }
        if self.no_wait || session.via == Via::Offline {
            let words = format!("Ordered as {}.\n", printable(batch));
            return Ok(Followed { exit: Exit::Done, answer: Value::Null, words });
        }
        let answer = self.until_end(batch, session).await?;
        let found: Batch = understood(&answer)?;
        let mut words = found.rendered(session.screen.paint);
        let mut exit = found.exit();
        if found.pending > 0 {
            words += &format!(
                "Not at its end after {}; it goes on, and `history --batch {}` shows its writes.\n",
                rough(self.timeout),
                printable(batch)
            );
            exit = Exit::Failed;
        }
        Ok(Followed { exit, answer, words })
    }

    async fn until_end(&self, batch: &str, session: &Session) -> Result<Value, Failure> {
        const FIRST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(2);
        let spinner = session.screen.spinner("ordered");
        let deadline = later(session.clock.now(), self.timeout);
        let mut pause = FIRST;
        loop {
            let answer = session.client.get(&["batches", batch], &[]).await?;
            let found: Batch = understood(&answer)?;
            let left = until(session.clock.now(), deadline);
            if found.pending == 0 || left.is_zero() {
                return Ok(answer);
            }
            spinner.say(&format!("{} of {} left", found.pending, found.users.len()));
            session.clock.sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

/// An order, as the API tells it.
#[derive(Debug, Deserialize)]
struct Batch {
    pending: usize,
    users: Vec<Standing>,
    skipped: Vec<Remark>,
}

#[derive(Debug, Deserialize)]
struct Standing {
    user: String,
    state: String,
    #[serde(default)]
    words: Option<String>,
}

/// Users that are named one by one; more are only counted.
const SHOWN: usize = 20;

impl Batch {
    fn exit(&self) -> Exit {
        let is = |state: &str| self.users.iter().any(|one| one.state == state);
        let went_well = |one: &Standing| matches!(one.state.as_str(), "applied" | "nothing");
        if is("held") {
            Exit::Held
        } else if !self.skipped.is_empty() || !self.users.iter().all(went_well) {
            Exit::SomeFailed
        } else {
            Exit::Done
        }
    }

    fn rendered(&self, paint: Paint) -> String {
        let mut text = String::new();
        let mut line = |who: &str, state: &str, words: Option<&str>| {
            let words = words.map(|words| format!(": {}", printable(words))).unwrap_or_default();
            text += &format!("{} {} {}{words}\n", paint.bad("!"), printable(who), printable(state));
        };
        let wrong = || self.users.iter().filter(|one| !matches!(one.state.as_str(), "applied" | "nothing"));
        for one in wrong().take(SHOWN) {
            line(&one.user, &one.state, one.words.as_deref());
        }
        // Part of what was done to a user may have been left as it is.
        let applied = |user: &str| self.users.iter().any(|one| one.user == user && one.state == "applied");
        for remark in &self.skipped {
            let user = remark.user.map(|user| user.to_string()).unwrap_or_default();
            if applied(&user) {
                line(&user, "skipped", Some(&remark.words));
            }
        }
        let more = wrong().count().saturating_sub(SHOWN);
        if more > 0 {
            text += &format!("  and {more} more: -o json has them all\n");
        }
        let n = |state: &str| self.users.iter().filter(|one| one.state == state).count();
        let mut parts = Vec::new();
        for (state, words) in [
            ("applied", "done"),
            ("nothing", "right already"),
            ("skipped", "skipped"),
            ("not_applied", "not kept by CXone"),
            ("refused", "refused"),
            ("unknown", "with an unknown end"),
            ("parked", "parked"),
            ("held", "held by the guard (see: held list)"),
            ("pending", "not done yet"),
        ] {
            if n(state) > 0 {
                parts.push(format!("{} {words}", n(state)));
            }
        }
        text + &format!("{}: {}\n", count(self.users.len() as u64, "user"), parts.join(", "))
    }
}

/// The answer to an order with what became of it.
pub fn with_result(mut answer: Value, result: Value) -> Value {
    answer["result"] = result;
    answer
}

/// The worse of two exit codes: what is held before what failed.
pub fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit: &Exit| match exit {
        Exit::Done => 0,
        Exit::SomeFailed => 1,
        Exit::Held => 2,
        _ => 3,
    };
    std::cmp::max_by_key(one, other, rank)
}

/// What a request says of who makes it.
pub fn by(by: &By) -> Value {
    json!({ "by": by.name() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_became_root_is_still_who_they_are() {
        let environment = |sudo: &'static str, user: &'static str| {
            move |name: &str| {
                let value = if name == "SUDO_USER" { sudo } else { user };
                Some(value.to_owned())
            }
        };
        let nobody = By::default();
        assert_eq!(nobody.name_or(environment("ana", "root")).as_deref(), Some("ana"));
        assert_eq!(nobody.name_or(environment("", "ben")).as_deref(), Some("ben"));
        assert_eq!(nobody.name_or(|_| None), None);
        let named = By { name: Some("cleo".to_owned()) };
        assert_eq!(named.name_or(environment("ana", "root")).as_deref(), Some("cleo"));
    }

    fn batch(states: &[&str], skipped: bool) -> Batch {
        let user = |n: usize| UserId::from_bytes([n as u8; 16]);
        let standing = |(n, state): (usize, &&str)| Standing {
            user: user(n).to_string(),
            state: (*state).to_owned(),
            words: (*state == "held").then(|| "over\u{1b}[2J".to_owned()),
        };
        let remark = Remark {
            at: jiff::Timestamp::UNIX_EPOCH,
            user: Some(user(0)),
            code: "skipped".to_owned(),
            words: "undo: emails moved".to_owned(),
            by: None,
            batch: None,
        };
        let pending = states.iter().filter(|state| **state == "pending").count();
        let users = states.iter().enumerate().map(standing).collect();
        Batch { pending, users, skipped: skipped.then_some(remark).into_iter().collect() }
    }

    #[test]
    fn the_exit_code_tells_the_worst() {
        for (states, skipped, expected) in [
            (&["applied", "nothing"][..], false, Exit::Done),
            (&["applied", "skipped"], false, Exit::SomeFailed),
            (&["applied", "applied"], true, Exit::SomeFailed),
            (&["parked", "held"], false, Exit::Held),
            (&["refused"], false, Exit::SomeFailed),
        ] {
            assert_eq!(batch(states, skipped).exit(), expected, "{states:?} {skipped}");
        }
        assert_eq!(worse(Exit::SomeFailed, Exit::Held), Exit::Held);
        assert_eq!(worse(Exit::Failed, Exit::Held), Exit::Failed);
        assert_eq!(worse(Exit::Done, Exit::SomeFailed), Exit::SomeFailed);
    }

    #[test]
    fn only_what_did_not_go_well_is_named() {
        expect_test::expect![[r#"
            ! 01010101-0101-0101-0101-010101010101 held: over [2J
            ! 00000000-0000-0000-0000-000000000000 skipped: undo: emails moved
            3 users: 2 done, 1 held by the guard (see: held list)
        "#]]
        .assert_eq(&batch(&["applied", "held", "applied"], true).rendered(Paint::default()));
    }
}
