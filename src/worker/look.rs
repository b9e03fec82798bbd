//! Reads what both sides show of one user. A read that fails is an error, never an absence.

use crate::clock::until;
use crate::cxone::{self, Search};
use crate::domain::case::Case;
use crate::domain::evidence::Evidence;
use crate::domain::link::Link;
use crate::domain::observed::Observed;
use crate::domain::plan::{Source, Target};
use crate::domain::queue::{Job, Reason};
use crate::domain::rules::MatchKey;
use crate::domain::user::{Attribute, Membership, ScimId, SourceUser, TargetUser, UserId, Value};

use super::Worker;
use super::accounts::Held;
use super::failure::{CXONE, GRAPH, Stopped};

/// Both sides, as they are now.
#[derive(Debug)]
pub struct Look {
    pub source: Source,
    pub membership: Membership,
    pub target: Target,
    /// The CXone user with everything we do not understand, for the patch.
    pub found: Option<cxone::User>,
    pub link: Option<Link>,
    /// What is open between the operators and us.
    pub case: Case,
    /// Found neither in the directory nor among its deleted items, since then.
    pub absent_since: Option<jiff::Timestamp>,
    /// As in [`Link::returned_at`]: what is known of the memberships is from before.
    pub returned_at: Option<jiff::Timestamp>,
    /// The account that was found: nobody else decides about it meanwhile.
    pub held: Option<Held>,
}

/// What was seen in CXone.
struct Seen {
    target: Target,
    found: Option<cxone::User>,
    held: Option<Held>,
}

impl Seen {
    fn nobody(target: Target) -> Self {
        Self { target, found: None, held: None }
    }

    fn one(found: cxone::User, held: Held) -> Self {
        Self { target: Target::Found(found.view.clone()), found: Some(found), held: Some(held) }
    }
}

impl Look {
    /// The CXone user this is about, as far as it is known.
    pub fn scim_id(&self) -> Option<&ScimId> {
        match &self.target {
            Target::Found(shown) => Some(&shown.id),
            _ => self.link.as_ref().map(|link| &link.scim_id),
        }
    }
}

/// What is known of a user before the look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    pub removed: Option<crate::domain::evidence::RemovedReason>,
    pub absent_since: Option<jiff::Timestamp>,
    /// Details that a delta page gave after this are as good as a read.
    pub latest_news_at: Option<jiff::Timestamp>,
    /// The baseline may stand for the target, while it is young. Not after a run that failed.
    pub believes: bool,
}

impl Known {
    pub fn of(job: &Job) -> Self {
        // A recheck is there because an earlier read may have been too old: it reads for itself.
        let latest_news_at = (job.reason != Reason::Recheck).then_some(job.latest_news_at);
        let believes = job.attempts <= 1;
        Self { removed: job.removed, absent_since: job.absent_since, latest_news_at, believes }
    }
}

impl Worker {
    pub(super) async fn look(&self, user: UserId, known: Known) -> Result<Look, Stopped> {
        let (source, absent_since) = self.look_at_source(user, known).await?;
        let mut membership = self.membership(user).await?;
        let link = self.store.link(user).await?;
        let returned_at = self.returned_at(&source, link.as_ref(), &membership);
        if let Some(since) = returned_at {
            membership.complete = false;
            membership.scope_read_at = membership.scope_read_at.filter(|read_at| *read_at >= since);
        }
        let case = self.store.case(user).await?.unwrap_or_default();
        let Seen { target, found, held } =
            self.look_at_target(user, &source, link.as_ref(), known.believes).await?;
        Ok(Look { source, membership, target, found, link, case, absent_since, returned_at, held })
    }

    /// Somebody restored is at once in the groups they were in, and no notification tells of that. Until
    /// those have been read, they are not known to be in any.
    fn returned_at(
        &self,
        source: &Source,
        link: Option<&Link>,
        membership: &Membership,
    ) -> Option<jiff::Timestamp> {
        let (Source::Present(_), Some(link)) = (source, link) else { return None };
        let now = self.clock.now();
        // A time to come is left from a clock that was set back.
        let since = link.returned_at.or(link.source_gone.then_some(now))?.min(now);
        let read_before = membership.read_at.is_some_and(|read_at| read_at < since);
        read_before.then_some(since)
    }

    async fn look_at_source(
        &self,
        user: UserId,
        known: Known,
    ) -> Result<(Source, Option<jiff::Timestamp>), Stopped> {
        let now = self.clock.now();
        if let Some(news_at) = known.latest_news_at
            && let Some(details) = self.running.details.take(user, news_at, now, self.graph.selected())
        {
            return Ok((Source::Present(details), None));
        }
        if let Observed::Present(found) = self.graph.user(user).await? {
            self.running.circuits.reached(GRAPH);
            return Ok((Source::Present(found), None));
        }
        // 404 is no evidence: a replica may lag behind the creation, or the user is soft-deleted.
        if let Observed::Present(item) = self.graph.deleted_item(user).await? {
            self.running.circuits.reached(GRAPH);
            if let Some(evidence) = Evidence::in_deleted_items(user, &item) {
                return Ok((Source::Gone(evidence), None));
            }
        }
        self.running.circuits.reached(GRAPH);
        let since = known.absent_since.unwrap_or(now);
        let evidence =
            known.removed.map(Evidence::removed_in_delta).or_else(|| Evidence::absent_twice(since, now));
        Ok((evidence.map_or(Source::Unknown, Source::Gone), Some(since)))
    }

