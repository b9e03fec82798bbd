//! What holds of every plan.

use proptest::prelude::*;

use super::*;

pub fn text() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![Just(None), "[a-cA-C ]{0,3}".prop_map(|text| Some(Value::Text(text)))]
}

const SOURCE_NAMES: [&str; 7] =
    ["userPrincipalName", "mail", "givenName", "surname", "displayName", "mobilePhone", "objectId"];

pub fn source() -> impl Strategy<Value = Source> {
    let properties = proptest::collection::vec(text(), SOURCE_NAMES.len());
    let present = (properties, any::<bool>()).prop_map(move |(values, enabled)| {
        let properties =
            SOURCE_NAMES.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Source::Present(SourceUser {
            id: UserId::from_bytes([7; 16]),
            enabled,
            properties: properties.collect(),
        })
    });
    let gone =
        Just(Source::Gone(Evidence::removed_in_delta(crate::domain::evidence::RemovedReason::Deleted)));
    prop_oneof![8 => present, 1 => gone, 1 => Just(Source::Unknown)]
}

/// A state that decides every attribute: one that is unknown, incomplete or empty leaves what was
/// there, which rightly depends on the way.
fn complete() -> impl Strategy<Value = (Source, Membership)> {
    let values = proptest::collection::vec("[a-cA-C]{1,3}", SOURCE_NAMES.len());
    let user = values.prop_map(|values| {
        let values = values.into_iter().map(Value::Text);
        let properties = SOURCE_NAMES.iter().map(|name| (*name).to_owned()).zip(values).collect();
        Source::Present(SourceUser { id: UserId::from_bytes([7; 16]), enabled: true, properties })
    });
    (user, membership().prop_map(|membership| Membership { complete: true, ..membership }))
}

pub fn role() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["agent", "supervisor", "by hand"]).prop_map(str::to_owned)
}

fn target() -> impl Strategy<Value = Option<TargetUser>> {
    let texts = [
        Attribute::UserName,
        Attribute::Emails,
        Attribute::GivenName,
        Attribute::FamilyName,
        Attribute::DisplayName,
        Attribute::PhoneNumbers,
        Attribute::ExternalId,
    ];
    let values = proptest::collection::vec(text(), texts.len());
    let roles = proptest::collection::btree_set(role(), 0..3);
    let user = (values, any::<bool>(), roles).prop_map(move |(values, active, roles)| {
        let mut attributes: Attributes =
            texts.into_iter().zip(values).filter_map(|(a, v)| Some((a, v?))).collect();
        attributes.insert(Attribute::Active, Value::Flag(active));
        attributes.insert(Attribute::Roles, Value::List(roles.into_iter().collect()));
        TargetUser { id: scim_id(), attributes }
    });
    proptest::option::of(user)
}

pub fn membership() -> impl Strategy<Value = Membership> {
    (proptest::collection::btree_set((1u8..4).prop_map(group), 0..3), any::<bool>())
        .prop_map(|(groups, complete)| Membership { groups, complete, ..everywhere() })
}

/// Holds a role that is not in the table.
pub fn by_hand(user: &TargetUser) -> bool {
    Value::items(user.attributes.get(&Attribute::Roles)).iter().any(|role| role == "by hand")
}

/// The order of a list does not count.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::List(mut items) => {
            items.sort();
            Value::List(items)
        }
        other => other,
    }
}

fn found_in(target: &Option<TargetUser>) -> Target {
    target.clone().map_or(Target::Absent, Target::Found)
}

fn baselines() -> impl Strategy<Value = BTreeMap<Attribute, Baseline>> {
    let pair = (text(), text()).prop_map(|(source, target)| Baseline { source, target });
    let attributes =
        proptest::sample::select(vec![Attribute::DisplayName, Attribute::PhoneNumbers, Attribute::GivenName]);
    proptest::collection::btree_map(attributes, pair, 0..3)
}

fn maybe_linked(
    target: &Option<TargetUser>,
    linked: bool,
    baseline: BTreeMap<Attribute, Baseline>,
) -> Option<Link> {
    let shown = target.as_ref().filter(|_| linked)?;
    Some(Link { baseline, ..link_to(shown, &plan(Action::Nothing, Reason::InSync), None) })
}

