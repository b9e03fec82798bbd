//! What is probably not meant in the rules, although they are valid: by themselves, by what the
//! directory says of the groups they name, and by what their expressions make of real users.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::patch::fit;
use super::plan::REQUIRED;
use super::rules::Rules;
use super::user::{Attribute, GroupId, UserId, Value};

/// So many users are named; of the others there is the number.
const NAMED: usize = 5;

/// Something to look at. The codes are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: &'static str,
    pub sentence: String,
    pub todo: String,
    /// How many users it concerns, where it is about users.
    pub n_users: usize,
    /// Some of them.
    pub users: Vec<UserId>,
}

fn finding(code: &'static str, sentence: String, todo: &str) -> Finding {
    Finding { code, sentence, todo: todo.to_owned(), n_users: 0, users: Vec::new() }
}

/// What has to be asked about the groups and properties that rules name.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Groups that are not in the directory.
    pub missing: BTreeSet<GroupId>,
    /// What is nested in each group, however deep.
    pub nested: BTreeMap<GroupId, BTreeSet<GroupId>>,
    /// Properties that cannot be read, and why.
    pub unreadable: BTreeMap<String, &'static str>,
}

impl Facts {
    fn is_in(&self, inner: GroupId, outer: GroupId) -> bool {
        self.nested.get(&outer).is_some_and(|nested| nested.contains(&inner))
    }
}

/// What can be said without looking at anybody.
pub fn of_rules(rules: &Rules, facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    rows_without_effect(rules, facts, &mut found);
    missing_groups(rules, facts, &mut found);
    ambiguous_rows(rules, facts, &mut found);
    for (name, why) in &facts.unreadable {
        let sentence = format!("[{name}] is used in an expression, and {why}: it is always null");
        let todo = "use a property that the directory keeps with the user";
        found.push(finding("property_unreadable", sentence, todo));
    }
    found
}

fn rows_without_effect(rules: &Rules, facts: &Facts, found: &mut Vec<Finding>) {
    let rows = rules.roles.rows();
    if !rows.is_empty() && !rules.gives_roles() {
        let n_rows = rows.len();
        let sentence = format!(
            "[[roles]] has {n_rows} rows that never apply: attributes.roles.owner is \"cxone\", so that roles are neither given nor taken"
        );
        let todo = "set attributes.roles.owner = \"entra\", or remove the rows";
        found.push(finding("role_rows_without_effect", sentence, todo));
    }
    for row in rows {
        for &excluded in &rules.scope.exclude_groups {
            let nested = facts.is_in(row.group, excluded);
            if row.group == excluded || nested {
                let how = if nested { format!(", by its place in group {excluded}") } else { String::new() };
                let sentence = format!(
                    "the members of group {}, which gives role {:?}, are all out of scope (scope.exclude_groups{how}): the row never applies",
                    row.group, row.role
                );
                let todo = "remove the row, or leave the group out of scope.exclude_groups";
                found.push(finding("role_row_excluded", sentence, todo));
            }
        }
    }
}

fn missing_groups(rules: &Rules, facts: &Facts, found: &mut Vec<Finding>) {
    let rows = rules.roles.rows().iter();
    let named = rows.map(|row| (row.group, format!("the row of [[roles]] for role {:?}", row.role)));
    let named = named.chain(rules.scope.groups.iter().map(|group| (*group, "scope.groups".to_owned())));
    let excluded = rules.scope.exclude_groups.iter();
    let named = named.chain(excluded.map(|group| (*group, "scope.exclude_groups".to_owned())));
    for (group, by) in named.filter(|(group, _)| facts.missing.contains(group)) {
        let sentence = format!("group {group} is not in the directory any more; {by} names it");
        let todo = "restore the group (for 30 days after its deletion), or take it out of the configuration: \
                    while a group cannot be read, nothing is decided by groups";
        found.push(finding("group_missing", sentence, todo));
    }
}

