//! .NET's custom date and time formats, with the names of its invariant culture.

use jiff::civil::DateTime;

use super::{Cursor, Parts, hour12};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Names of `DateTimeStyles` that change nothing when everything is UTC.
pub(in super::super) fn check_styles(styles: &str) -> Result<(), String> {
    const HARMLESS: [&str; 8] = [
        "None",
        "AllowLeadingWhite",
        "AllowTrailingWhite",
        "AllowInnerWhite",
        "AllowWhiteSpaces",
        "AdjustToUniversal",
        "AssumeUniversal",
        "RoundtripKind",
    ];
    for style in styles.split([',', '|']) {
        let name = style.trim().trim_start_matches("DateTimeStyles.");
        if !HARMLESS.contains(&name) {
            return Err(format!("dateTimeStyles can be {}; times are always UTC here", HARMLESS.join(", ")));
        }
    }
    Ok(())
}

/// A .NET custom date and time format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Format {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(char),
    Year2,
    Year4,
    /// 1 or 2 digits wanted; 3: abbreviated name; 4: full name.
    Month(usize),
    Day(usize),
    Hour24(usize),
    Hour12(usize),
    Minute(usize),
    Second(usize),
    Fraction {
        digits: usize,
        trailing_zeros: bool,
    },
    Meridiem(usize),
    /// 1: `+0`, 2: `+00`, 3: `+00:00`
    Offset(usize),
    /// `K`: `Z` or an offset
    Zone,
}

