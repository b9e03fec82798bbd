//! The brake: sliding budgets for what must not happen in bulk by accident.

use std::time::Duration;

pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many deactivations may happen without an operator. Each bound that is `None` does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    pub per_hour: Option<u64>,
    pub per_day: Option<u64>,
    /// Of the linked users; at least one user is always allowed by it, and 100 is no bound.
    pub percent_per_day: Option<f64>,
}

/// What has been done already within the sliding windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub last_hour: u64,
    pub last_day: u64,
    pub linked_users: u64,
}

/// Which bound one more would break, as a sentence for an operator; `None` when there is room.
pub fn over(budget: &Budget, usage: &Usage) -> Option<String> {
    if let Some(bound) = budget.per_hour
        && usage.last_hour >= bound
    {
        return Some(format!(
            "{} deactivations in the last hour; guard.deactivations.per_hour is {bound}",
            usage.last_hour
        ));
    }
    if let Some(bound) = budget.per_day
        && usage.last_day >= bound
    {
        return Some(format!(
            "{} deactivations in the last day; guard.deactivations.per_day is {bound}",
            usage.last_day
        ));
    }
    let percent = budget.percent_per_day.filter(|percent| *percent < 100.0)?;
    let bound = ((usage.linked_users as f64 * percent / 100.0).floor() as u64).max(1);
    (usage.last_day >= bound).then(|| {
        format!(
            "{} deactivations in the last day; guard.deactivations.percent_per_day is {percent}, which is {bound} of {} users",
            usage.last_day, usage.linked_users
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_holds_by_itself() {
        let usage = Usage { last_hour: 50, last_day: 60, linked_users: 1000 };
        let budget = |per_hour, per_day, percent_per_day| Budget { per_hour, per_day, percent_per_day };
        assert_eq!(over(&budget(Some(51), Some(61), Some(6.1)), &usage), None);
        assert_eq!(over(&Budget::default(), &usage), None);
        assert!(over(&budget(Some(50), None, None), &usage).unwrap().contains("per_hour is 50"));
        assert!(over(&budget(None, Some(60), None), &usage).unwrap().contains("per_day is 60"));
        assert!(over(&budget(None, None, Some(6.0)), &usage).unwrap().contains("60 of 1000 users"));
    }

    #[test]
    fn a_small_tenant_may_lose_one_user_a_day() {
        let budget = Budget { percent_per_day: Some(5.0), ..Budget::default() };
        assert_eq!(over(&budget, &Usage { last_hour: 0, last_day: 0, linked_users: 3 }), None);
        assert!(over(&budget, &Usage { last_hour: 1, last_day: 1, linked_users: 3 }).is_some());
        let all = Budget { percent_per_day: Some(100.0), ..Budget::default() };
        assert_eq!(over(&all, &Usage { last_hour: 9, last_day: 9, linked_users: 3 }), None);
    }
}
