//! `config`: whether the configuration is right, and what it comes to.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::client::Place;
use super::exit::{Exit, Failure};
use super::hint;
use super::screen::{Output, Paint, printable};
use super::simulate::Effect;
use super::{Cli, Screen, Session, understood};
use crate::app::{history_key_file, token_file};
use crate::config::{self, Config, ConfigErrors};

/// Check or show the configuration, or have the service read it again
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync config validate
  cxone-sync --config new.toml config print")]
pub enum Command {
    /// Say whether the configuration is right; every mistake is named with its place
    #[command(after_help = "\
Examples:
  cxone-sync config validate
  cxone-sync --config new.toml config validate -o json")]
    Validate {
        #[command(flatten)]
        output: Output,
    },
    /// Show what file, environment and defaults come to, and where each value is from
    ///
    /// Secrets are left out.
    #[command(after_help = "\
Examples:
  cxone-sync config print
  cxone-sync config print -o json")]
    Print {
        #[command(flatten)]
        output: Output,
    },
    /// Have the running service read its configuration again, as SIGHUP does
    ///
    /// Exchanged without a restart are the sections attributes, scope, roles, events, guard and sync,
    /// cxone.match, cxone.trust_baseline_for and the credentials, whose files are also followed by
    /// themselves; other keys that have changed are named. Shows what the new rules
    /// do otherwise about the users as they were last seen; all of it goes through the queue and past
    /// the guard. A configuration that is wrong changes nothing.
    #[command(after_help = "\
Examples:
  cxone-sync config reload
  cxone-sync config reload -o json")]
    Reload {
        #[command(flatten)]
        output: Output,
    },
}

/// What a reload came to, as the API tells it.
#[derive(Deserialize)]
struct Reloaded {
    changed: Vec<String>,
    restart: Vec<String>,
    warnings: Vec<String>,
    effect: Effect,
}

pub async fn reload(output: Output, session: &mut Session) -> Result<Exit, Failure> {
    let spinner = session.screen.spinner("reading the configuration again");
    let answer = session.client.post(&["reload"], json!({})).await?;
    drop(spinner);
    let reloaded: Reloaded = understood(&answer)?;
    match output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&reloaded.rendered(session.screen.paint))?,
    }
    Ok(Exit::Done)
}

impl Reloaded {
    fn rendered(&self, paint: Paint) -> String {
        let keys = |keys: &[String]| printable(&keys.join(", "));
        let mut text = match self.changed.is_empty() {
            true => "Nothing has changed that can be exchanged.\n".to_owned(),
            false => format!("In force now: {}\n", keys(&self.changed)),
        };
        if !self.restart.is_empty() {
            text += &format!("{} {}\n", paint.warning("Needs a restart:"), keys(&self.restart));
        }
        for warning in &self.warnings {
            text += &format!("{} {}\n", paint.warning("warning:"), printable(warning));
        }
        text + &self.effect.rendered(paint)
    }
}

pub fn run(command: &Command, cli: &Cli, mut screen: Screen) -> Result<Exit, Failure> {
    let loaded = read(cli);
    match command {
        Command::Validate { output } => {
            match output.is_json() {
                true => screen.print_json(&config::report_json(&loaded))?,
                false => screen.print(&config::report(&loaded))?,
            }
            Ok(if loaded.is_ok() { Exit::Done } else { Exit::Usage })
        }
        Command::Print { output } => {
            let config = loaded.map_err(|errors| refused(cli, errors))?;
            match output.is_json() {
                true => screen.print_json(&config.to_json())?,
                false => screen.print(&config.print())?,
            }
            Ok(Exit::Done)
        }
        Command::Reload { .. } => unreachable!("a reload asks the service"),
    }
}

pub fn read(cli: &Cli) -> Result<Config, ConfigErrors> {
    let flags: Vec<(String, String)> =
        cli.log_level.iter().map(|level| ("log.level".to_owned(), level.clone())).collect();
    Config::load(cli.config.as_deref(), std::env::vars_os(), &flags)
}

fn refused(cli: &Cli, errors: ConfigErrors) -> Failure {
    Failure::usage(format!("the configuration cannot be used\n{errors}"))
        .with_hint(hint::of_configuration(cli.config.as_deref()))
}

pub fn load(cli: &Cli) -> Result<Config, Failure> {
    read(cli).map_err(|errors| refused(cli, errors))
}

/// Where the secrets are that belong to the store and are not in it. `None`: in the configuration.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    history_key: Option<PathBuf>,
    admin_token: Option<PathBuf>,
}

impl KeyFiles {
    pub fn of(config: &Config) -> Self {
        let store = &config.store.path;
        Self {
            history_key: config.store.history_key.is_none().then(|| history_key_file(store)),
            admin_token: config.service.admin_token.is_none().then(|| token_file(store)),
        }
    }

    /// What they are for, and where.
    pub fn shown(&self) -> Vec<String> {
        let at = |file: &Option<PathBuf>, key: &str| match file {
            Some(file) => format!("the file {}", file.display()),
            None => format!("{key} of the configuration"),
        };
        vec![
            format!(
                "the key of the history, {}: keep it too, or a restored history cannot be verified",
                at(&self.history_key, "store.history_key")
            ),
            format!(
                "the admin token, {}: without it a new one is made",
                at(&self.admin_token, "service.admin_token")
            ),
            "the configuration, with its secrets and the files it names".to_owned(),
        ]
    }
}

/// Where the service of this configuration is to be found.
pub fn place(config: &Config) -> Place {
    Place {
        socket: config.service.private_socket.clone(),
        listen: config.service.private_listen,
        token: config.service.admin_token.clone(),
        token_file: token_file(&config.store.path),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::screen::testing::screen;

    /// The exit code and what is printed for a file of this content.
    fn validate(content: &str, line: &str) -> (Result<Exit, Exit>, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sync.toml");
        std::fs::write(&file, content).unwrap();
        let line = format!("cxone-sync --config {} config {line}", file.display());
        let cli = Cli::parse_from(line.split(' '));
        let crate::cli::Command::Config(command) = &cli.command else { panic!("not config") };
        let (screen, out, _) = screen(false, "");
        (run(command, &cli, screen).map_err(|failure| failure.exit), out.text())
    }

    const EXAMPLE: &str = include_str!("../../deploy/cxone-sync.example.toml");

    #[test]
    fn a_wrong_configuration_ends_with_exit_code_2() {
        let (exit, said) = validate("[service]\npublic_lisen = \"0.0.0.0:1\"\n", "validate");
        assert_eq!(exit, Ok(Exit::Usage));
        assert!(said.contains("sync.toml:2:1") && said.contains("public_listen"), "{said}");
        assert_eq!(validate("[service]\npublic_lisen = 1\n", "print").0, Err(Exit::Usage));
    }

    #[test]
    fn the_token_lies_beside_the_store() {
        let secret = "0123456789abcdef0123456789abcdef";
        let environment = [
            ("CXONE_SYNC__STORE__PATH", "/var/lib/sync/sync.redb"),
            ("CLIENT_STATE_SECRET", secret),
            ("GRAPH_CLIENT_SECRET", secret),
            ("CXONE_CLIENT_SECRET", secret),
        ];
        let config = Config::parse("example", EXAMPLE, environment, &[]).unwrap();
        let place = place(&config);
        assert_eq!(place.token_file.to_str(), Some("/var/lib/sync/admin-token"));
        assert_eq!(place.listen, config.service.private_listen);
    }
}
