use clap::CommandFactory as _;
use clap::error::ErrorKind;
use expect_test::expect_file;

use super::*;

const ID: &str = "3f0c2a9e-1111-4222-8333-444455556666";

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("cxone-sync").chain(line.split_whitespace()))
}

#[test]
fn clap_finds_no_fault_in_the_definition() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_is_understood() {
    for line in [
        "serve",
        "--config a.toml serve",
        "serve --config a.toml --log-level debug",
        "demo",
        "demo --users 5 --changes 9 --faults many --keep -o json",
        "demo --simulators --users 5",
        "init",
        "--config new.toml init --force --poll-only --tenant-id contoso.com --role $ID=Agent --role $ID=Supervisor",
        "init --steps --graph-credential managed-identity --grant client_credentials",
        "doctor",
        "doctor -o json",
        "doctor --learn test.agent@example.com --yes",
        "subscribe -o json",
        "subscriptions list",
        "subscriptions renew 7f105c7d",
        "subscriptions delete 7f105c7d -o json",
        "queue list",
        "queue list --state parked --limit 5 -o table",
        "queue show $ID",
        "queue stats",
        "queue replay --since 2h",
        "queue replay --since 2026-11-23T10:00:00Z --yes",
        "queue replay --user $ID --user $ID -y",
        "queue replay --parked",
        "queue replay --all --dry-run",
        "queue retry $ID $ID",
        "queue retry --parked --held --waiting",
        "queue retry $ID --held",
        "queue drop $ID --yes",
        "sync user ana@example.com",
        "sync user $ID --wait --timeout 5m",
        "sync all",
        "sync all --wait --timeout 2h",
        "queue replay --all --yes --wait",
        "backup /tmp/b.redb",
        "backup b.redb --force -o json",
        "restore b.redb",
        "restore b.redb --force --yes -o json",
        "export",
        "export -",
        "export --format jsonl all.jsonl --force",
        "man",
        "man pages",
        "plan $ID ana@example.com",
        "plan --all --out plan.json --detailed-exitcode",
        "adopt",
        "adopt --dry-run --out adopted.json -o json",
        "simulate new.toml",
        "--config old.toml simulate new.toml --since 30d -o json",
        "explain ana@example.com -o json",
        "history",
        "history $ID --since 7d --limit 5",
        "mapping table",
        "mapping lint -o json",
        "history ana@example.com --before 1h --batch 019ab0a2 --remarks",
        "history verify",
        "history verify --expect 12:9c1d -o json",
        "plan --group $ID -v",
        "plan --observed --out observed.json",
        "apply plan.json --yes --by ana --no-wait",
        "apply plan.json --timeout 1h -o json",
        "held list -o json",
        "held show ana@example.com",
        "held approve $ID ana@example.com --set 5f2c --expires 1h --by ana --yes",
        "held approve --all",
        "held approve --set 5f2c --yes",
        "held reject --all --set 5f2c -y",
        "held lift $ID --by ana",
        "held preapprove --group $ID --max 40 --until 8h --by ana",
        "held preapprove --group $ID --max 1 --until 2026-11-30T00:00:00Z",
        "held preapprovals -o json",
        "held end $ID",
        "drift list ana@example.com --attribute roles -o json",
        "drift accept $ID displayName emails --by ana",
        "drift revert $ID roles --no-wait",
        "undo --user ana@example.com --since 2h --dry-run",
        "undo --since 2h --yes --wait --timeout 5m",
        "undo --batch 019ab0a2 --no-wait --out undo.json -o json",
        "explain ana@example.com --at 2h",
        "events test -o json",
        "config validate",
        "config print",
        "config reload -o json",
        "healthcheck",
        "completions bash",
    ] {
        let line = line.replace("$ID", ID);
        assert!(parse(&line).is_ok(), "{line}: {}", parse(&line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_exit_code_2() {
    for line in [
        "",
        "init --poll-only --public-url https://sync.example.com",
        "init --cxone-tenant-id x --scim-url https://x.example/scim/v2",
        "init --graph-credential password",
        "init --role Agent",
        "init --client-secret hunter2",
        "doctor --yes",
        "doctor --learn",
        "doctor --learn ana",
        "queue",
        "queue replay",
        "queue replay --all --parked",
        "queue replay --since soon",
        "queue retry",
        "queue drop",
        "queue show ana@example.com",
        "queue list --state lost",
        "queue list --limit 0",
        "subscriptions renew ../users",
        "sync user ana",
        "sync user a/b@example.com",
        "sync user $ID --timeout 5m",
        "plan",
        "plan $ID --all",
        "adopt $ID",
        "simulate",
        "simulate --config new.toml --since 30d",
        "history --limit 1001",
        "history verify --expect 12",
        "history verify --expect 12:xyz",
        "plan --group $ID --all",
        "plan --group Agents",
        "apply",
        "held",
        "held approve",
        "held approve $ID --all",
        "held approve --all --expires soon",
        "held preapprove --group $ID --max 0 --until 8h",
        "held preapprove --group $ID --max 1",
        "held end 12",
        "drift accept $ID",
        "drift accept $ID shoeSize",
        "undo",
        "undo --since soon",
        "demo --faults lots",
        "demo --users 0",
        "demo --simulators --keep",
        "completions tcsh",
        "backup",
        "restore",
        "export --format csv",
        "sync all --timeout 5m",
        "serve -o json",
    ] {
        let line = line.replace("$ID", ID);
        let Err(error) = parse(&line) else { panic!("{line} was understood") };
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn a_bare_call_shows_the_help() {
    let error = parse("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
}

#[test]
fn an_object_id_on_the_command_line_is_put_into_its_usual_form() {
    assert_eq!(user(&ID.to_uppercase()).unwrap(), ID);
    assert_eq!(user("o'brien#EXT#@example.com").unwrap(), "o'brien#EXT#@example.com");
    for wrong in ["", "ana", "a b@example.com", "a%2fb@example.com", "a\u{7}@example.com"] {
        assert!(user(wrong).is_err(), "{wrong:?}");
    }
}

/// Every command with its path, depth first.
fn commands(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    let path = format!("{path} {}", command.get_name()).trim().to_owned();
    found.push((path.clone(), command.clone()));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        commands(below, &path, found);
    }
}

fn all() -> Vec<(String, clap::Command)> {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut found = Vec::new();
    commands(&root, "", &mut found);
    found
}

#[test]
fn every_help_has_an_example() {
    for (path, mut command) in all() {
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
            let shows =
                |line: &str| line.contains(&path) || line.contains(path.replace("cxone-sync ", "").as_str());
            assert!(examples.lines().any(shows), "{path} has no example of its own:\n{help}");
        }
    }
}

/// The examples are command lines that work.
#[test]
fn every_example_is_understood() {
    for (path, mut command) in all() {
        let help = command.render_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        for (_, line) in examples.lines().filter_map(|line| line.split_once("cxone-sync ")) {
            let line = line.split(" > ").next().expect("a split has a first part");
            assert!(parse(line).is_ok(), "{path}: {line}: {}", parse(line).unwrap_err());
        }
    }
}

/// `docs/cli.md` is the help of every command. `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_reference_is_up_to_date() {
    let mut page = "# Commands\n\nThe help of every command. Made from the code: \
                    `UPDATE_EXPECT=1 cargo nextest run the_reference_is_up_to_date` writes it anew.\n"
        .to_owned();
    for (path, mut command) in all() {
        let depth = "#".repeat(1 + path.split(' ').count().max(1));
        let help = command.render_long_help().to_string();
        let help: String = help.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        page += &format!("\n{depth} {path}\n\n```text\n{}\n```\n", help.trim_end());
    }
    expect_file!["../../docs/cli.md"].assert_eq(&page);
}

/// Runs a command line against a service that answers everything with `said`: the exit code, the
/// one request it makes, and what it prints.
async fn ask(line: &str, said: Value) -> (Exit, String, String) {
    use std::sync::{Arc, Mutex};
    let asked = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let asked = asked.clone();
        move |request: crate::outbound::Request| {
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
            let path = request.url.path().strip_prefix("/api/v1/").unwrap().to_owned();
            asked.lock().unwrap().push(format!("{} {path}{query} {body}", request.method).trim().to_owned());
            client::testing::json(200, said.clone())
        }
    };
    let (screen, out, _) = screen::testing::screen(false, "");
    let clock = Clock::manual("2026-11-23T10:00:00Z".parse().unwrap());
    let mut session =
        Session { client: client::testing::client(service), via: client::Via::Socket, clock, screen };
    let exit = match parse(&line.replace("$ID", ID)).unwrap().command {
        Command::Subscribe(args) => subscribe::run(&args, &mut session).await,
        Command::Subscriptions(command) => subscriptions::run(&command, &mut session).await,
        Command::Queue(command) => queue::run(&command, &mut session).await,
        Command::Sync(command) => sync::run(&command, &mut session).await,
        Command::History(args) => history::run(&args, &mut session).await,
        Command::Explain(args) => explain::run(&args, &mut session).await,
        Command::Held(command) => held::run(&command, &mut session).await,
        Command::Drift(command) => drift::run(&command, &mut session).await,
        command => panic!("{command:?} does not ask"),
    };
    let asked = asked.lock().unwrap().join("\n").replace(ID, "$ID");
    (exit.unwrap_or_else(|failure| failure.exit), asked, out.text())
}

#[tokio::test]
async fn each_command_makes_its_request() {
    use serde_json::json;
    let everything = json!({
        "users": 2, "dropped": 1, "user": ID, "job": null, "link": null, "history": [], "writes": [],
        "subscriptions": [], "check": {"ok": true}, "plan": null, "source": null, "roles": [],
        "membership": {"groups": [], "complete": true}, "lifted": 1, "ended": ID, "preapprovals": [],
        "set": null, "held": [], "jobs": [], "approvals": [], "restraints": [], "remarks": [],
        "accepted": ["displayName"], "refused": [], "entries": 1, "first": 1, "last": 1, "head": "9c1d",
        "nBreaks": 0, "breaks": [], "expiresAt": null,
    });
    for (line, request, words) in [
        ("queue show $ID", "GET queue/$ID", "Job"),
        (
            "queue retry $ID",
            r#"POST queue/retry {"states":["parked","held","waiting"],"users":["$ID"]}"#,
            "2 jobs due",
        ),
        ("queue retry --held", r#"POST queue/retry {"states":["held"]}"#, "2 jobs due now."),
        ("queue drop $ID --yes", r#"POST queue/drop {"users":["$ID"]}"#, "Dropped 1 job."),
        ("sync all", r#"POST sync {"all":true}"#, "A full compare is due now."),
        ("sync user $ID", r#"POST sync {"user":"$ID"}"#, "Marked"),
        ("history", "GET history?limit=100", "No writes."),
        (
            "history $ID --since 1h",
            "GET history?limit=100&user=$ID&since=2026-11-23T09%3A00%3A00Z",
            "No writes.",
        ),
        (
            "history $ID --before 1h --batch b --remarks",
            "GET remarks?limit=100&user=$ID&before=2026-11-23T09%3A00%3A00Z&batch=b",
            "No remarks.",
        ),
        ("history verify", "GET history/verify", "1 entry (1 to 1): whole\n1:9c1d"),
        ("history verify --expect 12:9C1d", "GET history/verify?number=12&seal=9C1d", "whole"),
        ("held list", "GET held", "Nothing is held."),
        ("held lift $ID --by ana", r#"POST held/$ID/lift {"by":"ana"}"#, "Lifted 1 restraint."),
        ("held preapprovals", "GET preapprovals", "No preapprovals."),
        ("held end $ID --by ana", r#"POST preapprovals/$ID/end {"by":"ana"}"#, "Ended"),
        (
            "drift accept $ID displayName --by ana",
            r#"POST drift/accept {"by":"ana","user":"$ID","attributes":["displayName"]}"#,
            "Accepted 1 attribute.",
        ),
        ("explain $ID", "GET explain/$ID", "In Entra"),
        ("subscribe", "POST subscriptions {}", "answers"),
        ("subscriptions list", "GET subscriptions", "No subscriptions."),
        ("subscriptions renew 7f1", "POST subscriptions/7f1/renew {}", "Renewed 7f1."),
        ("subscriptions delete 7f1", "DELETE subscriptions/7f1", "Deleted 7f1."),
    ] {
        let (exit, asked, printed) = ask(line, everything.clone()).await;
        assert_eq!((exit, asked.as_str()), (Exit::Done, request), "{line}");
        assert!(printed.contains(words), "{line}: {printed}");
        let (_, _, printed) = ask(&format!("{line} -o json"), everything.clone()).await;
        let printed: Value = serde_json::from_str(&printed).unwrap();
        assert!(printed == everything, "{line}: JSON is printed as it came");
    }
}

#[tokio::test]
async fn what_went_only_half_well_shows_in_the_exit_code() {
    use serde_json::json;
    assert_eq!(ask("queue drop $ID --yes", json!({"dropped": 0})).await.0, Exit::SomeFailed);
    let (exit, asked, _) = ask("queue drop $ID", json!({"dropped": 1})).await;
    assert_eq!((exit, asked.as_str()), (Exit::Usage, ""), "nobody agreed");
    let check = json!({"check": {"ok": false, "problem": "no route"}, "subscriptions": []});
    let (exit, _, printed) = ask("subscribe", check).await;
    assert_eq!(exit, Exit::Failed);
    assert!(printed.contains("no route"), "{printed}");
    assert_eq!(ask("history", json!({"write": []})).await.0, Exit::Failed, "not understood");
}
