//! Durations and sizes as people write them.

use std::time::Duration;

const MS_OF: [(&str, u64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

const BYTES_OF: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// `15m`, `24h`, `7d`, `0s`, `500ms`, `1h30m`. `None`: it is not one, or too long to be meant.
pub fn duration(text: &str) -> Option<Duration> {
    add_up(text, &MS_OF).map(Duration::from_millis)
}

/// `4MiB`, `64 MiB`, `1000000B`.
pub fn size(text: &str) -> Option<u64> {
    add_up(text, &BYTES_OF)
}

/// The shortest text that [`duration`] reads as this, in one unit.
pub fn duration_text(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, scale) = MS_OF
        .into_iter()
        .rev()
        .find(|(unit, scale)| *unit != "w" && ms != 0 && ms % scale == 0)
        .unwrap_or(("s", 1000));
    format!("{}{unit}", ms / scale)
}

/// The shortest text that [`size`] reads as this, in one binary unit.
pub fn size_text(bytes: u64) -> String {
    let fits = |(unit, scale): &(&str, u64)| {
        *scale == 1 || (unit.contains('i') && bytes != 0 && bytes.is_multiple_of(*scale))
    };
    let (unit, scale) = BYTES_OF[..4].iter().rev().copied().find(fits).expect("one byte always fits");
    format!("{}{unit}", bytes / scale)
}

/// Numbers with their units, one after another.
fn add_up(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: Option<u64> = None;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*scale)?;
        total = Some(total.unwrap_or(0).checked_add(part)?);
        rest = after.trim_start();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let s = Duration::from_secs;
        for (text, expected) in [
            ("0s", s(0)),
            ("15m", s(900)),
            ("24h", s(86_400)),
            ("7d", s(604_800)),
            ("1w", s(604_800)),
            ("1h30m", s(5400)),
            ("1h 30m", s(5400)),
            ("500ms", Duration::from_millis(500)),
        ] {
            assert_eq!(duration(text), Some(expected), "{text}");
        }
        for wrong in ["", " ", "15", "m", "-5m", "1.5h", "5 minutes", "15M", "1y", "99999999999999999999s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(duration("18446744073709551615w"), None);
    }

    #[test]
    fn durations_are_written_in_their_largest_unit() {
        for text in ["0s", "15m", "1d", "7d", "90s", "1500ms", "36h"] {
            let (text, read) = (text, duration(text).unwrap());
            assert_eq!(duration_text(read), text);
        }
        assert_eq!(duration_text(duration("24h").unwrap()), "1d");
    }

    #[test]
    fn sizes_are_written_in_their_largest_unit() {
        for text in ["0B", "1B", "1KiB", "4MiB", "64GiB", "1025B", "1000000B"] {
            assert_eq!(size_text(size(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [("4MiB", 4 << 20), ("64 MiB", 64 << 20), ("10B", 10), ("1MB", 1_000_000)] {
            assert_eq!(size(text), Some(expected), "{text}");
        }
        for wrong in ["", "4", "4mib", "4M", "MiB", "-1B"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
