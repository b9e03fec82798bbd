//! `doctor`: whether everything is right, and what to do about what is not.

use serde::Deserialize;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::exit::{Exit, Failure, exit_of};
use super::screen::{Output, Paint, printable, shown};
use super::{Cli, Screen, Session, client, config, offline, understood};
use crate::app::Environment;
use crate::app::doctor::Patient;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::checkup::{Check, Finding, Kind};
use crate::store::OpenError;
use crate::telemetry::{LogFormat, start_logging};

/// Look at everything that has to be right, and say what to do about what is not
///
/// Configuration, store, clock, both tokens and what they permit, tenants, subscriptions, public URL, and
/// what CXone can be told. Nothing is written to Entra or CXone. Works with and without a running service;
/// without one nobody can answer at the public URL. docs/doctor.md explains each check.
///
/// With --learn one value of a user you name is changed in CXone and taken back, to find out how CXone
/// wants a change written (cxone.dialect). It says what it will write, asks, and reads what came of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes:
  0  nothing failed; there may be warnings
  1  something failed that is none of the below
  2  only the configuration is at fault
  3  things of different kinds failed
  5  only credentials or permissions are at fault
  6  only something out of reach is at fault

Examples:
  cxone-sync doctor
  cxone-sync --config /etc/cxone-sync/cxone-sync.toml doctor -o json
  cxone-sync doctor --learn test.agent@example.com")]
