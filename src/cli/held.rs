//! `held`: what waits for an operator, and the operator's word on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::exit::{Exit, Failure};
use super::order::{By, by, ids_of};
use super::screen::{Column, Output, Screen, called, count, number, printable, shown};
use super::when::{self, Until, duration};
use super::{Session, part, understood};
use crate::domain::case::{Approval, Case, Forbidden, HeldItem, Preapproval, Restraint};
use crate::domain::plan::set_hash;
use crate::domain::queue::{Change, Job};
use crate::domain::user::{GroupId, UserId};

/// See what is held, and approve or reject it
///
/// The guard holds what would break a budget, and an ambiguity is held too. What is held stays so
/// until somebody decides: room in a budget that frees by the hour is no approval.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync held list
  cxone-sync held approve --all
  cxone-sync held reject ana@example.com")]
pub enum Command {
    /// Show everything that waits for an operator, and every approval, rejection and announcement
    #[command(after_help = "\
Examples:
  cxone-sync held list
  cxone-sync held list -o json")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show all that is open about one user
    #[command(after_help = "\
Examples:
  cxone-sync held show ana@example.com")]
    Show {
        /// An object id or a user principal name
        #[arg(value_name = "USER", value_parser = super::user)]
        user: String,
        #[command(flatten)]
        output: Output,
    },
    Approve(ApproveArgs),
    Reject(RejectArgs),
    /// End what a rejection or an undo forbids of one user, and look at them again
    #[command(after_help = "\
Examples:
  cxone-sync held lift ana@example.com")]
    Lift {
        /// An object id or a user principal name
        #[arg(value_name = "USER", value_parser = super::user)]
        user: String,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        output: Output,
    },
    Preapprove(PreapproveArgs),
    /// Show the changes that were announced, and how much of each is used
    #[command(after_help = "\
Examples:
  cxone-sync held preapprovals")]
    Preapprovals {
        #[command(flatten)]
        output: Output,
    },
    /// End an announcement before its time
    #[command(after_help = "\
Examples:
  cxone-sync held end 3f0c2a9e-1111-4222-8333-444455556666")]
    End {
        /// The id that `held preapprovals` shows
        #[arg(value_name = "ID")]
        id: uuid::Uuid,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        output: Output,
    },
}

/// Which of what the guard holds.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "which", required = true, multiple = true)]
pub struct Which {
    /// Object ids or user principal names
    #[arg(value_name = "USER", value_parser = super::user, conflicts_with = "all")]
    users: Vec<String>,
    /// Everything the guard holds
    #[arg(long)]
    all: bool,
    /// The hash of the set that was looked at, as `held list` prints it
    #[arg(long, value_name = "HASH")]
    set: Option<String>,
}

/// Let what the guard holds pass, although it is over a budget
///
/// An approval is for exactly the set that is shown: if something else is held by then, nothing is
/// approved, and the exit code is 4. On a terminal the set is shown and it asks. Off a terminal
/// --yes and --set are needed: what nobody looked at is not approved. An approval names who gave it
/// in the history, and ends when it is used or expires.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync held approve --all
  cxone-sync held approve ana@example.com --expires 1h
  cxone-sync held approve --set 5f2c --yes --by ana")]
pub struct ApproveArgs {
    #[command(flatten)]
    which: Which,
    /// For how long it holds, at most 30d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    expires: Duration,
    #[command(flatten)]
    consent: Consent,
}

/// Forbid what the guard holds: it is not tried again until Entra says something else
///
/// Nothing is written. `held lift` ends it. The set must be the one that was shown, as for approve.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync held reject --all
  cxone-sync held reject ana@example.com")]
pub struct RejectArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub struct Consent {
    /// Go on without asking
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    output: Output,
}

/// Announce a change: so much may be done to who is in a group now, without asking the budgets
///
/// For a known change, such as a team that leaves. It covers the members of this moment, nested
/// groups included, and whatever is guarded: deactivations, roles taken, privileged roles given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync held preapprove --group 3f0c2a9e-1111-4222-8333-444455556666 --max 40 --until 8h")]
pub struct PreapproveArgs {
    /// The object id of the group
    #[arg(long, value_name = "ID")]
    group: GroupId,
    /// So many guarded changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
    /// For so long (4h, 3d) or until then (2026-11-23T10:00:00Z), at most 30 days
    #[arg(long, value_name = "WHEN")]
    until: Until,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    output: Output,
}

