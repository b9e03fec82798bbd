//! What `doctor` looks at, and what it makes of what it finds.
//!
//! Every finding says four things: what was found, what it means, what to do, and, by the check's id,
//! where `docs/doctor.md` explains it. A check that could not be made says so; it is never "ok".

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::subscription::{Resource, Subscription};

/// One thing that is looked at, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    Configuration,
    Service,
    Store,
    StoreFiles,
    StoreRoom,
    Clock,
    GraphToken,
    GraphPermissions,
    Tenant,
    Subscriptions,
    PublicDns,
    PublicTls,
    PublicCertificate,
    PublicHandshake,
    PublicLatency,
    CxoneToken,
    CxoneSearch,
    CxoneFields,
    CxoneAgentRole,
    CxoneDialect,
}

impl Check {
    pub const ALL: [Self; 20] = [
        Self::Configuration,
        Self::Service,
        Self::Store,
        Self::StoreFiles,
        Self::StoreRoom,
        Self::Clock,
        Self::GraphToken,
        Self::GraphPermissions,
        Self::Tenant,
        Self::Subscriptions,
        Self::PublicDns,
        Self::PublicTls,
        Self::PublicCertificate,
        Self::PublicHandshake,
        Self::PublicLatency,
        Self::CxoneToken,
        Self::CxoneSearch,
        Self::CxoneFields,
        Self::CxoneAgentRole,
        Self::CxoneDialect,
    ];

    /// Its name for programs, and the heading in `docs/doctor.md`. A contract.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Service => "service",
            Self::Store => "store",
            Self::StoreFiles => "store-files",
            Self::StoreRoom => "store-room",
            Self::Clock => "clock",
            Self::GraphToken => "graph-token",
            Self::GraphPermissions => "graph-permissions",
            Self::Tenant => "tenant",
            Self::Subscriptions => "subscriptions",
            Self::PublicDns => "public-dns",
            Self::PublicTls => "public-tls",
            Self::PublicCertificate => "public-certificate",
            Self::PublicHandshake => "public-handshake",
            Self::PublicLatency => "public-latency",
            Self::CxoneToken => "cxone-token",
            Self::CxoneSearch => "cxone-search",
            Self::CxoneFields => "cxone-fields",
            Self::CxoneAgentRole => "cxone-agent-role",
            Self::CxoneDialect => "cxone-dialect",
        }
    }

    pub fn docs(self) -> String {
        format!("docs/doctor.md#{}", self.id())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    Warn,
    Fail,
    Skipped,
}

/// What kind of trouble a failure is: it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Configuration,
    Credentials,
    Unreachable,
    Other,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(rename = "id", serialize_with = "as_id")]
    pub check: Check,
    pub state: State,
    /// Of a failure.
    pub kind: Option<Kind>,
    pub found: String,
    /// Where something is wrong: what comes of it.
    pub means: Option<String>,
    pub todo: Option<String>,
    pub docs: String,
}

fn as_id<S: serde::Serializer>(check: &Check, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(check.id())
}

impl Finding {
    fn new(check: Check, state: State, found: impl Into<String>) -> Self {
        Self { check, state, kind: None, found: found.into(), means: None, todo: None, docs: check.docs() }
    }

    pub fn ok(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found)
    }

    /// Not looked at, and why.
    pub fn skipped(check: Check, why: impl Into<String>) -> Self {
        Self::new(check, State::Skipped, why)
    }

    pub fn warn(
        check: Check,
        found: impl Into<String>,
        means: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        let (means, todo) = (Some(means.into()), Some(todo.into()));
        Self { means, todo, ..Self::new(check, State::Warn, found) }
    }

    pub fn fail(
        check: Check,
        kind: Kind,
        found: impl Into<String>,
        means: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        let (means, todo) = (Some(means.into()), Some(todo.into()));
        Self { kind: Some(kind), means, todo, ..Self::new(check, State::Fail, found) }
    }
}

/// From here on a clock is wrong enough to be told.
const SKEWED: SignedDuration = SignedDuration::from_secs(30);
/// From here on tokens are refused: Entra allows signed assertions five minutes.
const WRONG: SignedDuration = SignedDuration::from_secs(300);

