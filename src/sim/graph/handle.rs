//! [`GraphSim`]: the handle by which a test or the demo changes the tenant, breaks it and watches it.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};

use super::delivery::{Delivery, DeliveryStats};
use super::delta::DeltaExpiry;
use super::directory::{Change, Condition, Directory, Kind};
use super::options::GraphOptions;
use super::subscriptions::SubscriptionInfo;
use super::{HELD, Tenant, answer, login, notice, router};
use crate::sim::clock::SimClock;
use crate::sim::faults::{Fault, Faults};
use crate::sim::server::{self, Hook, Load, RequestRecord, Running, Traffic};
use crate::sim::tokens::Tokens;
use crate::sim::wire;

/// A running Graph. Clones are the same one; it ends with the last, or at [`GraphSim::stop`].
///
/// Methods that change an object panic when there is no such object: that is a mistake in the test.
#[derive(Clone)]
pub struct GraphSim {
    tenant: Arc<Tenant>,
    _running: Arc<Running>,
}

impl GraphSim {
    /// Binds and serves. Must be called within a runtime.
    pub fn start(options: GraphOptions) -> io::Result<Self> {
        let traffic = Arc::new(Traffic::new(options.seed, options.clock.clone(), answer::refuse));
        let client = wire::client();
        let delivery = Delivery::new(
            options.delivery,
            client.clone(),
            options.seed ^ 0x6465_6c69_7665_7279,
            traffic.stop.clone(),
        );
        let tenant = Arc::new(Tenant {
            traffic: Arc::clone(&traffic),
            origin: OnceLock::new(),
            secret: Mutex::new(options.client_secret.clone()),
            tokens: Tokens::default(),
            directory: Mutex::new(Directory::new(options.lag)),
            rounds: Mutex::default(),
            subscriptions: Mutex::default(),
            clashes: AtomicU64::new(0),
            client,
            delivery: Arc::new(delivery),
            options,
        });
        let running = Arc::new(Running(traffic.stop.clone()));
        let address = server::start(tenant.options.listen, router(&tenant), traffic)?;
        tenant.origin.set(format!("http://{address}")).expect("set once");
        let sim = Self { tenant, _running: running };
        sim.set_faults(sim.tenant.options.faults.clone());
        Ok(sim)
    }

    /// Closes the listener and every connection.
    pub fn stop(&self) {
        self.tenant.traffic.stop.cancel();
    }

    /// `http://127.0.0.1:…/v1.0`
    pub fn base_url(&self) -> String {
        self.tenant.base_url()
    }

    /// `http://127.0.0.1:…`, to which `/{tenant}/oauth2/v2.0/token` is appended.
    pub fn login_url(&self) -> String {
        self.tenant.origin().to_owned()
    }

    /// A managed identity's endpoint as in `IDENTITY_ENDPOINT`, and its `IDENTITY_HEADER`.
    pub fn identity_endpoint(&self) -> (String, String) {
        (format!("{}/msi/token", self.tenant.origin()), login::IDENTITY_HEADER.to_owned())
    }

    pub fn options(&self) -> &GraphOptions {
        &self.tenant.options
    }

    pub fn clock(&self) -> &SimClock {
        &self.tenant.traffic.clock
    }

    fn change<C: IntoIterator<Item = Change>>(
        &self,
        with: impl FnOnce(&mut Directory, jiff::Timestamp) -> C,
    ) {
        let changes = with(&mut self.tenant.directory(), self.clock().now());
        self.tenant.announce(changes);
    }

    fn create(&self, kind: Kind, properties: Value) -> String {
        let Value::Object(properties) = properties else { panic!("properties are a JSON object") };
        let mut id = String::new();
        self.change(|directory, now| {
            let change = directory.create(kind, properties, now, &self.tenant.traffic.dice);
            id.clone_from(&change.id);
            Some(change)
        });
        id
    }

    /// `properties` as Graph names them; `id` is made up unless given, `accountEnabled` is true unless
    /// given. Returns the id.
    pub fn add_user(&self, properties: Value) -> String {
        self.create(Kind::User, properties)
    }

    /// As [`GraphSim::add_user`].
    pub fn add_group(&self, properties: Value) -> String {
        self.create(Kind::Group, properties)
    }

    /// Sets the properties given (`null` empties one). What is already so is no change.
    pub fn update_user(&self, id: &str, properties: Value) {
        let Value::Object(properties) = properties else { panic!("properties are a JSON object") };
        self.change(|directory, now| directory.update(id, properties, now));
    }

    /// As [`GraphSim::update_user`].
    pub fn update_group(&self, id: &str, properties: Value) {
        self.update_user(id, properties);
    }

    pub fn disable(&self, id: &str) {
        self.update_user(id, json!({"accountEnabled": false}));
    }

    pub fn enable(&self, id: &str) {
        self.update_user(id, json!({"accountEnabled": true}));
    }

    /// Moves a user or a group to the deleted items.
    pub fn soft_delete(&self, id: &str) {
        self.change(|directory, now| directory.set_condition(id, Condition::SoftDeleted, now));
    }

    /// Takes a user or a group back from the deleted items.
    pub fn restore(&self, id: &str) {
        self.change(|directory, now| directory.set_condition(id, Condition::Live, now));
    }

    /// Removes a user or a group for good, from the deleted items too.
    pub fn hard_delete(&self, id: &str) {
        self.change(|directory, now| directory.set_condition(id, Condition::Gone, now));
    }

    /// `member` is a user or a group. Nothing happens if it is a member already.
    pub fn add_member(&self, group: &str, member: &str) {
        self.change(|directory, now| directory.join(group, member, now));
    }

    pub fn remove_member(&self, group: &str, member: &str) {
        self.change(|directory, now| Some(directory.leave(group, member, now)));
    }

