//! Configuration as it is written, before it is understood: values that know where they stand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{Origin, Problem};

/// The variables of the process. What is not Unicode is an error only where it is used.
pub type Variables = BTreeMap<String, OsString>;

/// A value and where it stands. No `Debug`: it may be a secret.
#[derive(Clone)]
pub struct Node {
    pub plain: Plain,
    pub origin: Origin,
    /// It holds text that `${VAR}` brought in.
    pub expanded: bool,
}

#[derive(Clone)]
pub enum Plain {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// Something has been said about it already.
    Broken,
    /// What no key takes, by its name: a date, a fraction.
    Other(&'static str),
}

#[derive(Clone)]
pub struct Entry {
    pub name: String,
    /// Where the name stands.
    pub named_at: Origin,
    pub node: Node,
}

impl Plain {
    pub fn what(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Broken => "unknown",
            Self::Other(what) => what,
        }
    }
}

impl Node {
    pub fn empty() -> Self {
        Self { plain: Plain::Table(Vec::new()), origin: Origin::Default, expanded: false }
    }

    /// Lays another table over this one: tables merge key by key, all else is replaced.
    pub fn overlay(&mut self, upper: Node) {
        match (&mut self.plain, upper.plain) {
            (Plain::Table(entries), Plain::Table(upper)) => {
                for new in upper {
                    match entries.iter_mut().find(|entry| entry.name == new.name) {
                        Some(entry) => entry.node.overlay(new.node),
                        None => entries.push(new),
                    }
                }
            }
            (_, plain) => *self = Node { plain, origin: upper.origin, expanded: upper.expanded },
        }
    }

    /// Where it stands, and all that is in it.
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins = vec![self.origin.clone()];
        match &self.plain {
            Plain::List(items) => origins.extend(items.iter().flat_map(Self::origins)),
            Plain::Table(entries) => origins.extend(entries.iter().flat_map(|entry| entry.node.origins())),
            _ => {}
        }
        origins
    }

    /// The tables that put this node at a dotted path.
    pub fn under(self, path: &str) -> Node {
        path.rsplit('.').fold(self, |node, name| {
            let (origin, named_at) = (node.origin.clone(), node.origin.clone());
            let entry = Entry { name: name.to_owned(), named_at, node };
            Node { plain: Plain::Table(vec![entry]), origin, expanded: false }
        })
    }
}

/// Reads a TOML file. `${VAR}` in its strings is expanded; what is wrong with that goes to
/// `problems`. An `Err`: it is not TOML.
pub fn read_file(
    name: &str,
    text: &str,
    variables: &Variables,
    problems: &mut Vec<Problem>,
) -> Result<Node, Vec<Problem>> {
    let lines = Lines { name: name.into(), text };
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser guessed after an error would only bring follow-up errors.
        let problem = |error: toml::de::Error| {
            let place = error.span().map(|span| lines.origin(span.start));
            // Only the message: the error's own display shows the line, and with it a secret.
            let what = format!("not TOML: {}", error.message());
            Problem { place, what, todo: String::new() }
        };
        return Err(errors.into_iter().map(problem).collect());
    }
    let mut reader = Reader { origin: &|at| lines.origin(at), variables: Some(variables), problems };
    let at = table.span().start;
    Ok(reader.table(table.get_ref(), at))
}

/// Reads one value as TOML; `None` if it is not TOML.
pub fn read_value(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut none = Vec::new();
    Some(Reader { origin: &|_| origin.clone(), variables: None, problems: &mut none }.node(&value))
}

struct Lines<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        Origin::File { name: self.name.clone(), line, column }
    }
}

struct Reader<'a> {
    origin: &'a dyn Fn(usize) -> Origin,
    /// `None`: `${VAR}` means nothing here.
    variables: Option<&'a Variables>,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, at: usize) -> Node {
        let mut entries = Vec::new();
        for (name, value) in table {
            let named_at = (self.origin)(name.span().start);
            entries.push(Entry { name: name.get_ref().to_string(), named_at, node: self.node(value) });
        }
        Node { plain: Plain::Table(entries), origin: (self.origin)(at), expanded: false }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let at = value.span().start;
        let origin = (self.origin)(at);
        let mut expanded = false;
        let plain = match value.get_ref() {
            DeValue::Table(table) => return self.table(table, at),
            DeValue::Array(array) => Plain::List(array.iter().map(|value| self.node(value)).collect()),
            DeValue::Boolean(flag) => Plain::Flag(*flag),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Plain::Other("a number too large"), Plain::Number),
            DeValue::Float(_) => Plain::Other("a fraction"),
            DeValue::Datetime(_) => Plain::Other("a date"),
            DeValue::String(text) => match self.variables {
                None => Plain::Text(text.to_string()),
                Some(variables) => {
                    let (text, problems) = expand(text, variables);
                    expanded = text.1;
                    let plain = if problems.is_empty() { Plain::Text(text.0) } else { Plain::Broken };
                    for (what, todo) in problems {
                        self.problems.push(Problem { place: Some(origin.clone()), what, todo });
                    }
                    plain
                }
            },
        };
        Node { plain, origin, expanded }
    }
}

/// The text with its variables filled in, whether there were any, and what went wrong.
fn expand(text: &str, variables: &Variables) -> ((String, bool), Vec<(String, String)>) {
    let (mut out, mut expanded, mut problems) = (String::new(), false, Vec::new());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) = after.split_once('}').unwrap_or(("", ""));
            rest = after;
            expanded = true;
            match variable(name, variables) {
                Ok(value) => out.push_str(value),
                Err(problem) => problems.push(problem),
            }
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    ((out, expanded), problems)
}

fn variable<'a>(name: &str, variables: &'a Variables) -> Result<&'a str, (String, String)> {
    let escape = "write $${ for a dollar sign before a brace".to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        // What stands there is not shown: it may be the rest of a secret.
        return Err(("${ is not followed by the name of a variable and a }".to_owned(), escape));
    }
    let value = variables.get(name).ok_or_else(|| {
        (format!("the environment variable {name} is not set"), format!("set it; or {escape}"))
    })?;
    value.to_str().ok_or_else(|| {
        (format!("the environment variable {name} is not UTF-8"), "set it to Unicode text".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let variables: Variables = [("A".to_owned(), "one".into()), ("B_2".to_owned(), "t$o".into())].into();
        let expanded = |text: &str| {
            let ((text, _), problems) = expand(text, &variables);
            assert_eq!(problems, [], "{text}");
            text
        };
        assert_eq!(expanded("no dollar"), "no dollar");
        assert_eq!(expanded("${A}"), "one");
        assert_eq!(expanded("<${A}-${B_2}>"), "<one-t$o>");
        assert_eq!(expanded("$${A}"), "${A}");
        assert_eq!(expanded("a$$b"), "a$b");
        assert_eq!(expanded("^x$"), "^x$");
        assert_eq!(expanded("$1 ü $"), "$1 ü $");
        for wrong in ["${C}", "${", "${A", "${}", "${A B}", "${A:-x}"] {
            assert_eq!(expand(wrong, &variables).1.len(), 1, "{wrong}");
        }
    }
}
