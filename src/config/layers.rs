//! File, environment and flags, laid one over the other.

use std::ffi::OsString;

use super::errors::{Origin, Problem};
use super::keys;
use super::kind::nearest;
use super::tree::{self, Node, Plain, Variables};

/// `file`: its name for messages and its text. An `Err`: the file is not TOML. Whatever else is wrong
/// goes to `problems`.
pub fn merge(
    file: Option<(&str, &str)>,
    variables: &Variables,
    flags: &[(String, String)],
    problems: &mut Vec<Problem>,
) -> Result<Node, Vec<Problem>> {
    let mut merged = Node::empty();
    if let Some((name, text)) = file {
        merged.overlay(tree::read_file(name, text, variables, problems)?);
    }
    for (variable, value) in variables {
        if let Some(rest) = variable.strip_prefix(super::PREFIX) {
            match from_variable(variable, rest, value) {
                Ok(node) => merged.overlay(node),
                Err(problem) => problems.push(problem),
            }
        } else if let Some(meant) = nearly_ours(variable) {
            let place = Some(Origin::Environment(variable.clone()));
            let what = "nothing reads this variable".to_owned();
            problems.push(Problem { place, what, todo: format!("write {meant}") });
        }
    }
    for (path, value) in flags {
        match from_flag(path, value) {
            Ok(node) => merged.overlay(node),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(merged)
}

fn from_variable(variable: &str, rest: &str, value: &OsString) -> Result<Node, Problem> {
    let origin = Origin::Environment(variable.to_owned());
    let segments: Vec<&str> = rest.split("__").collect();
    let path = canonical(&segments, &origin)?;
    let Some(value) = value.to_str() else {
        let what = format!("{path}: the value is not UTF-8");
        return Err(Problem { place: Some(origin), what, todo: String::new() });
    };
    Ok(understand(&path, value, origin).under(&path))
}

fn from_flag(path: &str, value: &str) -> Result<Node, Problem> {
    let origin = Origin::Flag(path.to_owned());
    let segments: Vec<&str> = path.split('.').collect();
    let path = canonical(&segments, &origin)?;
    if keys::find(&path).is_some_and(|key| key.kind.is_secret()) {
        let variable = keys::variable(&path);
        let what = format!("{path} is a secret: everybody on this host can read a command line");
        let todo = format!("use {path}_file, or the environment variable {variable}");
        return Err(Problem { place: Some(origin), what, todo });
    }
    Ok(understand(&path, value, origin).under(&path))
}

/// A value that came as text: TOML where the key can take what that gives, else the text itself.
fn understand(path: &str, value: &str, origin: Origin) -> Node {
    let parsed = tree::read_value(value, &origin);
    let meant = |parsed: &Node| keys::find(path).is_none_or(|key| key.kind.means(&parsed.plain));
    parsed.filter(meant).unwrap_or_else(|| Node {
        plain: Plain::Text(value.to_owned()),
        origin,
        expanded: false,
    })
}

/// The key or section as the table spells it: variables come in capitals.
fn canonical(segments: &[&str], origin: &Origin) -> Result<String, Problem> {
    let lists = keys::all().iter().filter_map(|key| key.path.split_once("[]"));
    if let [first, _, ..] = segments
        && let Some((list, _)) = lists.into_iter().find(|(list, _)| list.eq_ignore_ascii_case(first))
    {
        let what = format!("{list} is a list of tables, and is given as a whole");
        let example = match list {
            "roles" => r#"{ group = "…", role = "…" }"#,
            _ => r#"{ url = "…", secret = "…" }"#,
        };
        let todo = format!("write {}=[{example}]", keys::variable(list));
        return Err(Problem { place: Some(origin.clone()), what, todo });
    }
    for key in keys::all() {
        let names: Vec<&str> = key.path.split('.').collect();
        let same = |(name, segment): (&&str, &&str)| {
            name.trim_end_matches("[]").eq_ignore_ascii_case(segment.trim_end_matches("[]"))
        };
        if names.len() < segments.len() || !names.iter().zip(segments).all(same) {
            continue;
        }
        return Ok(names[..segments.len()].join(".").trim_end_matches("[]").to_owned());
    }
    let path = match origin {
        Origin::Flag(path) => path.clone(),
        _ => segments.join(".").to_lowercase(),
    };
    Err(unknown(&path, origin))
}

/// A variable that is one underscore short of being ours. Without this `CXONE_SYNC_SYNC_MODE=observe`
/// would be passed over, and the service would write.
fn nearly_ours(variable: &str) -> Option<String> {
    let one = |name: &str| name.replace("__", "_").to_uppercase();
    // These are read elsewhere: `--log-level` and its like have variables of their own.
    let keys = keys::all().iter().filter(|key| !key.path.starts_with("log."));
    let variable = one(variable);
    if !variable.starts_with(&one(super::PREFIX)) {
        return None;
    }
    keys.map(keys::Key::variable).find(|ours| one(ours) == variable)
}

pub fn unknown(path: &str, origin: &Origin) -> Problem {
    let nearest = nearest_key(path);
    let spelled = match origin {
        Origin::Environment(_) => keys::variable(&nearest),
        _ => nearest,
    };
    let what = match path {
        "" => "it names no key".to_owned(),
        _ => format!("{path} is not a known key"),
    };
    Problem { place: Some(origin.clone()), what, todo: format!("the nearest known key is {spelled}") }
}

/// A known key that was probably meant. A key that only stands in the wrong section is found by its
/// name; otherwise the section, if it is known, is trusted.
fn nearest_key(path: &str) -> String {
    let path = keys::pattern(path);
    let (section, name) = path.rsplit_once('.').unwrap_or(("", &path));
    let known = || keys::all().iter().map(|key| key.path.as_str());
    let moved: Vec<&str> = known()
        // What stands in the rows of a list stands nowhere else.
        .filter(|key| !key.contains("[]"))
        .filter(|key| key.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case(name)))
        .collect();
    if let [only] = moved[..] {
        return only.to_owned();
    }
    // A section or key of this section, at this depth.
    let depth = path.split('.').count();
    let at_depth = |key: &'static str| {
        let end = key.match_indices('.').nth(depth - 1).map_or(key.len(), |(at, _)| at);
        &key[..end]
    };
    let beside = known().filter(|key| section.is_empty() || key.starts_with(&format!("{section}.")));
    let near = nearest(&path, beside.map(at_depth));
    near.or_else(|| nearest(&path, known())).unwrap_or_default().to_owned()
}
