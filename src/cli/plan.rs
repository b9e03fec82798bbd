//! `plan`: what would happen, decided by the same code that does it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::drift::pages;
use super::exit::{Exit, Failure};
use super::screen::{Column, Output, Paint, Screen, count, printable, shown};
use super::when;
use super::{Session, part};
use crate::domain::case::{HeldItem, Work};
use crate::domain::guard::{Budget, Guarded, Usage, over};
use crate::domain::user::GroupId;

/// Show what would happen to users, without writing anything
///
/// Exit codes: 0 every named user could be decided, 3 some could not. With --detailed-exitcode
/// also 8: something would change, or is held or parked; 0 then means that nothing would.
///
/// With --out, `apply` carries out exactly these plans later. --observed shows the plans that a
/// service with sync.mode = "observe" made by itself and kept, without looking again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync plan ana@example.com
  cxone-sync plan --all --detailed-exitcode
  cxone-sync plan --group 3f0c2a9e-1111-4222-8333-444455556666 --requests
  cxone-sync plan --all --out plan.json")]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Args {
    /// Object ids or user principal names
    #[arg(value_name = "USER", value_parser = super::user, group = "which")]
    users: Vec<String>,
    /// Who is in this group now, nested groups included
    #[arg(long, value_name = "ID", group = "which")]
    group: Option<GroupId>,
    /// Everybody
    #[arg(long, group = "which")]
    all: bool,
    /// What the service would have done, had it been allowed to write
    #[arg(long, group = "which")]
    observed: bool,
    /// Also show the requests that would be sent
    #[arg(long, short = 'v')]
    requests: bool,
    /// Also write the plans as JSON to this file, readable only for its owner
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 8 when something would change
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    output: Output,
}

/// So many named users are asked for at once.
const AT_ONCE: usize = 100;

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let answer = ask(args, session).await?;
    let plans: Vec<Plan> = part(&answer, "plans")?;
    if let Some(file) = &args.out {
        let mut kept = answer.clone();
        kept["madeAt"] = json!(session.clock.now());
        write_private(file, &serde_json::to_string_pretty(&kept).expect("a JSON value can be written"))
            .map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display()))
            })?;
        session.screen.note(&format!("Wrote {} to {}.", count(plans.len() as u64, "plan"), file.display()));
    }
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => {
            let brief = args.all || args.group.is_some();
            let mut text = rendered(&plans, Show { brief, requests: args.requests }, session.screen.paint);
            if let Some(guard) = part::<Option<Guard>>(&answer, "guard")? {
                text += &guard.rendered(session.screen.paint);
            }
            session.screen.print(&text)?;
        }
    }
    Ok(exit(&plans, args.detailed_exitcode))
}

/// The plans as they came, with what all of them together take out of the guard's budgets.
async fn ask(args: &Args, session: &Session) -> Result<Value, Failure> {
    if args.observed {
        return Ok(json!({"plans": pages(session, &["observed"], &[], "plans").await?}));
    }
    let spinner = session.screen.spinner("looking at everybody");
    if args.all {
        let request = json!({"all": true});
        return Ok(session.client.post_told(&["plan"], request, |told| spinner.follow(told)).await?);
    }
    if let Some(group) = args.group {
        let request = json!({"group": group});
        return Ok(session.client.post_told(&["plan"], request, |told| spinner.follow(told)).await?);
    }
    let (mut plans, mut guard): (Vec<Value>, Option<Guard>) = (Vec::new(), None);
    for users in args.users.chunks(AT_ONCE) {
        spinner.say(&format!("looked at {} of {}", plans.len(), args.users.len()));
        let answer = session.client.post(&["plan"], json!({"users": users})).await?;
        plans.extend(part::<Vec<Value>>(&answer, "plans")?);
        if let Some(more) = part::<Option<Guard>>(&answer, "guard")? {
            guard = Some(match guard {
                Some(guard) => guard.with(more),
                None => more,
            });
        }
    }
    Ok(match guard {
        Some(guard) => json!({"plans": plans, "guard": guard}),
        None => json!({"plans": plans}),
    })
}

/// How the budgets stand, and what the plans would take out of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Guard(BTreeMap<Guarded, Stand>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stand {
    planned: u64,
    last_hour: u64,
    last_day: u64,
    linked_users: u64,
    budget: Budget,
    /// Which bound all of it together would break.
    over: Option<String>,
}

