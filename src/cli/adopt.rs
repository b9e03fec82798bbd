//! `adopt`: takes over a running contact centre without a single write to CXone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::plan::write_private;
use super::screen::{Column, Output, Paint, Screen, called, count, number, printable, shown};
use super::{Session, understood};

/// Link the users there are to the CXone accounts there are, without writing to CXone
///
/// For every user in scope, looks for the account by cxone.match and links the two. Whoever could
/// be two accounts, and an account that two could be, is left alone and reported. What both sides
/// show becomes the baseline, so that differences are in the report and drift counts from here.
/// Links only what is not linked yet: doing it again is harmless, and so is a running service.
///
/// Exit codes: 0 done, 3 some users could not be looked at, 4 some are ambiguous.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync adopt --dry-run
  cxone-sync adopt --out adopted.json
  cxone-sync adopt -o json")]
pub struct Args {
    /// Only say what would be linked
    #[arg(long)]
    dry_run: bool,
    /// Also write the whole report as JSON to this file, readable only for its owner
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let answer = {
        let spinner = session.screen.spinner("reading everybody in Entra and in CXone");
        let request = json!({"dry_run": args.dry_run});
        session.client.post_told(&["adopt"], request, |told| spinner.follow(told)).await?
    };
    let report: Report = understood(&answer)?;
    if let Some(file) = &args.out {
        write_private(file, &serde_json::to_string_pretty(&answer).expect("a JSON value can be written"))
            .map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display()))
            })?;
        session.screen.note(&format!("Wrote the report to {}.", file.display()));
    }
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => {
            let text = rendered(&report, &session.screen);
            session.screen.print(&text)?;
        }
    }
    Ok(exit(&report))
}

/// Entries of a list that are shown to people; the file and the JSON have all.
const SHOWN: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    in_scope: usize,
    out_of_scope: usize,
    listing: Listing,
    matched: Vec<Matched>,
    already_linked: usize,
    ambiguous: Vec<Ambiguous>,
    unmatched_in_entra: Vec<Unmatched>,
    unmatched_in_cxone: Option<Vec<Stranger>>,
    failed: Vec<Failed>,
}

