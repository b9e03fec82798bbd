//! A contact centre in sync, to which something happens. Who was turned off, and who lost or was given
//! a role, is counted from what the simulated CXone holds and received, never from our own history.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cxone_sync::app::Running;
use cxone_sync::cli::demo::subscribe;
use cxone_sync::clock::{Clock, later, until};
use cxone_sync::domain::case::HeldItem;
use cxone_sync::domain::guard::Guarded;
use cxone_sync::domain::queue::{Chore, Job, State};
use cxone_sync::domain::user::UserId;
use cxone_sync::sim::{CxoneOptions, CxoneSim, GraphOptions, GraphSim, SimClock};
use cxone_sync::worker::CircuitState;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Stage, stop};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);

/// What is due within it is due at once.
const STEP: Duration = Duration::from_secs(2);

/// What may happen within an hour, unless a script says otherwise.
const BUDGETS: [(&str, &str); 3] = [
    ("guard.deactivations.per_hour", "3"),
    ("guard.role_removals.per_hour", "4"),
    ("guard.privileged_grants.per_hour", "2"),
];

/// Something that happened to an account, as CXone shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Made,
    Off,
    On,
    Taken(String),
    Given(String),
}

/// Accounts by id: whether they are active, and their roles.
type Picture = BTreeMap<String, (bool, BTreeSet<String>)>;

/// The tenant, the contact centre and the service between them; time stands still unless it is moved.
pub struct Scene {
    pub stage: Stage,
    /// To whom it happens. All are agents, and in `crew`.
    pub people: Vec<String>,
    /// To whom nothing happens; in `office`.
    pub bea: String,
    pub agents: String,
    pub supervisors: String,
    /// Gives a privileged role.
    pub admins: String,
    /// Nested in `admins`.
    pub night_shift: String,
    pub crew: String,
    pub office: String,
    /// That of the service.
    pub clock: Clock,
    /// That of the neighbours.
    pub time: SimClock,
    keys: Vec<(String, String)>,
    running: Option<Running>,
    seen: RefCell<(Picture, Vec<(Timestamp, Event)>)>,
}

impl Scene {
    /// Everybody in sync, by these keys of the configuration.
    pub async fn new(n_people: usize, keys: &[(&str, &str)]) -> Self {
        let mut scene = Self::before(n_people, CxoneOptions::default());
        scene.serve(keys).await;
        scene.begin();
        scene
    }

