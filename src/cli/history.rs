//! `history`: what was written to CXone, when, and why.

use serde::Deserialize;
use serde_json::Value;

use super::Session;
use super::exit::{Exit, Failure};
use super::order::id_of;
use super::screen::{Column, Output, Paint, Screen, count, number, printable};
use super::when::{self, Since};
use crate::domain::queue::{Change, Remark, Write, WriteResult};

/// Show the writes made to CXone, newest first, with before and after
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  cxone-sync history
  cxone-sync history ana@example.com --remarks
  cxone-sync history --since 24h --limit 1000 -o json")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only this user: an object id or a user principal name
    #[arg(value_name = "USER", value_parser = super::user)]
    user: Option<String>,
    /// Only from then on: a duration ago (2h, 7d) or a time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only earlier than that
    #[arg(long, value_name = "WHEN")]
    before: Option<Since>,
    /// Only of this order
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Instead of the writes: what operators decided and ordered, and what was skipped
    #[arg(long)]
    remarks: bool,
    /// At most so many, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Verify(VerifyArgs),
}

/// Check that no entry of the history was changed, removed or added
///
/// Every entry is sealed with the one before it. The last line is the head of the chain: kept
/// elsewhere and given to --expect later, it also finds a history that somebody with the key has
/// cut short and sealed anew. Exit codes: 0 whole, 1 broken.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync history verify
  cxone-sync history verify --expect 1742:9c1d -o json")]
pub struct VerifyArgs {
    /// An entry as it was told earlier
    #[arg(long, value_name = "NUMBER:SEAL", value_parser = expected)]
    expect: Option<(u64, String)>,
    #[command(flatten)]
    output: Output,
}

fn expected(text: &str) -> Result<(u64, String), String> {
    let wrong = || format!("{text:?} is not NUMBER:SEAL, as `history verify` prints it");
    let (number, seal) = text.split_once(':').ok_or_else(wrong)?;
    let is_seal = !seal.is_empty() && seal.chars().all(|c| c.is_ascii_hexdigit());
    match number.parse() {
        Ok(number) if is_seal => Ok((number, seal.to_owned())),
        _ => Err(wrong()),
    }
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if let Some(Command::Verify(args)) = &args.command {
        return verify(args, session).await;
    }
    let now = session.clock.now();
    let mut query = vec![("limit", args.limit.to_string())];
    if let Some(user) = &args.user {
        query.push(("user", id_of(user, session).await?.to_string()));
    }
    query.extend(args.since.map(|since| ("since", since.resolve(now).to_string())));
    query.extend(args.before.map(|before| ("before", before.resolve(now).to_string())));
    query.extend(args.batch.clone().map(|batch| ("batch", batch)));
    let what = if args.remarks { "remarks" } else { "history" };
    let answer = session.client.get(&[what], &query).await?;
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
        return Ok(Exit::Done);
    }
    let (text, n) = if args.remarks {
        let remarks: Vec<Remark> = super::part(&answer, "remarks")?;
        (remarked(&remarks, &session.screen), remarks.len())
    } else {
        let writes: Vec<Write> = super::part(&answer, "writes")?;
        (rendered(&writes, args.user.is_none(), &session.screen), writes.len())
    };
    session.screen.print(&text)?;
    if n == args.limit as usize {
        session.screen.note(&format!("Only the newest {} are shown.", args.limit));
    }
    Ok(Exit::Done)
}

/// What a check found, as the API tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    entries: u64,
    first: u64,
    last: u64,
    head: String,
    n_breaks: u64,
    breaks: Vec<Break>,
}

#[derive(Deserialize)]
struct Break {
    number: u64,
    what: String,
}

async fn verify(args: &VerifyArgs, session: &mut Session) -> Result<Exit, Failure> {
    let mut query = Vec::new();
    if let Some((number, seal)) = &args.expect {
        query = vec![("number", number.to_string()), ("seal", seal.clone())];
    }
    let answer = {
        let _spinner = session.screen.spinner("checking every entry");
        session.client.get(&["history", "verify"], &query).await?
    };
    let found: Verification = super::understood(&answer)?;
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&verified(&found, session.screen.paint))?,
    }
    Ok(if found.n_breaks == 0 { Exit::Done } else { Exit::Failed })
}

