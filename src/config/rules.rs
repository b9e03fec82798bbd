//! `[attributes]`, `[scope]` and `[[roles]]`: what is decided by, in the domain's words.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use crate::domain::mapping::Expression;
use crate::domain::roles::{RoleRow, RoleTable, RoleTableError};
use crate::domain::rules::{MatchKey, OnDelete, Owner, Protected, Rule, Rules};
use crate::domain::scope::{Scope, ScopeRule};
use crate::domain::user::{Attribute, GroupId};

use super::settings::Settings;

/// CXone creates nobody without these. Source: CXone SCIM, "Four fields are required".
const NEEDED_TO_CREATE: [Attribute; 4] =
    [Attribute::UserName, Attribute::GivenName, Attribute::FamilyName, Attribute::Emails];

pub fn rules(settings: &mut Settings) -> Option<Rules> {
    let attributes: BTreeMap<Attribute, Rule> =
        Attribute::ALL.into_iter().filter_map(|it| Some((it, rule(settings, it)?))).collect();
    let create = settings.flag("sync.create");
    let matching = matching(settings, &attributes);
    for attribute in NEEDED_TO_CREATE {
        if create && !attributes.contains_key(&attribute) {
            let path = format!("attributes.{attribute}.from");
            let what = format!("{path}: not mapped, and CXone creates nobody without it");
            settings.problem(&path, what, "give an expression, or set sync.create = false");
        }
    }
    let roles = role_table(settings);
    let on_delete: Option<OnDelete> = settings.text("sync.on_delete").and_then(word);
    warn(settings, &attributes, roles.as_ref());
    Some(Rules {
        scope: scope(settings),
        protected: protected(settings, roles.as_ref()),
        roles: roles?,
        matching,
        create,
        on_delete: on_delete.expect("on_delete was checked"),
        attributes,
    })
}

/// The name that `serde` knows a value by, as the value.
fn word<'de, T: Deserialize<'de>>(name: &'de str) -> Option<T> {
    let name: StrDeserializer<'de, Error> = name.into_deserializer();
    T::deserialize(name).ok()
}

/// `None`: not mapped.
fn rule(settings: &Settings, attribute: Attribute) -> Option<Rule> {
    let path = |name| format!("attributes.{attribute}.{name}");
    let from = match attribute {
        Attribute::Active | Attribute::Roles => None,
        _ => {
            let text = settings.text(&path("from")).filter(|text| !text.is_empty())?;
            Some(Expression::parse(text).expect("expressions were checked"))
        }
    };
    let create_only =
        !matches!(attribute, Attribute::Active | Attribute::Roles) && settings.flag(&path("create_only"));
    let owner: Option<Owner> = settings.text(&path("owner")).and_then(word);
    let tie = settings.text(&path("tie")).and_then(word);
    Some(Rule {
        from,
        owner: owner.expect("owners were checked"),
        tie: tie.expect("sides were checked"),
        create_only,
    })
}

fn matching(settings: &mut Settings, attributes: &BTreeMap<Attribute, Rule>) -> Vec<MatchKey> {
    let mut matching = Vec::new();
    for name in settings.texts("cxone.match") {
        let key: MatchKey = word(&name).expect("match keys were checked");
        let attribute = match key {
            MatchKey::ExternalId => Attribute::ExternalId,
            MatchKey::UserName => Attribute::UserName,
            MatchKey::Email => Attribute::Emails,
            MatchKey::Id => {
                matching.push(key);
                continue;
            }
        };
        if !attributes.contains_key(&attribute) {
            let what = format!("cxone.match names {name}, but attributes.{attribute}.from is empty");
            let from = format!("attributes.{attribute}.from");
            let path = if settings.given("cxone.match").is_some() { "cxone.match" } else { &from };
            settings.problem(path, what, "map the attribute, or leave it out of cxone.match");
        }
        matching.push(key);
    }
    matching
}

fn scope(settings: &mut Settings) -> Scope {
    let groups = |settings: &Settings, path| -> Vec<GroupId> {
        settings.texts(path).iter().map(|id| id.parse().expect("group ids were checked")).collect()
    };
    let wanted = groups(settings, "scope.groups");
    let exclude_groups = groups(settings, "scope.exclude_groups");
    for both in wanted.iter().filter(|group| exclude_groups.contains(group)) {
        let what = format!("group {both} is in scope.groups and in scope.exclude_groups");
        settings.problem("scope.exclude_groups", what, "keep it in one of them");
    }
    let rules = settings.texts("scope.rules").into_iter().map(|text| {
        let condition = Expression::parse(&text).expect("expressions were checked");
        ScopeRule { text, condition }
    });
    Scope { groups: wanted, exclude_groups, rules: rules.collect() }
}

