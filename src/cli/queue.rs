//! `queue`: the work that waits, and the ways to move it.

mod look;
mod operate;
mod replay;

use super::Session;
use super::exit::{Exit, Failure};

/// See the queue, and set its jobs in motion again
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync queue stats
  cxone-sync queue list --state parked
  cxone-sync queue replay --since 2h")]
pub enum Command {
    List(look::ListArgs),
    Show(look::ShowArgs),
    Stats(look::StatsArgs),
    Replay(replay::Args),
    Retry(operate::RetryArgs),
    Drop(operate::DropArgs),
}

pub async fn run(command: &Command, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        Command::List(args) => look::list(args, session).await,
        Command::Show(args) => look::show(args, session).await,
        Command::Stats(args) => look::stats(args, session).await,
        Command::Replay(args) => replay::run(args, session).await,
        Command::Retry(args) => operate::retry(args, session).await,
        Command::Drop(args) => operate::drop(args, session).await,
    }
}

pub use look::job;
