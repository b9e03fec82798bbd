//! `init`: a first configuration, from a few answers.

mod compose;
mod steps;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::screen::Output;
use super::{Cli, Screen};
use crate::config::Config;
use crate::domain::user::GroupId;
use crate::random::Random;
use compose::{Answers, CxonePlace, Entra};

/// Where NICE's discovery documents are. Source: NICE developer portal, "Perform API discovery".
const ISSUER: &str = "https://cxone.niceincontact.com";

/// Write a first configuration: asks on a terminal, or takes flags
///
/// Writes the file that --config names (cxone-sync.toml without it) with what is needed and commented
/// hints, and secrets into files of their own, mode 0600. What exists is never overwritten: a
/// configuration only with --force, a secret not at all. Says what to do in Azure and in CXone.
///
/// Secrets are never given on the command line: they are asked for without echo, or stand in the file
/// that a flag names.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync init
  cxone-sync --config /etc/cxone-sync/cxone-sync.toml init
  cxone-sync init --steps --graph-credential certificate
  cxone-sync init --yes --public-url https://sync.example.com --tenant-id contoso.com --graph-client-id c11e0000-0000-4000-8000-0000000a9901 --graph-credential managed-identity --cxone-tenant-id 11eb0000-0000-4000-8000-00000000cc01 --grant bearer --token-file /run/secrets/cxone")]
pub struct Args {
    /// Ask nothing: everything comes from flags
    #[arg(long, short)]
    yes: bool,
    /// Overwrite the configuration if there is one; secrets that are there stay and are used
    #[arg(long)]
    force: bool,
    /// Only say what has to be done in Azure and in CXone
    #[arg(long)]
    steps: bool,
    /// The directory for secrets; the default is "secrets" beside the configuration
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,

    /// How Graph reaches this service: https, or http on this host for simulators
    #[arg(long, value_name = "URL", conflicts_with = "poll_only")]
    public_url: Option<String>,
    /// Graph cannot reach this service: changes are found by polling alone
    #[arg(long)]
    poll_only: bool,
    /// Where notifications arrive, such as 0.0.0.0:8080
    #[arg(long, value_name = "ADDRESS")]
    public_listen: Option<String>,
    /// Where the admin API listens, such as 127.0.0.1:8081
    #[arg(long, value_name = "ADDRESS")]
    private_listen: Option<String>,

    /// The Entra directory: its id, or one of its domains
    #[arg(long, value_name = "ID")]
    tenant_id: Option<String>,
    /// The application (client) id of the app registration
    #[arg(long, value_name = "ID")]
    graph_client_id: Option<String>,
    /// How the app registration is proven
    #[arg(long, value_enum, value_name = "KIND")]
    graph_credential: Option<GraphCredential>,
    /// The file with the client secret of the app registration
    #[arg(long, value_name = "FILE")]
    graph_client_secret_file: Option<PathBuf>,
    /// PEM: the certificate of the app registration
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// PEM: the key of --certificate-file
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,
    /// The workload identity's token
    #[arg(long, value_name = "FILE")]
    federated_token_file: Option<PathBuf>,
    /// Graph's address, for a proxy or a simulator
    #[arg(long, value_name = "URL")]
    graph_base_url: Option<String>,
    /// The address of Entra's token service, for a proxy or a simulator
    #[arg(long, value_name = "URL")]
    login_url: Option<String>,

