//! `explain`: every step of the decision about one user.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::plan::Plan;
use super::screen::{Output, Screen, lines, printable, shown};
use super::{Session, history, part, queue};
use crate::domain::queue::Job;

/// Show every step of the decision about one user, each with its reason
///
/// Looks at both systems and writes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync explain ana@example.com
  cxone-sync explain 3f0c2a9e-1111-4222-8333-444455556666 -o json")]
pub struct Args {
    /// An object id or a user principal name
    #[arg(value_name = "USER", value_parser = super::user)]
    user: String,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.get(&["explain", &args.user], &[]).await?;
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
    } else {
        let text = rendered(&answer, session.clock.now(), &session.screen)?;
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
}

fn rendered(answer: &Value, now: Timestamp, screen: &Screen) -> Result<String, Failure> {
    let user: String = part(answer, "user")?;
    let mut text = String::new();
    let mut section = |name: &str, body: String| {
        let gap = if text.is_empty() { "" } else { "\n" };
        write!(text, "{gap}{}\n{body}", screen.paint.heading(name)).expect("a string can be written to");
    };
    section("User", format!("  {}\n", printable(&user)));
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
            Some(plan) => plan.rendered(screen.paint) + &plan.attributes(screen),
            None => "  none\n".to_owned(),
        },
    );
    section("Latest writes", history::latest(&answer["history"], screen)?);
    Ok(text)
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
    let mut table = screen.table(&["role", "group", "given", "held", ""]);
    for role in roles {
        let yes = |flag| if flag { "yes" } else { "no" };
        let remark = match (&role.group, role.given, role.held) {
            (None, _, true) => "not in the table: never touched",
            (_, true, false) => "is missing",
            (_, false, true) => "is too much",
            _ => "",
        };
        let group = role.group.as_deref().unwrap_or("-");
        table.add_row([&printable(&role.role), &printable(group), yes(role.given), yes(role.held), remark]);
    }
    lines(&table)
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
