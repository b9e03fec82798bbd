//! The one table of what can be configured: unknown keys, defaults, `config print`, `config schema`
//! and the test of the example file all read it.

use std::sync::LazyLock;

use crate::domain::event;
use crate::domain::guard::Guarded;
use crate::domain::user::Attribute;

use super::kind::{self, Kind};

pub struct Key {
    /// `section.name`; `roles[].name` for the rows of a list of tables.
    pub path: String,
    pub kind: Kind,
    /// TOML. `None`: there is no default, or it follows from other keys.
    pub default: Option<&'static str>,
    /// One line; the example file says more.
    pub doc: &'static str,
}

impl Key {
    /// `CXONE_SYNC__SECTION__NAME`
    pub fn variable(&self) -> String {
        variable(&self.path)
    }
}

/// A list of tables has one variable for all of it.
pub fn variable(path: &str) -> String {
    let path = path.split_once("[]").map_or(path, |(list, _)| list);
    format!("{}{}", super::PREFIX, path.replace('.', "__").to_uppercase())
}

pub fn all() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(table);
    &KEYS
}

/// The lists of tables, with what a row must have.
pub const LISTS: [(&str, &[&str]); 2] = [("roles", &["group", "role"]), ("events", &[])];

pub fn find(pattern: &str) -> Option<&'static Key> {
    all().iter().find(|key| key.path == pattern)
}

/// The rows of a list of tables are known by one pattern: `roles[3].group` is `roles[].group`.
pub fn pattern(path: &str) -> String {
    match (path.find('['), path.find(']')) {
        (Some(open), Some(close)) => format!("{}[]{}", &path[..open], &path[close + 1..]),
        _ => path.to_owned(),
    }
}

/// How an attribute is mapped where nothing is configured.
pub struct AttributeDefault {
    pub attribute: Attribute,
    /// TOML; empty text: not mapped.
    pub from: &'static str,
    pub owner: &'static str,
    pub create_only: bool,
}

