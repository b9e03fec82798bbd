//! `Replace`, the function with five forms, and the regular expressions it takes.

use regex::{Captures, Regex, RegexBuilder};

use super::EvaluationError;
use super::evaluate::{Bounded, Datum};
use super::functions::Arguments;
use super::syntax::{Node, Prepared};

const MAX_SUBJECT_BYTES: usize = 4 * 1024;
/// Finding one match takes linear time, but finding all of them quadratic, as each may look at all
/// that is left of the text. So that is what is counted.
const MAX_SCANNED_BYTES: usize = 1024 * 1024;
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// A regular expression as .NET writes it, as far as it can be matched in linear time.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// .NET numbers the unnamed groups first and the named ones after them.
    numbering: Vec<usize>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Pattern {
    pub fn compile(text: &str) -> Result<Self, String> {
        check_classes(text)?;
        let regex = RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).nest_limit(64).build().map_err(
            |error| {
                // A syntax error is a drawing of several lines, of which the last says what is wrong.
                let message = error.to_string();
                let last = message.lines().last().unwrap_or_default().trim();
                format!("the regular expression cannot be used: {}", last.trim_start_matches("error: "))
            },
        )?;
        let groups = || regex.capture_names().enumerate();
        let unnamed = groups().filter(|(_, name)| name.is_none());
        let named = groups().filter(|(_, name)| name.is_some());
        let numbering = unnamed.chain(named).map(|(index, _)| index).collect();
        Ok(Self { regex, numbering })
    }

    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    fn group(&self, name: &str) -> Option<usize> {
        match name.parse::<usize>() {
            Ok(number) => self.numbering.get(number).copied(),
            Err(_) => self.regex.capture_names().position(|known| known == Some(name)),
        }
    }

    fn check_subject(text: &str) -> Result<(), EvaluationError> {
        if text.len() > MAX_SUBJECT_BYTES {
            let message =
                format!("Replace: a text of more than {MAX_SUBJECT_BYTES} bytes is too long for a pattern");
            return Err(EvaluationError::new(message));
        }
        Ok(())
    }

    fn replace_matches(&self, text: &str, replacement: &str) -> Result<String, EvaluationError> {
        Self::check_subject(text)?;
        let mut replaced = Bounded::default();
        let mut scanned = Scanned(0);
        let mut rest = 0;
        for captures in self.regex.captures_iter(text) {
            scanned.count(text.len() - rest)?;
            let Some(whole) = captures.get(0) else { continue };
            replaced.push(&text[rest..whole.start()])?;
            self.expand(replacement, &captures, &mut replaced)?;
            rest = whole.end();
        }
        replaced.push(&text[rest..])?;
        Ok(replaced.into_text())
    }

    fn replace_group(&self, text: &str, group: usize, replacement: &str) -> Result<String, EvaluationError> {
        Self::check_subject(text)?;
        let mut replaced = Bounded::default();
        let mut scanned = Scanned(0);
        let mut rest = 0;
        for captures in self.regex.captures_iter(text) {
            scanned.count(text.len() - rest)?;
            let Some(part) = captures.get(group) else { continue };
            replaced.push(&text[rest..part.start()])?;
            replaced.push(replacement)?;
            rest = part.end();
        }
        replaced.push(&text[rest..])?;
        Ok(replaced.into_text())
    }

    fn extract(&self, text: &str, group: usize) -> Result<Option<String>, EvaluationError> {
        Self::check_subject(text)?;
        let found =
            self.regex.captures(text).and_then(|captures| captures.get(group).map(|part| part.as_str()));
        Ok(found.map(str::to_owned))
    }

    /// Writes the replacement with `$1`, `${name}`, `$&` and `$$` filled in. As in .NET, what names
    /// no group stands for itself.
    fn expand(
        &self,
        replacement: &str,
        captures: &Captures<'_>,
        out: &mut Bounded,
    ) -> Result<(), EvaluationError> {
        let mut rest = replacement;
        while let Some((before, after)) = rest.split_once('$') {
            out.push(before)?;
            let n_digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (name, behind) = if let Some(behind) = after.strip_prefix('$') {
                out.push("$")?;
                rest = behind;
                continue;
            } else if let Some(behind) = after.strip_prefix('&') {
                ("0", behind)
            } else if let Some((name, behind)) =
                after.strip_prefix('{').and_then(|in_braces| in_braces.split_once('}'))
            {
                (name, behind)
            } else {
                after.split_at(n_digits)
            };
            match self.group(name) {
                Some(group) => {
                    out.push(captures.get(group).map_or("", |part| part.as_str()))?;
                    rest = behind;
                }
                None => {
                    out.push("$")?;
                    rest = after;
                }
            }
        }
        out.push(rest)
    }
}

struct Scanned(usize);

impl Scanned {
    fn count(&mut self, n_bytes: usize) -> Result<(), EvaluationError> {
        self.0 += n_bytes;
        if self.0 > MAX_SCANNED_BYTES {
            return Err(EvaluationError::new("Replace: the pattern has too many matches in too long a text"));
        }
        Ok(())
    }
}

