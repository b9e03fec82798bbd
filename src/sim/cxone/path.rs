//! Attribute paths by the grammar of RFC 7644 (figure 7), and what they mean for a user.
//!
//! ```text
//! PATH      = attrPath / valuePath [subAttr]
//! attrPath  = [URI ":"] ATTRNAME *1subAttr
//! valuePath = attrPath "[" valFilter "]"
//! ```

use super::filter::{self, Filter};
use super::problem::Problem;
use super::schema::{Attribute, CORE, NICE, USER, find};

/// `emails.value`, `urn:…:nice:2.0:User:team.value`: one or two attributes, resolved. With the
/// extension there may be three: it counts as an attribute itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttrPath(pub(super) Vec<&'static Attribute>);

impl AttrPath {
    /// The refusal is a plain sentence: the caller knows whether it stood in a filter or a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case(NICE) {
            return Ok(Self(vec![find(USER, NICE).expect("part of the schema")]));
        }
        let (uri, rest) = match text.rfind(':') {
            Some(colon) => (Some(&text[..colon]), &text[colon + 1..]),
            None => (None, text),
        };
        let names: Vec<&str> = rest.split('.').collect();
        if names.len() > 2 {
            return Err(format!("{text} has more than one sub-attribute"));
        }
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(format!("{name:?} is not an attribute name"));
        }
        let mut resolved: Vec<&'static Attribute> = Vec::new();
        let mut parts = USER;
        match uri {
            None => {}
            Some(uri) if uri.eq_ignore_ascii_case(CORE) => {}
            Some(uri) if uri.eq_ignore_ascii_case(NICE) => {
                resolved.push(find(USER, NICE).expect("part of the schema"));
                parts = super::schema::nice_parts();
            }
            Some(uri) => return Err(format!("the schema {uri} is not known here")),
        }
        let attribute = find(parts, names[0]).ok_or_else(|| format!("there is no attribute {}", names[0]))?;
        resolved.push(attribute);
        if let Some(name) = names.get(1) {
            resolved.push(attribute.part(name).ok_or_else(|| format!("{} has no {name}", attribute.name))?);
        }
        Ok(Self(resolved))
    }

    pub(super) fn last(&self) -> &'static Attribute {
        self.0.last().expect("a path has a name")
    }
}

/// `ALPHA *("-" / "_" / DIGIT / ALPHA)`
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Which values of a multi-valued attribute are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    Filter(Filter),
    /// Not SCIM: `emails[0]`.
    Index(usize),
}

/// The target of a PATCH operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) attribute: AttrPath,
    pub(super) selector: Option<Selector>,
    /// After a selector only.
    pub(super) part: Option<&'static Attribute>,
}

impl Path {
    /// `indexes`: whether `emails[0]` is read, which the grammar does not allow.
    pub(super) fn parse(text: &str, indexes: bool) -> Result<Self, Problem> {
        let refuse = |why: String| Problem::invalid_path(format!("Invalid path {text:?}: {why}."));
        let Some(open) = text.find('[') else {
            let attribute = AttrPath::parse(text).map_err(refuse)?;
            return Ok(Self { attribute, selector: None, part: None });
        };
        let close = text.rfind(']').filter(|close| *close > open);
        let close = close.ok_or_else(|| refuse("a bracket is not closed".to_owned()))?;
        let attribute = AttrPath::parse(&text[..open]).map_err(refuse)?;
        if !attribute.last().many {
            return Err(refuse(format!("{} has one value only", attribute.last().name)));
        }
        let (inside, rest) = (&text[open + 1..close], &text[close + 1..]);
        let selector = match inside.parse::<usize>() {
            Ok(index) if indexes => Selector::Index(index),
            Ok(_) => return Err(refuse("inside brackets stands a filter, not an index".to_owned())),
            Err(_) => Selector::Filter(filter::parse_within(attribute.last(), inside).map_err(refuse)?),
        };
        let part = match rest.strip_prefix('.') {
            Some(name) => {
                let part = attribute.last().part(name);
                Some(part.ok_or_else(|| refuse(format!("{} has no {name}", attribute.last().name)))?)
            }
            None if rest.is_empty() => None,
            None => return Err(refuse("only a sub-attribute may follow the brackets".to_owned())),
        };
        Ok(Self { attribute, selector: Some(selector), part })
    }
}
