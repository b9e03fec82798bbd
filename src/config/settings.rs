//! The merged layers, held against the table of keys: every value checked, with its origin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outbound::Url;
use secrecy::SecretString;

use super::errors::{Origin, Problem};
use super::keys::{self, NAME_KEYS, NAME_PARTS};
use super::kind::{Complaint, Kind, Ready, parse_issuer, parse_url};
use super::layers::unknown;
use super::tree::{self, Entry, Node, Plain};
use super::units;

/// Every value that was given or has a default. What is wrong is in `problems`, and has its default
/// here, so that the rest can be looked at too.
#[derive(Default)]
pub struct Settings {
    ready: BTreeMap<String, Set>,
    /// Also what was given and is wrong.
    given: BTreeMap<String, Origin>,
    /// How many rows the lists of tables have.
    n_rows: BTreeMap<String, usize>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
    /// A secret stands in the file itself.
    pub secret_in_file: bool,
}

pub struct Set {
    pub ready: Ready,
    pub origin: Origin,
}

/// A file with a secret or a key in it is not larger than this.
const MOST_FILE_BYTES: u64 = 1 << 20;

impl Settings {
    pub fn collect(merged: Node, problems: Vec<Problem>) -> Self {
        Self::collect_some(merged, problems, |_| true)
    }

    /// Only the keys that are wanted: the others need not be right, but must be known.
    pub fn collect_some(merged: Node, problems: Vec<Problem>, wanted: fn(&str) -> bool) -> Self {
        let mut settings = Self { problems, ..Self::default() };
        let mut leaves = BTreeMap::new();
        settings.flatten("", merged, &mut leaves);
        leaves.retain(|path, node: &mut Node| {
            if wanted(path) {
                return true;
            }
            // What was said of it already, such as that a variable is not set.
            let origins = node.origins();
            settings
                .problems
                .retain(|problem| !problem.place.as_ref().is_some_and(|at| origins.contains(at)));
            false
        });
        settings.given.extend(leaves.iter().map(|(path, node)| (path.clone(), node.origin.clone())));
        for (path, node) in &leaves {
            settings.check(path, node);
        }
        settings.read_secret_files();
        settings.name_parts_follow_name();
        settings.fill_in_defaults();
        settings
    }

    /// Down to the keys of the table; what is not in it is a problem.
    fn flatten(&mut self, path: &str, node: Node, leaves: &mut BTreeMap<String, Node>) {
        let pattern = keys::pattern(path);
        if keys::find(&pattern).is_some() {
            leaves.insert(path.to_owned(), node);
            return;
        }
        let below =
            |end: &str| keys::all().iter().any(|key| key.path.starts_with(&format!("{pattern}{end}")));
        let wrong = |what: &str, todo: String, node: &Node| Problem {
            place: Some(node.origin.clone()),
            what: format!("{path} is {what}, not {}", node.plain.what()),
            todo,
        };
        match node.plain {
            Plain::Table(entries) if path.is_empty() || below(".") => {
                for Entry { name, named_at, node } in entries {
                    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                    let pattern = keys::pattern(&path);
                    // A quoted name may hold anything; `"roles[0]"` is not the row of a list.
                    let plain = path.rsplit('.').next().is_some_and(|name| !name.contains('['));
                    if plain && keys::all().iter().any(|key| starts(&key.path, &pattern)) {
                        self.flatten(&path, node, leaves);
                    } else {
                        self.problems.push(unknown(&path, &named_at));
                    }
                }
            }
            Plain::List(rows) if below("[].") => {
                self.n_rows.insert(path.to_owned(), rows.len());
                for (n, row) in rows.into_iter().enumerate() {
                    self.given.insert(format!("{path}[{n}]"), row.origin.clone());
                    self.flatten(&format!("{path}[{n}]"), row, leaves);
                }
            }
            _ if below("[].") => {
                let todo = format!("write [[{path}]] with its keys below, once for each row");
                self.problems.push(wrong("a list of tables", todo, &node));
            }
            _ => {
                let todo = match &node.origin {
                    Origin::Environment(variable) => format!("write {variable}__ and the name of a key"),
                    Origin::Flag(flag) => format!("write {flag}. and the name of a key"),
                    _ => format!("write [{path}] with its keys below"),
                };
                self.problems.push(wrong("a section", todo, &node));
            }
        }
    }

    fn check(&mut self, path: &str, node: &Node) {
        let key = key(path);
        match key.kind.check(node) {
            Ok(ready) => {
                self.secret_in_file |=
                    key.kind.is_secret() && !node.expanded && matches!(node.origin, Origin::File { .. });
                self.ready.insert(path.to_owned(), Set { ready, origin: node.origin.clone() });
            }
            Err(complaints) => {
                for complaint in complaints {
                    self.complain(path, node.origin.clone(), complaint);
                }
            }
        }
    }

