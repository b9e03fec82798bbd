//! `drift`: what somebody changed in CXone by hand.

use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::order::{By, Follow, by, id_of, with_result, worse};
use super::screen::{Output, Screen, called, count, printable, shown};
use super::when;
use super::{Session, part};
use crate::domain::drift::{Drift, RoleDrift};
use crate::domain::user::{Attribute, UserId};

/// See what was changed in CXone by hand, and accept it or take it back
///
/// Drift is what CXone shows that is neither what it showed when both sides were last settled nor
/// what we wrote since. What the service makes of it is a matter of the attribute's owner.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync drift list
  cxone-sync drift accept ana@example.com displayName
  cxone-sync drift revert ana@example.com roles")]
pub enum Command {
    List(ListArgs),
    Accept(AcceptArgs),
    Revert(RevertArgs),
}

/// List what differs, since when, and what the rules make of it
///
/// Of roles, each that was given or taken by hand is named, with the Entra group that would give it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync drift list
  cxone-sync drift list ana@example.com
  cxone-sync drift list --attribute roles -o json")]
pub struct ListArgs {
    /// Only this user: an object id or a user principal name
    #[arg(value_name = "USER", value_parser = super::user)]
    user: Option<String>,
    /// Only this attribute
    #[arg(long, value_name = "NAME", value_parser = attribute)]
    attribute: Option<Attribute>,
    #[command(flatten)]
    output: Output,
}

/// Take what CXone shows as it is: no drift any more, and written over only when Entra changes
///
/// Not for what Entra owns: that is written back, whatever is accepted. Exit code 3 when an
/// attribute was refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync drift accept ana@example.com displayName phoneNumbers")]
pub struct AcceptArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    output: Output,
}

/// Write Entra's value over what CXone shows
///
/// It passes the guard as any write does. Not for what CXone owns, nor for roles outside the table.
/// Waits for the end while a service runs. Exit codes: 0 done, 3 refused or skipped, 4 held.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync drift revert ana@example.com displayName
  cxone-sync drift revert ana@example.com roles --no-wait")]
pub struct RevertArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Debug, clap::Args)]
pub struct What {
    /// An object id or a user principal name
    #[arg(value_name = "USER", value_parser = super::user)]
    user: String,
    /// As `drift list` names them
    #[arg(value_name = "ATTRIBUTE", required = true, value_parser = attribute)]
    attributes: Vec<Attribute>,
}

fn attribute(text: &str) -> Result<Attribute, String> {
    Attribute::by_name(text).ok_or_else(|| {
        format!("{text:?} is not an attribute: {}", Attribute::ALL.map(Attribute::name).join(", "))
    })
}

pub async fn run(command: &Command, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        Command::List(args) => list(args, session).await,
        Command::Accept(args) => accept(args, session).await,
        Command::Revert(args) => revert(args, session).await,
    }
}

#[derive(Debug, Deserialize)]
struct Found {
    user: UserId,
    #[serde(default, rename = "userName")]
    name: Option<String>,
    #[serde(flatten)]
    drift: Drift,
}

async fn list(args: &ListArgs, session: &mut Session) -> Result<Exit, Failure> {
    let mut query = Vec::new();
    if let Some(user) = &args.user {
        query.push(("user", id_of(user, session).await?.to_string()));
    }
    query.extend(args.attribute.map(|attribute| ("attribute", attribute.name().to_owned())));
    let answer = json!({ "drift": pages(session, &["drift"], &query, "drift").await? });
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => {
            let text = listed(&part::<Vec<Found>>(&answer, "drift")?, &session.screen);
            session.screen.print(&text)?;
        }
    }
    Ok(Exit::Done)
}

