//! `sync`: marks users by an operator's hand, and follows one to the end.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::Via;
use super::exit::{Exit, Failure};
use super::follow::Drain;
use super::screen::{Output, printable};
use super::when::{self, duration};
use super::{Session, part};
use crate::clock::{later, until};
use crate::domain::queue::{Job, Reason, State};

/// Bring users up to date now
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync sync user ana@example.com --wait
  cxone-sync sync all")]
pub enum Command {
    User(UserArgs),
    All(AllArgs),
}

/// Compare everybody: a delta round from the beginning, as every full_compare_interval
///
/// With --wait, follows it until everybody has been looked at. Exit codes then: 0 done, 3 more users
/// are parked than before, 4 more are held, 1 when it took longer than --timeout (it goes on).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync sync all
  cxone-sync sync all --wait --timeout 2h")]
pub struct AllArgs {
    #[command(flatten)]
    drain: Drain,
    #[command(flatten)]
    output: Output,
}

/// Mark one user, whatever the queue thinks of them
///
/// With --wait, follows the job to its end. Exit codes then: 0 done, 3 parked, 4 held, 1 when it
/// took longer than --timeout (the job goes on).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync sync user 3f0c2a9e-1111-4222-8333-444455556666
  cxone-sync sync user ana@example.com --wait --timeout 5m")]
pub struct UserArgs {
    /// An object id or a user principal name
    #[arg(value_name = "USER", value_parser = super::user)]
    user: String,
    /// Follow the job to its end
    #[arg(long)]
    wait: bool,
    /// How long to follow it
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration, requires = "wait")]
    timeout: Duration,
    #[command(flatten)]
    output: Output,
}

pub async fn run(command: &Command, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        Command::User(args) => user(args, session).await,
        Command::All(args) => all(args, session).await,
    }
}

async fn all(args: &AllArgs, session: &mut Session) -> Result<Exit, Failure> {
    let before = args.drain.before(session).await?;
    let mut answer = session.client.post(&["sync"], json!({"all": true})).await?;
    let Some(before) = before else {
        match args.output.is_json() {
            true => session.screen.print_json(&answer)?,
            false => session.screen.print("A full compare is due now.")?,
        }
        remind(session);
        return Ok(Exit::Done);
    };
    let asked_at = part(&answer, "at")?;
    let (exit, words, queue) = args.drain.until_done(&before, Some(asked_at), session).await?;
    answer["queue"] = queue;
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&words)?,
    }
    Ok(exit)
}

async fn user(args: &UserArgs, session: &mut Session) -> Result<Exit, Failure> {
    if args.wait && session.via == Via::Offline {
        return Err(Failure::usage("no service runs that would do the job: start it, or leave out --wait"));
    }
    let answer = session.client.post(&["sync"], json!({"user": args.user})).await?;
    let id: String = part(&answer, "user")?;
    if !args.wait {
        match args.output.is_json() {
            true => session.screen.print_json(&answer)?,
            false => session.screen.print(&format!("Marked {id}."))?,
        }
        remind(session);
        return Ok(Exit::Done);
    }
    let (verdict, job) = follow(&id, args.timeout, session).await?;
    let (exit, outcome, words) = match verdict {
        Verdict::Done => (Exit::Done, "done", format!("{id} is right.")),
        Verdict::Parked(why) => (Exit::SomeFailed, "parked", format!("{id} is parked: {why}")),
        Verdict::Held(why) => (Exit::Held, "held", format!("{id} is held: {why}")),
        Verdict::Going(step) => {
            let waited = when::rough(args.timeout);
            (Exit::Failed, "timeout", format!("{id} is not done after {waited}: {step}"))
        }
    };
    match args.output.is_json() {
        true => session.screen.print_json(&json!({"user": id, "outcome": outcome, "job": job}))?,
        false => session.screen.print(&words)?,
    }
    Ok(exit)
}

fn remind(session: &mut Session) {
    if session.via == Via::Offline {
        session.screen.note("It is on disk, and done when the service starts.");
    }
}

/// What a look at the queue says of a job that was just marked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Parked(String),
    Held(String),
    /// Not at its end; in which step it is.
    Going(String),
}

fn verdict(job: Option<&Job>) -> Verdict {
    let Some(job) = job else { return Verdict::Done };
    let words = |text: &Option<String>| printable(text.as_deref().unwrap_or("no reason given"));
    let why = || match &job.stopped {
        Some(code) => format!("{code}: {}", words(&job.last_error)),
        None => words(&job.last_error),
    };
    match job.state {
        State::Parked => Verdict::Parked(why()),
        State::Held => Verdict::Held(why()),
        // The run is over; it is only looked at once more later on, in case a replica lagged.
        State::Waiting if job.reason == Reason::Recheck && job.attempts == 0 => Verdict::Done,
        State::Waiting => {
            Verdict::Going(format!("attempt {} failed: {}", job.attempts, words(&job.last_error)))
        }
        State::Due => Verdict::Going("in the queue".to_owned()),
        State::Running => Verdict::Going("running".to_owned()),
    }
}

/// Looks at the queue until the job is at an end, or `timeout` is over.
async fn follow(user: &str, timeout: Duration, session: &Session) -> Result<(Verdict, Value), Failure> {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);
    let spinner = session.screen.spinner("marked");
    let deadline = later(session.clock.now(), timeout);
    let mut pause = FIRST;
    loop {
        let job = look(user, session).await?;
        let found: Option<Job> = super::understood(&job)?;
        let verdict = verdict(found.as_ref());
        let left = until(session.clock.now(), deadline);
        match &verdict {
            Verdict::Going(step) if !left.is_zero() => spinner.say(step),
            _ => return Ok((verdict, job)),
        }
        session.clock.sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST);
    }
}

async fn look(user: &str, session: &Session) -> Result<Value, Failure> {
    match session.client.get(&["queue", user], &[]).await {
        Ok(answer) => part(&answer, "job"),
        // A user of whom nothing is known: no job, no link, no history.
        Err(error) if error.is_not_found() => Ok(Value::Null),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