pub struct Args {
    /// Find out on this user how CXone wants a change written: an object id or a user principal name
    #[arg(long, value_name = "USER", value_parser = super::user)]
    learn: Option<String>,
    /// Do not ask before writing
    #[arg(long, short, requires = "learn")]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

/// A finding as it is told, by this process or by the service.
#[derive(Clone, Debug, Deserialize)]
struct Told {
    id: String,
    state: String,
    kind: Option<String>,
    found: String,
    means: Option<String>,
    todo: Option<String>,
    docs: String,
}

/// The findings of this process, and where the others come from.
struct Examined {
    own: Vec<Finding>,
    rest: Vec<Value>,
}

pub async fn run(args: &Args, cli: &Cli, mut screen: Screen) -> Result<Exit, Failure> {
    if let Some(user) = &args.learn {
        return learn(user, args, &mut super::session(cli, screen).await?).await;
    }
    let level = cli.log_level.as_deref().unwrap_or("error");
    start_logging(LogFormat::Text, level)
        .map_err(|error| Failure::usage(format!("--log-level {level}: {error}")))?;
    let spinner = screen.spinner("looking");
    let Examined { own, rest } = examine(cli).await?;
    drop(spinner);
    let answer = json!({ "findings": in_order(&own, rest) });
    let told: Vec<Told> = super::part(&answer, "findings")?;
    match args.output.is_json() {
        true => screen.print_json(&answer)?,
        false => screen.print(&rendered(&told, screen.paint))?,
    }
    Ok(verdict(&told))
}

async fn examine(cli: &Cli) -> Result<Examined, Failure> {
    let loaded = match config::read(cli) {
        Ok(loaded) => loaded,
        Err(errors) => {
            let means = "the service does not start";
            let todo = "correct what is named; deploy/cxone-sync.example.toml explains every key";
            let wrong =
                Finding::fail(Check::Configuration, Kind::Configuration, errors.to_string(), means, todo);
            return Ok(Examined { own: vec![wrong], rest: Vec::new() });
        }
    };
    let right = judge_configuration(cli, &loaded);
    let (clock, place, store) = (Clock::system(), config::place(&loaded), loaded.store.path.clone());
    let connected = client::connect(&place, &clock, async move || offline::transport(loaded).await).await;
    let (service, why) = match connected {
        Ok(connection) => match connection.client.post(&["doctor"], json!({})).await {
            Ok(answer) => {
                let rest = answer["findings"].as_array().cloned().unwrap_or_default();
                return Ok(Examined { own: vec![right, reached(connection.via)], rest });
            }
            Err(error) => (unreached(Failure::from(error)), None),
        },
        // Which of the parts it was is found out below.
        Err(client::ConnectError::Offline(why)) => {
            (Finding::ok(Check::Service, "does not run, and cannot be started as things are"), Some(why))
        }
        Err(error @ client::ConnectError::Silent { .. }) => {
            (unreached(Failure::from(error)), Some(OpenError::InUse { path: store }.into()))
        }
        Err(error) => (unreached(Failure::from(error)), None),
    };
    // What needs no store can be looked at all the same.
    let again = config::load(cli)?;
    let patient = Patient::of_configuration(again, Environment::system()?, why.as_ref()).await?;
    let rest = patient.examine().await.iter().map(|finding| json!(finding)).collect();
    Ok(Examined { own: vec![right, service], rest })
}

fn judge_configuration(cli: &Cli, loaded: &Config) -> Finding {
    let name = cli.config.as_ref().map_or("the environment".to_owned(), |file| file.display().to_string());
    if loaded.warnings.is_empty() {
        return Finding::ok(Check::Configuration, format!("{name} is right"));
    }
    let found = loaded.warnings.join("; ");
    let means = "the service starts, but something is probably not as it is meant";
    let todo = "correct it, or live with it; `cxone-sync config print` shows what is in force";
    Finding::warn(Check::Configuration, found, means, todo)
}

fn reached(via: client::Via) -> Finding {
    Finding::ok(
        Check::Service,
        match via {
            client::Via::Socket => "runs, and answers on its socket",
            client::Via::Listener => "runs, and answers on service.private_listen",
            client::Via::Offline => "does not run; its parts were put together to look",
        },
    )
}

fn unreached(failure: Failure) -> Finding {
    let kind = match failure.exit {
        Exit::Credentials => Kind::Credentials,
        Exit::Unreachable => Kind::Unreachable,
        _ => Kind::Other,
    };
    let means = "commands cannot talk to it; what needs the store could not be looked at";
    let todo = "run this as the user, on the host and with the configuration the service was started with";
    Finding::fail(Check::Service, kind, failure.message, means, todo)
}

/// Every check once, in the order of the list: what was not looked at, too.
fn in_order(own: &[Finding], rest: Vec<Value>) -> Vec<Value> {
    let mut findings: Vec<Value> = own.iter().map(|finding| json!(finding)).collect();
    findings.extend(rest);
    for check in Check::ALL {
        if !findings.iter().any(|finding| finding["id"] == check.id()) {
            findings.push(json!(Finding::skipped(check, "not looked at: see what failed before")));
        }
    }
    let place = |finding: &Value| Check::ALL.iter().position(|check| finding["id"] == check.id());
    // What a later version looks at comes last.
    findings.sort_by_key(|finding| place(finding).unwrap_or(usize::MAX));
    findings
}

/// Failures of one kind end as any command of that kind does; of several kinds, as "some failed".
fn verdict(findings: &[Told]) -> Exit {
    let failed = findings.iter().filter(|told| told.state == "fail");
    let exits: Vec<Exit> = failed.map(|told| exit_of(told.kind.as_deref().unwrap_or_default())).collect();
    match exits[..] {
        [] => Exit::Done,
        [first, ..] if exits.iter().all(|exit| *exit == first) => first,
        _ => Exit::SomeFailed,
    }
}

fn rendered(findings: &[Told], paint: Paint) -> String {
    let width = findings.iter().map(|told| told.id.len()).max().unwrap_or_default();
    let mut text = String::new();
    for told in findings {
        let state = match told.state.as_str() {
            "ok" => paint.good("ok     "),
            "warn" => paint.warning("warn   "),
            "fail" => paint.bad("fail   "),
            _ => paint.faint("skipped"),
        };
        let mut lines = told.found.lines().map(printable);
        let first = lines.next().unwrap_or_default();
        text += &format!("{state}  {:width$}  {first}\n", printable(&told.id));
        for line in lines {
            text += &format!("         {:width$}  {line}\n", "");
        }
        for (word, words) in [("means", &told.means), ("do", &told.todo)] {
            if let Some(words) = words {
                text += &format!("         {word:width$}  {}\n", printable(words));
            }
        }
        if told.todo.is_some() {
            text += &format!("         {:width$}  {}\n", "see", printable(&told.docs));
        }
    }
    let n = |state: &str| findings.iter().filter(|told| told.state == state).count();
    text += &format!(
        "\n{} ok, {} to be warned of, {} failed, {} not looked at\n",
        n("ok"),
        n("warn"),
        n("fail"),
        n("skipped")
    );
    text
}

/// What would be written, as the API tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proposal {
    user: String,
    scim_id: String,
    user_name: Option<String>,
    attribute: String,
    before: Value,
    meanwhile: Value,
    active: Option<Value>,
    requests: Vec<Request>,
    observe: bool,
    plan: String,
}

#[derive(Debug, Deserialize)]
struct Request {
    dialect: String,
    method: String,
    path: String,
    body: Value,
}

