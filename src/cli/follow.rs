//! Following the queue until nothing in it can be done at once: for what marks many users.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Told, Via};
use super::exit::{Exit, Failure};
use super::screen::{count, printable};
use super::when::{duration, rough};
use super::{Session, understood};
use crate::clock::{later, until};
use crate::domain::queue::{Chore, ChoreEntry};

/// The options of commands that can wait until the queue is worked off.
#[derive(Clone, Debug, clap::Args)]
pub struct Drain {
    /// Wait until everything that is due has been done
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration, requires = "wait")]
    timeout: Duration,
}

#[cfg(test)]
impl Drain {
    pub fn none() -> Self {
        Self { wait: false, timeout: Duration::from_secs(60) }
    }

    pub fn wanted() -> Self {
        Self { wait: true, ..Self::none() }
    }
}

/// How the queue stands, as the API tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Standing {
    due: u64,
    running: u64,
    parked: u64,
    held: u64,
    #[serde(default)]
    chores: Vec<ChoreEntry>,
}

/// What a look at the queue says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The directory is being read, or that failed and is tried again.
    Reading {
        error: Option<String>,
    },
    Left(u64),
    Over,
}

/// `asked_at`: when a full compare was ordered, which comes first.
fn step(standing: &Standing, asked_at: Option<Timestamp>) -> Step {
    let compare = standing.chores.iter().find(|entry| entry.chore == Chore::FullCompare);
    if let (Some(entry), Some(asked_at)) = (compare, asked_at)
        && (entry.running || entry.attempts > 0 || entry.due_at <= asked_at)
    {
        return Step::Reading { error: entry.last_error.clone() };
    }
    match standing.due + standing.running {
        0 => Step::Over,
        left => Step::Left(left),
    }
}

impl Drain {
    /// Whether somebody can wait at all, before anything is ordered. How the queue stands until then.
    pub async fn before(&self, session: &Session) -> Result<Option<Standing>, Failure> {
        if !self.wait {
            return Ok(None);
        }
        if session.via == Via::Offline {
            return Err(Failure::usage("no service runs that would do it: start it, or leave out --wait"));
        }
        look(session).await.map(|(standing, _)| Some(standing))
    }

