use super::*;
use crate::domain::mapping::Expression;
use crate::domain::roles::{RoleRow, RoleTable};
use crate::domain::rules::{OnDelete, Protected, Rule};
use crate::domain::scope::Scope;
use crate::domain::user::GroupId;

const ORDER: [MatchKey; 3] = [MatchKey::ExternalId, MatchKey::UserName, MatchKey::Email];

fn id(n: &str) -> ScimId {
    ScimId(n.to_owned())
}

fn user(n: u8) -> UserId {
    UserId::from_bytes([n; 16])
}

fn account(n: &str, name: &str, emails: &[&str]) -> Account {
    let emails = emails.iter().map(|email| (*email).to_owned()).collect();
    Account { id: id(n), user_name: Some(name.to_owned()), external_id: None, emails, active: true }
}

fn keys(keys: &[(MatchKey, &str)]) -> Keys {
    keys.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

fn one(by: MatchKey, account: &str) -> Candidate {
    Candidate::One { by, account: id(account) }
}

#[test]
fn the_first_key_that_hits_decides() {
    use MatchKey::{Email, ExternalId, UserName};
    let accounts = [
        Account { external_id: Some("E1".to_owned()), ..account("1", "ana@x.example", &["a@x.example"]) },
        account("2", "Ben@x.example", &["shared@x.example", "B@x.example", "b@X.example"]),
        account("3", "cleo@x.example", &["Shared@x.example"]),
    ];
    let index = Index::new(&accounts, &ORDER);
    let check = |asked: &[(MatchKey, &str)], expected| assert_eq!(index.find(&keys(asked)), expected);
    check(&[(ExternalId, "E1"), (UserName, "ben@x.example")], one(ExternalId, "1"));
    check(&[(ExternalId, "e1"), (UserName, "BEN@x.example")], one(UserName, "2"));
    check(&[(UserName, "dan@x.example"), (Email, "b@x.example")], one(Email, "2"));
    check(&[(UserName, "dan@x.example")], Candidate::None);
    let several = Candidate::Several { by: Email, hits: 2, accounts: vec![id("2"), id("3")] };
    check(&[(UserName, "dan@x.example"), (Email, "SHARED@x.example")], several);
    check(&[], Candidate::Unmatchable);
    let by_id = Index::new(&accounts, &[MatchKey::Id]);
    assert_eq!(by_id.find(&keys(&[(MatchKey::Id, "3")])), one(MatchKey::Id, "3"));
}

#[test]
fn who_could_be_two_and_what_two_could_be_is_left_to_an_operator() {
    use MatchKey::{Email, UserName};
    let links = Links::from_iter([(user(1), id("a")), (user(9), id("x"))]);
    let several = Candidate::Several { by: Email, hits: 2, accounts: vec![id("f"), id("g")] };
    let candidates = vec![
        (user(1), Candidate::None),
        (user(2), one(UserName, "b")),
        (user(3), one(Email, "c")),
        (user(4), one(UserName, "c")),
        (user(5), several.clone()),
        (user(6), one(Email, "x")),
        (user(7), Candidate::None),
        (user(8), Candidate::Unmatchable),
    ];
    let shared = |by, other| {
        let others = vec![user(other)];
        Verdict::Ambiguous(Ambiguity::SharedAccount { by, account: id("c"), others })
    };
    let Candidate::Several { by, hits, accounts } = several else { unreachable!() };
    let verdicts = judge(candidates, &links);
    let expected = [
        (user(1), Verdict::Linked),
        (user(2), Verdict::Matched { by: UserName, account: id("b") }),
        (user(3), shared(Email, 4)),
        (user(4), shared(UserName, 3)),
        (user(5), Verdict::Ambiguous(Ambiguity::SeveralAccounts { by, hits, accounts })),
        (
            user(6),
            Verdict::Ambiguous(Ambiguity::TakenAccount { by: Email, account: id("x"), linked_to: user(9) }),
        ),
        (user(7), Verdict::Unmatched),
        (user(8), Verdict::Unmatchable),
    ];
    assert_eq!(verdicts, expected);

    let accounts = ["a", "b", "c", "f", "g", "x", "z"].map(|n| account(n, "n@x.example", &[]));
    let strangers = strangers(&accounts, &verdicts, &links);
    assert_eq!(strangers, [&accounts[6]], "an account that somebody could be is no stranger");
}

#[test]
fn who_is_linked_already_shares_nothing() {
    // The linked user's own key hits the account of another: that is what the link is for.
    let links = Links::from_iter([(user(1), id("a"))]);
    let verdicts =
        judge(vec![(user(1), one(MatchKey::Email, "b")), (user(2), one(MatchKey::Email, "b"))], &links);
    assert_eq!(verdicts[1].1, Verdict::Matched { by: MatchKey::Email, account: id("b") });
}

#[test]
fn who_shares_a_key_with_somebody_unclear_is_in_doubt() {
    use MatchKey::{Email, UserName};
    let people = [
        (user(1), keys(&[(UserName, "a@x.example"), (Email, "Team@x.example")])),
        (user(2), keys(&[(UserName, "team@x.example")])),
        (user(3), Keys::new()),
    ];
    let unclear = [keys(&[(UserName, "b@x.example"), (Email, "team@X.example")])];
    let doubtful = doubtful(people.iter().map(|(user, keys)| (*user, keys)), unclear.iter());
    assert_eq!(doubtful, [user(1)].into());
}

fn rule(from: Option<&str>, owner: Owner) -> Rule {
    let from = from.map(|text| Expression::parse(text).unwrap());
    Rule { from, owner, tie: Side::Entra, create_only: false }
}

fn rules(roles: Owner) -> Rules {
    let attributes = [
        (Attribute::UserName, rule(Some("[userPrincipalName]"), Owner::Entra)),
        (Attribute::GivenName, rule(Some("[givenName]"), Owner::Entra)),
        (Attribute::DisplayName, rule(Some("[displayName]"), Owner::Newest)),
        (Attribute::PhoneNumbers, rule(Some("[mobilePhone]"), Owner::Hold)),
        (Attribute::Locale, rule(Some("[preferredLanguage]"), Owner::Cxone)),
        (Attribute::Team, rule(None, Owner::Cxone)),
        (Attribute::TimeZone, rule(Some("[usageLocation]"), Owner::Cxone)),
        (Attribute::ExternalId, Rule { create_only: true, ..rule(Some("[givenName]"), Owner::Entra) }),
        (Attribute::Active, rule(None, Owner::Entra)),
        (Attribute::Roles, rule(None, roles)),
    ];
    let row = RoleRow { group: GroupId::from_bytes([1; 16]), role: "agent".to_owned(), privileged: false };
    Rules {
        attributes: attributes.into(),
        roles: RoleTable::new(vec![row]).unwrap(),
        scope: Scope::default(),
        matching: ORDER.to_vec(),
        create: true,
        on_delete: OnDelete::Deactivate,
        protected: Protected::default(),
    }
}

fn ana(enabled: bool) -> SourceUser {
    let properties = [
        ("userPrincipalName", "ana@x.example"),
        ("givenName", "Ana"),
        ("displayName", "Ana Martin"),
        ("mobilePhone", "1"),
        ("preferredLanguage", "pt"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), Value::text(value)));
    SourceUser { id: user(7), enabled, properties: properties.into() }
}

