//! The filter language of RFC 7644 section 3.4.2.2, read strictly and applied to users.
//!
//! Names and operators are compared without case; texts too, unless the attribute is exact.

use serde_json::{Map, Value};

use super::path::AttrPath;
use super::schema::{Attribute, Type};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Present(AttrPath),
    Compare(AttrPath, Operator, Value),
    /// `emails[type eq "work"]`: one value fulfils the whole of it.
    Within(AttrPath, Box<Filter>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Operator {
    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            "co" => Self::Contains,
            "sw" => Self::StartsWith,
            "ew" => Self::EndsWith,
            "gt" => Self::Greater,
            "ge" => Self::GreaterOrEqual,
            "lt" => Self::Less,
            "le" => Self::LessOrEqual,
            _ => return None,
        })
    }
}

/// A filter over users, as in `?filter=`.
pub(super) fn parse(text: &str) -> Result<Filter, String> {
    Parser { rest: text, within: None }.whole()
}

/// A filter over the values of one attribute, as in `emails[…]`.
pub(super) fn parse_within(attribute: &'static Attribute, text: &str) -> Result<Filter, String> {
    Parser { rest: text, within: Some(attribute) }.whole()
}

/// Deeper nesting is refused rather than followed.
const DEEPEST: usize = 32;

struct Parser<'a> {
    rest: &'a str,
    within: Option<&'static Attribute>,
}

impl<'a> Parser<'a> {
    fn whole(mut self) -> Result<Filter, String> {
        let filter = self.or(0)?;
        if self.rest.trim_start().is_empty() {
            Ok(filter)
        } else {
            Err(format!("{:?} is left over", self.rest))
        }
    }

    /// `or` binds less than `and`.
    fn or(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filter = self.and(depth)?;
        while self.keyword("or") {
            filter = Filter::Or(Box::new(filter), Box::new(self.and(depth)?));
        }
        Ok(filter)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filter = self.term(depth)?;
        while self.keyword("and") {
            filter = Filter::And(Box::new(filter), Box::new(self.term(depth)?));
        }
        Ok(filter)
    }

    fn term(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEEPEST {
            return Err("it is nested too deeply".to_owned());
        }
        self.rest = self.rest.trim_start();
        if self.symbol('(') {
            return self.closed(depth);
        }
        let before = self.rest;
        let word = self.word();
        if word.eq_ignore_ascii_case("not") {
            self.rest = self.rest.trim_start();
            if self.symbol('(') {
                return Ok(Filter::Not(Box::new(self.closed(depth)?)));
            }
        }
        if word.is_empty() {
            return Err(format!("an attribute was expected at {before:?}"));
        }
        let path = self.path(word)?;
        if self.within.is_none() && self.symbol('[') {
            if !matches!(path.last().kind, Type::Complex(_)) {
                return Err(format!("{word} has no parts to filter by"));
            }
            let end = closing(self.rest).ok_or("a bracket is not closed")?;
            let inside = parse_within(path.last(), &self.rest[..end])?;
            self.rest = &self.rest[end + 1..];
            return Ok(Filter::Within(path, Box::new(inside)));
        }
        let operator = self.spaced_word()?;
        if operator.eq_ignore_ascii_case("pr") {
            return Ok(Filter::Present(path));
        }
        let operator = Operator::parse(operator).ok_or_else(|| format!("{operator:?} is not an operator"))?;
        if !self.rest.starts_with(' ') {
            return Err("a space and a value were expected".to_owned());
        }
        let value = self.value()?;
        if value.is_boolean() && !matches!(operator, Operator::Equal | Operator::NotEqual) {
            return Err("a truth value can only be equal or not".to_owned());
        }
        Ok(Filter::Compare(path, operator, value))
    }

    fn closed(&mut self, depth: usize) -> Result<Filter, String> {
        let filter = self.or(depth + 1)?;
        self.rest = self.rest.trim_start();
        if self.symbol(')') { Ok(filter) } else { Err("a parenthesis is not closed".to_owned()) }
    }

    fn path(&self, word: &str) -> Result<AttrPath, String> {
        match self.within {
            None => AttrPath::parse(word),
            Some(attribute) => {
                let part = attribute.part(word).ok_or_else(|| format!("{} has no {word}", attribute.name))?;
                Ok(AttrPath(vec![part]))
            }
        }
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let rest = self.rest.strip_prefix(symbol);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find([' ', '(', ')', '[', ']', '"']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn spaced_word(&mut self) -> Result<&'a str, String> {
        if !self.rest.starts_with(' ') {
            return Err(format!("an operator was expected at {:?}", self.rest));
        }
        self.rest = self.rest.trim_start();
        Ok(self.word())
    }

    /// `and` or `or` between two terms; nothing is consumed if it is not there.
    fn keyword(&mut self, keyword: &str) -> bool {
        let before = self.rest;
        if self.spaced_word().is_ok_and(|word| word.eq_ignore_ascii_case(keyword))
            && self.rest.starts_with([' ', '('])
        {
            return true;
        }
        self.rest = before;
        false
    }

    /// A JSON text, number, `true`, `false` or `null`.
    fn value(&mut self) -> Result<Value, String> {
        self.rest = self.rest.trim_start();
        let end = match self.rest.strip_prefix('"') {
            Some(text) => 2 + ends_before(text, '"').ok_or("a text is not closed")?,
            None => self.rest.find([' ', ')']).unwrap_or(self.rest.len()),
        };
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        match serde_json::from_str(value) {
            Ok(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null)) => Ok(value),
            _ => Err(format!("{value:?} is not a value")),
        }
    }
}