/// How far the neighbours' clocks are ahead of ours, by the `Date` of their answers.
pub fn clock(skews: &[(&str, SignedDuration)]) -> Finding {
    let check = Check::Clock;
    let Some(worst) = skews.iter().max_by_key(|(_, skew)| skew.abs()) else {
        return Finding::skipped(check, "no neighbour has answered with its time");
    };
    let told = |(name, skew): &(&str, SignedDuration)| match skew.as_secs() {
        -1..=1 => format!("as {name}'s"),
        2.. => format!("{} s behind {name}'s", skew.as_secs()),
        ..-1 => format!("{} s ahead of {name}'s", -skew.as_secs()),
    };
    let found = format!("our clock is {}", skews.iter().map(told).collect::<Vec<_>>().join(" and "));
    let todo = "set the clock of this host by NTP (chronyd, systemd-timesyncd)";
    match worst.1.abs() {
        skew if skew >= WRONG => Finding::fail(
            check,
            Kind::Other,
            found,
            "signed requests for tokens are refused, and subscriptions and tokens are taken to live longer or \
             shorter than they do",
            todo,
        ),
        skew if skew >= SKEWED => Finding::warn(
            check,
            found,
            "times in the history are off by that much; from 5 minutes on, tokens are refused",
            todo,
        ),
        _ => Finding::ok(check, found),
    }
}

/// Reads users, their changes, and lets us subscribe to them.
const READS_USERS: &str = "User.Read.All";
/// Reads groups with their members, and lets us subscribe to them.
const READS_GROUPS: &str = "Group.Read.All";
/// The same but for the groups' own properties.
const READS_MEMBERS: &str = "GroupMember.Read.All";

/// Whether the token has the application permissions we need and no others. `None`: it cannot be read.
pub fn permissions(granted: Option<&BTreeSet<String>>) -> Finding {
    let check = Check::GraphPermissions;
    let Some(granted) = granted else {
        return Finding::warn(
            check,
            "the token is none that one can look into",
            "whether a permission is missing, or one too many is there, cannot be told",
            "look at the app registration: API permissions",
        );
    };
    let has = |name: &str| granted.iter().any(|permission| permission.eq_ignore_ascii_case(name));
    let mut missing = Vec::new();
    if !has(READS_USERS) {
        missing.push(READS_USERS);
    }
    if !has(READS_GROUPS) && !has(READS_MEMBERS) {
        missing.push(READS_GROUPS);
    }
    let needed = [READS_USERS, READS_GROUPS, READS_MEMBERS];
    let excess: Vec<&str> = granted
        .iter()
        .map(String::as_str)
        .filter(|name| !needed.iter().any(|needed| needed.eq_ignore_ascii_case(name)))
        .collect();
    let writing: Vec<&str> = excess.iter().copied().filter(|name| may_change(name)).collect();
    let excess_told = match excess.is_empty() {
        true => String::new(),
        false => format!("; too many: {}", excess.join(", ")),
    };
    let remove = format!(
        "remove {} from the app registration (API permissions, and the consent under Enterprise applications)",
        excess.join(", ")
    );
    if !missing.is_empty() {
        let also = if excess.is_empty() { String::new() } else { format!("; {remove}") };
        return Finding::fail(
            check,
            Kind::Credentials,
            format!("missing: {}{excess_told}", missing.join(", ")),
            "Graph answers 403: users or groups cannot be read, or their changes not be subscribed to",
            format!(
                "add {} as application permissions (not delegated), and have an administrator consent; a token \
                 in service keeps its permissions for an hour, one of a managed identity for a day{also}",
                missing.join(" and ")
            ),
        );
    }
    if !writing.is_empty() {
        return Finding::fail(
            check,
            Kind::Other,
            format!("the token may change the directory: {}{excess_told}", writing.join(", ")),
            "whoever steals this host's credential may do that too; cxone-sync never writes to Entra",
            remove,
        );
    }
    if !excess.is_empty() {
        return Finding::warn(
            check,
            format!("not needed: {}", excess.join(", ")),
            "whoever steals this host's credential may read that too",
            remove,
        );
    }
    let found = granted.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    Finding::ok(check, format!("{found}, and no others"))
}