    /// The CXone tenant, whose addresses are then discovered
    #[arg(long, value_name = "ID", conflicts_with_all = ["scim_url", "token_url"])]
    cxone_tenant_id: Option<String>,
    /// Where CXone's SCIM service is, instead of --cxone-tenant-id
    #[arg(long, value_name = "URL")]
    scim_url: Option<String>,
    /// Where CXone's token service is, with --scim-url
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// How CXone gives tokens
    #[arg(long, value_enum)]
    grant: Option<Grant>,
    /// The client id that NICE gave, for client_credentials and access_key
    #[arg(long, value_name = "ID")]
    cxone_client_id: Option<String>,
    /// The file with its secret
    #[arg(long, value_name = "FILE")]
    cxone_client_secret_file: Option<PathBuf>,
    /// The access key of an employee, for access_key
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,
    /// The file with its secret
    #[arg(long, value_name = "FILE")]
    access_key_secret_file: Option<PathBuf>,
    /// The file with the token, for bearer
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Only members of this group, by its object id; may be repeated
    #[arg(long, value_name = "ID")]
    group: Vec<GroupId>,
    /// A group and the CXone role it gives; may be repeated
    #[arg(long, value_name = "GROUP=ROLE", value_parser = role)]
    role: Vec<(GroupId, String)>,
    /// observe: everything but the writes to CXone
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphCredential {
    /// A client secret
    Secret,
    /// A certificate and its key
    Certificate,
    /// A workload identity, as on AKS
    Federated,
    /// The identity of the Azure host
    ManagedIdentity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Grant {
    /// An access key of an employee, with NICE's client id and secret
    AccessKey,
    /// A client id and secret
    ClientCredentials,
    /// A token made elsewhere
    Bearer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    #[default]
    Observe,
    Write,
}

fn role(text: &str) -> Result<(GroupId, String), String> {
    let wrong = || "expected the object id of a group, =, and a role, such as 3f0c2a9e-…=Agent".to_owned();
    let (group, role) = text.split_once('=').ok_or_else(wrong)?;
    let group = group.parse().map_err(|_| wrong())?;
    (!role.is_empty()).then(|| (group, role.to_owned())).ok_or_else(wrong)
}

pub fn run(args: &Args, cli: &Cli, mut screen: Screen) -> Result<Exit, Failure> {
    if args.steps {
        let credential = args.graph_credential.unwrap_or(GraphCredential::Certificate);
        let steps = steps::entra(credential, args.graph_client_id.as_deref())
            + "\n"
            + &steps::cxone(args.grant.unwrap_or(Grant::AccessKey));
        screen.print(&steps)?;
        return Ok(Exit::Done);
    }
    let file = cli.config.clone().unwrap_or_else(|| PathBuf::from("cxone-sync.toml"));
    if file.try_exists()? && !args.force {
        return Err(Failure::usage(format!(
            "{} is there already: name another with --config, or overwrite it with --force",
            file.display()
        )));
    }
    let folder = absolute(file.parent().unwrap_or(Path::new("")))?;
    let secrets = match &args.secrets {
        Some(folder) => absolute(folder)?,
        None => folder.join("secrets"),
    };
    let mut asker =
        Asker { asks: screen.interactive && !args.yes, screen: &mut screen, secrets, made: Vec::new() };
    let answers = answer(args, &folder, &mut asker)?;
    let made = asker.made;
    let text = compose::configuration(&answers);
    // What is written has to be what `config validate` accepts, whatever the environment is later.
    let no_environment = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>();
    Config::parse(&file.display().to_string(), &text, no_environment, &[]).map_err(|errors| {
        Failure::usage(format!("nothing was written to {}: the answers do not fit\n{errors}", file.display()))
    })?;
    write_whole(&file, &text, args.force).with_context(|| format!("cannot write {}", file.display()))?;
    let shown = file.display().to_string();
    if args.output.is_json() {
        let made: Vec<String> = made.iter().map(|path| path.display().to_string()).collect();
        screen.print_json(&json!({ "configuration": shown, "secrets": made }))?;
        return Ok(Exit::Done);
    }
    let mut said = format!("Wrote {shown}\n");
    for secret in &made {
        said += &format!("Wrote {} (0600)\n", secret.display());
    }
    let entra = steps::entra(answers.entra.kind(), answers.entra.client_id());
    let next = steps::next(&shown, answers.public_url.is_some());
    said += &format!("\n{entra}\n{}\n{next}", steps::cxone(answers.grant));
    screen.print(&said)?;
    Ok(Exit::Done)
}

/// As a path that is right from every working directory.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let absolute = std::path::absolute(path)?;
    // `.` has no place in a file that somebody reads.
    Ok(absolute.components().collect())
}

/// Asks on a terminal; elsewhere what is missing is named by its flag.
struct Asker<'a> {
    asks: bool,
    screen: &'a mut Screen,
    secrets: PathBuf,
    /// Files that were made.
    made: Vec<PathBuf>,
}

