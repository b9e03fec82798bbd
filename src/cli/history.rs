//! `history`: what was written to CXone, when, and why.

use serde_json::Value;

use super::Session;
use super::exit::{Exit, Failure};
use super::screen::{Output, Screen, lines, number, printable};
use super::when::{self, Since};
use crate::domain::queue::{Change, Write, WriteResult};
use crate::domain::user::UserId;

/// Show the writes made to CXone, newest first, with before and after
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync history
  cxone-sync history 3f0c2a9e-1111-4222-8333-444455556666
  cxone-sync history --since 24h --limit 1000 -o json")]
pub struct Args {
    /// Only this user: an object id
    #[arg(value_name = "USER")]
    user: Option<UserId>,
    /// Only from then on: a duration ago (2h, 7d) or a time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// At most so many, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.user.map(|user| ("user", user.to_string())));
    query.extend(args.since.map(|since| ("since", since.resolve(session.clock.now()).to_string())));
    let answer = session.client.get(&["history"], &query).await?;
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
        return Ok(Exit::Done);
    }
    let writes: Vec<Write> = super::part(&answer, "writes")?;
    let text = rendered(&writes, args.user.is_none(), &session.screen);
    session.screen.print(&text)?;
    if writes.len() == args.limit as usize {
        session.screen.note(&format!("Only the newest {} are shown.", args.limit));
    }
    Ok(Exit::Done)
}

/// The writes as a table; with `users`, one column says whose they are.
pub fn rendered(writes: &[Write], users: bool, screen: &Screen) -> String {
    if writes.is_empty() {
        return "No writes.\n".to_owned();
    }
    let mut headings = vec!["at", "user", "operation", "result", "reason", "lag", "changes"];
    if !users {
        headings.remove(1);
    }
    let mut table = screen.table(&headings);
    for write in writes {
        let mut changes: Vec<String> = write.changes.iter().map(changed).collect();
        changes.extend(write.evidence.as_ref().map(|evidence| format!("({})", evidence.sentence())));
        let mut row = vec![when::moment(write.at).into()];
        if users {
            row.push(write.user.into());
        }
        row.extend([
            write.operation.name().into(),
            result(&write.result).into(),
            write.reason.name().into(),
            number(when::rough(std::time::Duration::from_millis(write.lag_ms))),
            changes.join("\n").into(),
        ]);
        table.add_row(row);
    }
    lines(&table)
}

fn changed(change: &Change) -> String {
    let side = |value: &Option<_>| {
        super::screen::shown(value.as_ref().map(|value| serde_json::json!(value)).as_ref())
    };
    format!("{}: {} → {}", change.attribute, side(&change.before), side(&change.after))
}

fn result(result: &WriteResult) -> String {
    match result {
        WriteResult::Applied => "applied".to_owned(),
        WriteResult::NotApplied => "not applied".to_owned(),
        WriteResult::Unknown { error } => printable(&format!("unknown: {error}")),
        WriteResult::Refused { error } => printable(&format!("refused: {error}")),
        WriteResult::Pending => "under way".to_owned(),
    }
}

/// The last few writes of one user, for the commands that show more than that.
pub fn latest(value: &Value, screen: &Screen) -> Result<String, Failure> {
    let writes: Vec<Write> = super::understood(value)?;
    Ok(rendered(&writes, false, screen))
}
