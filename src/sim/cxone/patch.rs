//! PATCH by RFC 7644 section 3.5.2, and the dialects a server may speak instead.

use serde_json::{Map, Value};

use super::path::{Path, Selector};
use super::problem::Problem;
use super::schema::{Attribute, Type, take, take_one};

const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// What a tenant understands of PATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The RFC's, whole.
    Rfc7644,
    /// `emails[0].value` is the only way to one value of several; a filter in a path is refused.
    IndexedOnly,
    /// CXone's published schema: each operation is a `path` and a `value` that is a text. `op` may be
    /// there, and is taken for `replace`.
    CxoneStrings,
    /// PATCH is 501.
    PutOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Replace,
}

struct Operation {
    op: Op,
    path: Option<Path>,
    value: Value,
}

/// The user after all operations of `body`, or why none of them was applied.
pub(super) fn apply(
    user: &Map<String, Value>,
    body: &Value,
    dialect: Dialect,
    indexed_paths: bool,
) -> Result<Map<String, Value>, Problem> {
    let schemas = body["schemas"].as_array();
    if !schemas.is_some_and(|schemas| schemas.iter().any(|schema| schema == PATCH_OP)) {
        return Err(Problem::invalid_syntax("The schema of a PATCH is PatchOp."));
    }
    let operations = body["Operations"].as_array().filter(|operations| !operations.is_empty());
    let operations = operations.ok_or_else(|| Problem::invalid_syntax("Operations are required."))?;
    let mut user = user.clone();
    for operation in operations {
        let operation = read(operation, dialect, indexed_paths)?;
        match &operation.path {
            Some(path) => at_path(&mut user, &operation, path)?,
            None => without_path(&mut user, &operation)?,
        }
    }
    Ok(user)
}

fn read(operation: &Value, dialect: Dialect, indexed_paths: bool) -> Result<Operation, Problem> {
    let op = operation["op"].as_str().map(str::to_ascii_lowercase);
    let op = match op.as_deref() {
        _ if dialect == Dialect::CxoneStrings => Op::Replace,
        Some("add") => Op::Add,
        Some("remove") => Op::Remove,
        Some("replace") => Op::Replace,
        _ => return Err(Problem::invalid_syntax("op is one of add, remove and replace.")),
    };
    let path = match &operation["path"] {
        Value::Null => None,
        Value::String(path) => Some(Path::parse(path, indexed_paths || dialect == Dialect::IndexedOnly)?),
        _ => return Err(Problem::invalid_syntax("path is a text.")),
    };
    let mut value = operation["value"].clone();
    if dialect == Dialect::IndexedOnly
        && path.as_ref().is_some_and(|path| matches!(path.selector, Some(Selector::Filter(_))))
    {
        return Err(Problem::invalid_path("A filter in a path is not supported."));
    }
    if dialect == Dialect::CxoneStrings {
        let (Some(path), Value::String(text)) = (&path, &value) else {
            return Err(Problem::invalid_syntax("path and value are required, and value is a text."));
        };
        // A text for something that is not a text can only be its JSON.
        let target = path.part.unwrap_or(path.attribute.last());
        if matches!(target.kind, Type::Complex(_)) {
            value = serde_json::from_str(text).map_err(|_| {
                Problem::invalid_value(format!("The value of {} cannot be read.", target.name))
            })?;
        }
    }
    Ok(Operation { op, path, value })
}

/// `{"op":"replace","value":{"active":false}}`: each member is an operation of its own.
fn without_path(user: &mut Map<String, Value>, operation: &Operation) -> Result<(), Problem> {
    if operation.op == Op::Remove {
        return Err(Problem::no_target("remove needs a path."));
    }
    let Value::Object(members) = &operation.value else {
        return Err(Problem::invalid_syntax("Without a path the value is an object."));
    };
    for (name, value) in members {
        if name == "schemas" {
            continue;
        }
        // A dotted name is no name: "name.givenName" belongs into an object.
        if name.contains(['.', '[']) && !name.to_ascii_lowercase().starts_with("urn:") {
            return Err(Problem::invalid_path(format!("There is no attribute {name}.")));
        }
        let path = Path::parse(name, false)?;
        at_path(user, &Operation { op: operation.op, path: None, value: value.clone() }, &path)?;
    }
    Ok(())
}

fn at_path(user: &mut Map<String, Value>, operation: &Operation, path: &Path) -> Result<(), Problem> {
    let steps = &path.attribute.0;
    let target = path.part.unwrap_or(path.attribute.last());
    if steps.iter().any(|step| step.read_only) || target.read_only {
        return Err(Problem::mutability(format!("{} is read-only.", target.name)));
    }
    let (attribute, parents) = steps.split_last().expect("a path has a name");
    if parents.iter().any(|parent| parent.many) {
        let detail = format!("{} has several values; say which.", parents[0].name);
        return Err(Problem::invalid_path(detail));
    }
    let removes = operation.op == Op::Remove || operation.value.is_null();
    if removes && path.selector.is_none() && attribute.required {
        return Err(Problem::mutability(format!("{} is required.", attribute.name)));
    }
    let holder = descend(user, parents, !removes);
    let Some(holder) = holder else { return Ok(()) };
    match &path.selector {
        Some(selector) => some_values(holder, attribute, selector, path.part, operation)?,
        None if removes => {
            holder.remove(attribute.name);
        }
        None => whole(holder, attribute, operation)?,
    }
    prune(user, parents);
    Ok(())
}