impl Asker<'_> {
    fn missing(flag: &str, what: &str) -> Failure {
        Failure::usage(format!("{flag} is missing: {what}; nobody is here to be asked, or --yes was given"))
    }

    /// The flag, else the answer, else the default.
    fn text(
        &mut self,
        given: Option<&String>,
        flag: &str,
        what: &str,
        usual: Option<&str>,
    ) -> Result<String, Failure> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        if !self.asks {
            return usual.map(str::to_owned).ok_or_else(|| Self::missing(flag, what));
        }
        let hint =
            usual.filter(|usual| !usual.is_empty()).map(|usual| format!(" [{usual}]")).unwrap_or_default();
        loop {
            let answer = self.screen.ask_line(&format!("{what}{hint}: "))?;
            match (answer, usual) {
                (None, None) => return Err(Self::missing(flag, what)),
                (None, Some(usual)) => return Ok(usual.to_owned()),
                (Some(answer), Some(usual)) if answer.is_empty() => return Ok(usual.to_owned()),
                (Some(answer), _) if !answer.is_empty() => return Ok(answer),
                (Some(_), _) => {}
            }
        }
    }

    /// One of some words.
    fn choice<T: clap::ValueEnum>(
        &mut self,
        given: Option<T>,
        flag: &str,
        what: &str,
        usual: &str,
    ) -> Result<T, Failure> {
        if let Some(given) = given {
            return Ok(given);
        }
        let words: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|one| Some(one.to_possible_value()?.get_name().to_owned()))
            .collect();
        let what = format!("{what} ({})", words.join(", "));
        if !self.asks {
            return Err(Self::missing(flag, &what));
        }
        loop {
            let answer = self.text(None, flag, &what, Some(usual))?;
            match T::from_str(&answer, true) {
                Ok(chosen) => return Ok(chosen),
                Err(_) => self.screen.note(&format!("One of: {}", words.join(", "))),
            }
        }
    }

    /// A file with a secret: the one that is named; else it is asked for, and written to a file of ours. One
    /// that is there is used as it is.
    fn secret(
        &mut self,
        given: Option<&PathBuf>,
        flag: &str,
        what: &str,
        name: &str,
    ) -> Result<PathBuf, Failure> {
        if let Some(given) = given {
            let file = absolute(given)?;
            if !file.try_exists()? {
                return Err(Failure::usage(format!(
                    "{flag}: there is no file {}: put {what} into it",
                    file.display()
                )));
            }
            return Ok(file);
        }
        let file = self.secrets.join(name);
        if file.try_exists()? {
            self.screen.note(&format!("{} is there already, and is used as it is", file.display()));
            return Ok(file);
        }
        if !self.asks {
            return Err(Self::missing(flag, what));
        }
        loop {
            let Some(secret) = self.screen.ask_secret(&format!("{what} (not shown): "))? else {
                return Err(Self::missing(flag, what));
            };
            if !secret.is_empty() {
                self.keep(&file, &secret)?;
                return Ok(file);
            }
        }
    }

    /// A file of ours with a new random secret, unless it is there.
    fn made_secret(&mut self, name: &str) -> Result<PathBuf, Failure> {
        let file = self.secrets.join(name);
        if file.try_exists()? {
            self.screen.note(&format!("{} is there already, and is used as it is", file.display()));
            return Ok(file);
        }
        self.keep(&file, &BASE64_STANDARD.encode(Random::system().secret::<32>()))?;
        Ok(file)
    }

    fn keep(&mut self, file: &Path, secret: &str) -> Result<(), Failure> {
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.secrets)?;
            // Made anew or not at all: a secret that somebody needs must not be lost.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            file.write_all(secret.as_bytes())?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", file.display()))?;
        self.made.push(file.to_owned());
        Ok(())
    }
}

fn answer(args: &Args, folder: &Path, asker: &mut Asker<'_>) -> Result<Answers, Failure> {
    let public_url = match (args.poll_only, &args.public_url) {
        (true, _) => None,
        (false, given) => {
            let what = "How Graph reaches this service, such as https://sync.example.com (none: poll only)";
            let usual = asker.asks.then_some("none");
            let url = asker.text(given.as_ref(), "--public-url (or --poll-only)", what, usual)?;
            (url != "none").then_some(url)
        }
    };
    let tenant_id = asker.text(
        args.tenant_id.as_ref(),
        "--tenant-id",
        "Entra directory: its id, or one of its domains",
        None,
    )?;
    let kind = asker.choice(
        args.graph_credential,
        "--graph-credential",
        "How the app registration is proven",
        "secret",
    )?;
    if asker.asks && args.graph_client_id.is_none() && kind != GraphCredential::ManagedIdentity {
        asker.screen.note("No app registration yet? This makes one:\n");
        asker.screen.note(&steps::entra(kind, None));
    }
    let entra = entra(args, kind, asker)?;
    let place = place(args, asker)?;
    let grant = asker.choice(args.grant, "--grant", "How CXone gives tokens", "access_key")?;
    let credentials = credentials(args, grant, asker)?;
    if args.token_url.is_none() && grant != Grant::Bearer && matches!(place, CxonePlace::At { .. }) {
        return Err(Failure::usage("--token-url is missing: with --scim-url this grant needs it"));
    }
    let mut groups = args.group.clone();
    if groups.is_empty() && asker.asks {
        let what = "Object id of the group of CXone people (everybody: all of the directory)";
        let group = asker.text(None, "--group", what, Some("everybody"))?;
        if group != "everybody" {
            let group = group
                .parse()
                .map_err(|_| Failure::usage(format!("{group} is not the object id of a group")))?;
            groups.push(group);
        }
    }
    let client_state = match &public_url {
        Some(_) => Some(asker.made_secret("client-state")?),
        None => None,
    };
    Ok(Answers {
        folder: folder.to_owned(),
        public_url,
        client_state,
        public_listen: args.public_listen.clone(),
        private_listen: args.private_listen.clone(),
        tenant_id,
        entra,
        graph_base_url: args.graph_base_url.clone(),
        login_url: args.login_url.clone(),
        place,
        grant,
        credentials,
        groups,
        roles: args.role.clone(),
        mode: args.mode,
    })
}

