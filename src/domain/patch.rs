//! When two values are the same, and what a set of changes makes of a user.

use std::collections::BTreeSet;

use super::queue::Change;
use super::user::{Attribute, Attributes, Value};

/// Longest text that is written, in characters. More is a mistake in the mapping or an attack.
pub const LONGEST_TEXT: usize = 256;

/// Whether the target would see no difference: case where the schema ignores it, and the order of
/// lists, do not count; absent and empty are the same.
pub fn same(attribute: Attribute, a: Option<&Value>, b: Option<&Value>) -> bool {
    canonical(attribute, a) == canonical(attribute, b)
}

#[derive(PartialEq, Eq)]
enum Canonical {
    Flag(bool),
    Text(String),
    Set(BTreeSet<String>),
}

fn canonical(attribute: Attribute, value: Option<&Value>) -> Option<Canonical> {
    match value? {
        Value::Flag(flag) => Some(Canonical::Flag(*flag)),
        Value::Text(text) => {
            let text = text.trim();
            let text = if attribute.ignores_case() { text.to_lowercase() } else { text.to_owned() };
            (!text.is_empty()).then_some(Canonical::Text(text))
        }
        Value::List(items) if items.is_empty() => None,
        Value::List(items) => Some(Canonical::Set(items.iter().cloned().collect())),
    }
}

/// A value that must not be written as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{0} holds control or direction-changing characters")]
    HiddenCharacters(Attribute),
    #[error("{0} is longer than {LONGEST_TEXT} characters")]
    TooLong(Attribute),
}

/// Makes a mapped value fit to be written. Names lose control and direction-changing characters;
/// in what identifies somebody they are refused, because a key that is silently changed is another
/// key.
pub fn fit(attribute: Attribute, value: Value) -> Result<Value, Unfit> {
    let Value::Text(text) = value else { return Ok(value) };
    let is_key = matches!(attribute, Attribute::UserName | Attribute::ExternalId | Attribute::Emails);
    let clean: String = text.chars().filter(|c| !is_hidden(*c)).collect();
    if is_key && clean != text {
        return Err(Unfit::HiddenCharacters(attribute));
    }
    if clean.chars().count() > LONGEST_TEXT {
        return Err(Unfit::TooLong(attribute));
    }
    Ok(Value::Text(clean.trim().to_owned()))
}

/// Controls, and the characters that change the direction of what follows (Unicode TR 36, 2.1).
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The user after the changes.
pub fn apply(attributes: &Attributes, changes: &[Change]) -> Attributes {
    let mut after = attributes.clone();
    for change in changes {
        match &change.after {
            Some(value) => after.insert(change.attribute, value.clone()),
            None => after.remove(&change.attribute),
        };
    }
    after
}

/// The changes that the target does not show, although it said yes.
pub fn not_applied<'a>(shown: &Attributes, changes: &'a [Change]) -> Vec<&'a Change> {
    let differs =
        |change: &&Change| !same(change.attribute, change.after.as_ref(), shown.get(&change.attribute));
    changes.iter().filter(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attribute: Attribute, a: &str, b: &str, expected: bool) {
        assert_eq!(same(attribute, Some(&Value::text(a)), Some(&Value::text(b))), expected);
    }

    #[test]
    fn what_the_target_normalises_is_no_difference() {
        check(Attribute::UserName, "Ana@Example.com", "ana@example.com", true);
        check(Attribute::Emails, "Ana@Example.com", "ana@example.com", true);
        check(Attribute::GivenName, "Ana", "ana", false);
        check(Attribute::ExternalId, "A", "a", false);
        check(Attribute::DisplayName, "Ana ", "Ana", true);
        let list = |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
        assert!(same(Attribute::Roles, Some(&list(&["a", "b"])), Some(&list(&["b", "a"]))));
        assert!(!same(Attribute::Roles, Some(&list(&["a", "b"])), Some(&list(&["a"]))));
        assert!(same(Attribute::Roles, Some(&list(&[])), None));
        assert!(same(Attribute::DisplayName, Some(&Value::text("")), None));
        assert!(!same(Attribute::Active, Some(&Value::Flag(false)), None));
    }

    #[test]
    fn hidden_characters_are_dropped_from_names_and_refused_in_keys() {
        let evil = Value::text("Ana\u{202e}\u{0}nitraM");
        assert_eq!(fit(Attribute::DisplayName, evil.clone()), Ok(Value::text("AnanitraM")));
        assert_eq!(fit(Attribute::UserName, evil), Err(Unfit::HiddenCharacters(Attribute::UserName)));
        let long = Value::text("x".repeat(LONGEST_TEXT + 1));
        assert_eq!(fit(Attribute::DisplayName, long), Err(Unfit::TooLong(Attribute::DisplayName)));
    }
}
