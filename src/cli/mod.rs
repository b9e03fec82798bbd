//! The command line: what can be asked for, and how the answer is shown.
//!
//! One file a command. Apart from `serve`, `demo` and what needs no store, a command only builds
//! requests to the admin API and renders its answers; see [`client`] for who answers them.

mod screen;

mod client;
mod confirm;
mod exit;
mod follow;
mod hint;
mod order;
mod when;

mod adopt;
mod apply;
mod backup;
mod completions;
mod config;
pub mod demo;
mod doctor;
mod drift;
mod events;
mod explain;
mod export;
mod healthcheck;
mod held;
mod history;
mod init;
mod man;
mod mapping;
mod offline;
mod plan;
mod queue;
mod restore;
mod serve;
mod simulate;
mod subscribe;
mod subscriptions;
mod sync;
mod undo;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::clock::Clock;
use crate::domain::user::UserId;
use crate::telemetry::{LogFormat, start_logging};
pub use client::{Client, StoreInUse};
pub use demo::{DemoArgs, Faults};
pub use exit::{Exit, Failure};
pub use screen::{Format, Output, Screen};

/// Keeps NICE CXone users right within seconds of a change in Microsoft Entra ID
///
/// Microsoft Graph calls the service when users or groups change; a worker compares each user in
/// both systems and sends the smallest change. Commands talk to the running service, or open the
/// store themselves when none runs.
#[derive(Debug, Parser)]
#[command(name = "cxone-sync", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "CXONE_SYNC_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// What to log on standard error, such as info or cxone_sync=debug
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line or the configuration is wrong
  3  some users failed
  4  held by the guard, or ambiguous
  5  credentials are missing or refused
  6  Graph, CXone or the service is out of reach
  8  only plan --detailed-exitcode: something would change

Examples:
  cxone-sync demo
  cxone-sync --config /etc/cxone-sync/cxone-sync.toml config validate
  cxone-sync serve
  cxone-sync plan ana@example.com";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service: webhook, worker, poll and private listener
    #[command(after_help = "\
