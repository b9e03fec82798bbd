//! Takes over a running contact centre: finds out who is who and writes links. CXone is only read.
//!
//! Whatever this leaves undone it can be asked again: who is linked by then is passed over. It may
//! run beside the worker: the store links a pair only when neither side is linked, and a job that has
//! looked an account up is waited for.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tracing::{info, warn};

use crate::cxone::{Listing, Search, has_key};
use crate::domain::adopt::{
    self, Account, Ambiguity, Candidate, Conflict, Index, Keys, Links, Next, Verdict,
};
use crate::domain::observed::Observed;
use crate::domain::plan::Reason;
use crate::domain::retry::Failure;
use crate::domain::rules::MatchKey;
use crate::domain::scope::InScope;
use crate::domain::subscription::Resource;
use crate::domain::user::{Attribute, ScimId, SourceUser, TargetUser, UserId, Value};
use crate::graph::{PageNext, UserItem, fingerprint};
use crate::store::{self, Adoption};
use crate::telemetry::Progress;

use super::Worker;
use super::failure::{Fault, Stopped};
use super::rounds::endless;

/// Looks under way at once, as while many users are planned.
const LOOKS_AT_ONCE: usize = 32;
/// Links written in one commit.
const LINKS_AT_ONCE: usize = 100;
/// Links read at once.
const LINKS_A_PAGE: usize = 1000;
/// How often a neighbour that asks to wait is waited for, before one question is given up.
const MOST_WAITS: usize = 20;
/// The pauses before a question that failed is asked again.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// Why nothing, or not everything, was adopted. Links written before stay.
#[derive(Debug)]
pub enum NotAdopted {
    /// Another adoption runs.
    UnderWay,
    /// Who is in scope cannot be told.
    GroupsUnread(String),
    /// The service is asked to stop.
    Stopping,
    Stopped(Stopped),
}

