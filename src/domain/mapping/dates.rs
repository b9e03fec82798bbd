//! Dates: reading them, writing them and counting with them. All in UTC.

use jiff::SignedDuration;
use jiff::civil::{self, DateTime};

mod format;

pub(super) use format::{Format, check_styles};

const DAY_SECONDS: i64 = 86_400;
/// Active Directory counts intervals of 100 ns since then.
const AD_EPOCH: DateTime = civil::date(1601, 1, 1).at(0, 0, 0, 0);

/// As .NET's invariant culture writes it: `3/16/2020 7:00:00 AM`.
pub(super) fn to_text(date: DateTime) -> String {
    let meridiem = if date.hour() < 12 { "AM" } else { "PM" };
    format!(
        "{}/{}/{:04} {}:{:02}:{:02} {meridiem}",
        date.month(),
        date.day(),
        date.year(),
        hour12(date),
        date.minute(),
        date.second()
    )
}

/// Reads `yyyy-MM-dd` or `M/d/yyyy`, then perhaps a time `HH:mm[:ss[.f]]` with or without AM or PM,
/// then perhaps `Z` or an offset such as `-07:00`. Without one it is taken to be UTC.
pub(super) fn read(text: &str) -> Option<DateTime> {
    let mut cursor = Cursor::new(text.trim());
    let mut parts = Parts::default();
    let first = cursor.digits(1, 4)?;
    if cursor.accept('/') {
        parts.month = first;
        parts.day = cursor.digits(1, 2)?;
        cursor.accept('/').then_some(())?;
        parts.year = cursor.digits(4, 4)?;
    } else {
        parts.year = if first >= 1000 { first } else { return None };
        cursor.accept('-').then_some(())?;
        parts.month = cursor.digits(1, 2)?;
        cursor.accept('-').then_some(())?;
        parts.day = cursor.digits(1, 2)?;
    }
    let spaced = cursor.spaces();
    if (spaced && cursor.is_at_digit()) || (!spaced && cursor.accept('T')) {
        parts.hour = cursor.digits(1, 2)?;
        cursor.accept(':').then_some(())?;
        parts.minute = cursor.digits(2, 2)?;
        if cursor.accept(':') {
            parts.second = cursor.digits(2, 2)?;
            if cursor.accept('.') {
                parts.nanosecond = cursor.fraction(1, 9)?;
            }
        }
        cursor.spaces();
        parts.meridiem = cursor.meridiem(2);
        cursor.spaces();
    }
    if !cursor.is_done() && !cursor.accept('Z') {
        parts.offset_minutes = cursor.offset()?;
    }
    cursor.is_done().then(|| parts.to_date())?
}

pub(super) fn to_ad(date: DateTime) -> Option<i64> {
    i64::try_from(AD_EPOCH.duration_until(date).as_nanos() / 100).ok()
}

pub(super) fn from_ad(intervals: i64) -> Option<DateTime> {
    let nanoseconds = i32::try_from(intervals % 10_000_000 * 100).ok()?;
    add_duration(AD_EPOCH, SignedDuration::new(intervals / 10_000_000, nanoseconds))
}

/// The years .NET knows.
fn in_range(date: DateTime) -> Option<DateTime> {
    (1..=9999).contains(&date.year()).then_some(date)
}

fn add_duration(date: DateTime, duration: SignedDuration) -> Option<DateTime> {
    date.checked_add(duration).ok().and_then(in_range)
}

fn hour12(date: DateTime) -> i8 {
    match date.hour() % 12 {
        0 => 12,
        hour => hour,
    }
}

/// The unit of `DateAdd` and `DateDiff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interval {
    Year,
    Month,
    Day,
    Week,
    Hour,
    Minute,
    Second,
}

impl Interval {
    pub const ALL: [Self; 7] =
        [Self::Year, Self::Month, Self::Day, Self::Week, Self::Hour, Self::Minute, Self::Second];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Year => "yyyy",
            Self::Month => "m",
            Self::Day => "d",
            Self::Week => "ww",
            Self::Hour => "h",
            Self::Minute => "n",
            Self::Second => "s",
        }
    }

    pub fn by_name(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|interval| interval.name() == name).ok_or_else(|| {
            "the interval is yyyy (years), m (months), d, ww (weeks), h, n (minutes) or s".to_owned()
        })
    }

    const fn seconds(self) -> i64 {
        match self {
            // Years and months have no fixed length, and never come here.
            Self::Year | Self::Month => 0,
            Self::Day => DAY_SECONDS,
            Self::Week => 7 * DAY_SECONDS,
            Self::Hour => 3600,
            Self::Minute => 60,
            Self::Second => 1,
        }
    }

    /// A day that the month arrived at has not becomes its last one.
    pub fn add(self, count: i64, date: DateTime) -> Option<DateTime> {
        match self {
            Self::Year => add_months(date, count.checked_mul(12)?),
            Self::Month => add_months(date, count),
            _ => add_duration(date, SignedDuration::from_secs(count.checked_mul(self.seconds())?)),
        }
    }

    /// From one date to another, as Visual Basic counts: years, months and weeks (from Sunday) by
    /// the calendar, the others in whole units of elapsed time.
    pub fn between(self, from: DateTime, to: DateTime) -> i64 {
        let months = |date: DateTime| i64::from(date.year()) * 12 + i64::from(date.month());
        match self {
            Self::Year => i64::from(to.year()) - i64::from(from.year()),
            Self::Month => months(to) - months(from),
            Self::Week => {
                let since_sunday = |date: DateTime| i64::from(date.weekday().to_sunday_zero_offset());
                let shift = (since_sunday(from) - since_sunday(to)) * DAY_SECONDS;
                (from.duration_until(to).as_secs() + shift) / DAY_SECONDS / 7
            }
            _ => from.duration_until(to).as_secs() / self.seconds(),
        }
    }
}

