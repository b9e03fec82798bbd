//! The value of a tree over one user's properties.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::civil::DateTime;

use super::super::user::Value;
use super::catalogue::Function;
use super::functions::{self, Argument, Arguments};
use super::syntax::{Call, Node, Operator};
use super::{EvaluationError, MAX_VALUE_BYTES, dates};

type Evaluated<T> = Result<T, EvaluationError>;

/// How many bytes all values made on the way may have together. There are no loops in the
/// language, so this bounds the time too.
const MAX_BYTES_ALTOGETHER: usize = 16 * MAX_VALUE_BYTES;

/// A value on its way through an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum {
    Null,
    Flag(bool),
    Number(i64),
    /// In UTC.
    Date(DateTime),
    Text(String),
    List(Vec<String>),
}

impl Datum {
    /// Null, or nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.iter().all(String::is_empty),
            Self::Flag(_) | Self::Number(_) | Self::Date(_) => false,
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Date(_) => "a date",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
        }
    }

    /// As text; null is empty. A list, which has none, gives its values one after the other.
    pub fn into_text(self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Flag(true) => "True".to_owned(),
            Self::Flag(false) => "False".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Date(date) => dates::to_text(date),
            Self::Text(text) => text,
            Self::List(items) => items.join(", "),
        }
    }

    /// `None`: neither true nor false.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Null => Some(false),
            Self::Flag(flag) => Some(*flag),
            Self::Text(text) => truth_of(text),
            Self::List(items) => match items.as_slice() {
                [] => Some(false),
                [only] => truth_of(only),
                _ => None,
            },
            Self::Number(_) | Self::Date(_) => None,
        }
    }

    pub fn as_number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn as_date(&self) -> Option<DateTime> {
        match self {
            Self::Date(date) => Some(*date),
            Self::Text(text) => dates::read(text),
            _ => None,
        }
    }

    /// A list of one value is that value.
    pub fn single(self) -> Self {
        match self {
            Self::List(mut items) if items.len() <= 1 => items.pop().map_or(Self::Null, Self::Text),
            other => other,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => items.iter().map(|item| item.len() + 1).sum(),
            Self::Null | Self::Flag(_) | Self::Number(_) | Self::Date(_) => 0,
        }
    }
}

