//! `queue list`, `queue show`, `queue stats`: only looking.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::{Column, Output, Screen, count, number, printable};
use crate::cli::{Session, history, part, understood, when};
use crate::domain::link::Link;
use crate::domain::queue::{Chore, ChoreEntry, Job, State};
use crate::domain::user::UserId;

/// List the jobs: one a user, whatever happened to them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync queue list
  cxone-sync queue list --state parked --limit 500
  cxone-sync queue list --state held -o json")]
pub struct ListArgs {
    /// Only jobs in this state
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    output: Output,
}

/// Show all that is known of one user: the job, the link, the latest writes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync queue show 3f0c2a9e-1111-4222-8333-444455556666
  cxone-sync queue show 3f0c2a9e-1111-4222-8333-444455556666 -o json")]
pub struct ShowArgs {
    /// An object id
    #[arg(value_name = "USER")]
    user: UserId,
    #[command(flatten)]
    output: Output,
}

/// Count the jobs by state, and show the chores
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync queue stats
  cxone-sync queue stats -o json")]
pub struct StatsArgs {
    #[command(flatten)]
    output: Output,
}

fn state(text: &str) -> Result<State, String> {
    State::ALL
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| format!("{text:?} is not a state: {}", State::ALL.map(State::name).join(", ")))
}

pub async fn list(args: &ListArgs, session: &mut Session) -> Result<Exit, Failure> {
    let limit = args.limit as usize;
    let mut jobs: Vec<Value> = Vec::new();
    // The service may give fewer at once than it was asked for.
    while jobs.len() < limit {
        let mut query = vec![("limit", (limit - jobs.len()).to_string())];
        query.extend(args.state.map(|state| ("state", state.name().to_owned())));
        let last = jobs.last().and_then(|job| job["user"].as_str()).map(str::to_owned);
        query.extend(last.clone().map(|user| ("after", user)));
        let page: Vec<Value> = part(&session.client.get(&["queue"], &query).await?, "jobs")?;
        let next = page.last().and_then(|job| job["user"].as_str()).map(str::to_owned);
        jobs.extend(page);
        if next.is_none() || next == last {
            break;
        }
    }
    let full = jobs.len() >= limit;
    let answer = json!({"jobs": jobs});
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
    } else {
        let jobs: Vec<Job> = part(&answer, "jobs")?;
        let text = listed(&jobs, session.clock.now(), &session.screen);
        session.screen.print(&text)?;
    }
    if full {
        session.screen.note(&format!("The first {limit} are shown; see more with --limit."));
    }
    Ok(Exit::Done)
}

fn listed(jobs: &[Job], now: Timestamp, screen: &Screen) -> String {
    if jobs.is_empty() {
        return "No jobs.\n".to_owned();
    }
    let mut table = screen.table(&[
        Column::word("user"),
        Column::word("state"),
        Column::word("reason").spare(4),
        Column::word("news").spare(2),
        Column::word("due").spare(3),
        Column::word("attempts").spare(1),
        Column::text("why"),
    ]);
    for job in jobs {
        let due = match job.state {
            State::Due | State::Waiting => when::age(now, job.due_at),
            State::Running | State::Parked | State::Held => "-".to_owned(),
        };
        table.add_row([
            job.user.into(),
            job.state.name().into(),
            job.reason.name().into(),
            when::age(now, job.first_news_at).into(),
            due.into(),
            number(job.attempts),
            why(job).into(),
        ]);
    }
    table.lines()
}

/// Why the job is not done: the reason code and the last words.
fn why(job: &Job) -> String {
    let words = [&job.stopped, &job.last_error];
    let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
    let removed = job.removed.is_some().then_some("removed from the directory");
    let urgent = (job.urgent && job.removed.is_none()).then_some("urgent");
    printable(&words.into_iter().chain(removed).chain(urgent).collect::<Vec<_>>().join(": "))
}

pub async fn show(args: &ShowArgs, session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.get(&["queue", &args.user.to_string()], &[]).await?;
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
    } else {
        let text = shown(&answer, session.clock.now(), &session.screen)?;
        session.screen.print(&text)?;
    }
    Ok(Exit::Done)
}