impl Format {
    pub fn compile(text: &str) -> Result<Self, String> {
        let chars: Vec<char> = text.chars().collect();
        if chars.len() < 2 {
            return Err(
                "a date format of one letter is a standard one; write it out, e.g. \"yyyy-MM-dd\"".into()
            );
        }
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            let run = chars[at..].iter().take_while(|&&other| other == c).count();
            let unknown = || format!("{} is not supported in a date format", c.to_string().repeat(run));
            let piece = match (c, run) {
                ('y', 2) => Piece::Year2,
                ('y', 4) => Piece::Year4,
                ('M', 1..=4) => Piece::Month(run),
                ('d', 1..=4) => Piece::Day(run),
                ('H', 1..=2) => Piece::Hour24(run),
                ('h', 1..=2) => Piece::Hour12(run),
                ('m', 1..=2) => Piece::Minute(run),
                ('s', 1..=2) => Piece::Second(run),
                ('f', 1..=7) => Piece::Fraction { digits: run, trailing_zeros: true },
                ('F', 1..=7) => Piece::Fraction { digits: run, trailing_zeros: false },
                ('t', 1..=2) => Piece::Meridiem(run),
                ('z', 1..=3) => Piece::Offset(run),
                ('K', 1) => Piece::Zone,
                ('y' | 'M' | 'd' | 'H' | 'h' | 'm' | 's' | 'f' | 'F' | 't' | 'z' | 'K' | 'g', _) => {
                    return Err(unknown());
                }
                ('%', _) => {
                    at += 1;
                    continue;
                }
                ('\\', _) => {
                    let escaped = chars.get(at + 1).ok_or("a date format cannot end in a backslash")?;
                    pieces.push(Piece::Literal(*escaped));
                    at += 2;
                    continue;
                }
                ('\'' | '"', _) => {
                    let quoted: Vec<char> =
                        chars[at + 1..].iter().copied().take_while(|&other| other != c).collect();
                    at += quoted.len() + 2;
                    if at > chars.len() {
                        return Err(format!("the {c} that ends a literal in the date format is missing"));
                    }
                    pieces.extend(quoted.into_iter().map(Piece::Literal));
                    continue;
                }
                _ => {
                    pieces.push(Piece::Literal(c));
                    at += 1;
                    continue;
                }
            };
            pieces.push(piece);
            at += run;
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether dates can be read by it, and not only written.
    pub fn check_readable(&self) -> Result<(), String> {
        if self.pieces.contains(&Piece::Year2) {
            return Err(
                "the inputFormat needs years of four digits: the century of two cannot be told".to_owned()
            );
        }
        if !self.pieces.contains(&Piece::Year4) {
            return Err("the inputFormat has no year (yyyy); the current one is not known here".to_owned());
        }
        Ok(())
    }

    pub fn read(&self, text: &str) -> Option<DateTime> {
        let mut cursor = Cursor::new(text.trim());
        let mut parts = Parts::default();
        for piece in &self.pieces {
            match *piece {
                Piece::Literal(c) => cursor.accept(c).then_some(())?,
                Piece::Year2 => return None,
                Piece::Year4 => parts.year = cursor.digits(4, 4)?,
                Piece::Month(width @ 1..=2) => parts.month = cursor.digits(width, 2)?,
                Piece::Month(width) => parts.month = 1 + cursor.name(&MONTHS, width == 3)?,
                Piece::Day(width @ 1..=2) => parts.day = cursor.digits(width, 2)?,
                Piece::Day(width) => {
                    cursor.name(&WEEKDAYS, width == 3)?;
                }
                Piece::Hour24(width) => parts.hour = cursor.digits(width, 2)?,
                Piece::Hour12(width) => {
                    parts.hour = cursor.digits(width, 2)?;
                    // Without a designator they are those of the morning.
                    parts.meridiem.get_or_insert(false);
                }
                Piece::Minute(width) => parts.minute = cursor.digits(width, 2)?,
                Piece::Second(width) => parts.second = cursor.digits(width, 2)?,
                Piece::Fraction { digits, trailing_zeros: true } => {
                    parts.nanosecond = cursor.fraction(digits, digits)?;
                }
                Piece::Fraction { digits, .. } => {
                    parts.nanosecond = cursor.fraction(0, digits)?;
                }
                Piece::Meridiem(width) => parts.meridiem = Some(cursor.meridiem(width)?),
                Piece::Zone if cursor.is_done() || cursor.accept('Z') => {}
                Piece::Zone | Piece::Offset(_) => parts.offset_minutes = cursor.offset()?,
            }
        }
        cursor.is_done().then(|| parts.to_date())?
    }

    pub fn write(&self, date: DateTime) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            let number = |value: i64, width: usize| format!("{value:0width$}");
            text.push_str(&match *piece {
                Piece::Literal(c) => c.to_string(),
                Piece::Year2 => number(i64::from(date.year()) % 100, 2),
                Piece::Year4 => number(date.year().into(), 4),
                Piece::Month(width @ 1..=2) => number(date.month().into(), width),
                Piece::Month(width) => named(&MONTHS, date.month() - 1, width == 3),
                Piece::Day(width @ 1..=2) => number(date.day().into(), width),
                Piece::Day(width) => named(&WEEKDAYS, date.weekday().to_sunday_zero_offset(), width == 3),
                Piece::Hour24(width) => number(date.hour().into(), width),
                Piece::Hour12(width) => number(hour12(date).into(), width),
                Piece::Minute(width) => number(date.minute().into(), width),
                Piece::Second(width) => number(date.second().into(), width),
                Piece::Fraction { digits, trailing_zeros } => {
                    let shown: String =
                        number(date.subsec_nanosecond().into(), 9).chars().take(digits).collect();
                    if trailing_zeros { shown } else { shown.trim_end_matches('0').to_owned() }
                }
                Piece::Meridiem(width) => {
                    let meridiem = if date.hour() < 12 { "AM" } else { "PM" };
                    meridiem.chars().take(width).collect()
                }
                Piece::Offset(1) => "+0".to_owned(),
                Piece::Offset(2) => "+00".to_owned(),
                Piece::Offset(_) => "+00:00".to_owned(),
                Piece::Zone => "Z".to_owned(),
            });
        }
        text
    }
}

fn named(names: &[&str], index: i8, abbreviated: bool) -> String {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default();
    if abbreviated { name.chars().take(3).collect() } else { name.to_owned() }
}
