//! Keeps our subscriptions alive: found, renewed at half their life, made again when they are gone.
//!
//! For users and groups Graph tells nobody that a subscription was removed, so the list is read
//! every few minutes. Source: Microsoft Graph, "Reduce missing subscriptions and change
//! notifications" (supported resources of `subscriptionRemoved`).

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::clock::{later, until};
use crate::domain::event::{Lost, What};
use crate::domain::observed::Observed;
use crate::domain::queue::{Chore, ChoreOutcome};
use crate::domain::retry::Failure;
use crate::domain::subscription::{LONGEST_LIFE, Resource, Subscription, renew_at};
use crate::graph::{Created, NewSubscription, RemoteSubscription};

use super::Worker;
use super::failure::{Fault, GRAPH, Stopped};

/// How often `GET /subscriptions` is asked.
const WATCH_EVERY: Duration = Duration::from_secs(15 * 60);
/// After a renewal or reauthorization Graph must be left alone this long.
/// Source: Microsoft Graph, "Lifecycle notifications": never both within 10 minutes.
const RENEW_APART: Duration = Duration::from_secs(10 * 60);
/// Asked for a little less than Graph allows, so that a clock that differs is no reason to refuse.
const LIFE: Duration = Duration::from_secs(LONGEST_LIFE.as_secs() - 3600);

impl Worker {
    /// Creates or adopts the subscriptions for users and groups. What an operator asks for with
    /// `subscribe`, and from then on what the watch keeps up.
    pub async fn subscribe(&self) -> Result<Vec<Subscription>, Stopped> {
        let _one_at_a_time = self.running.subscriptions.lock().await;
        let remote = self.graph.subscriptions().await?;
        let mut ours = Vec::new();
        for resource in Resource::ALL {
            ours.push(self.adopt_or_create(resource, &remote).await?);
        }
        let now = self.clock.now();
        self.store.schedule(Chore::Subscriptions, later(now, WATCH_EVERY), now).await?;
        Ok(ours)
    }

    /// Removes one at Graph and here.
    pub async fn unsubscribe(&self, id: &str) -> Result<Observed<()>, Stopped> {
        let _one_at_a_time = self.running.subscriptions.lock().await;
        let gone = self.graph.delete_subscription(id).await?;
        self.store.remove_subscription(id).await?;
        Ok(gone)
    }

    /// Renews one now, if it is one of ours. `Absent`: neither we nor Graph know it.
    pub async fn renew(&self, id: &str) -> Result<Observed<Subscription>, Stopped> {
        let _one_at_a_time = self.running.subscriptions.lock().await;
        let kept = self.store.subscriptions().await?.into_iter().find(|kept| kept.id == id);
        match kept {
            Some(kept) => self.renew_or_recreate(&kept).await.map(Observed::Present),
            None => Ok(Observed::Absent),
        }
    }

    /// Graph asked for a renewal. One PATCH both renews and reauthorizes.
    pub(super) async fn reauthorize(&self, id: &str) -> Result<ChoreOutcome, Stopped> {
        let _one_at_a_time = self.running.subscriptions.lock().await;
        let now = self.clock.now();
        let kept = self.store.subscriptions().await?.into_iter().find(|kept| kept.id == id);
        match kept {
            None => warn!(subscription.id = id, "Graph wants a subscription renewed that is not ours"),
            // It crossed our own renewal on the way: that one has done it.
            Some(kept) if until(kept.renewed_at, now) < RENEW_APART => {}
            Some(kept) => {
                self.renew_or_recreate(&kept).await?;
            }
        }
        Ok(ChoreOutcome::Done { next_at: None })
    }