fn there(attributes: &[(Attribute, Value)]) -> TargetUser {
    let mut all = BTreeMap::from([
        (Attribute::UserName, Value::text("ANA@x.example")),
        (Attribute::GivenName, Value::text("Ana")),
        (Attribute::DisplayName, Value::text("Ana Martin")),
        (Attribute::PhoneNumbers, Value::text("1")),
        (Attribute::Locale, Value::text("pt")),
        (Attribute::Team, Value::text("Care")),
        (Attribute::TimeZone, Value::text("Europe/Lisbon")),
        (Attribute::Active, Value::Flag(true)),
        (Attribute::Roles, Value::List(vec!["agent".to_owned(), "by hand".to_owned()])),
    ]);
    all.extend(attributes.iter().cloned());
    TargetUser { id: id("1"), attributes: all }
}

fn paired(roles: Owner, user: &SourceUser, shown: &TargetUser) -> Pair {
    let membership =
        Membership { groups: [GroupId::from_bytes([1; 16])].into(), complete: true, ..Membership::default() };
    pair(&rules(roles), user, &membership, shown, Timestamp::UNIX_EPOCH, "f".to_owned()).unwrap()
}

/// The conflicts as `attribute: entra / cxone, owner > winner`, and what happens next.
#[track_caller]
fn check(roles: Owner, enabled: bool, shown: &[(Attribute, Value)], conflicts: &[&str], next: Next) {
    let pair = paired(roles, &ana(enabled), &there(shown));
    let side = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
    let found: Vec<String> = pair
        .conflicts
        .iter()
        .map(|c| {
            format!("{}: {} / {}, {:?} > {:?}", c.attribute, side(&c.entra), side(&c.cxone), c.owner, c.wins)
        })
        .collect();
    assert_eq!((found, pair.next), (conflicts.iter().map(|line| (*line).to_owned()).collect(), next));
}