#[derive(Debug, Deserialize)]
struct Learning {
    tried: Vec<Tried>,
    dialect: Option<String>,
    restored: bool,
    left: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tried {
    dialect: String,
    outcome: String,
    words: Option<String>,
}

async fn learn(user: &str, args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.post(&["doctor", "learn"], json!({ "user": user })).await?;
    let proposal: Proposal = understood(&answer)?;
    session.screen.note(&proposed(&proposal));
    let what = format!(
        "writes to one account in CXone and takes it back: {} of {}",
        printable(&proposal.attribute),
        printable(proposal.user_name.as_deref().unwrap_or(&proposal.user))
    );
    confirm(1, &what, args.yes, &mut session.screen)?;
    let body = json!({ "user": proposal.user, "plan": proposal.plan });
    let spinner = session.screen.spinner("trying");
    let answer = session.client.post(&["doctor", "learn"], body).await?;
    drop(spinner);
    let learning: Learning = understood(&answer)?;
    match args.output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&learned(&learning, session.screen.paint))?,
    }
    Ok(match (learning.restored, &learning.dialect) {
        (true, Some(_)) => Exit::Done,
        _ => Exit::Failed,
    })
}

fn proposed(proposal: &Proposal) -> String {
    let Proposal {
        user,
        scim_id,
        user_name,
        attribute,
        before,
        meanwhile,
        active,
        requests,
        observe,
        plan: _,
    } = proposal;
    let name = user_name.as_deref().map(printable).unwrap_or_default();
    let mut text = format!(
        "Account {} in CXone ({name}, Entra user {}):\n  {} is {}, becomes {} for a moment, and {} again.\n\
         {}Tried in this order, until one works; then the same with the old value:\n",
        printable(scim_id),
        printable(user),
        printable(attribute),
        shown(Some(before)),
        shown(Some(meanwhile)),
        shown(Some(before)),
        active.as_ref().map(|is| format!("  active is sent along as it is: {is}.\n")).unwrap_or_default(),
    );
    for Request { dialect, method, path, body } in requests {
        let dialect = printable(dialect);
        text += &format!("  {dialect:8}  {} {}\n            {body}\n", printable(method), printable(path));
    }
    if *observe {
        text += "sync.mode is observe, in which nothing is written: this is, because you ask for it.\n";
    }
    text
}