impl From<Stopped> for NotAdopted {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<store::Error> for NotAdopted {
    fn from(error: store::Error) -> Self {
        Self::Stopped(error.into())
    }
}

/// What was found out, and done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Nothing was linked.
    pub dry_run: bool,
    /// Users of the directory in scope, and those out of it, who were passed over.
    pub in_scope: usize,
    pub out_of_scope: usize,
    /// Whether CXone listed its users; if not, why.
    pub listing: Listed,
    pub matched: Vec<Matched>,
    /// Users in scope who were linked before.
    pub already_linked: usize,
    pub ambiguous: Vec<Ambiguous>,
    pub unmatched_in_entra: Vec<Unmatched>,
    /// `None`: not known, because CXone does not list its users.
    pub unmatched_in_cxone: Option<Vec<Stranger>>,
    /// How many pairs differ, by attribute.
    pub conflicts: BTreeMap<Attribute, usize>,
    pub failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Listed {
    Complete { users: usize },
    Incomplete { why: String },
    NotOffered,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Matched {
    pub user: UserId,
    pub user_name: Option<String>,
    pub scim_id: ScimId,
    pub by: MatchKey,
    /// Of the CXone account.
    pub active: bool,
    pub next: Next,
    pub conflicts: Vec<Conflict>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ambiguous {
    pub user: UserId,
    pub user_name: Option<String>,
    #[serde(flatten)]
    pub why: Ambiguity,
    pub sentence: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unmatched {
    pub user: UserId,
    pub user_name: Option<String>,
    /// Not whoever is disabled, and nobody when `sync.create` is off.
    pub would_create: bool,
}

/// A CXone account that nobody in scope is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stranger {
    pub scim_id: ScimId,
    pub user_name: Option<String>,
    pub active: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    pub user: UserId,
    pub user_name: Option<String>,
    pub error: String,
}

/// Everybody in scope, as the directory shows them.
#[derive(Debug, Default)]
struct Census {
    people: People,
    out_of_scope: HashSet<UserId>,
    failed: BTreeMap<UserId, String>,
}

/// Shared, because everybody is looked at while others are.
type People = BTreeMap<UserId, Arc<Person>>;

#[derive(Debug)]
struct Person {
    source: SourceUser,
    keys: Keys,
}

/// What is known of the accounts before anybody is compared.
struct Found {
    candidates: Vec<(UserId, Candidate)>,
    /// Accounts that were read whole on the way.
    read: BTreeMap<ScimId, TargetUser>,
}

/// A pair that was compared, or why it could not be.
type Compared = Result<(Matched, Box<crate::domain::link::Link>), Failed>;

impl Worker {
    /// Matches everybody in scope with the CXone accounts there are, and links the pairs; with
    /// `dry_run` only says what would be linked. Never writes to CXone.
    pub async fn adopt(&self, dry_run: bool, progress: &Progress) -> Result<Report, NotAdopted> {
        let Ok(_one_at_a_time) = self.running.adoption.try_lock() else { return Err(NotAdopted::UnderWay) };
        progress.begin("reading groups", None);
        self.read_unread_groups().await?;
        progress.begin("reading Entra", None);
        let Census { people, out_of_scope, failed } = self.census(progress).await?;
        let links = self.all_links().await?;
        let mut report = Report {
            dry_run,
            in_scope: people.len() + failed.len(),
            out_of_scope: out_of_scope.len(),
            listing: Listed::NotOffered,
            matched: Vec::new(),
            already_linked: 0,
            ambiguous: Vec::new(),
            unmatched_in_entra: Vec::new(),
            unmatched_in_cxone: None,
            conflicts: BTreeMap::new(),
            failed: failed.into_iter().map(|(user, error)| Failed { user, user_name: None, error }).collect(),
        };
        progress.begin("listing CXone", None);
        let accounts = self.accounts(&mut report).await?;
        let Found { candidates, mut read } = match &accounts {
            Some(accounts) => by_index(accounts, &self.settings.rules.matching, &people),
            None => self.look_everybody_up(&people, &links, &mut report, progress).await?,
        };
        let verdicts = adopt::judge(candidates, &links);
        if let Some(accounts) = &accounts {
            let strangers = adopt::strangers(accounts, &verdicts, &links);
            report.unmatched_in_cxone = Some(strangers.into_iter().map(stranger).collect());
        }
        let mut matches = Vec::new();
        for (user, verdict) in verdicts {
            let person = &people[&user];
            match verdict {
                Verdict::Linked => report.already_linked += 1,
                Verdict::Matched { by, account } => {
                    let shown = read.remove(&account);
                    matches.push((user, person.clone(), by, account, shown));
                }
                Verdict::Ambiguous(why) => report.ambiguous.push(self.ambiguous(user, person, why)),
                Verdict::Unmatched => report.unmatched_in_entra.push(Unmatched {
                    user,
                    user_name: self.user_name(&person.source),
                    would_create: person.source.enabled && self.settings.rules.create,
                }),
                Verdict::Unmatchable => {
                    let error = match person.keys.is_empty() {
                        true => "no key of cxone.match has a value for this user".to_owned(),
                        false => Reason::Unmatchable.sentence(),
                    };
                    report.failed.push(self.failed(user, person, error));
                }
            }
        }
        progress.begin("comparing pairs", Some(matches.len()));
        // One lot after the other: linking waits for jobs, and those for requests that only go on while
        // somebody waits for them.
        while !matches.is_empty() {
            let lot: Vec<_> = matches.drain(..LINKS_AT_ONCE.min(matches.len())).collect();
            let comparing = stream::iter(lot).map(|(user, person, by, account, shown)| {
                self.compare_pair(user, person, by, account, shown)
            });
            let comparing = comparing.buffered(LOOKS_AT_ONCE).inspect(|_| progress.add(1));
            let compared = comparing.collect::<Vec<_>>().await;
            let compared = compared.into_iter().collect::<Result<Vec<_>, _>>();
            self.link_pairs(compared?, &people, &mut report).await?;
        }
        for conflict in report.matched.iter().flat_map(|matched| &matched.conflicts) {
            *report.conflicts.entry(conflict.attribute).or_default() += 1;
        }
        let n_linked = report.matched.len();
        if !dry_run {
            info!(n_users = n_linked, "an operator adopted the accounts of {n_linked} users");
        }
        Ok(report)
    }

    /// Reads the groups that were never read: while no service runs, nobody else does. Beside one
    /// that runs, a group may be read twice.
    async fn read_unread_groups(&self) -> Result<(), NotAdopted> {
        let relevant = self.settings.rules.relevant_groups();
        loop {
            // Those nested in what was just read are unread in the next turn.
            let unread = self.store.set_roots(&relevant).await?;
            if unread.is_empty() {
                return Ok(());
            }
            for group in unread {
                let read_at = self.clock.now();
                let members =
                    self.patiently(move || async move { Ok(self.graph.group_members(group).await?) }).await?;
                let Observed::Present(members) = members else {
                    return Err(NotAdopted::GroupsUnread(format!(
                        "group {group} is not in the directory: remove it from the configuration, or restore it"
                    )));
                };
                self.store.record_group(group, members, read_at).await?;
            }
        }
    }

    /// Reads the directory from the beginning. What a page shows of a user replaces what an earlier
    /// one did.
    async fn census(&self, progress: &Progress) -> Result<Census, NotAdopted> {
        let mut census = Census::default();
        let mut links = HashSet::new();
        let mut link: Option<String> = None;
        loop {
            let from = link.as_deref();
            let page = self.patiently(move || async move { Ok(self.graph.user_page(from).await?) }).await?;
            progress.add(page.items.len());
            for item in page.items {
                self.enrol(&mut census, item).await?;
            }
            match page.next {
                PageNext::More(next) if !links.insert(next.clone()) => {
                    return Err(endless(Resource::Users).into());
                }
                PageNext::More(next) => link = Some(next),
                PageNext::End(_) => return Ok(census),
            }
        }
    }

    async fn enrol(&self, census: &mut Census, item: UserItem) -> Result<(), NotAdopted> {
        let user = item.id;
        census.people.remove(&user);
        census.out_of_scope.remove(&user);
        census.failed.remove(&user);
        if item.removed.is_some() {
            return Ok(());
        }
        let source = match item.details {
            Some(source) => source,
            None => match self.patiently(move || async move { Ok(self.graph.user(user).await?) }).await {
                Ok(Observed::Present(source)) => source,
                Ok(Observed::Absent) => return Ok(()),
                Err(stopped) => {
                    census.failed.insert(user, of_one_user(stopped)?.words());
                    return Ok(());
                }
            },
        };
        let membership = self.membership(user).await?;
        if !membership.complete {
            return Err(NotAdopted::GroupsUnread(
                "the groups have not all been read yet: try again in a minute".to_owned(),
            ));
        }
        match self.settings.rules.scope.of(&source, &membership, self.clock.now()) {
            InScope::Yes => {
                let matching = self.settings.rules.matching.iter();
                let keys = matching.filter_map(|&key| Some((key, self.match_value(key, &source)?))).collect();
                census.people.insert(user, Arc::new(Person { source, keys }));
            }
            InScope::No(_) => {
                census.out_of_scope.insert(user);
            }
            InScope::Unknown(why) => {
                census.failed.insert(user, Reason::ScopeUnknown(why).sentence());
            }
        }
        Ok(())
    }

    async fn all_links(&self) -> Result<Links, store::Error> {
        let mut pairs = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.links(after, LINKS_A_PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(pairs.into_iter().collect()) };
            after = Some(*last);
            pairs.extend(page.into_iter().map(|(user, link)| (user, link.scim_id)));
        }
    }

    /// Every account of CXone, if it lists them all. A list that cannot be had costs a search a user,
    /// and the knowledge of who is only there.
    async fn accounts(&self, report: &mut Report) -> Result<Option<Vec<Account>>, NotAdopted> {
        let (listing, accounts) = match self
            .patiently(move || async move { Ok(self.cxone.list().await?) })
            .await
        {
            Ok(Listing::Complete(accounts)) => (Listed::Complete { users: accounts.len() }, Some(accounts)),
            Ok(Listing::Partial { shown, total }) => {
                let why = format!("CXone showed {} users and counts {total}", shown.len());
                (Listed::Incomplete { why }, None)
            }
            Ok(Listing::NotOffered) => (Listed::NotOffered, None),
            Err(stopped) => {
                let fault = of_one_user(stopped)?;
                warn!(
                    error = fault.failure.words(),
                    "CXone cannot be listed: its users are looked up one by one"
                );
                (Listed::Incomplete { why: fault.words() }, None)
            }
        };
        report.listing = listing;
        Ok(accounts)
    }

    /// Looks for the account of everybody who is not linked, one by one.
    async fn look_everybody_up(
        &self,
        people: &People,
        links: &Links,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<Found, NotAdopted> {
        progress.begin("looking accounts up", Some(people.len()));
        let mut found = Found { candidates: Vec::new(), read: BTreeMap::new() };
        let mut unclear = Vec::new();
        let everybody: Vec<_> = people
            .iter()
            .map(|(user, person)| (*user, (!links.has_user(*user)).then(|| person.clone())))
            .collect();
        let looking = stream::iter(everybody).map(|(user, person)| async move {
            match person {
                None => (user, Ok((Candidate::None, None))),
                Some(person) => (user, self.look_up(&person.keys).await),
            }
        });
        let mut looking = std::pin::pin!(looking.buffered(LOOKS_AT_ONCE));
        while let Some((user, looked)) = looking.next().await {
            progress.add(1);
            match looked {
                Ok((candidate, shown)) => {
                    found.read.extend(shown.map(|shown| (shown.id.clone(), shown)));
                    found.candidates.push((user, candidate));
                }
                Err(stopped) => unclear.push((user, of_one_user(stopped)?.words())),
            }
        }
        // Whoever has a key in common with somebody who could not be looked up may share an account.
        let keys = |user: &UserId| &people[user].keys;
        let doubtful = adopt::doubtful(
            found.candidates.iter().map(|(user, _)| (*user, keys(user))),
            unclear.iter().map(|(user, _)| keys(user)),
        );
        found.candidates.retain(|(user, _)| links.has_user(*user) || !doubtful.contains(user));
        let in_doubt = doubtful.into_iter().filter(|user| !links.has_user(*user)).map(|user| {
            (
                user,
                "somebody with the same key could not be looked up, so the match is not certain".to_owned(),
            )
        });
        for (user, error) in unclear.into_iter().chain(in_doubt) {
            report.failed.push(self.failed(user, &people[&user], error));
        }
        Ok(found)
    }

    async fn look_up(&self, keys: &Keys) -> Result<(Candidate, Option<TargetUser>), NotAdopted> {
        let mut candidate = Candidate::Unmatchable;
        for (key, value) in keys {
            match self.patiently(move || async move { Ok(self.cxone.find(*key, value).await?) }).await? {
                Search::Refused => {}
                Search::None => candidate = Candidate::None,
                Search::Many(hits) => {
                    return Ok((Candidate::Several { by: *key, hits, accounts: Vec::new() }, None));
                }
                Search::One(found) => {
                    let account = found.view.id.clone();
                    return Ok((Candidate::One { by: *key, account }, Some(found.view)));
                }
            }
        }
        Ok((candidate, None))
    }

    /// Compares a pair on the whole account: lists and searches lack attributes.
    async fn compare_pair(
        &self,
        user: UserId,
        person: Arc<Person>,
        by: MatchKey,
        account: ScimId,
        shown: Option<TargetUser>,
    ) -> Result<Compared, NotAdopted> {
        let failed = |error: String| Ok(Err(self.failed(user, &person, error)));
        let shown = match shown {
            Some(shown) => shown,
            None => match self.patiently(|| async { Ok(self.cxone.get(&account).await?) }).await {
                Ok(Observed::Present(found)) if self.is_still(&found, by, &person) => found.view,
                Ok(_) => return failed("the CXone account changed while it was looked at".to_owned()),
                Err(stopped) => return failed(of_one_user(stopped)?.words()),
            },
        };
        let membership = self.membership(user).await?;
        let (rules, now) = (&self.settings.rules, self.clock.now());
        let print = fingerprint(&person.source);
        match adopt::pair(rules, &person.source, &membership, &shown, now, print) {
            Err(reason) => failed(reason.sentence()),
            Ok(adopt::Pair { link, conflicts, next }) => {
                let user_name = self.user_name(&person.source);
                let (active, scim_id) = (shown.is_active(), shown.id);
                let matched = Matched { user, user_name, scim_id, by, active, next, conflicts };
                Ok(Ok((matched, Box::new(link))))
            }
        }
    }

    /// The list is older than this read.
    fn is_still(&self, found: &crate::cxone::User, by: MatchKey, person: &Person) -> bool {
        person.keys.iter().any(|(key, value)| *key == by && has_key(found, *key, value))
    }

    /// Links what was compared, and reports it.
    async fn link_pairs(
        &self,
        compared: Vec<Compared>,
        people: &People,
        report: &mut Report,
    ) -> Result<(), NotAdopted> {
        let (mut matched, mut pairs) = (Vec::new(), Vec::new());
        for one in compared {
            match one {
                Ok((found, link)) => {
                    pairs.push((found.user, *link));
                    matched.push(found);
                }
                Err(failed) => report.failed.push(failed),
            }
        }
        if report.dry_run {
            report.matched.extend(matched);
            return Ok(());
        }
        // A job that has looked one of these accounts up is about to write to it, and links it itself. Who
        // takes several takes them in order, so that nobody waits for another.
        let accounts: BTreeSet<ScimId> = pairs.iter().map(|(_, link)| link.scim_id.clone()).collect();
        let mut held = Vec::with_capacity(accounts.len());
        for account in &accounts {
            held.push(self.running.accounts.hold(account).await);
        }
        let adoptions = self.store.adopt(pairs).await?;
        drop(held);
        for (found, adoption) in matched.into_iter().zip(adoptions) {
            match adoption {
                Adoption::Linked => report.matched.push(found),
                // The worker was quicker.
                Adoption::UserIsLinked(_) => report.already_linked += 1,
                Adoption::TargetIsLinked(linked_to) => {
                    let why = Ambiguity::TakenAccount { by: found.by, account: found.scim_id, linked_to };
                    report.ambiguous.push(self.ambiguous(found.user, &people[&found.user], why));
                }
            }
        }
        Ok(())
    }

    fn ambiguous(&self, user: UserId, person: &Person, why: Ambiguity) -> Ambiguous {
        Ambiguous { user, user_name: self.user_name(&person.source), sentence: why.sentence(), why }
    }

    fn failed(&self, user: UserId, person: &Person, error: String) -> Failed {
        Failed { user, user_name: self.user_name(&person.source), error }
    }

    /// The name an operator knows the user by.
    fn user_name(&self, source: &SourceUser) -> Option<String> {
        let name = source.properties.get("userPrincipalName").and_then(Value::as_text).map(str::to_owned);
        name.or_else(|| self.match_value(MatchKey::UserName, source))
    }

    /// Asks until there is an answer or no hope. Behind a job stands the queue, which asks again;
    /// behind this stands an operator, who would have to.
    async fn patiently<T, F: Future<Output = Result<T, Stopped>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, NotAdopted> {
        let (mut waits, mut pauses) = (0, PAUSES.iter());
        loop {
            if self.shutdown.is_requested() {
                return Err(NotAdopted::Stopping);
            }
            let stopped = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(stopped) => stopped,
            };
            let again_at = match &stopped {
                Stopped::By(Fault { failure: Failure::Throttled { until }, .. }) if waits < MOST_WAITS => {
                    waits += 1;
                    Some(*until)
                }
                Stopped::By(Fault { failure: Failure::Transient(_), .. }) => {
                    pauses.next().map(|pause| crate::clock::later(self.clock.now(), *pause))
                }
                Stopped::By(_) | Stopped::Store(_) => None,
            };
            let Some(again_at) = again_at else { return Err(stopped.into()) };
            tokio::select! {
                () = self.clock.sleep_until(again_at) => {}
                () = self.shutdown.requested() => {}
            }
        }
    }
}

/// The fault, if it is about what was asked; when the neighbour is out of reach, so is everybody
/// else, and it is no use to go on.
fn of_one_user(stopped: NotAdopted) -> Result<Fault, NotAdopted> {
    match stopped {
        NotAdopted::Stopped(Stopped::By(fault))
            if fault.reached && !matches!(fault.failure, Failure::Outage(_)) =>
        {
            Ok(fault)
        }
        other => Err(other),
    }
}

fn by_index(accounts: &[Account], order: &[MatchKey], people: &People) -> Found {
    let index = Index::new(accounts, order);
    let candidates = people.iter().map(|(user, person)| (*user, index.find(&person.keys))).collect();
    Found { candidates, read: BTreeMap::new() }
}

fn stranger(account: &Account) -> Stranger {
    let Account { id, user_name, active, .. } = account.clone();
    Stranger { scim_id: id, user_name, active }
}
