//! `simulate`: what another configuration would have done.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::screen::{Output, Paint, count, printable};
use super::when::Since;
use super::{Session, understood};

/// Try another configuration on what was seen of everybody, without writing anything
///
/// Compares what the rules in force and the rules of the file decide about every user, as they were
/// last seen or, with --since, in every state they were in since then, and shows what would have
/// differed. Read from the file are only the parts that decide: the sections attributes, scope, roles
/// and guard, sync.create, sync.on_delete and cxone.match; secrets may be missing. The configuration of
/// the installation itself is --config, as everywhere.
///
/// Exit codes: 0 the guard would let all of it through, 4 it would hold some of it, 2 the file is
/// wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync simulate new.toml
  cxone-sync simulate new.toml --since 30d
  cxone-sync --config /etc/cxone-sync/cxone-sync.toml simulate new.toml --since 30d -o json")]
pub struct Args {
    /// The configuration to try
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// On what was seen since then: a duration ago (2h, 30d) or a time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let name = args.new.display().to_string();
    let text = std::fs::read_to_string(&args.new)
        .map_err(|error| Failure::usage(format!("cannot read the configuration file {name}: {error}")))?;
    let since = args.since.map(|since| since.resolve(session.clock.now()));
    let spinner = session.screen.spinner("trying the rules on everybody");
    let answer =
        session.client.post(&["simulate"], json!({"name": name, "text": text, "since": since})).await?;
    drop(spinner);
    let effect: Effect = understood(&answer)?;
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&effect.rendered(session.screen.paint))?,
    }
    Ok(if effect.exceeded.is_empty() { Exit::Done } else { Exit::Held })
}

/// What rules would do otherwise, as the API tells it.
#[derive(Debug, Deserialize)]
pub struct Effect {
    users: u64,
    states: u64,
    lines: Vec<Line>,
    exceeded: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    sentence: String,
}

impl Effect {
    pub fn rendered(&self, paint: Paint) -> String {
        let (users, states) = (count(self.users, "user"), count(self.states, "state"));
        let mut text = format!("Tried on {users} in {states}:\n");
        for line in &self.lines {
            let sentence = printable(&line.sentence);
            let sentence = match line.kind.as_str() {
                "deactivated" | "loses_role" | "held" | "parked" => paint.bad(&sentence),
                "cannot_be_told" => paint.faint(&sentence),
                _ => sentence,
            };
            text += &format!("  {sentence}\n");
        }
        if self.users == 0 {
            text += "  nothing has been seen yet: the service remembers what it sees of each user\n";
        } else if self.lines.is_empty() {
            text += "  nothing differs\n";
        }
        for sentence in &self.exceeded {
            text += &format!("{} {}\n", paint.bad("The guard would hold some of it:"), printable(sentence));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn an_effect_is_shown_line_by_line() {
        let line = |kind: &str, sentence: &str| json!({"kind": kind, "sentence": sentence, "users": []});
        let effect: Effect = understood(&json!({
            "users": 1204, "states": 1310,
            "lines": [line("deactivated", "3 deactivated"), line("gains_role", "+14 gain role Supervisor")],
            "exceeded": ["3 deactivations at once are more than guard.deactivations lets through"],
        }))
        .unwrap();
        expect![[r#"
            Tried on 1204 users in 1310 states:
              3 deactivated
              +14 gain role Supervisor
            The guard would hold some of it: 3 deactivations at once are more than guard.deactivations lets through
        "#]]
        .assert_eq(&effect.rendered(Paint::default()));
        let nothing: Effect =
            understood(&json!({"users": 2, "states": 2, "lines": [], "exceeded": []})).unwrap();
        expect![[r#"
            Tried on 2 users in 2 states:
              nothing differs
        "#]]
        .assert_eq(&nothing.rendered(Paint::default()));
        let unseen: Effect =
            understood(&json!({"users": 0, "states": 0, "lines": [], "exceeded": []})).unwrap();
        assert!(unseen.rendered(Paint::default()).contains("nothing has been seen yet"));
    }
}
