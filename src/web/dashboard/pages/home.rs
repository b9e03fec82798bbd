//! The first page: is it well, and if not, where.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::frame::Frame;
use super::{Ours, Refused, Text, Visit, WriteRow, ago, answer, lag, moment, read, span, write_rows};
use crate::domain::event::COVERAGE_LOW;
use crate::domain::expiry::THRESHOLDS;
use crate::domain::guard::{Bound, Guarded};
use crate::domain::queue::Write;
use crate::web::dashboard::show::{WIDTH, magnitude, polylines};

const SYNCS: usize = 10;
const SPARK_HEIGHT: f64 = 40.0;
const PLOT_HEIGHT: f64 = 160.0;
/// A share of an hour's or day's budget from which on it is pointed out.
const NEARLY: f64 = 0.8;

struct Tile {
    label: &'static str,
    n: u64,
    detail: String,
    path: &'static str,
    warns: bool,
    spark: Vec<String>,
    most: u64,
}

struct Circuit {
    api: Text,
    good: bool,
    state: &'static str,
    words: Text,
}

struct Fact {
    name: &'static str,
    value: String,
    detail: String,
    good: bool,
}

struct Gauge {
    name: Text,
    used: u64,
    limit: u64,
    detail: String,
    warns: bool,
}

struct Stretch {
    from: String,
    n: u64,
    p50: String,
    p95: String,
}

/// The lags of the last 24 hours.
struct Plot {
    p50: Vec<String>,
    p95: Vec<String>,
    least: String,
    most: String,
    begin: String,
    end: String,
    width: f64,
    height: f64,
    /// The same as a table: one row for each stretch in which something was written.
    rows: Vec<Stretch>,
    n: u64,
    words: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    mode: Text,
    tiles: Vec<Tile>,
    plot: Plot,
    syncs: Vec<WriteRow>,
    circuits: Vec<Circuit>,
    facts: Vec<Fact>,
    gauges: Vec<Gauge>,
    spark_height: f64,
    spark_width: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    at: Timestamp,
    open: Option<u64>,
    waiting: Option<u64>,
    parked: Option<u64>,
    held: Option<u64>,
    n: u64,
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
}

pub async fn overview(State(ours): Ours, request: Request) -> Response {
    answer(ours, request, &[], made).await
}

async fn made(visit: &Visit) -> Result<Overview, Refused> {
    let status = visit.ours.get("/status").await?;
    let points: Vec<Point> = read(&visit.ours.get("/api/v1/pulse").await?["points"])?;
    let writes: Vec<Write> =
        read(&visit.ours.get(&format!("/api/v1/history?limit={SYNCS}")).await?["writes"])?;
    let names = visit.names(writes.iter().map(|write| write.user).collect()).await?;
    Ok(Overview {
        frame: visit.frame("Overview"),
        mode: Text::json(&status["mode"]),
        tiles: tiles(&status["queue"], &points, visit.now)?,
        plot: plot(&points, visit.now),
        syncs: write_rows(&writes, &names, visit.now),
        circuits: circuits(&status["circuits"]),
        facts: facts(&status, visit.now)?,
        gauges: gauges(&status["guard"])?,
        spark_height: SPARK_HEIGHT,
        spark_width: WIDTH,
    })
}

fn tiles(queue: &Value, points: &[Point], now: Timestamp) -> Result<Vec<Tile>, Refused> {
    let n = |state: &str| queue[state].as_u64().unwrap_or_default();
    let since = |state: &str| -> Result<String, Refused> {
        let since: Option<Timestamp> = read(&queue[format!("{state}_since")])?;
        Ok(since.map_or_else(String::new, |since| format!("the oldest {}", ago(now, since))))
    };
    let tile = |label, n, detail, path, warns, of: fn(&Point) -> Option<u64>| {
        let values: Vec<Option<u64>> = points.iter().map(of).collect();
        let most = values.iter().flatten().copied().max().unwrap_or_default();
        let height = |value: u64| if most == 0 { 0.0 } else { value as f64 / most as f64 };
        let heights: Vec<Option<f64>> = values.iter().map(|value| value.map(height)).collect();
        Tile { label, n, detail, path, warns, spark: polylines(&heights, SPARK_HEIGHT), most }
    };
    let oldest = queue["oldest_due_seconds"].as_f64().unwrap_or_default();
    let waited = std::time::Duration::try_from_secs_f64(oldest).unwrap_or_default();
    let due = match n("due") {
        0 => String::new(),
        _ => format!("the oldest waits for {}", span(waited)),
    };
    Ok(vec![
        tile("due", n("due"), due, "/queue?state=due", oldest > 60.0, |point| point.open),
        tile("running", n("running"), since("running")?, "/queue?state=running", false, |point| point.open),
        tile("waiting", n("waiting"), String::new(), "/queue?state=waiting", false, |point| point.waiting),
        tile("parked", n("parked"), since("parked")?, "/queue?state=parked", n("parked") > 0, |point| {
            point.parked
        }),
        tile("held", n("held"), since("held")?, "/held", n("held") > 0, |point| point.held),
    ])
}

