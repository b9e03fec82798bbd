//! The simulated tenant: who is in it, and what happens to them.

use serde_json::{Value, json};

use crate::sim::GraphSim;

/// Role groups of the tenant: a group and the CXone role it gives. The first one is everybody's.
pub const ROLES: [&str; 3] = ["Agent", "Supervisor", "Evaluator"];

const GIVEN: [&str; 20] = [
    "Ana", "Ben", "Chiara", "Daniel", "Eva", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Karima", "Luca",
    "Mina", "Noah", "Olga", "Pavel", "Rosa", "Samir", "Tilda", "Yusuf",
];
const FAMILY: [&str; 20] = [
    "Martin", "Silva", "Keller", "Novak", "Rossi", "Haddad", "Larsen", "Kaya", "Moreau", "Vogel", "Costa",
    "Nilsson", "Okafor", "Petrov", "Quinn", "Romero", "Schmid", "Tanaka", "Ueda", "Weber",
];

/// The people and groups of the demo, with a seeded chance.
pub struct People {
    graph: GraphSim,
    chance: fastrand::Rng,
    /// Everybody who can be changed, by id.
    pub ids: Vec<String>,
    /// Group ids, in the order of [`ROLES`].
    pub groups: Vec<String>,
    /// A group nested in the second role group: joining it gives that role too.
    nested: String,
    hired: usize,
}

/// What was done, for the screen.
pub struct Told {
    pub user: String,
    pub what: String,
}

impl People {
    /// Groups only; people come with [`People::hire`].
    pub fn new(graph: GraphSim, seed: u64) -> Self {
        let groups: Vec<String> = ROLES
            .iter()
            .map(|role| graph.add_group(json!({ "displayName": format!("CXone {role}s") })))
            .collect();
        let nested = graph.add_group(json!({ "displayName": "Team leads" }));
        graph.add_member(&groups[1], &nested);
        Self { graph, chance: fastrand::Rng::with_seed(seed), ids: Vec::new(), groups, nested, hired: 0 }
    }

    pub fn hire(&mut self) -> Told {
        let n = self.hired;
        self.hired += 1;
        let (given, family) = (GIVEN[n % GIVEN.len()], FAMILY[(n / GIVEN.len() + n) % FAMILY.len()]);
        let name = format!("{}.{}{n}@demo.example.com", given.to_lowercase(), family.to_lowercase());
        let user = self.graph.add_user(json!({
            "userPrincipalName": name, "mail": name, "accountEnabled": true,
            "givenName": given, "surname": family, "displayName": format!("{given} {family}"),
        }));
        self.graph.add_member(&self.groups[0], &user);
        self.ids.push(user.clone());
        Told { user, what: format!("{given} {family} joins") }
    }

    /// One thing that happens on an ordinary day.
    pub fn change(&mut self) -> Told {
        let user = self.ids[self.chance.usize(..self.ids.len())].clone();
        let Some(now) = self.graph.user(&user) else {
            // Gone for now: whoever was deleted comes back.
            self.graph.restore(&user);
            return Told { user, what: "restored".to_owned() };
        };
        let text = |name: &str| now[name].as_str().unwrap_or_default().to_owned();
        let (given, old) = (text("givenName"), text("displayName"));
        let n = self.chance.u32(..1_000_000);
        let what = match self.chance.u32(..100) {
            0..30 => {
                let family = FAMILY[self.chance.usize(..FAMILY.len())];
                self.set(&user, json!({ "surname": family, "displayName": format!("{given} {family}") }));
                format!("{old} is now called {given} {family}")
            }
            30..45 => {
                let mail = format!("{}.{n}@demo.example.com", given.to_lowercase());
                self.set(&user, json!({ "mail": mail }));
                format!("{old} has a new address")
            }
            45..55 => {
                let name = format!("{}.{n}@renamed.example.com", given.to_lowercase());
                self.set(&user, json!({ "userPrincipalName": name }));
                format!("{old} signs in by a new name")
            }
            55..70 if now["accountEnabled"] == Value::Bool(true) => {
                self.graph.disable(&user);
                format!("{old} is disabled")
            }
            55..70 => {
                self.graph.enable(&user);
                format!("{old} is enabled again")
            }
            70..88 => {
                let choice = self.chance.usize(..3);
                let group = if choice == 0 { &self.nested } else { &self.groups[choice] };
                if self.graph.members(group).contains(&user) {
                    self.graph.remove_member(group, &user);
                    format!("{old} leaves a group")
                } else {
                    self.graph.add_member(group, &user);
                    format!("{old} joins a group")
                }
            }
            88..96 => return self.hire(),
            _ => {
                self.graph.soft_delete(&user);
                format!("{old} is deleted")
            }
        };
        Told { user, what }
    }

    fn set(&self, user: &str, properties: Value) {
        self.graph.update_user(user, properties);
    }
}