pub async fn run(command: &Command, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        Command::List { output } => list(*output, session).await,
        Command::Show { user, output } => show(user, *output, session).await,
        Command::Approve(args) => {
            let ruling =
                Ruling { path: "approve", word: "approve", expires: Some(args.expires.as_secs().max(1)) };
            rule(&args.which, &args.consent, &ruling, session).await
        }
        Command::Reject(args) => {
            let ruling = Ruling { path: "reject", word: "reject", expires: None };
            rule(&args.which, &args.consent, &ruling, session).await
        }
        Command::Lift { user, by: who, output } => {
            let answer = session.client.post(&["held", user, "lift"], by(who)).await?;
            let n: u64 = part(&answer, "lifted")?;
            told(*output, session, &answer, &format!("Lifted {}.", count(n, "restraint")))
        }
        Command::Preapprove(args) => preapprove(args, session).await,
        Command::Preapprovals { output } => {
            let answer = session.client.get(&["preapprovals"], &[]).await?;
            let known: Vec<Preapproval> = part(&answer, "preapprovals")?;
            let words = match known.is_empty() {
                true => "No preapprovals.".to_owned(),
                false => preapprovals(&known, session.clock.now(), &session.screen),
            };
            told(*output, session, &answer, &words)
        }
        Command::End { id, by: who, output } => {
            let answer = session.client.post(&["preapprovals", &id.to_string(), "end"], by(who)).await?;
            told(*output, session, &answer, &format!("Ended {id}."))
        }
    }
}

fn told(output: Output, session: &mut Session, answer: &Value, words: &str) -> Result<Exit, Failure> {
    match output.is_json() {
        true => session.screen.print_json(answer)?,
        false => session.screen.print(words)?,
    }
    Ok(Exit::Done)
}

/// Everything that is held, as the API tells it.
#[derive(Debug, Deserialize)]
struct Listed {
    set: Option<String>,
    held: Vec<Held>,
    jobs: Vec<HeldJob>,
    approvals: Vec<Approved>,
    restraints: Vec<Restrained>,
    preapprovals: Vec<Preapproval>,
}

#[derive(Clone, Debug, Deserialize)]
struct Held {
    user: UserId,
    #[serde(default, rename = "userName")]
    name: Option<String>,
    #[serde(flatten)]
    item: HeldItem,
}