/// Everything that is listed page by page, each naming where the next begins.
pub async fn pages(
    session: &Session,
    path: &[&str],
    query: &[(&str, String)],
    list: &str,
) -> Result<Vec<Value>, Failure> {
    let (mut all, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let mut query = query.to_vec();
        query.extend(after.clone().map(|after| ("after", after)));
        let page = session.client.get(path, &query).await?;
        all.extend(part::<Vec<Value>>(&page, list)?);
        let next: Option<String> = part(&page, "next")?;
        if next.is_none() || next == after {
            return Ok(all);
        }
        after = next;
    }
}

fn listed(found: &[Found], screen: &Screen) -> String {
    if found.is_empty() {
        return "No drift.\n".to_owned();
    }
    let paint = screen.paint;
    let side = |value: &Option<_>| shown(value.as_ref().map(|value| json!(value)).as_ref());
    let (mut text, mut last) = (String::new(), None);
    for Found { user, name, drift } in found {
        if last != Some(user) {
            text += &format!("{}\n", paint.heading(&called(name.as_ref(), &user.to_string())));
            last = Some(user);
        }
        text += &format!(
            "  {} since {}: CXone {} | was {} | Entra {}\n",
            drift.attribute,
            when::moment(drift.since),
            paint.bad(&side(&drift.shown)),
            side(&drift.baseline),
            paint.good(&side(&drift.entra)),
        );
        for role in &drift.roles {
            text += &format!("      {}\n", role_line(role));
        }
        let both = if drift.both_changed { "; Entra changed too" } else { "" };
        let word = |value: Value| shown(Some(&value));
        text += &format!(
            "      {}, owner {} ({}){both}\n",
            word(json!(drift.decision)),
            word(json!(drift.owner)),
            drift.why.code()
        );
    }
    text
}

fn role_line(role: &RoleDrift) -> String {
    let how = if role.given { "given" } else { "taken" };
    let group = match role.group {
        Some(group) => format!("the table's group for it is {group}"),
        None => "not in the table: never touched".to_owned(),
    };
    format!("{} {how} by hand; {group}", printable(&role.role))
}

#[derive(Debug, Deserialize)]
struct Refused {
    attribute: Attribute,
    why: String,
}

async fn request(what: &What, who: &By, session: &Session) -> Result<Value, Failure> {
    let mut request = by(who);
    request["user"] = json!(id_of(&what.user, session).await?);
    request["attributes"] = json!(what.attributes);
    Ok(request)
}

/// What was refused, and the exit code for it.
fn refusals(answer: &Value) -> Result<(String, Exit), Failure> {
    let refused: Vec<Refused> = part(answer, "refused")?;
    let line = |one: &Refused| format!("{} refused: {}\n", one.attribute, printable(&one.why));
    let exit = if refused.is_empty() { Exit::Done } else { Exit::SomeFailed };
    Ok((refused.iter().map(line).collect(), exit))
}

async fn accept(args: &AcceptArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = request(&args.what, &args.by, session).await?;
    let answer = session.client.post(&["drift", "accept"], request).await?;
    let (words, exit) = refusals(&answer)?;
    let accepted: Vec<Attribute> = part(&answer, "accepted")?;
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => {
            let n = accepted.len() as u64;
            session.screen.print(&format!("{words}Accepted {}.\n", count(n, "attribute")))?;
        }
    }
    Ok(exit)
}

async fn revert(args: &RevertArgs, session: &mut Session) -> Result<Exit, Failure> {
    args.follow.check(session)?;
    let request = request(&args.what, &args.by, session).await?;
    let mut answer = session.client.post(&["drift", "revert"], request).await?;
    let (mut words, mut exit) = refusals(&answer)?;
    match part::<Option<String>>(&answer, "batch")? {
        Some(batch) => {
            let followed = args.follow.order(&batch, session).await?;
            words += &followed.words;
            exit = worse(exit, followed.exit);
            answer = with_result(answer, followed.answer);
        }
        None => words += "Nothing to revert.\n",
    }
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&words)?,
    }
    Ok(exit)
}

#[cfg(test)]
mod tests;
