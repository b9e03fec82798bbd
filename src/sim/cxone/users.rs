//! The users of the tenant and the rules for changing them. No HTTP here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::CxoneOptions;
use super::patch;
use super::problem::Problem;
use super::schema::{CORE, NICE, Type, USER, find, missing, nice_parts, take_parts};
use crate::sim::dice::Dice;

pub(super) type User = Map<String, Value>;

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) user: User,
    pub(super) version: u64,
}

impl Stored {
    /// The user as it is answered. A search hit lacks the telephone numbers.
    pub(super) fn show(&self, etags: bool, search_hit: bool) -> Value {
        let mut schemas = vec![CORE];
        if self.user.contains_key(NICE) {
            schemas.push(NICE);
        }
        let mut shown = Map::new();
        shown.insert("schemas".to_owned(), json!(schemas));
        shown.insert("id".to_owned(), json!(self.id));
        for attribute in USER {
            if let Some(value) = self.user.get(attribute.name) {
                shown.insert(attribute.name.to_owned(), value.clone());
            }
        }
        if search_hit {
            shown.shift_remove("phoneNumbers");
        }
        let mut meta = json!({"resourceType": "User"});
        if etags {
            meta["version"] = json!(self.etag());
        }
        shown.insert("meta".to_owned(), meta);
        Value::Object(shown)
    }

    pub(super) fn etag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }

    fn name(&self) -> String {
        self.user.get("userName").and_then(Value::as_str).unwrap_or_default().to_lowercase()
    }
}

#[derive(Default)]
pub(super) struct Users {
    by_id: BTreeMap<String, Stored>,
    /// Ids by lower-case name; more than one only by hand.
    names: BTreeMap<String, BTreeSet<String>>,
}

