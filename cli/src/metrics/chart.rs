//! Lines over time, drawn with the dots of braille: each character has two by four of them.

use std::io::{self, Write};

use crate::{clock, output::number};

/// Columns left of the chart.
const AXIS: usize = 10;
/// The dots of a character, by column and row from the top.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
/// One a line.
const COLOURS: [&str; 6] = ["\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[31m"];
const PLAIN: &str = "\x1b[0m";

/// A line.
pub(super) struct Line {
    /// When, in nanoseconds since 1970, and how much; by time, not empty.
    pub(super) points: Vec<(u64, f64)>,
}

/// Lines on common axes.
pub(super) struct Chart {
    pub(super) lines: Vec<Line>,
    /// Columns, with the axis.
    pub(super) width: usize,
    /// Rows, without the axis.
    pub(super) height: usize,
    pub(super) colour: bool,
}

/// Characters of dots, with the line that drew last there.
struct Canvas {
    columns: usize,
    cells: Vec<(u8, usize)>,
}

impl Canvas {
    fn dot(&mut self, x: usize, y: usize, line: usize) {
        if let Some(cell) = self.cells.get_mut(y / 4 * self.columns + x / 2) {
            *cell = (cell.0 | DOTS[x % 2][y % 4], line);
        }
    }
}

impl Chart {
    /// What stands for a line where it is explained.
    pub(super) fn mark(&self, line: usize) -> String {
        if self.colour { format!("{}━━{PLAIN}", COLOURS[line % COLOURS.len()]) } else { "━━".to_owned() }
    }

    /// Draws it, with its axes.
    pub(super) fn draw(&self, out: &mut impl Write) -> io::Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, value)| value.is_finite());
        let (first, last) =
            points().fold((u64::MAX, 0), |(first, last), (time, _)| (first.min(*time), last.max(*time)));
        // From 0 on, unless something is below it.
        let (low, high) = points().fold((0_f64, 0_f64), |(low, high), (_, value)| (low.min(*value), high.max(*value)));
        let high = if high > low { high } else { low + 1.0 };
        let columns = self.width.saturating_sub(AXIS + 1).max(1);
        let mut canvas = Canvas { columns, cells: vec![(0, 0); columns * self.height] };
        let (wide, tall) = (2 * columns - 1, 4 * self.height - 1);
        let x = |time: u64| (time - first) as f64 / (last - first).max(1) as f64 * wide as f64;
        let y = |value: f64| (1.0 - (value - low) / (high - low)) * tall as f64;
        for (number, line) in self.lines.iter().enumerate().rev() {
            let mut before: Option<(f64, f64)> = None;
            for (time, value) in line.points.iter().filter(|(_, value)| value.is_finite()) {
                let here = (x(*time), y(*value));
                let from = before.unwrap_or(here);
                let steps = (here.0 - from.0).abs().max((here.1 - from.1).abs()).ceil().max(1.0);
                for step in 0..=steps as usize {
                    let part = step as f64 / steps;
                    let at = (from.0 + (here.0 - from.0) * part, from.1 + (here.1 - from.1) * part);
                    canvas.dot(at.0.round() as usize, at.1.round() as usize, number);
                }
                before = Some(here);
            }
        }
        for (row, cells) in canvas.cells.chunks(columns).enumerate() {
            let value = match row {
                0 => number(high),
                row if row + 1 == self.height => number(low),
                row if row == self.height / 2 => number(high - (high - low) * (row * 4) as f64 / tall as f64),
                _ => String::new(),
            };
            write!(out, "{value:>AXIS$}│")?;
            self.row(out, cells)?;
        }
        self.times(out, first, last, columns)
    }

    fn row(&self, out: &mut impl Write, cells: &[(u8, usize)]) -> io::Result<()> {
        let end = cells.iter().rposition(|(dots, _)| *dots > 0).map_or(0, |last| last + 1);
        for (dots, line) in &cells[..end] {
            let text = if *dots == 0 { ' ' } else { char::from_u32(0x2800 + u32::from(*dots)).unwrap_or(' ') };
            if self.colour && *dots > 0 {
                write!(out, "{}{text}{PLAIN}", COLOURS[line % COLOURS.len()])?;
            } else {
                write!(out, "{text}")?;
            }
        }
        writeln!(out)
    }

    fn times(&self, out: &mut impl Write, first: u64, last: u64, columns: usize) -> io::Result<()> {
        writeln!(out, "{:>AXIS$}└{}", "", "─".repeat(columns))?;
        let (from, to) = (clock::rfc3339(first), clock::rfc3339(last));
        let gap = columns.saturating_sub(from.len() + to.len()).max(1);
        writeln!(out, "{:>AXIS$} {from}{}{to}", "", " ".repeat(gap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(lines: &[&[(u64, f64)]]) -> String {
        let lines = lines.iter().map(|points| Line { points: points.to_vec() }).collect();
        let mut out = Vec::new();
        Chart { lines, width: 53, height: 3, colour: false }.draw(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let text = drawn(&[&[(0, 0.0), (60_000_000_000, 12.0)]]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 5, "{text}");
        assert!(rows[0].starts_with("        12│") && rows[0].ends_with('⠉'), "{text}");
        assert!(rows[2].starts_with("         0│⣀"), "{text}");
        assert!(rows[4].contains("1970-01-01T00:00:00Z  1970-01-01T00:01:00Z"), "{text}");
    }

    #[test]
    fn no_points_make_it_fall_over() {
        for points in [
            &[(5, 0.0)][..],
            &[(5, f64::NAN)],
            &[(0, f64::INFINITY), (u64::MAX, f64::MAX), (u64::MAX, f64::MIN)],
            &[(1, -1.0), (2, -2.0)],
        ] {
            assert_eq!(drawn(&[points, points]).lines().count(), 5);
        }
    }
}
