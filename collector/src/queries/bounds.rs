//! What requests may say: how much, from when until when, in which steps.

use clew_query::{exec::Range, traceql::steps::Steps};

use super::QueryError;

/// Traces that an answer has when nothing is said.
pub const DEFAULT_TRACES: u32 = 20;
/// Traces that it may have.
pub const MAX_TRACES: u32 = 10_000;
/// Spans that a span set shows when nothing is said.
pub const DEFAULT_SPANS: u32 = 3;
/// Spans that it may show.
pub const MAX_SPANS: u32 = 1_000;
/// Series of an answer when nothing is said.
pub const DEFAULT_SERIES: u32 = 1_000;
/// Series that it may have.
pub const MAX_SERIES: u32 = 10_000;
/// Names of a scope, or values, that an answer has when nothing is said.
pub const DEFAULT_TAGS: u32 = 1_000;
/// Those that it may have.
pub const MAX_TAGS: u32 = 100_000;
/// The range when nothing is said: the last hour.
pub const DEFAULT_RANGE_NS: u64 = 3_600 * SECOND_NS;

/// Points of a time series at most.
const MAX_POINTS: u64 = 11_000;
/// Points that a step is chosen for, at most.
const USUAL_POINTS: u64 = 240;
/// Steps that are chosen from, in seconds.
const USUAL_STEPS_S: [u64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200];

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;

/// A number that a request may say: 0 is what is usual.
pub fn within(name: &str, said: u32, usual: u32, most: u32) -> Result<usize, QueryError> {
    match said {
        0 => Ok(usual as usize),
        _ if said > most => Err(QueryError::invalid(format!("{name} is {said}; expected {most} at most"))),
        _ => Ok(said as usize),
    }
}

/// The range from the start of the first second to the end of the last. 0: open on that side.
pub fn range_s(start_s: u32, end_s: u32) -> Result<Range, QueryError> {
    if end_s != 0 && end_s < start_s {
        return Err(backwards(start_s, end_s));
    }
    let ns = |seconds: i64| seconds * SECOND_NS as i64;
    Ok(Range {
        start: if start_s == 0 { Range::ALL.start } else { ns(start_s.into()) },
        end: if end_s == 0 { Range::ALL.end } else { ns(i64::from(end_s) + 1) },
    })
}

/// The range in nanoseconds; the end is excluded. 0: open on that side.
pub fn range_ns(start_ns: u64, end_ns: u64) -> Result<Range, QueryError> {
    if end_ns != 0 && end_ns < start_ns {
        return Err(backwards(start_ns, end_ns));
    }
    let ns = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    Ok(Range {
        start: if start_ns == 0 { Range::ALL.start } else { ns(start_ns) },
        end: if end_ns == 0 { Range::ALL.end } else { ns(end_ns) },
    })
}

/// The points of a range in nanoseconds, with this step or, when it is 0, one that fits.
pub fn steps(start_ns: u64, end_ns: u64, step_ns: u64) -> Result<Steps, QueryError> {
    let (start_ns, end_ns) = in_order(start_ns, end_ns)?;
    let span_ns = end_ns - start_ns;
    let step_ns = if step_ns == 0 { usual_step(span_ns) } else { step_ns };
    if span_ns / step_ns >= MAX_POINTS {
        return Err(QueryError::invalid(format!(
            "a step of {} s over {} s makes {} points; expected {MAX_POINTS} at most",
            step_ns as f64 / 1e9,
            span_ns as f64 / 1e9,
            span_ns / step_ns + 1,
        )));
    }
    Ok(Steps::aligned(start_ns, end_ns, step_ns))
}

/// One point for a whole range.
pub fn instant(start_ns: u64, end_ns: u64) -> Result<Steps, QueryError> {
    let (start_ns, end_ns) = in_order(start_ns, end_ns)?;
    Ok(Steps::instant(start_ns, end_ns))
}

fn in_order(start_ns: u64, end_ns: u64) -> Result<(u64, u64), QueryError> {
    // Past this, times have no place in 64 bits with a sign and a step beside them.
    let latest = i64::MAX as u64 / 2;
    if start_ns > end_ns { Err(backwards(start_ns, end_ns)) } else { Ok((start_ns.min(latest), end_ns.min(latest))) }
}

fn backwards(start: impl std::fmt::Display, end: impl std::fmt::Display) -> QueryError {
    QueryError::invalid(format!("start is {start} and end is {end}: the end is before the start"))
}

fn usual_step(span_ns: u64) -> u64 {
    let enough = |step_ns: &u64| span_ns / step_ns <= USUAL_POINTS;
    let usual = USUAL_STEPS_S.map(|seconds| seconds * SECOND_NS);
    usual.into_iter().find(enough).unwrap_or_else(|| (span_ns / USUAL_POINTS).div_ceil(DAY_NS) * DAY_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_not_said_makes_a_readable_number_of_points() {
        for (span_s, step_s) in [(0, 1), (240, 1), (300, 2), (3_600, 15), (86_400, 600), (30 * 86_400, 21_600)] {
            let steps = steps(0, span_s * SECOND_NS, 0).unwrap();
            assert_eq!(steps.step_ns(), step_s * SECOND_NS, "{span_s} s");
        }
        let all = steps(0, u64::MAX, 0).unwrap();
        assert!(all.count() as u64 <= USUAL_POINTS + 2, "{}", all.count());
        assert!(steps(0, 3_600 * SECOND_NS, SECOND_NS / 10).is_err());
        assert!(steps(2, 1, 1).is_err());
        assert!(instant(2, 1).is_err());
    }

    #[test]
    fn the_last_second_counts_whole() {
        let Range { start, end } = range_s(10, 10).unwrap();
        assert_eq!((start, end), (10_000_000_000, 11_000_000_000));
        assert_eq!(range_s(0, 0).unwrap(), Range::ALL);
        assert!(range_s(11, 10).is_err());
    }
}