fn shown(answer: &Value, now: Timestamp, screen: &Screen) -> Result<String, Failure> {
    let mut text = screen.paint.heading("Job") + "\n";
    match part::<Option<Job>>(answer, "job")? {
        Some(found) => text += &job(&found, now),
        None => text += "  none: nothing is to be done for this user\n",
    }
    text += &(screen.paint.heading("Link") + "\n");
    match part::<Option<Link>>(answer, "link")? {
        Some(found) => text += &link(&found, now),
        None => text += "  none: no CXone user is known for this user\n",
    }
    text += &(screen.paint.heading("Latest writes") + "\n");
    Ok(text + &history::latest(&answer["history"], screen)?)
}

/// One job in full, indented.
pub fn job(job: &Job, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name:<12}{value}").expect("a string can be written to");
    };
    let time = |at| format!("{} ({})", when::moment(at), when::ago(now, at));
    line("user", job.user.to_string());
    line("state", job.state.name().to_owned());
    line("reason", job.reason.to_string());
    line("first news", time(job.first_news_at));
    line("latest news", time(job.latest_news_at));
    line("due", time(job.due_at));
    line("attempts", job.attempts.to_string());
    let why = why(job);
    if !why.is_empty() {
        line("why", why);
    }
    text
}

fn link(link: &Link, now: Timestamp) -> String {
    let by_us = if link.deactivated_by_us { "\n  deactivated by us" } else { "" };
    format!(
        "  CXone user  {}\n  confirmed   {} ({})\n  baseline    {}{by_us}\n",
        printable(&link.scim_id.0),
        when::moment(link.confirmed_at),
        when::ago(now, link.confirmed_at),
        count(link.baseline.len() as u64, "attribute"),
    )
}

pub async fn stats(args: &StatsArgs, session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.get(&["queue", "stats"], &[]).await?;
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
    } else {
        let text = counted(&answer, session.clock.now(), &session.screen)?;
        session.screen.print(&text)?;
    }
    Ok(Exit::Done)
}

#[derive(Deserialize)]
struct Stats {
    due: u64,
    waiting: u64,
    running: u64,
    parked: u64,
    held: u64,
    oldest_due_seconds: f64,
    chores: Vec<ChoreEntry>,
}

fn counted(answer: &Value, now: Timestamp, screen: &Screen) -> Result<String, Failure> {
    let stats: Stats = understood(answer)?;
    let oldest = Duration::try_from_secs_f64(stats.oldest_due_seconds).unwrap_or_default();
    let mut table = screen.table(&[Column::word("state"), Column::word("jobs"), Column::text("")]);
    for (state, n, remark) in [
        (State::Due, stats.due, format!("the oldest for {}", when::rough(oldest))),
        (State::Waiting, stats.waiting, String::new()),
        (State::Running, stats.running, String::new()),
        (State::Parked, stats.parked, "see: queue list --state parked".to_owned()),
        (State::Held, stats.held, "see: held list".to_owned()),
    ] {
        let remark = if n > 0 { remark } else { String::new() };
        table.add_row([state.name().into(), number(n), remark.into()]);
    }
    if stats.chores.is_empty() {
        return Ok(table.lines());
    }
    let mut chores = screen.table(&[
        Column::word("chore"),
        Column::word("due"),
        Column::word("attempts").spare(1),
        Column::text("last error").spare(2),
    ]);
    for entry in &stats.chores {
        let due = if entry.running { "running".to_owned() } else { when::age(now, entry.due_at) };
        let error = printable(entry.last_error.as_deref().unwrap_or_default());
        chores.add_row([named(&entry.chore).into(), due.into(), number(entry.attempts), error.into()]);
    }
    Ok(table.lines() + "\n" + &chores.lines())
}

fn named(chore: &Chore) -> String {
    match chore {
        Chore::Poll(resource) => format!("poll {resource}"),
        Chore::FullCompare => "full compare".to_owned(),
        Chore::Group(group) => format!("read group {group}"),
        Chore::Subscriptions => "check subscriptions".to_owned(),
        Chore::Renew(id) => format!("renew {}", printable(id)),
        Chore::Prune => "prune".to_owned(),
    }
}

#[cfg(test)]
mod tests;
