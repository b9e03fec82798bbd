//! What a key takes, and what is said to a value that is not that.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::outbound::Url;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::domain::mapping::Expression;
use crate::domain::user::{GroupId, UserId};

use super::errors::Origin;
use super::tree::{Node, Plain};
use super::units;

/// What a key takes.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A string the check accepts.
    Text(Check),
    /// A list of such strings.
    Texts(Check),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words, each once, at least one.
    Choices(&'static [&'static str]),
    Flag,
    /// `least..=most`, and why.
    Number(u64, u64, &'static str),
    /// Bytes, `least..=most`: a number, or text such as `"4MiB"`.
    Size(u64, u64),
    /// Seconds, `from..below`, and why.
    Duration(u64, u64, &'static str),
    /// At least this many bytes.
    Secret(usize),
    /// One or a list, of at least this many bytes each.
    Secrets(usize),
    /// The path of a file that holds the secret of this key.
    SecretFile(&'static str),
    /// The same, one or a list.
    SecretFiles(&'static str),
    /// Known, and refused for this reason.
    Refused(&'static str),
}

pub type Check = fn(&str) -> Result<(), Complaint>;

/// A value of the right kind. Text that a [`Check`] accepted can be parsed again without a fault.
#[derive(Clone)]
pub enum Ready {
    Text(String),
    Flag(bool),
    Number(u64),
    Texts(Vec<String>),
    Secrets(Vec<SecretString>),
}

/// What is wrong with a value, and what to do. Never holds a secret.
#[derive(Debug)]
pub struct Complaint {
    /// The element, where the value is a list.
    pub at: Option<Origin>,
    pub what: String,
    pub todo: String,
}

fn complain<T>(what: impl Into<String>, todo: impl Into<String>) -> Result<T, Complaint> {
    Err(Complaint { at: None, what: what.into(), todo: todo.into() })
}

const OTHER_NAMES: [(&str, &str); 1] = [("azure_ad", "entra")];

impl Kind {
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret(_) | Self::Secrets(_))
    }

    /// Whether text from a variable or a flag that parsed as this was meant as this. A secret made
    /// of digits is not a number, nor an expression such as `[1]` a list.
    pub fn means(self, parsed: &Plain) -> bool {
        match self {
            Self::Flag | Self::Number(..) | Self::Size(..) => true,
            Self::Texts(_) | Self::Choices(_) | Self::Secrets(_) | Self::SecretFiles(_) => {
                matches!(parsed, Plain::Text(_) | Plain::List(_))
            }
            _ => matches!(parsed, Plain::Text(_)),
        }
    }

    pub fn check(self, node: &Node) -> Result<Ready, Vec<Complaint>> {
        match (self, &node.plain) {
            (_, Plain::Broken) => Err(Vec::new()),
            (Self::Texts(check), Plain::List(elements)) => {
                each(elements, |text| check(text).map(|()| text.to_owned())).map(Ready::Texts)
            }
            (Self::SecretFiles(_), Plain::List(elements)) => {
                each(elements, |text| path(text).map(|()| text.to_owned())).map(Ready::Texts)
            }
            (Self::Choices(words), Plain::List(elements)) => choices(elements, words).map(Ready::Texts),
            (Self::Secrets(least), Plain::List(elements)) => {
                if elements.is_empty() {
                    return Err(vec![one("the list is empty", "give at least one")]);
                }
                each(elements, |text| secret(text, least)).map(Ready::Secrets)
            }
            _ => self.check_one(&node.plain).map_err(|complaint| vec![complaint]),
        }
    }

    fn check_one(self, plain: &Plain) -> Result<Ready, Complaint> {
        match (self, plain) {
            (Self::Refused(why), _) => complain("cannot be set", why),
            (Self::Text(check), Plain::Text(text)) => check(text).map(|()| Ready::Text(text.clone())),
            (Self::Choice(words), Plain::Text(text)) => choice(text, words).map(Ready::Text),
            (Self::Secret(least) | Self::Secrets(least), Plain::Text(text)) => {
                secret(text, least).map(|secret| Ready::Secrets(vec![secret]))
            }
            (Self::SecretFile(_) | Self::SecretFiles(_), Plain::Text(text)) => {
                path(text).map(|()| Ready::Texts(vec![text.clone()]))
            }
            (Self::Flag, Plain::Flag(flag)) => Ok(Ready::Flag(*flag)),
            (Self::Number(least, most, why), Plain::Number(number)) => match u64::try_from(*number) {
                Ok(number) if (least..=most).contains(&number) => Ok(Ready::Number(number)),
                _ => complain(format!("{number} is not between {least} and {most}"), why),
            },
            (Self::Size(least, most), Plain::Number(number)) => {
                size(u64::try_from(*number).ok(), least, most)
            }
            (Self::Size(least, most), Plain::Text(text)) => size(units::size(text), least, most),
            (Self::Duration(from, below, why), Plain::Text(text)) => {
                duration(text, from, below, why).map(|()| Ready::Text(text.clone()))
            }
            (Self::Duration(..), Plain::Number(number)) => {
                complain(format!("{number} has no unit"), format!("write \"{number}s\" if seconds are meant"))
            }
            (_, plain) => {
                let todo = match self {
                    Self::Text(_) | Self::Choice(_) | Self::Secret(_) | Self::SecretFile(_)
                        if !matches!(plain, Plain::List(_) | Plain::Table(_)) =>
                    {
                        "put it in quotes"
                    }
                    Self::Texts(_) | Self::Choices(_) => r#"write a list: ["…", "…"]"#,
                    _ => "",
                };
                complain(format!("{} where {} is expected", plain.what(), self.expected()), todo)
            }
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text(_) | Self::Choice(_) | Self::Secret(_) | Self::SecretFile(_) => "a string",
            Self::Texts(_) | Self::Choices(_) => "a list of strings",
            Self::Flag => "true or false",
            Self::Number(..) => "a number",
            Self::Size(..) => "a size such as \"4MiB\"",
            Self::Duration(..) => "a duration such as \"15m\"",
            Self::Secrets(_) | Self::SecretFiles(_) => "a string or a list of strings",
            Self::Refused(_) => "nothing",
        }
    }
}

fn one(what: &str, todo: &str) -> Complaint {
    Complaint { at: None, what: what.to_owned(), todo: todo.to_owned() }
}

fn each<T>(
    elements: &[Node],
    check: impl Fn(&str) -> Result<T, Complaint>,
) -> Result<Vec<T>, Vec<Complaint>> {
    let (mut ready, mut complaints) = (Vec::new(), Vec::new());
    let mut broken = false;
    for element in elements {
        if matches!(element.plain, Plain::Broken) {
            broken = true;
            continue;
        }
        let checked = match &element.plain {
            Plain::Text(text) => check(text),
            other => complain(format!("{} where a string is expected", other.what()), "put it in quotes"),
        };
        match checked {
            Ok(value) => ready.push(value),
            Err(complaint) => complaints.push(Complaint { at: Some(element.origin.clone()), ..complaint }),
        }
    }
    if complaints.is_empty() && !broken { Ok(ready) } else { Err(complaints) }
}

fn choices(elements: &[Node], words: &'static [&'static str]) -> Result<Vec<String>, Vec<Complaint>> {
    let chosen = each(elements, |text| choice(text, words))?;
    if chosen.is_empty() {
        let todo = format!("name at least one of {}", words.join(", "));
        return Err(vec![one("the list is empty", &todo)]);
    }
    let mut seen = BTreeSet::new();
    match chosen.iter().find(|word| !seen.insert(*word)) {
        Some(twice) => Err(vec![one(&format!("{} stands twice in the list", quoted(twice)), "")]),
        None => Ok(chosen),
    }
}

fn choice(text: &str, words: &[&str]) -> Result<String, Complaint> {
    let known = OTHER_NAMES.iter().find(|(other, _)| *other == text).map_or(text, |(_, name)| name);
    if words.contains(&known) {
        return Ok(known.to_owned());
    }
    let others = OTHER_NAMES.iter().filter(|(_, name)| words.contains(name)).map(|(other, _)| *other);
    let nearest = nearest(text, words.iter().copied().chain(others)).unwrap_or_default();
    let todo = format!("the nearest is {}", quoted(nearest));
    complain(format!("{} is none of {}", quoted(text), words.join(", ")), todo)
}

fn secret(text: &str, least: usize) -> Result<SecretString, Complaint> {
    if text.is_empty() {
        return complain("the secret is empty", "");
    }
    if text.trim() != text {
        return complain("the secret begins or ends with white space", "remove it");
    }
    if text.len() < least {
        let what = format!("the secret has {} bytes, and needs at least {least}", text.len());
        return complain(what, "make one with: openssl rand -base64 32");
    }
    Ok(SecretString::from(text))
}

fn size(bytes: Option<u64>, least: u64, most: u64) -> Result<Ready, Complaint> {
    match bytes {
        Some(bytes) if (least..=most).contains(&bytes) => Ok(Ready::Number(bytes)),
        Some(bytes) => {
            let [bytes, least, most] = [bytes, least, most].map(units::size_text);
            complain(format!("{bytes} is not between {least} and {most}"), "")
        }
        None => complain("not a size", "write it as \"4MiB\", \"64KiB\" or a number of bytes"),
    }
}

fn duration(text: &str, from: u64, below: u64, why: &str) -> Result<(), Complaint> {
    let Some(duration) = units::duration(text) else {
        let what = format!("{} is not a duration", quoted(text));
        return complain(what, "write it as \"90s\", \"15m\", \"24h\" or \"7d\"");
    };
    let (from, below) = (Duration::from_secs(from), Duration::from_secs(below));
    if duration < from || duration >= below {
        let (from, below) = (units::duration_text(from), units::duration_text(below));
        return complain(format!("{} is not at least {from} and less than {below}", quoted(text)), why);
    }
    Ok(())
}

/// Of these the most like the name.
pub fn nearest<'a>(name: &str, of: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The one rewards the same beginning, which is a section's; the other a part left out.
    let likeness = |other: &str| {
        let (name, other) = (name.to_lowercase(), other.to_lowercase());
        strsim::jaro_winkler(&name, &other) + strsim::normalized_damerau_levenshtein(&name, &other)
    };
    of.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// For messages; long text is cut.
pub fn quoted(text: &str) -> String {
    if text.chars().count() <= 80 {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(77).collect();
    format!("{:?}", start + "…")
}

// The checks of text.

/// Anything visible.
pub fn text(text: &str) -> Result<(), Complaint> {
    if text.is_empty() {
        return complain("empty", "give a value, or remove the key");
    }
    if text.trim() != text {
        return complain(format!("{} begins or ends with white space", quoted(text)), "remove it");
    }
    Ok(())
}

pub fn path(path: &str) -> Result<(), Complaint> {
    if path.is_empty() {
        return complain("empty", "give the path of a file, or remove the key");
    }
    if path.contains('\0') {
        return complain(format!("{} is not a path", quoted(path)), "");
    }
    Ok(())
}

/// A path that a Unix socket can be bound to; empty for none.
pub fn socket(path: &str) -> Result<(), Complaint> {
    // sun_path has 108 bytes, the last of them 0 (unix(7)).
    if path.len() > 107 {
        let what = format!("the path has {} bytes; a Unix socket takes at most 107", path.len());
        return complain(what, "give a shorter one");
    }
    if path.contains('\0') {
        return complain(format!("{} is not a path", quoted(path)), "");
    }
    Ok(())
}

pub fn address(text: &str) -> Result<(), Complaint> {
    match text.parse::<SocketAddr>() {
        Ok(_) => Ok(()),
        Err(_) => complain(
            format!("{} is not an address to listen on", quoted(text)),
            "write an IP address and a port: 0.0.0.0:8080, 127.0.0.1:8081, [::1]:8081",
        ),
    }
}

pub fn url(text: &str) -> Result<(), Complaint> {
    parse_url(text).map(drop)
}

/// A URL in which `{subdomain}` may stand.
pub fn url_pattern(text: &str) -> Result<(), Complaint> {
    parse_url(&text.replace(SUBDOMAIN, "x")).map(drop)
}

pub const SUBDOMAIN: &str = "{subdomain}";

/// The URL without a slash at its end: https, or http to this host.
pub fn parse_url(text: &str) -> Result<Url, Complaint> {
    let url = parse_any_url(text)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        let todo = "use https: tokens and people's data travel over it (http is for 127.0.0.1, ::1 and localhost only)";
        return complain(format!("{} is not encrypted", quoted(text)), todo);
    }
    Ok(url)
}

/// A URL over which neither tokens nor people's data travel.
pub fn any_url(text: &str) -> Result<(), Complaint> {
    parse_any_url(text).map(drop)
}

/// The URL without a slash at its end, https or http.
pub fn parse_any_url(text: &str) -> Result<Url, Complaint> {
    // A password in a URL must not get into the message.
    let shown = if text.contains('@') { "this".to_owned() } else { quoted(text) };
    let example = "write it as https://host/path";
    // `Url` would repair these without a word.
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return complain(format!("{shown} is not a URL: it holds white space or a backslash"), example);
    }
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return complain(format!("{shown} is not a URL: {error}"), example),
    };
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return complain(format!("{shown} is not an https URL"), example);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return complain("the URL holds a user name or a password", "remove it");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return complain(format!("{shown} has a query or a fragment"), "remove what follows ? or #");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// An issuer, with the tenant that discovery has to name.
pub fn issuer(text: &str) -> Result<(), Complaint> {
    parse_issuer(text).map(drop)
}

