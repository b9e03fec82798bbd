//! `undo`: takes back what the history says was written, where it still stands.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::confirm::confirm;
use super::exit::{Exit, Failure};
use super::held::changed;
use super::order::{By, Follow, by, id_of, with_result};
use super::plan::write_private;
use super::screen::{Output, Paint, called, count, printable};
use super::when::Since;
use super::{Session, part};
use crate::domain::queue::Change;
use crate::domain::user::UserId;

/// Take writes to CXone back, each only where CXone still shows what was written
///
/// Reads the history, shows for each user the inverse of everything that was selected, asks, and
/// orders it. What Entra says is then not written again until it says something else, or until
/// `held lift`. A created account is not deleted, and no account is turned off: that needs evidence.
/// What has moved since is left as it is. An undo passes the guard like any other write.
///
/// Exit codes: 0 all taken back, 3 some skipped, parked or refused, 4 some held by the guard, 1 when
/// it took longer than --timeout (it goes on).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync undo --since 30m --dry-run
  cxone-sync undo --user ana@example.com --since 2h
  cxone-sync undo --batch 019ab0a2-7e00-7000-8000-000000000000 --yes")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct Args {
    /// Writes to this user: an object id or a user principal name
    #[arg(long, value_name = "USER", group = "which", value_parser = super::user)]
    user: Option<String>,
    /// Writes from then on: a duration ago (2h, 7d) or a time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "WHEN", group = "which")]
    since: Option<Since>,
    /// Writes of this order, as the history names it
    #[arg(long, value_name = "ID", group = "which")]
    batch: Option<String>,
    /// Only show what would be taken back
    #[arg(long)]
    dry_run: bool,
    /// Go on without asking
    #[arg(long, short = 'y')]
    yes: bool,
    /// Also write what would be taken back as JSON to this file, readable only for its owner
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Deserialize)]
struct Inverse {
    user: UserId,
    #[serde(default, rename = "userName")]
    name: Option<String>,
    changes: Vec<Change>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Deserialize)]
struct Skipped {
    attribute: String,
    code: String,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if !args.dry_run {
        args.follow.check(session)?;
    }
    let mut request = by(&args.by);
    if let Some(user) = &args.user {
        request["user"] = json!(id_of(user, session).await?);
    }
    if let Some(since) = args.since {
        request["since"] = json!(since.resolve(session.clock.now()));
    }
    if let Some(batch) = &args.batch {
        request["batch"] = json!(batch);
    }
    request["dry_run"] = json!(true);
    let shown = session.client.post(&["undo"], request.clone()).await?;
    let inverses: Vec<Inverse> = part(&shown, "plans")?;
    if let Some(file) = &args.out {
        write_private(file, &serde_json::to_string_pretty(&shown).expect("a JSON value can be written"))
            .map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display()))
            })?;
        session.screen.note(&format!("Wrote it to {}.", file.display()));
    }
    let text = rendered(&inverses, session.screen.paint);
    let n = inverses.iter().filter(|one| !one.changes.is_empty()).count() as u64;
    if args.dry_run || n == 0 {
        match args.output.is_json() {
            true => session.screen.print_json(&shown)?,
            false => session.screen.print(&text)?,
        }
        return Ok(Exit::Done);
    }
    session.screen.note(text.trim_end());
    confirm(n, &format!("takes back writes to {}", count(n, "user")), args.yes, &mut session.screen)?;
    // Exactly what was shown: writes that were made meanwhile are not in it.
    request["before"] = shown["before"].clone();
    request["set"] = shown["set"].clone();
    request["dry_run"] = json!(false);
    let answer = session.client.post(&["undo"], request).await?;
    let Some(batch) = part::<Option<String>>(&answer, "batch")? else {
        return Err(Failure::new(Exit::Failed, "nothing was ordered"));
    };
    let followed = args.follow.order(&batch, session).await?;
    match args.output.is_json() {
        true => session.screen.print_json(&with_result(answer, followed.answer))?,
        false => session.screen.print(&followed.words)?,
    }
    Ok(followed.exit)
}

fn rendered(inverses: &[Inverse], paint: Paint) -> String {
    let mut text = String::new();
    for Inverse { user, name, changes, skipped } in inverses {
        if changes.is_empty() && skipped.is_empty() {
            continue;
        }
        text += &format!("{} {}\n", paint.warning("~"), called(name.as_ref(), &user.to_string()));
        changes.iter().for_each(|change| text += &format!("    {}\n", changed(change)));
        for Skipped { attribute, code } in skipped {
            let why = format!("{} stays as it is ({})", printable(attribute), printable(code));
            text += &format!("    {}\n", paint.faint(&why));
        }
    }
    let n = inverses.iter().filter(|one| !one.changes.is_empty()).count() as u64;
    let summary = match n {
        0 => "nothing to take back".to_owned(),
        n => format!("writes to {} to take back", count(n, "user")),
    };
    text + &format!("{summary}\n")
}

#[cfg(test)]
mod tests;