pub const ATTRIBUTES: [AttributeDefault; 15] = {
    const fn of(
        attribute: Attribute,
        from: &'static str,
        owner: &'static str,
        create_only: bool,
    ) -> AttributeDefault {
        AttributeDefault { attribute, from, owner, create_only }
    }
    const ENTRA: &str = r#""entra""#;
    const CXONE: &str = r#""cxone""#;
    [
        of(Attribute::UserName, r#""[userPrincipalName]""#, ENTRA, false),
        of(Attribute::ExternalId, r#""[objectId]""#, ENTRA, true),
        of(Attribute::GivenName, r#""[givenName]""#, ENTRA, false),
        of(Attribute::MiddleName, r#""""#, ENTRA, false),
        of(Attribute::FamilyName, r#""[surname]""#, ENTRA, false),
        of(Attribute::DisplayName, r#""[displayName]""#, ENTRA, false),
        of(Attribute::Emails, r#""Coalesce([mail], [userPrincipalName])""#, ENTRA, false),
        of(Attribute::PhoneNumbers, r#""[mobilePhone]""#, CXONE, false),
        of(Attribute::Active, r#""[accountEnabled]""#, ENTRA, false),
        of(Attribute::UserType, r#""""#, ENTRA, false),
        of(Attribute::TimeZone, r#""""#, ENTRA, false),
        of(Attribute::Locale, r#""""#, ENTRA, false),
        of(Attribute::Team, r#""""#, ENTRA, false),
        of(Attribute::LoginAuthenticator, r#""""#, ENTRA, false),
        of(Attribute::Roles, r#""""#, CXONE, false),
    ]
};

/// The parts of `name`, which `attributes.name` configures together.
pub const NAME_PARTS: [Attribute; 3] = [Attribute::GivenName, Attribute::MiddleName, Attribute::FamilyName];
/// What can be configured for them together.
pub const NAME_KEYS: [&str; 3] = ["owner", "tie", "create_only"];

/// In the order of the documentation.
const SECTIONS: [&str; 13] = [
    "service",
    "store",
    "graph",
    "cxone",
    "sync",
    "scope",
    "attributes",
    "guard",
    "retention",
    "log",
    "telemetry",
    "roles",
    "events",
];

const DAY_S: u64 = 86_400;
const YEAR_S: u64 = 366 * DAY_S;
const OWNERS: &[&str] = &["entra", "cxone", "newest", "hold"];
const EVENTS: &[&str] = &[
    event::Kind::GuardTripped.name(),
    event::Kind::UserParked.name(),
    event::Kind::SubscriptionLost.name(),
    event::Kind::CircuitOpen.name(),
    event::Kind::CredentialExpiring.name(),
    event::Kind::CoverageLow.name(),
];
const SIDES: &[&str] = &["entra", "cxone"];

fn table() -> Vec<Key> {
    let mut table = Vec::new();
    fixed(&mut |path, kind, default, doc| {
        table.push(Key { path: path.to_owned(), kind, default, doc });
        let file = match kind {
            Kind::Secret(_) => Kind::SecretFile(path),
            Kind::Secrets(_) => Kind::SecretFiles(path),
            _ => return,
        };
        let doc = "A file that holds it; one newline at its end is not part of it";
        table.push(Key { path: format!("{path}_file"), kind: file, default: None, doc });
    });
    guard(&mut table);
    attributes(&mut table);
    let section = |key: &Key| SECTIONS.iter().position(|section| key.path.starts_with(section));
    table.sort_by_key(section);
    table
}

/// What is guarded, with how many in any hour and day and what part of the linked users in a day.
const BUDGETS: [(Guarded, [&str; 4]); 3] = [
    (Guarded::Deactivations, ["50", "200", "100", "5"]),
    (Guarded::RoleRemovals, ["100", "400", "100", "10"]),
    (Guarded::PrivilegedGrants, ["5", "10", "100", "100"]),
];

fn guard(table: &mut Vec<Key>) {
    for (guarded, defaults) in BUDGETS {
        let mut row = |name: &str, least, most, default, doc| {
            let why = if least == 0 { "0 holds everything" } else { "per_day = 0 holds everything" };
            let (path, kind) = (format!("guard.{guarded}.{name}"), Kind::Number(least, most, why));
            table.push(Key { path, kind, default: Some(default), doc });
        };
        let [hour, day, percent_hour, percent_day] = defaults;
        row("per_hour", 0, u32::MAX.into(), hour, "How many in any hour; more are held");
        row("per_day", 0, u32::MAX.into(), day, "How many in any 24 hours; more are held");
        row(
            "percent_per_hour",
            1,
            100,
            percent_hour,
            "How many in any hour, as a part of all linked users; more are held; 100 is no limit",
        );
        row(
            "percent_per_day",
            1,
            100,
            percent_day,
            "How many in any 24 hours, as a part of all linked users; more are held; 100 is no limit",
        );
    }
}

fn attributes(table: &mut Vec<Key>) {
    let mut row = |attribute: &str, name: &str, kind, default, doc| {
        table.push(Key { path: format!("attributes.{attribute}.{name}"), kind, default, doc });
    };
    let from_doc = "An Entra provisioning expression; empty: not mapped";
    let owner_doc = "Whose word holds";
    let tie_doc = "Who wins when both changed and the owner is newest";
    let create_doc = "Written when the user is created, never afterwards";
    for AttributeDefault { attribute, from, owner, create_only } in ATTRIBUTES {
        let name = attribute.name();
        let (from_kind, from) = match attribute {
            Attribute::Active => (Kind::Text(kind::account_state), Some(from)),
            Attribute::Roles => (
                Kind::Refused(
                    "roles come from the table of groups and roles: write [[roles]] with group and role",
                ),
                None,
            ),
            _ => (Kind::Text(kind::mapping), Some(from)),
        };
        row(name, "from", from_kind, from, from_doc);
        row(name, "owner", Kind::Choice(OWNERS), Some(owner), owner_doc);
        row(name, "tie", Kind::Choice(SIDES), Some(r#""entra""#), tie_doc);
        match attribute {
            Attribute::Active | Attribute::Roles => {
                let why = "owner = \"cxone\" does the same: CXone's word holds once the user is there";
                row(name, "create_only", Kind::Refused(why), None, create_doc);
            }
            _ => {
                row(
                    name,
                    "create_only",
                    Kind::Flag,
                    Some(if create_only { "true" } else { "false" }),
                    create_doc,
                );
            }
        }
    }
    let why =
        "a name has three parts: write attributes.givenName.from, .middleName.from and .familyName.from";
    row("name", "from", Kind::Refused(why), None, from_doc);
    row("name", "owner", Kind::Choice(OWNERS), None, "The owner of givenName, middleName and familyName");
    row("name", "tie", Kind::Choice(SIDES), None, tie_doc);
    row("name", "create_only", Kind::Flag, None, create_doc);
}

type Add<'a> = dyn FnMut(&'static str, Kind, Option<&'static str>, &'static str) + 'a;

#[rustfmt::skip]
fn fixed(add: &mut Add<'_>) {
    let text = Kind::Text(kind::text);
    let path = Kind::Text(kind::path);

    add("service.public_listen", Kind::Text(kind::address), Some(r#""0.0.0.0:8080""#), "Where notifications arrive");
    add("service.private_listen", Kind::Text(kind::address), Some(r#""127.0.0.1:8081""#), "Dashboard, admin API, metrics, health");
    add("service.private_socket", Kind::Text(kind::socket), Some(r#""cxone-sync.sock""#), "The admin API for commands on this host, mode 0600; empty: none");
    add("service.public_url", Kind::Text(kind::url), None, "How Graph reaches public_listen; without it there are no notifications, only the poll");
    add("service.client_state_secret", Kind::Secrets(24), None, "Signs what Graph must send back; of a list the first signs and all verify");
    add("service.admin_token", Kind::Secret(16), None, "Opens private_listen; if absent, made at first start beside the store");
    add("service.tls_certificate_file", path, None, "PEM; terminate TLS on public_listen, reloaded when the file changes");
    add("service.tls_key_file", path, None, "PEM; the key of tls_certificate_file");
    add("service.max_body_bytes", Kind::Size(64 << 10, 64 << 20), Some(r#""4MiB""#), "The largest notification body taken");
    add("service.max_connections", Kind::Number(1, 65_536, "they cost memory"), Some("512"), "Connections to public_listen at once");

    add("store.path", path, Some(r#""cxone-sync.redb""#), "The queue, the links and the history");
    add("store.history_key", Kind::Secret(16), None, "Seals the history; if absent, made at first start beside the store");
    add("store.cache", Kind::Size(1 << 20, 64 << 30), Some(r#""64MiB""#), "Memory that keeps pages of the store");

    add("graph.tenant_id", Kind::Text(kind::tenant), None, "The directory's id, or one of its domains");
    add("graph.client_id", text, None, "The app registration's application (client) id");
    add("graph.client_secret", Kind::Secret(1), None, "The app registration's secret");
    add("graph.client_secret_expires", Kind::Text(kind::instant), None, "When the secret ends, to be reminded of it");
    add("graph.certificate_file", path, None, "PEM; instead of the secret, with private_key_file");
    add("graph.private_key_file", path, None, "PEM; the key of certificate_file");
    add("graph.federated_token_file", path, None, "A workload identity's token, read anew for each use; instead of the secret");
    add("graph.managed_identity", Kind::Flag, Some("false"), "Use the identity of the Azure host; instead of the secret");
    add("graph.cloud", Kind::Choice(&["global", "usgov", "usgov-dod", "china"]), Some(r#""global""#), "Which Microsoft cloud");
    add("graph.base_url", Kind::Text(kind::url), None, "Graph's address; follows from cloud");
    add("graph.login_url", Kind::Text(kind::url), None, "The token service's address; follows from cloud");
    add("graph.max_connections", Kind::Number(1, 100, "Graph throttles an app that asks for more at once"), Some("10"), "Requests to Graph at once");

    add("cxone.scim_url", Kind::Text(kind::url_pattern), Some(r#""https://{subdomain}.api.nicecxone.com/scim/v2""#), "The SCIM service");
    add("cxone.token_url", Kind::Text(kind::url_pattern), Some(r#""https://{subdomain}.api.nicecxone.com/oauth/token""#), "The token service");
    add("cxone.subdomain", Kind::Text(kind::subdomain), None, "Filled into {subdomain}");
    add("cxone.discovery", Kind::Text(kind::issuer), None, "Ask this issuer, with ?tenantId=, for scim_url and token_url instead");
    add("cxone.grant", Kind::Choice(&["client_credentials", "access_key", "access_key_json", "bearer", "basic"]), Some(r#""client_credentials""#), "How to prove who we are");
    add("cxone.client_id", text, None, "For client_credentials and access_key");
    add("cxone.client_secret", Kind::Secret(1), None, "For client_credentials and access_key");
    add("cxone.scope", text, None, "For client_credentials, where the token service wants one");
    add("cxone.access_key_id", text, None, "For access_key, access_key_json and basic");
    add("cxone.access_key_secret", Kind::Secret(1), None, "For access_key, access_key_json and basic");
    add("cxone.token", Kind::Secret(1), None, "For bearer");
    add("cxone.client_secret_expires", Kind::Text(kind::instant), None, "When it ends, to be reminded of it");
    add("cxone.access_key_secret_expires", Kind::Text(kind::instant), None, "When it ends, to be reminded of it");
    add("cxone.token_expires", Kind::Text(kind::instant), None, "When it ends, to be reminded of it");
    add("cxone.next.client_id", text, None, "As client_id, of credentials that are tried when the first are refused");
    add("cxone.next.client_secret", Kind::Secret(1), None, "As client_secret, of credentials that are tried when the first are refused");
    add("cxone.next.access_key_id", text, None, "As access_key_id, of credentials that are tried when the first are refused");
    add("cxone.next.access_key_secret", Kind::Secret(1), None, "As access_key_secret, of credentials that are tried when the first are refused");
    add("cxone.next.token", Kind::Secret(1), None, "As token, of credentials that are tried when the first are refused");
    add("cxone.max_connections", Kind::Number(1, 10, "CXone gives a client 10 connections at once"), Some("10"), "Requests to CXone at once");
    add("cxone.trust_baseline_for", Kind::Duration(0, YEAR_S, ""), Some(r#""0s""#), "Do not read a user anew who was read this recently");
    add("cxone.dialect", Kind::Choice(&["auto", "rfc7644", "indexed", "cxone", "put"]), Some(r#""auto""#), "How a PATCH is written");
    add("cxone.match", Kind::Choices(&["externalId", "userName", "email", "id"]), Some(r#"["externalId", "userName"]"#), "By what an unlinked user is looked for, in this order");

    add("sync.mode", Kind::Choice(&["write", "observe"]), Some(r#""write""#), "observe: everything but the writes");
    add("sync.create", Kind::Flag, Some("true"), "Create users that CXone does not have");
    add("sync.on_delete", Kind::Choice(&["deactivate", "ignore"]), Some(r#""deactivate""#), "What becomes of users deleted in Entra");
    add("sync.poll_interval", Kind::Duration(1, 7 * DAY_S, "Graph forgets a delta link after 7 days"), Some(r#""15m""#), "How often the delta poll looks for what was missed");
    add("sync.poll_interval_min", Kind::Duration(1, 7 * DAY_S, "Graph forgets a delta link after 7 days"), Some(r#""2m""#), "How often it looks while notifications get lost; at most poll_interval");
    add("sync.full_compare_interval", Kind::Duration(1, YEAR_S, ""), Some(r#""24h""#), "How often every user is looked at");
    add("sync.recheck_after", Kind::Duration(0, DAY_S, "a later look would not be about the same news"), Some(r#""60s""#), "When a notification that found nothing to do is looked at again");
    add("sync.max_attempts", Kind::Number(1, 1000, "then a job is parked"), Some("12"), "How often a job is tried");
    add("sync.burst_threshold", Kind::Number(1, 1_000_000, ""), Some("50"), "From how many due jobs on the delta is read instead of each user");

    add("scope.groups", Kind::Texts(kind::group), Some("[]"), "Only members of these groups; empty: everybody");
    add("scope.exclude_groups", Kind::Texts(kind::group), Some("[]"), "No members of these groups");
    add("scope.rules", Kind::Texts(kind::expression), Some("[]"), "Each must be true of the user");

    add("roles[].group", Kind::Text(kind::group), None, "The group's object id");
    add("roles[].role", text, None, "The role, as CXone shows it");
    add("roles[].privileged", Kind::Flag, Some("false"), "The role gives power over others: giving it counts toward guard.privileged_grants");

    add("events[].url", Kind::Secret(1), None, "Where events are sent; https, and a secret, for whoever knows some of these may post there");
    add("events[].secret", Kind::Secrets(1), None, "Signs what is sent, as whsec_ and base64; of a list all sign");
    add("events[].format", Kind::Choice(&["standard", "slack"]), Some(r#""standard""#), "standard: Standard Webhooks; slack: the text for a Slack or Teams channel");
    add("events[].quiet_window", Kind::Duration(0, 7 * DAY_S, "somebody should hear of what goes on"), Some(r#""15m""#), "For so long more about the same only counts");
    add("events[].types", Kind::Choices(EVENTS), Some(r#"["guard.tripped", "user.parked", "subscription.lost", "circuit.open", "credential.expiring", "coverage.low"]"#), "Which events are sent");

    add("guard.protected_users", Kind::Texts(kind::somebody), Some("[]"), "Entra object ids and CXone user names that are never written");
    add("guard.protected_roles", Kind::Texts(kind::text), Some("[]"), "Whoever holds one of these CXone roles is never written, and no group gives one");

    add("retention.journal", Kind::Duration(3600, 10 * YEAR_S, "Graph repeats a notification for up to 4 hours"), Some(r#""7d""#), "How long accepted notifications are kept for replay");
    add("retention.history", Kind::Duration(DAY_S, 100 * YEAR_S, "the guard counts the writes of a day in it"), Some(r#""90d""#), "How long writes are remembered, with before and after");

    add("log.format", Kind::Choice(&["auto", "text", "json"]), Some(r#""auto""#), "auto: text on a terminal, JSON elsewhere");
    add("log.level", Kind::Text(kind::log_filter), Some(r#""info""#), "A level, or a filter such as cxone_sync=debug,info");

    add("telemetry.otlp_endpoint", Kind::Text(kind::any_url), None, "An OTLP collector that takes HTTP, such as http://127.0.0.1:4318; without it there are no traces");
    add("telemetry.sample_percent", Kind::Number(0, 100, "it is a share"), Some("100"), "How many of 100 traces are kept");
}