proptest! {
    #[test]
    fn reconcile_after_apply_is_nothing(
        source in source(), target in target(), membership in membership(), linked: bool, baseline in baselines(),
    ) {
        let rules = rules();
        let link = maybe_linked(&target, linked, baseline);
        let first = decide(&rules, &source, &membership, &found_in(&target), link.as_ref());
        let after = apply(&first, target.as_ref(), &scim_id());
        let link = after.as_ref().filter(|_| link.is_some() || !first.changes().is_empty())
            .map(|after| link_to(after, &first, link.as_ref()));
        let second = decide(&rules, &source, &membership, &found_in(&after), link.as_ref());
        prop_assert_eq!(second.changes(), vec![], "after {:?}", first);
    }

    #[test]
    fn only_owned_attributes_are_ever_written(
        source in source(), target in target(), membership in membership(), linked: bool, baseline in baselines(),
    ) {
        let mut rules = rules();
        for attribute in [Attribute::DisplayName, Attribute::Roles, Attribute::Active] {
            rules.attributes.get_mut(&attribute).unwrap().owner = Owner::Cxone;
        }
        rules.attributes.remove(&Attribute::PhoneNumbers);
        let link = maybe_linked(&target, linked, baseline);
        let plan = decide(&rules, &source, &membership, &found_in(&target), link.as_ref());
        if let Some(shown) = &target {
            let after = apply(&plan, Some(shown), &scim_id()).unwrap();
            for attribute in [Attribute::DisplayName, Attribute::Roles, Attribute::Active, Attribute::PhoneNumbers, Attribute::ExternalId] {
                prop_assert_eq!(after.attributes.get(&attribute), shown.attributes.get(&attribute));
            }
        } else {
            prop_assert!(plan.changes().iter().all(|c| c.attribute != Attribute::Roles && c.attribute != Attribute::PhoneNumbers));
        }
    }

    #[test]
    fn roles_outside_the_table_survive_everything(
        source in source(), target in target(), membership in membership(),
    ) {
        let plan = decide(&rules(), &source, &membership, &found_in(&target), None);
        if let Some(shown) = &target {
            prop_assert_eq!(by_hand(shown), by_hand(&apply(&plan, Some(shown), &scim_id()).unwrap()));
        }
    }

    #[test]
    fn nothing_is_deactivated_without_evidence(
        source in source(), target in target(), membership in membership(), linked: bool,
    ) {
        let link = maybe_linked(&target, linked, BTreeMap::new());
        let plan = decide(&rules(), &source, &membership, &found_in(&target), link.as_ref());
        let turns_off = plan.changes().iter().any(|c| c.attribute == Attribute::Active && c.after == Some(Value::Flag(false)));
        prop_assert_eq!(turns_off && target.is_some(), plan.evidence().is_some());
    }

    /// Notifications only say when to look. Whatever their order and number, the looks in between
    /// change nothing about where the user ends.
    #[test]
    fn order_and_repetition_of_looks_do_not_change_the_end(
        earlier in proptest::collection::vec((source(), membership()), 0..4), last in complete(), target in target(), looks in proptest::collection::vec(0usize..5, 0..8),
    ) {
        let mut rules = rules();
        // With `newest` and `hold` the end rightly depends on what was seen on the way.
        for attribute in [Attribute::DisplayName, Attribute::PhoneNumbers] {
            rules.attributes.get_mut(&attribute).unwrap().owner = Owner::Entra;
        }
        rules.attributes.retain(|attribute, _| *attribute != Attribute::ExternalId);
        let target = target.or_else(|| Some(ana_there()));
        let end_after = |looks: &[usize]| {
            let mut shown = target.clone();
            let mut link = maybe_linked(&target, true, BTreeMap::new());
            let met = looks.iter().filter_map(|at| earlier.get(*at)).chain([&last]);
            for (source, membership) in met {
                let plan = decide(&rules, source, membership, &found_in(&shown), link.as_ref());
                shown = apply(&plan, shown.as_ref(), &scim_id());
                link = shown.as_ref().map(|shown| link_to(shown, &plan, link.as_ref()));
            }
            shown
        };
        prop_assert_eq!(end_after(&looks).map(canonical), end_after(&[]).map(canonical));
    }
}

/// Case and order do not count.
fn canonical(user: TargetUser) -> Vec<(Attribute, String)> {
    let value = |(attribute, value): (Attribute, Value)| (attribute, value.to_string().trim().to_lowercase());
    let mut all: Vec<_> =
        user.attributes.into_iter().map(value).filter(|(_, value)| !value.is_empty()).collect();
    all.sort();
    all
}
