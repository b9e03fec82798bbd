//! How log lines look and where they go: standard error, JSON off a terminal, readable on one.

use std::ffi::OsStr;
use std::io::IsTerminal as _;

use tracing_subscriber::filter::{EnvFilter, FilterFn, LevelFilter};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::traces::{TraceSettings, Traces};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

/// The look of log lines, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Json,
    Text { colours: bool },
}

/// `no_color` is the environment's `NO_COLOR`: not empty, it forbids colours (no-color.org).
fn look(format: LogFormat, is_terminal: bool, no_color: Option<&OsStr>) -> Look {
    match format {
        LogFormat::Json => Look::Json,
        LogFormat::Auto if !is_terminal => Look::Json,
        LogFormat::Auto | LogFormat::Text => {
            Look::Text { colours: is_terminal && no_color.is_none_or(OsStr::is_empty) }
        }
    }
}

/// Why nothing can be logged.
pub type StartError = tracing_subscriber::filter::ParseError;

/// Starts logging to standard error. `level` is a `tracing` filter, such as `info` or
/// `cxone_sync=debug,info`. An error names what is wrong with the filter.
pub fn start_logging(format: LogFormat, level: &str) -> Result<(), StartError> {
    start(format, level, None).map(drop)
}

/// As [`start_logging`], with traces if they are wanted. Give what it returns to [`Traces::finish`].
pub fn start(format: LogFormat, level: &str, wanted: Option<&TraceSettings>) -> Result<Traces, StartError> {
    let filter = EnvFilter::builder().parse(level)?;
    let is_terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match look(format, is_terminal, std::env::var_os("NO_COLOR").as_deref()) {
        Look::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        Look::Text { colours } => lines.with_ansi(colours).with_filter(filter).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines);
    // A subscriber that is already there (several services in one test process) stays.
    match wanted.map(Traces::start).transpose() {
        Ok(None) => {
            registry.try_init().ok();
            Ok(Traces::default())
        }
        Ok(Some((traces, tracer))) => {
            // Our own spans and no lines: what other crates say of themselves may hold anything.
            let ours = FilterFn::new(|about| about.is_span() && about.target().starts_with("cxone_sync"));
            let spans = tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG));
            registry.with(spans).try_init().ok();
            Ok(traces)
        }
        Err(error) => {
            registry.try_init().ok();
            tracing::error!(error, "there will be no traces: telemetry.otlp_endpoint cannot be used");
            Ok(Traces::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_off_a_terminal_and_coloured_only_on_one_that_wants_it() {
        let plain = Look::Text { colours: false };
        let set = OsStr::new("1");
        for (format, is_terminal, no_color, expected) in [
            (LogFormat::Auto, false, None, Look::Json),
            (LogFormat::Json, true, None, Look::Json),
            (LogFormat::Auto, true, None, Look::Text { colours: true }),
            (LogFormat::Auto, true, Some(OsStr::new("")), Look::Text { colours: true }),
            (LogFormat::Auto, true, Some(set), plain),
            (LogFormat::Text, false, None, plain),
            (LogFormat::Text, true, Some(set), plain),
        ] {
            assert_eq!(
                look(format, is_terminal, no_color),
                expected,
                "{format:?} {is_terminal} {no_color:?}"
            );
        }
    }
}