    /// Everybody in sync, and in scope by their groups.
    pub async fn scoped(n_people: usize, keys: &[(&str, &str)]) -> Self {
        let mut scene = Self::before(n_people, CxoneOptions::default());
        let scope = scene.filled(r#"["{Crew}", "{Office}"]"#);
        scene.serve(&[&[("scope.groups", scope.as_str())], keys].concat()).await;
        scene
    }

    /// The neighbours alone; nobody has an account yet.
    pub fn before(n_people: usize, cxone: CxoneOptions) -> Self {
        let start = Clock::system().now();
        let time = SimClock::manual(start);
        // Small pages, so that a round and a group have several.
        let graph = GraphOptions { clock: time.clone(), page_size: 7, ..GraphOptions::default() };
        let mut stage = Stage::with(graph, CxoneOptions { clock: time.clone(), ..cxone });
        let group = |name: &str| stage.graph().add_group(json!({ "displayName": name }));
        let (admins, night_shift) = (group("Administrators"), group("Night shift"));
        let (crew, office) = (group("Crew"), group("Office"));
        stage.graph().add_member(&admins, &night_shift);
        let people: Vec<String> = (0..n_people).map(|n| stage.hire(&format!("Agent{n}"))).collect();
        let bea = stage.hire("Bea");
        people.iter().for_each(|user| stage.graph().add_member(&crew, user));
        stage.graph().add_member(&office, &bea);
        stage.configuration +=
            &format!("[[roles]]\ngroup = \"{admins}\"\nrole = \"Administrator\"\nprivileged = true\n");
        stage.roles.push((admins.clone(), "Administrator".to_owned()));
        let (agents, supervisors) = (stage.roles[0].0.clone(), stage.roles[1].0.clone());
        let (clock, keys, running) = (Clock::manual(start), Vec::new(), None);
        let seen = RefCell::default();
        Self {
            stage,
            people,
            bea,
            agents,
            supervisors,
            admins,
            night_shift,
            crew,
            office,
            clock,
            time,
            keys,
            running,
            seen,
        }
    }

    pub fn graph(&self) -> &GraphSim {
        self.stage.graph()
    }

    pub fn cxone(&self) -> &CxoneSim {
        self.stage.cxone()
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the service runs")
    }

    /// Starts the service, with these keys beside those it had before, and waits until it is at rest.
    pub async fn serve(&mut self, keys: &[(&str, &str)]) {
        let first = self.keys.is_empty();
        if first {
            let ordinary = [("sync.poll_interval", "15m"), ("sync.recheck_after", "60s")];
            let ordinary = BUDGETS.into_iter().chain(ordinary);
            self.keys = ordinary.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        }
        for (key, value) in keys {
            self.keys.retain(|(known, _)| known != key);
            self.keys.push(((*key).to_owned(), (*value).to_owned()));
        }
        let keys: Vec<(&str, &str)> =
            self.keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.running = Some(self.stage.serve_by(self.clock.clone(), &keys).await);
        if first {
            subscribe(self.stage.folder.path()).await.unwrap();
            // Until the groups have been read, nobody is known to be in scope.
            self.pass(MINUTE).await;
        }
        self.calm().await;
    }

    pub async fn stop(&mut self) {
        stop(self.running.take().expect("the service runs")).await;
    }

    pub async fn restart(&mut self, keys: &[(&str, &str)]) {
        self.stop().await;
        self.serve(keys).await;
    }

    /// What is counted is counted from here on.
    pub fn begin(&self) {
        self.cxone().clear_writes();
        *self.seen.borrow_mut() = (picture(self.cxone()), Vec::new());
    }

    /// One more who has nothing to do with it.
    pub fn hire(&self, name: &str) -> String {
        let user = self.stage.hire(name);
        self.graph().add_member(&self.office, &user);
        user
    }

    pub fn each(&self, does: impl Fn(&GraphSim, &str)) {
        self.people.iter().for_each(|user| does(self.graph(), user));
    }

    /// Does nothing that anybody has to be guarded from.
    pub fn rename(&self, user: &str, surname: &str) {
        self.graph().update_user(user, json!({ "surname": surname }));
    }

    /// Looks at everybody, as the daily compare does.
    pub async fn compare(&self) {
        let now = self.clock.now();
        self.running().store.schedule(Chore::FullCompare, now, now).await.unwrap();
        self.calm().await;
    }
}

/// Time.
impl Scene {
    /// Moves the clocks of everybody. Nothing that was due in between has happened yet.
    pub fn tick(&self, by: Duration) {
        self.time.advance(by);
        self.clock.advance(by);
    }

    /// Lets so much time pass, stopping wherever there is something to do.
    pub async fn pass(&self, by: Duration) {
        let end = later(self.clock.now(), by);
        loop {
            self.calm().await;
            let now = self.clock.now();
            let left = until(now, end);
            if left.is_zero() {
                return;
            }
            let next = self.next_event().await.unwrap_or(end);
            self.tick(until(now, next).clamp(STEP.min(left), left));
        }
    }

    /// Waits until there is nothing to do as long as the clock stands.
    pub async fn calm(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut at_rest = 0;
        // Twice, because work may pass from one place to another between two looks.
        while at_rest < 2 {
            self.graph().deliveries_settled().await;
            at_rest = if self.is_at_rest().await { at_rest + 1 } else { 0 };
            assert!(Instant::now() < deadline, "never at rest: {:#?}", self.jobs(None).await);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.watch();
    }

    async fn is_at_rest(&self) -> bool {
        let (store, now) = (&self.running().store, self.clock.now());
        let depth = store.depth(now).await.unwrap();
        let chores = store.chores().await.unwrap();
        let busy = depth.running > 0 || chores.iter().any(|chore| chore.running);
        !busy && self.next_event().await.is_none_or(|next| next > now)
    }

    /// When there is next something to do.
    async fn next_event(&self) -> Option<Timestamp> {
        let (running, now) = (self.running(), self.clock.now());
        let worker = &running.worker;
        let gates = [worker.graph.closed_until(), worker.cxone.closed_until()];
        let probes = worker.circuits().into_iter().filter_map(|(_, state)| match state {
            CircuitState::Open { probe_at, .. } => Some(probe_at),
            CircuitState::Closed => None,
        });
        let shut_until = probes.chain(gates.into_iter().flatten()).max();
        let job = running.store.next_due(now).await.unwrap().map(|due| shut_until.unwrap_or(due).max(due));
        let chore = running.store.next_chore_due(now).await.unwrap();
        let chore = chore.map(|due| gates[0].unwrap_or(due).max(due));
        job.into_iter().chain(chore).min()
    }

    /// Notes what has changed in CXone.
    fn watch(&self) {
        let (now, picture) = (self.time.now(), picture(self.cxone()));
        let (before, events) = &mut *self.seen.borrow_mut();
        for (id, (active, roles)) in &picture {
            let Some((was_active, had)) = before.get(id) else {
                events.push((now, Event::Made));
                events.extend(roles.iter().map(|role| (now, Event::Given(role.clone()))));
                continue;
            };
            match (was_active, active) {
                (true, false) => events.push((now, Event::Off)),
                (false, true) => events.push((now, Event::On)),
                _ => {}
            }
            events.extend(had.difference(roles).map(|role| (now, Event::Taken(role.clone()))));
            events.extend(roles.difference(had).map(|role| (now, Event::Given(role.clone()))));
        }
        *before = picture;
    }
}

fn picture(cxone: &CxoneSim) -> Picture {
    let roles = |user: &Value| {
        let roles = user["roles"].as_array().cloned().unwrap_or_default();
        roles
            .iter()
            .filter_map(|role| role["value"].as_str().or(role["display"].as_str()).map(str::to_owned))
            .collect()
    };
    let account = |user: Value| {
        (user["id"].as_str().unwrap().to_owned(), (user["active"] != json!(false), roles(&user)))
    };
    cxone.users().into_iter().map(account).collect()
}

/// What has become of it.
impl Scene {
    fn events(&self, which: impl Fn(&Event) -> bool) -> Vec<Timestamp> {
        let seen = self.seen.borrow();
        seen.1.iter().filter(|(_, event)| which(event)).map(|(at, _)| *at).collect()
    }

