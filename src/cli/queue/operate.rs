//! `queue retry` and `queue drop`: an operator decides about jobs that stand still.

use serde_json::{Value, json};

use crate::cli::Session;
use crate::cli::confirm::confirm;
use crate::cli::exit::{Exit, Failure};
use crate::cli::part;
use crate::cli::screen::{Output, count};
use crate::domain::queue::State;
use crate::domain::user::UserId;

/// Make jobs that wait, are parked or are held due now, with all their attempts
///
/// Without a state, jobs of the named users are retried in any of the three states; without users,
/// all jobs in the given states. A held job is asked about anew: the budgets decide, and may hold it
/// again. To let it pass although it is over a budget is `held approve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync queue retry 3f0c2a9e-1111-4222-8333-444455556666
  cxone-sync queue retry --parked
  cxone-sync queue retry --parked --waiting -o json")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct RetryArgs {
    /// Object ids
    #[arg(value_name = "USER", group = "which")]
    users: Vec<UserId>,
    /// Jobs that used up their attempts or cannot succeed
    #[arg(long, group = "which")]
    parked: bool,
    /// Jobs that the guard or an ambiguity stopped
    #[arg(long, group = "which")]
    held: bool,
    /// Jobs that wait for their next attempt
    #[arg(long, group = "which")]
    waiting: bool,
    #[command(flatten)]
    output: Output,
}

/// Forget the jobs of these users, without doing them
///
/// Their next change, the poll or a full compare finds them again. A running job is not dropped.
/// Asks on a terminal; off a terminal nothing is done without --yes, and the exit code is 2.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync queue drop 3f0c2a9e-1111-4222-8333-444455556666
  cxone-sync queue drop --yes 3f0c2a9e-1111-4222-8333-444455556666")]
pub struct DropArgs {
    /// Object ids
    #[arg(value_name = "USER", required = true)]
    users: Vec<UserId>,
    /// Go on without asking
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

pub async fn retry(args: &RetryArgs, session: &mut Session) -> Result<Exit, Failure> {
    let chosen = [(State::Parked, args.parked), (State::Held, args.held), (State::Waiting, args.waiting)];
    let mut states: Vec<State> = chosen.iter().filter(|(_, yes)| *yes).map(|(state, _)| *state).collect();
    if states.is_empty() {
        states = chosen.map(|(state, _)| state).into();
    }
    let mut request = json!({"states": states});
    if !args.users.is_empty() {
        request["users"] = json!(args.users);
    }
    let answer = session.client.post(&["queue", "retry"], request).await?;
    let n: u64 = part(&answer, "users")?;
    told(args.output, session, &answer, &format!("{} due now.", count(n, "job")))
}

pub async fn drop(args: &DropArgs, session: &mut Session) -> Result<Exit, Failure> {
    let n = args.users.len() as u64;
    confirm(n, &format!("drops {}", count(n, "job")), args.yes, &mut session.screen)?;
    let answer = session.client.post(&["queue", "drop"], json!({"users": args.users})).await?;
    let dropped: u64 = part(&answer, "dropped")?;
    told(args.output, session, &answer, &format!("Dropped {}.", count(dropped, "job")))?;
    if dropped == n {
        return Ok(Exit::Done);
    }
    session.screen.note("The others have no job, or it is running.");
    Ok(Exit::SomeFailed)
}

fn told(output: Output, session: &mut Session, answer: &Value, words: &str) -> Result<Exit, Failure> {
    match output.is_json() {
        true => session.screen.print_json(answer)?,
        false => session.screen.print(words)?,
    }
    Ok(Exit::Done)
}
