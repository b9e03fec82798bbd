//! What would happen: the live code without the writer.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value as Json, json};

use crate::cxone::{Draft, Intent};
use crate::domain::evidence::Evidence;
use crate::domain::guard::{Guarded, Spend, bounds, over};
use crate::domain::observed::Observed;
use crate::domain::plan::{Action, Plan, Target};
use crate::domain::user::{GroupId, UserId};
use crate::graph::PageNext;
use crate::store;
use crate::telemetry::Progress;

use super::Worker;
use super::apply::Preconditions;
use super::decide::Decided;
use super::failure::Stopped;
use super::look::{Known, Look};

/// Looks under way at once while many users are planned.
pub(super) const LOOKS_AT_ONCE: usize = 32;

impl Worker {
    /// What would be done about one user now.
    pub async fn plan(&self, user: UserId) -> Json {
        match self.look_and_decide(user).await {
            Ok((look, decided)) => self.plan_json(user, &look, &decided),
            Err(stopped) => json!({
                "user": user, "scimId": null, "action": "unknown", "reason": "look_failed",
                "sentence": "a side could not be read", "evidence": null, "changes": [], "attributes": [],
                "error": stopped.words(),
            }),
        }
    }

    /// The plans, and what all of them together would take out of the guard's budgets.
    pub async fn plan_many(&self, users: Vec<UserId>, progress: &Progress) -> Result<Json, store::Error> {
        progress.begin("looking at users", Some(users.len()));
        let planning = stream::iter(users).map(|user| self.plan(user)).buffered(LOOKS_AT_ONCE);
        let plans: Vec<Json> = planning.inspect(|_| progress.add(1)).collect().await;
        let mut planned = Spend::default();
        for plan in &plans {
            let spend: Spend =
                plan.get("spend").and_then(|it| serde_json::from_value(it.clone()).ok()).unwrap_or_default();
            spend.iter().for_each(|(guarded, n)| planned.add(guarded, n));
        }
        Ok(json!({ "plans": plans, "guard": self.guard_json(&planned).await? }))
    }

    /// How the budgets stand, and whether `planned` fits into them.
    pub async fn guard_json(&self, planned: &Spend) -> Result<Json, store::Error> {
        let clock = self.guard_clock().await?;
        let mut guard = serde_json::Map::new();
        for guarded in Guarded::ALL {
            let (usage, n) = (self.store.guard_usage(guarded, clock).await?, planned.of(guarded));
            let budget = self.settings.budgets.of(guarded);
            let over = (n > 0).then(|| over(guarded, budget, &usage, n)).flatten();
            guard.insert(
                guarded.name().to_owned(),
                json!({ "planned": n, "lastHour": usage.last_hour, "lastDay": usage.last_day,
                    "linkedUsers": usage.linked_users, "budget": budget, "over": over,
                    "bounds": bounds(budget, &usage) }),
            );
        }
        Ok(Json::Object(guard))
    }

    /// Everybody the directory has, and everybody linked who is no longer there.
    pub async fn everybody(&self, progress: &Progress) -> Result<Vec<UserId>, Stopped> {
        progress.begin("reading Entra", None);
        let mut users = BTreeSet::new();
        let mut link = None;
        loop {
            let page = self.graph.user_page(link.as_deref()).await?;
            progress.add(page.items.len());
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

    /// The users of a group, nested ones included, as the directory has them now. Absent: there is no
    /// such group.
    pub async fn users_of(&self, group: GroupId) -> Result<Observed<BTreeSet<UserId>>, Stopped> {
        let (mut users, mut seen, mut open) = (BTreeSet::new(), BTreeSet::from([group]), vec![group]);
        while let Some(next) = open.pop() {
            let members = match self.graph.group_members(next).await? {
                Observed::Present(members) => members,
                Observed::Absent if next == group => return Ok(Observed::Absent),
                // Gone since its parent was read.
                Observed::Absent => continue,
            };
            users.extend(members.users);
            open.extend(members.groups.into_iter().filter(|nested| seen.insert(*nested)));
        }
        Ok(Observed::Present(users))
    }

    pub(super) async fn look_and_decide(&self, user: UserId) -> Result<(Look, Decided), Stopped> {
        let job = self.store.job(user).await?;
        let known = match &job {
            // Details of a delta page are left to the job that waits for them.
            Some(job) => Known { latest_news_at: None, ..Known::of(job) },
            None => Known::default(),
        };
        let mut look = self.look(user, known).await?;
        // Only who writes must be alone with the account; kept, it would be waited for by another look.
        look.held = None;
        let first = job.and_then(|job| job.out_of_scope);
        let decided = self.decided(user, &look, first.as_ref(), self.clock.now());
        Ok((look, decided))
    }

    pub(super) fn plan_json(&self, user: UserId, look: &Look, decided: &Decided) -> Json {
        let plan = &decided.plan;
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
        json!({
            "user": user, "scimId": look.scim_id(), "action": action_name(&plan.action),
            "reason": plan.reason.code(), "sentence": plan.reason.sentence(),
            "evidence": plan.evidence().map(Evidence::sentence),
            "changes": plan.changes(), "attributes": attributes, "error": null,
            "spend": plan.spend(&self.settings.rules.roles),
            "plan": plan.hash(user, look.scim_id()),
            "preconditions": Preconditions::of(look),
            "requests": self.requests(look, plan),
            "held": look.case.held, "order": decided.work,
        })
    }

    /// Exactly what would be sent first. Empty where nothing is, or where the user would be read again
    /// before.
    fn requests(&self, look: &Look, plan: &Plan) -> Vec<Draft> {
        let changes = plan.changes();
        let intent = match (&plan.action, &look.found) {
            (Action::Create(attributes), _) => Intent::Create(attributes),
            (_, Some(found)) => Intent::Update(found, &changes),
            (_, None) => return Vec::new(),
        };
        // A user that cannot be written is told when it is tried.
        self.cxone.preview(intent).ok().flatten().into_iter().collect()
    }
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
        Action::Confirm { .. } => "confirm",
    }
}

/// The CXone user a look found.
pub(super) fn shown(look: &Look) -> Option<&crate::domain::user::TargetUser> {
    match &look.target {
        Target::Found(shown) => Some(shown),
        _ => None,
    }
}
