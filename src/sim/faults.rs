//! What goes wrong, by rule: on which requests, when, and how.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::dice::Dice;

/// One rule. The first rule that strikes decides; rules that do not match are not counted.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `None`: any method.
    pub method: Option<String>,
    /// Compared with the whole path without the query (`/v1.0/users/…`, `/scim/v2/Users/…`); `*`
    /// stands for anything, slashes included.
    pub path: String,
    pub when: When,
    pub what: What,
}

/// Which of the requests that match are struck. Counting starts at 1.
#[derive(Clone, Debug)]
pub enum When {
    Always,
    Nth(u64),
    /// The first so many.
    First(u64),
    /// From the first number to the second, both included.
    Between(u64, u64),
    /// The last `length` of each `every`: a storm that comes back.
    Storm {
        every: u64,
        length: u64,
    },
    /// 0.0 never, 1.0 always; thrown from the simulator's seed.
    Probability(f64),
}

#[derive(Clone, Debug)]
pub enum What {
    /// An error answer in the words of the API that is simulated; no work is done.
    Status(u16, Option<RetryAfter>),
    /// The connection closes without an answer and without work done.
    DropBeforeWork,
    /// The work is done and its answer lost.
    DropAfterWork,
    /// The request waits this long and is then handled as ever.
    Delay(Duration),
    /// A proxy's page with this status; no work is done.
    Html(u16),
    /// The work is done, the answer breaks off half way.
    Truncate,
    /// No answer ever, until the other side gives up.
    Hang,
    /// Waits until the gate is closed for good, and fares like this then.
    Until(Arc<Semaphore>, Box<Self>),
    /// 410 with a `Location` whose `$deltatoken` is empty (Graph's delta queries).
    ResetDelta,
    /// The work is done, and each object in the answer lacks this property.
    StripProperty(&'static str),
    /// The work is done, and each object in the answer shows this property so.
    SetProperty(&'static str, Value),
    /// The work is done, and each object in the answer is another one by its id.
    OtherId,
    /// The work is done, and the list in the answer is empty; its links and counts stay.
    EmptyList,
}

impl What {
    /// Whether it is an answer like any other, that is not true.
    pub(super) fn is_untrue(&self) -> bool {
        matches!(self, Self::StripProperty(_) | Self::SetProperty(..) | Self::OtherId | Self::EmptyList)
    }

    /// Makes an answer untrue.
    pub(super) fn falsify(&self, answer: &mut Value) {
        const LISTS: [&str; 2] = ["value", "Resources"];
        let list = LISTS.into_iter().find(|list| answer[*list].is_array());
        if let (Self::EmptyList, Some(list)) = (self, list) {
            answer[list] = json!([]);
        }
        let objects = match list {
            Some(list) => answer[list].as_array_mut().into_iter().flatten().collect(),
            None => vec![answer],
        };
        for object in objects.into_iter().filter_map(Value::as_object_mut) {
            match self {
                Self::StripProperty(name) => {
                    object.shift_remove(*name);
                }
                Self::SetProperty(name, value) => {
                    object.insert((*name).to_owned(), value.clone());
                }
                Self::OtherId => {
                    object.insert("id".to_owned(), json!("07e40000-0000-4000-8000-0000000007e4"));
                }
                _ => {}
            }
        }
    }
}

#[derive(Clone, Debug)]
pub enum RetryAfter {
    Seconds(u64),
    /// As an HTTP date so many seconds from now.
    Date(u64),
}

impl Fault {
    /// `method` may be `"*"` for any.
    pub fn new(method: &str, path: &str, when: When, what: What) -> Self {
        Self { method: (method != "*").then(|| method.to_owned()), path: path.to_owned(), when, what }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && glob(self.path.as_bytes(), path.as_bytes())
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, tail)| first == byte && glob(rest, tail))
        }
    }
}

/// What goes wrong with notifications on their way, each a probability. See also
/// [`super::GraphSim::lose_next`] and [`super::GraphSim::double_next`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryFaults {
    pub lose: f64,
    pub double: f64,
    /// That the items of one body are shuffled and a body is overtaken by the next one.
    pub reorder: f64,
}

/// All that goes wrong. One set may be given to both simulators: each sees its own paths only.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub rules: Vec<Fault>,
    pub delivery: DeliveryFaults,
}

impl Faults {
    pub fn none() -> Self {
        Self::default()
    }

    /// An ordinary bad day: a few refusals and delays, now and then a lost answer.
    pub fn some() -> Self {
        use What::*;
        let p = When::Probability;
        let soon = || Some(RetryAfter::Seconds(1));
        let rules = vec![
            Fault::new("*", "/scim/v2/*", When::Storm { every: 80, length: 3 }, Status(429, soon())),
            Fault::new("GET", "/v1.0/*", When::Storm { every: 120, length: 2 }, Status(429, soon())),
            Fault::new("PATCH", "/scim/v2/*", p(0.02), DropAfterWork),
            Fault::new("*", "/scim/v2/*", p(0.02), Status(503, None)),
            Fault::new("GET", "/v1.0/users/*", p(0.02), Status(503, None)),
            Fault::new("*", "/scim/v2/*", p(0.05), Delay(Duration::from_millis(150))),
            Fault::new("*", "/v1.0/*", p(0.05), Delay(Duration::from_millis(150))),
        ];
        Self { rules, delivery: DeliveryFaults { lose: 0.02, double: 0.05, reorder: 0.1 } }
    }

