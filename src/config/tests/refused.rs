//! What is refused, and in which words.

use super::*;

#[test]
fn values_of_the_wrong_kind() {
    check_refused(
        &[("service.public_listen", r#""localhost""#)],
        &expect![[r#"
        c.toml:2:17: service.public_listen: "localhost" is not an address to listen on
            write an IP address and a port: 0.0.0.0:8080, 127.0.0.1:8081, [::1]:8081"#]],
    );
    check_refused(
        &[("service.public_listen", "8080")],
        &expect![[r#"
        c.toml:2:17: service.public_listen: a number where a string is expected
            put it in quotes"#]],
    );
    check_refused(
        &[("service.max_body_bytes", r#""4 megabytes""#)],
        &expect![[r#"
        c.toml:2:18: service.max_body_bytes: not a size
            write it as "4MiB", "64KiB" or a number of bytes"#]],
    );
    check_refused(
        &[("service.max_body_bytes", "1")],
        &expect!["c.toml:2:18: service.max_body_bytes: 1B is not between 64KiB and 64MiB"],
    );
    check_refused(
        &[("service.admin_token", r#""short-canary""#)],
        &expect![[r#"
        c.toml:2:15: service.admin_token: the secret has 12 bytes, and needs at least 16
            make one with: openssl rand -base64 32"#]],
    );
    check_refused(
        &[("service.client_state_secret", r#"["long enough, at least 24 bytes", "short-canary"]"#)],
        &expect![[r#"
            c.toml:2:58: service.client_state_secret: the secret has 12 bytes, and needs at least 24
                make one with: openssl rand -base64 32"#]],
    );
    check_refused(
        &[("service.client_state_secret", "[]")],
        &expect![[r#"
        c.toml:2:23: service.client_state_secret: the list is empty
            give at least one"#]],
    );
    check_refused(
        &[("service.public_url", r#""http://sync.example.com""#)],
        &expect![[r#"
        c.toml:2:14: service.public_url: "http://sync.example.com" is not encrypted
            use https: tokens and people's data travel over it (http is for 127.0.0.1, ::1 and localhost only)"#]],
    );
    check_refused(
        &[("service.public_url", r#""https://ana:canary@sync.example.com""#)],
        &expect![[r#"
        c.toml:2:14: service.public_url: the URL holds a user name or a password
            remove it"#]],
    );
    check_refused(
        &[("service.public_url", r#""sync.example.com""#)],
        &expect![[r#"
        c.toml:2:14: service.public_url: "sync.example.com" is not a URL: relative URL without a base
            write it as https://host/path"#]],
    );
    check_refused(
        &[("graph.tenant_id", r#""common""#)],
        &expect![[r#"
        c.toml:4:13: graph.tenant_id: "common" is neither a GUID nor a domain
            give the directory (tenant) id, a GUID, or a domain such as contoso.onmicrosoft.com"#]],
    );
    check_refused(
        &[("graph.client_secret", "12345")],
        &expect![[r#"
        c.toml:4:17: graph.client_secret: a number where a string is expected
            put it in quotes"#]],
    );
    check_refused(
        &[("graph.managed_identity", r#""yes""#)],
        &expect!["c.toml:5:20: graph.managed_identity: a string where true or false is expected"],
    );
    check_refused(
        &[("graph.cloud", r#""us-gov""#)],
        &expect![[r#"
        c.toml:5:9: graph.cloud: "us-gov" is none of global, usgov, usgov-dod, china
            the nearest is "usgov""#]],
    );
    check_refused(
        &[("graph.base_url", r#""http://127.0.0.1.example.com""#)],
        &expect![[r#"
        c.toml:5:12: graph.base_url: "http://127.0.0.1.example.com" is not encrypted
            use https: tokens and people's data travel over it (http is for 127.0.0.1, ::1 and localhost only)"#]],
    );
    check_refused(
        &[("cxone.max_connections", "0")],
        &expect![[r#"
        c.toml:9:19: cxone.max_connections: 0 is not between 1 and 10
            CXone gives a client 10 connections at once"#]],
    );
    check_refused(
        &[("cxone.max_connections", "11")],
        &expect![[r#"
        c.toml:9:19: cxone.max_connections: 11 is not between 1 and 10
            CXone gives a client 10 connections at once"#]],
    );
    check_refused(
        &[("cxone.match", "[]")],
        &expect![[r#"
        c.toml:9:9: cxone.match: the list is empty
            name at least one of externalId, userName, email, id"#]],
    );
    check_refused(
        &[("cxone.match", r#"["userName", "email", "userName"]"#)],
        &expect![[r#"c.toml:9:9: cxone.match: "userName" stands twice in the list"#]],
    );
    check_refused(
        &[("cxone.match", r#"["username"]"#)],
        &expect![[r#"
        c.toml:9:10: cxone.match: "username" is none of externalId, userName, email, id
            the nearest is "userName""#]],
    );
    check_refused(
        &[("cxone.match", r#""userName""#)],
        &expect![[r#"
        c.toml:9:9: cxone.match: a string where a list of strings is expected
            write a list: ["…", "…"]"#]],
    );
    check_refused(
        &[("cxone.subdomain", r#""evil.example/""#)],
        &expect![[r#"
        c.toml:8:13: cxone.subdomain: "evil.example/" is not part of a host name
            write the first part of the host name only, such as na1 or contoso"#]],
    );
    check_refused(
        &[("sync.poll_interval", r#""7d""#)],
        &expect![[r#"
        c.toml:10:17: sync.poll_interval: "7d" is not at least 1s and less than 7d
            Graph forgets a delta link after 7 days"#]],
    );
    check_refused(
        &[("sync.poll_interval", r#""5m""#), ("sync.poll_interval_min", r#""6m""#)],
        &expect![[r#"
        c.toml:11:21: sync.poll_interval_min is longer than sync.poll_interval, which is 5m
            write 5m or less: it is for when notifications get lost"#]],
    );
    check_refused(
        &[("sync.poll_interval", "900")],
        &expect![[r#"
        c.toml:10:17: sync.poll_interval: 900 has no unit
            write "900s" if seconds are meant"#]],
    );
    check_refused(
        &[("sync.recheck_after", r#""a minute""#)],
        &expect![[r#"
        c.toml:10:17: sync.recheck_after: "a minute" is not a duration
            write it as "90s", "15m", "24h" or "7d""#]],
    );
    check_refused(
        &[("retention.history", r#""1h""#)],
        &expect![[r#"
        c.toml:10:11: retention.history: "1h" is not at least 1d and less than 36600d
            the guard counts the writes of a day in it"#]],
    );
    check_refused(
        &[("guard.deactivations", r#"{ percent_per_day = 101 }"#)],
        &expect![[r#"
            c.toml:10:37: guard.deactivations.percent_per_day: 101 is not between 1 and 100
                per_day = 0 holds everything"#]],
    );
    check_refused(
        &[("guard.deactivations", "50")],
        &expect![[r#"
        c.toml:10:17: guard.deactivations is a section, not a number
            write [guard.deactivations] with its keys below"#]],
    );
    check_refused(
        &[("scope.groups", r#"["Agents"]"#)],
        &expect![[r#"
        c.toml:10:11: scope.groups: "Agents" is not an object id (a GUID such as 3f0c2a9e-1111-4222-8333-444455556666)
            give the group's object id, not its name: anybody who may create a group could copy a name"#]],
    );
    check_refused(
        &[("attributes.emails", r#"{ owner = "azure" }"#)],
        &expect![[r#"
            c.toml:10:20: attributes.emails.owner: "azure" is none of entra, cxone, newest, hold
                the nearest is "azure_ad""#]],
    );
    check_refused(
        &[("attributes.active", r#"{ from = "[mail]" }"#)],
        &expect![[r#"
        c.toml:10:19: attributes.active.from: "[mail]" cannot be the source of active
            it follows the account's state, [accountEnabled], and [scope]; to leave some people out, write scope.rules"#]],
    );
    check_refused(
        &[("attributes.active", "{ create_only = true }")],
        &expect![[r#"
        c.toml:10:26: attributes.active.create_only: cannot be set
            owner = "cxone" does the same: CXone's word holds once the user is there"#]],
    );
    check_refused(
        &[("attributes.roles", r#"{ from = "[jobTitle]" }"#)],
        &expect![[r#"
        c.toml:10:18: attributes.roles.from: cannot be set
            roles come from the table of groups and roles: write [[roles]] with group and role"#]],
    );
    check_refused(
        &[("attributes.name", r#"{ from = "[displayName]" }"#)],
        &expect![[r#"
        c.toml:10:17: attributes.name.from: cannot be set
            a name has three parts: write attributes.givenName.from, .middleName.from and .familyName.from"#]],
    );
    check_refused(
        &[("log.level", r#""cxone_sync=loud""#)],
        &expect![[r#"
        c.toml:10:9: log.level: "cxone_sync=loud" is not a log filter: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
            write error, warn, info, debug or trace, or cxone_sync=debug,info"#]],
    );
}

#[test]
fn impossible_combinations() {
    check_refused(
        &[("service.private_listen", r#""0.0.0.0:8080""#)],
        &expect![[r#"
        c.toml:2:18: private_listen 0.0.0.0:8080 and public_listen 0.0.0.0:8080 are the same address
            give them different ports: the admin API must not be reachable from where Graph calls"#]],
    );
    check_refused(
        &[("service.private_listen", r#""127.0.0.1:8080""#)],
        &expect![[r#"
        c.toml:2:18: private_listen 127.0.0.1:8080 and public_listen 0.0.0.0:8080 are the same address
            give them different ports: the admin API must not be reachable from where Graph calls"#]],
    );
    check_refused(
        &[("service.public_url", r#""https://sync.example.com""#)],
        &expect![[r#"
        service.client_state_secret is missing: it proves that a notification comes from our own subscription
            set client_state_secret in [service], or client_state_secret_file, or CXONE_SYNC__SERVICE__CLIENT_STATE_SECRET"#]],
    );
    check_refused(
        &[("service.tls_certificate_file", r#""tls.crt""#)],
        &expect![[r#"
        service.tls_key_file is missing: tls_certificate_file needs its key
            set tls_key_file in [service], or CXONE_SYNC__SERVICE__TLS_KEY_FILE"#]],
    );
    check_refused(
        &[("graph.client_secret", "")],
        &expect![[r#"
        [graph] has no credential
            set one of client_secret, certificate_file with private_key_file, federated_token_file, or managed_identity = true"#]],
    );
    check_refused(
        &[("graph.managed_identity", "true")],
        &expect![[r#"
        c.toml:5:20: [graph] has two kinds of credential: client_secret, and managed_identity
            keep one of them"#]],
    );
    check_refused(
        &[("graph.federated_token_file", r#""token""#)],
        &expect![[r#"
        c.toml:5:24: [graph] has two kinds of credential: client_secret, and federated_token_file
            keep one of them"#]],
    );
    check_refused(
        &[("graph.client_secret", ""), ("graph.certificate_file", r#""/nowhere/graph.crt""#)],
        &expect![[r#"
            c.toml:4:20: graph.certificate_file: cannot read /nowhere/graph.crt: No such file or directory (os error 2)
            graph.private_key_file is missing: the credential is certificate_file and private_key_file
                set private_key_file in [graph], or CXONE_SYNC__GRAPH__PRIVATE_KEY_FILE"#]],
    );
    check_refused(
        &[("graph.client_id", "")],
        &expect![[r#"
        graph.client_id is missing
            set client_id in [graph], or CXONE_SYNC__GRAPH__CLIENT_ID"#]],
    );
    check_refused(
        &[("cxone.subdomain", "")],
        &expect![[r#"
        cxone.subdomain is missing: cxone.scim_url has {subdomain} in it
            set subdomain in [cxone], or CXONE_SYNC__CXONE__SUBDOMAIN"#]],
    );
    check_refused(
        &[("cxone.grant", r#""access_key""#)],
        &expect![[r#"
        cxone.access_key_id is missing: the grant access_key needs it
            set access_key_id in [cxone], or CXONE_SYNC__CXONE__ACCESS_KEY_ID
        cxone.access_key_secret is missing: the grant access_key needs it
            set access_key_secret in [cxone], or access_key_secret_file, or CXONE_SYNC__CXONE__ACCESS_KEY_SECRET"#]],
    );
    check_refused(
        &[("cxone.grant", r#""bearer""#), ("cxone.client_id", ""), ("cxone.client_secret", "")],
        &expect![[r#"
            cxone.token is missing: the grant bearer needs it
                set token in [cxone], or token_file, or CXONE_SYNC__CXONE__TOKEN"#]],
    );
    check_refused(
        &[("cxone.token", r#""canary""#)],
        &expect![[r#"
        c.toml:9:9: cxone.token is a second kind of credential: the grant client_credentials does not use it
            remove it, or set cxone.grant to what is meant"#]],
    );
    check_refused(
        &[
            ("cxone.discovery", r#""https://cxone.niceincontact.com?tenantId=x""#),
            ("cxone.scim_url", r#""https://x.example/scim""#),
        ],
        &expect![[r#"
            c.toml:9:13: cxone.discovery and cxone.scim_url are both given
                keep one of them: discovery finds scim_url"#]],
    );
    check_refused(
        &[("cxone.discovery", r#""https://cxone.niceincontact.com""#)],
        &expect![[r#"
            c.toml:9:13: cxone.discovery: "https://cxone.niceincontact.com" does not name the tenant
                write it as https://cxone.niceincontact.com?tenantId=…: the id stands in the claims of any of the tenant's tokens; or set scim_url and token_url"#]],
    );
    check_refused(
        &[("cxone.scim_url", r#""http://{subdomain}.example.com/scim/v2""#)],
        &expect![[r#"
        c.toml:9:12: cxone.scim_url: "http://x.example.com/scim/v2" is not encrypted
            use https: tokens and people's data travel over it (http is for 127.0.0.1, ::1 and localhost only)"#]],
    );
    check_refused(
        &[("attributes.externalId", r#"{ from = "" }"#)],
        &expect![[r#"
            c.toml:10:23: cxone.match names externalId, but attributes.externalId.from is empty
                map the attribute, or leave it out of cxone.match"#]],
    );
    check_refused(
        &[("attributes.familyName", r#"{ from = "" }"#)],
        &expect![[r#"
        c.toml:10:23: attributes.familyName.from: not mapped, and CXone creates nobody without it
            give an expression, or set sync.create = false"#]],
    );
    let groups = format!(r#"["{G1}"]"#);
    check_refused(
        &[("scope.groups", &groups), ("scope.exclude_groups", &groups)],
        &expect![[r#"
        c.toml:11:18: group 11111111-2222-4333-8444-555566667777 is in scope.groups and in scope.exclude_groups
            keep it in one of them"#]],
    );
}

#[test]
fn role_tables() {
    let base = text(&[("attributes.roles", r#"{ owner = "entra" }"#)]);
    let rows = |rows: &[(&str, &str)]| {
        let rows =
            rows.iter().map(|(group, role)| format!("[[roles]]\ngroup = \"{group}\"\nrole = \"{role}\"\n"));
        base.clone() + &rows.collect::<String>()
    };
    check_text(
        &rows(&[(G1, "agent"), (G1, "admin")]),
        &[],
        &expect![[
            r#"c.toml:15:9: group 11111111-2222-4333-8444-555566667777 has two roles, "agent" and "admin": give each role a group of its own"#
        ]],
    );
    check_text(
        &rows(&[(G1, "agent"), (G2, "agent")]),
        &[],
        &expect![[
            r#"c.toml:16:8: role "agent" is given by two groups, 11111111-2222-4333-8444-555566667777 and 22222222-2222-4333-8444-555566667777: nest one group in the other, or make one group of them"#
        ]],
    );
    check_text(
        &rows(&[("Agents", "agent")]),
        &[],
        &expect![[r#"
        c.toml:12:9: roles[0].group: "Agents" is not an object id (a GUID such as 3f0c2a9e-1111-4222-8333-444455556666)
            give the group's object id, not its name: anybody who may create a group could copy a name"#]],
    );
    check_text(
        &(base.clone() + "[[roles]]\nrole = \"agent\"\n"),
        &[],
        &expect![[r#"
        c.toml:11:1: roles[0].group is missing
            a row needs a group and a role"#]],
    );
    check_text(
        &(base.clone() + "[roles]\ngroup = \"agent\"\n"),
        &[],
        &expect![[r#"
        c.toml:11:1: roles is a list of tables, not a table
            write [[roles]] with its keys below, once for each row"#]],
    );
    check_text(
        &(base.clone() + "[[roles]]\ngruop = \"agent\"\n"),
        &[],
        &expect![[r#"
        c.toml:11:1: roles[0].group is missing
            a row needs a group and a role
        c.toml:11:1: roles[0].role is missing
            a row needs a group and a role
        c.toml:12:1: roles[0].gruop is not a known key
            the nearest known key is roles[].group"#]],
    );

    let text = rows(&[(G1, "agent"), (G2, "admin")]) + "privileged = true\n";
    let config = Config::parse("c.toml", &text, none(), &[]).unwrap();
    let rows = config.rules.roles.rows();
    assert_eq!(rows.iter().map(|row| row.privileged).collect::<Vec<_>>(), [false, true]);
    assert_eq!((rows[0].group, rows[0].role.as_str()), (G1.parse().unwrap(), "agent"));
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    for (text, expected) in [
        ("[service]\npublic_lisen = 1", "service.public_listen"),
        ("[serivce]\npublic_listen = 1", "service"),
        ("tenant_id = 1", "graph.tenant_id"),
        ("[service]\npoll_interval = \"1m\"", "sync.poll_interval"),
        ("[attributes.username]\nowner = \"entra\"", "attributes.userName"),
        ("[attributes.emails]\nform = \"[mail]\"", "attributes.emails.from"),
        ("[attributes.mail]\nfrom = \"[mail]\"", "attributes.emails"),
        ("[guard.deactivation]\nper_hour = 1", "guard.deactivations"),
        ("[guard]\ndeactivations = { perhour = 1 }", "guard.deactivations.per_hour"),
        ("[cxone]\nclient_secrets = 1", "cxone.client_secret"),
        ("[cxone]\nsecret_file = 1", "cxone.client_secret_file"),
        ("\"roles[0]\" = 1", "roles[]"),
    ] {
        let errors = Config::parse("c.toml", text, none(), &[]).unwrap_err();
        let problem = errors.problems().iter().find(|it| it.what.ends_with("is not a known key"));
        let problem = problem.unwrap_or_else(|| panic!("{text}: {errors}"));
        assert_eq!(problem.todo, format!("the nearest known key is {expected}"), "{text}");
    }
}

#[test]
fn every_error_is_shown_and_says_where() {
    let text = "\
[service]
public_lisen = \"0.0.0.0:80\"
private_listen = \"ü\"   
[graph]
tenant_id = \"${NOWHERE}\"
client_secret = \"${OPEN\"
[sync]
mode = 'read' 
[store]
path = 2024-01-01
";
    check_text(
        text,
        &[
            ("CXONE_SYNC__SYNC__POLL_INTERVAL", "soon"),
            ("CXONE_SYNC__SYNC__POL_INTERVAL", "1m"),
            ("CXONE_SYNC_SYNC_MODE", "observe"),
        ],
        &expect![[r#"
            c.toml:2:1: service.public_lisen is not a known key
                the nearest known key is service.public_listen
            c.toml:3:18: service.private_listen: "ü" is not an address to listen on
                write an IP address and a port: 0.0.0.0:8080, 127.0.0.1:8081, [::1]:8081
            c.toml:5:13: the environment variable NOWHERE is not set
                set it; or write $${ for a dollar sign before a brace
            c.toml:6:17: ${ is not followed by the name of a variable and a }
                write $${ for a dollar sign before a brace
            c.toml:8:8: sync.mode: "read" is none of write, observe
                the nearest is "write"
            c.toml:10:8: store.path: a date where a string is expected
                put it in quotes
            environment variable CXONE_SYNC_SYNC_MODE: nothing reads this variable
                write CXONE_SYNC__SYNC__MODE
            environment variable CXONE_SYNC__SYNC__POLL_INTERVAL: sync.poll_interval: "soon" is not a duration
                write it as "90s", "15m", "24h" or "7d"
            environment variable CXONE_SYNC__SYNC__POL_INTERVAL: sync.pol_interval is not a known key
                the nearest known key is CXONE_SYNC__SYNC__POLL_INTERVAL
            graph.client_id is missing
                set client_id in [graph], or CXONE_SYNC__GRAPH__CLIENT_ID
            cxone.subdomain is missing: cxone.scim_url has {subdomain} in it
                set subdomain in [cxone], or CXONE_SYNC__CXONE__SUBDOMAIN
            cxone.client_id is missing: the grant client_credentials needs it
                set client_id in [cxone], or CXONE_SYNC__CXONE__CLIENT_ID
            cxone.client_secret is missing: the grant client_credentials needs it
                set client_secret in [cxone], or client_secret_file, or CXONE_SYNC__CXONE__CLIENT_SECRET"#]],
    );
}

#[test]
fn what_is_not_toml_is_shown_without_the_line() {
    check_text(
        "[graph]\nclient_secret = \"canary\nx = 1",
        &[],
        &expect![[r#"c.toml:2:24: not TOML: invalid basic string, expected `"`"#]],
    );
    check_text(
        "[graph]\nclient_secret = canary\nclient_id = app",
        &[],
        &expect![[r#"
        c.toml:2:17: not TOML: string values must be quoted, expected literal string
        c.toml:3:13: not TOML: string values must be quoted, expected literal string"#]],
    );
    check_text(
        "[graph]\nclient_id = \"a\"\nclient_id = \"b\"",
        &[],
        &expect!["c.toml:3:1: not TOML: duplicate key"],
    );
}

#[test]
fn no_value_of_any_key_is_a_surprise() {
    let values = [
        "",
        "x",
        "1",
        "-1",
        "99999999999999999999",
        "true",
        "1.5",
        "2024-01-01",
        "[]",
        "[1]",
        "[\"\"]",
        "{}",
        "{ a = 1 }",
        "[{}]",
        "[[1]]",
        "${X}",
    ];
    for key in keys::all() {
        for value in values {
            let environment = [(keys::variable(&key.path), value.to_owned())];
            let loaded = Config::parse("c.toml", &text(&[]), environment, &[]);
            let Err(errors) = loaded else { continue };
            let (section, _) = key.path.split_once(['.', '[']).unwrap();
            let here = errors.problems().iter().any(|problem| problem.what.contains(section));
            assert!(here, "{} = {value}: {errors}", key.path);
        }
    }
}

#[test]
fn receivers_that_cannot_be_told() {
    let rows = |rows: &str| text(&[]) + rows;
    check_text(
        &rows("[[events]]\n[[events]]\nurl = \"http://example.com/canary\"\nsecret = \"whsec_c2hvcnQ=\"\n"),
        &[],
        &expect![[r#"
            c.toml:9:1: events[0].url is missing
                say where to: url or url_file
            c.toml:9:1: events[0].secret is missing: by it a receiver knows that an event is ours
                make one with: echo whsec_$(openssl rand -base64 32)
            c.toml:11:7: events[1].url: the URL is not encrypted
                use https (http is for 127.0.0.1, ::1 and localhost only)
            c.toml:12:10: events[1].secret: the secret is 5 bytes of base64, and must be 24 to 64
                make one with: echo whsec_$(openssl rand -base64 32)"#]],
    );
    check_text(
        &rows("[[events]]\nurl = \"https://a.example/x\"\nformat = \"slack\"\ntypes = [\"guard.triped\"]\n"),
        &[],
        &expect![[r#"
            c.toml:12:10: events[0].types: "guard.triped" is none of guard.tripped, user.parked, subscription.lost, circuit.open, credential.expiring, coverage.low
                the nearest is "guard.tripped""#]],
    );
}