    async fn look_at_target(
        &self,
        user: UserId,
        source: &Source,
        link: Option<&Link>,
        believes: bool,
    ) -> Result<Seen, Stopped> {
        // Nothing is decided about an unclear source, and somebody who is gone and was never
        // linked has nothing to be matched by: no call is spent.
        let present = match (source, link) {
            (Source::Unknown, _) | (Source::Gone(_), None) => return Ok(Seen::nobody(Target::Absent)),
            (Source::Present(present), _) => Some(present),
            (Source::Gone(_), Some(_)) => None,
        };
        if let Some(link) = link {
            // An account that is being passed on is somebody else's when that has been settled.
            let held = self.running.accounts.hold(&link.scim_id).await;
            // Two users whose first runs crossed may have been linked to one account.
            if let Some(by) = self.store.linked_to(&link.scim_id).await?
                && by != user
            {
                return Ok(Seen::nobody(Target::Taken { id: link.scim_id.clone(), by }));
            }
            if believes && let Some(believed) = self.believed(link) {
                return Ok(Seen { target: Target::Found(believed), found: None, held: Some(held) });
            }
            let found = self.cxone.get(&link.scim_id).await?;
            self.running.circuits.reached(CXONE);
            if let Observed::Present(found) = found {
                return Ok(Seen::one(found, held));
            }
        }
        match present {
            Some(present) => self.find(user, present).await,
            None => Ok(Seen::nobody(Target::Absent)),
        }
    }

    /// The target as the baseline shows it, while that is young enough to be believed.
    fn believed(&self, link: &Link) -> Option<TargetUser> {
        let trust = self.settings.trust_baseline_for;
        if trust.is_zero() || until(link.confirmed_at, self.clock.now()) >= trust {
            return None;
        }
        let shown = |(attribute, baseline): (&Attribute, &crate::domain::link::Baseline)| {
            Some((*attribute, baseline.target.clone()?))
        };
        Some(TargetUser {
            id: link.scim_id.clone(),
            attributes: link.baseline.iter().filter_map(shown).collect(),
        })
    }

    /// Looks an unlinked user up in the configured order.
    async fn find(&self, user: UserId, present: &SourceUser) -> Result<Seen, Stopped> {
        let mut asked = false;
        for &key in &self.settings.rules.matching {
            let Some(value) = self.match_value(key, present) else { continue };
            let hit = self.cxone.find(key, &value).await?;
            self.running.circuits.reached(CXONE);
            match hit {
                Search::Refused => {}
                Search::None => asked = true,
                Search::Many(hits) => return Ok(Seen::nobody(Target::Ambiguous { key, hits })),
                Search::One(found) => return self.matched(user, found).await,
            }
        }
        Ok(Seen::nobody(if asked { Target::Absent } else { Target::Unmatchable }))
    }

    /// A hit that is not linked to this user, held for this run: whoever is matched to it as well
    /// waits, and then sees what became of it.
    async fn matched(&self, user: UserId, found: cxone::User) -> Result<Seen, Stopped> {
        let id = found.view.id.clone();
        let held = self.running.accounts.hold(&id).await;
        let found = match held.waited {
            false => found,
            true => match self.cxone.get(&id).await? {
                Observed::Present(found) => found,
                Observed::Absent => return Ok(Seen::nobody(Target::Absent)),
            },
        };
        Ok(match self.store.linked_to(&id).await? {
            Some(by) if by != user && !self.is_left_behind(by, &found.view).await? => {
                Seen::nobody(Target::Taken { id, by })
            }
            _ => Seen::one(found, held),
        })
    }

    /// Whether an account belongs to somebody who is gone from Entra and whom we turned off, or who never
    /// comes back and was kept on: whoever is hired again gets a new object there, and their old account
    /// here.
    async fn is_left_behind(&self, by: UserId, shown: &TargetUser) -> Result<bool, Stopped> {
        let link = self.store.link(by).await?;
        Ok(link.is_some_and(|link| {
            link.purged || (!shown.is_active() && link.source_gone && link.deactivated_by_us)
        }))
    }

    pub(super) fn match_value(&self, key: MatchKey, present: &SourceUser) -> Option<String> {
        let attribute = match key {
            MatchKey::Id => return Some(present.id.to_string()),
            MatchKey::ExternalId => Attribute::ExternalId,
            MatchKey::UserName => Attribute::UserName,
            MatchKey::Email => Attribute::Emails,
        };
        let expression = self.settings.rules.attributes.get(&attribute)?.from.as_ref()?;
        match expression.evaluate(&present.properties) {
            Ok(Some(Value::Text(text))) if !text.trim().is_empty() => Some(text),
            // A mapping that fails is reported by `decide`, with its attribute.
            _ => None,
        }
    }
}
