//! `events`: whether those who are to be told can be.

use serde::Deserialize;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::screen::{Output, Paint, printable};
use super::{Session, part};

/// Try the receivers of events
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync events test")]
pub enum Command {
    /// Send a test event to every receiver that is configured, and show what each answered
    ///
    /// It is signed as every event is, has the type test, and is sent once: at once, and past whatever
    /// waits to be delivered. Ends with 1 if one could not be told.
    #[command(after_help = "\
Examples:
  cxone-sync events test
  cxone-sync events test -o json")]
    Test {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    receiver: String,
    ok: bool,
    status: Option<u16>,
    body: Option<String>,
    problem: Option<String>,
    took_ms: u64,
}

pub async fn run(command: &Command, session: &mut Session) -> Result<Exit, Failure> {
    let Command::Test { output } = command;
    let answer = session.client.post(&["events", "test"], json!({})).await?;
    let receivers: Vec<Answered> = part(&answer, "receivers")?;
    if receivers.is_empty() {
        return Err(Failure::usage(
            "nobody is told of events: write [[events]] with a url and a secret, see docs/events.md"
                .to_owned(),
        ));
    }
    match output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&rendered(&receivers, session.screen.paint))?,
    }
    Ok(if receivers.iter().all(|receiver| receiver.ok) { Exit::Done } else { Exit::Failed })
}

fn rendered(receivers: &[Answered], paint: Paint) -> String {
    let line = |answered: &Answered| {
        let Answered { receiver, ok, status, body, problem, took_ms } = answered;
        let mark = if *ok { paint.good("✓") } else { paint.bad("✗") };
        let status = status.map(|status| status.to_string()).unwrap_or_default();
        let said = body.as_deref().map(printable).filter(|body| !body.is_empty());
        let words = problem.as_deref().map(printable).unwrap_or_else(|| format!("answered {status}"));
        let said = said.map(|said| format!("\n  it said: {said}")).unwrap_or_default();
        format!("{mark} {} {words} ({took_ms} ms){said}\n", printable(receiver))
    };
    receivers.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_answer_is_shown_with_what_is_wrong_with_it() {
        let answered = |ok, status, body: &str, problem: Option<&str>| Answered {
            receiver: "hooks.example.com".to_owned(),
            ok,
            status,
            body: Some(body.to_owned()),
            problem: problem.map(str::to_owned),
            took_ms: 12,
        };
        let receivers = [
            answered(true, Some(204), "", None),
            answered(false, Some(401), "bad signature\u{1b}[1m", Some("the receiver answered 401")),
            answered(false, None, "", Some("cannot reach events: connection refused")),
        ];
        expect![[r"
            ✓ hooks.example.com answered 204 (12 ms)
            ✗ hooks.example.com the receiver answered 401 (12 ms)
              it said: bad signature [1m
            ✗ hooks.example.com cannot reach events: connection refused (12 ms)
        "]]
        .assert_eq(&rendered(&receivers, Paint::default()));
    }
}
