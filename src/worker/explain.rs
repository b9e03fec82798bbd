//! Every step of the decision about one user, each with its reason, as it is now and as the history
//! tells it of an earlier time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::clock::later;
use crate::domain::case::{ORDERS_LAST, ordered_at};
use crate::domain::plan::Source;
use crate::domain::queue::{Remark, Write, WriteResult};
use crate::domain::simulate::decided;
use crate::domain::user::{Attribute, Membership, UserId, Value};
use crate::store::Wanted;

use super::Worker;
use super::failure::Stopped;
use super::inspect::shown;
use super::look::Look;

/// Writes, remarks and news that are shown.
const SHOWN: usize = 20;

impl Worker {
    pub async fn explain(&self, user: UserId) -> Result<Json, Stopped> {
        let (job, case) = (self.store.job(user).await?, self.store.case(user).await?.unwrap_or_default());
        let history = self.store.history(Some(user), None, SHOWN).await?;
        let remarks = self.store.remarks(Some(user), SHOWN).await?;
        let news = self.store.news_of(user, SHOWN).await?;
        let membership = self.membership(user).await?;
        let paths = self.store.membership_paths(user).await?;
        let link = self.store.link(user).await?;
        let looked = self.look_and_decide(user).await;
        let held = match &looked {
            Ok((look, _)) => shown(look).and_then(|shown| shown.attributes.get(&Attribute::Roles)).cloned(),
            Err(_) => None,
        };
        let groups: Vec<Json> = membership
            .groups
            .iter()
            .map(|group| {
                let through: Vec<_> = paths.iter().filter(|path| path.last() == Some(group)).collect();
                json!({ "group": group, "paths": through })
            })
            .collect();
        let source = match &looked {
            Ok((Look { source: Source::Present(found), .. }, _)) => {
                json!({ "enabled": found.enabled, "properties": found.properties })
            }
            Ok((Look { source: Source::Gone(evidence), .. }, _)) => json!({ "gone": evidence.sentence() }),
            _ => Json::Null,
        };
        let plan = match &looked {
            Ok((look, decided)) => self.plan_json(user, look, decided),
            Err(stopped) => json!({ "action": "unknown", "error": stopped.words() }),
        };
        Ok(json!({
            "user": user, "at": Timestamp::to_string(&self.clock.now()), "source": source, "news": news,
            "membership": { "groups": groups, "complete": membership.complete, "readAt": membership.read_at,
                "scopeReadAt": membership.scope_read_at },
            "roles": self.roles_json(&membership, held.as_ref()), "link": link, "job": job, "plan": plan,
            "held": case.held, "approval": case.approval, "order": case.work, "restraints": case.restraints,
            "drift": case.drift, "observed": case.observed, "history": history, "remarks": remarks,
        }))
    }

    /// What the history tells of an earlier time. Nothing is read from either side: what they showed
    /// is known only as far as we wrote it.
    pub async fn explain_at(&self, user: UserId, at: Timestamp) -> Result<Json, Stopped> {
        let just_after = later(at, Duration::from_nanos(1));
        let wanted = Wanted { user: Some(user), ..Wanted::default() };
        let all = self.store.writes(wanted.clone(), usize::MAX).await?;
        let (mut afterwards, mut until_then): (Vec<Write>, Vec<Write>) =
            all.into_iter().partition(|write| write.at > at);
        afterwards.reverse();
        let values = values_at(&until_then, &afterwards);
        let before = Wanted { before: Some(just_after), ..wanted };
        // Everything that is kept: what was ordered long ago may have been open then.
        let mut remarks = self.store.wanted_remarks(before, usize::MAX).await?;
        let orders = open_orders(&remarks, &until_then, at);
        let case = self.store.case(user).await?.unwrap_or_default();
        let restraints: Vec<_> = case.restraints.into_iter().filter(|restraint| restraint.at <= at).collect();
        let scim_id = until_then.iter().chain(&afterwards).find_map(|write| write.scim_id.clone());
        until_then.truncate(SHOWN);
        remarks.truncate(SHOWN);
        let seen = self.store.state_at(user, at).await?;
        let link = self.store.link(user).await?;
        let decision = seen.as_ref().map(|seen| {
            let plan = decided(&self.settings.rules, user, seen, link.as_ref(), &restraints);
            json!({ "reason": plan.reason.code(), "sentence": plan.reason.sentence(), "changes": plan.changes() })
        });
        Ok(json!({
            "user": user, "at": at.to_string(), "scimId": scim_id, "values": values, "history": until_then,
            "remarks": remarks, "held": case.held.filter(|held| held.since <= at), "orders": orders,
            "restraints": restraints, "seen": seen, "decision": decision,
        }))
    }