    fn complain(&mut self, path: &str, origin: Origin, complaint: Complaint) {
        let place = Some(complaint.at.unwrap_or(origin));
        let what = format!("{path}: {}", complaint.what);
        self.problems.push(Problem { place, what, todo: complaint.todo });
    }

    fn read_secret_files(&mut self) {
        for key in keys::all() {
            let (Kind::SecretFile(of) | Kind::SecretFiles(of)) = key.kind else { continue };
            for (path, of) in self.rows(&key.path).into_iter().zip(self.rows(of)) {
                self.read_secret_file(&path, &of);
            }
        }
    }

    fn read_secret_file(&mut self, path: &str, of: &str) {
        let Some(named_by) = self.given.get(path).cloned() else { return };
        if let Some(other) = self.given.get(of) {
            let what = format!("{of} and {path} are both given");
            let todo = format!("keep one of them; the other is at {other}");
            self.problems.push(Problem { place: Some(named_by), what, todo });
            return;
        }
        self.given.insert(of.to_owned(), named_by.clone());
        let mut secrets = Vec::new();
        for file in self.texts(path) {
            let file = PathBuf::from(file);
            let origin = Origin::SecretFile { path: file.clone(), named_by: Box::new(named_by.clone()) };
            match read_secret(&file, key(of).kind, &origin) {
                Ok(secret) => secrets.extend(secret),
                Err(complaint) => {
                    let what = format!("{}: {}", file.display(), complaint.what);
                    self.complain(path, named_by.clone(), Complaint { what, ..complaint });
                }
            }
            self.ready.insert(of.to_owned(), Set { ready: Ready::Secrets(secrets.clone()), origin });
        }
    }

    fn name_parts_follow_name(&mut self) {
        for part in NAME_PARTS {
            for name in NAME_KEYS {
                let path = format!("attributes.{}.{name}", part.name());
                let together = self.ready.get(&format!("attributes.name.{name}"));
                if !self.given.contains_key(&path)
                    && let Some(Set { ready, origin }) = together
                {
                    let set = Set { ready: ready.clone(), origin: origin.clone() };
                    self.ready.insert(path, set);
                }
            }
        }
    }

    fn fill_in_defaults(&mut self) {
        for key in keys::all() {
            for path in self.rows(&key.path) {
                if let Some(default) = key.default
                    && !self.ready.contains_key(&path)
                {
                    self.ready.insert(path, Set { ready: default_of(key, default), origin: Origin::Default });
                }
            }
        }
    }

