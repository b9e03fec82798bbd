//! Every step of the decision about one user, each with its reason.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::domain::plan::Source;
use crate::domain::user::{Attribute, Membership, UserId, Value};

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
            "membership": { "groups": groups, "complete": membership.complete, "readAt": membership.read_at },
            "roles": self.roles_json(&membership, held.as_ref()), "link": link, "job": job, "plan": plan,
            "held": case.held, "approval": case.approval, "order": case.work, "restraints": case.restraints,
            "drift": case.drift, "observed": case.observed, "history": history, "remarks": remarks,
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
