//! `explain`: every step of the decision about one user.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::plan::Plan;
use super::screen::{Column, Output, Screen, printable, shown};
use super::when::{self, Since};
use super::{Session, held, history, part, queue};
use crate::domain::case::{Case, HeldItem, Restraint};
use crate::domain::queue::{Change, Job, Reason, Remark};
use crate::domain::roles::RowCode;
use crate::domain::rules::Owner;
use crate::domain::seen::SeenState;

/// Show every step of the decision about one user, each with its reason
///
/// Looks at both systems and writes nothing. With --at, nothing is read from them: the history
/// answers what was written, decided and held by then.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync explain ana@example.com
  cxone-sync explain ana@example.com --at 2026-11-20T08:00:00Z
  cxone-sync explain 3f0c2a9e-1111-4222-8333-444455556666 -o json")]
pub struct Args {
    /// An object id, a user principal name, or the user name in CXone
    #[arg(value_name = "USER", value_parser = super::user)]
    user: String,
    /// As it was then: a duration ago (2h, 7d) or a time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "WHEN")]
    at: Option<Since>,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let now = session.clock.now();
    let at = args.at.map(|at| ("at", at.resolve(now).to_string()));
    let query: Vec<(&str, String)> = at.into_iter().collect();
    let answer = session.client.get(&["explain", &args.user], &query).await?;
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
    } else {
        let text = match args.at {
            Some(_) => then(&answer, &session.screen)?,
            None => rendered(&answer, now, &session.screen)?,
        };
        session.screen.print(&text)?;
    }
    let plan: Option<Plan> = part(&answer, "plan")?;
    Ok(if plan.is_some_and(|plan| plan.failed()) { Exit::SomeFailed } else { Exit::Done })
}

#[derive(Deserialize)]
struct Membership {
    groups: Vec<Group>,
    complete: bool,
}

