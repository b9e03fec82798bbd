use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;

use super::*;
use crate::cli::Command;
use crate::cli::screen::testing::screen;
use crate::config::{CxoneAuth, CxoneEndpoint, GraphCredential as Proof, Mode as ConfiguredMode};

const GROUP: &str = "3f0c2a9e-1111-4222-8333-444455556666";

/// A folder in which `init` runs with these flags.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["secret", "other", "token"] {
            fs::write(place.path(name), "0123456789abcdef").unwrap();
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        fs::write(place.path("graph.crt"), certificate.pem()).unwrap();
        fs::write(place.path("graph.key"), key.serialize_pem()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// How it ended, and all that was said. `typed` is typed if somebody is there.
    fn init(&self, flags: &str, typed: &'static str) -> (Result<Exit, Exit>, String) {
        let file = self.path("sync.toml").display().to_string();
        let flags = flags.replace("HERE", &self.0.path().display().to_string());
        let line = ["cxone-sync", "--config", &file, "init"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::parse_from(line);
        let Command::Init(args) = &cli.command else { panic!("not init") };
        let (screen, out, notes) = screen(!typed.is_empty(), typed);
        match run(args, &cli, screen) {
            Ok(exit) => (Ok(exit), notes.text() + &out.text()),
            Err(failure) => (Err(failure.exit), notes.text() + &failure.message),
        }
    }

    #[track_caller]
    fn makes(&self, flags: &str, typed: &'static str) -> Config {
        let (exit, said) = self.init(flags, typed);
        assert_eq!(exit, Ok(Exit::Done), "{said}");
        let no_environment = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>();
        let config = Config::load(Some(&self.path("sync.toml")), no_environment, &[]);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let is_asked_for = |warning: &String| warning.starts_with("service.public_url is not set");
        assert!(config.warnings.iter().all(is_asked_for), "{:?}", config.warnings);
        config
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const URL: &str = "--public-url https://sync.example.com --tenant-id contoso.com";
const GRAPH: &str = "--graph-client-id app --graph-credential secret --graph-client-secret-file HERE/secret";
const BEARER: &str = "--cxone-tenant-id 11eb-cc01 --grant bearer --token-file HERE/token";

#[test]
fn flags_alone_make_a_configuration_that_is_right() {
    let place = Place::new();
    let config = place.makes(&format!("{URL} {GRAPH} {BEARER} --group {GROUP}"), "");
    assert_eq!(config.sync.mode, ConfiguredMode::Observe);
    assert_eq!(config.service.public_url.unwrap().as_str(), "https://sync.example.com/");
    assert_eq!(config.store.path, place.path("cxone-sync.redb"), "from every working directory");
    assert_eq!(config.rules.scope.groups.len(), 1);
    let CxoneEndpoint::Discovery { issuer, .. } = config.cxone.endpoint else { panic!("not discovered") };
    assert_eq!(issuer.as_str(), "https://cxone.niceincontact.com/?tenantId=11eb-cc01");
    let secret = place.path("secrets/client-state");
    assert_eq!((mode(&secret), mode(&place.path("secrets"))), (0o600, 0o700));
    let made = BASE64_STANDARD.decode(fs::read_to_string(secret).unwrap()).unwrap();
    assert_eq!(made.len(), 32);
}

#[test]
fn every_grant_and_every_credential_makes_one() {
    let client = "--cxone-client-id c --cxone-client-secret-file HERE/other";
    let key = "--access-key-id k --access-key-secret-file HERE/other";
    let at = "--scim-url http://127.0.0.1:4000/scim/v2 --token-url http://127.0.0.1:4000/auth/token";
    let check = |flags: String, is_it: fn(&Config) -> bool| {
        let config = Place::new().makes(&flags, "");
        assert!(is_it(&config), "{flags}: {config:?}");
    };
    check(format!("{URL} {GRAPH} {at} {client} --grant client_credentials"), |config| {
        matches!(config.cxone.auth, CxoneAuth::ClientCredentials { .. })
    });
    check(format!("{URL} {GRAPH} {at} {client} {key} --grant access_key"), |config| {
        matches!(config.cxone.auth, CxoneAuth::AccessKey { .. })
    });
    check(format!("{URL} {GRAPH} --cxone-tenant-id t {client} {key} --grant access_key"), |config| {
        matches!(config.cxone.endpoint, CxoneEndpoint::Discovery { .. })
    });
    let poll = "--poll-only --tenant-id contoso.com";
    let certificate = "--graph-client-id app --graph-credential certificate --certificate-file HERE/graph.crt \
                       --private-key-file HERE/graph.key";
    check(format!("{poll} {certificate} {BEARER}"), |config| {
        matches!(config.graph.credential, Proof::Certificate { .. }) && config.service.public_url.is_none()
    });
    let federated = "--graph-client-id app --graph-credential federated --federated-token-file HERE/token";
    check(format!("{poll} {federated} {BEARER} --mode write"), |config| {
        matches!(config.graph.credential, Proof::FederatedTokenFile { .. })
            && config.sync.mode == ConfiguredMode::Write
    });
    check(format!("{poll} --graph-credential managed-identity {BEARER} --role {GROUP}=Agent"), |config| {
        matches!(config.graph.credential, Proof::ManagedIdentity { .. }) && config.rules.gives_roles()
    });
}

#[test]
fn off_a_terminal_what_is_missing_is_named_by_its_flag() {
    for (flags, flag) in [
        ("".to_owned(), "--public-url (or --poll-only)"),
        ("--poll-only".to_owned(), "--tenant-id"),
        (URL.to_owned(), "--graph-credential"),
        (format!("{URL} --graph-credential secret"), "--graph-client-id"),
        (format!("{URL} --graph-credential secret --graph-client-id a"), "--graph-client-secret-file"),
        (format!("{URL} {GRAPH}"), "--cxone-tenant-id (or --scim-url)"),
        (format!("{URL} {GRAPH} --cxone-tenant-id t"), "--grant"),
        (format!("{URL} {GRAPH} --cxone-tenant-id t --grant bearer"), "--token-file"),
        (
            format!(
                "{URL} {GRAPH} --scim-url https://x.example/scim --grant client_credentials --cxone-client-id c \
                 --cxone-client-secret-file HERE/other"
            ),
            "--token-url",
        ),
    ] {
        let place = Place::new();
        let (exit, said) = place.init(&flags, "");
        assert_eq!(exit, Err(Exit::Usage), "{flags}: {said}");
        assert!(said.contains(&format!("{flag} is missing")), "{flags}: {said}");
        assert!(!place.path("sync.toml").exists(), "{flags}");
    }
    // --yes on a terminal asks nothing either.
    let (exit, said) = Place::new().init("--yes", "https://sync.example.com\n");
    assert_eq!(exit, Err(Exit::Usage), "{said}");
    let (exit, said) =
        Place::new().init(&format!("{URL} {GRAPH} {BEARER}").replace("HERE/token", "HERE/gone"), "");
    assert_eq!(exit, Err(Exit::Usage), "{said}");
    assert!(said.contains("--token-file: there is no file"), "{said}");
}

#[test]
fn on_a_terminal_it_asks_and_keeps_secrets_out_of_the_configuration() {
    let place = Place::new();
    let typed = "https://sync.example.com\ncontoso.com\npassword\nsecret\napp-1\n\nhunter2$x\n11eb-cc01\n\nnice-client\n\
                 canary1\nkey-1\ncanary2\neverybody\n";
    let config = place.makes("", typed);
    assert!(matches!(config.cxone.auth, CxoneAuth::AccessKey { .. }), "the usual one");
    let text = fs::read_to_string(place.path("sync.toml")).unwrap();
    for secret in ["hunter2", "canary"] {
        assert!(!text.contains(secret), "{text}");
    }
    for (name, secret) in [
        ("graph-client-secret", "hunter2$x"),
        ("cxone-client-secret", "canary1"),
        ("cxone-access-key", "canary2"),
    ] {
        let file = place.path("secrets").join(name);
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), (secret, 0o600));
    }
    // Who goes away half-way has no configuration.
    let (exit, said) = Place::new().init("", "https://sync.example.com\n");
    assert_eq!(exit, Err(Exit::Usage), "{said}");
    assert!(said.contains("--tenant-id"), "{said}");
}

#[test]
fn nothing_that_is_there_is_lost() {
    let place = Place::new();
    let flags = format!("{URL} {GRAPH} {BEARER}");
    place.makes(&flags, "");
    let secret = fs::read_to_string(place.path("secrets/client-state")).unwrap();
    fs::write(place.path("sync.toml"), "# mine").unwrap();
    let (exit, said) = place.init(&flags, "");
    assert_eq!(exit, Err(Exit::Usage));
    assert!(said.contains("--force"), "{said}");
    assert_eq!(fs::read_to_string(place.path("sync.toml")).unwrap(), "# mine");
    place.makes(&format!("{flags} --force"), "");
    assert_eq!(fs::read_to_string(place.path("secrets/client-state")).unwrap(), secret);
    // Answers that do not fit leave the configuration as it is.
    let before = fs::read_to_string(place.path("sync.toml")).unwrap();
    let wrong = flags.replace("https://sync", "http://sync");
    let (exit, said) = place.init(&format!("{wrong} --force"), "");
    assert_eq!(exit, Err(Exit::Usage));
    assert!(said.contains("not encrypted"), "{said}");
    assert_eq!(fs::read_to_string(place.path("sync.toml")).unwrap(), before);
}

#[test]
fn the_steps_are_those_of_the_page_and_name_what_was_chosen() {
    let page = include_str!("../../../docs/entra.md");
    for credential in <GraphCredential as clap::ValueEnum>::value_variants() {
        let told = steps::entra(*credential, None);
        let commands: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        assert!(commands.len() >= 5, "{told}");
        for command in commands {
            assert!(page.lines().any(|line| line == command), "{credential:?}: {command}");
        }
    }
    assert!(steps::entra(GraphCredential::Secret, None).contains("az ad app permission admin-consent"));
    assert!(steps::entra(GraphCredential::Certificate, Some("c11e")).contains("APP=c11e"));
    assert!(!steps::entra(GraphCredential::ManagedIdentity, None).contains("az ad app create"));
    let (exit, said) = Place::new().init("--steps --graph-credential federated --grant bearer", "");
    assert_eq!(exit, Ok(Exit::Done));
    assert!(said.contains("federated-credential create") && said.contains("It will expire"), "{said}");
}
