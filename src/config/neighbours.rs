//! `[graph]` and `[cxone]`: where the neighbours are, and how we prove who we are.

use crate::outbound::Url;
use jiff::Timestamp;
use secrecy::SecretString;

use super::kind::{SUBDOMAIN, parse_instant, parse_url};
use super::settings::Settings;
use super::tree::Variables;
use super::{Cxone, CxoneAuth, CxoneEndpoint, Dialect, Graph, GraphCredential};

/// Of each cloud Graph's address and the token service's.
/// Source: Microsoft Graph, "National cloud deployments".
const CLOUDS: [(&str, &str, &str); 4] = [
    ("global", "https://graph.microsoft.com/v1.0", "https://login.microsoftonline.com"),
    ("usgov", "https://graph.microsoft.us/v1.0", "https://login.microsoftonline.us"),
    ("usgov-dod", "https://dod-graph.microsoft.us/v1.0", "https://login.microsoftonline.us"),
    ("china", "https://microsoftgraph.chinacloudapi.cn/v1.0", "https://login.chinacloudapi.cn"),
];

pub fn graph(settings: &mut Settings, variables: &Variables) -> Option<Graph> {
    let cloud = settings.text("graph.cloud").expect("the cloud has a default");
    let cloud = CLOUDS.into_iter().find(|(name, ..)| *name == cloud);
    let (_, base, login) = cloud.expect("every cloud of the table of keys has its addresses");
    for (path, follows) in [("graph.base_url", base), ("graph.login_url", login)] {
        if settings.text(path).is_none() {
            settings.follow(path, follows, "graph.cloud");
        }
    }

    let tenant_id = settings.text("graph.tenant_id").map(str::to_owned);
    if tenant_id.is_none() {
        settings.missing("graph.tenant_id", "");
    }
    let credential = graph_credential(settings, variables);
    Some(Graph {
        tenant_id: tenant_id?,
        credential: credential?,
        base_url: settings.url("graph.base_url")?,
        login_url: settings.url("graph.login_url")?,
        max_connections: settings.count("graph.max_connections"),
    })
}

fn graph_credential(settings: &mut Settings, variables: &Variables) -> Option<GraphCredential> {
    let managed = settings.flag("graph.managed_identity");
    let mut kinds = Vec::new();
    for (path, kind) in [
        ("graph.client_secret", "client_secret"),
        ("graph.certificate_file", "certificate_file and private_key_file"),
        ("graph.private_key_file", "certificate_file and private_key_file"),
        ("graph.federated_token_file", "federated_token_file"),
    ] {
        if settings.given(path).is_some() && kinds.last().is_none_or(|(_, last)| *last != kind) {
            kinds.push((path, kind));
        }
    }
    if managed {
        kinds.push(("graph.managed_identity", "managed_identity"));
    }
    let client_id = settings.text("graph.client_id").map(str::to_owned);
    if !managed && client_id.is_none() {
        settings.missing("graph.client_id", "");
    }

    let (path, kind) = match kinds[..] {
        [one] => one,
        [] => {
            settings.problem(
                "graph.client_secret",
                "[graph] has no credential",
                "set one of client_secret, certificate_file with private_key_file, federated_token_file, or managed_identity = true",
            );
            return None;
        }
        [(_, first), .., (path, last)] => {
            let what = format!("[graph] has two kinds of credential: {first}, and {last}");
            settings.problem(path, what, "keep one of them");
            return None;
        }
    };
    if managed {
        let endpoint = identity_endpoint(settings, variables)?;
        return Some(GraphCredential::ManagedIdentity { client_id, endpoint });
    }
    if path == "graph.client_secret" {
        let secret = settings.secret(path)?;
        return Some(GraphCredential::Secret { client_id: client_id?, secret });
    }
    if path == "graph.federated_token_file" {
        let path = settings.path(path)?;
        return Some(GraphCredential::FederatedTokenFile { client_id: client_id?, path });
    }
    for path in ["graph.certificate_file", "graph.private_key_file"] {
        if settings.given(path).is_none() {
            settings.missing(path, &format!("the credential is {kind}"));
        }
    }
    let certificate_pem = settings.read_pem("graph.certificate_file", "BEGIN CERTIFICATE");
    let key = settings.read_pem("graph.private_key_file", "PRIVATE KEY");
    let Ok(key) = String::from_utf8(key?) else {
        settings.problem("graph.private_key_file", "graph.private_key_file: not text", "give a PEM file");
        return None;
    };
    Some(GraphCredential::Certificate {
        client_id: client_id?,
        certificate_pem: certificate_pem?,
        private_key_pem: SecretString::from(key),
    })
}

