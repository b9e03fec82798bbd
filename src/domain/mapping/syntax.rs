//! The tree an expression is parsed into, and its canonical text.

use std::collections::BTreeSet;
use std::fmt;

use super::catalogue::Function;
use super::dates::{Format, Interval};
use super::replace::{Form, Pattern};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `[mail]`
    Attribute(String),
    Text(String),
    Number(i64),
    /// `True`, `False`
    Flag(bool),
    /// `NULL`
    Null,
    Call(Call),
    /// Neither side is itself a comparison: the language has no parentheses to say so.
    Compare(Operator, Box<(Node, Node)>),
    /// Constants that are checked and prepared when the expression is parsed.
    Prepared(Prepared),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub function: Function,
    /// As many as the function's signature accepts; `None` where a place was left empty.
    pub arguments: Vec<Option<Node>>,
    /// For `Replace`: which of its forms this is.
    pub form: Option<Form>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prepared {
    Pattern(Pattern),
    Format(Format),
    Interval(Interval),
    /// Checked, and without effect.
    Checked(String),
    Word(Word),
}

/// The bare words that choose how text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    VbTextCompare,
    VbBinaryCompare,
    CaseInsensitive,
    CaseSensitive,
}

impl Word {
    pub const fn name(self) -> &'static str {
        match self {
            Self::VbTextCompare => "vbTextCompare",
            Self::VbBinaryCompare => "vbBinaryCompare",
            Self::CaseInsensitive => "CaseInsensitive",
            Self::CaseSensitive => "CaseSensitive",
        }
    }

    pub const fn ignores_case(self) -> bool {
        matches!(self, Self::VbTextCompare | Self::CaseInsensitive)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// Longer ones first, so that `<=` is not read as `<`.
    pub const ALL: [Self; 6] =
        [Self::NotEqual, Self::LessOrEqual, Self::GreaterOrEqual, Self::Equal, Self::Less, Self::Greater];

    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Node {
    pub fn collect_attributes(&self, names: &mut BTreeSet<String>) {
        match self {
            Self::Attribute(name) => {
                names.insert(name.clone());
            }
            Self::Call(call) => {
                call.arguments.iter().flatten().for_each(|node| node.collect_attributes(names));
            }
            Self::Compare(_, sides) => {
                sides.0.collect_attributes(names);
                sides.1.collect_attributes(names);
            }
            Self::Text(_) | Self::Number(_) | Self::Flag(_) | Self::Null | Self::Prepared(_) => {}
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => write!(f, "[{name}]"),
            Self::Text(text) => quote(text, f),
            Self::Number(number) => number.fmt(f),
            Self::Flag(true) => f.write_str("True"),
            Self::Flag(false) => f.write_str("False"),
            Self::Null => f.write_str("NULL"),
            Self::Call(call) => call.fmt(f),
            Self::Compare(operator, sides) => write!(f, "{} {} {}", sides.0, operator.sign(), sides.1),
            Self::Prepared(Prepared::Pattern(pattern)) => quote(pattern.as_str(), f),
            Self::Prepared(Prepared::Format(format)) => quote(format.as_str(), f),
            Self::Prepared(Prepared::Interval(interval)) => quote(interval.name(), f),
            Self::Prepared(Prepared::Checked(text)) => quote(text, f),
            Self::Prepared(Prepared::Word(word)) => f.write_str(word.name()),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.signature().name)?;
        for (index, argument) in self.arguments.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if let Some(argument) = argument {
                argument.fmt(f)?;
            }
        }
        f.write_str(")")
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