fn entra(args: &Args, kind: GraphCredential, asker: &mut Asker<'_>) -> Result<Entra, Failure> {
    let named = |given: &Option<PathBuf>,
                 flag: &str,
                 what: &str,
                 asker: &mut Asker<'_>|
     -> Result<PathBuf, Failure> {
        let given = given.as_ref().map(|path| path.display().to_string());
        Ok(absolute(Path::new(&asker.text(given.as_ref(), flag, what, None)?))?)
    };
    if kind == GraphCredential::ManagedIdentity {
        return Ok(Entra::ManagedIdentity { client_id: args.graph_client_id.clone() });
    }
    let what = "Application (client) id of the app registration";
    let client_id = asker.text(args.graph_client_id.as_ref(), "--graph-client-id", what, None)?;
    Ok(match kind {
        GraphCredential::Secret => Entra::Secret {
            client_id,
            file: asker.secret(
                args.graph_client_secret_file.as_ref(),
                "--graph-client-secret-file",
                "the client secret of the app registration",
                "graph-client-secret",
            )?,
        },
        GraphCredential::Certificate => Entra::Certificate {
            client_id,
            certificate: named(
                &args.certificate_file,
                "--certificate-file",
                "File with the certificate (PEM)",
                asker,
            )?,
            key: named(&args.private_key_file, "--private-key-file", "File with its key (PEM)", asker)?,
        },
        GraphCredential::Federated => Entra::Federated {
            client_id,
            file: named(
                &args.federated_token_file,
                "--federated-token-file",
                "File with the workload identity's token",
                asker,
            )?,
        },
        GraphCredential::ManagedIdentity => unreachable!("it was answered before"),
    })
}

fn place(args: &Args, asker: &mut Asker<'_>) -> Result<CxonePlace, Failure> {
    if let Some(scim_url) = &args.scim_url {
        return Ok(CxonePlace::At { scim_url: scim_url.clone(), token_url: args.token_url.clone() });
    }
    let what = "CXone tenant id, by which its addresses are discovered (a claim of its tokens)";
    let tenant =
        asker.text(args.cxone_tenant_id.as_ref(), "--cxone-tenant-id (or --scim-url)", what, None)?;
    Ok(CxonePlace::Discovered { issuer: format!("{ISSUER}?tenantId={tenant}") })
}

/// The keys of `[cxone]` that prove who we are, in their order.
fn credentials(
    args: &Args,
    grant: Grant,
    asker: &mut Asker<'_>,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut keys = Vec::new();
    if grant != Grant::Bearer {
        let what = "The client id that NICE gave";
        keys.push(("client_id", asker.text(args.cxone_client_id.as_ref(), "--cxone-client-id", what, None)?));
        let file = asker.secret(
            args.cxone_client_secret_file.as_ref(),
            "--cxone-client-secret-file",
            "the client secret that NICE gave",
            "cxone-client-secret",
        )?;
        keys.push(("client_secret_file", file.display().to_string()));
    }
    if grant == Grant::AccessKey {
        let what = "The access key id of the employee";
        keys.push(("access_key_id", asker.text(args.access_key_id.as_ref(), "--access-key-id", what, None)?));
        let file = asker.secret(
            args.access_key_secret_file.as_ref(),
            "--access-key-secret-file",
            "the secret of the access key",
            "cxone-access-key",
        )?;
        keys.push(("access_key_secret_file", file.display().to_string()));
    }
    if grant == Grant::Bearer {
        let file = asker.secret(args.token_file.as_ref(), "--token-file", "the token", "cxone-token")?;
        keys.push(("token_file", file.display().to_string()));
    }
    Ok(keys)
}

/// Whole or not at all, and without `force` only where nothing is.
fn write_whole(file: &Path, text: &str, force: bool) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    if !force {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o640).open(file)?;
        new.write_all(text.as_bytes())?;
        return new.sync_all();
    }
    let draft = file.with_extension("toml.new");
    let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(draft, file)
}

#[cfg(test)]
mod tests;