    /// Everything at once: 429 storms, 5xx, lost answers, broken bodies, pages of a proxy, lost and
    /// doubled notifications, and a delta query that is reset.
    pub fn many() -> Self {
        use What::*;
        let p = When::Probability;
        let rules = vec![
            Fault::new("GET", "/v1.0/users/delta", When::Nth(3), ResetDelta),
            Fault::new(
                "*",
                "/scim/v2/*",
                When::Storm { every: 400, length: 4 },
                Status(429, Some(RetryAfter::Seconds(1))),
            ),
            Fault::new(
                "GET",
                "/v1.0/*",
                When::Storm { every: 300, length: 4 },
                Status(429, Some(RetryAfter::Date(2))),
            ),
            Fault::new("POST", "/v1.0/$batch", When::Storm { every: 60, length: 1 }, Status(429, None)),
            Fault::new("POST", "/scim/v2/Users", p(0.08), DropAfterWork),
            Fault::new("PATCH", "/scim/v2/*", p(0.08), DropAfterWork),
            Fault::new("*", "/scim/v2/*", p(0.03), DropBeforeWork),
            Fault::new("*", "/scim/v2/*", p(0.03), Status(500, None)),
            Fault::new("*", "/scim/v2/*", p(0.02), Html(502)),
            Fault::new("GET", "/scim/v2/*", p(0.02), Truncate),
            Fault::new("*", "/v1.0/*", p(0.03), Status(503, None)),
            Fault::new("*", "/v1.0/*", p(0.02), Truncate),
            Fault::new("*", "/v1.0/*", p(0.02), DropBeforeWork),
            Fault::new("*", "/scim/v2/*", p(0.1), Delay(Duration::from_millis(300))),
            Fault::new("*", "/v1.0/*", p(0.1), Delay(Duration::from_millis(300))),
        ];
        Self { rules, delivery: DeliveryFaults { lose: 0.1, double: 0.2, reorder: 0.3 } }
    }
}

/// The rules at work: how often each matched, how often it struck.
#[derive(Default)]
pub(super) struct Engine {
    rules: Vec<(Fault, u64)>,
    struck: u64,
}

impl Engine {
    pub(super) fn set(&mut self, rules: Vec<Fault>) {
        self.rules = rules.into_iter().map(|rule| (rule, 0)).collect();
    }

    pub(super) fn add(&mut self, rule: Fault) {
        self.rules.push((rule, 0));
    }

    pub(super) fn struck(&self) -> u64 {
        self.struck
    }

    /// Decides over one request. `possible` leaves out what cannot happen in this place.
    pub(super) fn strike(
        &mut self,
        method: &str,
        path: &str,
        dice: &Dice,
        possible: impl Fn(&What) -> bool,
    ) -> Option<What> {
        for (rule, count) in &mut self.rules {
            if !possible(&rule.what) || !rule.matches(method, path) {
                continue;
            }
            *count += 1;
            let strikes = match rule.when {
                When::Always => true,
                When::Nth(n) => *count == n,
                When::First(n) => *count <= n,
                When::Between(from, to) => (from..=to).contains(count),
                When::Storm { every, length } => (*count - 1) % every.max(1) + length >= every,
                When::Probability(probability) => dice.chance(probability),
            };
            if strikes {
                self.struck += 1;
                return Some(rule.what.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(when: When, requests: usize) -> String {
        let mut engine = Engine::default();
        engine.add(Fault::new("get", "/a/*", when, What::Hang));
        let dice = Dice::new(7);
        let mut strikes = || engine.strike("GET", "/a/b", &dice, |_| true).is_some();
        (0..requests).map(|_| if strikes() { 'x' } else { '.' }).collect()
    }

    #[test]
    fn a_rule_strikes_when_it_says() {
        assert_eq!(struck(When::Always, 3), "xxx");
        assert_eq!(struck(When::Nth(2), 4), ".x..");
        assert_eq!(struck(When::First(2), 4), "xx..");
        assert_eq!(struck(When::Between(2, 3), 5), ".xx..");
        assert_eq!(struck(When::Storm { every: 4, length: 2 }, 9), "..xx..xx.");
        assert_eq!(struck(When::Probability(0.0), 3), "...");
        assert_eq!(struck(When::Probability(0.5), 64), struck(When::Probability(0.5), 64));
    }

    #[test]
    fn an_untrue_answer_has_the_shape_of_a_true_one() {
        let check = |what: What, mut answer: Value, expected: Value| {
            what.falsify(&mut answer);
            assert_eq!(answer, expected, "{what:?}");
        };
        let other = "07e40000-0000-4000-8000-0000000007e4";
        check(What::StripProperty("a"), json!({"id": "1", "a": 1}), json!({"id": "1"}));
        check(What::SetProperty("a", json!(null)), json!({"id": "1", "a": 1}), json!({"id": "1", "a": null}));
        check(What::OtherId, json!({"id": "1"}), json!({"id": other}));
        let list = json!({"value": [{"id": "1"}, {"id": "2"}], "next": "x"});
        check(What::OtherId, list.clone(), json!({"value": [{"id": other}, {"id": other}], "next": "x"}));
        check(What::EmptyList, list, json!({"value": [], "next": "x"}));
        check(
            What::EmptyList,
            json!({"Resources": [{}], "totalResults": 1}),
            json!({"Resources": [], "totalResults": 1}),
        );
        check(What::EmptyList, json!({"id": "1"}), json!({"id": "1"}));
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, path, expected) in [
            ("/scim/v2/*", "/scim/v2/Users/1", true),
            ("*/Users/*", "/scim/v2/Users/1", true),
            ("*/Users", "/scim/v2/Users/1", false),
            ("/v1.0/$batch", "/v1.0/$batch", true),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
    }
}
