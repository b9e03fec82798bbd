//! The configuration that the answers make, with hints for what comes next.

use std::path::PathBuf;

use super::{Grant, GraphCredential, Mode};
use crate::domain::user::GroupId;

/// All that was asked for.
#[derive(Debug)]
pub struct Answers {
    /// Where the store and the socket are to be.
    pub folder: PathBuf,
    pub public_url: Option<String>,
    /// The file of the secret; there if there is a public URL.
    pub client_state: Option<PathBuf>,
    pub public_listen: Option<String>,
    pub private_listen: Option<String>,
    pub tenant_id: String,
    pub entra: Entra,
    pub graph_base_url: Option<String>,
    pub login_url: Option<String>,
    pub place: CxonePlace,
    pub grant: Grant,
    pub credentials: Vec<(&'static str, String)>,
    pub groups: Vec<GroupId>,
    pub roles: Vec<(GroupId, String)>,
    pub mode: Mode,
}

#[derive(Debug)]
pub enum Entra {
    Secret { client_id: String, file: PathBuf },
    Certificate { client_id: String, certificate: PathBuf, key: PathBuf },
    Federated { client_id: String, file: PathBuf },
    ManagedIdentity { client_id: Option<String> },
}

#[derive(Debug)]
pub enum CxonePlace {
    Discovered { issuer: String },
    At { scim_url: String, token_url: Option<String> },
}

impl Entra {
    pub fn kind(&self) -> GraphCredential {
        match self {
            Self::Secret { .. } => GraphCredential::Secret,
            Self::Certificate { .. } => GraphCredential::Certificate,
            Self::Federated { .. } => GraphCredential::Federated,
            Self::ManagedIdentity { .. } => GraphCredential::ManagedIdentity,
        }
    }

    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::Secret { client_id, .. }
            | Self::Certificate { client_id, .. }
            | Self::Federated { client_id, .. } => Some(client_id),
            Self::ManagedIdentity { client_id } => client_id.as_deref(),
        }
    }
}

/// A TOML string. In ours `$` begins a variable.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace('$', "$$")).to_string()
}

/// Writes `key = "value"` for what is there.
fn line(key: &str, value: Option<&str>) -> String {
    value.map(|value| format!("{key} = {}\n", quoted(value))).unwrap_or_default()
}

fn path(key: &str, value: &std::path::Path) -> String {
    line(key, Some(&value.display().to_string()))
}

pub fn configuration(answers: &Answers) -> String {
    let sections = [
        "# Made by `cxone-sync init`. deploy/cxone-sync.example.toml documents every key; check what is here with\n\
         # `cxone-sync config validate`, and everything else with `cxone-sync doctor`.\n"
            .to_owned(),
        service(answers),
        format!("[store]\n{}", path("path", &answers.folder.join("cxone-sync.redb"))),
        graph(answers),
        cxone(answers),
        sync(answers),
        scope(answers),
        roles(answers),
    ];
    sections.join("\n")
}

fn service(answers: &Answers) -> String {
    let mut text = "[service]\n".to_owned();
    match (&answers.public_url, &answers.client_state) {
        (Some(url), Some(secret)) => {
            text += "# Graph calls {public_url}/notifications and {public_url}/lifecycle: TLS 1.2, a public certificate.\n";
            text += &line("public_url", Some(url));
            text += &path("client_state_secret_file", secret);
        }
        _ => {
            text += "# Graph cannot call: changes are found by the poll (sync.poll_interval). To be told at once:\n\
                     # public_url = \"https://sync.example.com\"\n\
                     # client_state_secret_file = \"secrets/client-state\"   # openssl rand -base64 32\n";
        }
    }
    text += match &answers.public_listen {
        None => "# public_listen = \"0.0.0.0:8080\"     # where the proxy in front forwards to\n",
        Some(_) => "",
    };
    text += &line("public_listen", answers.public_listen.as_deref());
    text += &line("private_listen", answers.private_listen.as_deref());
    text + &path("private_socket", &answers.folder.join("cxone-sync.sock"))
}

fn graph(answers: &Answers) -> String {
    let mut text = format!("[graph]\n{}", line("tenant_id", Some(&answers.tenant_id)));
    text += &line("client_id", answers.entra.client_id());
    text += &match &answers.entra {
        Entra::Secret { file, .. } => path("client_secret_file", file),
        Entra::Certificate { certificate, key, .. } => {
            path("certificate_file", certificate) + &path("private_key_file", key)
        }
        Entra::Federated { file, .. } => path("federated_token_file", file),
        Entra::ManagedIdentity { .. } => "managed_identity = true\n".to_owned(),
    };
    text += &line("base_url", answers.graph_base_url.as_deref());
    text += &line("login_url", answers.login_url.as_deref());
    text
}

fn cxone(answers: &Answers) -> String {
    let mut text = "[cxone]\n".to_owned();
    match &answers.place {
        CxonePlace::Discovered { issuer } => {
            text += "# Or name the addresses: scim_url = \"https://…/scim/v2\" and token_url.\n";
            text += &line("discovery", Some(issuer));
        }
        CxonePlace::At { scim_url, token_url } => {
            text += &line("scim_url", Some(scim_url));
            if answers.grant != Grant::Bearer {
                text += &line("token_url", token_url.as_deref());
            }
        }
    }
    let grant = match answers.grant {
        Grant::AccessKey => "access_key",
        Grant::ClientCredentials => "client_credentials",
        Grant::Bearer => "bearer",
    };
    text += &line("grant", Some(grant));
    for (key, value) in &answers.credentials {
        text += &line(key, Some(value));
    }
    text + "# dialect = \"auto\"                    # `cxone-sync doctor --learn USER` finds it out\n"
}

fn sync(answers: &Answers) -> String {
    match answers.mode {
        Mode::Observe => "[sync]\n# Looks and decides, and writes nothing. When you like what `cxone-sync plan --all` shows: \"write\".\n\
                          mode = \"observe\"\n"
            .to_owned(),
        Mode::Write => "[sync]\nmode = \"write\"\n".to_owned(),
    }
}

fn scope(answers: &Answers) -> String {
    let groups: Vec<String> = answers.groups.iter().map(|group| quoted(&group.to_string())).collect();
    match groups.is_empty() {
        true => "# Everybody in the directory is synchronised. Name the groups whose members are, nested ones included:\n\
                 # [scope]\n# groups = [\"<object id>\"]\n"
            .to_owned(),
        false => format!("[scope]\ngroups = [{}]\n", groups.join(", ")),
    }
}

fn roles(answers: &Answers) -> String {
    if answers.roles.is_empty() {
        return "# Roles by group. Without a table, CXone's word holds.\n\
                # [attributes.roles]\n# owner = \"entra\"\n\
                # [[roles]]\n# group = \"<object id>\"\n# role = \"Agent\"\n"
            .to_owned();
    }
    let rows = answers.roles.iter().map(|(group, role)| {
        format!("\n[[roles]]\n{}{}", line("group", Some(&group.to_string())), line("role", Some(role)))
    });
    "[attributes.roles]\nowner = \"entra\"\n".to_owned() + &rows.collect::<String>()
}
