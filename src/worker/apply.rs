//! Carrying out a plan that was made earlier: exactly that one, and only where nothing has moved.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::clock::later;
use crate::domain::case::{ORDERS_LAST, Task, Work, new_batch};
use crate::domain::digest::of_json;
use crate::domain::plan::Source;
use crate::domain::user::{GroupId, ScimId, UserId};
use crate::graph::fingerprint;
use crate::store;

use super::Worker;
use super::inspect::{LOOKS_AT_ONCE, shown};
use super::look::Look;

/// What a plan rests on. A plan file carries it, so that it can be told what has moved since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// A digest of what Entra showed, or that the user is gone.
    pub entra: String,
    /// The relevant groups the user was in.
    pub groups: BTreeSet<GroupId>,
    /// A digest of what CXone showed.
    pub cxone: Option<String>,
    pub scim_id: Option<ScimId>,
}

impl Preconditions {
    pub fn of(look: &Look) -> Self {
        let entra = match &look.source {
            Source::Present(user) => fingerprint(user),
            Source::Gone(_) => "gone".to_owned(),
            Source::Unknown => "unknown".to_owned(),
        };
        Self {
            entra,
            groups: look.membership.groups.clone(),
            cxone: shown(look).map(|shown| of_json(&json!(shown.attributes))),
            scim_id: look.scim_id().cloned(),
        }
    }

    /// What is otherwise in `now`.
    fn moved(&self, now: &Self) -> Vec<&'static str> {
        let compared = [
            ("entra", self.entra == now.entra),
            ("groups", self.groups == now.groups),
            ("cxone", self.cxone == now.cxone),
            ("link", self.scim_id == now.scim_id),
        ];
        compared.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

/// One plan of a file, as far as it is needed to carry it out.
#[derive(Clone, Debug, Deserialize)]
pub struct Filed {
    pub user: UserId,
    pub plan: String,
    /// `None`: the service made the plan by itself and kept only what it comes to.
    #[serde(default)]
    pub preconditions: Option<Preconditions>,
}

impl Worker {
    /// Orders what of these plans can still be carried out. The answer names the order, and whom it
    /// skips with what has moved. `batch`: goes on with an order that was begun.
    pub async fn apply(
        &self,
        plans: Vec<Filed>,
        by: String,
        batch: Option<String>,
    ) -> Result<Json, store::Error> {
        let now = self.clock.now();
        let batch = batch.unwrap_or_else(|| new_batch(now, &self.random.secret()));
        let looked = stream::iter(plans).map(|filed| async move {
            let looked = self.look_and_decide(filed.user).await;
            (filed, looked)
        });
        let (mut orders, mut skipped) = (Vec::new(), Vec::new());
        for (filed, looked) in looked.buffered(LOOKS_AT_ONCE).collect::<Vec<_>>().await {
            let Filed { user, plan, preconditions } = filed;
            let (look, decided) = match looked {
                Ok(seen) => seen,
                Err(stopped) => {
                    skipped.push(
                        json!({ "user": user, "code": "look_failed", "moved": [], "error": stopped.words() }),
                    );
                    continue;
                }
            };
            let now_is = Preconditions::of(&look);
            let moved = preconditions.map(|then| then.moved(&now_is)).unwrap_or_default();
            // Also where the plan has come out the same: it was looked at with what it rests on.
            if moved.is_empty() && decided.plan.hash(user, look.scim_id()) == plan {
                let (batch, by) = (batch.clone(), by.clone());
                let expires_at = later(now, ORDERS_LAST);
                orders.push((user, Work { batch, by, at: now, expires_at, task: Task::Apply { plan } }));
            } else {
                skipped.push(json!({ "user": user, "code": "moved", "moved": moved, "error": null }));
            }
        }
        let ordered = orders.len();
        self.store.order(orders, now).await?;
        Ok(json!({ "batch": batch, "ordered": ordered, "skipped": skipped }))
    }
}
