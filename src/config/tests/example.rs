//! The schema and the example file against the table of keys.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_schema_knows_every_key() {
    let schema = schema();
    for key in keys::all().iter().filter(|key| !matches!(key.kind, kind::Kind::Refused(_))) {
        let pointer = key.path.replace("[]", "/items").replace('.', "/properties/");
        let property = schema.pointer(&format!("/properties/{pointer}"));
        assert_eq!(property.and_then(|it| it["description"].as_str()), Some(key.doc), "{}", key.path);
    }
    assert_eq!(schema["properties"]["sync"]["properties"]["max_attempts"]["default"], 12);
    assert_eq!(schema["properties"]["sync"]["additionalProperties"], false);
}

const EXAMPLE: &str = include_str!("../../../deploy/cxone-sync.example.toml");

#[test]
fn the_example_can_be_used_as_it_is() {
    let environment = [
        ("CLIENT_STATE_SECRET", "long enough for its purpose"),
        ("GRAPH_CLIENT_SECRET", "x"),
        ("CXONE_CLIENT_SECRET", "x"),
    ];
    let config =
        Config::parse("example", EXAMPLE, environment, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn the_example_documents_every_key_with_its_real_default() {
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        let name = name.strip_prefix("next.").unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        line.starts_with("[[") || (line.contains(" = ") && name.chars().all(plain))
    };
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_key(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let names = [
        "CLIENT_STATE_SECRET",
        "ADMIN_TOKEN",
        "HISTORY_KEY",
        "GRAPH_CLIENT_SECRET",
        "CXONE_CLIENT_SECRET",
        "CXONE_ACCESS_KEY_SECRET",
        "CXONE_TOKEN",
        "CXONE_NEXT_SECRET",
        "EVENTS_URL",
        "EVENTS_SECRET",
    ];
    let variables =
        names.iter().map(|name| ((*name).to_owned(), "long enough for its purpose".into())).collect();
    let mut problems = Vec::new();
    let tree = tree::read_file("example", &uncommented, &variables, &mut problems);
    let tree = tree.unwrap_or_else(|problems| panic!("{problems:?}"));
    let documented = Settings::collect(tree, problems);
    // A secret and its file are alternatives, and the files are not here.
    let expected = |problem: &&Problem| !problem.what.ends_with("are both given");
    assert_eq!(documented.problems.iter().filter(expected).collect::<Vec<_>>(), [] as [&Problem; 0]);

    let in_force = valid(&[], &[]);
    let mut seen = BTreeSet::new();
    for key in keys::all().iter().filter(|key| !matches!(key.kind, kind::Kind::Refused(_))) {
        let path = key.path.replace("[]", "[0]");
        assert!(documented.given(&path).is_some(), "{path} is not documented in the example");
        seen.insert(path.clone());
        let follows =
            in_force.settings().iter().find(|it| it.path == path && matches!(it.origin, Origin::Follows(_)));
        let default = match (key.default, follows) {
            (Some(default), _) => tree::read_value(default, &Origin::Default).unwrap(),
            (None, Some(follows)) => {
                tree::read_value(&follows.value.as_ref().unwrap().to_string(), &Origin::Default).unwrap()
            }
            (None, None) => continue,
        };
        let Ok(default) = key.kind.check(&default) else { panic!("the default of {path}") };
        let shown = documented.set(&path).map(|set| show::value(key, &set.ready));
        assert_eq!(shown, Some(show::value(key, &default)), "the default of {path} in the example");
    }
    assert!(seen.len() > 80, "{}", seen.len());
}
