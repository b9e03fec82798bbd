//! Compares the states of the two simulators field by field.
//!
//! Written from what the mapping promises, not with the code that maps: the service is judged from
//! outside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::sim::{CxoneSim, GraphSim};

/// What must be true: who is in which role group, and which accounts belong to whom.
pub struct Judge {
    graph: GraphSim,
    cxone: CxoneSim,
    /// Group id and the role it gives.
    roles: Vec<(String, String)>,
}

/// One CXone account, by what is compared.
type Accounts = BTreeMap<String, Value>;

impl Judge {
    pub fn new(graph: GraphSim, cxone: CxoneSim, roles: Vec<(String, String)>) -> Self {
        Self { graph, cxone, roles }
    }

    /// CXone's users by the Entra id they were created with.
    pub fn accounts(&self) -> Accounts {
        let id = |user: &Value| user["externalId"].as_str().unwrap_or_default().to_owned();
        self.cxone.users().into_iter().map(|user| (id(&user), user)).collect()
    }

    /// Which role groups each user is in at present, nested ones included.
    pub fn given(&self) -> Vec<(String, BTreeSet<String>)> {
        self.roles.iter().map(|(group, role)| (role.clone(), self.graph.transitive_users(group))).collect()
    }

    /// Why a user is not right yet; `None` when all compared fields agree.
    pub fn difference(
        &self,
        user: &str,
        accounts: &Accounts,
        given: &[(String, BTreeSet<String>)],
    ) -> Option<String> {
        let account = accounts.get(user);
        let Some(source) =
            self.graph.user(user).filter(|source| source["accountEnabled"] == Value::Bool(true))
        else {
            // Disabled or deleted: nobody may log in. Somebody who never had an account needs none.
            let active = account.is_some_and(|account| account["active"] != Value::Bool(false));
            return active.then(|| format!("{user}: has left and is active"));
        };
        let Some(account) = account else { return Some(format!("{user}: is not in CXone")) };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mail = source["mail"].as_str().map_or_else(|| text(&source["userPrincipalName"]), str::to_owned);
        let fields = [
            ("userName", text(&source["userPrincipalName"]), text(&account["userName"]), true),
            ("name.givenName", text(&source["givenName"]), text(&account["name"]["givenName"]), false),
            ("name.familyName", text(&source["surname"]), text(&account["name"]["familyName"]), false),
            ("displayName", text(&source["displayName"]), text(&account["displayName"]), false),
            ("emails", mail, text(&account["emails"][0]["value"]), true),
            ("active", "true".to_owned(), account["active"].to_string(), false),
        ];
        for (name, expected, shown, ignores_case) in fields {
            let same = if ignores_case { expected.eq_ignore_ascii_case(&shown) } else { expected == shown };
            if !same {
                return Some(format!("{user}: {name} is {shown:?} and should be {expected:?}"));
            }
        }
        let key =
            |role: &Value| role["value"].as_str().or(role["display"].as_str()).unwrap_or_default().to_owned();
        let held: BTreeSet<String> = account["roles"].as_array().into_iter().flatten().map(key).collect();
        for (role, members) in given {
            if members.contains(user) != held.contains(role) {
                let should = if members.contains(user) { "should hold" } else { "should not hold" };
                return Some(format!("{user}: {should} the role {role}, and holds {held:?}"));
            }
        }
        None
    }

    /// Everything that differs, both ways: also accounts that nobody in Entra stands behind.
    pub fn differences(&self, users: &[String]) -> Vec<String> {
        let (accounts, given) = (self.accounts(), self.given());
        let mut found: Vec<String> =
            users.iter().filter_map(|user| self.difference(user, &accounts, &given)).collect();
        let known: BTreeSet<&String> = users.iter().collect();
        found.extend(
            accounts
                .keys()
                .filter(|id| !known.contains(id))
                .map(|id| format!("{id}: an account nobody asked for")),
        );
        if accounts.len() != self.cxone.users().len() {
            found.push("two accounts were made for one user".to_owned());
        }
        found
    }
}
