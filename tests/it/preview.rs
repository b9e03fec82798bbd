//! What the client says it would send, against what the simulated CXone then receives.

use cxone_sync::clock::Clock;
use cxone_sync::cxone::{
    Auth, Cxone, Dialect, DialectChoice, Draft, Intent, Learned, Search, Settings, User,
};
use cxone_sync::domain::queue::Change;
use cxone_sync::domain::rules::MatchKey;
use cxone_sync::domain::user::{Attribute, Attributes, Value};
use cxone_sync::outbound::{Tenant, Transport};
use cxone_sync::sim::{self, CxoneOptions, CxoneSim};
use cxone_sync::telemetry::Metrics;

const ANA: &str = "ana@example.com";

fn stage(dialect: sim::Dialect, choice: DialectChoice) -> (CxoneSim, Cxone) {
    let sim = CxoneSim::start(CxoneOptions { dialect, ..CxoneOptions::default() }).unwrap();
    let settings = Settings {
        scim_url: sim.scim_url().parse().unwrap(),
        auths: vec![Auth::ClientCredentials {
            token_url: sim.token_url().parse().unwrap(),
            client_id: sim.options().client_id.clone(),
            client_secret: sim.options().client_secret.clone().into(),
            scope: None,
        }],
        tenant: Tenant::default(),
        max_connections: 2,
        dialect: choice,
        role_names: vec!["Agent".to_owned(), "Supervisor".to_owned()],
    };
    let transport = Transport::direct().unwrap();
    let cxone = Cxone::new(settings, Learned::default(), transport, Clock::system(), Metrics::new());
    (sim, cxone)
}

fn ana() -> Attributes {
    let text = Value::text;
    Attributes::from([
        (Attribute::UserName, text(ANA)),
        (Attribute::GivenName, text("Ana")),
        (Attribute::FamilyName, text("Martin")),
        (Attribute::Emails, text(ANA)),
        (Attribute::Team, text("Care")),
        (Attribute::Active, Value::Flag(true)),
    ])
}

fn changes(user: &User) -> Vec<Change> {
    let change = |attribute, after| {
        let before = user.view.attributes.get(&attribute).cloned();
        Change { attribute, before, after }
    };
    let roles = Value::List(vec!["Agent".to_owned(), "Supervisor".to_owned()]);
    vec![
        change(Attribute::Emails, Some(Value::text("silva@example.com"))),
        change(Attribute::FamilyName, Some(Value::text("Silva"))),
        change(Attribute::Roles, Some(roles)),
        change(Attribute::Team, None),
    ]
}

/// The write the simulator received after the `known` first ones.
fn received(sim: &CxoneSim, known: usize) -> Draft {
    let is_write = |record: &&sim::RequestRecord| record.method != "GET" && record.path.contains("/scim/");
    let request = sim.requests().into_iter().filter(|record| is_write(&record)).nth(known).unwrap();
    let body = sim.writes().swap_remove(known).body;
    Draft { method: request.method, path: request.path, body }
}

#[tokio::test]
async fn what_is_shown_is_what_the_target_receives_first() {
    use sim::Dialect as Spoken;
    for (spoken, choice) in [
        (Spoken::Rfc7644, DialectChoice::Auto),
        (Spoken::IndexedOnly, DialectChoice::Auto),
        (Spoken::IndexedOnly, DialectChoice::Fixed(Dialect::Indexed)),
        (Spoken::CxoneStrings, DialectChoice::Fixed(Dialect::Cxone)),
        (Spoken::PutOnly, DialectChoice::Fixed(Dialect::Put)),
    ] {
        let (sim, cxone) = stage(spoken, choice);
        let shown = cxone.preview(Intent::Create(&ana())).unwrap().unwrap();
        assert_eq!(sim.requests().len(), 0, "nothing is sent for it");
        let user = cxone.create(&ana()).await.unwrap();
        assert_eq!(received(&sim, 0), shown);

        let changes = changes(&user);
        let shown = cxone.preview(Intent::Update(&user, &changes)).unwrap().unwrap();
        // What the target makes of it is another matter.
        cxone.update(&user, &changes).await.ok();
        assert_eq!(received(&sim, 1), shown, "{spoken:?} {choice:?}");

        // Once the dialect is known, it is the one shown.
        let Search::One(user) = cxone.find(MatchKey::UserName, ANA).await.unwrap() else { panic!("lost") };
        let known = sim.writes().len();
        let before = user.view.attributes.get(&Attribute::Emails).cloned();
        let after = Some(Value::text("costa@example.com"));
        let again = [Change { attribute: Attribute::Emails, before, after }];
        let shown = cxone.preview(Intent::Update(&user, &again)).unwrap().unwrap();
        cxone.update(&user, &again).await.ok();
        assert_eq!((received(&sim, known), sim.writes().len()), (shown, known + 1));
    }
}
