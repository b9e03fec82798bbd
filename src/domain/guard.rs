//! The brake: sliding budgets for what must not happen in bulk by accident.
//!
//! What counts: every account that is turned off, every role that is taken, every `privileged` role
//! that is given. A budget is asked before the write and charged in the same commit that records the
//! intent, so it holds in any order of the writes and across restarts. Time is that of the guard's
//! own clock, which only runs while the service does: neither a restart nor a corrected wall clock
//! makes room.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarded {
    /// An account turned off.
    Deactivations,
    /// Roles taken, each by itself.
    RoleRemovals,
    /// Roles marked `privileged` given, each by itself.
    PrivilegedGrants,
}

impl Guarded {
    pub const ALL: [Self; 3] = [Self::Deactivations, Self::RoleRemovals, Self::PrivilegedGrants];

    /// Its name in the configuration and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deactivations => "deactivations",
            Self::RoleRemovals => "role_removals",
            Self::PrivilegedGrants => "privileged_grants",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Deactivations => "deactivations",
            Self::RoleRemovals => "roles taken",
            Self::PrivilegedGrants => "privileged roles given",
        }
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much may happen without an operator. Each bound that is `None` does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    pub per_hour: Option<u64>,
    pub per_day: Option<u64>,
    /// Of the linked users; at least one is always allowed by it, and 100 is no bound.
    pub percent_per_hour: Option<f64>,
    pub percent_per_day: Option<f64>,
}

/// The budgets of everything that is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budgets {
    pub deactivations: Budget,
    pub role_removals: Budget,
    pub privileged_grants: Budget,
}

impl Budgets {
    pub const fn of(&self, guarded: Guarded) -> &Budget {
        match guarded {
            Guarded::Deactivations => &self.deactivations,
            Guarded::RoleRemovals => &self.role_removals,
            Guarded::PrivilegedGrants => &self.privileged_grants,
        }
    }
}

/// What has been done already within the sliding windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub last_hour: u64,
    pub last_day: u64,
    pub linked_users: u64,
}

/// What one plan takes out of the budgets. What is zero is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spend(BTreeMap<Guarded, u64>);

impl Spend {
    pub fn add(&mut self, guarded: Guarded, n: u64) {
        if n > 0 {
            *self.0.entry(guarded).or_default() += n;
        }
    }

    pub fn of(&self, guarded: Guarded) -> u64 {
        self.0.get(&guarded).copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Guarded, u64)> {
        self.0.iter().map(|(guarded, n)| (*guarded, *n))
    }

    /// All of it, whatever it is.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// One bound of a budget, and how much of it is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// Its key in the configuration, such as `per_hour`.
    pub name: String,
    /// `hour` or `day`.
    pub window: String,
    pub used: u64,
    pub limit: u64,
    /// Of a share of the linked users: how many percent. `limit` is what that comes to.
    pub percent: Option<f64>,
}

/// The bounds that apply, and how they stand.
pub fn bounds(budget: &Budget, usage: &Usage) -> Vec<Bound> {
    let percent_of = |percent: f64| ((usage.linked_users as f64 * percent / 100.0).floor() as u64).max(1);
    let fixed = |bound: Option<u64>| bound.map(|bound| (bound, None));
    [
        ("per_hour", fixed(budget.per_hour), "hour", usage.last_hour),
        ("per_day", fixed(budget.per_day), "day", usage.last_day),
        ("percent_per_hour", share(budget.percent_per_hour, percent_of), "hour", usage.last_hour),
        ("percent_per_day", share(budget.percent_per_day, percent_of), "day", usage.last_day),
    ]
    .into_iter()
    .filter_map(|(name, bound, window, used)| {
        let (limit, percent) = bound?;
        Some(Bound { name: name.to_owned(), window: window.to_owned(), used, limit, percent })
    })
    .collect()
}

/// Which bound `n` more would break, as a sentence for an operator; `None` when there is room.
pub fn over(guarded: Guarded, budget: &Budget, usage: &Usage, n: u64) -> Option<String> {
    let broken = |bound: &Bound| bound.used.saturating_add(n) > bound.limit;
    let Bound { name, window, used, limit, percent } = bounds(budget, usage).into_iter().find(broken)?;
    let is = match percent {
        None => format!("{limit}"),
        Some(percent) => format!("{percent}, which is {limit} of {} users", usage.linked_users),
    };
    let (words, name_of) = (guarded.words(), guarded.name());
    Some(format!("{used} {words} in the last {window}; guard.{name_of}.{name} is {is}"))
}

/// Over what the budgets slide, as [`Bound::window`] has it.
pub const WINDOWS: [&str; 2] = ["hour", "day"];

/// The share of the tightest bound of a window that is used up: from 0 on, and 1 when nothing more
/// passes. `None` when the window has no bound.
pub fn used(budget: &Budget, usage: &Usage, window: &str) -> Option<f64> {
    let of_window = bounds(budget, usage).into_iter().filter(|bound| bound.window == window);
    let Bound { used, limit, .. } = of_window.min_by_key(|bound| bound.limit)?;
    Some(if limit == 0 { 1.0 } else { used as f64 / limit as f64 })
}

/// A percentage as a number of users; 100 and more is no bound.
fn share(percent: Option<f64>, of: impl Fn(f64) -> u64) -> Option<(u64, Option<f64>)> {
    percent.filter(|percent| *percent < 100.0).map(|percent| (of(percent), Some(percent)))
}

#[cfg(test)]
mod tests;