/// Where `end` stands, escaped characters passed over.
fn ends_before(text: &str, end: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = c == end && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

/// Where the bracket closes, brackets inside texts passed over.
fn closing(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

impl Filter {
    /// Every attribute the filter asks about, by its first name.
    pub(super) fn attributes(&self) -> Vec<&'static str> {
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                let mut all = left.attributes();
                all.extend(right.attributes());
                all
            }
            Self::Not(inner) => inner.attributes(),
            Self::Present(path) | Self::Compare(path, ..) | Self::Within(path, _) => vec![path.0[0].name],
        }
    }

    /// The name, if the filter is `userName eq "…"` and nothing else.
    pub(super) fn user_name(&self) -> Option<&str> {
        match self {
            Self::Compare(path, Operator::Equal, Value::String(name)) if path.0[0].name == "userName" => {
                Some(name)
            }
            _ => None,
        }
    }

    /// Whether only users with a certain value can fit.
    pub(super) fn names_a_value(&self) -> bool {
        match self {
            Self::And(left, right) => left.names_a_value() || right.names_a_value(),
            Self::Or(left, right) => left.names_a_value() && right.names_a_value(),
            Self::Within(_, inner) => inner.names_a_value(),
            Self::Compare(_, operator, _) => *operator == Operator::Equal,
            Self::Not(_) | Self::Present(_) => false,
        }
    }

    pub(super) fn matches(&self, object: &Map<String, Value>) -> bool {
        match self {
            Self::And(left, right) => left.matches(object) && right.matches(object),
            Self::Or(left, right) => left.matches(object) || right.matches(object),
            Self::Not(inner) => !inner.matches(object),
            Self::Present(path) => values(object, path).iter().any(|value| is_present(value)),
            Self::Within(path, inner) => {
                let mut entries = values(object, path).into_iter().filter_map(Value::as_object);
                entries.any(|entry| inner.matches(entry))
            }
            Self::Compare(path, Operator::NotEqual, wanted) => {
                !Self::Compare(path.clone(), Operator::Equal, wanted.clone()).matches(object)
            }
            Self::Compare(path, operator, wanted) => {
                let found = values(object, path);
                if wanted.is_null() {
                    return found.is_empty();
                }
                // A multi-valued attribute is compared by its values' `value`.
                let (exact, found): (bool, Vec<&Value>) = match path.last().part("value") {
                    Some(part) => {
                        (part.case_exact, found.iter().filter_map(|entry| entry.get("value")).collect())
                    }
                    None => (path.last().case_exact, found),
                };
                found.into_iter().any(|value| compare(value, *operator, wanted, exact))
            }
        }
    }
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(parts) => !parts.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// What stands at the path, lists opened.
fn values<'a>(object: &'a Map<String, Value>, path: &AttrPath) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = object.get(path.0[0].name).into_iter().collect();
    for (index, _) in path.0.iter().enumerate() {
        found = found
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(entries) => entries.iter().collect(),
                other => vec![other],
            })
            .collect();
        if let Some(next) = path.0.get(index + 1) {
            found = found.into_iter().filter_map(|value| value.get(next.name)).collect();
        }
    }
    found
}

fn compare(value: &Value, operator: Operator, wanted: &Value, exact: bool) -> bool {
    let (Value::String(value), Value::String(wanted)) = (value, wanted) else {
        return operator == Operator::Equal && value == wanted;
    };
    let fold = |text: &str| if exact { text.to_owned() } else { text.to_lowercase() };
    let (value, wanted) = (fold(value), fold(wanted));
    match operator {
        Operator::Equal => value == wanted,
        Operator::NotEqual => value != wanted,
        Operator::Contains => value.contains(&wanted),
        Operator::StartsWith => value.starts_with(&wanted),
        Operator::EndsWith => value.ends_with(&wanted),
        Operator::Greater => value > wanted,
        Operator::GreaterOrEqual => value >= wanted,
        Operator::Less => value < wanted,
        Operator::LessOrEqual => value <= wanted,
    }
}

#[cfg(test)]
mod tests;
