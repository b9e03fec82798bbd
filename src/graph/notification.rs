//! What Graph sends us: whether an item is genuine, and what it says. Pure; nothing is sent or kept.
//!
//! The only proof Graph gives is the `clientState` of the subscription, so ours proves something: it
//! is signed with our secret for one tenant and one resource, and is verified without the store.
//! Every item is judged on its own. One that is not ours, or cannot be read, is counted and spoils
//! no other; only a body that is no JSON, or has no `value` array, is refused whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{RwLock, RwLockReadGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::queue::{LifecycleEvent, News};
use crate::domain::subscription::Resource;

/// Items of one body that are read; the rest is only counted. Graph states no limit; what it could
/// not tell us this way the delta poll finds.
pub const MOST_ITEMS: usize = 5_000;

/// The body is not JSON, or not a collection of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a collection of change notifications")]
pub struct NotJson;

/// What one body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Genuine items, in their order.
    pub news: Vec<News>,
    /// All items, by what became of them: `accepted`, `malformed_item`, `unknown_tenant`,
    /// `bad_client_state`, `irrelevant`, `too_many`.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Reads the body of a notification or a lifecycle notification; both kinds may be mixed.
pub fn read(body: &[u8], verifier: &Verifier) -> Result<Read, NotJson> {
    let mut read = Read::default();
    let mut body = serde_json::Deserializer::from_slice(body);
    let found = Collection { verifier, read: &mut read }.deserialize(&mut body).map_err(|_| NotJson)?;
    body.end().map_err(|_| NotJson)?;
    if found { Ok(read) } else { Err(NotJson) }
}

/// Makes and recognises client states.
#[derive(Debug)]
pub struct Verifier {
    secrets: RwLock<Secrets>,
    tenant: String,
}

#[derive(Debug)]
struct Secrets {
    /// The first signs.
    configured: Vec<SecretString>,
    /// Not configured any more, and good until nothing that they signed can arrive.
    retired: Vec<Retired>,
}

#[derive(Debug)]
struct Retired {
    secret: SecretString,
    unused_since: Option<Timestamp>,
}

/// Graph repeats a notification that it could not deliver for up to four hours.
/// Source: Microsoft Graph, "Receive change notifications through webhooks", "Retries".
const STRAGGLERS: Duration = Duration::from_secs(4 * 3600);

impl Verifier {
    /// The first secret signs, all verify. `tenant` is a GUID or, if that is how it is configured, a
    /// domain.
    ///
    /// # Panics
    /// Without a secret, or with an empty one, which anybody could guess: the configuration makes
    /// sure of both.
    pub fn new(secrets: Vec<SecretString>, tenant: &str) -> Self {
        let secrets = RwLock::new(Secrets { configured: good(secrets), retired: Vec::new() });
        Self { secrets, tenant: tenant.to_owned() }
    }

