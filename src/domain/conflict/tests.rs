use super::*;

#[track_caller]
fn check(
    owner: Owner,
    tie: Side,
    desired: &str,
    shown: &str,
    baseline: Option<(&str, &str)>,
    expected: (Decision, Why),
) {
    let rule = Rule { from: None, owner, tie, create_only: false };
    let baseline = baseline.map(|(source, target)| Baseline {
        source: Some(Value::text(source)),
        target: Some(Value::text(target)),
    });
    let (desired, shown) = (Value::text(desired), Value::text(shown));
    let got = resolve(Attribute::DisplayName, &rule, Some(&desired), Some(&shown), baseline.as_ref());
    assert_eq!(got, expected);
}

#[test]
fn each_owner_wins_as_the_table_says() {
    use Decision::{Hold, Keep, Write};
    let (s, t, both, none) = (Some(("a", "b")), Some(("n", "a")), Some(("x", "y")), None);
    // Entra says "n", CXone shows "b".
    let sides = |owner, tie, baseline, expected| check(owner, tie, "n", "b", baseline, expected);
    sides(Owner::Entra, Side::Entra, s, (Write, Why::SourceChanged));
    sides(Owner::Entra, Side::Entra, t, (Write, Why::Drift));
    sides(Owner::Entra, Side::Entra, both, (Write, Why::SourceChanged));
    sides(Owner::Entra, Side::Entra, none, (Write, Why::SourceChanged));
    for baseline in [s, t, both, none] {
        sides(Owner::Cxone, Side::Entra, baseline, (Keep, Why::OwnedByCxone));
    }
    sides(Owner::Newest, Side::Entra, s, (Write, Why::SourceChanged));
    sides(Owner::Newest, Side::Entra, t, (Keep, Why::TargetChanged));
    sides(Owner::Newest, Side::Entra, both, (Write, Why::Conflict));
    sides(Owner::Newest, Side::Cxone, both, (Keep, Why::Conflict));
    sides(Owner::Newest, Side::Entra, Some(("n", "b")), (Keep, Why::SettledDifference));
    sides(Owner::Hold, Side::Entra, s, (Write, Why::SourceChanged));
    sides(Owner::Hold, Side::Entra, t, (Keep, Why::TargetChanged));
    sides(Owner::Hold, Side::Entra, both, (Hold, Why::Conflict));
    sides(Owner::Hold, Side::Entra, none, (Hold, Why::Conflict));
    check(Owner::Entra, Side::Entra, "n", "n", both, (Keep, Why::InSync));
}

#[test]
fn create_only_is_never_changed_later() {
    let rule = Rule { from: None, owner: Owner::Entra, tie: Side::Entra, create_only: true };
    let got = resolve(Attribute::ExternalId, &rule, Some(&Value::text("a")), None, None);
    assert_eq!(got, (Decision::Keep, Why::CreateOnly));
}