    /// Waits until nothing is due or runs. How it ended, in words, and what the queue was like then.
    pub async fn until_done(
        &self,
        before: &Standing,
        asked_at: Option<Timestamp>,
        session: &Session,
    ) -> Result<(Exit, String, Value), Failure> {
        const FIRST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(2);
        let spinner = session.screen.spinner("waiting for the queue");
        let deadline = later(session.clock.now(), self.timeout);
        let (mut pause, mut most) = (FIRST, 0);
        loop {
            let (standing, answer) = look(session).await?;
            let step = step(&standing, asked_at);
            let left = until(session.clock.now(), deadline);
            match &step {
                Step::Over => {
                    let (exit, words) = ended(before, &standing);
                    return Ok((exit, words, answer));
                }
                step if left.is_zero() => {
                    let so_far = match step {
                        Step::Left(left) => format!("{} still to be done", count(*left, "user")),
                        _ => "the directory is still being read".to_owned(),
                    };
                    let words =
                        format!("Not at its end after {}: {so_far}; it goes on.\n", rough(self.timeout));
                    return Ok((Exit::Failed, words, answer));
                }
                Step::Reading { error } => {
                    let error = error.as_deref().map(|error| format!(", tried again: {}", printable(error)));
                    let doing = format!("reading the directory{}", error.unwrap_or_default());
                    spinner.follow(&Told { doing, done: standing.due + standing.running, of: None });
                }
                Step::Left(n_left) => {
                    // More may come in while it is worked off.
                    most = most.max(*n_left);
                    spinner.follow(&Told {
                        doing: "working off the queue".to_owned(),
                        done: most - n_left,
                        of: Some(most),
                    });
                }
            }
            session.clock.sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

async fn look(session: &Session) -> Result<(Standing, Value), Failure> {
    let answer = session.client.get(&["queue", "stats"], &[]).await?;
    Ok((understood(&answer)?, answer))
}

/// Whether the queue ended better than it began.
fn ended(before: &Standing, after: &Standing) -> (Exit, String) {
    let mut words = "The queue is worked off.\n".to_owned();
    for (n, what, see) in
        [(after.parked, "parked", "queue list --state parked"), (after.held, "held", "held list")]
    {
        if n > 0 {
            words += &format!("{} {what} (see: {see})\n", count(n, "user"));
        }
    }
    let exit = if after.held > before.held {
        Exit::Held
    } else if after.parked > before.parked {
        Exit::SomeFailed
    } else {
        Exit::Done
    };
    (exit, words)
}

impl Standing {
    /// As if none of the parked were: they are about to be tried again.
    pub fn without_parked(self, n: u64) -> Self {
        Self { parked: self.parked.saturating_sub(n), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::cli::client::testing::{client, json as answer};
    use crate::cli::screen::testing::screen;
    use crate::clock::Clock;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn compare(due_at: i64, running: bool, attempts: u32) -> ChoreEntry {
        ChoreEntry {
            chore: Chore::FullCompare,
            due_at: at(due_at),
            first_news_at: at(0),
            attempts,
            generation: 1,
            running,
            last_error: (attempts > 1).then(|| "503".to_owned()),
        }
    }

    #[test]
    fn a_full_compare_comes_before_the_jobs_it_makes() {
        let standing = |chores| Standing { chores, ..Standing::default() };
        let reading = |error: Option<&str>| Step::Reading { error: error.map(str::to_owned) };
        for (chore, expected) in [
            (compare(10, false, 0), reading(None)),
            (compare(10, true, 1), reading(None)),
            (compare(40, false, 2), reading(Some("503"))),
            (compare(86_410, false, 0), Step::Over),
        ] {
            assert_eq!(step(&standing(vec![chore.clone()]), Some(at(10))), expected, "{chore:?}");
            assert_eq!(step(&standing(vec![chore]), None), Step::Over, "nobody ordered it");
        }
        let busy = Standing { due: 2, running: 1, ..Standing::default() };
        assert_eq!(step(&busy, Some(at(10))), Step::Left(3));
    }

    #[test]
    fn only_what_got_worse_is_a_failure() {
        let standing = |parked, held| Standing { parked, held, ..Standing::default() };
        assert_eq!(ended(&standing(2, 1), &standing(2, 1)).0, Exit::Done);
        assert_eq!(ended(&standing(2, 1), &standing(3, 1)).0, Exit::SomeFailed);
        assert_eq!(ended(&standing(2, 1), &standing(3, 2)).0, Exit::Held);
        assert_eq!(ended(&standing(2, 0).without_parked(2), &standing(1, 0)).0, Exit::SomeFailed);
    }

    /// Waits beside a queue that has these jobs due, look by look; the last stays.
    async fn wait(due: &'static [u64], via: Via) -> Result<(Exit, String), Failure> {
        let looks = Arc::new(Mutex::new(due.iter().copied().peekable()));
        let service = move |_| {
            let mut looks = looks.lock().unwrap();
            let now = *looks.peek().unwrap();
            if looks.len() > 1 {
                looks.next();
            }
            answer(200, json!({"due": now, "running": 0, "parked": 0, "held": 0, "chores": []}))
        };
        let clock = Clock::manual(at(0));
        let session =
            Session { client: client(service), via, clock: clock.clone(), screen: screen(false, "").0 };
        let drain = Drain::wanted();
        let before = drain.before(&session).await?.unwrap();
        let waiting = async {
            let (exit, words, _) = drain.until_done(&before, None, &session).await?;
            Ok((exit, words))
        };
        let mut waiting = std::pin::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                ended = &mut waiting => return ended,
                () = tokio::task::yield_now() => clock.advance(Duration::from_secs(1)),
            }
        }
    }

    #[tokio::test]
    async fn it_ends_when_nothing_is_due_or_the_patience_is_over() {
        let (exit, words) = wait(&[3, 3, 1, 0], Via::Socket).await.unwrap();
        assert_eq!((exit, words.as_str()), (Exit::Done, "The queue is worked off.\n"));
        let (exit, words) = wait(&[3], Via::Socket).await.unwrap();
        assert_eq!(exit, Exit::Failed);
        assert!(words.contains("3 users still to be done"), "{words}");
        assert_eq!(wait(&[0], Via::Offline).await.unwrap_err().exit, Exit::Usage);
    }
}