    fn secrets(&self) -> RwLockReadGuard<'_, Secrets> {
        self.secrets.read().expect("no panic while the secrets are held")
    }

    /// The client state of a new subscription, and the mark of the secret that signed it.
    pub fn sign(&self, resource: Resource, nonce: [u8; 16]) -> (String, String) {
        let secrets = self.secrets();
        let secret = &secrets.configured[0];
        let state = client_state(secret.expose_secret().as_bytes(), nonce, &self.tenant, resource);
        (state, mark(secret))
    }

    /// The resource whose subscription carries this client state, if we made it for this tenant.
    pub fn verify(&self, client_state: &str) -> Option<Resource> {
        self.signed_by(client_state).map(|(resource, _)| resource)
    }

    /// The same, with the mark of the secret that signed it.
    pub fn signed_by(&self, client_state: &str) -> Option<(Resource, String)> {
        let (nonce, resource, tag) = parse(client_state)?;
        let genuine = |secret: &&SecretString| {
            // Compares in constant time.
            mac(secret.expose_secret().as_bytes(), nonce, &self.tenant, resource).verify_slice(&tag).is_ok()
        };
        let secrets = self.secrets();
        let retired = secrets.retired.iter().map(|retired| &retired.secret);
        let signed = secrets.configured.iter().chain(retired).find(genuine)?;
        Some((resource, mark(signed)))
    }

    /// Takes other secrets. Those that are not among them still verify; see [`Verifier::retire`].
    ///
    /// # Panics
    /// As [`Verifier::new`].
    pub fn exchange(&self, configured: Vec<SecretString>) {
        let mut secrets = self.secrets.write().expect("no panic while the secrets are held");
        let before = std::mem::replace(&mut secrets.configured, good(configured));
        let marks: Vec<String> = secrets.configured.iter().map(mark).collect();
        let old = before.into_iter().map(|secret| Retired { secret, unused_since: None });
        secrets.retired.extend(old);
        secrets.retired.retain(|retired| !marks.contains(&mark(&retired.secret)));
    }

    /// Whether a subscription that was signed by a secret of this mark had better be signed anew. Of one
    /// of which it is not known, only if there could have been another.
    pub fn is_outdated(&self, signed_by: Option<&str>) -> bool {
        let secrets = self.secrets();
        match signed_by {
            Some(signed_by) => mark(&secrets.configured[0]) != signed_by,
            None => secrets.configured.len() + secrets.retired.len() > 1,
        }
    }

    /// Lets go of the secrets that are not configured any more and have signed none of what is there
    /// (`in_use`, by their marks) for as long as something of it could arrive. How many there still are.
    pub fn retire(&self, in_use: &BTreeSet<String>, now: Timestamp) -> usize {
        let mut secrets = self.secrets.write().expect("no panic while the secrets are held");
        secrets.retired.retain_mut(|retired| {
            if in_use.contains(&mark(&retired.secret)) {
                retired.unused_since = None;
                return true;
            }
            let since = *retired.unused_since.get_or_insert(now);
            // A clock that was set back must not make it longer for ever.
            let unused = Duration::try_from(now.duration_since(since)).unwrap_or(STRAGGLERS);
            unused < STRAGGLERS
        });
        secrets.retired.len()
    }

    /// A tenant configured by its domain cannot be compared; the client state binds it anyway.
    fn knows(&self, tenant: &str) -> bool {
        match Uuid::try_parse(&self.tenant) {
            Ok(own) => Uuid::try_parse(tenant) == Ok(own),
            Err(_) => true,
        }
    }
}

fn good(secrets: Vec<SecretString>) -> Vec<SecretString> {
    let good = !secrets.is_empty() && secrets.iter().all(|secret| !secret.expose_secret().is_empty());
    assert!(good, "a client state needs a secret");
    secrets
}

/// By what a secret is known again, and cannot be found out.
fn mark(secret: &SecretString) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .expect("a key of HMAC may have any length");
    mac.update(b"the mark of a client state secret");
    URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..12])
}

const VERSION: &str = "1";

/// `1.{nonce}.{u|g}.{tag}`: 70 characters of ASCII, of the 128 that Graph allows.
pub fn client_state(secret: &[u8], nonce: [u8; 16], tenant: &str, resource: Resource) -> String {
    let tag = mac(secret, nonce, tenant, resource).finalize().into_bytes();
    let (nonce, tag) = (URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(tag));
    format!("{VERSION}.{nonce}.{}.{tag}", letter(resource))
}

const fn letter(resource: Resource) -> &'static str {
    match resource {
        Resource::Users => "u",
        Resource::Groups => "g",
    }
}

fn mac(secret: &[u8], nonce: [u8; 16], tenant: &str, resource: Resource) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of HMAC may have any length");
    // The nonce has a fixed length and no tenant holds a zero: nothing can be moved between parts.
    mac.update(&nonce);
    mac.update(tenant.to_ascii_lowercase().as_bytes());
    mac.update(&[0]);
    mac.update(resource.path().as_bytes());
    mac
}

fn parse(client_state: &str) -> Option<([u8; 16], Resource, Vec<u8>)> {
    let mut parts = client_state.split('.');
    if parts.next()? != VERSION {
        return None;
    }
    let nonce = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?;
    let tag = parts.next()?;
    let resource = Resource::ALL.into_iter().find(|resource| letter(*resource) == tag)?;
    let tag = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    parts.next().is_none().then_some((nonce, resource, tag))
}