#[test]
fn each_difference_is_told_with_the_side_that_will_win() {
    use Attribute::{Active, DisplayName, GivenName, Locale, PhoneNumbers, Roles};
    let text = Value::text;
    check(Owner::Entra, true, &[], &[], Next::Nothing);
    let entras = [(GivenName, text("Anna"))];
    check(Owner::Entra, true, &entras, &["givenName: Ana / Anna, Entra > Entra"], Next::WouldChange);
    let others = [(DisplayName, text("A")), (PhoneNumbers, text("2")), (Locale, text("en"))];
    let told = [
        "displayName: Ana Martin / A, Newest > Cxone",
        "phoneNumbers: 1 / 2, Hold > Cxone",
        "locale: pt / en, Cxone > Cxone",
    ];
    check(Owner::Entra, true, &others, &told, Next::Nothing);

    let inactive = [(Active, Value::Flag(false))];
    check(Owner::Entra, true, &inactive, &["active: true / false, Entra > Entra"], Next::WouldReactivate);
    check(Owner::Entra, false, &[], &["active: false / true, Entra > Entra"], Next::WouldDeactivate);
    check(Owner::Entra, false, &inactive, &[], Next::Nothing);
    let told = ["givenName: Ana / Anna, Entra > Entra", "active: false / true, Entra > Entra"];
    check(Owner::Entra, false, &entras, &told, Next::WouldDeactivate);

    let none = [(Roles, Value::List(vec!["by hand".to_owned()]))];
    let told = ["roles: agent, by hand / by hand, Entra > Entra"];
    check(Owner::Entra, true, &none, &told, Next::WouldChange);
    check(Owner::Cxone, true, &none, &[], Next::Nothing);
}

#[test]
fn the_baseline_is_what_both_sides_show() {
    let shown =
        there(&[(Attribute::DisplayName, Value::text("A")), (Attribute::PhoneNumbers, Value::text("2"))]);
    let Pair { link, .. } = paired(Owner::Entra, &ana(false), &shown);
    let both = |attribute| {
        let Baseline { source, target } = &link.baseline[&attribute];
        (source.clone(), target.clone())
    };
    let text = |text: &str| Some(Value::text(text));
    assert_eq!(both(Attribute::DisplayName), (text("Ana Martin"), text("A")));
    assert_eq!(both(Attribute::PhoneNumbers), (text("1"), text("2")), "also what is held otherwise");
    assert_eq!(both(Attribute::Active), (Some(Value::Flag(false)), Some(Value::Flag(true))));
    assert_eq!(link.baseline.len(), rules(Owner::Entra).attributes.len());
    assert_eq!((link.scim_id, link.source_fingerprint.as_deref()), (id("1"), Some("f")));
}

#[test]
fn whoever_cannot_be_compared_is_not_linked() {
    let mut rules = rules(Owner::Entra);
    let fails = rule(Some("FormatDateTime([givenName], , \"yyyy\", \"yyyy\")"), Owner::Entra);
    rules.attributes.insert(Attribute::UserType, fails);
    let membership = Membership { groups: Default::default(), complete: true, ..Membership::default() };
    let wrong = pair(&rules, &ana(true), &membership, &there(&[]), Timestamp::UNIX_EPOCH, String::new());
    assert!(matches!(wrong, Err(Reason::MappingFailed(_))), "{wrong:?}");
}