    pub fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events(which).len()
    }

    /// When a request turned an account off, whatever came of it.
    pub fn turned_off(&self) -> Vec<Timestamp> {
        let writes = self.cxone().writes().into_iter();
        writes.filter(|write| turns_off(&write.body)).map(|write| write.at).collect()
    }

    /// What was done, in the words of a script.
    pub async fn tally(&self) -> Tally {
        let held = self.held().await;
        let spent = |guarded| held.iter().filter(|(_, item)| item.spend.of(guarded) > 0).count();
        let tally = Tally {
            off: self.count(|event| *event == Event::Off),
            taken: self.count(|event| matches!(event, Event::Taken(_))),
            given: self.count(|event| *event == Event::Given("Administrator".to_owned())),
            held: held.len(),
        };
        let sorts = Guarded::ALL.map(spent);
        assert!(sorts.iter().sum::<usize>() >= held.len(), "something is held that nobody counts: {held:?}");
        tally
    }

    /// What the guard holds, as operators see it.
    pub async fn held(&self) -> Vec<(UserId, HeldItem)> {
        let store = &self.running().store;
        let held = store.held().await.unwrap();
        let depth = store.depth(self.clock.now()).await.unwrap();
        // Of some more is not known yet what they are: their job waits for another look.
        assert!(depth.held <= held.len() as u64, "{depth:?}: a job is held that operators do not see");
        for (user, item) in &held {
            assert!(item.words.contains("guard."), "{user}: {}", item.words);
        }
        held
    }

    pub async fn jobs(&self, state: Option<State>) -> Vec<Job> {
        self.running().store.jobs(state, 10_000, None).await.unwrap()
    }

    /// Never more within an hour of the neighbours' time than this, of anything.
    pub fn assert_within(&self, off: usize, taken: usize, given: usize) {
        let check = |what: &str, at: &[Timestamp], most: usize| {
            for (n, end) in at.iter().enumerate() {
                let within = at[..=n].iter().filter(|begun| until(**begun, *end) < HOUR).count();
                assert!(within <= most, "{within} {what} within an hour; the budget is {most}");
            }
        };
        check("requests that turn off", &self.turned_off(), off);
        check("accounts turned off", &self.events(|event| *event == Event::Off), off);
        check("roles taken", &self.events(|event| matches!(event, Event::Taken(_))), taken);
        let privileged = Event::Given("Administrator".to_owned());
        check("privileged roles given", &self.events(|event| *event == privileged), given);
        assert_eq!(self.cxone().overlaps(), vec![]);
    }

    /// Nobody was turned off, or was going to be.
    pub fn assert_nobody_off(&self, why: &str) {
        assert_eq!(self.turned_off().len(), 0, "{why}: an account was turned off");
    }

    /// Everybody, to whom it happened and to whom not.
    pub fn everybody(&self) -> Vec<String> {
        self.people.iter().chain([&self.bea]).cloned().collect()
    }

    #[track_caller]
    pub fn assert_agreed(&self, users: &[String]) {
        assert_eq!(self.stage.differences(users), Vec::<String>::new());
    }
}

/// Whether a request says `active: false`, in whichever way.
pub fn turns_off(body: &Value) -> bool {
    let operations = body["Operations"].as_array().cloned().unwrap_or_default();
    let is_off = |value: &Value| *value == json!(false) || *value == json!("false");
    let by_operation = operations
        .iter()
        .any(|one| (one["path"] == "active" && is_off(&one["value"])) || is_off(&one["value"]["active"]));
    by_operation || is_off(&body["active"])
}

/// What a script may do, and leave to an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub off: usize,
    pub taken: usize,
    pub given: usize,
    pub held: usize,
}