impl Guard {
    /// Both together: each may fit into a budget that their sum breaks.
    fn with(self, mut more: Self) -> Self {
        for (guarded, earlier) in self.0 {
            let Some(stand) = more.0.get_mut(&guarded) else {
                more.0.insert(guarded, earlier);
                continue;
            };
            stand.planned += earlier.planned;
            let Stand { planned, last_hour, last_day, linked_users, ref budget, .. } = *stand;
            let usage = Usage { last_hour, last_day, linked_users };
            stand.over = (planned > 0).then(|| over(guarded, budget, &usage, planned)).flatten();
        }
        more
    }

    /// A line for each budget that the plans take something out of.
    fn rendered(&self, paint: Paint) -> String {
        let mut text = String::new();
        for (guarded, stand) in self.0.iter().filter(|(_, stand)| stand.planned > 0) {
            let Stand { planned, last_hour, last_day, over, .. } = stand;
            let name = guarded.name().replace('_', " ");
            let over = over.as_deref().map(|over| paint.bad(&format!("; over: {}", printable(over))));
            let over = over.unwrap_or_default();
            text += &format!(
                "{name}: {planned} planned, {last_hour} in the last hour, {last_day} in the last day{over}\n"
            );
        }
        text
    }
}

/// Writes what names people, so that only its owner reads it.
pub fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    writeln!(file, "{text}")
}

/// What would happen to one user, as the API tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    user: String,
    #[serde(default)]
    scim_id: Option<String>,
    action: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    sentence: String,
    #[serde(default)]
    evidence: Option<Value>,
    #[serde(default)]
    changes: Vec<Change>,
    #[serde(default)]
    attributes: Vec<Attribute>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    requests: Vec<Draft>,
    #[serde(default)]
    held: Option<HeldItem>,
    #[serde(default)]
    order: Option<Work>,
    /// When the service made it, of one that was kept.
    #[serde(default)]
    observed_at: Option<jiff::Timestamp>,
}

