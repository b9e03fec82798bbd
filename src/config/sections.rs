//! The sections that need nothing from each other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::domain::guard::{Budget, Budgets, Guarded};
use crate::telemetry::{LogFormat, TraceSettings};

use super::kind::parse_any_url;
use super::settings::Settings;
use super::units::duration_text;
use super::{Guard, Log, Mode, Retention, Service, Store, Sync, Tls};

pub fn service(settings: &mut Settings) -> Service {
    let address = |settings: &Settings, path| -> SocketAddr {
        let text = settings.text(path).expect("the addresses have defaults");
        text.parse().expect("addresses were checked")
    };
    let public_listen = address(settings, "service.public_listen");
    let private_listen = address(settings, "service.private_listen");
    if clash(public_listen, private_listen) {
        settings.problem(
            "service.private_listen",
            format!("private_listen {private_listen} and public_listen {public_listen} are the same address"),
            "give them different ports: the admin API must not be reachable from where Graph calls",
        );
    }

    let public_url = settings.url("service.public_url");
    let client_state_secrets = settings.secrets("service.client_state_secret");
    if public_url.is_some() {
        let why = "it proves that a notification comes from our own subscription";
        if client_state_secrets.is_empty() {
            settings.missing("service.client_state_secret", why);
        }
    } else if settings.given("service.public_url").is_none() {
        let what = "service.public_url is not set: Graph cannot notify us, and only the poll finds changes";
        settings.warn("service.public_url", what);
    }

    Service {
        public_listen,
        private_listen,
        private_socket: settings.path("service.private_socket"),
        public_url,
        client_state_secrets,
        admin_token: settings.secret("service.admin_token"),
        tls: tls(settings),
        max_body_bytes: settings.count("service.max_body_bytes"),
        max_connections: settings.count("service.max_connections"),
    }
}

/// Whether two listeners get in each other's way.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = |ip: IpAddr| ip.is_unspecified();
    // Port 0 asks for any free one.
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || everywhere(a.ip()) || everywhere(b.ip()))
}

fn tls(settings: &mut Settings) -> Option<Tls> {
    const FILES: [&str; 2] = ["service.tls_certificate_file", "service.tls_key_file"];
    match FILES.map(|file| settings.path(file)) {
        [Some(certificate_file), Some(key_file)] => return Some(Tls { certificate_file, key_file }),
        [Some(_), None] => settings.missing(FILES[1], "tls_certificate_file needs its key"),
        [None, Some(_)] => settings.missing(FILES[0], "tls_key_file needs its certificate"),
        [None, None] => {}
    }
    None
}

pub fn store(settings: &Settings) -> Store {
    Store {
        path: settings.path("store.path").expect("the path has a default"),
        cache_bytes: settings.count("store.cache"),
        history_key: settings.secret("store.history_key"),
    }
}

pub fn sync(settings: &mut Settings) -> Sync {
    let mode = match settings.text("sync.mode") {
        Some("observe") => Mode::Observe,
        _ => Mode::Write,
    };
    let poll_interval = settings.duration("sync.poll_interval");
    let poll_interval_min = poll_interval_min(settings, poll_interval);
    let full_compare_interval = settings.duration("sync.full_compare_interval");
    if full_compare_interval < poll_interval {
        let what =
            "sync.full_compare_interval is shorter than sync.poll_interval: every poll compares everybody";
        settings.warn("sync.full_compare_interval", what);
    }
    Sync {
        mode,
        poll_interval,
        poll_interval_min,
        full_compare_interval,
        recheck_after: settings.duration("sync.recheck_after"),
        max_attempts: u32::try_from(settings.count("sync.max_attempts")).expect("the limit fits"),
        burst_threshold: settings.count("sync.burst_threshold"),
    }
}

/// A poll that is more frequent than the default follows it.
fn poll_interval_min(settings: &mut Settings, poll_interval: Duration) -> Duration {
    const PATH: &str = "sync.poll_interval_min";
    let least = settings.duration(PATH);
    if least <= poll_interval {
        return least;
    }
    if settings.given(PATH).is_some() {
        let most = duration_text(poll_interval);
        let what = format!("{PATH} is longer than sync.poll_interval, which is {most}");
        settings.problem(PATH, what, format!("write {most} or less: it is for when notifications get lost"));
    } else {
        settings.follow(PATH, &duration_text(poll_interval), "sync.poll_interval");
    }
    poll_interval
}

pub fn guard(settings: &Settings) -> Guard {
    let budget = |guarded: Guarded| {
        let limit = |name| settings.number(&format!("guard.{guarded}.{name}"));
        let percent = |name| {
            let percent: Option<u64> = limit(name);
            percent.map(|percent| f64::from(u8::try_from(percent).expect("it is at most 100")))
        };
        Budget {
            per_hour: limit("per_hour"),
            per_day: limit("per_day"),
            percent_per_hour: percent("percent_per_hour"),
            percent_per_day: percent("percent_per_day"),
        }
    };
    Guard {
        budgets: Budgets {
            deactivations: budget(Guarded::Deactivations),
            role_removals: budget(Guarded::RoleRemovals),
            privileged_grants: budget(Guarded::PrivilegedGrants),
        },
    }
}

pub fn retention(settings: &Settings) -> Retention {
    Retention {
        journal: settings.duration("retention.journal"),
        history: settings.duration("retention.history"),
    }
}

pub fn traces(settings: &Settings) -> Option<TraceSettings> {
    let endpoint = parse_any_url(settings.text("telemetry.otlp_endpoint")?).expect("URLs were checked");
    let ratio = settings.count("telemetry.sample_percent") as f64 / 100.0;
    Some(TraceSettings { otlp_endpoint: endpoint.as_str().trim_end_matches('/').to_owned(), ratio })
}

pub fn log(settings: &Settings) -> Log {
    let format = match settings.text("log.format") {
        Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        _ => LogFormat::Auto,
    };
    Log { format, level: settings.text("log.level").expect("the level has a default").to_owned() }
}