    /// The watch: what we keep must be at Graph, with time left.
    pub(super) async fn watch_subscriptions(&self) -> Result<ChoreOutcome, Stopped> {
        let _one_at_a_time = self.running.subscriptions.lock().await;
        let kept = self.store.subscriptions().await?;
        let now = self.clock.now();
        let mut next_at = later(now, WATCH_EVERY);
        if kept.is_empty() {
            // Nobody subscribed yet: there is nothing to keep up.
            return Ok(ChoreOutcome::Done { next_at: Some(next_at) });
        }
        let remote = self.graph.subscriptions().await?;
        let mut in_use = BTreeSet::new();
        for subscription in kept {
            let there = remote.iter().find(|remote| remote.subscription.id == subscription.id);
            let current = match there {
                Some(there) if !self.is_ours(subscription.resource, there) => {
                    warn!(subscription.id = %subscription.id, "subscription for {} notifies another address; making a new one", subscription.resource);
                    self.graph.delete_subscription(&subscription.id).await?;
                    self.recreate(&subscription, &[], Lost::Changed).await?
                }
                None => {
                    warn!(subscription.id = %subscription.id, "subscription for {} is gone; making a new one", subscription.resource);
                    self.recreate(&subscription, &remote, Lost::Gone).await?
                }
                Some(_) if self.verifier.is_outdated(subscription.signed_by.as_deref()) => {
                    self.sign_anew(&subscription).await?
                }
                Some(_) if renew_at(&subscription, self.random.unit()) <= now => {
                    self.renew_or_recreate(&subscription).await?
                }
                Some(_) => subscription,
            };
            next_at = next_at.min(renew_at(&current, 1.0)).max(later(now, Duration::from_secs(60)));
            in_use.extend(current.signed_by);
        }
        self.verifier.retire(&in_use, now);
        Ok(ChoreOutcome::Done { next_at: Some(next_at) })
    }

    async fn renew_or_recreate(&self, kept: &Subscription) -> Result<Subscription, Stopped> {
        match self.graph.renew_subscription(kept, self.expiry()).await? {
            Observed::Present(renewed) => {
                self.store.put_subscription(&renewed).await?;
                info!(subscription.id = %renewed.id, "renewed the subscription for {} until {}", renewed.resource, renewed.expires_at);
                Ok(renewed)
            }
            // 404: it is gone, and asking again would not bring it back.
            Observed::Absent => self.recreate(kept, &[], Lost::Gone).await,
        }
    }

    /// Makes a lost subscription again, and polls: nobody told us what happened meanwhile.
    async fn recreate(
        &self,
        lost: &Subscription,
        remote: &[RemoteSubscription],
        how: Lost,
    ) -> Result<Subscription, Stopped> {
        let now = self.clock.now();
        let subscription = lost.id.clone();
        self.tell(What::SubscriptionLost { resource: lost.resource, subscription, how });
        let made = self.adopt_or_create(lost.resource, remote).await?;
        if made.id != lost.id {
            self.store.remove_subscription(&lost.id).await?;
        }
        self.store.schedule(Chore::Poll(lost.resource), now, now).await?;
        Ok(made)
    }

    /// The secret that signed it has been exchanged. Graph changes no `clientState`, and makes no second
    /// subscription beside the first (409): the old one ends, a new one begins, and a poll finds what
    /// happened between the two. What is still on its way from the old one verifies as before.
    async fn sign_anew(&self, old: &Subscription) -> Result<Subscription, Stopped> {
        info!(subscription.id = %old.id, "the secret of the subscription for {} has been exchanged; making a new one", old.resource);
        self.graph.delete_subscription(&old.id).await?;
        let made = self.create(old.resource).await?;
        if made.id != old.id {
            self.store.remove_subscription(&old.id).await?;
        }
        let now = self.clock.now();
        self.store.schedule(Chore::Poll(old.resource), now, now).await?;
        Ok(made)
    }