/// A request to CXone that would be sent.
#[derive(Clone, Debug, Deserialize)]
struct Draft {
    method: String,
    path: String,
    body: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct Change {
    attribute: String,
    before: Option<Value>,
    after: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct Attribute {
    attribute: String,
    source: Option<Value>,
    target: Option<Value>,
    baseline: Option<Baseline>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    decision: String,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Baseline {
    source: Option<Value>,
    target: Option<Value>,
}

impl Plan {
    /// It could not be looked at, or what was seen does not allow a decision.
    pub fn failed(&self) -> bool {
        self.error.is_some() || self.action == "unknown"
    }

    fn is_nothing(&self) -> bool {
        !self.failed() && self.action == "nothing"
    }

    /// A line for the user and one for each attribute that changes.
    pub fn rendered(&self, paint: Paint) -> String {
        let sign = match self.action.as_str() {
            _ if self.failed() => paint.bad("?"),
            "create" | "reactivate" => paint.good("+"),
            "patch" => paint.warning("~"),
            "deactivate" => paint.bad("-"),
            "nothing" => paint.faint("="),
            _ => paint.bad("!"),
        };
        let id = self.scim_id.as_ref().map(|id| format!(" (CXone {})", printable(id))).unwrap_or_default();
        let head = paint.heading(&format!("{} {}", printable(&self.action), printable(&self.user)));
        let mut text = format!("{sign} {head}{id}\n");
        let mut line = |line: String| text += &format!("    {line}\n");
        let why = [self.sentence.as_str(), self.reason.as_str()].map(printable);
        match why.map(|word| Some(word).filter(|word| !word.is_empty())) {
            [Some(sentence), Some(reason)] => {
                line(format!("{sentence} {}", paint.faint(&format!("({reason})"))))
            }
            [Some(why), None] | [None, Some(why)] => line(why),
            [None, None] => {}
        }
        if let Some(at) = self.observed_at {
            line(format!("observed at {}", when::moment(at)));
        }
        if let Some(work) = &self.order {
            let (task, by, batch) = (work.task.name(), printable(&work.by), printable(&work.batch));
            line(format!("ordered: {task} by {by} ({batch})"));
        }
        if let Some(held) = &self.held {
            let (since, words) = (when::moment(held.since), printable(&held.words));
            line(paint.bad(&format!("held since {since}: {words}; see `held list`")));
        }
        if let Some(evidence) = &self.evidence {
            line(format!("evidence: {}", shown(Some(evidence))));
        }
        if let Some(error) = &self.error {
            line(paint.bad(&printable(error)));
        }
        let reasons: BTreeMap<&str, &str> =
            self.attributes.iter().map(|one| (one.attribute.as_str(), one.reason.as_str())).collect();
        let width = self.changes.iter().map(|change| change.attribute.chars().count()).max().unwrap_or(0);
        for change in &self.changes {
            let (before, after) = (shown(change.before.as_ref()), shown(change.after.as_ref()));
            let reason = reasons.get(change.attribute.as_str()).copied().unwrap_or_default();
            let reason = match reason.is_empty() {
                true => String::new(),
                false => paint.faint(&format!("  ({})", printable(reason))),
            };
            line(format!(
                "{:<width$}  {} → {}{reason}",
                printable(&change.attribute),
                paint.bad(&before),
                paint.good(&after)
            ));
        }
        text
    }

    /// What would be sent first.
    pub fn requests(&self) -> String {
        let mut text = String::new();
        for Draft { method, path, body } in &self.requests {
            text += &format!("    {} {}\n", printable(method), printable(path));
            let body = serde_json::to_string_pretty(body).expect("a JSON value can be written");
            body.lines().for_each(|line| text += &format!("    {}\n", printable(line)));
        }
        text
    }

    /// How each attribute was decided, as a table.
    pub fn attributes(&self, screen: &Screen) -> String {
        if self.attributes.is_empty() {
            return String::new();
        }
        let mut table = screen.table(&[
            Column::word("attribute"),
            Column::text("in entra"),
            Column::text("in cxone"),
            Column::text("last in entra").spare(1),
            Column::text("last in cxone").spare(2),
            Column::word("owner").spare(3),
            Column::word("decision"),
            Column::word("reason").spare(4),
        ]);
        for one in &self.attributes {
            let last = one.baseline.as_ref();
            table.add_row([
                printable(&one.attribute),
                shown(one.source.as_ref()),
                shown(one.target.as_ref()),
                shown(last.and_then(|last| last.source.as_ref())),
                shown(last.and_then(|last| last.target.as_ref())),
                printable(one.owner.as_deref().unwrap_or("-")),
                printable(&one.decision),
                printable(&one.reason),
            ]);
        }
        table.lines()
    }
}

#[derive(Clone, Copy, Default)]
struct Show {
    /// Users to whom nothing happens are only counted.
    brief: bool,
    requests: bool,
}

fn rendered(plans: &[Plan], show: Show, paint: Paint) -> String {
    let mut text = String::new();
    for plan in plans.iter().filter(|plan| !(show.brief && plan.is_nothing())) {
        text += &plan.rendered(paint);
        if show.requests {
            text += &plan.requests();
        }
    }
    if !text.is_empty() {
        text += "\n";
    }
    text + &summary(plans) + "\n"
}

fn summary(plans: &[Plan]) -> String {
    let n = |action: &str| plans.iter().filter(|plan| !plan.failed() && plan.action == action).count();
    let mut parts: Vec<String> = [
        ("create", "to create"),
        ("patch", "to change"),
        ("reactivate", "to reactivate"),
        ("deactivate", "to deactivate"),
        ("hold", "held"),
        ("park", "parked"),
    ]
    .into_iter()
    .filter(|(action, _)| n(action) > 0)
    .map(|(action, words)| format!("{} {words}", n(action)))
    .collect();
    let failed = plans.iter().filter(|plan| plan.failed()).count();
    if failed > 0 {
        parts.push(format!("{failed} undecided"));
    }
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    let all = count(plans.len() as u64, "user");
    format!("{all}: {}", parts.join(", "))
}

fn exit(plans: &[Plan], detailed: bool) -> Exit {
    if plans.iter().any(Plan::failed) {
        Exit::SomeFailed
    } else if detailed && !plans.iter().all(Plan::is_nothing) {
        Exit::ChangesPending
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests;
