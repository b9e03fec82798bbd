mod example;
mod layers;
mod page;
mod refused;
mod shown;
mod sources;

use std::time::Duration;

use expect_test::{Expect, expect};
use secrecy::ExposeSecret;

use super::*;
use crate::domain::guard::{Budget, Budgets};
use crate::domain::mapping::Expression;
use crate::domain::rules::{MatchKey, OnDelete, Owner, Side};
use crate::domain::user::Attribute;

const TENANT: &str = "3f0c2a9e-1111-4222-8333-444455556666";
const G1: &str = "11111111-2222-4333-8444-555566667777";
const G2: &str = "22222222-2222-4333-8444-555566667777";

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// The least that is valid, with these changes: a key that is there is replaced, one without a value
/// taken out, and what is left is put in its section.
fn text(changes: Pairs<'_>) -> String {
    let mut sections = [
        ("service", vec![]),
        (
            "graph",
            vec![
                ("tenant_id", r#""contoso.com""#),
                ("client_id", r#""app""#),
                ("client_secret", r#""g-secret""#),
            ],
        ),
        (
            "cxone",
            vec![("subdomain", r#""contoso""#), ("client_id", r#""cx""#), ("client_secret", r#""c-secret""#)],
        ),
        ("store", vec![]),
        ("sync", vec![]),
        ("scope", vec![]),
        ("attributes", vec![]),
        ("guard", vec![]),
        ("retention", vec![]),
        ("log", vec![]),
        ("telemetry", vec![]),
    ];
    for (path, value) in changes {
        let (section, name) = path.split_once('.').unwrap();
        let keys = &mut sections.iter_mut().find(|(it, _)| *it == section).unwrap().1;
        keys.retain(|(it, _)| *it != name);
        if !value.is_empty() {
            keys.push((name, value));
        }
    }
    let mut text = String::new();
    for (section, keys) in sections.iter().filter(|(_, keys)| !keys.is_empty()) {
        text += &format!("[{section}]\n");
        for (name, value) in keys {
            text += &format!("{name} = {value}\n");
        }
    }
    text
}

fn load(changes: Pairs<'_>, environment: Pairs<'_>) -> Result<Config, ConfigErrors> {
    Config::parse("c.toml", &text(changes), environment.iter().copied(), &[])
}

fn valid(changes: Pairs<'_>, environment: Pairs<'_>) -> Config {
    load(changes, environment).unwrap_or_else(|errors| panic!("{errors}\n{}", text(changes)))
}

#[track_caller]
fn refused(loaded: Result<Config, ConfigErrors>) -> String {
    match loaded {
        Ok(_) => panic!("it was accepted"),
        Err(errors) => errors.to_string(),
    }
}

#[track_caller]
fn check_refused(changes: Pairs<'_>, expected: &Expect) {
    expected.assert_eq(&refused(load(changes, &[])));
}

#[track_caller]
fn check_text(text: &str, environment: Pairs<'_>, expected: &Expect) {
    expected.assert_eq(&refused(Config::parse("c.toml", text, environment.iter().copied(), &[])));
}

fn none() -> std::iter::Empty<(String, String)> {
    std::iter::empty()
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = valid(&[], &[]);
    assert_eq!(config.service.public_listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.service.private_listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.service.max_body_bytes, 4 << 20);
    assert_eq!(config.graph.base_url.as_str(), "https://graph.microsoft.com/v1.0");
    assert_eq!(config.graph.login_url.as_str(), "https://login.microsoftonline.com/");
    let CxoneEndpoint::Fixed { scim_url, token_url: Some(token_url) } = &config.cxone.endpoint else {
        panic!("{:?}", config.cxone.endpoint)
    };
    assert_eq!(scim_url.as_str(), "https://contoso.api.nicecxone.com/scim/v2");
    assert_eq!(token_url.as_str(), "https://contoso.api.nicecxone.com/oauth/token");
    assert_eq!((config.cxone.max_connections, config.cxone.dialect), (10, Dialect::Auto));
    assert_eq!(config.cxone.trust_baseline_for, Duration::ZERO);
    assert_eq!(
        config.sync,
        Sync {
            mode: Mode::Write,
            poll_interval: Duration::from_secs(900),
            poll_interval_min: Duration::from_secs(120),
            full_compare_interval: Duration::from_secs(86_400),
            recheck_after: Duration::from_secs(60),
            max_attempts: 12,
            burst_threshold: 50,
        }
    );
    let budget = |per_hour, per_day, percent_per_day| Budget {
        per_hour: Some(per_hour),
        per_day: Some(per_day),
        percent_per_hour: Some(100.0),
        percent_per_day: Some(percent_per_day),
    };
    let budgets = Budgets {
        deactivations: budget(50, 200, 5.0),
        role_removals: budget(100, 400, 10.0),
        privileged_grants: budget(5, 10, 100.0),
    };
    assert_eq!(config.guard, Guard { budgets });
    assert_eq!(config.retention.history, Duration::from_secs(90 * 86_400));
    assert_eq!(config.rules.matching, [MatchKey::ExternalId, MatchKey::UserName]);
    assert!(config.rules.create);
    assert_eq!(config.rules.on_delete, OnDelete::Deactivate);
}

#[test]
fn attributes_are_mapped_as_documented() {
    let rules = valid(&[], &[]).rules;
    let mapped: Vec<String> = rules
        .attributes
        .iter()
        .map(|(attribute, rule)| {
            let from = rule.from.as_ref().map_or("-".to_owned(), |from| format!("{from:?}"));
            format!("{attribute} {from} {:?} {:?} {}", rule.owner, rule.tie, rule.create_only)
        })
        .collect();
    let names: Vec<&str> = mapped.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "userName",
            "externalId",
            "givenName",
            "familyName",
            "displayName",
            "emails",
            "phoneNumbers",
            "active",
            "roles"
        ]
    );
    let rule = |attribute| &rules.attributes[&attribute];
    assert_eq!(
        rule(Attribute::Emails).from,
        Some(Expression::parse("Coalesce([mail], [userPrincipalName])").unwrap())
    );
    assert_eq!(rule(Attribute::ExternalId).from, Some(Expression::parse("[objectId]").unwrap()));
    assert!(rule(Attribute::ExternalId).create_only && !rule(Attribute::Emails).create_only);
    assert_eq!(rule(Attribute::PhoneNumbers).owner, Owner::Cxone);
    assert_eq!((rule(Attribute::Active).owner, rule(Attribute::Roles).owner), (Owner::Entra, Owner::Cxone));
    assert!(rule(Attribute::Active).from.is_none() && rule(Attribute::Roles).from.is_none());
    assert!(rules.attributes.values().all(|rule| rule.tie == Side::Entra));
}

#[test]
fn attributes_are_configured_by_name_and_name_parts_together() {
    let config = valid(
        &[
            ("attributes.name", r#"{ owner = "newest", tie = "cxone" }"#),
            ("attributes.familyName", r#"{ owner = "hold" }"#),
            ("attributes.emails", r#"{ owner = "azure_ad", from = "[mail]" }"#),
            ("attributes.timeZone", r#"{ from = "[preferredTimeZone]", create_only = true }"#),
            ("attributes.phoneNumbers", r#"{ from = "" }"#),
            ("attributes.active", r#"{ from = "[accountEnabled]" }"#),
        ],
        &[],
    );
    let rule = |attribute| config.rules.attributes.get(&attribute);
    let owner_and_tie = |attribute| rule(attribute).map(|rule| (rule.owner, rule.tie));
    assert_eq!(owner_and_tie(Attribute::GivenName), Some((Owner::Newest, Side::Cxone)));
    assert_eq!(owner_and_tie(Attribute::FamilyName), Some((Owner::Hold, Side::Cxone)));
    assert_eq!(owner_and_tie(Attribute::MiddleName), None, "the group alone maps nothing");
    assert_eq!(owner_and_tie(Attribute::Emails), Some((Owner::Entra, Side::Entra)));
    assert_eq!(rule(Attribute::Emails).unwrap().from, Some(Expression::parse("[mail]").unwrap()));
    assert!(rule(Attribute::TimeZone).unwrap().create_only);
    assert!(rule(Attribute::PhoneNumbers).is_none(), "an empty expression unmaps");
}

#[test]
fn clouds_and_grants() {
    let config = valid(
        &[
            ("graph.cloud", r#""usgov-dod""#),
            ("graph.login_url", r#""http://[::1]:5000/""#),
            ("cxone.grant", r#""basic""#),
            ("cxone.client_id", ""),
            ("cxone.client_secret", ""),
            ("cxone.access_key_id", r#""key""#),
            ("cxone.access_key_secret", r#""canary""#),
            ("cxone.scim_url", r#""http://localhost:4000/scim/v2/""#),
            ("cxone.subdomain", ""),
        ],
        &[],
    );
    assert_eq!(config.graph.base_url.as_str(), "https://dod-graph.microsoft.us/v1.0");
    assert_eq!(config.graph.login_url.as_str(), "http://[::1]:5000/");
    let scim_url = Url::parse("http://localhost:4000/scim/v2").unwrap();
    assert_eq!(config.cxone.endpoint, CxoneEndpoint::Fixed { scim_url, token_url: None });
    assert!(matches!(&config.cxone.auth, CxoneAuth::Basic { user, .. } if user == "key"));

    let discovery = [
        ("cxone.subdomain", ""),
        ("cxone.discovery", r#""https://cxone.niceincontact.com?tenantId=11ee7a10-9999""#),
    ];
    let issuer = Url::parse("https://cxone.niceincontact.com/?tenantId=11ee7a10-9999").unwrap();
    let config = valid(&discovery, &[]);
    assert_eq!(config.cxone.endpoint, CxoneEndpoint::Discovery { issuer, token_url: None });
    assert!(!config.print().contains("scim_url"), "it is not in force");
}