    /// Each row of the table and each role held, and why it is so.
    fn roles_json(&self, membership: &Membership, held: Option<&Value>) -> Vec<Json> {
        let (table, held) = (&self.settings.rules.roles, Value::items(held));
        let owner = self.settings.rules.attributes.get(&Attribute::Roles).map(|rule| rule.owner);
        let rows = table.rows().iter().map(|row| {
            json!({
                "role": row.role, "group": row.group, "privileged": row.privileged,
                "given": membership.groups.contains(&row.group), "held": held.contains(&row.role),
                "code": row.judge(membership, &held).code(), "owner": owner,
            })
        });
        let outside = held.iter().filter(|role| !table.contains(role)).map(|role| {
            json!({
                "role": role, "group": null, "privileged": false, "given": false, "held": true,
                "code": "outside_the_table", "owner": owner,
            })
        });
        rows.chain(outside).collect()
    }
}

/// What CXone showed of each attribute, by the writes up to then, newest first, and those after, oldest
/// first.
fn values_at(until_then: &[Write], later: &[Write]) -> Vec<Json> {
    let mut values: BTreeMap<Attribute, Json> = BTreeMap::new();
    let happened = |write: &&Write| !matches!(write.result, WriteResult::Refused { .. });
    for write in until_then.iter().filter(happened) {
        for change in &write.changes {
            let value = write.shown.get(&change.attribute).or(change.after.as_ref());
            let known = json!({
                "attribute": change.attribute, "value": value, "since": write.at, "entry": write.number,
                "certain": matches!(write.result, WriteResult::Applied | WriteResult::NotApplied),
                "from": "written",
            });
            values.entry(change.attribute).or_insert(known);
        }
    }
    for write in later {
        for change in &write.changes {
            // The next write tells what it found, which may have been changed by hand since.
            let known = json!({
                "attribute": change.attribute, "value": change.before, "since": null, "entry": write.number,
                "certain": false, "from": "found_later",
            });
            values.entry(change.attribute).or_insert(known);
        }
    }
    values.into_values().collect()
}

/// The orders that had been given and not yet come to an end: neither written nor skipped.
fn open_orders(remarks: &[Remark], until_then: &[Write], at: Timestamp) -> Vec<Json> {
    let written = until_then.iter().filter_map(|write| write.batch.as_ref());
    let skipped = remarks.iter().filter(|remark| remark.code == "skipped");
    let ended: BTreeSet<&String> =
        written.chain(skipped.filter_map(|remark| remark.batch.as_ref())).collect();
    let given = remarks.iter().filter(|remark| remark.words == "ordered");
    let open = given.filter(|remark| remark.batch.as_ref().is_some_and(|batch| !ended.contains(batch)));
    let lasting = open.filter(|remark| {
        let given_at = remark.batch.as_deref().and_then(ordered_at).unwrap_or(remark.at);
        later(given_at, ORDERS_LAST) > at
    });
    lasting
        .map(|remark| {
            let Remark { at, code, by, batch, .. } = remark;
            json!({ "at": at, "order": code, "by": by, "batch": batch })
        })
        .collect()
}

#[cfg(test)]
mod tests;