/// Whether a permission is for more than reading. Graph's names are `Resource.Operation.Constraint`; what
/// does not say that it reads is taken to change something.
fn may_change(permission: &str) -> bool {
    let mut parts = permission.split('.').skip(1);
    !parts.next().is_some_and(|operation| {
        let operation = operation.to_ascii_lowercase();
        operation.starts_with("read") && !operation.contains("write")
    })
}

/// With so little life left, a renewal has failed for long.
const SOON: Duration = Duration::from_secs(24 * 3600);

/// What we keep, what Graph has for this application, and where ours must lead.
pub fn subscriptions(
    kept: &[Subscription],
    remote: &[Subscription],
    our_address: Option<&str>,
    now: Timestamp,
) -> Finding {
    let check = Check::Subscriptions;
    let Some(our_address) = our_address else {
        return Finding::skipped(check, "service.public_url is not configured: only the poll finds changes");
    };
    let alive = |one: &&Subscription| one.expires_at > now;
    let is_ours = |one: &Subscription| kept.iter().any(|kept| kept.id == one.id);
    let (ours, others): (Vec<_>, Vec<_>) = remote.iter().filter(alive).partition(|one| is_ours(one));
    let lost: Vec<_> = kept
        .iter()
        .filter(|kept| !ours.iter().any(|one| one.id == kept.id))
        .map(|one| one.resource)
        .collect();
    let (doubled, foreign): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|other| other.notification_url == our_address);
    let mut told: Vec<String> =
        ours.iter().map(|one| format!("{} until {}", one.resource, one.expires_at)).collect();
    let names = |what: &str, ones: &[&Subscription]| {
        let named = ones.iter().map(|one| format!("{} {}", one.resource, one.id)).collect::<Vec<_>>();
        format!("{what}: {}", named.join(", "))
    };
    if !doubled.is_empty() {
        told.push(names("to our address, but not made by this store", &doubled));
    }
    if !foreign.is_empty() {
        told.push(names("foreign, to another address", &foreign));
    }
    if !lost.is_empty() {
        let resources = lost.iter().map(Resource::to_string).collect::<Vec<_>>();
        told.push(format!("lost: {}", resources.join(", ")));
        return Finding::fail(
            check,
            Kind::Other,
            told.join("; "),
            "nobody tells us of changes there; the poll finds them later",
            "a running service makes them again within 15 minutes; or run `cxone-sync subscribe`",
        );
    }
    let missing: Vec<_> = Resource::ALL
        .into_iter()
        .filter(|resource| !ours.iter().any(|one| one.resource == *resource))
        .collect();
    if !missing.is_empty() {
        let missing = missing.iter().map(Resource::to_string).collect::<Vec<_>>();
        told.push(format!("not subscribed: {}", missing.join(", ")));
        return Finding::warn(
            check,
            told.join("; "),
            "Graph does not call us: changes arrive with the poll",
            "run `cxone-sync subscribe`",
        );
    }
    if !doubled.is_empty() {
        return Finding::warn(
            check,
            told.join("; "),
            "each change is notified more than once, and what does not carry our clientState is dropped",
            "delete those that are not ours: `cxone-sync subscriptions delete ID`",
        );
    }
    if !foreign.is_empty() {
        return Finding::warn(
            check,
            told.join("; "),
            "another program uses this app registration, or an older address of ours is still notified",
            "give each program an app registration of its own, or delete what is not needed: \
             `cxone-sync subscriptions delete ID`",
        );
    }
    let soonest = ours.iter().map(|one| one.expires_at).min().unwrap_or(now);
    if soonest.duration_since(now).unsigned_abs() < SOON {
        return Finding::warn(
            check,
            told.join("; "),
            "they are renewed at half their life: this has failed for days",
            "see what the log says of renewals, and run `cxone-sync subscriptions renew ID`",
        );
    }
    Finding::ok(check, told.join("; "))
}

