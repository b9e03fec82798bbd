//! What `config print` and `config validate` say.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::domain::user::Attribute;

use super::Config;
use super::errors::{ConfigErrors, Origin, Problem};
use super::keys::{self, Key};
use super::kind::{Kind, Ready};
use super::settings::Settings;
use super::units;

/// One value in force. A secret's value is not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `section.name`, `roles[0].group`
    pub path: String,
    /// `None`: a secret, which is set.
    pub value: Option<Value>,
    pub origin: Origin,
}

/// In the order of the table of keys; what has no value is left out.
pub(super) fn settings(settings: &Settings) -> Vec<Setting> {
    let mut shown = Vec::new();
    let mut show = |key: &Key, path: String| {
        let Some(set) = settings.set(&path) else { return };
        let value = value(key, &set.ready);
        shown.push(Setting { path, value, origin: set.origin.clone() });
    };
    for key in keys::all() {
        if key.path.contains("[]") || is_unmapped(settings, key) || key.path.starts_with("attributes.name.") {
            continue;
        }
        show(key, key.path.clone());
    }
    for (list, _) in keys::LISTS {
        let of_list = |key: &&Key| key.path.starts_with(&format!("{list}[]"));
        for n in 0..settings.n_rows(list) {
            for key in keys::all().iter().filter(of_list) {
                show(key, key.path.replace("[]", &format!("[{n}]")));
            }
        }
    }
    shown
}

/// `None`: a secret.
pub(super) fn value(key: &Key, ready: &Ready) -> Option<Value> {
    match ready {
        Ready::Secrets(_) => None,
        Ready::Text(text) => Some(json!(text)),
        Ready::Flag(flag) => Some(json!(flag)),
        Ready::Number(bytes) if matches!(key.kind, Kind::Size(..)) => Some(json!(units::size_text(*bytes))),
        Ready::Number(number) => Some(json!(number)),
        // The path of a secret's file is written as it mostly is: alone.
        Ready::Texts(texts)
            if matches!(key.kind, Kind::SecretFile(_) | Kind::SecretFiles(_)) && texts.len() == 1 =>
        {
            Some(json!(texts[0]))
        }
        Ready::Texts(texts) => Some(json!(texts)),
    }
}

/// An attribute nobody mapped has an owner in the table only.
fn is_unmapped(settings: &Settings, key: &Key) -> bool {
    let Some(attribute) = key.path.strip_prefix("attributes.").and_then(|rest| rest.split('.').next()) else {
        return false;
    };
    !matches!(Attribute::by_name(attribute), None | Some(Attribute::Roles))
        && settings.text(&format!("attributes.{attribute}.from")).is_none_or(str::is_empty)
}

impl Config {
    /// The configuration in force, much like TOML, each line with where it comes from. Secrets are
    /// `(set)`.
    pub fn print(&self) -> String {
        let mut page = String::new();
        let mut section = "";
        let width =
            self.settings.iter().map(|it| line(it).chars().count()).filter(|width| *width <= 60).max();
        for setting in &self.settings {
            let (of, _) = setting.path.split_once('.').expect("keys have a section");
            if of != section {
                let gap = if page.is_empty() { "" } else { "\n" };
                let head = match of.split_once('[') {
                    Some((list, _)) => format!("[[{list}]]"),
                    None => format!("[{of}]"),
                };
                writeln!(page, "{gap}{head}").expect("a string can be written to");
                section = of;
            }
            let (line, width) = (line(setting), width.unwrap_or(0));
            writeln!(page, "{line:width$}  # {}", setting.origin.describe())
                .expect("a string can be written to");
        }
        page
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let settings = self.settings.iter().map(|Setting { path, value, origin }| {
            let shown = value.clone().unwrap_or_else(|| json!("(set)"));
            json!({ "key": path, "value": shown, "secret": value.is_none(), "origin": origin.to_json() })
        });
        json!({ "settings": settings.collect::<Vec<_>>(), "warnings": self.warnings })
    }
}

fn line(setting: &Setting) -> String {
    let (_, name) = setting.path.split_once('.').expect("keys have a section");
    match &setting.value {
        None => format!("{name} = (set)"),
        Some(value) => {
            let value =
                toml::Value::try_from(value).expect("text, numbers, flags and lists of text are TOML");
            format!("{name} = {value}")
        }
    }
}

/// What `config validate` prints: every error, or a summary, and the warnings.
pub fn report(loaded: &Result<Config, ConfigErrors>) -> String {
    match loaded {
        Err(errors) => {
            let n = errors.problems().len();
            let s = if n == 1 { "" } else { "s" };
            format!("{errors}\n\n{n} error{s}: the configuration cannot be used\n")
        }
        Ok(config) => {
            let mut page = String::new();
            for warning in &config.warnings {
                writeln!(page, "warning: {warning}").expect("a string can be written to");
            }
            let defaults = config.settings.iter().filter(|it| it.origin == Origin::Default).count();
            let set = config.settings.len() - defaults;
            let n_warnings = match config.warnings.len() {
                0 => String::new(),
                1 => "1 warning, ".to_owned(),
                n => format!("{n} warnings, "),
            };
            writeln!(page, "the configuration is valid: {n_warnings}{set} values set, {defaults} by default")
                .expect("a string can be written to");
            page
        }
    }
}

/// The same for programs.
pub fn report_json(loaded: &Result<Config, ConfigErrors>) -> Value {
    let error = |Problem { place, what, todo }: &Problem| {
        let place = place.as_ref().map(Origin::to_json);
        json!({ "place": place, "what": what, "todo": todo })
    };
    match loaded {
        Ok(config) => json!({ "valid": true, "errors": [], "warnings": config.warnings }),
        Err(errors) => {
            let errors: Vec<Value> = errors.problems().iter().map(error).collect();
            json!({ "valid": false, "errors": errors, "warnings": [] })
        }
    }
}