#[derive(Deserialize)]
struct Group {
    group: String,
    /// From a group the user is in directly, up to this one.
    #[serde(default)]
    paths: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct Role {
    role: String,
    group: Option<String>,
    given: bool,
    held: bool,
    #[serde(default)]
    code: String,
    #[serde(default)]
    owner: Option<Owner>,
}

#[derive(Deserialize)]
struct News {
    at: Timestamp,
    reason: Reason,
    deleted: bool,
}

fn rendered(answer: &Value, now: Timestamp, screen: &Screen) -> Result<String, Failure> {
    let user: String = part(answer, "user")?;
    let mut text = String::new();
    let mut section = |name: &str, body: String| {
        let gap = if text.is_empty() { "" } else { "\n" };
        write!(text, "{gap}{}\n{body}", screen.paint.heading(name)).expect("a string can be written to");
    };
    section("User", format!("  {}\n", printable(&user)));
    if let Some(news) = part::<Option<Vec<News>>>(answer, "news")? {
        section("News", told(&news, now));
    }
    section("In Entra", source(&answer["source"]));
    section("Groups", groups(part(answer, "membership")?));
    section("Roles", roles(part(answer, "roles")?, screen));
    section("In CXone", link(&answer["link"]));
    section(
        "In the queue",
        match part::<Option<Job>>(answer, "job")? {
            Some(job) => queue::job(&job, now),
            None => "  no job\n".to_owned(),
        },
    );
    section(
        "Decision",
        match part::<Option<Plan>>(answer, "plan")? {
            Some(plan) => plan.rendered(screen.paint) + &plan.requests() + &plan.attributes(screen),
            None => "  none\n".to_owned(),
        },
    );
    let case = Case {
        // The decision shows what is held of it.
        held: None,
        approval: part(answer, "approval")?,
        work: part(answer, "order")?,
        restraints: part::<Option<_>>(answer, "restraints")?.unwrap_or_default(),
        drift: part::<Option<_>>(answer, "drift")?.unwrap_or_default(),
        observed: part(answer, "observed")?,
    };
    if !case.is_empty() {
        section("Open", held::case_lines(&case, now));
    }
    section("Latest writes", history::latest(&answer["history"], screen)?);
    if let Some(remarks) = part::<Option<Vec<Remark>>>(answer, "remarks")?.filter(|all| !all.is_empty()) {
        section("Latest remarks", history::remarked(&remarks, screen));
    }
    Ok(text)
}

/// What was heard of the user, newest first.
fn told(news: &[News], now: Timestamp) -> String {
    let mut text = String::new();
    for News { at, reason, deleted } in news {
        let deleted = if *deleted { ", says deleted" } else { "" };
        let (at, ago) = (when::moment(*at), when::ago(now, *at));
        writeln!(text, "  {at} ({ago}) {}{deleted}", reason.name()).expect("a string");
    }
    if text.is_empty() { "  none that the journal still has\n".to_owned() } else { text }
}

/// What CXone showed of an attribute then, as far as the history tells.
#[derive(Deserialize)]
struct Known {
    attribute: String,
    value: Option<Value>,
    since: Option<Timestamp>,
    entry: u64,
    certain: bool,
}

#[derive(Deserialize)]
struct OpenOrder {
    at: Timestamp,
    order: String,
    by: Option<String>,
    batch: Option<String>,
}

/// The answer of the history.
fn then(answer: &Value, screen: &Screen) -> Result<String, Failure> {
    let (user, at): (String, Timestamp) = (part(answer, "user")?, part(answer, "at")?);
    let mut text = format!("{}\n  {}\n", screen.paint.heading("User"), printable(&user));
    let mut section = |name: &str, body: String| {
        write!(text, "\n{}\n{body}", screen.paint.heading(name)).expect("a string can be written to");
    };
    if let Some(state) = part::<Option<SeenState>>(answer, "seen")? {
        section(&format!("In Entra, as seen at {}", when::moment(state.at)), seen(&state));
    }
    if let Some(Decision { reason, sentence, changes }) = part(answer, "decision")? {
        let mut body = format!("  {} ({})\n", printable(&sentence), printable(&reason));
        for change in &changes {
            writeln!(body, "  {}", history::turned(change)).expect("a string");
        }
        section("What the rules in force now make of that", body);
    }
    let values: Vec<Known> = part(answer, "values")?;
    section(&format!("In CXone at {}, as far as we wrote it", when::moment(at)), known(&values, screen));
    let mut open = String::new();
    if let Some(item) = part::<Option<HeldItem>>(answer, "held")? {
        let (operation, words) = (item.operation.name(), printable(&item.words));
        writeln!(open, "  held since {}: {operation}; {words}", when::moment(item.since)).expect("a string");
    }
    for OpenOrder { at, order, by, batch } in part::<Vec<OpenOrder>>(answer, "orders")? {
        let word = |text: Option<String>| printable(text.as_deref().unwrap_or("-"));
        let (order, by, batch) = (printable(&order), word(by), word(batch));
        writeln!(open, "  ordered at {}: {order} by {by} ({batch})", when::moment(at)).expect("a string");
    }
    for restraint in part::<Vec<Restraint>>(answer, "restraints")? {
        writeln!(open, "  not written again: {}", held::restrained(&restraint, at)).expect("a string");
    }
    section("Open then", if open.is_empty() { "  nothing\n".to_owned() } else { open });
    section("Writes until then", history::latest(&answer["history"], screen)?);
    section("Remarks until then", history::remarked(&part::<Vec<Remark>>(answer, "remarks")?, screen));
    Ok(text)
}

/// What is decided about a state by the rules in force now.
#[derive(Deserialize)]
struct Decision {
    reason: String,
    sentence: String,
    changes: Vec<Change>,
}

fn seen(state: &SeenState) -> String {
    if let Some(evidence) = &state.gone {
        return format!("  gone: {}\n", printable(&evidence.sentence()));
    }
    let mut text = format!("  {}\n", if state.enabled { "enabled" } else { "disabled" });
    for (name, value) in &state.properties {
        writeln!(text, "  {} = {}", printable(name), shown(Some(&json!(value)))).expect("a string");
    }
    for group in &state.groups {
        writeln!(text, "  in group {group}").expect("a string");
    }
    if !state.complete {
        text += "  Not all groups had been read.\n";
    }
    text
}

fn known(values: &[Known], screen: &Screen) -> String {
    if values.is_empty() {
        return "  nothing was written to this user\n".to_owned();
    }
    let mut table = screen.table(&[
        Column::word("attribute"),
        Column::text("value"),
        Column::word("since").spare(3),
        Column::word("entry").spare(1),
        Column::text("").spare(2),
    ]);
    for Known { attribute, value, since, entry, certain } in values {
        let remark = match (certain, since) {
            (true, _) => "",
            (false, Some(_)) => "the write had no certain end",
            (false, None) => "found so by the next write",
        };
        let since = since.map_or("-".to_owned(), when::moment);
        let value = shown(value.as_ref());
        table.add_row([printable(attribute), value, since, entry.to_string(), remark.to_owned()]);
    }
    table.lines()
}

/// Whatever is known of the source, one property a line.
fn source(source: &Value) -> String {
    let Some(source) = source.as_object() else { return "  not found\n".to_owned() };
    let mut text = String::new();
    for (name, value) in source {
        match value.as_object() {
            Some(properties) => {
                for (name, value) in properties {
                    writeln!(text, "  {} = {}", printable(name), shown(Some(value))).expect("a string");
                }
            }
            None => writeln!(text, "  {}: {}", printable(name), shown(Some(value))).expect("a string"),
        }
    }
    text
}

fn groups(membership: Membership) -> String {
    let mut text = String::new();
    for Group { group, paths } in &membership.groups {
        let nested: Vec<String> =
            paths.iter().filter(|path| path.len() > 1).map(|path| path.join(" in ")).collect();
        let how = if nested.is_empty() { "directly".to_owned() } else { format!("by {}", nested.join("; ")) };
        writeln!(text, "  {} {}", printable(group), printable(&how)).expect("a string");
    }
    if membership.groups.is_empty() {
        text += "  in none of the groups that matter here\n";
    }
    if !membership.complete {
        text += "  Not all groups have been read yet: being in none of them proves nothing.\n";
    }
    text
}

fn roles(roles: Vec<Role>, screen: &Screen) -> String {
    if roles.is_empty() {
        return "  none in the table\n".to_owned();
    }
    let mut table = screen.table(&[
        Column::text("role"),
        Column::word("group").spare(3),
        Column::word("given"),
        Column::word("held"),
        Column::word("code").spare(1),
        Column::text("").spare(2),
    ]);
    for role in roles {
        let yes = |flag| if flag { "yes" } else { "no" };
        let group = role.group.as_deref().unwrap_or("-");
        let code = printable(&role.code);
        let sentence = sentence(&role);
        table.add_row([
            &printable(&role.role),
            &printable(group),
            yes(role.given),
            yes(role.held),
            &code,
            sentence,
        ]);
    }
    table.lines()
}

/// What a row comes to, by its code.
fn sentence(role: &Role) -> &'static str {
    let is = |code: RowCode| role.code == code.code();
    let ours = role.owner.is_some_and(|owner| owner != Owner::Cxone);
    if role.group.is_none() {
        "not in the table: never touched"
    } else if is(RowCode::Given) {
        "a member, and holds it"
    } else if is(RowCode::ToBeGiven) {
        if ours { "a member: is given" } else { "a member; roles are CXone's to give" }
    } else if is(RowCode::ToBeTaken) {
        if ours { "no member: is taken" } else { "no member; roles are CXone's to take" }
    } else if is(RowCode::GroupsUnread) {
        "not all groups have been read: nothing is done"
    } else if is(RowCode::NotAMember) {
        "no member, and does not hold it"
    } else {
        ""
    }
}

fn link(link: &Value) -> String {
    match link {
        Value::Null => "  not linked\n".to_owned(),
        link => {
            let id = link.get("scim_id").or_else(|| link.get("scimId"));
            let confirmed = link.get("confirmed_at").or_else(|| link.get("confirmedAt"));
            format!("  CXone user  {}\n  confirmed   {}\n", shown(id), shown(confirmed))
        }
    }
}

#[cfg(test)]
mod tests;