#[derive(Debug, Deserialize)]
struct HeldJob {
    user: UserId,
    #[serde(default, rename = "userName")]
    name: Option<String>,
    code: Option<String>,
    since: Timestamp,
    words: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Approved {
    user: UserId,
    #[serde(default, rename = "userName")]
    name: Option<String>,
    #[serde(flatten)]
    approval: Approval,
}

#[derive(Debug, Deserialize)]
struct Restrained {
    user: UserId,
    #[serde(default, rename = "userName")]
    name: Option<String>,
    #[serde(flatten)]
    restraint: Restraint,
}

async fn list(output: Output, session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.get(&["held"], &[]).await?;
    let words = listed(&understood(&answer)?, session.clock.now(), &session.screen);
    told(output, session, &answer, &words)
}

fn listed(listed: &Listed, now: Timestamp, screen: &Screen) -> String {
    let mut text = String::new();
    let mut section = |heading: &str, body: String| {
        let gap = if text.is_empty() { "" } else { "\n" };
        text += &format!("{gap}{}\n{body}", screen.paint.heading(heading));
    };
    let approvals: BTreeMap<UserId, &Approval> =
        listed.approvals.iter().map(|one| (one.user, &one.approval)).collect();
    if !listed.held.is_empty() {
        let approval = |user: &UserId| approvals.get(user).copied();
        let mut body: String = listed.held.iter().map(|one| item(one, approval(&one.user), now)).collect();
        body += &format!("  set {}\n", printable(listed.set.as_deref().unwrap_or("-")));
        body += "  To do: `held approve` or `held reject`; `queue retry --held` asks the budgets anew.\n";
        section("Held by the guard", body);
    }
    if !listed.jobs.is_empty() {
        section("Held for another reason", jobs(&listed.jobs, now));
    }
    let held: BTreeSet<UserId> = listed.held.iter().map(|one| one.user).collect();
    let unused: Vec<&Approved> = listed.approvals.iter().filter(|one| !held.contains(&one.user)).collect();
    if !unused.is_empty() {
        let line = |one: &&Approved| {
            let who = called(one.name.as_ref(), &one.user.to_string());
            format!("  {who}: {}\n", approved(&one.approval, now))
        };
        section("Approved, not used yet", unused.iter().map(line).collect());
    }
    if !listed.restraints.is_empty() {
        let line = |one: &Restrained| {
            let who = called(one.name.as_ref(), &one.user.to_string());
            format!("  {who}: {}\n", restrained(&one.restraint, now))
        };
        let mut body: String = listed.restraints.iter().map(line).collect();
        body += "  To do: nothing, or `held lift`.\n";
        section("Not written again", body);
    }
    if !listed.preapprovals.is_empty() {
        section("Announced", preapprovals(&listed.preapprovals, now, screen));
    }
    if text.is_empty() { "Nothing is held.\n".to_owned() } else { text }
}

/// One change that the guard holds: whom, what, why.
fn item(held: &Held, approval: Option<&Approval>, now: Timestamp) -> String {
    let Held { user, name, item } = held;
    let who = called(name.as_ref(), &user.to_string());
    let mut text = format!("  {} {who}, for {}\n", item.operation.name(), when::age(now, item.since));
    text += &body(item, now);
    if let Some(approval) = approval {
        text += &format!("      {}\n", approved(approval, now));
    }
    text
}

fn body(item: &HeldItem, _now: Timestamp) -> String {
    let mut text: String = item.changes.iter().map(|change| format!("      {}\n", changed(change))).collect();
    if let Some(evidence) = &item.evidence {
        text += &format!("      evidence: {}\n", printable(&evidence.sentence()));
    }
    text + &format!("      {}\n", printable(&item.words))
}

/// What changes: of roles, which are given and which are taken.
pub fn changed(change: &Change) -> String {
    let (given, taken) = change.roles();
    if change.attribute == crate::domain::user::Attribute::Roles {
        let given = given.iter().map(|role| format!("+{}", printable(role)));
        let taken = taken.iter().map(|role| format!("-{}", printable(role)));
        return format!("roles: {}", given.chain(taken).collect::<Vec<_>>().join(" "));
    }
    let side = |value: &Option<_>| shown(value.as_ref().map(|value| json!(value)).as_ref());
    format!("{}: {} → {}", change.attribute, side(&change.before), side(&change.after))
}

pub fn approved(approval: &Approval, now: Timestamp) -> String {
    let Approval { by, at, expires_at, .. } = approval;
    format!("approved by {} {}, ends {}", printable(by), when::ago(now, *at), when::age(now, *expires_at))
}

pub fn restrained(restraint: &Restraint, now: Timestamp) -> String {
    let what = match &restraint.forbids {
        Forbidden::Value { attribute, value } => {
            format!("{attribute} = {}", shown(value.as_ref().map(|value| json!(value)).as_ref()))
        }
        Forbidden::GiveRole { role } => format!("giving the role {}", printable(role)),
        Forbidden::TakeRole { role } => format!("taking the role {}", printable(role)),
    };
    let Restraint { why, by, at, .. } = restraint;
    format!("{what}, {} by {} {}", why.name(), printable(by), when::ago(now, *at))
}

fn jobs(jobs: &[HeldJob], now: Timestamp) -> String {
    let mut text = String::new();
    for HeldJob { user, name, code, since, words } in jobs {
        let code = code.as_deref().unwrap_or("-");
        let who = called(name.as_ref(), &user.to_string());
        text += &format!("  {} {who}, for {}\n", printable(code), when::age(now, *since));
        text += &format!("      {}\n", printable(words.as_deref().unwrap_or("no reason given")));
        text += &format!("      To do: {}\n", remedy(code));
    }
    text
}

/// What an operator can do about a job that is held for this reason.
fn remedy(code: &str) -> &'static str {
    match code {
        "ambiguous_match" => "leave one CXone user with this key, then `queue retry`",
        "match_taken" => "see whose account it is with `explain`, part the two, then `queue retry`",
        "conflict_held" => "`drift accept` keeps CXone's value, `drift revert` writes Entra's",
        _ => "see `explain`, then `queue retry`",
    }
}

fn preapprovals(known: &[Preapproval], now: Timestamp, screen: &Screen) -> String {
    let mut table = screen.table(&[
        Column::word("id"),
        Column::word("group").spare(1),
        Column::word("users").spare(2),
        Column::word("used"),
        Column::word("of"),
        Column::word("ends"),
        Column::text("by").spare(3),
    ]);
    for one in known {
        table.add_row([
            one.id.to_string().into(),
            one.group.to_string().into(),
            number(one.users),
            number(one.used),
            number(one.most),
            when::age(now, one.until).into(),
            printable(&one.by).into(),
        ]);
    }
    table.lines()
}

async fn show(user: &str, output: Output, session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.get(&["held", user], &[]).await?;
    let words = open(&answer, session.clock.now())?;
    told(output, session, &answer, &words)
}

/// All that is open about one user.
fn open(answer: &Value, now: Timestamp) -> Result<String, Failure> {
    let (user, name): (String, Option<String>) = (part(answer, "user")?, part(answer, "userName")?);
    let mut text = called(name.as_ref(), &user) + "\n";
    let case = Case {
        held: part(answer, "held")?,
        approval: part(answer, "approval")?,
        work: part(answer, "order")?,
        restraints: part(answer, "restraints")?,
        drift: part(answer, "drift")?,
        observed: part(answer, "observed")?,
    };
    if let Some(item) = &case.held {
        let since = when::ago(now, item.since);
        text += &format!("  held {since}: {}\n{}", item.operation.name(), body(item, now));
        text += &format!("      plan {}\n", printable(&item.plan));
    }
    if let Some(job) = part::<Option<Job>>(answer, "job")?
        && let Some(code) = job.stopped.as_ref().filter(|_| case.held.is_none())
    {
        let words = job.last_error.as_deref().unwrap_or("no reason given");
        text += &format!("  {} ({}): {}\n", job.state.name(), printable(code), printable(words));
    }
    text += &case_lines(&case, now);
    if case.is_empty() {
        text += "  nothing is open\n";
    }
    Ok(text)
}

