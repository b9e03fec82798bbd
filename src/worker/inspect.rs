//! What would happen, and why: the live code without the writer.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value as Json, json};

use crate::domain::plan::{Action, Plan, Source, Target, decide};
use crate::domain::queue::Change;
use crate::domain::user::UserId;
use crate::graph::PageNext;

use super::Worker;
use super::failure::Stopped;
use super::look::{Known, Look};

/// Looks under way at once while many users are planned.
const LOOKS_AT_ONCE: usize = 32;
/// Writes of the history shown by `explain`.
const HISTORY_SHOWN: usize = 20;

impl Worker {
    /// What would be done about one user now.
    pub async fn plan(&self, user: UserId) -> Json {
        match self.look_and_decide(user).await {
            Ok((look, plan)) => plan_json(user, &look, &plan),
            Err(stopped) => json!({
                "user": user, "scimId": null, "action": "unknown", "reason": "look_failed",
                "sentence": "a side could not be read", "evidence": null, "changes": [], "attributes": [],
                "error": stopped.words(),
            }),
        }
    }

    pub async fn plan_many(&self, users: Vec<UserId>) -> Vec<Json> {
        stream::iter(users).map(|user| self.plan(user)).buffered(LOOKS_AT_ONCE).collect().await
    }

    /// Everybody the directory has, and everybody linked who is no longer there.
    pub async fn everybody(&self) -> Result<Vec<UserId>, Stopped> {
        let mut users = std::collections::BTreeSet::new();
        let mut link = None;
        loop {
            let page = self.graph.user_page(link.as_deref()).await?;
            users.extend(page.items.iter().filter(|item| item.removed.is_none()).map(|item| item.id));
            match page.next {
                PageNext::More(next) => link = Some(next),
                PageNext::End(_) => break,
            }
        }
        let mut after = None;
        loop {
            let links = self.store.links(after, 1000).await?;
            let Some((last, _)) = links.last() else { break };
            after = Some(*last);
            users.extend(links.into_iter().map(|(user, _)| user));
        }
        Ok(users.into_iter().collect())
    }

    /// Every step of the decision about one user, each with its reason.
    pub async fn explain(&self, user: UserId) -> Result<Json, Stopped> {
        let job = self.store.job(user).await?;
        let history = self.store.history(Some(user), None, HISTORY_SHOWN).await?;
        let membership = self.store.membership(user).await?;
        let paths = self.store.membership_paths(user).await?;
        let link = self.store.link(user).await?;
        let looked = self.look_and_decide(user).await;
        let held = match &looked {
            Ok((look, _)) => match &look.target {
                Target::Found(shown) => shown.attributes.get(&crate::domain::user::Attribute::Roles).cloned(),
                _ => None,
            },
            Err(_) => None,
        };
        let holds = |role: &str| matches!(&held, Some(crate::domain::user::Value::List(roles)) if roles.iter().any(|held| held == role));
        let roles: Vec<Json> = self
            .settings
            .rules
            .roles
            .rows()
            .iter()
            .map(|row| json!({ "role": row.role, "group": row.group, "privileged": row.privileged, "given": membership.groups.contains(&row.group), "held": holds(&row.role) }))
            .collect();
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
            Ok((look, plan)) => plan_json(user, look, plan),
            Err(stopped) => json!({ "action": "unknown", "error": stopped.words() }),
        };
        Ok(json!({
            "user": user, "source": source,
            "membership": { "groups": groups, "complete": membership.complete },
            "roles": roles, "link": link, "job": job, "plan": plan, "history": history,
        }))
    }

    async fn look_and_decide(&self, user: UserId) -> Result<(Look, Plan), Stopped> {
        let known = match self.store.job(user).await? {
            // Details of a delta page are left to the job that waits for them.
            Some(job) => Known { latest_news_at: None, ..Known::of(&job) },
            None => Known::default(),
        };
        let look = self.look(user, known).await?;
        let plan =
            decide(&self.settings.rules, &look.source, &look.membership, &look.target, look.link.as_ref());
        Ok((look, plan))
    }
}

fn plan_json(user: UserId, look: &Look, plan: &Plan) -> Json {
    let scim_id = match &look.target {
        Target::Found(shown) => Some(&shown.id),
        _ => look.link.as_ref().map(|link| &link.scim_id),
    };
    let attributes: Vec<Json> = plan
        .verdicts
        .iter()
        .map(|v| {
            json!({
                "attribute": v.attribute, "source": v.source, "target": v.target, "baseline": v.baseline,
                "owner": v.owner, "decision": v.decision, "reason": v.why,
            })
        })
        .collect();
    let changes: Vec<Change> = plan.changes();
    json!({
        "user": user, "scimId": scim_id, "action": action_name(&plan.action),
        "reason": plan.reason.code(), "sentence": plan.reason.sentence(),
        "evidence": plan.evidence().map(crate::domain::evidence::Evidence::sentence),
        "changes": changes, "attributes": attributes, "error": null,
    })
}

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Nothing => "nothing",
        Action::Create(_) => "create",
        Action::Patch(_) => "patch",
        Action::Reactivate(_) => "reactivate",
        Action::Deactivate { .. } => "deactivate",
        Action::Hold => "hold",
        Action::Park => "park",
        Action::LookAgain => "unknown",
    }
}
