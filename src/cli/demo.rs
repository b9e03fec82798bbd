//! `demo`: the whole thing on this machine, with simulators for neighbours.
//!
//! The service is the real one, over real HTTP on loopback: it subscribes by the handshake, is
//! pushed notifications, and writes to a SCIM service that knows nothing of it. Whether it was right
//! is judged from outside, by comparing what the two simulators hold.

pub mod compare;
mod people;
mod simulators;
pub mod stage;
mod watch;

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use super::exit::{Exit, Failure};
use super::screen::{Format, Output};
use crate::app::Running;
use crate::clock::Clock;
use crate::config::Config;
use crate::outbound::{Api, Method, Request, Transport};
use crate::sim;
use crate::telemetry::{LogFormat, Metrics, start_logging};
use compare::Judge;
use people::People;
use stage::Neighbours;
use watch::{Watch, percentile};

const SEED: u64 = 20_261_123;
/// Changes arrive within a second; this is how long they may take in the worst weather.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two changes, so that one sees them arrive one after the other.
const PACE: Duration = Duration::from_millis(4);
/// Changes shown one by one on the screen; of more, only every hundredth.
const SHOWN: usize = 40;

/// Show it at work on this machine: both neighbours simulated, no credentials needed
///
/// Subscribes, changes people, shows each change arrive, prints the latency, and proves that both
/// sides agree at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync demo
  cxone-sync demo --users 500 --changes 2000 --faults many
  cxone-sync demo --keep
  cxone-sync demo --simulators")]
pub struct DemoArgs {
    /// How many people there are at the start
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub users: u32,
    /// How many changes are made to them
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub changes: u32,
    /// How badly the neighbours behave
    #[arg(long, value_enum, default_value_t)]
    pub faults: Faults,
    /// Stay up afterwards, with the private listener, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Only the two simulators, until Ctrl-C, for a service with a configuration of your own
    ///
    /// Prints their addresses, and the init command that makes the configuration.
    #[arg(long, conflicts_with = "keep")]
    pub simulators: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Faults {
    /// They answer at once and lose nothing
    #[default]
    None,
    /// Some requests are throttled, fail or lose their answer; some notifications are lost or doubled
    Some,
    /// Much of that: 429 storms, 5xx, broken answers, and the delta query is reset
    Many,
}

impl Faults {
    fn of_the_neighbours(self) -> sim::Faults {
        match self {
            Self::None => sim::Faults::none(),
            Self::Some => sim::Faults::some(),
            Self::Many => sim::Faults::many(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Some => "some",
            Self::Many => "many",
        }
    }
}

pub async fn run(args: &DemoArgs, log_level: Option<String>) -> Result<Exit, Failure> {
    let level = log_level.as_deref().unwrap_or("error");
    start_logging(LogFormat::Text, level)
        .map_err(|error| Failure::usage(format!("--log-level {level}: {error}")))?;
    let screen = Screen::new(args.output.format);
    if args.simulators {
        return Ok(simulators::run(args, &screen).await?);
    }
    let folder = tempfile::tempdir().context("cannot make a folder for the demo")?;
    let neighbours = Neighbours::start(SEED, &args.faults.of_the_neighbours())?;
    let mut people = People::new(neighbours.graph.clone(), SEED);
    let told: Vec<_> = (0..args.users).map(|_| people.hire()).collect();
    let roles: Vec<_> = people.groups.iter().cloned().zip(people::ROLES.map(str::to_owned)).collect();
    let configuration = stage::configuration(folder.path(), &neighbours, &roles)?;

    screen.say(&format!("{} people in a simulated Entra tenant, and an empty simulated CXone.", args.users));
    // From a file, so that with --keep one can change it and have it read again.
    let file = folder.path().join("cxone-sync.toml");
    std::fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let no_environment = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>();
    let config = Config::load(Some(&file), no_environment, &[]).context("the demo's configuration")?;
    let running = stage::service_of(config, Clock::system()).await?;
    let handshake = subscribe(folder.path()).await?;
    screen.say(&format!("Subscribed: Graph shook hands with {} in {handshake} ms.", running.public_address));

    let judge = Judge::new(neighbours.graph.clone(), neighbours.cxone.clone(), roles);
    let mut watch = Watch::new(judge);
    let begun = Instant::now();
    for told in told {
        watch.made(told, begun);
    }
    watch.until_all_there(begun + PATIENCE, |_, _| ()).await;
    let first = watch.take_lags();
    screen.say(&format!(
        "The first sync made {} accounts in {:.1} s.",
        first.len(),
        begun.elapsed().as_secs_f64()
    ));

    let changing = Instant::now();
    let mut shown = 0;
    let mut show = |what: &str, lag: Duration| {
        shown += 1;
        if shown <= SHOWN || shown % 100 == 0 {
            screen.say(&format!("  {:>7.0} ms  {what}", lag.as_secs_f64() * 1000.0));
        }
    };
    for _ in 0..args.changes {
        watch.made(people.change(), Instant::now());
        watch.look(&mut show);
        tokio::time::sleep(PACE).await;
    }
    let deadline = Instant::now() + PATIENCE;
    watch.until_all_there(deadline, &mut show).await;
    let lags = watch.take_lags();
    let seconds = changing.elapsed().as_secs_f64();
    // A group that is read a moment later than its new member may take a role for that moment.
    let mut differences = watch.judge().differences(&people.ids);
    while !differences.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(PACE).await;
        differences = watch.judge().differences(&people.ids);
    }
    let converged = differences.is_empty() && watch.under_way() == 0;

