use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Option<Value>> {
    proptest::option::weighted(0.8, "[ab]".prop_map(Value::Text))
}

fn after(pairs: &[(Option<Value>, Option<Value>)]) -> Option<Normalised> {
    pairs.iter().fold(None, |known: Option<Normalised>, (wrote, shows)| {
        Some(Normalised::noted(known.as_ref(), wrote.as_ref(), shows.as_ref()))
    })
}

proptest! {
    #[test]
    fn only_what_was_seen_twice_in_a_row_is_learned(pairs in proptest::collection::vec((value(), value()), 1..6)) {
        let known = after(&pairs).unwrap();
        let twice = pairs.len() > 1 && pairs[pairs.len() - 1] == pairs[pairs.len() - 2];
        prop_assert_eq!(known.is_learned(), twice);
        let (wrote, shows) = pairs.last().unwrap();
        prop_assert_eq!((&known.wrote, &known.shows), (wrote, shows));
        let explains = known.explains(Attribute::DisplayName, wrote.as_ref(), shows.as_ref());
        prop_assert_eq!(explains, twice);
    }

    #[test]
    fn it_explains_exactly_the_pair_it_was_learned_of(
        pair in (value(), value()), desired in value(), shown in value(),
    ) {
        let known = after(&[pair.clone(), pair.clone()]).unwrap();
        let explains = known.explains(Attribute::DisplayName, desired.as_ref(), shown.as_ref());
        prop_assert_eq!(explains, (desired, shown) == pair);
    }
}

#[test]
fn of_who_may_log_in_and_as_what_nothing_is_explained() {
    let pair = (Some(Value::text("Ana")), Some(Value::text("ANA M.")));
    let known = after(&[pair.clone(), pair.clone()]).unwrap();
    let (wrote, shows) = (pair.0.as_ref(), pair.1.as_ref());
    for attribute in Attribute::ALL {
        let never = [Attribute::Active, Attribute::Roles, Attribute::UserName, Attribute::ExternalId]
            .contains(&attribute);
        assert_eq!(Normalised::is_for(attribute), !never, "{attribute}");
        assert_eq!(known.explains(attribute, wrote, shows), !never, "{attribute}");
    }
}