/// Refuses what means one thing inside `[…]` in .NET and another to the engine used here.
fn check_classes(pattern: &str) -> Result<(), String> {
    let mut chars = pattern.chars().peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' if inside => {
                // .NET's subtraction `[a-z-[aeiou]]` ends up here too.
                return Err(r"write \\[ for a bracket inside a character class".to_owned());
            }
            '[' => {
                inside = true;
                chars.next_if_eq(&'^');
                // In the first place it stands for itself.
                chars.next_if_eq(&']');
            }
            ']' => inside = false,
            '&' | '~' | '-' if inside && chars.peek() == Some(&c) => {
                return Err(format!("write {c} once, or as \\\\{c}, inside a character class"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Which of the documented forms a call has, by the parameters it gives. Groups by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// oldValue and replacementValue
    Value,
    /// oldValue and template
    Template,
    /// regexPattern and replacementValue
    Matches,
    /// regexPattern, regexGroupName and replacementValue
    Group(usize),
    /// regexPattern, regexGroupName and replacementAttributeName
    OrElse(usize),
}

const OLD_VALUE: usize = 1;
const PATTERN: usize = 2;
const GROUP: usize = 3;
const REPLACEMENT: usize = 4;
const ATTRIBUTE: usize = 5;
const TEMPLATE: usize = 6;

impl Form {
    pub fn of(arguments: &[Option<Node>]) -> Result<Self, String> {
        // An empty string is a replacement, but for the others it is the portal's way of saying
        // nothing.
        let given = |index: usize| match arguments.get(index) {
            Some(Some(Node::Text(text))) => index == REPLACEMENT || !text.is_empty(),
            Some(argument) => argument.is_some(),
            None => false,
        };
        let group = || match (arguments.get(PATTERN), arguments.get(GROUP)) {
            (
                Some(Some(Node::Prepared(Prepared::Pattern(pattern)))),
                Some(Some(Node::Prepared(Prepared::Checked(name)))),
            ) => pattern
                .group(name)
                .ok_or_else(|| format!("Replace: the regular expression has no group named {name:?}")),
            _ => Err("Replace: regexGroupName needs a regexPattern".to_owned()),
        };
        let all = [OLD_VALUE, PATTERN, GROUP, REPLACEMENT, ATTRIBUTE, TEMPLATE].map(given);
        match all {
            [true, false, false, true, false, false] => Ok(Self::Value),
            [true, false, false, false, false, true] => Ok(Self::Template),
            [false, true, false, true, false, false] => Ok(Self::Matches),
            [false, true, true, true, false, false] => Ok(Self::Group(group()?)),
            [false, true, true, false, true, false] => Ok(Self::OrElse(group()?)),
            _ => Err("Replace needs, besides source, one of: oldValue and replacementValue; oldValue and \
                      template; regexPattern and replacementValue; regexPattern, regexGroupName and \
                      replacementValue; regexPattern, regexGroupName and replacementAttributeName"
                .to_owned()),
        }
    }
}

pub(super) fn replace(form: Form, mut given: Arguments<'_>) -> Result<Datum, EvaluationError> {
    let pattern = given.pattern(PATTERN);
    match (form, pattern) {
        (Form::Value, _) => {
            let (old, new) = (given.text_or_empty(OLD_VALUE)?, given.text_or_empty(REPLACEMENT)?);
            given.each(0, |text| plain(text, &old, &new))
        }
        (Form::Template, _) => {
            let (old, template) = (given.text_or_empty(OLD_VALUE)?, given.text_or_empty(TEMPLATE)?);
            given.each(0, |text| plain(&template, &old, text))
        }
        (Form::Matches, Some(pattern)) => {
            let new = given.text_or_empty(REPLACEMENT)?;
            given.each(0, |text| pattern.replace_matches(text, &new))
        }
        (Form::Group(group), Some(pattern)) => {
            let new = given.text_or_empty(REPLACEMENT)?;
            given.each(0, |text| pattern.replace_group(text, group, &new))
        }
        (Form::OrElse(group), Some(pattern)) => {
            let source = given.datum(0);
            if !source.is_empty() {
                return Ok(source);
            }
            match given.text(ATTRIBUTE)? {
                Some(other) => Ok(pattern.extract(&other, group)?.map_or(Datum::Null, Datum::Text)),
                None => Ok(Datum::Null),
            }
        }
        (Form::Matches | Form::Group(_) | Form::OrElse(_), None) => {
            Err(EvaluationError::new("Replace: regexPattern is missing"))
        }
    }
}

fn plain(text: &str, old: &str, new: &str) -> Result<String, EvaluationError> {
    if old.is_empty() {
        return Ok(text.to_owned());
    }
    let mut replaced = Bounded::default();
    for (index, part) in text.split(old).enumerate() {
        if index > 0 {
            replaced.push(new)?;
        }
        replaced.push(part)?;
    }
    Ok(replaced.into_text())
}