/// What App Service and Container Apps tell their processes. The address is the host's own, and not
/// encrypted. `None`: a problem was found.
fn identity_endpoint(settings: &mut Settings, variables: &Variables) -> Option<Option<(Url, SecretString)>> {
    let of =
        |name: &str| variables.get(name).and_then(|value| value.to_str()).filter(|text| !text.is_empty());
    let (Some(endpoint), Some(header)) = (of("IDENTITY_ENDPOINT"), of("IDENTITY_HEADER")) else {
        return Some(None);
    };
    if let Ok(url) = Url::parse(endpoint) {
        return Some(Some((url, SecretString::from(header))));
    }
    settings.problem(
        "graph.managed_identity",
        "graph.managed_identity: the environment variable IDENTITY_ENDPOINT is not a URL",
        "the Azure host sets it; unset it to use the virtual machine's identity service",
    );
    None
}

pub fn cxone(settings: &mut Settings) -> Option<Cxone> {
    let endpoint = cxone_endpoint(settings);
    let auth = cxone_auth(settings);
    let dialect = match settings.text("cxone.dialect") {
        Some("rfc7644") => Dialect::Rfc7644,
        Some("indexed") => Dialect::Indexed,
        Some("cxone") => Dialect::Cxone,
        Some("put") => Dialect::Put,
        _ => Dialect::Auto,
    };
    let (auth, next) = auth?;
    Some(Cxone {
        endpoint: endpoint?,
        auth,
        next,
        max_connections: settings.count("cxone.max_connections"),
        trust_baseline_for: settings.duration("cxone.trust_baseline_for"),
        dialect,
    })
}

fn cxone_endpoint(settings: &mut Settings) -> Option<CxoneEndpoint> {
    let asks_for_tokens = !matches!(settings.text("cxone.grant"), Some("bearer" | "basic"));
    let own_token_url = settings.given("cxone.token_url").is_some();
    if !asks_for_tokens {
        if own_token_url {
            let what = "cxone.token_url has no effect: the grant asks for no tokens";
            settings.warn("cxone.token_url", what);
        }
        settings.forget("cxone.token_url");
    }
    if settings.given("cxone.discovery").is_none() {
        let scim_url = filled_in(settings, "cxone.scim_url");
        let token_url = filled_in(settings, "cxone.token_url");
        if asks_for_tokens {
            token_url.as_ref()?;
        }
        return Some(CxoneEndpoint::Fixed { scim_url: scim_url?, token_url });
    }

    if settings.given("cxone.scim_url").is_some() {
        let todo = "keep one of them: discovery finds scim_url";
        settings.problem("cxone.discovery", "cxone.discovery and cxone.scim_url are both given", todo);
    }
    settings.forget("cxone.scim_url");
    if !own_token_url {
        settings.forget("cxone.token_url");
        if settings.given("cxone.subdomain").is_some() {
            settings.warn("cxone.subdomain", "cxone.subdomain has no effect: discovery finds the addresses");
        }
    }
    let token_url = filled_in(settings, "cxone.token_url");
    Some(CxoneEndpoint::Discovery { issuer: settings.issuer("cxone.discovery")?, token_url })
}

/// The URL with the subdomain in it.
fn filled_in(settings: &mut Settings, path: &str) -> Option<Url> {
    let mut text = settings.text(path)?.to_owned();
    if text.contains(SUBDOMAIN) {
        let Some(subdomain) = settings.text("cxone.subdomain") else {
            settings.missing("cxone.subdomain", &format!("{path} has {SUBDOMAIN} in it"));
            return None;
        };
        text = text.replace(SUBDOMAIN, subdomain);
    }
    match parse_url(&text) {
        Ok(url) => Some(url),
        Err(complaint) => {
            settings.problem(path, format!("{path}: {}", complaint.what), complaint.todo);
            None
        }
    }
}