/// What an operator said of a user, what they ordered, and how CXone has drifted.
pub fn case_lines(case: &Case, now: Timestamp) -> String {
    let mut text = String::new();
    if let Some(approval) = &case.approval {
        text += &format!("  {}\n", approved(approval, now));
    }
    if let Some(work) = &case.work {
        let (task, who) = (work.task.name(), printable(&work.by));
        let batch = printable(&work.batch);
        text += &format!("  ordered: {task} by {who} {} ({batch})\n", when::ago(now, work.at));
    }
    for restraint in &case.restraints {
        text += &format!("  not written again: {}\n", restrained(restraint, now));
    }
    for drift in &case.drift {
        text += &format!("  drift: {} since {}\n", drift.attribute, when::moment(drift.since));
    }
    if let Some(observed) = &case.observed {
        text += &format!("  observed {}: {}\n", when::ago(now, observed.at), observed.operation.name());
    }
    text
}

/// What is to be said of what is held.
struct Ruling {
    path: &'static str,
    word: &'static str,
    /// Of an approval, in seconds.
    expires: Option<u64>,
}

async fn rule(
    which: &Which,
    consent: &Consent,
    ruling: &Ruling,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let Ruling { path, word, expires } = ruling;
    if !session.screen.interactive && which.set.is_none() {
        let message = format!(
            "nobody is here to look at the set, so nothing was done: name it with --set, as `held list` prints it, \
             to {word} exactly what was looked at"
        );
        return Err(Failure::usage(message));
    }
    let named = ids_of(&which.users, session).await?;
    let all: Listed = understood(&session.client.get(&["held"], &[]).await?)?;
    let held: Vec<Held> = match named.is_empty() {
        true => all.held,
        false => all.held.into_iter().filter(|one| named.contains(&one.user)).collect(),
    };
    if let Some(missing) = named.iter().find(|user| held.iter().all(|one| one.user != **user)) {
        let message = format!("the guard holds nothing of user {missing}; `held list` shows what it holds");
        return Err(Failure::new(Exit::Failed, message));
    }
    let now = session.clock.now();
    let set = match &which.set {
        Some(set) => set.clone(),
        None => set_hash(held.iter().map(|one| (one.user, one.item.plan.as_str()))),
    };
    if !consent.yes && session.screen.interactive {
        held.iter().for_each(|one| session.screen.note(item(one, None, now).trim_end()));
    }
    let n = held.len() as u64;
    let what = format!("{word}s {}", count(n, "change"));
    if !confirm(n, &what, consent.yes, &mut session.screen)? && which.set.is_none() {
        let answer = json!({ "users": 0 });
        return told(consent.output, session, &answer, "The guard holds nothing.");
    }
    let mut request = by(&consent.by);
    request["set"] = json!(set);
    if !named.is_empty() {
        request["users"] = json!(named);
    }
    if let Some(seconds) = expires {
        request["expires_seconds"] = json!(seconds);
    }
    let answer = session.client.post(&["held", path], request).await?;
    let n: u64 = part(&answer, "users")?;
    let until = match part::<Option<Timestamp>>(&answer, "expiresAt")? {
        Some(at) => format!(", until {}", when::moment(at)),
        None => String::new(),
    };
    let done = if expires.is_some() { "Approved" } else { "Rejected" };
    told(consent.output, session, &answer, &format!("{done} {}{until}.", count(n, "change")))
}

async fn preapprove(args: &PreapproveArgs, session: &mut Session) -> Result<Exit, Failure> {
    let mut request = by(&args.by);
    request["group"] = json!(args.group);
    request["most"] = json!(args.max);
    request["until"] = json!(args.until.resolve(session.clock.now()));
    let answer = {
        let _spinner = session.screen.spinner("reading the group");
        session.client.post(&["preapprovals"], request).await?
    };
    let made: Preapproval = understood(&answer)?;
    let Preapproval { id, users, most, until, .. } = made;
    let words = format!(
        "Up to {} for {} of the group, until {}: {id}.",
        count(most, "change"),
        count(users, "member"),
        when::moment(until)
    );
    told(args.output, session, &answer, &words)
}

#[cfg(test)]
mod tests;
