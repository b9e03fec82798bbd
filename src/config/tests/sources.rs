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
        &["attributes.displayName.from", "cxone.match"],
        &["graph.client_secret", "retention.history"],
    );
    assert!(!format!("{:?}", values(&other, "")).contains("another"));
}