    async fn adopt_or_create(
        &self,
        resource: Resource,
        remote: &[RemoteSubscription],
    ) -> Result<Subscription, Stopped> {
        let kept = self.store.subscriptions().await?;
        for candidate in remote.iter().filter(|remote| self.is_ours(resource, remote)) {
            let known = kept.iter().find(|kept| kept.id == candidate.subscription.id);
            // Graph may not show the clientState. Of a subscription we did not make ourselves we
            // must be sure that its notifications will verify.
            let signed = self.signed(resource, candidate);
            if known.is_some() || signed.is_some() {
                let mut adopted = candidate.subscription.clone();
                adopted.renewed_at = self.clock.now();
                adopted.signed_by = signed.or_else(|| known.and_then(|known| known.signed_by.clone()));
                self.store.put_subscription(&adopted).await?;
                return Ok(adopted);
            }
            info!(subscription.id = %candidate.subscription.id, "replacing a subscription for {resource} whose clientState is not ours");
            self.graph.delete_subscription(&candidate.subscription.id).await?;
        }
        self.create(resource).await
    }

    async fn create(&self, resource: Resource) -> Result<Subscription, Stopped> {
        let Some(urls) = &self.settings.urls else {
            let error = "service.public_url is not configured: Graph needs an address to call".to_owned();
            return Err(Stopped::By(Fault::answered(
                GRAPH,
                Failure::Rejected { code: "no_public_url", error },
            )));
        };
        let (client_state, signed_by) = self.verifier.sign(resource, self.random.secret());
        let new = NewSubscription {
            resource,
            notification_url: urls.notification.to_string(),
            lifecycle_url: urls.lifecycle.to_string(),
            client_state,
            expires_at: self.expiry(),
        };
        match self.graph.create_subscription(&new).await? {
            Created::Made(made) => {
                let made = Subscription { signed_by: Some(signed_by), ..made };
                self.store.put_subscription(&made).await?;
                info!(subscription.id = %made.id, "subscribed to {resource} until {}", made.expires_at);
                Ok(made)
            }
            // 409: somebody made it between our list and our request, or the list lagged.
            Created::AlreadyThere => self.adopt_after_conflict(resource).await,
        }
    }

    async fn adopt_after_conflict(&self, resource: Resource) -> Result<Subscription, Stopped> {
        let remote = self.graph.subscriptions().await?;
        let kept = self.store.subscriptions().await?;
        let same = remote.into_iter().find(|remote| self.is_ours(resource, remote));
        match same {
            Some(found) if kept.iter().any(|kept| kept.id == found.subscription.id) => {
                let known = kept.into_iter().find(|kept| kept.id == found.subscription.id);
                Ok(known.unwrap_or(found.subscription))
            }
            Some(found) if self.signed(resource, &found).is_some() => {
                let signed_by = self.signed(resource, &found);
                let adopted = Subscription { signed_by, ..found.subscription };
                self.store.put_subscription(&adopted).await?;
                Ok(adopted)
            }
            other => {
                let whose = match other {
                    Some(found) => format!(
                        "subscription {} notifies us with a clientState that is not ours",
                        found.subscription.id
                    ),
                    None => "its subscription notifies another address".to_owned(),
                };
                let error = format!(
                    "Graph refuses a second subscription to {resource} for this application: {whose}; delete it with `cxone-sync subscriptions delete`"
                );
                Err(Stopped::By(Fault::answered(
                    GRAPH,
                    Failure::Rejected { code: "subscription_conflict", error },
                )))
            }
        }
    }

    /// The mark of our secret that signed it, where Graph shows that.
    fn signed(&self, resource: Resource, remote: &RemoteSubscription) -> Option<String> {
        let (of, signed_by) = self.verifier.signed_by(remote.client_state.as_deref()?)?;
        (of == resource).then_some(signed_by)
    }

    fn is_ours(&self, resource: Resource, remote: &RemoteSubscription) -> bool {
        remote.subscription.resource == resource
            && self
                .settings
                .urls
                .as_ref()
                .is_some_and(|urls| urls.notification.as_str() == remote.subscription.notification_url)
    }

    fn expiry(&self) -> Timestamp {
        later(self.clock.now(), LIFE)
    }
}
