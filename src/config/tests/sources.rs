//! Reading a configuration again, and only the parts of it that decide.

use super::*;

fn sources(environment: Pairs<'_>) -> Sources {
    valid(&[], environment).sources().clone()
}

#[track_caller]
fn check_deciding(text: &str, expected: &Expect) {
    expected.assert_eq(&sources(&[]).deciding("new.toml", text).unwrap_err().to_string());
}

#[test]
fn what_does_not_decide_may_be_missing_or_wrong() {
    let new = r#"
        [service]
        public_listen = "nowhere"
        client_state_secret = "${NOT_SET}"
        [graph]
        client_secret_file = "/run/secrets/that/is/not/here"
        [sync]
        create = false
        poll_interval = "soon"
        [scope]
        rules = ["IsPresent([mail])"]
        [guard]
        deactivations = { per_hour = 3 }
    "#;
    let deciding = sources(&[]).deciding("new.toml", new).unwrap();
    assert!(!deciding.rules.create);
    assert_eq!(deciding.rules.scope.rules.len(), 1);
    assert_eq!(deciding.guard.budgets.deactivations.per_hour, Some(3));
    assert!(sources(&[]).deciding("new.toml", "").is_ok(), "everything that decides has a default");
}

#[test]
fn what_decides_must_be_right() {
    let new = r#"
[graph]
tenant_id = "${NOT_SET}"
[scope]
groups = ["Agents"]
rules = ["${NOT_SET_EITHER}"]
[attributes]
displayName = { from = "Coalese([mail])" }
[syncc]
create = false
"#;
    check_deciding(
        new,
        &expect![[r#"
            new.toml:5:11: scope.groups: "Agents" is not an object id (a GUID such as 3f0c2a9e-1111-4222-8333-444455556666)
                give the group's object id, not its name: anybody who may create a group could copy a name
            new.toml:6:10: the environment variable NOT_SET_EITHER is not set
                set it; or write $${ for a dollar sign before a brace
            new.toml:8:24: attributes.displayName.from: not an expression
                there is no function Coalese; did you mean Coalesce?
                  Coalese([mail])
                  ^
            new.toml:9:2: syncc is not a known key
                the nearest known key is sync"#]],
    );
    check_deciding("[scope\n", &expect![[r#"new.toml:1:7: not TOML: unclosed table, expected `]`"#]]);
}

#[test]
fn our_environment_goes_over_another_file_too() {
    let ours = sources(&[("CXONE_SYNC__SYNC__CREATE", "false"), ("GROUP", G1)]);
    let new = "[sync]\ncreate = true\n[scope]\ngroups = [\"${GROUP}\"]\n";
    let rules = ours.deciding("new.toml", new).unwrap().rules;
    assert!(!rules.create);
    assert_eq!(rules.scope.groups, [G1.parse().unwrap()]);
}

#[test]
fn a_file_is_read_again_as_it_is_now() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    std::fs::write(&path, text(&[])).unwrap();
    let environment = [("CXONE_SYNC__SYNC__CREATE", "false"), ("OTHER", "canary")];
    let config = Config::load(Some(&path), environment, &[]).unwrap();
    std::fs::write(&path, text(&[("sync.max_attempts", "3")])).unwrap();
    let again = config.sources().load().unwrap();
    assert_eq!((config.sync.max_attempts, again.sync.max_attempts), (12, 3));
    assert!(!again.rules.create, "the environment is as it was");
    assert!(!format!("{config:?}").contains("canary"));

    std::fs::remove_file(&path).unwrap();
    assert!(again.sources().load().is_err());
    assert!(valid(&[], &[]).sources().load().is_err(), "a text cannot be read again");
}

#[test]
fn what_has_changed_is_told_by_what_it_takes() {
    let row = |role: &str| format!("[[roles]]\ngroup = \"{G1}\"\nrole = \"{role}\"\n");
    let values = |changes: Pairs<'_>, rows: &str| {
        let config = Config::parse("c.toml", &(text(changes) + rows), none(), &[]);
        config.unwrap_or_else(|errors| panic!("{errors}")).values().clone()
    };
    #[track_caller]
    fn check(a: &Values, b: &Values, exchanged: &[&str], restart: &[&str]) {
        assert_eq!((a.exchanged(b), a.need_restart(b)), (owned(exchanged), owned(restart)));
        assert_eq!(b.exchanged(a), owned(exchanged));
    }
    fn owned(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }
    let before = values(&[], "");
    check(&before, &values(&[("sync.max_attempts", "12")], ""), &[], &[]);
    check(&before, &values(&[("sync.max_attempts", "3")], &row("a")), &["roles", "sync.max_attempts"], &[]);
    check(&values(&[], &row("a")), &values(&[], &row("b")), &["roles"], &[]);
    let other = [
        ("graph.client_secret", r#""another""#),
        ("cxone.match", r#"["userName"]"#),
        ("retention.history", r#""10d""#),
        ("attributes.displayName", r#"{ from = "[mail]" }"#),
    ];
    check(
        &before,
        &values(&other, ""),
        &["attributes.displayName.from", "cxone.match", "graph.client_secret"],
        &["retention.history"],
    );
    assert!(!format!("{:?}", values(&other, "")).contains("another"));
}

#[test]
fn the_same_text_is_read_again_with_what_its_files_hold_now() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("c.toml"), folder.path().join("secret"));
    std::fs::write(&secret, "one\n").unwrap();
    let named = format!("{:?}", secret.to_str().unwrap());
    std::fs::write(&file, text(&[("graph.client_secret", ""), ("graph.client_secret_file", &named)]))
        .unwrap();
    let config = Config::load(Some(&file), none(), &[]).unwrap();
    // Whoever edits the file has not asked for it to be put in force.
    std::fs::write(&file, "broken").unwrap();
    let again = config.sources().reread().unwrap();
    assert_eq!(config.values().changed(again.values()), [""; 0]);
    std::fs::write(&secret, "two").unwrap();
    let again = again.sources().reread().unwrap();
    assert_eq!(config.values().changed(again.values()), ["graph.client_secret"]);
    assert_eq!(config.values().need_restart(again.values()), [""; 0]);
    let GraphCredential::Secret { secret: now, .. } = &again.graph.credential else { panic!() };
    assert_eq!(now.expose_secret(), "two");
    for half in ["", " half"] {
        std::fs::write(&secret, half).unwrap();
        assert!(refused(config.sources().reread()).contains("the secret"));
    }
    assert!(!format!("{:?}", again.sources()).contains("client_secret"), "the text may hold secrets");
}

#[test]
fn next_credentials_have_of_the_first_what_they_have_not_themselves() {
    let next = |changes: Pairs<'_>| valid(changes, &[]).cxone.next;
    assert!(next(&[]).is_none());
    let of_secret = next(&[("cxone.next.client_secret", r#""new""#)]);
    let Some(CxoneAuth::ClientCredentials { client_id, client_secret, .. }) = of_secret else { panic!() };
    assert_eq!((client_id.as_str(), client_secret.expose_secret()), ("cx", "new"));
    let key = [
        ("cxone.grant", r#""access_key""#),
        ("cxone.access_key_id", r#""K1""#),
        ("cxone.access_key_secret", r#""S1""#),
        ("cxone.next.access_key_id", r#""K2""#),
        ("cxone.next.access_key_secret", r#""S2""#),
    ];
    let Some(CxoneAuth::AccessKey { client_id, access_key_id, access_key_secret, .. }) = next(&key) else {
        panic!()
    };
    assert_eq!((client_id.as_str(), access_key_id.as_str()), ("cx", "K2"));
    assert_eq!(access_key_secret.expose_secret(), "S2");
    check_refused(
        &[("cxone.next.token", r#""t""#)],
        &expect![[r#"
        c.toml:9:14: cxone.next.token is another kind of credential: the grant client_credentials does not use it
            remove it: both credentials are of the kind that cxone.grant names"#]],
    );
}

#[test]
fn ends_are_dates_or_times_of_what_there_is() {
    let config = valid(
        &[
            ("graph.client_secret_expires", r#""2027-03-31""#),
            ("cxone.client_secret_expires", r#""2027-03-31T12:00:00+02:00""#),
            ("cxone.token_expires", r#""2027-03-31""#),
        ],
        &[],
    );
    let at = |text: &str| text.parse().unwrap();
    assert_eq!(
        config.expiries,
        [
            ("graph.client_secret", at("2027-03-31T00:00:00Z")),
            ("cxone.client_secret", at("2027-03-31T10:00:00Z"))
        ]
    );
    assert!(
        config
            .warnings
            .iter()
            .any(|it| it.ends_with("cxone.token_expires has no effect: there is no cxone.token"))
    );
    check_refused(
        &[("graph.client_secret_expires", r#""soon""#)],
        &expect![[r#"
        c.toml:5:25: graph.client_secret_expires: "soon" is neither a date nor a time
            write "2027-03-31" or "2027-03-31T12:00:00Z""#]],
    );
}
