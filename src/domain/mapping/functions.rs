//! What each function does with its arguments. Characters are Unicode scalar values.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::civil::DateTime;
use uuid::Uuid;

use super::catalogue::Function;
use super::dates::{self, Format, Interval};
use super::evaluate::{Bounded, Datum};
use super::replace::{self, Form, Pattern};
use super::syntax::{Prepared, Word};
use super::{EvaluationError, MAX_VALUE_BYTES, diacritics};

type Evaluated<T> = Result<T, EvaluationError>;

pub(super) enum Argument<'a> {
    Value(Datum),
    Prepared(&'a Prepared),
}

/// The arguments of a call, each taken once. One that was left empty is null.
pub(super) struct Arguments<'a> {
    function: Function,
    given: Vec<Argument<'a>>,
}

impl<'a> Arguments<'a> {
    pub fn new(function: Function, given: Vec<Argument<'a>>) -> Self {
        Self { function, given }
    }

    fn error(&self, message: impl std::fmt::Display) -> EvaluationError {
        EvaluationError::new(format!("{}: {message}", self.function.signature().name))
    }

    fn parameter(&self, index: usize) -> &'static str {
        self.function.signature().parameter(index).map_or("an argument", |parameter| parameter.name)
    }

    pub fn datum(&mut self, index: usize) -> Datum {
        match self.given.get_mut(index) {
            Some(Argument::Value(datum)) => std::mem::replace(datum, Datum::Null),
            _ => Datum::Null,
        }
    }

    /// A single value; `None` for null.
    fn single(&mut self, index: usize) -> Evaluated<Option<Datum>> {
        match self.datum(index).single() {
            Datum::Null => Ok(None),
            Datum::List(items) => Err(self.error(format_args!(
                "{} is a list of {} values; take one with Item, or Join them",
                self.parameter(index),
                items.len()
            ))),
            datum => Ok(Some(datum)),
        }
    }

    pub fn text(&mut self, index: usize) -> Evaluated<Option<String>> {
        Ok(self.single(index)?.map(Datum::into_text))
    }

    pub fn text_or_empty(&mut self, index: usize) -> Evaluated<String> {
        Ok(self.text(index)?.unwrap_or_default())
    }

    fn number(&mut self, index: usize) -> Evaluated<Option<i64>> {
        let Some(datum) = self.single(index)?.filter(|datum| !datum.is_empty()) else { return Ok(None) };
        let number = datum.as_number();
        let not_one = || self.error(format_args!("{} is not a whole number", self.parameter(index)));
        number.map(Some).ok_or_else(not_one)
    }

    fn needed_number(&mut self, index: usize) -> Evaluated<i64> {
        let number = self.number(index)?;
        number.ok_or_else(|| self.error(format_args!("{} is null", self.parameter(index))))
    }

    /// `None` for null and for an empty text.
    fn date(&mut self, index: usize) -> Evaluated<Option<DateTime>> {
        match self.single(index)? {
            None => Ok(None),
            Some(Datum::Date(date)) => Ok(Some(date)),
            Some(other) if other.is_empty() => Ok(None),
            Some(other) => match dates::read(&other.into_text()) {
                Some(date) => Ok(Some(date)),
                None => {
                    Err(self.error(format_args!("{} is not a date that can be read", self.parameter(index))))
                }
            },
        }
    }

    /// Its values: none for null, one for what is no list.
    fn items(&mut self, index: usize) -> Vec<String> {
        match self.datum(index) {
            Datum::Null => Vec::new(),
            Datum::List(items) => items,
            datum => vec![datum.into_text()],
        }
    }

    /// Changes a text, or every text of a list. Null stays null.
    pub fn each(&mut self, index: usize, change: impl Fn(&str) -> Evaluated<String>) -> Evaluated<Datum> {
        match self.datum(index) {
            Datum::Null => Ok(Datum::Null),
            Datum::List(items) => {
                let mut n_bytes = 0;
                let mut changed = Vec::with_capacity(items.len());
                for item in items {
                    let item = change(&item)?;
                    n_bytes += item.len();
                    if n_bytes > MAX_VALUE_BYTES {
                        return Err(
                            self.error(format_args!("the list would be longer than {MAX_VALUE_BYTES} bytes"))
                        );
                    }
                    changed.push(item);
                }
                Ok(Datum::List(changed))
            }
            datum => Ok(Datum::Text(change(&datum.into_text())?)),
        }
    }

    fn prepared(&self, index: usize) -> Option<&'a Prepared> {
        match self.given.get(index) {
            Some(Argument::Prepared(prepared)) => Some(prepared),
            _ => None,
        }
    }

    pub fn pattern(&self, index: usize) -> Option<&'a Pattern> {
        match self.prepared(index) {
            Some(Prepared::Pattern(pattern)) => Some(pattern),
            _ => None,
        }
    }

    fn format(&self, index: usize) -> Evaluated<&'a Format> {
        match self.prepared(index) {
            Some(Prepared::Format(format)) => Ok(format),
            _ => Err(self.error(format_args!("{} is missing", self.parameter(index)))),
        }
    }

    fn interval(&self, index: usize) -> Evaluated<Interval> {
        match self.prepared(index) {
            Some(Prepared::Interval(interval)) => Ok(*interval),
            _ => Err(self.error(format_args!("{} is missing", self.parameter(index)))),
        }
    }

    fn ignores_case(&self, index: usize) -> bool {
        matches!(self.prepared(index), Some(Prepared::Word(word)) if Word::ignores_case(*word))
    }
}