fn learned(learning: &Learning, paint: Paint) -> String {
    let mut text = String::new();
    for Tried { dialect, outcome, words } in &learning.tried {
        let words = words.as_deref().map(|words| format!(": {}", printable(words))).unwrap_or_default();
        text += &format!("{:8}  {}{words}\n", printable(dialect), printable(outcome));
    }
    let left = learning.left.as_deref().map(printable).unwrap_or_default();
    text += &match learning.restored {
        true => "The account shows what it showed before.\n".to_owned(),
        false => format!(
            "{} the account is not as it was: {left}. Look at it in CXone; what is Entra's is written again by the \
             running service.\n",
            paint.bad("Not taken back:")
        ),
    };
    text += &match &learning.dialect {
        Some(dialect) => {
            format!(
                "Remembered. To keep it whatever happens to the store:\n\n[cxone]\ndialect = \"{}\"\n",
                printable(dialect)
            )
        }
        None => "No way of writing a change was understood. See docs/doctor.md#cxone-dialect\n".to_owned(),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::testing::screen;
    use expect_test::expect;

    fn findings(failed: &[Kind]) -> Vec<Told> {
        let wrong = failed.iter().map(|kind| Finding::fail(Check::Clock, *kind, "found", "means", "do"));
        let warned = Finding::warn(Check::Store, "found", "means", "do");
        let all: Vec<Finding> = wrong.chain([warned]).collect();
        all.iter().map(|finding| Told::deserialize(json!(finding)).unwrap()).collect()
    }

    #[test]
    fn the_exit_code_is_that_of_the_only_kind_of_failure() {
        use Kind::{Configuration, Credentials, Other, Unreachable};
        for (failed, number) in [
            (&[][..], 0),
            (&[Other], 1),
            (&[Configuration, Configuration], 2),
            (&[Credentials], 5),
            (&[Unreachable, Unreachable, Unreachable], 6),
            (&[Credentials, Unreachable], 3),
            (&[Other, Credentials, Other], 3),
        ] {
            assert_eq!(verdict(&findings(failed)) as u8, number, "{failed:?}");
        }
    }

    #[test]
    fn every_check_is_told_once_and_in_order() {
        let later = json!({"id": "of-a-later-version", "state": "ok"});
        let told = in_order(&[Finding::ok(Check::Store, "x")], vec![later]);
        let ids: Vec<&str> = told.iter().map(|finding| finding["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), Check::ALL.len() + 1);
        assert_eq!((ids[0], ids[2], *ids.last().unwrap()), ("configuration", "store", "of-a-later-version"));
        assert_eq!(told[2]["state"], "ok");
        assert_eq!(told[0]["state"], "skipped");
    }

    #[test]
    fn what_is_wrong_says_what_it_means_what_to_do_and_where_to_read() {
        let all = [
            Finding::ok(Check::Service, "runs"),
            Finding::warn(Check::Configuration, "a\nb\u{1b}", "it may be wrong", "look"),
            Finding::skipped(Check::Clock, "nobody answered"),
        ];
        let told: Vec<Told> = all.iter().map(|finding| Told::deserialize(json!(finding)).unwrap()).collect();
        expect![[r#"
            ok       service        runs
            warn     configuration  a
                                    b 
                     means          it may be wrong
                     do             look
                     see            docs/doctor.md#configuration
            skipped  clock          nobody answered

            1 ok, 1 to be warned of, 0 failed, 1 not looked at
        "#]]
        .assert_eq(&rendered(&told, Paint::default()));
    }

    const PROPOSAL: &str = r#"{"user": "3f0c2a9e-1111-4222-8333-444455556666", "scimId": "1", "userName": "test@x.example",
        "attribute": "emails", "before": "test@x.example", "meanwhile": "test+cxone-sync@x.example", "active": true, "observe": true,
        "plan": "5f2c", "requests": [{"dialect": "rfc7644", "method": "PATCH", "path": "/scim/v2/Users/1",
        "body": {"Operations": []}}]}"#;

    /// Exit code, what was sent, what was noted and printed.
    async fn learn_with(
        yes: bool,
        typed: &'static str,
        learning: Value,
    ) -> (Result<Exit, Exit>, String, String) {
        use std::sync::{Arc, Mutex};
        let sent = Arc::new(Mutex::new(Vec::new()));
        let service = {
            let sent = sent.clone();
            move |request: crate::outbound::Request| {
                let body = String::from_utf8(request.body.to_vec()).unwrap();
                let is_agreed = body.contains("plan");
                sent.lock().unwrap().push(body);
                let proposal: Value = serde_json::from_str(PROPOSAL).unwrap();
                client::testing::json(200, if is_agreed { learning.clone() } else { proposal })
            }
        };
        let (screen, out, notes) = screen(!typed.is_empty(), typed);
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let client = client::testing::client(service);
        let mut session = Session { client, via: client::Via::Socket, clock, screen };
        let args = Args { learn: None, yes, output: Output::default() };
        let exit = learn("test@x.example", &args, &mut session).await.map_err(|failure| failure.exit);
        let sent = sent.lock().unwrap().join("\n");
        (exit, sent, notes.text() + &out.text())
    }

    #[tokio::test]
    async fn nothing_is_tried_that_was_not_shown_and_agreed_to() {
        let good = json!({"tried": [{"dialect": "rfc7644", "outcome": "understood", "words": null}],
                          "dialect": "rfc7644", "restored": true, "left": null});
        let (exit, sent, said) = learn_with(false, "", good.clone()).await;
        assert_eq!((exit, sent.lines().count()), (Err(Exit::Usage), 1), "{said}");
        assert!(said.contains("becomes test+cxone-sync@x.example for a moment"), "{said}");
        assert!(said.contains("PATCH /scim/v2/Users/1") && said.contains("observe"), "{said}");
        assert_eq!(learn_with(false, "n\n", good.clone()).await.0, Err(Exit::Failed));
        let (exit, sent, said) = learn_with(false, "y\n", good.clone()).await;
        assert_eq!(exit, Ok(Exit::Done));
        assert!(sent.ends_with(r#"{"user":"3f0c2a9e-1111-4222-8333-444455556666","plan":"5f2c"}"#), "{sent}");
        assert!(said.contains("dialect = \"rfc7644\""), "{said}");
        let bad = json!({"tried": [], "dialect": null, "restored": false, "left": "emails"});
        let (exit, _, said) = learn_with(true, "", bad).await;
        assert_eq!(exit, Ok(Exit::Failed));
        assert!(said.contains("Not taken back: the account is not as it was: emails"), "{said}");
    }
}
