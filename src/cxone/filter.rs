//! Asking for the one user with a given key, and judging whether the answer is that user.
//!
//! Targets ignore filters they do not know and answer with everybody, miscount, and compare more
//! loosely than asked. A hit is believed only when the answer says there is one, shows one, and
//! that one has the key.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use super::errors::Error;
use super::place::lookup;
use super::wire::{RoleNames, User, entries};
use crate::domain::rules::MatchKey;
use crate::domain::user::{Attribute, ScimId, Value};

/// All but the unreserved characters of RFC 3986: right in a query and in a form.
pub const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a search that was understood found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hits {
    None,
    One(ScimId),
    Many(usize),
}

/// The filters that ask for a user by this key, the better known first. [`MatchKey::Id`] has none:
/// it is an address, not a filter.
pub fn filters(key: MatchKey, value: &str) -> Vec<String> {
    // RFC 7644, 3.4.2.2: compared values are JSON strings.
    let quoted = Json::from(value).to_string();
    match key {
        MatchKey::UserName => vec![format!("userName eq {quoted}")],
        MatchKey::ExternalId => vec![format!("externalId eq {quoted}")],
        MatchKey::Email => vec![
            format!("emails.value eq {quoted}"),
            format!(r#"emails[type eq "work" and value eq {quoted}]"#),
        ],
        MatchKey::Id => Vec::new(),
    }
}

/// `filter=…`, as it stands in the address.
pub fn query(filter: &str) -> String {
    format!("filter={}", utf8_percent_encode(filter, ENCODED))
}

/// Whether a refusal of a filter with this value tells something of the filter: some targets refuse
/// escapes, and one odd name must not spoil the key for everybody.
pub fn is_plain(value: &str) -> bool {
    value.chars().all(|c| c.is_ascii_alphanumeric() || "@._+-".contains(c))
}

/// Whether the user has this very key. `userName` and addresses do not depend on case, `externalId`
/// and `id` do (RFC 7643, 3.1 and 4.1).
pub fn has_key(user: &User, key: MatchKey, asked: &str) -> bool {
    let text = |attribute| user.view.attributes.get(&attribute).and_then(Value::as_text);
    let same = |shown: &str| shown.to_lowercase() == asked.to_lowercase();
    match key {
        MatchKey::Id => user.view.id.0 == asked,
        MatchKey::ExternalId => text(Attribute::ExternalId) == Some(asked),
        MatchKey::UserName => text(Attribute::UserName).is_some_and(same),
        // The filter looks at all addresses, so any of them may be the hit.
        MatchKey::Email => user.raw.as_object().is_some_and(|raw| {
            let address = |entry: &Json| lookup(entry.as_object()?, "value")?.as_str().map(same);
            entries(raw, "emails").unwrap_or_default().iter().any(|entry| address(entry) == Some(true))
        }),
    }
}

/// Reads a ListResponse. An `Err` means that the answer contradicts itself or the question.
pub fn judge(body: &[u8], key: MatchKey, asked: &str, roles: &RoleNames) -> Result<Hits, Error> {
    let list: Json = serde_json::from_slice(body).map_err(|_| malformed("it is not complete JSON"))?;
    let list = list.as_object().ok_or_else(|| malformed("it is not an object"))?;
    let total = lookup(list, "totalResults").and_then(Json::as_u64);
    let total = total.ok_or_else(|| malformed("it does not say how many"))?;
    let shown = match lookup(list, "Resources") {
        None => &[][..],
        Some(Json::Array(resources)) => resources,
        Some(_) => return Err(malformed("its Resources are not a list")),
    };
    let mut users = Vec::with_capacity(shown.len().min(2));
    for resource in shown {
        let user = User::of(resource.clone(), roles)?;
        if !has_key(&user, key, asked) {
            return Err(malformed("it shows users that were not asked for; is the filter ignored?"));
        }
        users.push(user);
    }
    match (total, users.len()) {
        (0, 0) => Ok(Hits::None),
        (1, 1) => Ok(Hits::One(users.remove(0).view.id)),
        // A page may show fewer than there are, but not none.
        (2.., 1..) if users.len() as u64 <= total => Ok(Hits::Many(total.min(usize::MAX as u64) as usize)),
        (total, n) => Err(malformed(&format!("it counts {total} and shows {n}"))),
    }
}

fn malformed(what: &str) -> Error {
    Error::Malformed { asked: "a list of users", what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use serde_json::json;

    const ANA: &str = "ana.martin@example.com";

    fn user(id: &str, name: &str) -> Json {
        json!({"id": id, "userName": name, "externalId": "A1", "emails": [{"value": name}, {"value": "b@x.example"}]})
    }

    #[track_caller]
    fn check(answer: Json, key: MatchKey, asked: &str, expected: Option<Hits>) {
        let judged = judge(answer.to_string().as_bytes(), key, asked, &RoleNames::default());
        assert_eq!(judged.ok(), expected, "{answer}");
    }

    #[test]
    fn one_hit_with_the_key_is_believed_and_nothing_else() {
        let by_name = |answer, expected| check(answer, MatchKey::UserName, ANA, expected);
        let one = Some(Hits::One(ScimId("1".into())));
        by_name(json!({"totalResults": 0}), Some(Hits::None));
        by_name(json!({"totalResults": 0, "Resources": []}), Some(Hits::None));
        by_name(json!({"totalResults": 1, "Resources": [user("1", ANA)]}), one.clone());
        by_name(json!({"totalresults": 1, "resources": [user("1", "ANA.Martin@example.com")]}), one);
        by_name(
            json!({"totalResults": 2, "Resources": [user("1", ANA), user("2", ANA)]}),
            Some(Hits::Many(2)),
        );
        by_name(json!({"totalResults": 9, "Resources": [user("1", ANA)]}), Some(Hits::Many(9)));
        // Lies.
        by_name(json!({"Resources": [user("1", ANA)]}), None);
        by_name(json!({"Resources": []}), None);
        by_name(json!({"totalResults": 0, "Resources": [user("1", ANA)]}), None);
        by_name(json!({"totalResults": 1}), None);
        by_name(json!({"totalResults": 1, "Resources": []}), None);
        by_name(json!({"totalResults": 3}), None);
        by_name(json!({"totalResults": 1, "Resources": [user("1", ANA), user("2", ANA)]}), None);
        by_name(
            json!({"totalResults": 2, "Resources": [user("1", ANA), user("2", ANA), user("3", ANA)]}),
            None,
        );
        by_name(json!({"totalResults": "one", "Resources": [user("1", ANA)]}), None);
        by_name(json!({"totalResults": -1, "Resources": [user("1", ANA)]}), None);
        by_name(json!([]), None);
        by_name(json!(null), None);
    }

    #[test]
    fn an_ignored_filter_is_noticed() {
        let everybody =
            json!({"totalResults": 2, "Resources": [user("1", ANA), user("2", "bo@example.com")]});
        check(everybody, MatchKey::UserName, ANA, None);
        let the_only_one = json!({"totalResults": 1, "Resources": [user("2", "bo@example.com")]});
        check(the_only_one, MatchKey::UserName, ANA, None);
    }

    #[test]
    fn keys_compare_by_the_rule_of_their_attribute() {
        let found = |key, asked, expected: bool| {
            let answer = json!({"totalResults": 1, "Resources": [user("1", ANA)]});
            check(answer, key, asked, expected.then(|| Hits::One(ScimId("1".into()))));
        };
        found(MatchKey::ExternalId, "A1", true);
        found(MatchKey::ExternalId, "a1", false);
        found(MatchKey::Email, "ANA.martin@example.com", true);
        found(MatchKey::Email, "b@x.example", true);
        found(MatchKey::Email, "c@x.example", false);
        found(MatchKey::Id, "1", true);
    }

    #[test]
    fn a_broken_off_list_is_never_an_answer() {
        for fixture in [
            include_str!("../../fixtures/cxone/search-one.json"),
            include_str!("../../fixtures/cxone/search-none.json"),
        ] {
            let whole = fixture.trim_end();
            assert!(judge(whole.as_bytes(), MatchKey::UserName, ANA, &RoleNames::default()).is_ok());
            for end in 0..whole.len() {
                let judged = judge(&whole.as_bytes()[..end], MatchKey::UserName, ANA, &RoleNames::default());
                assert!(judged.is_err(), "{}", &whole[..end]);
            }
        }
    }

    #[test]
    fn values_are_escaped_and_then_encoded() {
        #[track_caller]
        fn check(value: &str, filter: &str, expected: &str) {
            assert_eq!(filters(MatchKey::UserName, value), [filter]);
            assert_eq!(query(filter), expected);
        }
        check(
            "o'brien+x@ex.com",
            r#"userName eq "o'brien+x@ex.com""#,
            "filter=userName%20eq%20%22o%27brien%2Bx%40ex.com%22",
        );
        check(
            r#"O"Brien\"#,
            r#"userName eq "O\"Brien\\""#,
            "filter=userName%20eq%20%22O%5C%22Brien%5C%5C%22",
        );
        check(
            "x\" or userName pr",
            r#"userName eq "x\" or userName pr""#,
            "filter=userName%20eq%20%22x%5C%22%20or%20userName%20pr%22",
        );
        assert_eq!(
            filters(MatchKey::Email, "a&b#@x"),
            [r#"emails.value eq "a&b#@x""#, r#"emails[type eq "work" and value eq "a&b#@x"]"#]
        );
    }

    proptest! {
        #[test]
        fn whatever_the_value_the_filter_is_one_comparison_with_it(value in any::<String>()) {
            let query = query(&filters(MatchKey::UserName, &value)[0]);
            let encoded = query.strip_prefix("filter=").unwrap();
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            let filter = percent_decode_str(encoded).decode_utf8().unwrap();
            let literal = filter.strip_prefix("userName eq ").unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(literal).unwrap(), value);
        }
    }
}
