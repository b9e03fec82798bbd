//! `demo --simulators`: the two neighbours alone, for a service that somebody runs by themselves.
//!
//! What is printed is all that `init` has to be told, so that a first configuration of one's own can be
//! tried before there is an app registration or an access key.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use super::people::{People, ROLES};
use super::stage::Neighbours;
use super::{DemoArgs, SEED, Screen};
use crate::cli::exit::Exit;
use crate::cli::screen::Format;

/// Between two changes, so that one can watch.
const PACE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Where a service of one's own is taken to listen.
const PUBLIC: &str = "127.0.0.1:8080";

pub async fn run(args: &DemoArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let folder = tempfile::tempdir().context("cannot make a folder for the secrets of the simulators")?;
    let neighbours = Neighbours::start(SEED, &args.faults.of_the_neighbours())?;
    let mut people = People::new(neighbours.graph.clone(), SEED);
    for _ in 0..args.users {
        people.hire();
    }
    let arguments = arguments(folder.path(), &neighbours, &people.groups)?;
    match screen.format {
        Format::Json => screen.result(&described(&neighbours, &arguments)),
        Format::Table => tell(screen, args, &neighbours, &arguments),
    }
    let ended = tokio::signal::ctrl_c();
    tokio::pin!(ended);
    let mut left = args.changes;
    loop {
        // Who watches nobody is told of no change: they begin when somebody has subscribed.
        let is_watched = !neighbours.graph.subscriptions().is_empty();
        let pause = if is_watched && left > 0 { PACE } else { LOOK_EVERY };
        tokio::select! {
            ended = &mut ended => {
                ended.context("cannot wait for Ctrl-C")?;
                return Ok(Exit::Done);
            }
            () = tokio::time::sleep(pause) => {}
        }
        if is_watched && left > 0 {
            left -= 1;
            screen.say(&format!("  {}", people.change().what));
        }
    }
}

/// What `init` is told. Secrets stand in files.
fn arguments(folder: &Path, neighbours: &Neighbours, groups: &[String]) -> anyhow::Result<Vec<String>> {
    let (graph, cxone) = (&neighbours.graph, &neighbours.cxone);
    let secret = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let path = folder.join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    };
    let graph_secret = secret("graph-client-secret", &graph.options().client_secret)?;
    let cxone_secret = secret("cxone-client-secret", &cxone.options().client_secret)?;
    let mut arguments: Vec<String> = vec!["init".to_owned(), "--yes".to_owned()];
    for (flag, value) in [
        ("--mode", "write".to_owned()),
        ("--public-url", format!("http://{PUBLIC}")),
        ("--public-listen", PUBLIC.to_owned()),
        ("--tenant-id", graph.options().tenant_id.clone()),
        ("--graph-client-id", graph.options().client_id.clone()),
        ("--graph-credential", "secret".to_owned()),
        ("--graph-client-secret-file", graph_secret.display().to_string()),
        ("--graph-base-url", graph.base_url()),
        ("--login-url", graph.login_url()),
        ("--scim-url", cxone.scim_url()),
        ("--token-url", cxone.token_url()),
        ("--grant", "client_credentials".to_owned()),
        ("--cxone-client-id", cxone.options().client_id.clone()),
        ("--cxone-client-secret-file", cxone_secret.display().to_string()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    for (group, role) in groups.iter().zip(ROLES) {
        arguments.extend(["--role".to_owned(), format!("{group}={role}")]);
    }
    Ok(arguments)
}

fn described(neighbours: &Neighbours, arguments: &[String]) -> Json {
    let state = |base: String| base + "/state";
    json!({
        "init": arguments,
        "graphState": state(neighbours.graph.login_url()), "cxoneState": state(neighbours.cxone.issuer()),
    })
}

fn tell(screen: &Screen, args: &DemoArgs, neighbours: &Neighbours, arguments: &[String]) {
    let mut command = "  cxone-sync --config try/cxone-sync.toml init --yes".to_owned();
    for words in arguments[2..].chunks(2) {
        command += &format!(" \\\n    {}", words.join(" "));
    }
    screen.say(&format!(
        "A simulated Entra tenant with {} people, and an empty simulated CXone.\n\
         What they hold: {}/state and {}/state\n\n\
         In another terminal, a configuration of your own:\n\n{command}\n\n\
         \x20 cxone-sync --config try/cxone-sync.toml doctor\n\
         \x20 cxone-sync --config try/cxone-sync.toml serve &\n\
         \x20 cxone-sync --config try/cxone-sync.toml subscribe\n\
         \x20 cxone-sync --config try/cxone-sync.toml history\n\n\
         Once it has subscribed, {} changes are made to people here. Ctrl-C ends it; try/ is yours to delete.",
        args.users,
        neighbours.graph.login_url(),
        neighbours.cxone.issuer(),
        args.changes,
    ));
}
