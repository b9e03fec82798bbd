//! `restore`: a backup takes the place of the store, when no service runs.

use std::path::PathBuf;

use serde_json::json;

use super::backup::held;
use super::client::knock;
use super::confirm::confirm;
use super::exit::{Exit, Failure};
use super::screen::{Output, printable};
use super::{Cli, Screen, config};
use crate::app::kept_history_key;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::{Inspected, Replaced, Restoring, Verification};

/// Put a backup in the place of the store, while no service runs
///
/// The backup is checked page by page first; one that is damaged, cut short or of a newer version
/// changes nothing. The store that is there is moved aside, never deleted. At the next start everybody
/// is compared and every group is read again before anything is decided, and approvals, orders and
/// announcements in the backup are at an end: they may have been used since. The guard holds what is
/// too much, as always.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync restore /var/backups/cxone-sync.redb
  cxone-sync restore cxone-sync.redb --yes -o json")]
pub struct Args {
    /// What `backup` wrote, or a copy of the store made while nothing ran
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also replace a store that the backup is not of
    #[arg(long)]
    force: bool,
    /// Go on without asking
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, cli: &Cli, screen: Screen) -> Result<Exit, Failure> {
    let config = config::load(cli)?;
    let clock = Clock::system();
    if knock(&config::place(&config), &clock).await?.is_some() {
        return Err(Failure::new(
            Exit::Failed,
            "the service runs, and its store cannot be exchanged under it",
        )
        .with_hint(Some("stop it, restore, and start it again")));
    }
    put_back(args, &config, &clock, screen).await
}

async fn put_back(args: &Args, config: &Config, clock: &Clock, mut screen: Screen) -> Result<Exit, Failure> {
    let key = kept_history_key(config.store.history_key.as_ref(), &config.store.path)?;
    let (backup, store) = (args.file.clone(), config.store.path.clone());
    let restoring = {
        let _spinner = screen.spinner("checking the backup");
        let prepared =
            tokio::task::spawn_blocking(move || Restoring::prepare(&backup, &store, key.as_ref())).await;
        prepared.expect("preparing a restore does not panic").map_err(anyhow::Error::from)?
    };
    let store = config.store.path.display();
    if restoring.replaced == Replaced::Another && !args.force {
        let message =
            format!("{} is not a backup of the store {store}: nothing was changed", args.file.display());
        return Err(Failure::usage(message).with_hint(Some(
            "is this the right file and the right configuration? --force replaces it all the same",
        )));
    }
    let (found, verified) = (restoring.found.clone(), restoring.verified.clone());
    let what = format!("puts {} ({}) in the place of the store {store}", args.file.display(), held(&found));
    if !confirm(1, &what, args.yes, &mut screen)? {
        return Ok(Exit::Failed);
    }
    let now = clock.now();
    let moved = tokio::task::spawn_blocking(move || restoring.put_in_place(now)).await;
    let moved = moved.expect("restoring does not panic").map_err(anyhow::Error::from)?;
    match args.output.is_json() {
        true => screen.print_json(&json!({
            "store": config.store.path, "takenAt": found.taken_at, "links": found.links, "jobs": found.jobs,
            "entries": found.entries, "movedAside": moved, "history": verified,
        }))?,
        false => screen.print(&rendered(&found, &moved, verified.as_ref()))?,
    }
    Ok(Exit::Done)
}

fn rendered(found: &Inspected, moved: &[PathBuf], verified: Option<&Verification>) -> String {
    let mut text = format!("Restored: {}\n", held(found));
    for path in moved {
        text += &format!("What was there is now {}\n", path.display());
    }
    text += &match verified {
        None if found.entries == 0 => String::new(),
        None => {
            "There is no key of the history here: put the file history-key of the old host beside the store \
                 before the next start, or its history cannot be verified.\n"
                .to_owned()
        }
        Some(verified) if verified.n_breaks == 0 => "Its history is whole.\n".to_owned(),
        Some(verified) => {
            let first = verified.breaks.first().map(|first| printable(&first.what)).unwrap_or_default();
            format!(
                "Its history does not verify with the key that is here ({first}): is it the key of the old host?\n"
            )
        }
    };
    text + "At the next start everybody is compared.\n"
}

#[cfg(test)]
mod tests;
