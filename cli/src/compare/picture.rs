//! Draws how two traces differ: the differences by what they are, then the tree with bars of both.

use std::{
    cmp::Reverse,
    io::{self, Write},
};

use clew_query::{
    analysis::{
        compare::{Compared, Side, ranked},
        summary::summary,
    },
    tree::Tree,
};

use super::attributes::{Change, changed};
use crate::{
    output::duration_ns,
    text::{padded, shown},
    trace::{
        findings::{named, operation},
        waterfall::{Paint, Style, bounded, branch, reasons},
    },
};

/// Narrowest picture: below that, lines are broken by the terminal.
const MIN_WIDTH: usize = 60;

/// Columns of what a line is about.
const LABEL: usize = 12;

/// Columns of a duration.
const DURATION: usize = 10;

/// Columns of the sign of a failure and of how many spans there are.
const COUNT: usize = 4;

/// Differences of each sort that are told.
const TOLD: usize = 5;

/// Attributes that are told of a span.
const ATTRIBUTES: usize = 4;

/// A difference in time below this share of the longer trace's duration is nothing to tell: one part in so many.
const WORTH_TELLING: u64 = 100;

/// Draws both.
pub(crate) fn draw(
    out: &mut impl Write,
    trees: &[Tree; 2],
    ids: &[String; 2],
    places: &[Compared],
    style: Style,
) -> io::Result<()> {
    let picture = Picture { trees, places, style: Style { width: style.width.max(MIN_WIDTH), ..style } };
    picture.header(out, ids)?;
    picture.failures(out)?;
    picture.only(out)?;
    picture.calls(out)?;
    picture.times(out)?;
    picture.attributes(out)?;
    writeln!(out)?;
    picture.tree(out)
}

struct Picture<'a> {
    trees: &'a [Tree; 2],
    places: &'a [Compared],
    style: Style,
}