/// What can be needed to get a token.
const CREDENTIALS: [&str; 5] = [
    "cxone.client_id",
    "cxone.client_secret",
    "cxone.access_key_id",
    "cxone.access_key_secret",
    "cxone.token",
];

/// The credentials, and those for when they are refused.
fn cxone_auth(settings: &mut Settings) -> Option<(CxoneAuth, Option<CxoneAuth>)> {
    let grant = settings.text("cxone.grant").expect("the grant has a default").to_owned();
    let needed = match grant.as_str() {
        "client_credentials" => &CREDENTIALS[..2],
        "access_key" => &CREDENTIALS[..4],
        "access_key_json" | "basic" => &CREDENTIALS[2..4],
        _ => &CREDENTIALS[4..],
    };
    for path in CREDENTIALS {
        if needed.contains(&path) {
            settings.missing(path, &format!("the grant {grant} needs it"));
        } else if settings.given(path).is_some() {
            let what = format!("{path} is a second kind of credential: the grant {grant} does not use it");
            settings.problem(path, what, "remove it, or set cxone.grant to what is meant");
        }
    }
    if grant != "client_credentials" && settings.given("cxone.scope").is_some() {
        settings.warn("cxone.scope", &format!("cxone.scope has no effect: the grant is {grant}"));
    }

    let first = auth_of(settings, &grant, false);
    let next = next_given(settings, &grant, needed).then(|| auth_of(settings, &grant, true));
    Some((first?, next.flatten()))
}

/// Whether there are other credentials. What the grant does not use is a problem.
fn next_given(settings: &mut Settings, grant: &str, needed: &[&str]) -> bool {
    let mut given = false;
    for path in CREDENTIALS {
        let next = path.replace("cxone.", "cxone.next.");
        if settings.given(&next).is_none() {
            continue;
        }
        if needed.contains(&path) {
            given = true;
        } else {
            let what = format!("{next} is another kind of credential: the grant {grant} does not use it");
            settings.problem(
                &next,
                what,
                "remove it: both credentials are of the kind that cxone.grant names",
            );
        }
    }
    given
}

/// The credentials; of the next ones, what they do not have is that of the first.
fn auth_of(settings: &Settings, grant: &str, next: bool) -> Option<CxoneAuth> {
    let path = |name: &str| {
        let of_next = format!("cxone.next.{name}");
        if next && settings.set(&of_next).is_some() { of_next } else { format!("cxone.{name}") }
    };
    let text = |name| settings.text(&path(name)).map(str::to_owned);
    let secret = |name| settings.secret(&path(name));
    Some(match grant {
        "client_credentials" => CxoneAuth::ClientCredentials {
            client_id: text("client_id")?,
            client_secret: secret("client_secret")?,
            scope: settings.text("cxone.scope").map(str::to_owned),
        },
        "access_key" => CxoneAuth::AccessKey {
            client_id: text("client_id")?,
            client_secret: secret("client_secret")?,
            access_key_id: text("access_key_id")?,
            access_key_secret: secret("access_key_secret")?,
        },
        "access_key_json" => CxoneAuth::AccessKeyJson {
            access_key_id: text("access_key_id")?,
            access_key_secret: secret("access_key_secret")?,
        },
        "basic" => CxoneAuth::Basic { user: text("access_key_id")?, password: secret("access_key_secret")? },
        _ => CxoneAuth::Bearer { token: secret("token")? },
    })
}

/// When those end that are configured, and say nothing of it themselves.
pub fn expiries(settings: &mut Settings) -> Vec<(&'static str, Timestamp)> {
    let mut expiries = Vec::new();
    for path in ["graph.client_secret", "cxone.client_secret", "cxone.access_key_secret", "cxone.token"] {
        let dated = format!("{path}_expires");
        let Some(at) = settings.text(&dated).and_then(parse_instant) else { continue };
        match settings.given(path) {
            Some(_) => expiries.push((path, at)),
            None => settings.warn(&dated, &format!("{dated} has no effect: there is no {path}")),
        }
    }
    expiries
}
