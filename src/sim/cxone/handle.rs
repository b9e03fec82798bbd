//! [`CxoneSim`]: the handle by which a test or the demo edits the tenant, breaks it and watches it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};

use super::options::CxoneOptions;
use super::users::{self, User};
use super::watch::{Overlap, Watch, WriteRecord};
use super::{Centre, Credentials, HELD, problem, router};
use crate::sim::clock::SimClock;
use crate::sim::faults::{Fault, Faults};
use crate::sim::server::{self, Hook, Load, RequestRecord, Running, Traffic};
use crate::sim::tokens::Tokens;

/// A running CXone. Clones are the same one; it ends with the last, or at [`CxoneSim::stop`].
#[derive(Clone)]
pub struct CxoneSim {
    centre: Arc<Centre>,
    _running: Arc<Running>,
}

impl CxoneSim {
    /// Binds and serves. Must be called within a runtime.
    pub fn start(options: CxoneOptions) -> io::Result<Self> {
        let traffic = Arc::new(Traffic::new(options.seed, options.clock.clone(), problem::refuse));
        let credentials = Credentials {
            client_secret: options.client_secret.clone(),
            access_key_secret: options.access_key_secret.clone(),
        };
        let centre = Arc::new(Centre {
            traffic: Arc::clone(&traffic),
            origin: OnceLock::new(),
            credentials: Mutex::new(credentials),
            tokens: Tokens::default(),
            users: Mutex::default(),
            watch: Watch::default(),
            options,
        });
        let running = Arc::new(Running(traffic.stop.clone()));
        let address = server::start(centre.options.listen, router(&centre), traffic)?;
        centre.origin.set(format!("http://{address}")).expect("set once");
        let sim = Self { centre, _running: running };
        sim.set_faults(sim.centre.options.faults.clone());
        Ok(sim)
    }

    /// Closes the listener and every connection.
    pub fn stop(&self) {
        self.centre.traffic.stop.cancel();
    }

    /// `http://127.0.0.1:…/scim/v2`
    pub fn scim_url(&self) -> String {
        self.centre.scim_url()
    }

    /// As [`CxoneSim::scim_url`], for user and password: the access key.
    pub fn basic_scim_url(&self) -> String {
        format!("{}/basic-auth/scim/v2", self.centre.origin())
    }

    /// Takes a form: `client_credentials`, or `password` with an access key.
    pub fn token_url(&self) -> String {
        format!("{}/auth/token", self.centre.origin())
    }

    /// Takes an access key as JSON.
    pub fn access_key_url(&self) -> String {
        format!("{}/authentication/v1/token/access-key", self.centre.origin())
    }

    /// Where `/.well-known/…` is served.
    pub fn issuer(&self) -> String {
        self.centre.origin().to_owned()
    }

    pub fn options(&self) -> &CxoneOptions {
        &self.centre.options
    }

    pub fn clock(&self) -> &SimClock {
        &self.centre.traffic.clock
    }

    /// All users, complete, in the order of their ids.
    pub fn users(&self) -> Vec<Value> {
        self.centre.shown()
    }

    pub fn user(&self, id: &str) -> Option<Value> {
        self.centre.users().get(id).ok().map(|stored| stored.show(self.centre.options.etags, false))
    }

    /// By `userName`, without case.
    pub fn user_by_name(&self, name: &str) -> Option<Value> {
        let users = self.centre.users();
        users.named(name).next().map(|stored| stored.show(self.centre.options.etags, false))
    }

    /// A user who was there before, as given: no rule is checked. Returns the id (`id` if given).
    pub fn add_user(&self, user: Value) -> String {
        let Value::Object(mut given) = user else { panic!("a user is a JSON object") };
        let id = match given.shift_remove("id") {
            Some(Value::String(id)) => id,
            _ => self.centre.traffic.dice.guid(),
        };
        let mut user = User::new();
        users::merge_by_hand(&mut user, given);
        self.centre.users().put(id.clone(), user);
        id
    }

    /// Somebody edits a user in CXone itself: objects are merged, `null` removes, lists are replaced;
    /// no rule is checked.
    ///
    /// # Panics
    /// When there is no such user.
    pub fn edit_by_hand(&self, id: &str, changes: Value) {
        let Value::Object(changes) = changes else { panic!("changes are a JSON object") };
        let mut users = self.centre.users();
        let found = users.get(id).unwrap_or_else(|_| panic!("no user {id} in the simulated tenant"));
        let mut user = found.user.clone();
        users::merge_by_hand(&mut user, changes);
        users.put(id.to_owned(), user);
    }

    /// The user is gone, which SCIM itself does not offer.
    pub fn delete_by_hand(&self, id: &str) {
        let removed = self.centre.users().remove(id);
        assert!(removed.is_some(), "no user {id} in the simulated tenant");
    }

    /// Every write that was worked on, in order.
    pub fn writes(&self) -> Vec<WriteRecord> {
        self.centre.watch.writes()
    }

    /// Forgets the writes so far, so that a test sees only its own.
    pub fn clear_writes(&self) {
        self.centre.watch.clear();
    }

    /// How many writes with this method succeeded.
    pub fn count_writes(&self, method: &str) -> usize {
        let succeeded = |write: &&WriteRecord| write.method == method && write.status < 300;
        self.writes().iter().filter(succeeded).count()
    }

    /// Whenever two writes for one user ran at once: always empty if all is well.
    pub fn overlaps(&self) -> Vec<Overlap> {
        self.centre.watch.overlaps()
    }

    /// Every bearer token given out so far is refused from now on.
    pub fn revoke_tokens(&self) {
        self.centre.tokens.revoke_all();
    }

    /// From now on another client secret is right.
    pub fn set_client_secret(&self, secret: &str) {
        secret.clone_into(&mut self.centre.credentials.lock().expect(HELD).client_secret);
    }

    /// From now on another access key secret is right.
    pub fn set_access_key_secret(&self, secret: &str) {
        secret.clone_into(&mut self.centre.credentials.lock().expect(HELD).access_key_secret);
    }

    pub fn set_faults(&self, faults: Faults) {
        self.centre.traffic.with_engine(|engine| engine.set(faults.rules));
    }

    pub fn add_fault(&self, fault: Fault) {
        self.centre.traffic.with_engine(|engine| engine.add(fault));
    }

    /// How many requests a fault has struck.
    pub fn faults_struck(&self) -> u64 {
        self.centre.traffic.with_engine(|engine| engine.struck())
    }

    /// Calls `hook` with method and path before and after the work of every request. A hook that
    /// holds a handle of this simulator keeps it running until the runtime ends.
    pub fn on_request(&self, hook: Hook) {
        self.centre.traffic.set_hook(Some(hook));
    }

    pub fn load(&self) -> Load {
        self.centre.traffic.load()
    }

    /// Every request that has ended, in the order of their ends.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.centre.traffic.records()
    }

    /// The whole state, as `GET /state` shows it.
    pub fn state(&self) -> Value {
        json!({"users": self.centre.shown()})
    }
}