fn truth_of(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.is_empty() || text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn too_long() -> EvaluationError {
    EvaluationError::new(format!("a value would be longer than {MAX_VALUE_BYTES} bytes"))
}

/// A text that refuses to outgrow [`MAX_VALUE_BYTES`].
#[derive(Default)]
pub(super) struct Bounded(String);

impl Bounded {
    pub fn push(&mut self, text: &str) -> Evaluated<()> {
        if self.0.len() + text.len() > MAX_VALUE_BYTES {
            return Err(too_long());
        }
        self.0.push_str(text);
        Ok(())
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

pub(super) struct Evaluation<'a> {
    properties: &'a BTreeMap<String, Value>,
    bytes_left: usize,
}

impl<'a> Evaluation<'a> {
    pub fn over(properties: &'a BTreeMap<String, Value>) -> Self {
        Self { properties, bytes_left: MAX_BYTES_ALTOGETHER }
    }

    pub fn of(&mut self, node: &Node) -> Evaluated<Datum> {
        let datum = match node {
            Node::Attribute(name) => self.read(name)?,
            Node::Text(text) => Datum::Text(text.clone()),
            Node::Number(number) => Datum::Number(*number),
            Node::Flag(flag) => Datum::Flag(*flag),
            // Prepared constants are handed to their function as they are.
            Node::Null | Node::Prepared(_) => Datum::Null,
            Node::Call(call) => self.call(call)?,
            Node::Compare(operator, sides) => {
                let left = self.of(&sides.0)?;
                let right = self.of(&sides.1)?;
                Datum::Flag(compare(*operator, left, right)?)
            }
        };
        self.charge(datum.size())?;
        Ok(datum)
    }

    fn charge(&mut self, n_bytes: usize) -> Evaluated<()> {
        if n_bytes > MAX_VALUE_BYTES {
            return Err(too_long());
        }
        self.bytes_left = self.bytes_left.checked_sub(n_bytes).ok_or_else(|| {
            EvaluationError::new("the values on the way to the result are too long altogether")
        })?;
        Ok(())
    }

    fn read(&mut self, name: &str) -> Evaluated<Datum> {
        let n_bytes = match self.properties.get(name) {
            None | Some(Value::Flag(_)) => 0,
            Some(Value::Text(text)) => text.len(),
            Some(Value::List(items)) => items.iter().map(|item| item.len() + 1).sum(),
        };
        if n_bytes > MAX_VALUE_BYTES {
            return Err(EvaluationError::new(format!("[{name}] is longer than {MAX_VALUE_BYTES} bytes")));
        }
        Ok(match self.properties.get(name) {
            None => Datum::Null,
            Some(Value::Flag(flag)) => Datum::Flag(*flag),
            Some(Value::Text(text)) => Datum::Text(text.clone()),
            Some(Value::List(items)) if items.is_empty() => Datum::Null,
            Some(Value::List(items)) => Datum::List(items.clone()),
        })
    }

    fn optional(&mut self, argument: Option<&Option<Node>>) -> Evaluated<Datum> {
        match argument {
            Some(Some(node)) => self.of(node),
            _ => Ok(Datum::Null),
        }
    }

    fn condition(&mut self, function: Function, argument: Option<&Option<Node>>) -> Evaluated<bool> {
        let datum = self.optional(argument)?;
        datum.truth().ok_or_else(|| {
            let name = function.signature().name;
            EvaluationError::new(format!("{name}: the condition is {}, neither True nor False", datum.kind()))
        })
    }

    fn call(&mut self, call: &Call) -> Evaluated<Datum> {
        let Call { function, arguments, form } = call;
        match function {
            // These look only at the arguments they need: the others may have no value for this user.
            Function::IIF => {
                let holds = self.condition(*function, arguments.first())?;
                self.optional(arguments.get(if holds { 1 } else { 2 }))
            }
            Function::And | Function::Or => {
                let decisive = *function == Function::Or;
                for argument in arguments {
                    if self.condition(*function, Some(argument))? == decisive {
                        return Ok(Datum::Flag(decisive));
                    }
                }
                Ok(Datum::Flag(!decisive))
            }
            Function::Coalesce => {
                for argument in arguments {
                    let datum = self.optional(Some(argument))?;
                    if datum != Datum::Null {
                        return Ok(datum);
                    }
                }
                Ok(Datum::Null)
            }
            Function::Switch => self.switch(arguments),
            _ => {
                let given: Vec<Argument<'_>> = arguments
                    .iter()
                    .map(|argument| match argument {
                        None => Ok(Argument::Value(Datum::Null)),
                        Some(Node::Prepared(prepared)) => Ok(Argument::Prepared(prepared)),
                        Some(node) => self.of(node).map(Argument::Value),
                    })
                    .collect::<Evaluated<_>>()?;
                functions::call(Arguments::new(*function, given), *form)
            }
        }
    }

    fn switch(&mut self, arguments: &[Option<Node>]) -> Evaluated<Datum> {
        let single = |datum: Datum| match datum.single() {
            Datum::List(_) => Err(EvaluationError::new("Switch: a list of several values has no single key")),
            // Null is found under the key "".
            other => Ok(other.into_text()),
        };
        let source = single(self.optional(arguments.first())?)?;
        for pair in arguments.get(2..).unwrap_or_default().chunks(2) {
            if single(self.optional(pair.first())?)? == source {
                return self.optional(pair.get(1));
            }
        }
        self.optional(arguments.get(1))
    }
}

/// Texts are compared exactly. Numbers, dates and truth values are compared as such when the other
/// side can be read as one. Null equals the empty text, and is neither less nor more than anything.
fn compare(operator: Operator, left: Datum, right: Datum) -> Evaluated<bool> {
    let (left, right) = (left.single(), right.single());
    if matches!(left, Datum::List(_)) || matches!(right, Datum::List(_)) {
        return Err(EvaluationError::new(
            "a list of several values cannot be compared; use Contains, Item or Join",
        ));
    }
    let ordering = match (&left, &right) {
        _ if left.is_empty() || right.is_empty() => {
            let same = left.is_empty() && right.is_empty();
            return Ok(match operator {
                Operator::Equal => same,
                Operator::NotEqual => !same,
                _ => false,
            });
        }
        (Datum::Text(a), Datum::Text(b)) => Some(a.cmp(b)),
        (Datum::Number(_), _) | (_, Datum::Number(_)) => {
            left.as_number().zip(right.as_number()).map(|(a, b)| a.cmp(&b))
        }
        (Datum::Date(_), _) | (_, Datum::Date(_)) => {
            left.as_date().zip(right.as_date()).map(|(a, b)| a.cmp(&b))
        }
        _ => match (left.truth(), right.truth(), operator) {
            (Some(a), Some(b), Operator::Equal | Operator::NotEqual) => Some(a.cmp(&b)),
            _ => None,
        },
    };
    match (operator, ordering) {
        (Operator::Equal, found) => Ok(found == Some(Ordering::Equal)),
        (Operator::NotEqual, found) => Ok(found != Some(Ordering::Equal)),
        (Operator::Less, Some(found)) => Ok(found.is_lt()),
        (Operator::LessOrEqual, Some(found)) => Ok(found.is_le()),
        (Operator::Greater, Some(found)) => Ok(found.is_gt()),
        (Operator::GreaterOrEqual, Some(found)) => Ok(found.is_ge()),
        (operator, None) => Err(EvaluationError::new(format!(
            "{} and {} cannot be compared with {}",
            left.kind(),
            right.kind(),
            operator.sign()
        ))),
    }
}