#[derive(Debug, Deserialize)]
struct Listing {
    state: String,
    #[serde(default)]
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Matched {
    user: String,
    user_name: Option<String>,
    scim_id: String,
    active: bool,
    next: String,
    conflicts: Vec<Conflict>,
}

#[derive(Debug, Deserialize)]
struct Conflict {
    attribute: String,
    entra: Option<Value>,
    cxone: Option<Value>,
    owner: String,
    wins: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ambiguous {
    user: String,
    user_name: Option<String>,
    sentence: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unmatched {
    user: String,
    user_name: Option<String>,
    would_create: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stranger {
    scim_id: String,
    user_name: Option<String>,
    active: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    user: String,
    user_name: Option<String>,
    error: String,
}

fn rendered(report: &Report, screen: &Screen) -> String {
    let paint = screen.paint;
    let mut text = summary(report);
    text += &differences(report, screen);
    text += &afterwards(report, paint);
    text += &section(
        "Ambiguous, left alone:",
        report.ambiguous.iter().map(|one| {
            let who = called(one.user_name.as_ref(), &one.user);
            format!("{} {who}: {}", paint.bad("!"), printable(&one.sentence))
        }),
        paint,
    );
    text += &section(
        "Could not be looked at:",
        report.failed.iter().map(|one| {
            let who = called(one.user_name.as_ref(), &one.user);
            format!("{} {who}: {}", paint.bad("?"), printable(&one.error))
        }),
        paint,
    );
    text += &section(
        "Only in Entra:",
        report.unmatched_in_entra.iter().map(|one| {
            let fate = if one.would_create { "would be created" } else { "would not be created" };
            format!("{} {}, {fate}", paint.good("+"), called(one.user_name.as_ref(), &one.user))
        }),
        paint,
    );
    let strangers = report.unmatched_in_cxone.iter().flatten();
    text += &section(
        "Only in CXone:",
        strangers.map(|one| {
            let state = if one.active { "active" } else { "inactive" };
            format!("{} {}, {state}", paint.faint("="), called(one.user_name.as_ref(), &one.scim_id))
        }),
        paint,
    );
    text
}

fn summary(report: &Report) -> String {
    let would = |done: &'static str, would: &'static str| if report.dry_run { would } else { done };
    let created = report.unmatched_in_entra.iter().filter(|one| one.would_create).count();
    let inactive = report.matched.iter().filter(|one| !one.active).count();
    let matched = match inactive {
        0 => would("linked now", "would be linked").to_owned(),
        n => format!("{}, {n} of them inactive in CXone", would("linked now", "would be linked")),
    };
    let strangers = match &report.unmatched_in_cxone {
        Some(strangers) => (strangers.len().to_string(), "no user in scope is one of them".to_owned()),
        None => {
            let why = report.listing.why.as_deref().map(|why| format!(" ({})", printable(why)));
            let words = match report.listing.state.as_str() {
                "not_offered" => "not known: CXone does not list its users",
                _ => "not known: CXone did not list all its users",
            };
            ("?".to_owned(), words.to_owned() + &why.unwrap_or_default())
        }
    };
    let rows = [
        (report.matched.len().to_string(), "matched", matched),
        (report.already_linked.to_string(), "linked already", "nothing to do".to_owned()),
        (report.ambiguous.len().to_string(), "ambiguous", "left alone: an operator must decide".to_owned()),
        (report.failed.len().to_string(), "failed", "could not be looked at or compared".to_owned()),
        (report.unmatched_in_entra.len().to_string(), "only in Entra", format!("{created} would be created")),
        (strangers.0, "only in CXone", strangers.1),
    ];
    let scope = count(report.in_scope as u64, "user");
    let mut text = format!("{scope} in scope, {} out of scope and passed over\n\n", report.out_of_scope);
    for (n, what, words) in rows {
        text += &format!("{n:>7}  {what:<15} {words}\n");
    }
    text
}

/// By attribute, and for the first users one by one.
fn differences(report: &Report, screen: &Screen) -> String {
    let mut attributes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for conflict in report.matched.iter().flat_map(|matched| &matched.conflicts) {
        let (entra, cxone) = attributes.entry(conflict.attribute.as_str()).or_default();
        *if conflict.wins == "entra" { entra } else { cxone } += 1;
    }
    if attributes.is_empty() {
        return String::new();
    }
    let mut table = screen.table(&[
        Column::word("differing"),
        Column::word("users"),
        Column::word("entra wins"),
        Column::word("cxone stays"),
    ]);
    for (attribute, (entra, cxone)) in attributes {
        table.add_row([printable(attribute).into(), number(entra + cxone), number(entra), number(cxone)]);
    }
    let paint = screen.paint;
    let differing = report.matched.iter().filter(|matched| !matched.conflicts.is_empty());
    let users = differing.map(|one| {
        let who = called(one.user_name.as_ref(), &one.user);
        let mut text = format!("{} {who} (CXone {})", paint.warning("~"), printable(&one.scim_id));
        let width =
            one.conflicts.iter().map(|conflict| conflict.attribute.chars().count()).max().unwrap_or(0);
        for conflict in &one.conflicts {
            let winner = if conflict.wins == "entra" { "Entra wins" } else { "CXone stays" };
            text += &format!(
                "\n      {:<width$}  Entra {} | CXone {}{}",
                printable(&conflict.attribute),
                paint.good(&shown(conflict.entra.as_ref())),
                paint.bad(&shown(conflict.cxone.as_ref())),
                paint.faint(&format!("  (owner {}: {winner})", printable(&conflict.owner))),
            );
        }
        text
    });
    format!("\n{}", table.lines()) + &section("Differing:", users, paint)
}

/// What the service will do to whom it matters most.
fn afterwards(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    for (next, heading, sign) in [
        ("would_deactivate", "Would be deactivated (disabled in Entra, active in CXone):", paint.bad("-")),
        ("would_reactivate", "Would be reactivated (enabled in Entra, inactive in CXone):", paint.good("+")),
        ("would_stop", "Would stop for an operator:", paint.bad("!")),
    ] {
        let users = report.matched.iter().filter(|one| one.next == next);
        let line = |one: &Matched| format!("{sign} {}", called(one.user_name.as_ref(), &one.user));
        text += &section(heading, users.map(line), paint);
    }
    text
}

/// A heading and the first entries; nothing when there are none.
fn section(heading: &str, entries: impl Iterator<Item = String>, paint: Paint) -> String {
    let mut text = String::new();
    let mut more = 0;
    for (n, entry) in entries.enumerate() {
        match n < SHOWN {
            true => text += &format!("  {entry}\n"),
            false => more += 1,
        }
    }
    if text.is_empty() {
        return text;
    }
    if more > 0 {
        text += &format!("  and {more} more: --out and -o json have them all\n");
    }
    format!("\n{}\n{text}", paint.heading(heading))
}

fn exit(report: &Report) -> Exit {
    if !report.failed.is_empty() {
        Exit::SomeFailed
    } else if !report.ambiguous.is_empty() {
        Exit::Held
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests;
