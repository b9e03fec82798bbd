//! One round of a delta query: which items, in which pages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Tenant;
use super::directory::{Condition, Directory, Kind, What};
use super::users::{self, defaults};

/// The less friendly habits of delta queries.
#[derive(Clone, Copy, Debug)]
pub struct DeltaOptions {
    /// That a page is followed by an empty one with a nextLink.
    pub empty_pages: f64,
    /// That an item comes once more later in the round.
    pub repeats: f64,
    /// That `@removed` items stand in a full round too.
    pub removed_in_full_rounds: bool,
    /// That properties which never had a value are left out rather than `null`.
    pub omit_never_set: bool,
}

impl Default for DeltaOptions {
    fn default() -> Self {
        Self { empty_pages: 0.0, repeats: 0.0, removed_in_full_rounds: true, omit_never_set: true }
    }
}

pub(super) struct Round {
    pub(super) kind: Kind,
    pub(super) wish: Wish,
    pub(super) pages: Vec<Vec<Value>>,
    /// Where in the change log the next round begins.
    pub(super) end: usize,
}

/// What the round was asked to show; its tokens carry it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) select: Option<Vec<String>>,
    pub(super) only: Option<BTreeSet<String>>,
}

/// `from`: `None` for a full round, else where in the change log this one begins.
pub(super) fn draw_up(
    sim: &Tenant,
    directory: &Directory,
    kind: Kind,
    wish: Wish,
    from: Option<usize>,
    minimal: bool,
) -> Arc<Round> {
    let mut items = match from {
        None => everything(sim, directory, kind, &wish),
        Some(from) => changes(sim, directory, kind, &wish, from, minimal),
    };
    let (dice, options) = (&sim.traffic.dice, &sim.options.delta);
    for index in 0..items.len() {
        if dice.chance(options.repeats) {
            let later = index + 1 + dice.below(items.len() - index);
            items.insert(later, items[index].clone());
        }
    }
    let mut pages: Vec<Vec<Value>> = Vec::new();
    for page in items.chunks(sim.options.page_size.max(1)) {
        pages.push(page.to_vec());
        if dice.chance(options.empty_pages) {
            pages.push(Vec::new());
        }
    }
    if pages.is_empty() {
        pages.push(Vec::new());
    }
    Arc::new(Round { kind, wish, pages, end: directory.log.len() })
}

fn everything(sim: &Tenant, directory: &Directory, kind: Kind, wish: &Wish) -> Vec<Value> {
    let mut items = Vec::new();
    for (id, state) in directory.all(kind).filter(|(id, _)| wanted(wish, id)) {
        if state.condition == Condition::SoftDeleted {
            if sim.options.delta.removed_in_full_rounds {
                items.push(removed(id, "changed"));
            }
            continue;
        }
        let members = shows_members(kind, wish).then(|| {
            let added =
                |(member, kind): (&String, &Kind)| json!({"@odata.type": kind.odata_type(), "id": member});
            state.members.iter().map(added).collect()
        });
        push_with_members(sim, &mut items, item(sim, directory, kind, id, wish, None), members);
    }
    items
}

/// What happened to one object since the round before.
#[derive(Default)]
struct Since {
    properties: BTreeSet<String>,
    existence: bool,
    members: BTreeMap<String, Kind>,
}

fn changes(
    sim: &Tenant,
    directory: &Directory,
    kind: Kind,
    wish: &Wish,
    from: usize,
    minimal: bool,
) -> Vec<Value> {
    let mut order = Vec::new();
    let mut since: HashMap<&str, Since> = HashMap::new();
    for change in
        directory.log[from..].iter().filter(|change| change.kind == kind && wanted(wish, &change.id))
    {
        let entry = since.entry(&change.id).or_insert_with(|| {
            order.push(change.id.as_str());
            Since::default()
        });
        match &change.what {
            What::Updated(properties) => entry.properties.extend(properties.iter().cloned()),
            What::Created | What::SoftDeleted | What::Restored | What::HardDeleted => entry.existence = true,
            What::Joined(member, kind) | What::Left(member, kind) => {
                entry.members.insert(member.clone(), *kind);
            }
        }
    }
    let mut items = Vec::new();
    for id in order {
        let happened = &since[id];
        let Some(state) = directory.truth(id) else { continue };
        match state.condition {
            Condition::Gone => items.push(removed(id, "deleted")),
            // A change made to an object before it was deleted is no news of its own.
            Condition::SoftDeleted if happened.existence => items.push(removed(id, "changed")),
            Condition::SoftDeleted => {}
            Condition::Live => {
                let tracked = |name: &String| match &wish.select {
                    Some(select) => select.contains(name),
                    None => defaults(kind).contains(&name.as_str()),
                };
                let with_members = shows_members(kind, wish) && !happened.members.is_empty();
                if !happened.existence && !with_members && !happened.properties.iter().any(tracked) {
                    continue;
                }
                let only = (minimal && !happened.existence).then_some(&happened.properties);
                let members = with_members.then(|| {
                    let entry = |(member, kind): (&String, &Kind)| {
                        let mut entry = json!({"@odata.type": kind.odata_type(), "id": member});
                        if !state.members.contains_key(member) {
                            entry["@removed"] = json!({"reason": "deleted"});
                        }
                        entry
                    };
                    happened.members.iter().map(entry).collect()
                });
                push_with_members(sim, &mut items, item(sim, directory, kind, id, wish, only), members);
            }
        }
    }
    items
}

fn wanted(wish: &Wish, id: &str) -> bool {
    wish.only.as_ref().is_none_or(|only| only.contains(id))
}

/// Members are part of a group's delta unless a `$select` leaves them out.
fn shows_members(kind: Kind, wish: &Wish) -> bool {
    kind == Kind::Group
        && wish.select.as_ref().is_none_or(|select| select.iter().any(|name| name == "members"))
}

fn removed(id: &str, reason: &str) -> Value {
    json!({"id": id, "@removed": {"reason": reason}})
}

fn item(
    sim: &Tenant,
    directory: &Directory,
    kind: Kind,
    id: &str,
    wish: &Wish,
    only: Option<&BTreeSet<String>>,
) -> Map<String, Value> {
    let state = directory.truth(id).expect("the caller found it");
    let own: Option<Vec<String>> = wish.select.as_ref().map(|names| {
        let relations = ["members", "owners", "manager"];
        names.iter().filter(|name| !relations.contains(&name.as_str())).cloned().collect()
    });
    let mut shown = users::show(kind, &state.properties, own.as_deref());
    shown.retain(|name, _| {
        let changed = only.is_none_or(|only| only.contains(name));
        let was_set = !sim.options.delta.omit_never_set || directory.ever_set(id, name);
        name == "id" || (changed && was_set)
    });
    shown
}

/// A group with many members fills items of its own, which repeat its id.
fn push_with_members(
    sim: &Tenant,
    items: &mut Vec<Value>,
    mut item: Map<String, Value>,
    members: Option<Vec<Value>>,
) {
    let members = members.unwrap_or_default();
    let id = item["id"].clone();
    let mut parts = members.chunks(sim.options.members_per_item.max(1));
    if let Some(part) = parts.next() {
        item.insert("members@delta".to_owned(), json!(part));
    }
    items.push(Value::Object(item));
    items.extend(parts.map(|part| json!({"id": id, "members@delta": part})));
}
