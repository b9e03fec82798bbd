//! The table of keys as a JSON Schema, for editors.

use serde_json::{Value, json};

use super::keys::{self, Key};
use super::kind::Kind;
use super::tree::{self, Plain};

/// The configuration file's schema (JSON Schema 2020-12).
pub fn schema() -> Value {
    let mut root = table();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("cxone-sync.toml");
    for key in keys::all().iter().filter(|key| !matches!(key.kind, Kind::Refused(_))) {
        let mut at = &mut root;
        for name in key.path.split('.') {
            let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
            let properties = &mut at["properties"];
            if properties.get(name).is_none() {
                properties[name] =
                    if is_list { json!({ "type": "array", "items": table() }) } else { table() };
            }
            at = &mut properties[name];
            if is_list {
                at = &mut at["items"];
            }
        }
        *at = property(key);
    }
    for (list, needed) in keys::LISTS.iter().filter(|(_, needed)| !needed.is_empty()) {
        root["properties"][list]["items"]["required"] = json!(needed);
    }
    root
}

fn table() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

fn property(key: &Key) -> Value {
    let one_or_more =
        json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    let mut property = match key.kind {
        Kind::Text(_) | Kind::Duration(..) | Kind::Secret(_) | Kind::SecretFile(_) => {
            json!({ "type": "string" })
        }
        Kind::Texts(_) => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Choices(words) => {
            json!({ "type": "array", "items": { "enum": words }, "minItems": 1, "uniqueItems": true })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number(least, most, _) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Size(least, most) => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": least, "maximum": most }] })
        }
        Kind::Secrets(_) | Kind::SecretFiles(_) => one_or_more,
        Kind::Refused(_) => unreachable!("refused keys are left out"),
    };
    property["description"] = json!(key.doc);
    if let Some(default) = key.default {
        property["default"] = default_value(default);
    }
    property
}

fn default_value(default: &str) -> Value {
    fn value(plain: &Plain) -> Value {
        match plain {
            Plain::Text(text) => json!(text),
            Plain::Number(number) => json!(number),
            Plain::Flag(flag) => json!(flag),
            Plain::List(elements) => elements.iter().map(|element| value(&element.plain)).collect(),
            Plain::Table(_) | Plain::Other(_) | Plain::Broken => Value::Null,
        }
    }
    let node = tree::read_value(default, &super::Origin::Default).expect("defaults are TOML");
    value(&node.plain)
}
