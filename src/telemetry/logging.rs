//! How log lines look and where they go: standard error, JSON off a terminal, readable on one.

use std::ffi::OsStr;

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

/// Starts logging to standard error. `level` is a `tracing` filter, such as `info` or
/// `cxone_sync=debug,info`. An error names what is wrong with the filter.
pub fn start_logging(format: LogFormat, level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::builder().parse(level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A subscriber that is already there (several services in one test process) stays.
    match look(format, std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref()) {
        Look::Json => builder.json().flatten_event(true).try_init().ok(),
        Look::Text { colours } => builder.with_ansi(colours).try_init().ok(),
    };
    Ok(())
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