fn ambiguous_rows(rules: &Rules, facts: &Facts, found: &mut Vec<Finding>) {
    let alike = |role: &str| role.split_whitespace().collect::<String>().to_lowercase();
    let rows = rules.roles.rows();
    for (n, row) in rows.iter().enumerate() {
        for other in rows[..n].iter().filter(|other| alike(&other.role) == alike(&row.role)) {
            let sentence = format!(
                "roles {:?} (group {}) and {:?} (group {}) differ only in case or spaces: read backwards, one of them is no role",
                other.role, other.group, row.role, row.group
            );
            let todo = "write each role exactly as CXone shows it";
            found.push(finding("roles_alike", sentence, todo));
        }
        for outer in rows.iter().filter(|outer| facts.is_in(row.group, outer.group)) {
            let sentence = format!(
                "group {} (role {:?}) is nested in group {} (role {:?}): its members get both roles",
                row.group, row.role, outer.group, outer.role
            );
            let todo = "if one role is enough, take the group out of the other; if both are meant, there is nothing to do";
            found.push(finding("role_groups_nested", sentence, todo));
        }
    }
}

/// What the expressions make of users, one after the other.
#[derive(Clone, Debug, Default)]
pub struct OnUsers {
    pub n_users: usize,
    found: BTreeMap<(Attribute, Fault), Concerned>,
    scope: BTreeMap<String, Concerned>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Fails(String),
    Unfit(String),
    Nothing,
}

#[derive(Clone, Debug, Default)]
struct Concerned {
    n_users: usize,
    some: Vec<UserId>,
}

impl Concerned {
    fn add(&mut self, user: UserId) {
        self.n_users += 1;
        if self.some.len() < NAMED {
            self.some.push(user);
        }
    }
}

impl OnUsers {
    /// Tries the expressions on an enabled user. What reads a property that is not `known` is left out.
    pub fn add(
        &mut self,
        rules: &Rules,
        user: UserId,
        properties: &BTreeMap<String, Value>,
        known: impl Fn(&str) -> bool,
    ) {
        self.n_users += 1;
        let can_be_tried = |names: BTreeSet<String>| names.iter().all(|name| known(name));
        for rule in &rules.scope.rules {
            if !can_be_tried(rule.condition.properties()) {
                continue;
            }
            match rule.condition.holds(properties) {
                Ok(true) => {}
                // Nobody's mapping matters who is not ours.
                Ok(false) => return,
                Err(error) => {
                    let sentence = format!("the rule {:?} of the scope fails: {error}", rule.text);
                    self.scope.entry(sentence).or_default().add(user);
                }
            }
        }
        for (&attribute, rule) in &rules.attributes {
            let Some(from) = &rule.from else { continue };
            if !can_be_tried(from.properties()) {
                continue;
            }
            let fault = match from.evaluate(properties) {
                Err(error) => Fault::Fails(error.to_string()),
                Ok(None) if REQUIRED.contains(&attribute) => Fault::Nothing,
                Ok(None) => continue,
                Ok(Some(value)) => match fit(attribute, value) {
                    Ok(Value::Text(text)) if text.is_empty() && REQUIRED.contains(&attribute) => {
                        Fault::Nothing
                    }
                    Ok(_) => continue,
                    Err(unfit) => Fault::Unfit(unfit.to_string()),
                },
            };
            self.found.entry((attribute, fault)).or_default().add(user);
        }
    }

    pub fn findings(self) -> Vec<Finding> {
        let scope = self.scope.into_iter().map(|(sentence, concerned)| {
            let todo = "nothing is concluded about a user while a rule fails: make it give true or false for everybody";
            (finding("scope_rule_fails", sentence, todo), concerned)
        });
        let mapped = self.found.into_iter().map(|((attribute, fault), concerned)| {
            let finding = match fault {
                Fault::Fails(error) => finding(
                    "mapping_fails",
                    format!("attributes.{attribute}.from fails: {error}"),
                    "such users are parked: make the expression give a value, or null, for everybody",
                ),
                Fault::Unfit(error) => finding(
                    "value_unfit",
                    format!("attributes.{attribute}.from gives what cannot be written: {error}"),
                    "such users are parked: correct the value in Entra, or shorten or clean it in the expression",
                ),
                Fault::Nothing => finding(
                    "required_empty",
                    format!("attributes.{attribute}.from gives nothing, and CXone creates nobody without it"),
                    "fill the property in Entra, or fall back on another with Coalesce",
                ),
            };
            (finding, concerned)
        });
        let with_users = |(finding, Concerned { n_users, some }): (Finding, Concerned)| Finding {
            n_users,
            users: some,
            ..finding
        };
        scope.chain(mapped).map(with_users).collect()
    }
}

#[cfg(test)]
mod tests;
