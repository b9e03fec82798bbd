//! `apply`: carries out the plans of a file, each only if it is still the same plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Session;
use super::confirm::confirm;
use super::exit::{Exit, Failure};
use super::order::{By, Follow, by, worse};
use super::part;
use super::screen::{Output, count, printable};
use super::when;

/// Carry out the plans of a file that `plan --out` wrote
///
/// Everybody in it is looked at again. Whose plan has become another, or rests on something that has
/// moved since, is skipped and told with what: entra, groups, cxone or link. The others are written,
/// even while sync.mode is "observe". The guard's budgets hold. Waits for the end while a service runs.
///
/// Exit codes: 0 all applied, 3 some skipped, parked or refused, 4 some held by the guard, 1 when it
/// took longer than --timeout (it goes on).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync apply plan.json
  cxone-sync apply plan.json --yes --by ana -o json")]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Go on without asking
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    output: Output,
}

/// So many plans are sent at once: a request has its limit.
const AT_ONCE: usize = 100;
/// Whom to skip is shown for so many; the JSON has all.
const SHOWN: usize = 20;

/// What a file holds that can be carried out.
#[derive(Debug, Default, PartialEq)]
struct Filed {
    made_at: Option<Timestamp>,
    plans: Vec<Value>,
    /// By kind.
    kinds: BTreeMap<String, u64>,
    n_others: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    user: String,
    action: String,
    #[serde(default)]
    plan: Option<String>,
    #[serde(default)]
    preconditions: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct Skipped {
    user: String,
    code: String,
    #[serde(default)]
    moved: Vec<String>,
    #[serde(default)]
    error: Option<String>,
}

/// What is not a file of plans is refused whole.
fn read(text: &str) -> Result<Filed, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let Some(entries) = file.get("plans").and_then(Value::as_array) else {
        return Err("it holds no plans".to_owned());
    };
    let made_at = file.get("madeAt").and_then(Value::as_str).and_then(|at| at.parse().ok());
    let mut filed = Filed { made_at, ..Filed::default() };
    for (n, entry) in entries.iter().enumerate() {
        let wrong = |what: String| format!("plan {} in it {what}", n + 1);
        let entry = Entry::deserialize(entry).map_err(|error| wrong(format!("is none: {error}")))?;
        if !matches!(entry.action.as_str(), "create" | "patch" | "reactivate" | "deactivate") {
            filed.n_others += 1;
            continue;
        }
        let Some(plan) = entry.plan else {
            return Err(wrong("has no hash: make the file anew".to_owned()));
        };
        *filed.kinds.entry(entry.action).or_default() += 1;
        filed.plans.push(json!({ "user": entry.user, "plan": plan, "preconditions": entry.preconditions }));
    }
    Ok(filed)
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    args.follow.check(session)?;
    let filed = open(&args.file)?;
    let n = filed.plans.len() as u64;
    if filed.n_others > 0 {
        let others = count(filed.n_others as u64, "plan");
        session.screen.note(&format!("{others} in the file would change nothing or cannot be carried out."));
    }
    let kinds: Vec<String> = filed.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let made = filed.made_at.map(|at| format!(", made {}", when::ago(session.clock.now(), at)));
    let what = format!("carries out {} ({}){}", count(n, "plan"), kinds.join(", "), made.unwrap_or_default());
    if !confirm(n, &what, args.yes, &mut session.screen)? {
        match args.output.is_json() {
            true => session.screen.print_json(&json!({ "batch": null, "ordered": 0, "skipped": [] }))?,
            false => session.screen.print("Nothing to apply.")?,
        }
        return Ok(Exit::Done);
    }
    let ordered = order(filed.plans, args, session).await?;
    let skipped = ordered.skipped.iter().map(Skipped::deserialize).collect::<Result<Vec<_>, _>>();
    let skipped = skipped.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the service answered what this version does not understand: {error}"),
        )
    })?;
    let mut exit = if skipped.is_empty() { Exit::Done } else { Exit::SomeFailed };
    let mut words = told(&skipped);
    let mut result = Value::Null;
    if ordered.n > 0
        && let Some(batch) = &ordered.batch
    {
        let followed = args.follow.order(batch, session).await?;
        words += &followed.words;
        exit = worse(exit, followed.exit);
        result = followed.answer;
    }
    match args.output.is_json() {
        true => session.screen.print_json(&json!({
            "batch": ordered.batch, "ordered": ordered.n, "skipped": ordered.skipped, "result": result,
        }))?,
        false => session.screen.print(&words)?,
    }
    Ok(exit)
}

fn open(file: &Path) -> Result<Filed, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", file.display())))?;
    read(&text)
        .map_err(|why| Failure::usage(format!("{} was not written by `plan --out`: {why}", file.display())))
}

#[derive(Default)]
struct Ordered {
    batch: Option<String>,
    n: usize,
    skipped: Vec<Value>,
}

/// Orders the plans, some at a time, all under one id.
async fn order(plans: Vec<Value>, args: &Args, session: &Session) -> Result<Ordered, Failure> {
    let spinner = session.screen.spinner("looking at everybody again");
    let (mut ordered, all) = (Ordered::default(), plans.len());
    for (n, plans) in plans.chunks(AT_ONCE).enumerate() {
        spinner.say(&format!("looked at {} of {all}", n * AT_ONCE));
        let mut request = by(&args.by);
        request["plans"] = json!(plans);
        if let Some(batch) = &ordered.batch {
            request["batch"] = json!(batch);
        }
        let answer = session.client.post(&["apply"], request).await?;
        ordered.batch = Some(part(&answer, "batch")?);
        ordered.n += part::<usize>(&answer, "ordered")?;
        ordered.skipped.extend(part::<Vec<Value>>(&answer, "skipped")?);
    }
    Ok(ordered)
}

fn told(skipped: &[Skipped]) -> String {
    let mut text = String::new();
    for Skipped { user, code, moved, error } in skipped.iter().take(SHOWN) {
        let why = match (error, moved.is_empty()) {
            (Some(error), _) => printable(error),
            (None, false) => printable(&format!("moved: {}", moved.join(", "))),
            (None, true) => printable(code),
        };
        text += &format!("! {} skipped: {why}\n", printable(user));
    }
    if skipped.len() > SHOWN {
        text += &format!("  and {} more: -o json has them all\n", skipped.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests;