fn add_months(date: DateTime, count: i64) -> Option<DateTime> {
    let months = (i64::from(date.year()) * 12 + i64::from(date.month()) - 1).checked_add(count)?;
    let year = i16::try_from(months.div_euclid(12)).ok().filter(|year| (1..=9999).contains(year))?;
    let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
    let day = date.day().min(civil::Date::new(year, month, 1).ok()?.days_in_month());
    Some(civil::Date::new(year, month, day).ok()?.to_datetime(date.time()))
}

/// What has been read of a date.
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanosecond: i64,
    /// After noon or not, when the hours are those of a half day.
    meridiem: Option<bool>,
    offset_minutes: i64,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            year: 1,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            nanosecond: 0,
            meridiem: None,
            offset_minutes: 0,
        }
    }
}

impl Parts {
    fn to_date(&self) -> Option<DateTime> {
        let hour = match self.meridiem {
            None => self.hour,
            Some(_) if !(1..=12).contains(&self.hour) => return None,
            Some(after_noon) => self.hour % 12 + if after_noon { 12 } else { 0 },
        };
        let small = |value: i64| i8::try_from(value).ok();
        let date = DateTime::new(
            i16::try_from(self.year).ok()?,
            small(self.month)?,
            small(self.day)?,
            small(hour)?,
            small(self.minute)?,
            small(self.second)?,
            i32::try_from(self.nanosecond).ok()?,
        )
        .ok()?;
        add_duration(date, SignedDuration::from_secs(-self.offset_minutes * 60))
    }
}

/// Reads a date from left to right.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self(text)
    }

    fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    fn is_at_digit(&self) -> bool {
        self.0.starts_with(|c: char| c.is_ascii_digit())
    }

    fn accept(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Skips spaces, and says whether there were any.
    fn spaces(&mut self) -> bool {
        let rest = self.0.trim_start_matches(' ');
        let skipped = rest.len() < self.0.len();
        self.0 = rest;
        skipped
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let n_digits = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(n_digits);
        if n_digits < least {
            return None;
        }
        self.0 = rest;
        digits.parse().ok()
    }

    /// Digits after the point, in nanoseconds.
    fn fraction(&mut self, least: usize, most: usize) -> Option<i64> {
        let before = self.0.len();
        if least == 0 && !self.is_at_digit() {
            return Some(0);
        }
        let digits = self.digits(least, most)?;
        let n_digits = u32::try_from(before - self.0.len()).ok()?;
        digits.checked_mul(10_i64.checked_pow(9_u32.checked_sub(n_digits)?)?)
    }

    /// `AM` or `PM`, or their first letters; true after noon.
    fn meridiem(&mut self, width: usize) -> Option<bool> {
        let (found, rest) = self.0.split_at_checked(width)?;
        let names = ["AM", "PM"].map(|name| name.get(..width));
        let index =
            names.iter().position(|name| name.is_some_and(|name| name.eq_ignore_ascii_case(found)))?;
        self.0 = rest;
        Some(index == 1)
    }

    /// `+8`, `-07`, `-0700` or `-07:00`, in minutes.
    fn offset(&mut self) -> Option<i64> {
        let sign = match (self.accept('+'), self.accept('-')) {
            (true, false) => 1,
            (false, true) => -1,
            _ => return None,
        };
        let hours = self.digits(1, 2)?;
        let minutes = if self.accept(':') || self.is_at_digit() { self.digits(2, 2)? } else { 0 };
        (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }

    fn name(&mut self, names: &[&str], abbreviated: bool) -> Option<i64> {
        for (index, name) in names.iter().enumerate() {
            let wanted = if abbreviated { name.get(..3)? } else { name };
            if let Some((found, rest)) = self.0.split_at_checked(wanted.len())
                && found.eq_ignore_ascii_case(wanted)
            {
                self.0 = rest;
                return i64::try_from(index).ok();
            }
        }
        None
    }
}
