//! What is shown: provenance, reports, warnings, and never a secret.

use super::*;

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let public = [
        ("service.public_url", r#""https://sync.example.com/""#),
        ("service.client_state_secret", r#""the first, long enough 123""#),
    ];
    let warnings = |changes: Pairs<'_>| valid(&[&public, changes].concat(), &[]).warnings.join("\n");
    assert_eq!(warnings(&[]), "");
    expect!["service.public_url is not set: Graph cannot notify us, and only the poll finds changes"]
        .assert_eq(&valid(&[], &[]).warnings.join("\n"));
    expect![
        "c.toml:13:19: attributes.roles.owner is not cxone, but [[roles]] is empty: no role is given or taken"
    ]
    .assert_eq(&warnings(&[("attributes.roles", r#"{ owner = "entra" }"#)]));
    expect![
        "c.toml:13:20: attributes.active.owner is cxone: whoever is disabled in Entra stays active in CXone"
    ]
    .assert_eq(&warnings(&[("attributes.active", r#"{ owner = "cxone" }"#)]));
    expect![[r#"
        c.toml:14:18: attributes.emails.tie has no effect: the owner is not newest
        c.toml:13:18: attributes.team.owner has no effect: attributes.team.from is empty"#]]
    .assert_eq(&warnings(&[
        ("attributes.team", r#"{ owner = "cxone" }"#),
        ("attributes.emails", r#"{ tie = "cxone" }"#),
    ]));
    let rows = format!("{}[[roles]]\ngroup = \"{G1}\"\nrole = \"agent\"\n", text(&public));
    expect!["[[roles]] has rows, but attributes.roles.owner is cxone: roles are not touched after a user is created"].assert_eq(&Config::parse("c.toml", &rows, none(), &[]).unwrap().warnings.join("\n"));
}

#[test]
#[cfg(unix)]
fn a_file_that_others_may_read_or_write_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let warnings = |text: &str, mode| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::load(Some(&path), [("G", "canary"), ("C", "canary")], &[]).unwrap();
        config.warnings.into_iter().filter(|it| it.contains("others may")).count()
    };
    let without = text(&[("graph.client_secret", r#""${G}""#), ("cxone.client_secret", r#""${C}""#)]);
    assert_eq!(warnings(&text(&[]), 0o600), 0);
    assert_eq!(warnings(&text(&[]), 0o644), 1);
    assert_eq!(warnings(&text(&[]), 0o666), 2);
    assert_eq!(warnings(&without, 0o644), 0, "no secret in it");
}

const CANARY: &str = "canary-Zm9vYmFyYmF6cXV4";

#[test]
fn no_secret_is_ever_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, CANARY).unwrap();
    let (inline, file) = (format!("\"{CANARY}-long-enough\""), format!("{:?}", path.to_str().unwrap()));
    let config = valid(
        &[
            ("service.client_state_secret", &inline),
            ("service.admin_token_file", &file),
            ("graph.client_secret", "\"${G}\""),
        ],
        &[("G", CANARY), ("CXONE_SYNC__CXONE__CLIENT_SECRET", CANARY)],
    );
    let GraphCredential::Secret { secret, .. } = &config.graph.credential else { panic!() };
    assert_eq!(secret.expose_secret(), CANARY);
    let (print, json) = (config.print(), config.to_json().to_string());
    let loaded = Ok(config);
    for shown in [&format!("{loaded:?}"), &format!("{loaded:#?}"), &print, &json, &report(&loaded)] {
        assert!(!shown.contains("canary"), "{shown}");
    }
    assert_eq!(print.matches("= (set)").count(), 4, "{print}");
    let origin = format!("# content of {}, from c.toml:", path.display());
    assert!(print.contains(&origin), "{print}");
}

#[test]
fn no_secret_is_in_an_error() {
    // Every secret with something wrong about it, or about what is beside it.
    let wrong = format!("\" {CANARY}\"");
    let broken = format!("\"{CANARY} ${{{CANARY}\"");
    for path in keys::all().iter().filter(|key| key.kind.is_secret()).map(|key| key.path.as_str()) {
        for value in [&wrong, &broken, &format!("{{ {} = 1 }}", "x"), &format!("[\"{CANARY}\", 1]")] {
            let loaded = match path.split_once("[].") {
                None => load(&[(path, value)], &[]),
                Some((list, name)) => {
                    let rows = format!("{}[[{list}]]\n{name} = {value}\n", text(&[]));
                    Config::parse("c.toml", &rows, none(), &[])
                }
            };
            let errors = refused(loaded);
            assert!(!errors.contains("canary"), "{errors}");
        }
    }
}

#[test]
fn print_says_where_each_value_comes_from() {
    let base = text(&[("graph.tenant_id", "\"${TENANT}\""), ("attributes.name", r#"{ owner = "newest" }"#)]);
    let rows = format!("[[roles]]\ngroup = \"{G1}\"\nrole = \"agent\"\n");
    let environment = [("TENANT", TENANT), ("CXONE_SYNC__CXONE__CLIENT_SECRET", "canary")];
    let flags = [("sync.mode".to_owned(), "observe".to_owned())];
    let config = Config::parse("c.toml", &(base + &rows), environment, &flags).unwrap();
    let print = config.print();
    expect![[r#"
        [service]
        public_listen = "0.0.0.0:8080"                              # default
        private_listen = "127.0.0.1:8081"                           # default
        private_socket = "cxone-sync.sock"                          # default
        max_body_bytes = "4MiB"                                     # default
        max_connections = 512                                       # default

        [store]
        path = "cxone-sync.redb"                                    # default
        cache = "64MiB"                                             # default

        [graph]
        tenant_id = "3f0c2a9e-1111-4222-8333-444455556666"          # from c.toml:4
        client_id = "app"                                           # from c.toml:2
        client_secret = (set)                                       # from c.toml:3
        managed_identity = false                                    # default
        cloud = "global"                                            # default
        base_url = "https://graph.microsoft.com/v1.0"               # follows from graph.cloud
        login_url = "https://login.microsoftonline.com"             # follows from graph.cloud
        max_connections = 10                                        # default

        [cxone]
        scim_url = "https://{subdomain}.api.nicecxone.com/scim/v2"  # default
        token_url = "https://{subdomain}.api.nicecxone.com/oauth/token"  # default
        subdomain = "contoso"                                       # from c.toml:6
        grant = "client_credentials"                                # default
        client_id = "cx"                                            # from c.toml:7
        client_secret = (set)                                       # environment CXONE_SYNC__CXONE__CLIENT_SECRET
        max_connections = 10                                        # default
        trust_baseline_for = "0s"                                   # default
        dialect = "auto"                                            # default
        match = ["externalId", "userName"]                          # default

        [sync]
        mode = "observe"                                            # flag sync.mode
        create = true                                               # default
        on_delete = "deactivate"                                    # default
        poll_interval = "15m"                                       # default
        poll_interval_min = "2m"                                    # default
        full_compare_interval = "24h"                               # default
        recheck_after = "60s"                                       # default
        max_attempts = 12                                           # default
        burst_threshold = 50                                        # default

        [scope]
        groups = []                                                 # default
        exclude_groups = []                                         # default
        rules = []                                                  # default

        [attributes]
        userName.from = "[userPrincipalName]"                       # default
        userName.owner = "entra"                                    # default
        userName.tie = "entra"                                      # default
        userName.create_only = false                                # default
        externalId.from = "[objectId]"                              # default
        externalId.owner = "entra"                                  # default
        externalId.tie = "entra"                                    # default
        externalId.create_only = true                               # default
        givenName.from = "[givenName]"                              # default
        givenName.owner = "newest"                                  # from c.toml:10
        givenName.tie = "entra"                                     # default
        givenName.create_only = false                               # default
        familyName.from = "[surname]"                               # default
        familyName.owner = "newest"                                 # from c.toml:10
        familyName.tie = "entra"                                    # default
        familyName.create_only = false                              # default
        displayName.from = "[displayName]"                          # default
        displayName.owner = "entra"                                 # default
        displayName.tie = "entra"                                   # default
        displayName.create_only = false                             # default
        emails.from = "Coalesce([mail], [userPrincipalName])"       # default
        emails.owner = "entra"                                      # default
        emails.tie = "entra"                                        # default
        emails.create_only = false                                  # default
        phoneNumbers.from = "[mobilePhone]"                         # default
        phoneNumbers.owner = "cxone"                                # default
        phoneNumbers.tie = "entra"                                  # default
        phoneNumbers.create_only = false                            # default
        active.from = "[accountEnabled]"                            # default
        active.owner = "entra"                                      # default
        active.tie = "entra"                                        # default
        roles.owner = "cxone"                                       # default
        roles.tie = "entra"                                         # default

        [guard]
        protected_users = []                                        # default
        protected_roles = []                                        # default
        deactivations.per_hour = 50                                 # default
        deactivations.per_day = 200                                 # default
        deactivations.percent_per_hour = 100                        # default
        deactivations.percent_per_day = 5                           # default
        role_removals.per_hour = 100                                # default
        role_removals.per_day = 400                                 # default
        role_removals.percent_per_hour = 100                        # default
        role_removals.percent_per_day = 10                          # default
        privileged_grants.per_hour = 5                              # default
        privileged_grants.per_day = 10                              # default
        privileged_grants.percent_per_hour = 100                    # default
        privileged_grants.percent_per_day = 100                     # default

        [retention]
        journal = "7d"                                              # default
        history = "90d"                                             # default

        [log]
        format = "auto"                                             # default
        level = "info"                                              # default

        [telemetry]
        sample_percent = 100                                        # default

        [[roles]]
        group = "11111111-2222-4333-8444-555566667777"              # from c.toml:12
        role = "agent"                                              # from c.toml:13
        privileged = false                                          # default
    "#]].assert_eq(&print);

    let json = config.to_json();
    let of = |key: &str| {
        let settings = json["settings"].as_array().unwrap();
        settings.iter().find(|it| it["key"] == key).unwrap().to_string()
    };
    expect![[
        r#"{"key":"sync.mode","value":"observe","secret":false,"origin":{"kind":"flag","flag":"sync.mode"}}"#
    ]]
    .assert_eq(&of("sync.mode"));
    expect![[r#"{"key":"graph.tenant_id","value":"3f0c2a9e-1111-4222-8333-444455556666","secret":false,"origin":{"kind":"file","file":"c.toml","line":4,"column":13}}"#]].assert_eq(&of("graph.tenant_id"));
    expect![[r#"{"key":"cxone.client_secret","value":"(set)","secret":true,"origin":{"kind":"environment","variable":"CXONE_SYNC__CXONE__CLIENT_SECRET"}}"#]].assert_eq(&of("cxone.client_secret"));
    expect![[r#"{"key":"scope.groups","value":[],"secret":false,"origin":{"kind":"default"}}"#]]
        .assert_eq(&of("scope.groups"));
}

#[test]
fn reports() {
    let valid = load(&[("sync.mode", r#""observe""#)], &[]);
    expect![[r#"
        warning: service.public_url is not set: Graph cannot notify us, and only the poll finds changes
        the configuration is valid: 1 warning, 9 values set, 80 by default
    "#]]
    .assert_eq(&report(&valid));
    let wrong = load(&[("sync.mode", r#""read""#)], &[]);
    expect![[r#"
        c.toml:10:8: sync.mode: "read" is none of write, observe
            the nearest is "write"

        1 error: the configuration cannot be used
    "#]]
    .assert_eq(&report(&wrong));
    expect![[r#"{"valid":false,"errors":[{"place":{"kind":"file","file":"c.toml","line":10,"column":8},"what":"sync.mode: \"read\" is none of write, observe","todo":"the nearest is \"write\""}],"warnings":[]}"#]].assert_eq(&report_json(&wrong).to_string());
}
