//! How things look on a page: texts from outside, times, and the curves.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::clock::until;
use crate::domain::user::Value as Held;

/// So much of a value is shown.
const LONGEST: usize = 256;

/// A text that may come from outside: from the directory, from CXone, from an operator. What steers
/// (control characters, marks that turn the direction of writing) is made visible, and what is long is
/// cut. The templates escape what HTML would read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    pub fn of(text: &str) -> Self {
        let shown = text.chars().map(|c| if steers(c) { '\u{FFFD}' } else { c });
        let mut cut: String = shown.take(LONGEST).collect();
        if text.chars().nth(LONGEST).is_some() {
            cut.push('…');
        }
        Self(cut)
    }

    /// Of JSON: a text without its quotes, a list by its items, nothing as a dash.
    pub fn json(value: &Value) -> Self {
        match value {
            Value::Null => Self("–".to_owned()),
            Value::String(text) => Self::of(text),
            Value::Array(items) if items.is_empty() => Self("–".to_owned()),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| Self::json(item).0).collect();
                Self::of(&items.join(", "))
            }
            other => Self::of(&other.to_string()),
        }
    }

    pub fn held(value: Option<&Held>) -> Self {
        value.map_or_else(|| Self("–".to_owned()), |value| Self::of(&value.to_string()))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Controls, line ends, and the marks of UAX #9 that embed, override or isolate; also what is not seen
/// at all and could hide a difference.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// How long ago, or until when, in the one unit that tells.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub fn ago(now: Timestamp, at: Timestamp) -> String {
    format!("{} ago", span(until(at, now)))
}

/// A moment in UTC, to the second.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

pub fn lag(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => span(Duration::from_millis(ms)),
    }
}

/// The drawing area of every curve, in its own units.
pub const WIDTH: f64 = 600.0;

/// A line over the stretches as the points of SVG polylines, one for each part without a gap. `of` is
/// how high a stretch is, 0 to 1.
pub fn polylines(heights: &[Option<f64>], height: f64) -> Vec<String> {
    let step = WIDTH / heights.len().max(1) as f64;
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    for (i, value) in heights.iter().enumerate() {
        match value {
            Some(value) => {
                // Each stretch is a step of its own, so that a single one is seen too.
                let y = height - value.clamp(0.0, 1.0) * (height - 2.0) - 1.0;
                line.push(format!("{:.1},{y:.1} {:.1},{y:.1}", i as f64 * step, (i + 1) as f64 * step));
            }
            None if line.is_empty() => {}
            None => lines.push(std::mem::take(&mut line).join(" ")),
        }
    }
    if !line.is_empty() {
        lines.push(line.join(" "));
    }
    lines
}

/// Where a lag stands between the shortest and the longest of the axis: lags are drawn by their
/// magnitude.
pub fn magnitude(ms: u64, least_ms: u64, most_ms: u64) -> f64 {
    let log = |ms: u64| (ms.max(1) as f64).ln();
    let (least, most) = (log(least_ms), log(most_ms));
    if most <= least { 0.5 } else { (log(ms) - least) / (most - least) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_seen_and_what_is_long_is_cut() {
        assert_eq!(
            Text::of("a\u{202E}b\u{0}c\nd\u{200D}e").to_string(),
            "a\u{FFFD}b\u{FFFD}c\u{FFFD}d\u{FFFD}e"
        );
        let long = Text::of(&"ä".repeat(1_000_000)).to_string();
        assert_eq!((long.chars().count(), long.ends_with('…')), (257, true));
        assert_eq!(Text::of(&"ä".repeat(256)).to_string().chars().count(), 256);
        assert_eq!(Text::of("علي 李 Zoë").to_string(), "علي 李 Zoë");
    }

    #[test]
    fn json_is_shown_as_people_read_it() {
        let shown = |json: Value| Text::json(&json).to_string();
        assert_eq!(shown(serde_json::json!(["a", "b\u{7}"])), "a, b\u{FFFD}");
        assert_eq!(shown(serde_json::json!([])), "–");
        assert_eq!(shown(Value::Null), "–");
        assert_eq!(shown(serde_json::json!(true)), "true");
    }

    #[test]
    fn times_are_told_in_one_unit() {
        let told = [0, 119, 120, 7199, 7200, 172_799, 172_800].map(|s| span(Duration::from_secs(s)));
        assert_eq!(told, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]);
        assert_eq!([7, 1_500, 240_000].map(lag), ["7 ms", "1.5 s", "4 min"]);
    }

    #[test]
    fn a_gap_breaks_the_line() {
        let lines = polylines(&[Some(0.0), None, Some(1.0), Some(2.0)], 12.0);
        assert_eq!(lines, ["0.0,11.0 150.0,11.0", "300.0,1.0 450.0,1.0 450.0,1.0 600.0,1.0"]);
    }

    #[test]
    fn a_lag_is_drawn_by_its_magnitude() {
        assert_eq!(magnitude(10, 10, 1000), 0.0);
        assert!((magnitude(100, 10, 1000) - 0.5).abs() < 1e-9);
        assert_eq!(magnitude(7, 7, 7), 0.5);
    }
}