    /// Every value, by its path.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Ready)> {
        self.ready.iter().map(|(path, set)| (path.as_str(), &set.ready))
    }

    // What the sections are built from. A path that is not in the table is a slip of ours.

    pub fn set(&self, path: &str) -> Option<&Set> {
        key(path);
        self.ready.get(path)
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.set(path)?.ready {
            Ready::Text(text) => Some(text),
            _ => unreachable!("{path} is text in the table of keys"),
        }
    }

    pub fn flag(&self, path: &str) -> bool {
        match self.set(path).map(|set| &set.ready) {
            Some(Ready::Flag(flag)) => *flag,
            None => false,
            _ => unreachable!("{path} is a flag in the table of keys"),
        }
    }

    pub fn number(&self, path: &str) -> Option<u64> {
        match &self.set(path)?.ready {
            Ready::Number(number) => Some(*number),
            _ => unreachable!("{path} is a number in the table of keys"),
        }
    }

    /// A number with a default, small enough for its limits to say that it fits.
    pub fn count(&self, path: &str) -> usize {
        let number = self.number(path).expect("a count has a default");
        usize::try_from(number).expect("the limits of counts fit")
    }

    pub fn duration(&self, path: &str) -> Duration {
        let text = self.text(path).expect("a duration has a default");
        units::duration(text).expect("durations were checked")
    }

    pub fn texts(&self, path: &str) -> Vec<String> {
        match self.set(path).map(|set| &set.ready) {
            Some(Ready::Texts(texts)) => texts.clone(),
            None => Vec::new(),
            _ => unreachable!("{path} is a list in the table of keys"),
        }
    }

    pub fn secrets(&self, path: &str) -> Vec<SecretString> {
        match self.set(path).map(|set| &set.ready) {
            Some(Ready::Secrets(secrets)) => secrets.clone(),
            None => Vec::new(),
            _ => unreachable!("{path} is a secret in the table of keys"),
        }
    }

    pub fn secret(&self, path: &str) -> Option<SecretString> {
        self.secrets(path).into_iter().next()
    }

    pub fn url(&self, path: &str) -> Option<Url> {
        let text = self.text(path)?;
        Some(parse_url(text).expect("URLs were checked"))
    }

    pub fn issuer(&self, path: &str) -> Option<Url> {
        let text = self.text(path)?;
        Some(parse_issuer(text).expect("URLs were checked"))
    }

    pub fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    pub fn n_rows(&self, list: &str) -> usize {
        self.n_rows.get(list).copied().unwrap_or_default()
    }

    /// A pattern of the table of keys, once for each row of its list; else as it is.
    fn rows(&self, pattern: &str) -> Vec<String> {
        match pattern.split_once("[]") {
            Some((list, rest)) => (0..self.n_rows(list)).map(|n| format!("{list}[{n}]{rest}")).collect(),
            None => vec![pattern.to_owned()],
        }
    }

    /// Where it was set, rightly or wrongly, by itself or as a `_file`.
    pub fn given(&self, path: &str) -> Option<&Origin> {
        self.given.get(path)
    }

    /// Drops a value that is not in force.
    pub fn forget(&mut self, path: &str) {
        self.ready.remove(path);
    }

    /// Records that it follows from another key.
    pub fn follow(&mut self, path: &str, value: &str, from: &'static str) {
        let ready = Ready::Text(value.to_owned());
        self.ready.insert(path.to_owned(), Set { ready, origin: Origin::Follows(from) });
    }

    pub fn problem(&mut self, path: &str, what: impl Into<String>, todo: impl Into<String>) {
        let place = self.given.get(path).cloned();
        self.problems.push(Problem { place, what: what.into(), todo: todo.into() });
    }

    /// Said once, and not of what was given wrongly.
    pub fn missing(&mut self, path: &str, why: &str) {
        let missing = format!("{path} is missing");
        let said = self.problems.iter().any(|problem| problem.what.starts_with(&missing));
        if said || self.given.contains_key(path) {
            return;
        }
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let (section, name) = path.rsplit_once('.').expect("keys have a section");
        let file = if find(path).kind.is_secret() { format!(", or {name}_file") } else { String::new() };
        let todo = format!("set {name} in [{section}]{file}, or {}", keys::variable(path));
        self.problems.push(Problem { place: None, what: missing + &why, todo });
    }

    pub fn warn(&mut self, path: &str, what: &str) {
        let place = self.given.get(path).map(|origin| format!("{origin}: ")).unwrap_or_default();
        self.warnings.push(format!("{place}{what}"));
    }

    /// A file of PEM, such as a certificate.
    pub fn read_pem(&mut self, path: &str, label: &str) -> Option<Vec<u8>> {
        let file = self.path(path)?;
        let problem = match read_small(&file) {
            Ok(bytes) if String::from_utf8_lossy(&bytes).contains(label) => return Some(bytes),
            Ok(_) => (format!("{path}: {} has no line with {label}", file.display()), "give a PEM file"),
            Err(error) => (format!("{path}: cannot read {}: {error}", file.display()), ""),
        };
        self.problem(path, problem.0, problem.1);
        None
    }
}

fn find(path: &str) -> &'static keys::Key {
    keys::find(path).unwrap_or_else(|| unreachable!("{path} is not in the table of keys"))
}

fn key(path: &str) -> &'static keys::Key {
    find(&keys::pattern(path))
}

/// Whether the key is this, or lies below it.
fn starts(key: &str, path: &str) -> bool {
    key.strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("[]."))
}

fn default_of(key: &keys::Key, default: &str) -> Ready {
    let node = tree::read_value(default, &Origin::Default).expect("defaults are TOML");
    match key.kind.check(&node) {
        Ok(ready) => ready,
        Err(complaints) => unreachable!("the default of {}: {complaints:?}", key.path),
    }
}

fn read_secret(file: &Path, kind: Kind, origin: &Origin) -> Result<Vec<SecretString>, Complaint> {
    let complaint = |what: String, todo: &str| Complaint { at: None, what, todo: todo.to_owned() };
    let bytes = read_small(file).map_err(|error| complaint(format!("cannot read it: {error}"), ""))?;
    let mut text =
        String::from_utf8(bytes).map_err(|_| complaint("the secret is not UTF-8".to_owned(), ""))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    let node = Node { plain: Plain::Text(text), origin: origin.clone(), expanded: false };
    match kind.check(&node) {
        Ok(Ready::Secrets(secrets)) => Ok(secrets),
        Ok(_) => unreachable!("only secrets have files"),
        Err(mut complaints) => Err(complaints.remove(0)),
    }
}

fn read_small(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}