fn plot(points: &[Point], now: Timestamp) -> Plot {
    let all = || points.iter().flat_map(|point| [point.p50_ms, point.p95_ms]).flatten();
    let (least, most) = (all().min().unwrap_or(1), all().max().unwrap_or(1));
    let line = |of: fn(&Point) -> Option<u64>| {
        let heights: Vec<_> =
            points.iter().map(|point| of(point).map(|ms| magnitude(ms, least, most))).collect();
        polylines(&heights, PLOT_HEIGHT)
    };
    let told = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), lag);
    let clock = |at: Timestamp| at.strftime("%H:%M").to_string();
    let rows: Vec<Stretch> = points
        .iter()
        .filter(|point| point.n > 0)
        .map(|point| Stretch {
            from: clock(point.at),
            n: point.n,
            p50: told(point.p50_ms),
            p95: told(point.p95_ms),
        })
        .collect();
    let n: u64 = points.iter().map(|point| point.n).sum();
    let last = points.iter().rev().find(|point| point.n > 0);
    Plot {
        p50: line(|point| point.p50_ms),
        p95: line(|point| point.p95_ms),
        least: lag(least),
        most: lag(most),
        begin: points.first().map_or_else(String::new, |point| clock(point.at)),
        end: clock(now),
        width: WIDTH,
        height: PLOT_HEIGHT,
        rows,
        n,
        words: last.map_or_else(
            || "nothing was written, up to a minute ago".to_owned(),
            |last| {
                format!(
                    "{n} writes; lately half within {}, 95 % within {}",
                    told(last.p50_ms),
                    told(last.p95_ms)
                )
            },
        ),
    }
}

fn circuits(circuits: &Value) -> Vec<Circuit> {
    let circuit = |(api, circuit): (&String, &Value)| {
        let good = circuit["state"] == "closed";
        let words = circuit["error"].as_str().unwrap_or_default();
        Circuit {
            api: Text::of(api),
            good,
            state: if good { "in reach" } else { "out of reach" },
            words: Text::of(words),
        }
    };
    circuits.as_object().into_iter().flatten().map(circuit).collect()
}

fn facts(status: &Value, now: Timestamp) -> Result<Vec<Fact>, Refused> {
    let mut facts = Vec::new();
    let time = |value: &Value| -> Result<Option<Timestamp>, Refused> { read(value) };
    let told = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| ago(now, at));
    let at = |at: Option<Timestamp>| at.map_or_else(String::new, |at| format!("{} UTC", moment(at)));
    if let Some(ratio) = status["coverage"]["ratio"].as_f64() {
        let coverage = &status["coverage"];
        let poll = coverage["pollIntervalSeconds"].as_u64().unwrap_or_default();
        facts.push(Fact {
            name: "Webhook coverage",
            value: format!("{:.1} %", ratio * 100.0),
            detail: format!(
                "{} changes announced, {} found only by the poll, which runs every {}",
                coverage["known"],
                coverage["missed"],
                span(std::time::Duration::from_secs(poll))
            ),
            good: ratio >= COVERAGE_LOW,
        });
    }
    for (name, key) in
        [("Last notification", "lastNotificationAt"), ("Last full compare", "lastFullCompareAt")]
    {
        if status.get(key).is_some() {
            let when = time(&status[key])?;
            facts.push(Fact { name, value: told(when), detail: at(when), good: true });
        }
    }
    for resource in ["users", "groups"] {
        let round = &status["delta"][resource];
        if round.is_null() {
            continue;
        }
        let completed = time(&round["completed_at"])?;
        facts.push(Fact {
            name: if resource == "users" { "Last poll of users" } else { "Last poll of groups" },
            value: told(completed),
            detail: if round["in_progress"] == true { "one is under way".to_owned() } else { at(completed) },
            good: round["age_seconds"].as_u64().is_none_or(|age| age < 86_400),
        });
    }
    for subscription in status["subscriptions"].as_array().into_iter().flatten() {
        let left = subscription["seconds_left"].as_u64().unwrap_or_default();
        facts.push(Fact {
            name: if subscription["resource"] == "users" {
                "Subscription to users"
            } else {
                "Subscription to groups"
            },
            value: format!("{} left", span(std::time::Duration::from_secs(left))),
            detail: at(time(&subscription["expires_at"])?),
            good: left > 86_400,
        });
    }
    if status["subscriptions"].as_array().is_some_and(Vec::is_empty) {
        facts.push(Fact {
            name: "Subscriptions",
            value: "none".to_owned(),
            detail: "only the poll finds changes: cxone-sync subscribe".to_owned(),
            good: false,
        });
    }
    for credential in status["credentials"].as_array().into_iter().flatten() {
        let days = credential["days_left"].as_i64().unwrap_or_default();
        facts.push(Fact {
            name: "Credential",
            value: format!("{days} days left"),
            detail: Text::json(&credential["name"]).to_string(),
            good: days > THRESHOLDS[0],
        });
    }
    Ok(facts)
}

fn gauges(guard: &Value) -> Result<Vec<Gauge>, Refused> {
    let mut gauges = Vec::new();
    for guarded in Guarded::ALL {
        let of = &guard[guarded.name()]["bounds"];
        if of.is_null() {
            continue;
        }
        for bound in read::<Vec<Bound>>(of)? {
            let percent =
                bound.percent.map_or_else(String::new, |percent| format!(" ({percent} % of users)"));
            let name = format!("{} in the last {}", guarded.name().replace('_', " "), bound.window);
            gauges.push(Gauge {
                name: Text::of(&name),
                detail: format!("{} of {}{percent}", bound.used, bound.limit),
                warns: bound.used as f64 >= bound.limit as f64 * NEARLY,
                used: bound.used,
                limit: bound.limit,
            });
        }
    }
    Ok(gauges)
}