fn protected(settings: &mut Settings, table: Option<&RoleTable>) -> Protected {
    let mut protected = Protected::default();
    for somebody in settings.texts("guard.protected_users") {
        match somebody.parse() {
            Ok(user) => protected.users.insert(user),
            Err(_) => protected.user_names.insert(somebody.to_lowercase()),
        };
    }
    protected.roles = settings.texts("guard.protected_roles").into_iter().collect();
    let mapped = protected.roles.iter().find(|role| table.is_some_and(|table| table.contains(role)));
    if let Some(role) = mapped {
        let what = format!("role {role:?} is in guard.protected_roles and in [[roles]]");
        settings.problem(
            "guard.protected_roles",
            what,
            "no group may give a protected role: keep it in one of them",
        );
    }
    protected
}

fn role_table(settings: &mut Settings) -> Option<RoleTable> {
    let (mut rows, mut whole) = (Vec::new(), true);
    for n in 0..settings.n_rows("roles") {
        let path = |name| format!("roles[{n}].{name}");
        for name in ["group", "role"] {
            let path = path(name);
            if settings.given(&path).is_none() {
                let row = format!("roles[{n}]");
                settings.problem(&row, format!("{path} is missing"), "a row needs a group and a role");
            }
        }
        let group = settings.text(&path("group")).map(|id| id.parse::<GroupId>().expect("ids were checked"));
        let role = settings.text(&path("role")).map(str::to_owned);
        match (group, role) {
            (Some(group), Some(role)) => {
                rows.push((n, RoleRow { group, role, privileged: settings.flag(&path("privileged")) }));
            }
            _ => whole = false,
        }
    }
    let table = RoleTable::new(rows.iter().map(|(_, row)| row.clone()).collect());
    let Err(error) = table else { return table.ok().filter(|_| whole) };
    let (name, again) = match &error {
        RoleTableError::GroupTwice { group, .. } => {
            ("group", rows.iter().rfind(|(_, row)| row.group == *group))
        }
        RoleTableError::RoleTwice { role, .. } => ("role", rows.iter().rfind(|(_, row)| row.role == *role)),
    };
    let (n, _) = again.expect("the row is there");
    settings.problem(&format!("roles[{n}].{name}"), error.to_string(), "");
    None
}

/// What is allowed, and probably not meant.
fn warn(settings: &mut Settings, attributes: &BTreeMap<Attribute, Rule>, roles: Option<&RoleTable>) {
    for attribute in Attribute::ALL {
        let path = |name| format!("attributes.{attribute}.{name}");
        let Some(rule) = attributes.get(&attribute) else {
            for name in ["owner", "tie", "create_only"] {
                if settings.given(&path(name)).is_some() {
                    let what = format!("{} has no effect: attributes.{attribute}.from is empty", path(name));
                    settings.warn(&path(name), &what);
                }
            }
            continue;
        };
        if settings.given(&path("tie")).is_some() && rule.owner != Owner::Newest {
            let what = format!("{} has no effect: the owner is not newest", path("tie"));
            settings.warn(&path("tie"), &what);
        }
    }
    let owner = |attribute| attributes.get(&attribute).map(|rule| rule.owner);
    if owner(Attribute::Active) == Some(Owner::Cxone) {
        let what = "attributes.active.owner is cxone: whoever is disabled in Entra stays active in CXone";
        settings.warn("attributes.active.owner", what);
    }
    let n_rows = roles.map(|table| table.rows().len());
    match (owner(Attribute::Roles), n_rows) {
        (Some(Owner::Cxone), Some(1..)) => settings.warn(
            "attributes.roles.owner",
            "[[roles]] has rows, but attributes.roles.owner is cxone: roles are not touched after a user is created",
        ),
        (Some(owner), Some(0)) if owner != Owner::Cxone => settings.warn(
            "attributes.roles.owner",
            "attributes.roles.owner is not cxone, but [[roles]] is empty: no role is given or taken",
        ),
        _ => {}
    }
}