    let report = report(args, &running, &neighbours, &first, &lags, seconds, &differences).await?;
    screen.finish(&report, &differences);
    if args.keep {
        screen.say(&format!(
            "Still up until Ctrl-C.\nThe dashboard: http://{}/, opened by the token in {}\nFrom another terminal:\n  export CXONE_SYNC_CONFIG={}\n  cxone-sync queue stats",
            running.private_address,
            folder.path().join("admin-token").display(),
            file.display()
        ));
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    }
    running.shutdown.request();
    running.until_end().await?;
    Ok(if converged { Exit::Done } else { Exit::Failed })
}

/// As `cxone-sync subscribe` does, over the private socket. Returns the handshake's milliseconds.
pub async fn subscribe(folder: &std::path::Path) -> anyhow::Result<u64> {
    let transport = Transport::unix_socket(&folder.join("demo.sock"))?;
    let base = "http://localhost/".parse().expect("a URL");
    let api = Api::new("service", base, transport, 1, Clock::system(), Metrics::new());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = Request::new(Method::POST, api.url(["api", "v1", "subscriptions"]))
            .body("application/json", "{}");
        let response = api.send(request).await.context("cannot reach the service")?;
        let answer: Json =
            serde_json::from_slice(&response.body).context("the service did not answer with JSON")?;
        if response.status.is_success() && answer["check"]["ok"] == json!(true) {
            return Ok(answer["check"]["checks"][0]["latency_ms"].as_u64().unwrap_or_default());
        }
        // With faults on, Graph may refuse for a moment, as it may in life.
        anyhow::ensure!(Instant::now() < deadline, "cannot subscribe: {answer}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn report(
    args: &DemoArgs,
    running: &Running,
    neighbours: &Neighbours,
    first: &[Duration],
    lags: &[Duration],
    seconds: f64,
    differences: &[String],
) -> anyhow::Result<Json> {
    let ms = |lag: Duration| (lag.as_secs_f64() * 1e6).round() / 1e3;
    let spread = |sorted: &[Duration]| {
        json!({
            "n": sorted.len(), "p50": ms(percentile(sorted, 0.50)), "p95": ms(percentile(sorted, 0.95)),
            "p99": ms(percentile(sorted, 0.99)), "max": ms(sorted.last().copied().unwrap_or_default()),
        })
    };
    let depth = running.store.depth(running.worker.clock.now()).await?;
    let mut writes = std::collections::BTreeMap::<String, usize>::new();
    for write in neighbours.cxone.writes() {
        *writes.entry(write.method).or_default() += 1;
    }
    let delivery = neighbours.graph.delivery_stats();
    Ok(json!({
        "users": args.users, "changes": args.changes, "faults": args.faults.name(),
        "seconds": (seconds * 10.0).round() / 10.0,
        "firstSyncMs": spread(first), "eventLagMs": spread(lags),
        "writes": writes,
        "notifications": {
            "queued": delivery.queued, "delivered": delivery.delivered, "lost": delivery.lost,
            "doubled": delivery.doubled, "givenUp": delivery.given_up, "posts": delivery.posts,
        },
        "faultsStruck": neighbours.graph.faults_struck() + neighbours.cxone.faults_struck(),
        "mostConnections": neighbours.cxone.load().most_requests,
        "overlappingWrites": neighbours.cxone.overlaps().len(),
        "queue": depth,
        "converged": differences.is_empty(), "differences": differences.iter().take(20).collect::<Vec<_>>(),
    }))
}

/// Where the story is told: on standard output for people, on standard error beside JSON.
struct Screen {
    format: Format,
    colour: bool,
}

impl Screen {
    fn new(format: Format) -> Self {
        Self { format, colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn say(&self, line: &str) {
        // A reader that went away is no reason to stop.
        match self.format {
            Format::Table => writeln!(std::io::stdout(), "{line}").ok(),
            Format::Json => writeln!(std::io::stderr(), "{line}").ok(),
        };
    }

    /// JSON for programs.
    fn result(&self, report: &Json) {
        writeln!(std::io::stdout(), "{report:#}").ok();
    }

    fn finish(&self, report: &Json, differences: &[String]) {
        if self.format == Format::Json {
            self.result(report);
            return;
        }
        let lag = &report["eventLagMs"];
        self.say(&format!(
            "{} changes in {} s. From change to CXone: p50 {} ms, p95 {} ms, p99 {} ms.",
            report["changes"], report["seconds"], lag["p50"], lag["p95"], lag["p99"]
        ));
        self.say(&format!(
            "Sent to CXone: {}. Never more than {} requests at once.",
            report["writes"], report["mostConnections"]
        ));
        let (on, off) = if self.colour { ("\x1b[1;32m", "\x1b[0m") } else { ("", "") };
        if differences.is_empty() {
            self.say(&format!("{on}Both sides agree, field by field.{off}"));
        } else {
            self.say(&format!("{} users differ:", differences.len()));
            for difference in differences.iter().take(20) {
                self.say(&format!("  {difference}"));
            }
        }
    }
}