/// Text that is borrowed from the body unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One item. Members that we do not need may hold anything: `sequenceNumber` is larger than a
/// double can hold exactly.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    #[serde(borrow)]
    tenant_id: Option<Text<'a>>,
    #[serde(borrow)]
    client_state: Option<Text<'a>>,
    #[serde(borrow)]
    change_type: Option<Text<'a>>,
    #[serde(borrow)]
    lifecycle_event: Option<Text<'a>>,
    #[serde(borrow)]
    subscription_id: Option<Text<'a>>,
    #[serde(borrow)]
    resource_data: Option<ResourceData<'a>>,
}

#[derive(Deserialize)]
struct ResourceData<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, rename = "@odata.type")]
    kind: Option<Text<'a>>,
}

impl Text<'_> {
    fn is(&self, word: &str) -> bool {
        self.0.eq_ignore_ascii_case(word)
    }
}

/// The news of one item, or why there is none.
fn judge(item: &RawValue, verifier: &Verifier) -> Result<News, &'static str> {
    let item: Item<'_> = serde_json::from_str(item.get()).map_err(|_| "malformed_item")?;
    if !item.tenant_id.as_ref().is_some_and(|tenant| verifier.knows(&tenant.0)) {
        return Err("unknown_tenant");
    }
    let resource = item.client_state.as_ref().and_then(|state| verifier.verify(&state.0));
    let resource = resource.ok_or("bad_client_state")?;
    match &item.lifecycle_event {
        Some(event) => lifecycle(&item, event),
        None => change(&item, resource),
    }
}

fn lifecycle(item: &Item<'_>, event: &Text<'_>) -> Result<News, &'static str> {
    let known = [
        ("reauthorizationRequired", LifecycleEvent::ReauthorizationRequired),
        ("subscriptionRemoved", LifecycleEvent::SubscriptionRemoved),
        ("missed", LifecycleEvent::Missed),
    ];
    let (_, event) = known.into_iter().find(|(name, _)| event.is(name)).ok_or("irrelevant")?;
    // It becomes part of a path later.
    let plain = |id: &&Text<'_>| {
        (1..=64).contains(&id.0.len()) && id.0.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let subscription = item.subscription_id.as_ref().filter(plain).ok_or("malformed_item")?;
    Ok(News::Lifecycle { subscription: subscription.0.clone().into_owned(), event })
}

/// What kind of object it is, our own client state says; the body may only agree.
fn change(item: &Item<'_>, resource: Resource) -> Result<News, &'static str> {
    let data = item.resource_data.as_ref().ok_or("malformed_item")?;
    let id = &data.id.as_ref().ok_or("malformed_item")?.0;
    let kind = match resource {
        Resource::Users => "#Microsoft.Graph.User",
        Resource::Groups => "#Microsoft.Graph.Group",
    };
    if data.kind.as_ref().is_some_and(|said| !said.is(kind)) {
        return Err("irrelevant");
    }
    // A change type that we do not know is news as well: the user is looked at, whatever it says.
    let deleted = item.change_type.as_ref().is_some_and(|kind| kind.is("deleted"));
    match resource {
        Resource::Users => id.parse().map(|id| News::User { id, deleted }).map_err(|_| "malformed_item"),
        Resource::Groups => id.parse().map(|id| News::Group { id }).map_err(|_| "malformed_item"),
    }
}

/// Walks the body without keeping it: items are judged as they pass.
struct Collection<'r> {
    verifier: &'r Verifier,
    read: &'r mut Read,
}

impl<'de> DeserializeSeed<'de> for Collection<'_> {
    /// Whether there was an array `value`.
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, body: D) -> Result<bool, D::Error> {
        body.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collection<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a collection of change notifications")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(Text(key)) = map.next_key()? {
            if key != "value" {
                map.next_value::<IgnoredAny>()?;
            } else if found {
                return Err(de::Error::duplicate_field("value"));
            } else {
                map.next_value_seed(Items { verifier: self.verifier, read: self.read })?;
                found = true;
            }
        }
        Ok(found)
    }
}

struct Items<'r> {
    verifier: &'r Verifier,
    read: &'r mut Read,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of change notifications")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for _ in 0..MOST_ITEMS {
            let Some(item) = items.next_element::<&RawValue>()? else { return Ok(()) };
            let result = match judge(item, self.verifier) {
                Ok(news) => {
                    self.read.news.push(news);
                    "accepted"
                }
                Err(reason) => reason,
            };
            *self.read.counts.entry(result).or_default() += 1;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {
            *self.read.counts.entry("too_many").or_default() += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