impl Picture<'_> {
    fn line(&self, out: &mut impl Write, paint: Paint, label: &str, text: &str) -> io::Result<()> {
        self.style.paint(out, paint, &format!("{label:<LABEL$}"))?;
        writeln!(out, "{}", shown(text, self.style.width - LABEL).text)
    }

    /// Lines of one sort, the first with its label, so many as are told.
    fn sort(&self, out: &mut impl Write, paint: Paint, label: &str, lines: &[String]) -> io::Result<()> {
        for (at, line) in lines.iter().take(TOLD).enumerate() {
            self.line(out, paint, if at == 0 { label } else { "" }, line)?;
        }
        match lines.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => self.line(out, Paint::Dim, "", &format!("and {more} more")),
        }
    }

    fn header(&self, out: &mut impl Write, ids: &[String; 2]) -> io::Result<()> {
        let sums = [0, 1].map(|side| summary(&self.trees[side]));
        for (side, label) in ["A", "B"].into_iter().enumerate() {
            let (tree, sum) = (&self.trees[side], &sums[side]);
            if let Some(root) = tree.first_root() {
                let name = operation(tree.service(root).unwrap_or_default(), bounded(&root.span.name));
                self.style.paint(out, Paint::Bold, &format!("{label}  "))?;
                writeln!(out, "{}", shown(&name, self.style.width - 3).text)?;
            }
            let (spans, errors) = (plural(sum.spans, "span"), plural(sum.errors, "error"));
            let text = format!("   {}  {}  {spans}  {errors}", ids[side], duration_ns(sum.duration_ns));
            self.style.paint(out, Paint::Dim, &shown(&text, self.style.width).text)?;
            writeln!(out)?;
        }
        let [first, second] = sums.map(|sum| sum.duration_ns);
        let (how, by) = if first < second { ("longer", second - first) } else { ("shorter", first - second) };
        match by {
            0 => writeln!(out, "B took as long as A"),
            _ => writeln!(out, "B took {} {how} than A{}", duration_ns(by), percent(first, second)),
        }
    }

    fn name(&self, place: &Compared) -> String {
        let name = operation(&place.service, bounded(&place.name));
        shown(&name, self.style.width / 2).text
    }

    fn failures(&self, out: &mut impl Write) -> io::Result<()> {
        let [mut second_fails, mut first_fails] = [Vec::new(), Vec::new()];
        // The deepest first: what fails above it mostly fails because of it.
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_by_key(|place| Reverse(place.depth));
        for place in places {
            let [first, second] = place.sides;
            if (first.errors == 0) == (second.errors == 0) {
                continue;
            }
            let (side, lines) = if first.errors == 0 { (1, &mut second_fails) } else { (0, &mut first_fails) };
            let nodes = place.nodes[side].iter().map(|span| &self.trees[side].nodes[*span]);
            let why = nodes.filter(|node| node.is_error()).find_map(|node| reasons(node).into_iter().next());
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            lines.push(format!("{}{why}", self.name(place)));
        }
        self.sort(out, Paint::Error, "fails in B", &second_fails)?;
        self.sort(out, Paint::Error, "fails in A", &first_fails)
    }

    /// What one of them lacks, with all below it.
    fn only(&self, out: &mut impl Write) -> io::Result<()> {
        for (side, label) in ["only in A", "only in B"].into_iter().enumerate() {
            let mut found: Vec<(String, Side)> = Vec::new();
            let mut within: Option<usize> = None;
            for place in self.places {
                if within.is_some_and(|depth| place.depth > depth) {
                    if let Some((_, sum)) = found.last_mut() {
                        sum.spans += place.sides[side].spans;
                    }
                    continue;
                }
                within = (place.sides[1 - side].spans == 0).then_some(place.depth);
                if within.is_some() {
                    found.push((self.name(place), place.sides[side]));
                }
            }
            found.sort_by_key(|(_, side)| Reverse(side.duration_ns));
            let line = |(name, side): &(String, Side)| {
                format!("{:>10}  {name} ({})", duration_ns(side.duration_ns), plural(side.spans, "span"))
            };
            self.sort(out, Paint::Dim, label, &found.iter().map(line).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn shared(&self) -> impl Iterator<Item = &Compared> {
        let ranked = ranked(self.places).into_iter().map(|place| &self.places[place]);
        ranked.filter(|place| place.sides.iter().all(|side| side.spans > 0))
    }

    fn calls(&self, out: &mut impl Write) -> io::Result<()> {
        let mut places: Vec<_> = self.shared().filter(|place| place.sides[0].spans != place.sides[1].spans).collect();
        places.sort_by_key(|place| Reverse(place.sides[0].spans.abs_diff(place.sides[1].spans)));
        let line = |place: &&Compared| {
            format!("{} in A, {} in B  {}", place.sides[0].spans, place.sides[1].spans, self.name(place))
        };
        self.sort(out, Paint::Dim, "calls", &places.iter().map(line).collect::<Vec<_>>())
    }

    fn times(&self, out: &mut impl Write) -> io::Result<()> {
        let longest = self.trees.iter().map(|tree| summary(tree).duration_ns).max().unwrap_or(0);
        let [mut slower, mut faster] = [Vec::new(), Vec::new()];
        for place in self.shared() {
            let [first, second] = place.sides.map(|side| side.self_ns);
            let by = first.abs_diff(second);
            if by > longest / WORTH_TELLING {
                let (lines, sign) = if first < second { (&mut slower, '+') } else { (&mut faster, '-') };
                let time = format!("{sign}{}", duration_ns(by));
                lines.push(format!("{time:>10}  {} itself{}", self.name(place), percent(first, second)));
            }
        }
        self.sort(out, Paint::Dim, "slower", &slower)?;
        self.sort(out, Paint::Dim, "faster", &faster)
    }

    fn attributes(&self, out: &mut impl Write) -> io::Result<()> {
        let value = |value: &Option<String>| match value {
            Some(value) => shown(value, 30).text,
            None => "none".to_owned(),
        };
        let told = |change: &Change| {
            let [first, second] = &change.values;
            format!("{}: {} > {}", bounded(&change.key), value(first), value(second))
        };
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_by_key(|place| Reverse(place.self_difference_ns().unsigned_abs()));
        let differing = places.into_iter().map(|place| (place, changed(self.trees, place)));
        let lines = differing.filter(|(_, changes)| !changes.is_empty()).map(|(place, changes)| {
            let more = if changes.len() > ATTRIBUTES { ", …" } else { "" };
            let changes: Vec<String> = changes.iter().take(ATTRIBUTES).map(told).collect();
            format!("{}  {}{more}", self.name(place), changes.join(", "))
        });
        self.sort(out, Paint::Dim, "changed", &lines.collect::<Vec<_>>())
    }

    fn tree(&self, out: &mut impl Write) -> io::Result<()> {
        let left = self.style.width * 2 / 5;
        let column = (self.style.width - left) / 2;
        let bars = column - COUNT - DURATION - 2;
        let title = |label: &str| format!(" {label:<width$}", width = column - 1);
        self.style.paint(out, Paint::Dim, &format!("{:left$}{}{}", "", title("A"), title("B")))?;
        writeln!(out)?;
        let longest = self.places.iter().flat_map(|place| place.sides).map(|side| side.duration_ns).max().unwrap_or(0);
        let mut going_on: Vec<bool> = Vec::new();
        for place in self.places {
            going_on.truncate(place.depth);
            let lines = branch(place.depth, place.last, &going_on, left / 2);
            going_on.push(!place.last);
            let [first, second] = place.sides;
            let sign = match (first.spans, second.spans) {
                (_, 0) => "- ",
                (0, _) => "+ ",
                _ => "",
            };
            let service = shown(named(&place.service), left / 3).text;
            let name = format!("{sign}{service}  {}", bounded(&place.name));
            self.style.paint(out, Paint::Dim, &lines)?;
            write!(out, "{}", padded(&name, left - lines.chars().count()))?;
            for side in place.sides {
                self.side(out, side, longest, bars)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn side(&self, out: &mut impl Write, side: Side, longest: u64, columns: usize) -> io::Result<()> {
        if side.spans == 0 {
            return write!(out, "{:width$}", "", width = columns + COUNT + DURATION + 2);
        }
        let share = side.duration_ns as f64 / longest.max(1) as f64;
        let full = ((share * columns as f64).round() as usize).min(columns);
        let bar = if full == 0 { "▏".to_owned() } else { "█".repeat(full) };
        let count = if side.spans == 1 { String::new() } else { format!("×{}", side.spans) };
        let failed = if side.errors > 0 { "✗" } else { "" };
        let paint = if side.errors > 0 { Paint::Error } else { Paint::Bar };
        write!(out, " ")?;
        self.style.paint(out, paint, &padded(&format!("{failed}{count}"), COUNT))?;
        self.style.paint(out, paint, &padded(&bar, columns))?;
        write!(out, " {:>DURATION$}", duration_ns(side.duration_ns))
    }
}

fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// How much more or less the second one is.
fn percent(first: u64, second: u64) -> String {
    match first {
        0 => String::new(),
        _ => format!(" ({:+.0} %)", (second as f64 - first as f64) / first as f64 * 100.0),
    }
}