impl Users {
    pub(super) fn get(&self, id: &str) -> Result<&Stored, Problem> {
        self.by_id.get(id).ok_or_else(|| Problem::not_found(id))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Stored> {
        self.by_id.values()
    }

    /// Names are compared without case.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Stored> {
        let ids = self.names.get(&name.to_lowercase()).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Stored> {
        let removed = self.by_id.remove(id)?;
        if let Some(ids) = self.names.get_mut(&removed.name()) {
            ids.remove(id);
        }
        Some(removed)
    }

    /// Stores a user as it is, whatever the rules say.
    pub(super) fn put(&mut self, id: String, mut user: User) {
        user.insert("id".to_owned(), json!(id));
        let version = self.remove(&id).map_or(1, |stored| stored.version + 1);
        let stored = Stored { id: id.clone(), user, version };
        self.names.entry(stored.name()).or_default().insert(id.clone());
        self.by_id.insert(id, stored);
    }

    pub(super) fn create(
        &mut self,
        options: &CxoneOptions,
        body: &Value,
        dice: &Dice,
    ) -> Result<&Stored, Problem> {
        let Value::Object(body) = body else {
            return Err(Problem::invalid_syntax("A user is a JSON object."));
        };
        let mut user = take_parts(USER, body)?;
        user.entry("active").or_insert(json!(true));
        self.check(options, &user, None)?;
        ignore(options, &User::new(), &mut user);
        if !user.contains_key("roles") {
            let Some(role) = &options.default_role else {
                return Err(Problem::invalid_value("The tenant has no Agent role to give to a new user."));
            };
            user.insert("roles".to_owned(), json!([{"display": role, "primary": true}]));
        }
        finish(options, &mut user)?;
        let id = dice.guid();
        self.put(id.clone(), user);
        self.get(&id)
    }

    /// PUT: what is not given is cleared.
    pub(super) fn replace(
        &mut self,
        options: &CxoneOptions,
        id: &str,
        body: &Value,
    ) -> Result<bool, Problem> {
        let old = self.get(id)?.user.clone();
        let Value::Object(body) = body else {
            return Err(Problem::invalid_syntax("A user is a JSON object."));
        };
        let given_id = body.iter().find(|(name, _)| name.eq_ignore_ascii_case("id")).map(|(_, value)| value);
        match given_id {
            None => return Err(Problem::invalid_value("id is required.")),
            Some(given) if given != id => return Err(Problem::mutability("id is read-only.")),
            Some(_) => {}
        }
        let user = take_parts(USER, body)?;
        if !user.contains_key("active") {
            return Err(Problem::invalid_value("active is required."));
        }
        self.store(options, id, &old, user)
    }

    pub(super) fn patch(&mut self, options: &CxoneOptions, id: &str, body: &Value) -> Result<bool, Problem> {
        let old = self.get(id)?.user.clone();
        let user = patch::apply(&old, body, options.dialect, options.indexed_paths)?;
        self.store(options, id, &old, user)
    }

    /// Whether anything is different now.
    fn store(
        &mut self,
        options: &CxoneOptions,
        id: &str,
        old: &User,
        mut user: User,
    ) -> Result<bool, Problem> {
        self.check(options, &user, Some(id))?;
        ignore(options, old, &mut user);
        finish(options, &mut user)?;
        user.insert("id".to_owned(), json!(id));
        let changed = *old != user;
        if changed {
            self.put(id.to_owned(), user);
        }
        Ok(changed)
    }

    fn check(&self, options: &CxoneOptions, user: &User, id: Option<&str>) -> Result<(), Problem> {
        if let Some(name) = missing(user) {
            return Err(Problem::invalid_value(format!("{name} is required.")));
        }
        let name = user["userName"].as_str().unwrap_or_default();
        if options.user_name_is_email && !name.contains('@') {
            return Err(Problem::invalid_value("userName must be a valid email address."));
        }
        if self.named(name).any(|other| Some(other.id.as_str()) != id) {
            return Err(Problem::new(409, Some("uniqueness"), "userName is already in use."));
        }
        Ok(())
    }
}

/// Puts the attributes back that the tenant ignores without a word.
fn ignore(options: &CxoneOptions, old: &User, user: &mut User) {
    fn put_back(name: &str, old: Option<&User>, user: &mut User) {
        match old.and_then(|old| old.get(name)) {
            Some(value) => {
                user.insert(name.to_owned(), value.clone());
            }
            None => {
                user.shift_remove(name);
            }
        }
    }
    for name in &options.ignore_attributes {
        if let Some(attribute) = find(USER, name) {
            put_back(attribute.name, Some(old), user);
        } else if let Some(part) = find(nice_parts(), name) {
            let old = old.get(NICE).and_then(Value::as_object);
            let extension = user.entry(NICE).or_insert_with(|| json!({}));
            if let Some(extension) = extension.as_object_mut() {
                put_back(part.name, old, extension);
                if extension.is_empty() {
                    user.shift_remove(NICE);
                }
            }
        } else {
            panic!("ignore_attributes names {name}, which no user has");
        }
    }
}

/// What the server makes of a user before it is stored.
fn finish(options: &CxoneOptions, user: &mut User) -> Result<(), Problem> {
    if options.lower_case_user_name
        && let Some(Value::String(name)) = user.get_mut("userName")
    {
        *name = name.to_lowercase();
    }
    if options.plain_phone_numbers
        && let Some(Value::Array(numbers)) = user.get_mut("phoneNumbers")
    {
        for number in numbers {
            let text = number["value"].as_str().unwrap_or_default();
            let plain: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
            number["value"] = json!(plain);
        }
    }
    let Some(Value::Array(roles)) = user.get_mut("roles") else { return Ok(()) };
    if options.roles.is_empty() {
        return Ok(());
    }
    for role in roles {
        let is = |part: &str, known: &str| {
            role[part].as_str().is_some_and(|given| given.eq_ignore_ascii_case(known))
        };
        let known =
            options.roles.iter().find(|(display, value)| is("value", value) || is("display", display));
        let Some((display, value)) = known else {
            return Err(Problem::invalid_value("A role is unknown."));
        };
        role["display"] = json!(display);
        role["value"] = json!(value);
    }
    Ok(())
}

/// `changes` laid over `user`: objects member by member, `null` removes, anything else replaces.
/// Names are taken without case, as everywhere.
pub(super) fn merge_by_hand(user: &mut User, changes: User) {
    for (name, value) in changes {
        let name = find(USER, &name).map_or(name, |attribute| attribute.name.to_owned());
        let complex = find(USER, &name).is_some_and(|one| matches!(one.kind, Type::Complex(_)) && !one.many);
        match value {
            Value::Null => {
                user.shift_remove(&name);
            }
            Value::Object(changes) if complex || user.get(&name).is_some_and(Value::is_object) => {
                let inner = user.entry(name).or_insert_with(|| json!({}));
                if let Some(inner) = inner.as_object_mut() {
                    for (name, value) in changes {
                        if value.is_null() {
                            inner.shift_remove(&name);
                        } else {
                            inner.insert(name, value);
                        }
                    }
                }
            }
            value => {
                user.insert(name, value);
            }
        }
    }
}