/// All but those that choose which of their arguments to look at.
pub(super) fn call(mut given: Arguments<'_>, form: Option<Form>) -> Evaluated<Datum> {
    let function = given.function;
    Ok(match function {
        Function::And | Function::Or | Function::IIF | Function::Coalesce | Function::Switch => {
            return Err(given.error("is evaluated elsewhere"));
        }
        Function::Append => {
            let suffix = given.text_or_empty(1)?;
            return given.each(0, |text| {
                let mut whole = Bounded::default();
                whole.push(text)?;
                whole.push(&suffix)?;
                Ok(whole.into_text())
            });
        }
        Function::Join => {
            let separator = given.text_or_empty(0)?;
            let mut joined = Bounded::default();
            let mut is_first = true;
            for index in 1..given.given.len() {
                // As documented by example: Join(", ", "", [surname], [givenName]) has no comma in front.
                for item in given.items(index).iter().filter(|item| !item.is_empty()) {
                    if !is_first {
                        joined.push(&separator)?;
                    }
                    is_first = false;
                    joined.push(item)?;
                }
            }
            Datum::Text(joined.into_text())
        }
        Function::Replace => match form {
            Some(form) => return replace::replace(form, given),
            None => return Err(given.error("its form is not known")),
        },
        Function::Redact => given.datum(0),

        Function::ToLower => return given.each(0, |text| Ok(text.chars().map(lower).collect())),
        Function::ToUpper => return given.each(0, |text| Ok(text.chars().map(upper).collect())),
        Function::Trim => return given.each(0, |text| Ok(text.trim().to_owned())),
        Function::LTrim => return given.each(0, |text| Ok(text.trim_start().to_owned())),
        Function::RTrim => return given.each(0, |text| Ok(text.trim_end().to_owned())),
        Function::StripSpaces => return given.each(0, |text| Ok(text.replace(' ', ""))),
        Function::NormalizeDiacritics => return given.each(0, |text| Ok(diacritics::without(text))),
        Function::PCase => {
            let separators: BTreeSet<char> = given.text_or_empty(1)?.chars().collect();
            return given.each(0, |text| Ok(proper_case(text, &separators)));
        }
        Function::ConvertToBase64 => {
            return given.each(0, |text| {
                let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                Ok(BASE64.encode(bytes))
            });
        }
        Function::ConvertToUTF8Hex => {
            return given.each(0, |text| Ok(text.bytes().map(|byte| format!("{byte:02X}")).collect()));
        }

        Function::Left => {
            let text = given.text_or_empty(0)?;
            Datum::Text(match usize::try_from(given.needed_number(1)?) {
                Ok(length) => text.chars().take(length).collect(),
                Err(_) => text,
            })
        }
        Function::Right => {
            let text = given.text_or_empty(0)?;
            Datum::Text(match usize::try_from(given.needed_number(1)?) {
                Ok(length) => {
                    let n_chars = text.chars().count();
                    text.chars().skip(n_chars.saturating_sub(length)).collect()
                }
                Err(_) => text,
            })
        }
        Function::Mid => {
            let text = given.text_or_empty(0)?;
            let start = given.needed_number(1)?;
            let length = given.number(2)?.unwrap_or(i64::MAX);
            let n_chars = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            Datum::Text(match (usize::try_from(start - i64::from(start > 0)), usize::try_from(length)) {
                (Ok(skipped), Ok(length)) if (1..=n_chars).contains(&start) => {
                    text.chars().skip(skipped).take(length).collect()
                }
                (_, Ok(0)) => String::new(),
                // Outside the text, or a negative length: the text itself, as documented.
                _ => text,
            })
        }
        Function::Word => {
            let text = given.text_or_empty(0)?;
            let number = given.needed_number(1)?;
            let delimiters: BTreeSet<char> = given.text_or_empty(2)?.chars().collect();
            let mut words = text.split(|c| delimiters.contains(&c)).filter(|word| !word.is_empty());
            let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            Datum::Text(index.and_then(|index| words.nth(index)).unwrap_or_default().to_owned())
        }
        Function::PadLeft | Function::PadRight => {
            let text = given.text(0)?;
            let length = given.needed_number(1)?;
            let padding = given.text_or_empty(2)?;
            if padding.chars().count() != 1 {
                return Err(given.error("padCharacter is not one character"));
            }
            let Some(text) = text else { return Ok(Datum::Text(String::new())) };
            let n_missing = usize::try_from(length).unwrap_or_default().saturating_sub(text.chars().count());
            if n_missing > MAX_VALUE_BYTES {
                return Err(given.error(format_args!("length is more than {MAX_VALUE_BYTES}")));
            }
            let padding = padding.repeat(n_missing);
            Datum::Text(match function {
                Function::PadLeft => padding + &text,
                _ => text + &padding,
            })
        }
        Function::Len => count(given.text_or_empty(0)?.chars().count()),
        Function::InStr => {
            let ignores_case = given.ignores_case(3);
            let fold = |text: String| -> String {
                if ignores_case { text.chars().map(lower).collect() } else { text }
            };
            let text = fold(given.text_or_empty(0)?);
            let wanted = fold(given.text_or_empty(1)?);
            let start = given.number(2)?.unwrap_or(1);
            let Some(start) = usize::try_from(start).ok().and_then(|start| start.checked_sub(1)) else {
                return Err(given.error("start is less than 1"));
            };
            count(find(&text, &wanted, start).map_or(0, |index| index + 1))
        }
        Function::Split => {
            let delimiter = given.text_or_empty(1)?;
            match given.text(0)? {
                None => Datum::Null,
                Some(text) if delimiter.is_empty() => Datum::List(vec![text]),
                Some(text) => {
                    Datum::List(text.split(&delimiter).map(|item| item.trim().to_owned()).collect())
                }
            }
        }

        Function::Count => count(given.items(0).len()),
        Function::Contains => {
            let ignores_case = given.ignores_case(2);
            let fold = |text: &str| -> String {
                if ignores_case { text.chars().map(lower).collect() } else { text.to_owned() }
            };
            let wanted = fold(&given.text_or_empty(1)?);
            let items = given.items(0);
            let found = items.iter().position(|item| !wanted.is_empty() && fold(item).contains(&wanted));
            count(found.map_or(0, |index| index + 1))
        }
        Function::Item | Function::ItemOrNull => {
            let items = given.items(0);
            let index = given.needed_number(1)?;
            let place = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
            match place.and_then(|place| items.get(place)) {
                Some(item) => Datum::Text(item.clone()),
                None if items.is_empty() || function == Function::ItemOrNull => Datum::Null,
                None => {
                    return Err(
                        given.error(format_args!("there is no value {index} in a list of {}", items.len()))
                    );
                }
            }
        }
        Function::RemoveDuplicates => match given.datum(0) {
            Datum::List(items) => {
                let mut seen = BTreeSet::new();
                Datum::List(items.into_iter().filter(|item| seen.insert(item.clone())).collect())
            }
            datum => datum,
        },

        Function::IsNull => Datum::Flag(given.datum(0) == Datum::Null),
        Function::IsNullOrEmpty => Datum::Flag(given.datum(0).is_empty()),
        Function::IsPresent => Datum::Flag(!given.datum(0).is_empty()),
        Function::IsString => Datum::Flag(!matches!(given.datum(0).single(), Datum::Null | Datum::List(_))),
        Function::IsNumeric => Datum::Flag(given.datum(0).single().as_number().is_some()),
        Function::IsDate => Datum::Flag(match given.datum(0).single() {
            Datum::Date(_) => true,
            Datum::Text(text) => dates::read(&text).is_some(),
            _ => false,
        }),
        Function::IsGuid => Datum::Flag(given.text(0)?.is_some_and(|text| guid(&text).is_some())),
        Function::Not => {
            let datum = given.datum(0);
            match datum.truth() {
                Some(truth) => Datum::Flag(!truth),
                None => {
                    return Err(
                        given.error(format_args!("source is {}, neither True nor False", datum.kind()))
                    );
                }
            }
        }
        Function::CBool => {
            let datum = given.datum(0).single();
            match datum.truth().or_else(|| datum.as_number().map(|number| number != 0)) {
                Some(truth) => Datum::Flag(truth),
                None => return Err(given.error("expression is neither True, False nor a number")),
            }
        }
        Function::CInt => given.number(0)?.map_or(Datum::Null, Datum::Number),
        Function::CStr => given.text(0)?.map_or(Datum::Null, Datum::Text),
        Function::CGuid => match given.text(0)?.filter(|text| !text.is_empty()) {
            None => Datum::Null,
            Some(text) => match guid(&text) {
                Some(id) => Datum::Text(id.hyphenated().to_string()),
                None => return Err(given.error("value is not a GUID")),
            },
        },
        Function::BitAnd => match given.number(0)?.zip(given.number(1)?) {
            Some((one, other)) => Datum::Number(one & other),
            None => Datum::Null,
        },

        Function::CDate => given.date(0)?.map_or(Datum::Null, Datum::Date),
        Function::DateAdd => {
            let interval = given.interval(0)?;
            let value = given.needed_number(1)?;
            match given.date(2)? {
                None => Datum::Null,
                Some(date) => match interval.add(value, date) {
                    Some(sum) => Datum::Date(sum),
                    None => return Err(given.error("the result is outside the years 1 to 9999")),
                },
            }
        }
        Function::DateDiff => {
            let interval = given.interval(0)?;
            match given.date(1)?.zip(given.date(2)?) {
                Some((from, to)) => Datum::Number(interval.between(from, to)),
                None => Datum::Null,
            }
        }
        Function::DateFromNum => match given.number(0)? {
            None => Datum::Null,
            Some(number) => match dates::from_ad(number) {
                Some(date) => Datum::Date(date),
                None => return Err(given.error("the result is outside the years 1 to 9999")),
            },
        },
        Function::NumFromDate => match given.date(0)? {
            None => Datum::Null,
            Some(date) => match dates::to_ad(date) {
                Some(number) => Datum::Number(number),
                None => return Err(given.error("the date is too far away")),
            },
        },
        Function::FormatDateTime => {
            let (input, output) = (given.format(2)?, given.format(3)?);
            match given.single(0)?.filter(|datum| !datum.is_empty()) {
                None => Datum::Null,
                Some(Datum::Date(date)) => Datum::Text(output.write(date)),
                Some(datum) => match input.read(&datum.into_text()) {
                    Some(date) => Datum::Text(output.write(date)),
                    None => return Err(given.error("source is not a date as inputFormat describes it")),
                },
            }
        }
    })
}