/// As [`parse_url`], with `?tenantId=…` behind it.
pub fn parse_issuer(text: &str) -> Result<Url, Complaint> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let mut url = parse_url(base)?;
    let tenant = query.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case("tenantId"));
    let is_id =
        |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !tenant.is_some_and(|(_, id)| is_id(id)) {
        let todo = "write it as https://cxone.niceincontact.com?tenantId=…: the id stands in the claims of any of the \
                    tenant's tokens; or set scim_url and token_url";
        return complain(format!("{} does not name the tenant", quoted(text)), todo);
    }
    url.set_query(Some(query));
    Ok(url)
}

/// The URL of a receiver of events: as [`parse_url`], but some have a key in the query, and nothing of it
/// is shown.
pub fn parse_receiver(text: &str) -> Result<Url, Complaint> {
    let example = "write it as https://host/path";
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return complain("not a URL: it holds white space or a backslash", example);
    }
    let Ok(url) = Url::parse(text) else { return complain("not a URL", example) };
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return complain("not an https URL", example);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return complain("the URL holds a user name, a password or a fragment", "remove it");
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        let todo = "use https (http is for 127.0.0.1, ::1 and localhost only)";
        return complain("the URL is not encrypted", todo);
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

pub fn subdomain(text: &str) -> Result<(), Complaint> {
    if text.split('.').all(is_label) {
        return Ok(());
    }
    let todo = "write the first part of the host name only, such as na1 or contoso";
    complain(format!("{} is not part of a host name", quoted(text)), todo)
}