/// The object that holds the last attribute of the path; made on the way if `make`.
fn descend<'a>(
    user: &'a mut Map<String, Value>,
    parents: &[&'static Attribute],
    make: bool,
) -> Option<&'a mut Map<String, Value>> {
    let mut holder = user;
    for parent in parents {
        if !make && !holder.contains_key(parent.name) {
            return None;
        }
        let next = holder.entry(parent.name).or_insert_with(|| Value::Object(Map::new()));
        holder = next.as_object_mut()?;
    }
    Some(holder)
}

/// An object without members is unassigned.
fn prune(user: &mut Map<String, Value>, parents: &[&'static Attribute]) {
    for depth in (0..parents.len()).rev() {
        if let Some(holder) = descend(user, &parents[..depth], false) {
            let name = parents[depth].name;
            if holder.get(name).and_then(Value::as_object).is_some_and(Map::is_empty) {
                holder.remove(name);
            }
        }
    }
}

/// add or replace of a whole attribute.
fn whole(
    holder: &mut Map<String, Value>,
    attribute: &'static Attribute,
    operation: &Operation,
) -> Result<(), Problem> {
    let Some(value) = take(attribute, &operation.value)? else {
        if attribute.required {
            return Err(Problem::mutability(format!("{} is required.", attribute.name)));
        }
        // An empty list replaces what is there; added to it, it is nothing.
        if operation.op == Op::Replace {
            holder.remove(attribute.name);
        }
        return Ok(());
    };
    match (attribute.many, value, holder.get_mut(attribute.name)) {
        (true, Value::Array(added), Some(Value::Array(present))) if operation.op == Op::Add => {
            for entry in added {
                if !present.contains(&entry) {
                    let new = present.len();
                    present.push(entry);
                    one_primary(present, new);
                }
            }
        }
        // Sub-attributes that are not given stay as they are.
        (false, Value::Object(given), Some(Value::Object(present))) => merge(present, given),
        (_, value, _) => {
            holder.insert(attribute.name.to_owned(), value);
        }
    }
    Ok(())
}

fn merge(present: &mut Map<String, Value>, given: Map<String, Value>) {
    for (name, value) in given {
        match (present.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(given)) => merge(inner, given),
            (_, value) => {
                present.insert(name, value);
            }
        }
    }
}

/// `emails[type eq "work"]`, with or without `.value` behind it.
fn some_values(
    holder: &mut Map<String, Value>,
    attribute: &'static Attribute,
    selector: &Selector,
    part: Option<&'static Attribute>,
    operation: &Operation,
) -> Result<(), Problem> {
    let entries = match holder.get_mut(attribute.name) {
        Some(Value::Array(entries)) => std::mem::take(entries),
        _ => Vec::new(),
    };
    let selected = |(index, entry): (usize, &Value)| match selector {
        Selector::Index(wanted) => index == *wanted,
        Selector::Filter(filter) => entry.as_object().is_some_and(|entry| filter.matches(entry)),
    };
    let chosen: Vec<bool> = entries.iter().enumerate().map(selected).collect();
    let removes = operation.op == Op::Remove || operation.value.is_null();
    if !removes && !chosen.contains(&true) {
        return Err(Problem::no_target(format!("No value of {} fits.", attribute.name)));
    }
    let value = match part {
        _ if removes => None,
        Some(part) => take(part, &operation.value)?,
        None => take_one(attribute, &operation.value)?,
    };
    let (mut changed, mut touched) = (Vec::new(), Vec::new());
    for (mut entry, chosen) in entries.into_iter().zip(chosen) {
        if chosen {
            match (part, &value) {
                (None, None) => continue,
                (None, Some(value)) => entry = value.clone(),
                (Some(part), value) => {
                    let parts = entry.as_object_mut().expect("values of a list are objects");
                    match value {
                        Some(value) => parts.insert(part.name.to_owned(), value.clone()),
                        None => parts.remove(part.name),
                    };
                }
            }
        }
        if chosen {
            touched.push(changed.len());
        }
        changed.push(entry);
    }
    for index in touched {
        one_primary(&mut changed, index);
    }
    if changed.is_empty() {
        if attribute.required {
            return Err(Problem::mutability(format!("{} is required.", attribute.name)));
        }
        holder.remove(attribute.name);
    } else {
        holder.insert(attribute.name.to_owned(), Value::Array(changed));
    }
    Ok(())
}

/// Whoever becomes primary takes it from the others.
fn one_primary(entries: &mut [Value], new: usize) {
    if entries[new]["primary"] != true {
        return;
    }
    for (index, entry) in entries.iter_mut().enumerate() {
        if index != new && entry["primary"] == true {
            entry["primary"] = Value::Bool(false);
        }
    }
}

#[cfg(test)]
mod tests;