Examples:
  cxone-sync serve
  CXONE_SYNC__SYNC__MODE=observe cxone-sync --config cxone-sync.toml serve")]
    Serve,
    Demo(DemoArgs),
    Init(Box<init::Args>),
    Doctor(doctor::Args),
    Subscribe(subscribe::Args),
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    #[command(subcommand)]
    Queue(queue::Command),
    #[command(subcommand)]
    Sync(sync::Command),
    Plan(plan::Args),
    Apply(apply::Args),
    #[command(subcommand)]
    Held(held::Command),
    #[command(subcommand)]
    Drift(drift::Command),
    Undo(undo::Args),
    Adopt(adopt::Args),
    Simulate(simulate::Args),
    Explain(explain::Args),
    History(history::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Export(export::Args),
    #[command(subcommand)]
    Mapping(mapping::Command),
    #[command(subcommand)]
    Events(events::Command),
    #[command(subcommand)]
    Config(config::Command),
    Healthcheck(healthcheck::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What every command that talks to the service works with.
pub struct Session {
    pub client: Client,
    pub via: client::Via,
    pub clock: Clock,
    pub screen: Screen,
}

/// Reads the command line. Help, the version and what is wrong with it are told here, and end the
/// process with 0 or 2.
pub fn parse() -> Cli {
    Cli::parse()
}

/// Runs one command to its end. Failures have been told on standard error when this returns.
pub async fn run(cli: Cli) -> Exit {
    dispatch(cli).await.unwrap_or_else(|failure| {
        complain(&failure.message);
        if let Some(hint) = &failure.hint {
            Screen::standard().note(&format!("hint: {}", screen::printable(hint)));
        }
        failure.exit
    })
}

/// Says on standard error why nothing more can be done.
pub fn complain(message: &str) {
    let lines: Vec<String> = message.lines().map(screen::printable).collect();
    Screen::standard().note(&format!("error: {}", lines.join("\n")));
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let screen = Screen::standard();
    match &cli.command {
        // The service and the demo start their own logging.
        Command::Serve => serve::run(config::load(&cli)?).await,
        Command::Demo(args) => demo::run(args, cli.log_level).await,
        Command::Init(args) => init::run(args, &cli, screen),
        Command::Doctor(args) => doctor::run(args, &cli, screen).await,
        Command::Completions(args) => completions::run(args, screen),
        Command::Man(args) => man::run(args, screen),
        Command::Restore(args) => restore::run(args, &cli, screen).await,
        Command::Backup(args) => {
            let keys = config::KeyFiles::of(&config::load(&cli)?);
            backup::run(args, &keys, &mut session(&cli, screen).await?).await
        }
        Command::Export(args) => export::run(args, &mut session(&cli, screen).await?).await,
        Command::Mapping(mapping::Command::Table { output }) => mapping::table(*output, &cli, screen),
        Command::Mapping(mapping::Command::Lint { output }) => {
            mapping::lint(*output, &mut session(&cli, screen).await?).await
        }
        Command::Config(config::Command::Reload { output }) => {
            config::reload(*output, &mut session(&cli, screen).await?).await
        }
        Command::Config(command) => config::run(command, &cli, screen),
        Command::Events(command) => events::run(command, &mut session(&cli, screen).await?).await,
        Command::Healthcheck(args) => healthcheck::run(args, &cli, screen).await,
        Command::Subscribe(args) => subscribe::run(args, &mut session(&cli, screen).await?).await,
        Command::Subscriptions(command) => {
            subscriptions::run(command, &mut session(&cli, screen).await?).await
        }
        Command::Queue(command) => queue::run(command, &mut session(&cli, screen).await?).await,
        Command::Sync(command) => sync::run(command, &mut session(&cli, screen).await?).await,
        Command::Plan(args) => plan::run(args, &mut session(&cli, screen).await?).await,
        Command::Apply(args) => apply::run(args, &mut session(&cli, screen).await?).await,
        Command::Held(command) => held::run(command, &mut session(&cli, screen).await?).await,
        Command::Drift(command) => drift::run(command, &mut session(&cli, screen).await?).await,
        Command::Undo(args) => undo::run(args, &mut session(&cli, screen).await?).await,
        Command::Adopt(args) => adopt::run(args, &mut session(&cli, screen).await?).await,
        Command::Simulate(args) => simulate::run(args, &mut session(&cli, screen).await?).await,
        Command::Explain(args) => explain::run(args, &mut session(&cli, screen).await?).await,
        Command::History(args) => history::run(args, &mut session(&cli, screen).await?).await,
    }
}

async fn session(cli: &Cli, mut screen: Screen) -> Result<Session, Failure> {
    let config = config::load(cli)?;
    let level = cli.log_level.as_deref().unwrap_or("warn");
    start_logging(LogFormat::Text, level)
        .map_err(|error| Failure::usage(format!("--log-level {level}: {error}")))?;
    let clock = Clock::system();
    let place = config::place(&config);
    let connection = client::connect(&place, &clock, async move || offline::transport(config).await).await?;
    if connection.via == client::Via::Offline {
        screen.note("No service runs: working on the store itself.");
    }
    Ok(Session { client: connection.client, via: connection.via, clock, screen })
}

/// Reads what the service answered. Only a service of another version answers otherwise.
fn understood<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the service answered what this version does not understand: {error}"),
        )
    })
}

/// One field of an answer; one that is missing reads as null.
fn part<T: serde::de::DeserializeOwned>(answer: &Value, name: &str) -> Result<T, Failure> {
    understood(answer.get(name).unwrap_or(&Value::Null))
}

/// A user on the command line: an object id, or a user principal name.
fn user(text: &str) -> Result<String, String> {
    if let Ok(id) = text.parse::<UserId>() {
        return Ok(id.to_string());
    }
    let name = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | '\\' | '?' | '%');
    if text.contains('@') && text.len() <= 256 && text.chars().all(name) {
        return Ok(text.to_owned());
    }
    Err("expected an object id (a GUID) or a user principal name such as ana@example.com".to_owned())
}

#[cfg(test)]
mod tests;