fn count(n: usize) -> Datum {
    Datum::Number(i64::try_from(n).unwrap_or(i64::MAX))
}

/// As .NET's invariant culture does it: one character for one character.
fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(lower), None) => lower,
        _ => c,
    }
}

fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(upper), None) => upper,
        _ => c,
    }
}

/// Without separators of its own, a word ends at whatever is neither letter, digit, mark nor
/// apostrophe.
fn proper_case(text: &str, separators: &BTreeSet<char>) -> String {
    let is_separator = |c: char| match separators.is_empty() {
        false => separators.contains(&c),
        true => !(c.is_alphanumeric() || c == '\'' || ('\u{300}'..='\u{36f}').contains(&c)),
    };
    let mut starts = true;
    text.chars()
        .map(|c| {
            let cased = if starts { upper(c) } else { lower(c) };
            starts = is_separator(c);
            cased
        })
        .collect()
}

/// How many characters stand before `wanted` in `text`, looking from the given one on.
fn find(text: &str, wanted: &str, start: usize) -> Option<usize> {
    let (from, _) = text.char_indices().nth(start)?;
    let found = text[from..].find(wanted)?;
    Some(start + text[from..from + found].chars().count())
}

/// With hyphens, in braces or not.
fn guid(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let bare = text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(text);
    if bare.len() != 36 {
        return None;
    }
    Uuid::try_parse(bare).ok()
}
