//! Which of several addresses, or numbers, is the one we keep.

use serde_json::Value as Json;

use super::place::lookup;

/// The entry we keep, by its index: the one of type `work`, else the primary one, else the first.
pub fn chosen(entries: &[Json]) -> Option<usize> {
    let first = (!entries.is_empty()).then_some(0);
    entries.iter().position(is_work).or_else(|| entries.iter().position(is_primary)).or(first)
}

/// The filter that hits the entry at `index` and no other (RFC 7644, figure 7), if there is one:
/// a patch with a filter changes everything that matches.
pub fn filter(entries: &[Json], index: usize) -> Option<String> {
    let alone = |test: fn(&Json) -> bool| {
        test(&entries[index]) && entries.iter().filter(|entry| test(entry)).count() == 1
    };
    if alone(is_work) {
        // In the spelling of the target: it may compare exactly, although it should not.
        let spelling = text(&entries[index], "type").unwrap_or("work");
        return Some(format!(r#"type eq "{spelling}""#));
    }
    // A target that writes `"true"` may not find it as `true`.
    let is_plainly_primary = |entry: &Json| {
        entry.as_object().and_then(|entry| lookup(entry, "primary")) == Some(&Json::Bool(true))
    };
    (alone(is_primary) && is_plainly_primary(&entries[index])).then(|| "primary eq true".to_owned())
}

fn text<'a>(entry: &'a Json, name: &str) -> Option<&'a str> {
    lookup(entry.as_object()?, name)?.as_str()
}

fn is_work(entry: &Json) -> bool {
    text(entry, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("work"))
}

fn is_primary(entry: &Json) -> bool {
    match entry.as_object().and_then(|entry| lookup(entry, "primary")) {
        Some(Json::Bool(primary)) => *primary,
        Some(Json::String(primary)) => primary.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(entries: Json, index: Option<usize>, by: Option<&str>) {
        let entries = entries.as_array().unwrap();
        assert_eq!(chosen(entries), index);
        assert_eq!(index.and_then(|index| filter(entries, index)).as_deref(), by);
    }

    #[test]
    fn work_goes_before_primary_and_primary_before_first() {
        check(json!([]), None, None);
        check(json!([{"value": "a"}]), Some(0), None);
        check(json!([{"value": "a", "type": "home"}, {"value": "b", "type": "other"}]), Some(0), None);
        let primary = json!([{"value": "a"}, {"value": "b", "primary": true}]);
        check(primary, Some(1), Some("primary eq true"));
        let work = json!([{"value": "a", "primary": true}, {"value": "b", "Type": "Work"}]);
        check(work, Some(1), Some(r#"type eq "Work""#));
    }

    #[test]
    fn a_filter_that_would_hit_two_is_not_used() {
        check(json!([{"value": "a", "type": "work"}, {"value": "b", "type": "WORK"}]), Some(0), None);
        let both = json!([{"value": "a", "type": "work", "primary": true}, {"value": "b", "type": "work"}]);
        check(both, Some(0), Some("primary eq true"));
        check(json!([{"value": "a", "primary": true}, {"value": "b", "primary": true}]), Some(0), None);
        check(json!([{"value": "a"}, {"value": "b", "primary": "True"}]), Some(1), None);
    }
}