    fn object(&self, kind: Kind, condition: Condition, id: &str) -> Option<Value> {
        let directory = self.tenant.directory();
        let state = directory.truth(id)?;
        (state.kind == kind && state.condition == condition).then(|| Value::Object(state.properties.clone()))
    }

    /// All that is known about a live user.
    pub fn user(&self, id: &str) -> Option<Value> {
        self.object(Kind::User, Condition::Live, id)
    }

    /// A user in the deleted items.
    pub fn deleted_user(&self, id: &str) -> Option<Value> {
        self.object(Kind::User, Condition::SoftDeleted, id)
    }

    pub fn group(&self, id: &str) -> Option<Value> {
        self.object(Kind::Group, Condition::Live, id)
    }

    fn live(&self, kind: Kind) -> Vec<Value> {
        let directory = self.tenant.directory();
        let live = directory.all(kind).filter(|(_, state)| state.condition == Condition::Live);
        live.map(|(_, state)| Value::Object(state.properties.clone())).collect()
    }

    /// All live users, in the order of their ids.
    pub fn users(&self) -> Vec<Value> {
        self.live(Kind::User)
    }

    pub fn groups(&self) -> Vec<Value> {
        self.live(Kind::Group)
    }

    /// Direct members: users and groups, soft-deleted ones included.
    pub fn members(&self, group: &str) -> BTreeSet<String> {
        let directory = self.tenant.directory();
        directory.truth(group).map(|state| state.members.keys().cloned().collect()).unwrap_or_default()
    }

    /// The users in a group and in the groups nested inside it.
    pub fn transitive_users(&self, group: &str) -> BTreeSet<String> {
        let directory = self.tenant.directory();
        let (mut users, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![group.to_owned()]);
        while let Some(group) = open.pop() {
            let Some(state) = directory.truth(&group).filter(|state| state.condition == Condition::Live)
            else {
                continue;
            };
            if !seen.insert(group) {
                continue;
            }
            for (member, kind) in &state.members {
                match kind {
                    Kind::User => {
                        users.insert(member.clone());
                    }
                    Kind::Group => open.push(member.clone()),
                }
            }
        }
        users
    }

    pub fn subscriptions(&self) -> Vec<SubscriptionInfo> {
        self.tenant.live_subscriptions()
    }

    /// A subscription is gone without anybody being told, as it happens.
    pub fn remove_subscription(&self, id: &str) {
        self.tenant.subscriptions().retain(|one| one.id != id);
    }

    /// Sends `reauthorizationRequired`, `subscriptionRemoved` or `missed` to the lifecycle address, or
    /// to the other when there is none.
    pub fn send_lifecycle(&self, subscription: &str, event: &str) {
        let found = self.tenant.live_subscriptions().into_iter().find(|one| one.id == subscription);
        let found = found.unwrap_or_else(|| panic!("no subscription {subscription}"));
        let url = found.lifecycle_url.as_ref().unwrap_or(&found.notification_url);
        self.tenant.delivery.send(url, notice::lifecycle(&self.tenant, &found, event));
    }

    /// Sends any JSON as one item of a notification body, for what no well-behaved Graph would say.
    pub fn send_raw_item(&self, url: &str, item: Value) {
        self.tenant.delivery.send(url, item);
    }

    /// How often a subscription was reauthorized and renewed within ten minutes, which it must not be.
    pub fn renewal_clashes(&self) -> u64 {
        self.tenant.clashes.load(Ordering::Relaxed)
    }

    /// The next notifications are lost.
    pub fn lose_next(&self, count: usize) {
        self.tenant.delivery.lose_next(count);
    }

    /// The next notifications are sent twice.
    pub fn double_next(&self, count: usize) {
        self.tenant.delivery.double_next(count);
    }

    pub fn delivery_stats(&self) -> DeliveryStats {
        self.tenant.delivery.stats()
    }

    /// Waits until no notification is queued, under way or waiting for a retry.
    pub async fn deliveries_settled(&self) {
        self.tenant.delivery.settled().await;
    }

    /// Every delta link and next link given out so far is refused from now on.
    pub fn expire_delta_tokens(&self, how: DeltaExpiry) {
        self.tenant.rounds().expire_all(None, how);
    }

    /// Every bearer token given out so far is refused from now on.
    pub fn revoke_tokens(&self) {
        self.tenant.tokens.revoke_all();
    }

    /// From now on another secret is right (`revoke_tokens` ends what the old one brought).
    pub fn set_client_secret(&self, secret: &str) {
        secret.clone_into(&mut self.tenant.secret.lock().expect(HELD));
    }

    pub fn set_faults(&self, faults: Faults) {
        self.tenant.delivery.set_faults(faults.delivery);
        self.tenant.traffic.with_engine(|engine| engine.set(faults.rules));
    }

    pub fn add_fault(&self, fault: Fault) {
        self.tenant.traffic.with_engine(|engine| engine.add(fault));
    }

    /// How many requests a fault has struck.
    pub fn faults_struck(&self) -> u64 {
        self.tenant.traffic.with_engine(|engine| engine.struck())
    }

    /// Calls `hook` with method and path before and after the work of every request. A hook that
    /// holds a handle of this simulator keeps it running until the runtime ends.
    pub fn on_request(&self, hook: Hook) {
        self.tenant.traffic.set_hook(Some(hook));
    }

    pub fn load(&self) -> Load {
        self.tenant.traffic.load()
    }

    /// Every request that has ended, in the order of their ends, those inside a batch before it.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.tenant.traffic.records()
    }

    /// The whole state, as `GET /state` shows it.
    pub fn state(&self) -> Value {
        self.tenant.state()
    }
}
