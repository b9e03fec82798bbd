//! A store belongs to one directory and to one CXone tenant: with another, nothing is decided.

use std::path::Path;

use cxone_sync::app::Running;
use cxone_sync::cli::demo::stage::service;
use cxone_sync::clock::Clock;
use cxone_sync::domain::queue::{Mark, Reason};
use cxone_sync::domain::user::UserId;
use cxone_sync::sim::{CxoneOptions, CxoneSim, GraphOptions};
use cxone_sync::worker::CircuitState;
use serde_json::json;

use super::process::run;
use super::stage::{Stage, stop, until, until_async};

fn of(tenant: &str) -> Stage {
    let graph = GraphOptions { tenant_id: tenant.to_owned(), ..GraphOptions::default() };
    Stage::with(graph, CxoneOptions::default())
}

/// Ana is in sync, and the service has ended.
async fn with_ana(stage: &Stage) -> String {
    let running = stage.serve(&[]).await;
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    let known = async || running.store.memo("tenants").await.unwrap().is_some();
    assert!(until_async(known).await);
    stop(running).await;
    ana
}

/// Why the job of this user failed, once it has.
async fn last_error(running: &Running, user: UserId) -> String {
    let job = async || running.store.job(user).await.unwrap();
    let has_failed = async || job().await.is_some_and(|job| job.last_error.is_some());
    assert!(until_async(has_failed).await, "{:?}", job().await);
    job().await.and_then(|job| job.last_error).unwrap_or_default()
}

/// The configuration of another tenant, on the store of this one.
fn mixed(other: &Stage, stage: &Stage) -> String {
    let store = |folder: &Path| format!("path = \"{}/demo.redb\"", folder.display());
    let (theirs, ours) = (store(other.folder.path()), store(stage.folder.path()));
    assert!(other.configuration.contains(&theirs));
    other.configuration.replace(&theirs, &ours)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_one_directory_is_not_opened_for_another() {
    let stage = Stage::new();
    with_ana(&stage).await;
    let mut other = of("99999999-0000-4000-8000-00000000e17a");
    other.configuration = mixed(&other, &stage);
    let error = service(&other.configuration, &[], Clock::system()).await.unwrap_err();
    assert!(error.to_string().contains("belongs to directory"), "{error:#}");
    let output = run(&other, &["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("belongs to directory") && said.contains("store.path"), "{said}");
    assert_eq!(other.graph().load().total_requests, 0, "nobody was asked");
    stop(stage.serve(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_store_it_is_is_known_before_anything_is_written() {
    let stage = of("one.example.com");
    let running = stage.serve(&[("sync.mode", "observe")]).await;
    let known = async || running.store.memo("tenants").await.unwrap().unwrap_or_default();
    assert!(until_async(|| async { known().await.contains("one.example.com") }).await, "{}", known().await);
    assert_eq!(stage.sent(), vec![]);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_directory_decide_nothing() {
    let stage = of("one.example.com");
    let ana = with_ana(&stage).await;
    let other = of("two.example.com");
    let running = service(&mixed(&other, &stage), &[], Clock::system()).await.unwrap();
    let ben = other.hire("Ben");
    let (user, now) = (ana.parse().unwrap(), Clock::system().now());
    let mark = Mark { user, reason: Reason::Operator, news_at: now, urgent: false, removed: None };
    running.store.mark(vec![mark], now).await.unwrap();
    let is_out = || {
        let mut circuits = running.worker.circuits().into_iter();
        circuits.any(|(_, state)| matches!(state, CircuitState::Open { .. }))
    };
    assert!(until(is_out).await, "{:?}", running.worker.circuits());
    let told = last_error(&running, user).await;
    assert!(told.contains("of directory two.example.com"), "{told}");
    assert_eq!((other.sent(), other.account(&ben)), (vec![], None));
    assert!(other.graph().requests().iter().all(|request| !request.path.starts_with("/v1.0/")));
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_another_tenant_of_cxone_nobody_is_looked_for_and_nobody_made() {
    let stage = Stage::new();
    let ana = with_ana(&stage).await;
    let tenant_id = "99999999-0000-4000-8000-00000000cc01".to_owned();
    let other = CxoneSim::start(CxoneOptions { tenant_id, ..CxoneOptions::default() }).unwrap();
    let configuration = stage
        .configuration
        .replace(&stage.cxone().scim_url(), &other.scim_url())
        .replace(&stage.cxone().token_url(), &other.token_url());
    let running = service(&configuration, &[], Clock::system()).await.unwrap();
    stage.graph().update_user(&ana, json!({ "surname": "Silva" }));
    let user = ana.parse().unwrap();
    let told = last_error(&running, user).await;
    assert!(told.contains("is of tenant 99999999"), "{told}");
    assert!(other.requests().iter().all(|request| !request.path.contains("/scim/")));
    assert_eq!(other.users().len(), 0);
    stop(running).await;
    // With the right one, all goes on.
    let running = stage.serve(&[]).await;
    stage.arrives(&ana).await;
    stop(running).await;
}

/// As in the README: the issuer says where CXone is, and an access key opens it.
#[tokio::test(flavor = "multi_thread")]
async fn cxone_is_found_by_its_issuer_and_opened_by_an_access_key() {
    let mut stage = Stage::new();
    let options = stage.cxone().options().clone();
    let (issuer, tenant) = (stage.cxone().issuer(), options.tenant_id);
    let addresses = format!(
        "scim_url = \"{}\"\ntoken_url = \"{}\"\n",
        stage.cxone().scim_url(),
        stage.cxone().token_url()
    );
    let discovery = format!(
        "discovery = \"{issuer}?tenantId={tenant}\"\ngrant = \"access_key\"\naccess_key_id = \"{}\"\naccess_key_secret = \"{}\"\n",
        options.access_key_id, options.access_key_secret
    );
    assert!(stage.configuration.contains(&addresses), "{}", stage.configuration);
    stage.configuration = stage.configuration.replace(&addresses, &discovery);
    let ana = stage.hire("Ana");
    let running = stage.serve(&[]).await;
    stage.arrives(&ana).await;
    stop(running).await;
}
