//! Where the commands write: standard output through one locked and buffered handle, colour only where a person looks.

use std::{
    env,
    io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock},
};

use rustix::termios::tcgetwinsize;

/// Standard output, locked. Dropping it flushes; call `flush` to learn whether that worked.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Whether to write colours to this stream: it is a terminal, and NO_COLOR (no-color.org) is not set.
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the reader of our output has gone, as `| head` does. That is no failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io_error = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(io_error))
}

/// Width where there is no terminal to ask.
const DEFAULT_WIDTH: u16 = 120;

/// How many columns to use: so many as were said, or as the terminal has.
pub(crate) fn width(said: Option<u16>) -> usize {
    let stdout = io::stdout();
    let terminal = || if stdout.is_terminal() { tcgetwinsize(&stdout).ok() } else { None };
    let width = said.or_else(|| terminal().map(|size| size.ws_col).filter(|columns| *columns > 0));
    width.unwrap_or(DEFAULT_WIDTH).into()
}

/// A measured number in few characters: 0, 1.25, 12, 3.4k, 1.2M, 2.5e-7.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let short = |value: f64, unit: &str| {
        let digits = if value.abs() >= 100.0 { 0 } else { 2 };
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{text}{unit}")
    };
    match size {
        _ if value == 0.0 || !value.is_finite() => format!("{}", value.abs()),
        1e15.. | ..1e-3 => format!("{value:.1e}"),
        1e12.. => short(value / 1e12, "T"),
        1e9.. => short(value / 1e9, "G"),
        1e6.. => short(value / 1e6, "M"),
        1e4.. => short(value / 1e3, "k"),
        ..0.1 => format!("{value:.4}"),
        _ => short(value, ""),
    }
}

/// A number with its thousands apart: 1 234 567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{scaled:.1} {}", UNITS[unit]) }
}

/// A length of time for people: three digits and the unit that fits.
pub(crate) fn duration_ns(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    if ns >= 60_000_000_000 {
        let seconds = ns / 1_000_000_000;
        return match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
            (hours, minutes, _) if hours < 48 => format!("{hours}h{minutes:02}m"),
            (hours, _, _) => format!("{}d{:02}h", hours / 24, hours % 24),
        };
    }
    let Some((size, unit)) = UNITS.iter().find(|(size, _)| ns >= *size) else { return format!("{ns}ns") };
    let scaled = ns as f64 / *size as f64;
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_fitting_unit() {
        let shown = [0, 999, 1_500, 123_456, 9_999_999, 12_345_678, 999_400_000, 59_990_000_000].map(duration_ns);
        assert_eq!(shown, ["0ns", "999ns", "1.50µs", "123µs", "10.0ms", "12.3ms", "999ms", "60.0s"]);
        let long = [60_000_000_000, 3_661_000_000_000, u64::MAX].map(duration_ns);
        assert_eq!(long, ["1m00s", "1h01m", "213503d23h"]);
    }

    #[test]
    fn measured_numbers_are_short() {
        let numbers = [0.0, -0.0, 1.25, 12.0, 3_400.0, 34_000.0, 1.2e6, 5e15, 2.5e-7, -0.05, f64::NAN];
        let texts = ["0", "0", "1.25", "12", "3400", "34k", "1.2M", "5.0e15", "2.5e-7", "-0.0500", "NaN"];
        assert_eq!(numbers.map(number), texts);
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1 000", "1 234 567"]);
    }
}