/// A directory id, or one of its domains.
pub fn tenant(text: &str) -> Result<(), Complaint> {
    let guid = text.parse::<GroupId>().is_ok();
    let domain = text.contains('.') && text.split('.').all(is_label);
    if guid || domain {
        return Ok(());
    }
    let todo = "give the directory (tenant) id, a GUID, or a domain such as contoso.onmicrosoft.com";
    complain(format!("{} is neither a GUID nor a domain", quoted(text)), todo)
}

fn is_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&label.len())
        && label.chars().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

pub fn group(text: &str) -> Result<(), Complaint> {
    match text.parse::<GroupId>() {
        Ok(_) => Ok(()),
        Err(error) => complain(
            error.to_string(),
            "give the group's object id, not its name: anybody who may create a group could copy a name",
        ),
    }
}

/// An Entra user by id, or a CXone user by name.
pub fn somebody(name: &str) -> Result<(), Complaint> {
    text(name)?;
    match name.contains('@') || name.parse::<UserId>().is_ok() {
        true => Ok(()),
        false => complain(
            format!("{} is neither an object id nor a user name", quoted(name)),
            "give the user's object id in Entra, or the user name in CXone, such as ana@example.com",
        ),
    }
}

/// An expression, or nothing: not mapped.
pub fn mapping(text: &str) -> Result<(), Complaint> {
    if text.is_empty() { Ok(()) } else { expression(text) }
}

