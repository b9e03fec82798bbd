//! A small, strict reading of RFC 7644, 3.5.2, written apart from the code under test: applies the
//! operations of a PATCH to a user.

use serde_json::{Map, Value as Json};

struct Path {
    /// A schema, for attributes of an extension.
    schema: Option<String>,
    attribute: String,
    /// Attribute and literal of `[attribute eq literal]`.
    filter: Option<(String, Json)>,
    sub: Option<String>,
}

fn parse(path: &str) -> Path {
    let (schema, rest) = match path.strip_prefix("urn:") {
        Some(_) => {
            let colon = path.rfind(':').unwrap();
            (Some(path[..colon].to_owned()), &path[colon + 1..])
        }
        None => (None, path),
    };
    let (attribute, filter, rest) = match rest.find('[') {
        Some(open) => {
            let close = rest.rfind(']').unwrap();
            let (name, literal) = rest[open + 1..close].split_once(" eq ").expect("only eq is used");
            let filter = (name.to_owned(), serde_json::from_str(literal).expect("a literal is JSON"));
            (&rest[..open], Some(filter), &rest[close + 1..])
        }
        None => {
            let end = rest.find('.').unwrap_or(rest.len());
            (&rest[..end], None, &rest[end..])
        }
    };
    let sub = rest.strip_prefix('.').map(str::to_owned);
    assert!(rest.is_empty() || sub.is_some(), "{path}");
    Path { schema, attribute: attribute.to_owned(), filter, sub }
}

fn key(object: &Map<String, Json>, name: &str) -> String {
    let found = object.keys().find(|key| *key == name);
    let found = found.or_else(|| object.keys().find(|key| key.eq_ignore_ascii_case(name)));
    found.cloned().unwrap_or_else(|| name.to_owned())
}

fn child<'a>(object: &'a mut Map<String, Json>, name: &str) -> &'a mut Map<String, Json> {
    let value = object.entry(key(object, name)).or_insert(Json::Null);
    if value.is_null() {
        *value = Json::Object(Map::new());
    }
    value.as_object_mut().expect("a complex attribute")
}

pub fn patched(user: &Json, body: &Json) -> Json {
    let mut user = user.clone();
    for operation in body["Operations"].as_array().unwrap() {
        apply(user.as_object_mut().unwrap(), operation);
    }
    user
}

fn apply(user: &mut Map<String, Json>, operation: &Json) {
    let path = parse(operation["path"].as_str().unwrap());
    let (op, value) = (operation["op"].as_str().unwrap(), operation.get("value"));
    assert_eq!(op == "remove", value.is_none(), "{operation}");
    let object = match &path.schema {
        Some(schema) => child(user, schema),
        None => user,
    };
    if let Some((name, literal)) = &path.filter {
        let list = object.get_mut(&key(object, &path.attribute)).and_then(Json::as_array_mut);
        let list = list.expect("noTarget");
        let hits = |entry: &Json| {
            let entry = entry.as_object().unwrap();
            entry.get(&key(entry, name)) == Some(literal)
        };
        assert!(list.iter().any(hits), "noTarget: {operation}");
        match (&path.sub, value) {
            (None, None) => list.retain(|entry| !hits(entry)),
            (Some(sub), Some(value)) => {
                for entry in list.iter_mut().filter(|entry| hits(entry)) {
                    let entry = entry.as_object_mut().unwrap();
                    entry.insert(key(entry, sub), value.clone());
                }
            }
            _ => panic!("not used: {operation}"),
        }
        return;
    }
    let object = match &path.sub {
        Some(_) => child(object, &path.attribute),
        None => object,
    };
    let name = key(object, path.sub.as_deref().unwrap_or(&path.attribute));
    match (op, value) {
        ("remove", None) => {
            object.retain(|key, _| !key.eq_ignore_ascii_case(&name));
        }
        ("add" | "replace", Some(value)) => set(object, name, op, value),
        other => panic!("{other:?}"),
    }
}

fn set(object: &mut Map<String, Json>, name: String, op: &str, value: &Json) {
    match (object.get_mut(&name), value) {
        (Some(Json::Array(old)), Json::Array(new)) if op == "add" => old.extend(new.iter().cloned()),
        // Sub-attributes that are not given are left unchanged.
        (Some(Json::Object(old)), Json::Object(new)) => {
            for (sub, value) in new {
                old.insert(key(old, sub), value.clone());
            }
        }
        _ => {
            object.insert(name, value.clone());
        }
    }
}
