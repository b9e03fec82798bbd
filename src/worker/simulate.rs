//! Tries other rules on what was seen of everybody.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::domain::guard::Budgets;
use crate::domain::rules::Rules;
use crate::domain::simulate::{Effect, Trial, exceeded};
use crate::store;

use super::Worker;

/// Users whose states are in memory at once.
const PAGE: usize = 200;

impl Worker {
    /// What the new rules would have done otherwise than those in force, on all that was seen since then;
    /// without a time, on what was last seen.
    pub async fn try_rules(&self, new: &Rules, since: Option<Timestamp>) -> Result<Effect, store::Error> {
        let kept = self.store.kept_groups().await?;
        let trial = Trial { present: &self.settings.rules, new, kept: &kept };
        let (mut effect, mut after) = (Effect::default(), None);
        loop {
            let page = self.store.states_since(since.unwrap_or(Timestamp::MAX), after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(effect) };
            after = Some(*last);
            for (user, states) in page {
                let link = self.store.link(user).await?;
                effect.add(&trial, user, &states, link.as_ref());
            }
        }
    }

    /// An effect as the admin API tells it.
    pub async fn told(&self, effect: &Effect, new: &Rules, budgets: &Budgets) -> Result<Json, store::Error> {
        let at_once = effect.at_once(new);
        let exceeded = exceeded(budgets, &at_once, self.store.links_count().await?);
        Ok(json!({
            "users": effect.n_users, "states": effect.n_states, "summary": effect.summary(),
            "lines": effect.lines().collect::<Vec<_>>(), "at_once": at_once, "exceeded": exceeded,
        }))
    }
}