/// What happens to a contact centre in sync, and what must come of it.
pub struct Script {
    pub name: &'static str,
    pub n_people: usize,
    pub keys: &'static [(&'static str, &'static str)],
    /// What may be turned off, taken and given within an hour, by the keys.
    pub within: (usize, usize, usize),
    /// Before anything is counted.
    pub given_that: fn(&Scene),
    pub happens: fn(&Scene),
    pub lasts: Duration,
    pub leaves: Tally,
    /// What must be so besides.
    pub and: fn(&Scene),
    /// `None`: there is no way back.
    pub repaired: Option<fn(&Scene)>,
}

impl Script {
    pub const ORDINARY: Self = Self {
        name: "",
        n_people: 16,
        keys: &[],
        within: (3, 4, 2),
        given_that: |_| {},
        happens: |_| {},
        lasts: Duration::from_secs(2 * 3600),
        leaves: Tally { off: 0, taken: 0, given: 0, held: 0 },
        and: |_| {},
        repaired: None,
    };

    /// Plays it and judges it.
    pub async fn play(self) {
        let begun = Instant::now();
        let mut scene = Scene::before(self.n_people, CxoneOptions::default());
        (self.given_that)(&scene);
        let keys: Vec<(&str, String)> =
            self.keys.iter().map(|(key, value)| (*key, scene.filled(value))).collect();
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        scene.serve(&keys).await;
        scene.pass(10 * MINUTE).await;
        scene.assert_agreed(&scene.everybody());
        scene.begin();

        (self.happens)(&scene);
        scene.rename(&scene.bea, "Silva");
        let cid = scene.hire("Cid");
        scene.pass(self.lasts).await;

        let tally = scene.tally().await;
        let (off, taken, given) = self.within;
        scene.assert_within(off, taken, given);
        let requests = scene.turned_off().len();
        assert_eq!(tally, self.leaves, "{}", self.name);
        assert_eq!(tally.off, requests, "{}: an account was turned off more than once", self.name);
        scene.assert_goes_on(&[&scene.bea, &cid]);
        (self.and)(&scene);

        if let Some(repaired) = self.repaired {
            repaired(&scene);
            scene.pass(2 * HOUR).await;
            assert_eq!(scene.turned_off().len(), requests, "{}: turned off after the repair", self.name);
            assert_eq!(scene.held().await, vec![], "{}: still held after the repair", self.name);
            let everybody = [scene.everybody(), vec![cid]].concat();
            scene.assert_agreed(&everybody);
        }
        scene.assert_within(off, taken, given);
        println!(
            "{}: of {} people {} off, {} roles taken, {} privileged given, {} held; {} requests; {:.1} s",
            self.name,
            self.n_people,
            tally.off,
            tally.taken,
            tally.given,
            tally.held,
            scene.cxone().writes().len(),
            begun.elapsed().as_secs_f64()
        );
        scene.stop().await;
    }
}

impl Scene {
    /// A key's value with the ids of the groups filled in.
    pub fn filled(&self, value: &str) -> String {
        let groups = self.graph().groups();
        let text = |group: &Value, key: &str| group[key].as_str().unwrap_or_default().to_owned();
        groups.iter().fold(value.to_owned(), |value, group| {
            value.replace(&format!("{{{}}}", text(group, "displayName")), &text(group, "id"))
        })
    }

    /// The id of a group that is there, by its name.
    pub fn group(&self, name: &str) -> String {
        let groups = self.graph().groups();
        let found = groups.iter().find(|group| group["displayName"] == name);
        found.unwrap_or_else(|| panic!("no group {name}"))["id"].as_str().unwrap().to_owned()
    }

    /// Makes a group and fills it.
    pub fn fill(&self, name: &str, members: &[String]) -> String {
        let group = self.graph().add_group(json!({ "displayName": name }));
        members.iter().for_each(|user| self.graph().add_member(&group, user));
        group
    }

    /// What is in nobody's way has arrived.
    #[track_caller]
    pub fn assert_goes_on(&self, users: &[&str]) {
        let (judge, accounts) = (self.stage.judge(), self.stage.judge().accounts());
        let given = judge.given();
        let differences: Vec<String> =
            users.iter().filter_map(|user| judge.difference(user, &accounts, &given)).collect();
        assert_eq!(differences, Vec::<String>::new());
    }
}
