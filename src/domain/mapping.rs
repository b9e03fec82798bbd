//! Entra's provisioning expressions: how a target attribute comes out of a user's properties.
//!
//! The language is the one administrators already write in the Entra portal, so that a mapping can
//! be pasted from there. Everything that can be wrong with an expression is found when it is
//! parsed: unknown names, counts of arguments, bad patterns and date formats. What remains for
//! `evaluate` is what only the user's values can tell.
//!
//! Pure, total and bounded: no clock, no randomness, no panic, no loop but over the expression
//! itself. `docs/mapping.md` describes it for administrators; a test evaluates every example there.
//!
//! Source: "Reference for writing expressions for attribute mappings in Microsoft Entra ID"
//! (learn.microsoft.com, entra/identity/app-provisioning/functions-for-customizing-application-data).
//! What that page leaves open follows "Microsoft Entra Connect Sync: Functions Reference".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::user::Value;

mod catalogue;
mod dates;
mod diacritics;
mod evaluate;
mod functions;
mod parse;
mod replace;
mod syntax;
#[cfg(test)]
mod tests;

use evaluate::{Datum, Evaluation};
use syntax::Node;

/// The longest expression that is read, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 8 * 1024;
/// How deep functions may stand inside one another.
pub const MAX_NESTING: usize = 64;
/// The longest value an expression may give, or make on its way, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// A parsed expression. `Display` gives its canonical text, which parses to the same expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    root: Node,
}

impl Expression {
    /// Reads an expression of at most [`MAX_EXPRESSION_BYTES`], nested at most [`MAX_NESTING`] deep.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(|root| Self { root })
    }

    /// The value over these properties; `None` when it is null or empty. A property that is not in
    /// the map is null.
    ///
    /// Errors name the function and what was wrong with its input, never a value of the user.
    pub fn evaluate(&self, properties: &BTreeMap<String, Value>) -> Result<Option<Value>, EvaluationError> {
        Ok(match Evaluation::over(properties).of(&self.root)? {
            Datum::Null => None,
            Datum::Flag(flag) => Some(Value::Flag(flag)),
            Datum::List(items) => {
                let items: Vec<String> = items.into_iter().filter(|item| !item.is_empty()).collect();
                (!items.is_empty()).then_some(Value::List(items))
            }
            single => {
                let text = single.into_text();
                (!text.is_empty()).then_some(Value::Text(text))
            }
        })
    }

    /// Whether a condition is true: `True` as a flag or as text in any case is, `False` and null
    /// are not, and anything else is not a condition, hence an error.
    pub fn holds(&self, properties: &BTreeMap<String, Value>) -> Result<bool, EvaluationError> {
        let datum = Evaluation::over(properties).of(&self.root)?;
        datum.truth().ok_or_else(|| {
            EvaluationError::new(format!(
                "the rule is not a condition: it gave {}, neither True nor False",
                datum.kind()
            ))
        })
    }

    /// The source attributes it reads.
    pub fn properties(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.root.collect_attributes(&mut names);
        names
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

/// Every function there is, as `Name(parameter, parameter?, …)`, in alphabetical order.
pub fn signatures() -> impl Iterator<Item = String> {
    catalogue::Function::ALL.into_iter().map(|function| function.signature().to_string())
}

/// Why a text is not an expression, and where. `Display` shows the place under the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// One line.
    pub message: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// The line concerned, or the part of it around the column, and how many characters of it
    /// stand before the column.
    excerpt: (String, usize),
}

/// An excerpt has at most this many characters on either side of the column.
const EXCERPT_REACH: usize = 60;

impl ParseError {
    /// `at`: how many characters of `text` stand before the place.
    fn new(message: impl Into<String>, text: &str, at: usize) -> Self {
        let before: Vec<char> = text.chars().take(at).collect();
        let line = before.iter().filter(|&&c| c == '\n').count();
        let column = before.iter().rev().take_while(|&&c| c != '\n').count();
        let shown: Vec<char> = text.split('\n').nth(line).unwrap_or_default().chars().collect();
        let start = column.saturating_sub(EXCERPT_REACH);
        let end = shown.len().min(column + EXCERPT_REACH);
        let mut excerpt: String = shown.get(start..end).unwrap_or_default().iter().collect();
        let mut lead = column - start;
        if start > 0 {
            excerpt.insert(0, '…');
            lead += 1;
        }
        if end < shown.len() {
            excerpt.push('…');
        }
        Self { message: message.into(), line: line + 1, column: column + 1, excerpt: (excerpt, lead) }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (excerpt, lead) = &self.excerpt;
        // A terminal shows a tab as wide as it likes, so the caret's line has to repeat it.
        let padding: String =
            excerpt.chars().take(*lead).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "{}", self.message)?;
        if self.line > 1 {
            write!(f, " (line {})", self.line)?;
        }
        let shown = excerpt.trim_end_matches('\r');
        if shown.trim().is_empty() { Ok(()) } else { write!(f, "\n  {shown}\n  {padding}^") }
    }
}

impl std::error::Error for ParseError {}

/// Why an expression has no value for this user. Holds no value of the user: it may be logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvaluationError {
    pub message: String,
}

impl EvaluationError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
