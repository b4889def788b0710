//! Points in time as people write them: RFC 3339, UTC; and from when until when something is asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args;

/// From when until when.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Range {
    /// Only what started so long ago at most, such as 15m
    #[arg(long, value_name = "TIME", value_parser = args::duration, conflicts_with_all = ["from", "to"])]
    since: Option<Duration>,
    /// Only what started then or later (2026-11-23T05:41:00Z, always UTC, or seconds since 1970)
    #[arg(long, value_name = "TIME", value_parser = parse)]
    from: Option<u64>,
    /// Only what started before then
    #[arg(long, value_name = "TIME", value_parser = parse)]
    to: Option<u64>,
}

impl Range {
    /// Both ends in nanoseconds since 1970; 0 is no end. `usual` is how far back it goes when nothing is said.
    ///
    /// # Errors
    /// When nothing is in it.
    pub(crate) fn ends(&self, usual: Option<Duration>) -> anyhow::Result<(u64, u64)> {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(0));
        anyhow::ensure!(self.to.is_none_or(|to| from < to), "--to is not after --from: nothing started in between");
        let usual = usual.filter(|_| self.from.is_none() && self.to.is_none());
        let ago = |since: Duration| now_ns().saturating_sub(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        Ok((self.since.or(usual).map_or(from, ago), to))
    }
}

/// Days of the months of a year that starts in March: the leap day comes last (Howard Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The reverse: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Nanoseconds since 1970 as `2026-11-23T05:41:00.123456Z`; without a fraction when there is none to the microsecond.
pub(crate) fn rfc3339(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (year, month, day) = civil_from_days((seconds / 86_400) as i64);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = ns % 1_000_000_000 / 1_000;
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}

/// Reads `2026-11-23`, `2026-11-23T05:41`, `2026-11-23T05:41:00Z` (always UTC) or seconds since 1970, as nanoseconds.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let seconds = if let Ok(seconds) = text.parse::<u64>() { Some(seconds) } else { parse_date(text) };
    seconds
        .and_then(|seconds| seconds.checked_mul(1_000_000_000))
        .ok_or_else(|| "not a time: write 2026-11-23T05:41:00Z (UTC) or seconds since 1970".to_owned())
}

fn parse_date(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.trim_end_matches(['Z', 'z']).splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next().unwrap_or(Some(0))?);
    let fits = (1970..=2500).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    fits.then(|| days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
        .and_then(|seconds| u64::try_from(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for ns in [0, 951_782_400_000_000_000, 1_795_412_345_678_901_000, 4_102_444_799_000_000_000] {
            let second = ns / 1_000_000_000 * 1_000_000_000;
            assert_eq!(parse(&rfc3339(second)), Ok(second), "{}", rfc3339(ns));
        }
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_763_876_460_123_456_789), "2025-11-23T05:41:00.123456Z");
        assert_eq!(parse("2026-11-23"), Ok(1_795_392_000_000_000_000));
        assert_eq!(parse("1795392000"), Ok(1_795_392_000_000_000_000));
    }

    #[test]
    fn a_range_has_the_ends_that_are_said() {
        let hour = Some(Duration::from_secs(3_600));
        let range = |from, to| Range { since: None, from, to };
        assert_eq!(range(Some(5), Some(9)).ends(hour).unwrap(), (5, 9));
        assert_eq!(range(Some(5), None).ends(hour).unwrap(), (5, 0));
        assert_eq!(range(None, Some(9)).ends(hour).unwrap(), (0, 9));
        assert_eq!(range(None, None).ends(None).unwrap(), (0, 0));
        let ago = |range: Range, usual| {
            let (start, end) = range.ends(usual).unwrap();
            (now_ns() - start) / 60_000_000_000 + end
        };
        assert_eq!(ago(range(None, None), hour), 60);
        assert_eq!(ago(Range { since: Some(Duration::from_secs(180)), ..Range::default() }, hour), 3);
        for (from, to) in [(Some(9), Some(9)), (Some(9), Some(5)), (None, Some(0))] {
            assert!(range(from, to).ends(hour).is_err(), "{from:?} {to:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01", "2026-11-23T25:00", "2026-11-23T05", "1e9", "-5"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
