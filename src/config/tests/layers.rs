//! File, environment, flags and the files of secrets.

use super::*;

#[test]
fn the_environment_goes_over_the_file() {
    let config = valid(
        &[
            ("sync.poll_interval", r#""5m""#),
            ("guard.deactivations", "{ per_hour = 7 }"),
            ("scope.groups", "[]"),
        ],
        &[
            ("CXONE_SYNC__SYNC__MODE", "observe"),
            ("CXONE_SYNC__SYNC__CREATE", "false"),
            ("CXONE_SYNC__SYNC__POLL_INTERVAL", "\"10m\""),
            ("CXONE_SYNC__GUARD__DEACTIVATIONS__PER_DAY", "8"),
            ("CXONE_SYNC__SCOPE__GROUPS", &format!("[\"{G1}\"]")),
            ("CXONE_SYNC__ATTRIBUTES__TIMEZONE__FROM", "[preferredTimeZone]"),
            ("CXONE_SYNC__ATTRIBUTES__emails__OWNER", "newest"),
            ("CXONE_SYNC__ROLES", &format!("[{{ group = \"{G1}\", role = \"agent\" }}]")),
            ("CXONE_SYNC__GRAPH__CLIENT_SECRET", "12345"),
            ("CXONE_SYNC__CXONE__CLIENT_SECRET", "a$$b ${C} [x]"),
            (
                "CXONE_SYNC__SERVICE__CLIENT_STATE_SECRET",
                r#"["the first, long enough 123", "the second, long enough 12"]"#,
            ),
            ("CXONE_SYNC__STORE__CACHE", "1048576"),
            ("UNRELATED", "x"),
            ("CXONE_SYNC_CONFIG", "x"),
        ],
    );
    assert_eq!(config.sync.mode, Mode::Observe);
    assert!(!config.rules.create);
    assert_eq!(config.sync.poll_interval, Duration::from_secs(600));
    let budget = Budget {
        per_hour: Some(7),
        per_day: Some(8),
        percent_per_hour: Some(100.0),
        percent_per_day: Some(5.0),
    };
    assert_eq!(config.guard.budgets.deactivations, budget, "tables merge");
    assert_eq!(config.rules.scope.groups, [G1.parse().unwrap()]);
    assert!(config.rules.attributes.contains_key(&Attribute::TimeZone));
    assert_eq!(config.rules.attributes[&Attribute::Emails].owner, Owner::Newest);
    assert_eq!(config.rules.roles.rows().len(), 1);
    assert_eq!(config.store.cache_bytes, 1 << 20);
    let GraphCredential::Secret { secret, .. } = &config.graph.credential else { panic!() };
    assert_eq!(secret.expose_secret(), "12345", "a secret of digits is text");
    let CxoneAuth::ClientCredentials { client_secret, .. } = &config.cxone.auth else { panic!() };
    assert_eq!(client_secret.expose_secret(), "a$$b ${C} [x]", "taken as it is");
    assert_eq!(config.service.client_state_secrets.len(), 2);
}

#[test]
fn wrong_variables() {
    let check = |variable, value, expected: Expect| {
        expected.assert_eq(&refused(load(&[], &[(variable, value)])));
    };
    check(
        "CXONE_SYNC__GRAPH__TENANTID",
        "x",
        expect![[r#"
        environment variable CXONE_SYNC__GRAPH__TENANTID: graph.tenantid is not a known key
            the nearest known key is CXONE_SYNC__GRAPH__TENANT_ID"#]],
    );
    check(
        "CXONE_SYNC__SYNC__MODE",
        "wirte",
        expect![[r#"
        environment variable CXONE_SYNC__SYNC__MODE: sync.mode: "wirte" is none of write, observe
            the nearest is "write""#]],
    );
    check(
        "CXONE_SYNC__SYNC__MAX_ATTEMPTS",
        "many",
        expect![
            "environment variable CXONE_SYNC__SYNC__MAX_ATTEMPTS: sync.max_attempts: a string where a number is expected"
        ],
    );
    check(
        "CXONE_SYNC__ROLES__0__GROUP",
        G1,
        expect![[r#"
            environment variable CXONE_SYNC__ROLES__0__GROUP: roles is a list of tables, and is given as a whole
                write CXONE_SYNC__ROLES=[{ group = "…", role = "…" }]"#]],
    );
    check(
        "CXONE_SYNC__ROLES__GROUP",
        G1,
        expect![[r#"
        environment variable CXONE_SYNC__ROLES__GROUP: roles is a list of tables, and is given as a whole
            write CXONE_SYNC__ROLES=[{ group = "…", role = "…" }]"#]],
    );
    check(
        "CXONE_SYNC__SYNC",
        "observe",
        expect![[r#"
            environment variable CXONE_SYNC__SYNC: sync is a section, not a string
                write CXONE_SYNC__SYNC__ and the name of a key"#]],
    );
    check(
        "CXONE_SYNC__",
        "x",
        expect![[r#"
            environment variable CXONE_SYNC__: it names no key
                the nearest known key is CXONE_SYNC__EVENTS"#]],
    );
    check(
        "CXONE_SYNC_GRAPH__TENANT_ID",
        TENANT,
        expect![[r#"
        environment variable CXONE_SYNC_GRAPH__TENANT_ID: nothing reads this variable
            write CXONE_SYNC__GRAPH__TENANT_ID"#]],
    );
    check(
        "CXONE_SYNC__SCOPE__GROUPS",
        G1,
        expect![[r#"
        environment variable CXONE_SYNC__SCOPE__GROUPS: scope.groups: a string where a list of strings is expected
            write a list: ["…", "…"]"#]],
    );
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_not_unicode_is_refused_only_where_it_is_used() {
    use std::os::unix::ffi::OsStringExt;
    let broken = || OsString::from_vec(vec![b'a', 0xff]);
    let with = |name: &str, file: &str| Config::parse("c.toml", file, [(name.to_owned(), broken())], &[]);
    assert!(with("OTHER", &text(&[])).is_ok());
    expect!["environment variable CXONE_SYNC__LOG__LEVEL: log.level: the value is not UTF-8"]
        .assert_eq(&refused(with("CXONE_SYNC__LOG__LEVEL", &text(&[]))));
    expect![[r#"
        c.toml:4:13: the environment variable OTHER is not UTF-8
            set it to Unicode text"#]]
    .assert_eq(&refused(with("OTHER", &text(&[("graph.client_id", r#""${OTHER}""#)]))));
}

#[test]
fn flags_go_over_all_and_take_no_secret() {
    let flags = |path: &str, value: &str| {
        let environment = [("CXONE_SYNC__SYNC__MODE", "observe")];
        Config::parse("c.toml", &text(&[]), environment, &[(path.to_owned(), value.to_owned())])
    };
    assert_eq!(flags("sync.mode", "write").unwrap().sync.mode, Mode::Write);
    expect![[r#"
        flag graph.client_secret: graph.client_secret is a secret: everybody on this host can read a command line
            use graph.client_secret_file, or the environment variable CXONE_SYNC__GRAPH__CLIENT_SECRET"#]].assert_eq(&refused(flags("graph.client_secret", "canary")));
    expect![[r#"
        flag sync.mod: sync.mod is not a known key
            the nearest known key is sync.mode"#]]
    .assert_eq(&refused(flags("sync.mod", "write")));
}

#[test]
fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        format!("{:?}", path.to_str().unwrap())
    };
    let secret = |content: &[u8]| {
        let path = file("secret", content);
        let loaded = load(&[("graph.client_secret", ""), ("graph.client_secret_file", &path)], &[]);
        loaded.map(|config| match config.graph.credential {
            GraphCredential::Secret { secret, .. } => secret.expose_secret().to_owned(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(secret(b"from a file").unwrap(), "from a file");
    assert_eq!(secret(b"from a file\n").unwrap(), "from a file");
    assert_eq!(secret(b"from a file\r\n").unwrap(), "from a file");
    assert_eq!(secret(b"${A}$$\n").unwrap(), "${A}$$", "taken as it is");

    let hidden = |errors: ConfigErrors| errors.to_string().replace(folder.path().to_str().unwrap(), "/run");
    expect!["c.toml:4:22: graph.client_secret_file: /run/secret: the secret is empty"]
        .assert_eq(&hidden(secret(b"").unwrap_err()));
    expect![[r#"
        c.toml:4:22: graph.client_secret_file: /run/secret: the secret begins or ends with white space
            remove it"#]]
    .assert_eq(&hidden(secret(b"canary\n\n").unwrap_err()));
    expect!["c.toml:4:22: graph.client_secret_file: /run/secret: the secret is not UTF-8"]
        .assert_eq(&hidden(secret(b"canary\xff").unwrap_err()));
    let path = file("secret", b"canary");
    expect![[r#"
        c.toml:5:22: graph.client_secret and graph.client_secret_file are both given
            keep one of them; the other is at c.toml:4:17"#]]
    .assert_eq(&hidden(load(&[("graph.client_secret_file", &path)], &[]).err().unwrap()));
    let missing = [("graph.client_secret", ""), ("graph.client_secret_file", r#""/nowhere/secret""#)];
    expect!["c.toml:4:22: graph.client_secret_file: /nowhere/secret: cannot read it: No such file or directory (os error 2)"].assert_eq(&hidden(load(&missing, &[]).err().unwrap()));
    let short = file("short", b"short canary");
    expect![[r#"
        c.toml:2:28: service.client_state_secret_file: /run/short: the secret has 12 bytes, and needs at least 24
            make one with: openssl rand -base64 32"#]]
        .assert_eq(&hidden(load(&[("service.client_state_secret_file", &short)], &[]).err().unwrap()));

    let (a, b) = (file("a", b"the first, long enough 123\n"), file("b", b"the second, long enough 12\n"));
    let config = valid(&[("service.client_state_secret_file", &format!("[{a}, {b}]"))], &[]);
    let secrets: Vec<&str> =
        config.service.client_state_secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, ["the first, long enough 123", "the second, long enough 12"]);
}

#[test]
fn certificates_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        format!("{:?}", path.to_str().unwrap())
    };
    let certificate = file("c", "-----BEGIN CERTIFICATE-----\n");
    let key = file("k", "-----BEGIN PRIVATE KEY-----\n");
    let with = |certificate: &str, key: &str| {
        let files = [
            ("graph.client_secret", ""),
            ("graph.certificate_file", certificate),
            ("graph.private_key_file", key),
        ];
        load(&files, &[])
    };
    let credential = with(&certificate, &key).unwrap().graph.credential;
    let GraphCredential::Certificate { certificate_pem, private_key_pem, .. } = &credential else {
        panic!("{credential:?}")
    };
    assert_eq!(certificate_pem, b"-----BEGIN CERTIFICATE-----\n");
    assert_eq!(private_key_pem.expose_secret(), "-----BEGIN PRIVATE KEY-----\n");
    let errors = refused(with(&key, &certificate)).replace(folder.path().to_str().unwrap(), "/etc");
    expect![[r#"
        c.toml:4:20: graph.certificate_file: /etc/k has no line with BEGIN CERTIFICATE
            give a PEM file
        c.toml:5:20: graph.private_key_file: /etc/c has no line with PRIVATE KEY
            give a PEM file"#]]
    .assert_eq(&errors);
}

#[test]
fn identities_of_the_host() {
    let managed = [("graph.client_secret", ""), ("graph.client_id", ""), ("graph.managed_identity", "true")];
    let endpoint = |environment: Pairs<'_>| match valid(&managed, environment).graph.credential {
        GraphCredential::ManagedIdentity { client_id: None, endpoint } => {
            endpoint.map(|(url, header)| (url.to_string(), header.expose_secret().to_owned()))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(endpoint(&[]), None);
    let app_service =
        [("IDENTITY_ENDPOINT", "http://169.254.129.2:8081/msi/token"), ("IDENTITY_HEADER", "canary")];
    let (url, header) = ("http://169.254.129.2:8081/msi/token".to_owned(), "canary".to_owned());
    assert_eq!(endpoint(&app_service), Some((url, header)));
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    expect![[r#"
        cannot read the configuration file /nowhere/c.toml: No such file or directory (os error 2)
            name another with --config"#]]
    .assert_eq(&refused(Config::load(Some(Path::new("/nowhere/c.toml")), none(), &[])));
}

#[test]
fn receivers_are_rows_with_secrets_of_their_own_each_with_its_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let [url, secret] = ["url", "secret"].map(|name| folder.path().join(name));
    std::fs::write(&url, "https://hooks.example.com/services/canary?key=canary\n").unwrap();
    let whsec = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    std::fs::write(&secret, whsec).unwrap();
    let rows = format!(
        "[[events]]\nurl_file = {url:?}\nformat = \"slack\"\nquiet_window = \"0s\"\ntypes = [\"user.parked\"]\n\
         [[events]]\nurl = \"https://pager.example.com\"\nsecret_file = [{secret:?}, {secret:?}]\n"
    );
    let config = Config::parse("c.toml", &(text(&[]) + &rows), none(), &[]).unwrap();
    let [slack, pager] = &config.events[..] else { panic!("{:?}", config.events) };
    assert!(slack.url.expose_secret().ends_with("?key=canary") && slack.slack && slack.secrets.is_empty());
    assert_eq!((slack.quiet_window, slack.types.len()), (Duration::ZERO, 1));
    assert_eq!((pager.secrets.len(), pager.secrets[1].expose_secret().len(), pager.slack), (2, 24, false));
    assert_eq!((pager.quiet_window, pager.types.len()), (Duration::from_secs(900), 6));
    let shown = config.print() + &config.to_json().to_string() + &format!("{config:?}");
    assert!(
        shown.contains("events[1].quiet_window") && !shown.contains("canary") && !shown.contains("whsec")
    );
}