/// How much room the store's disk has. Below `least` bytes no news is taken in, below `enough` there is
/// no room for the ballast that lets a full disk be drained.
pub fn room(free_bytes: u64, least: u64, enough: u64) -> Finding {
    let check = Check::StoreRoom;
    let found = format!("{} MiB are free", free_bytes >> 20);
    let todo = "make room on this disk, or move the store to a larger one";
    match free_bytes {
        free if free < least => Finding::fail(
            check,
            Kind::Other,
            found,
            "no notifications are taken in, so that what is queued can be worked off",
            todo,
        ),
        free if free < enough => {
            Finding::warn(check, found, "soon no notifications are taken in any more", todo)
        }
        _ => Finding::ok(check, found),
    }
}

/// Who may read or change a file, as its permission bits say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    pub name: String,
    pub bits: u32,
}

/// The files of the store, with the secrets beside it, and the directory they are in.
pub fn files(directory: &Mode, files: &[Mode]) -> Finding {
    let check = Check::StoreFiles;
    let shown = |mode: &Mode| format!("{} is {:04o}", mode.name, mode.bits & 0o7777);
    let open: Vec<&Mode> = files.iter().filter(|file| file.bits & 0o077 != 0).collect();
    if !open.is_empty() {
        let names = open.iter().map(|file| file.name.as_str()).collect::<Vec<_>>();
        return Finding::fail(
            check,
            Kind::Other,
            open.iter().map(|file| shown(file)).collect::<Vec<_>>().join(", "),
            "other users of this host can read names, addresses and keys, or change them",
            format!("chmod 600 {}", names.join(" ")),
        );
    }
    // Sticky, as /tmp is: others may add files but not exchange ours.
    let (others_may, is_sticky) = (directory.bits & 0o002 != 0, directory.bits & 0o1000 != 0);
    let todo = format!("chmod 700 {}", directory.name);
    if others_may && !is_sticky {
        let means = "every user of this host can exchange the store";
        return Finding::fail(check, Kind::Other, shown(directory), means, todo);
    }
    if directory.bits & 0o022 != 0 {
        let means = "others than the service's user can put files beside the store";
        return Finding::warn(check, shown(directory), means, todo);
    }
    Finding::ok(check, format!("{} for their owner alone, in {}", files_told(files), directory.name))
}

fn files_told(files: &[Mode]) -> String {
    match files.len() {
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    }
}

/// Left of a certificate when its renewal has failed.
const RENEWED_BY_THEN: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long the certificate at the public URL is still good.
pub fn certificate(not_after: Timestamp, now: Timestamp) -> Finding {
    let check = Check::PublicCertificate;
    let left = not_after.duration_since(now);
    let (found, todo) = (
        format!("trusted, and good until {not_after}: {} days", left.as_hours() / 24),
        "renew the certificate, and see why that was not done by itself",
    );
    match left {
        left if left <= SignedDuration::ZERO => Finding::fail(
            check,
            Kind::Other,
            format!("expired at {not_after}"),
            "Graph delivers nothing",
            todo,
        ),
        left if left < RENEWED_BY_THEN => {
            Finding::warn(check, found, "once it has expired, Graph delivers nothing", todo)
        }
        _ => Finding::ok(check, found),
    }
}

/// Graph calls an endpoint slow that takes longer, and puts off what it has to tell it.
/// Source: Microsoft Graph, "Receive change notifications through webhooks".
const SLOW_MS: u64 = 3000;
const SLUGGISH_MS: u64 = 1000;

/// How long the public URL takes to answer.
pub fn latency(ms: u64) -> Finding {
    let (check, found) = (Check::PublicLatency, format!("answered in {ms} ms"));
    let todo = "look for what delays it: the proxy in front, the load of this host, the way there";
    match ms {
        ms if ms > SLOW_MS => Finding::fail(
            check,
            Kind::Other,
            found,
            "Graph calls an endpoint slow after 3 s: notifications come ten minutes late, or not at all",
            todo,
        ),
        ms if ms > SLUGGISH_MS => {
            Finding::warn(check, found, "Graph calls an endpoint slow after 3 s: that is not far off", todo)
        }
        _ => Finding::ok(check, found),
    }
}

#[cfg(test)]
mod tests;