fn verified(found: &Verification, paint: Paint) -> String {
    let Verification { entries, first, last, head, n_breaks, breaks } = found;
    let mut text = String::new();
    for Break { number, what } in breaks {
        text += &paint.bad(&format!("! at entry {number}: {}", printable(what)));
        text += "\n";
    }
    let more = n_breaks.saturating_sub(breaks.len() as u64);
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    let verdict = match n_breaks {
        0 => paint.good("whole"),
        n => paint.bad(&format!("broken in {}", count(*n, "place"))),
    };
    text += &format!("{} ({first} to {last}): {verdict}\n", entries_of(*entries));
    text + &format!("{last}:{}\n", printable(head))
}

fn entries_of(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") }
}

/// Remarks as a table.
pub fn remarked(remarks: &[Remark], screen: &Screen) -> String {
    if remarks.is_empty() {
        return "No remarks.\n".to_owned();
    }
    let mut table = screen.table(&[
        Column::word("at").spare(4),
        Column::word("user"),
        Column::word("what").spare(3),
        Column::text("by").spare(2),
        Column::word("order").spare(1),
        Column::text(""),
    ]);
    for remark in remarks {
        let text = |text: &Option<String>| printable(text.as_deref().unwrap_or("-"));
        table.add_row([
            when::moment(remark.at),
            remark.user.map_or("-".to_owned(), |user| user.to_string()),
            printable(&remark.code),
            text(&remark.by),
            text(&remark.batch),
            printable(&remark.words),
        ]);
    }
    table.lines()
}

/// So much of a plan's hash tells it from others; the JSON has all of it.
const PLAN_SHOWN: usize = 8;

/// The writes as a table; with `users`, one column says whose they are.
pub fn rendered(writes: &[Write], users: bool, screen: &Screen) -> String {
    if writes.is_empty() {
        return "No writes.\n".to_owned();
    }
    let mut columns = vec![
        Column::word("at").spare(4),
        Column::word("user"),
        Column::word("operation").spare(5),
        Column::text("result"),
        Column::word("reason").spare(3),
        Column::word("lag").spare(2),
        Column::word("plan").spare(1),
        Column::text("changes"),
    ];
    if !users {
        columns.remove(1);
    }
    let mut table = screen.table(&columns);
    for write in writes {
        let mut changes: Vec<String> = write.changes.iter().map(|change| changed(change, write)).collect();
        changes
            .extend(write.evidence.as_ref().map(|evidence| format!("({})", printable(&evidence.sentence()))));
        changes.extend(write.approved_by.as_ref().map(|by| format!("(approved by {})", printable(by))));
        changes.extend(write.batch.as_ref().map(|batch| format!("(order {})", printable(batch))));
        let mut row = vec![when::moment(write.at).into()];
        if users {
            row.push(write.user.into());
        }
        row.extend([
            write.operation.name().into(),
            result(&write.result).into(),
            write.reason.name().into(),
            number(when::rough(std::time::Duration::from_millis(write.lag_ms))),
            printable(write.plan.get(..PLAN_SHOWN).unwrap_or("-")).into(),
            changes.join("\n").into(),
        ]);
        table.add_row(row);
    }
    table.lines()
}

fn side(value: &Option<crate::domain::user::Value>) -> String {
    super::screen::shown(value.as_ref().map(|value| serde_json::json!(value)).as_ref())
}

/// `displayName: Ana → Ana S.`
pub fn turned(change: &Change) -> String {
    format!("{}: {} → {}", change.attribute, side(&change.before), side(&change.after))
}

fn changed(change: &Change, write: &Write) -> String {
    let why = write.why.get(&change.attribute).map(|why| format!(" ({})", why.code()));
    let kept = write.shown.get(&change.attribute).map(|kept| Some(kept.clone()));
    let kept = kept.map(|kept| format!(", kept as {}", side(&kept)));
    format!("{}{}{}", turned(change), kept.unwrap_or_default(), why.unwrap_or_default())
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

#[cfg(test)]
mod tests;