pub fn expression(text: &str) -> Result<(), Complaint> {
    match Expression::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => complain("not an expression", error.to_string()),
    }
}

pub fn account_state(text: &str) -> Result<(), Complaint> {
    if text == "[accountEnabled]" {
        return Ok(());
    }
    complain(
        format!("{} cannot be the source of active", quoted(text)),
        "it follows the account's state, [accountEnabled], and [scope]; to leave some people out, write scope.rules",
    )
}

/// A point in time, or a date: its beginning in UTC.
pub fn instant(text: &str) -> Result<(), Complaint> {
    match parse_instant(text) {
        Some(_) => Ok(()),
        None => complain(
            format!("{} is neither a date nor a time", quoted(text)),
            "write \"2027-03-31\" or \"2027-03-31T12:00:00Z\"",
        ),
    }
}

pub fn parse_instant(text: &str) -> Option<Timestamp> {
    let date = || TimeZone::UTC.to_timestamp(text.parse::<Date>().ok()?.at(0, 0, 0, 0)).ok();
    text.parse().ok().or_else(date)
}

pub fn log_filter(text: &str) -> Result<(), Complaint> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let what = format!("{} is not a log filter: {error}", quoted(text));
            complain(what, "write error, warn, info, debug or trace, or cxone_sync=debug,info")
        }
    }
}
