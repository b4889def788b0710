//! Draws a trace: a line for each span, with a bar where it lies in the trace's time. The bar is solid where the span is on
//! the critical path.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use clew_query::{
    analysis::critical_path::Segment,
    tree::{Node, Place, Row, Tree},
};

use super::{
    facts::Facts,
    findings,
    folded::{Folded, fold},
};
use crate::{
    clock,
    output::duration_ns,
    text::{padded, shown},
};

/// Narrowest picture: below that, lines are broken by the terminal.
const MIN_WIDTH: usize = 60;

/// Columns of the duration; the longest that there is takes ten.
const DURATION: usize = 10;

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Columns of the whole picture.
    pub(crate) width: usize,
    pub(crate) colour: bool,
}

/// What to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) facts: &'a Facts,
    /// The trace's id, in hexadecimal.
    pub(crate) trace_id: &'a str,
    /// Why spans may be missing, if they may.
    pub(crate) reasons: Option<&'a [String]>,
    pub(crate) times: Times,
    /// Repeated siblings are drawn too.
    pub(crate) all: bool,
}

/// Which times a picture shows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Times {
    AsSent,
    /// By the clock of the root.
    Corrected,
    /// A correction was asked for, and no span moved.
    NothingToCorrect,
}

impl Times {
    /// Those of a tree after it was corrected.
    pub(crate) fn of(sent: &Tree, corrected: &Tree) -> Self {
        let moved = sent.nodes.iter().zip(&corrected.nodes).any(|(sent, node)| sent.interval() != node.interval());
        if moved { Self::Corrected } else { Self::NothingToCorrect }
    }
}

/// What has a colour.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    Plain,
    Bold,
    Dim,
    Error,
    Bar,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Error => "\x1b[31m",
            Self::Bar => "\x1b[36m",
        }
    }
}

impl Style {
    /// Writes text in a colour; the text must be harmless.
    pub(crate) fn paint(self, out: &mut impl Write, paint: Paint, text: &str) -> io::Result<()> {
        match paint.code() {
            code if self.colour && !code.is_empty() => write!(out, "{code}{text}\x1b[0m"),
            _ => write!(out, "{text}"),
        }
    }
}

/// Draws a trace: a header, what was found, then the spans from top to bottom.
pub(crate) fn draw(out: &mut impl Write, subject: Subject<'_>, style: Style) -> io::Result<()> {
    let style = Style { width: style.width.max(MIN_WIDTH), ..style };
    let Subject { tree, facts, .. } = subject;
    let mut solid: HashMap<usize, Vec<Segment>> = HashMap::new();
    for segment in &facts.path {
        solid.entry(segment.span).or_default().push(*segment);
    }
    let folded = if subject.all { Folded::default() } else { fold(tree) };
    let picture = Picture { tree, facts, style, bounds: tree.bounds(), solid, folded };
    picture.header(out, subject.trace_id, subject.reasons)?;
    findings::write(out, tree, facts, subject.times, style)?;
    writeln!(out)?;
    picture.titles(out)?;
    // For each level above a row: whether the line of its siblings goes on.
    let mut going_on: Vec<bool> = Vec::new();
    for row in tree.rows().filter(|row| !picture.folded.hides(row.node)) {
        let row = Row { last: row.last || picture.folded.ends(row.node), ..row };
        going_on.truncate(row.depth);
        picture.row(out, row, &going_on)?;
        going_on.push(!row.last);
    }
    Ok(())
}

struct Picture<'a> {
    tree: &'a Tree,
    facts: &'a Facts,
    style: Style,
    bounds: (u64, u64),
    /// What of the critical path each span has.
    solid: HashMap<usize, Vec<Segment>>,
    folded: Folded,
}

impl Picture<'_> {
    /// Columns for the tree and the names.
    fn left(&self) -> usize {
        (self.style.width - 2 * DURATION - 3) * 3 / 5
    }

    /// Columns for the bars.
    fn bars(&self) -> usize {
        self.style.width - 2 * DURATION - 3 - self.left()
    }

    fn titles(&self, out: &mut impl Write) -> io::Result<()> {
        if self.tree.nodes.is_empty() {
            return Ok(());
        }
        let key = if self.facts.path.is_empty() { "" } else { "█ critical path" };
        let (left, bars) = (self.left() + 1, self.bars());
        let titles =
            format!("{:left$}{:<bars$}{:>DURATION$} {:>DURATION$}", "", shown(key, bars).text, "took", "itself");
        self.style.paint(out, Paint::Dim, &titles)?;
        writeln!(out)
    }

    fn header(&self, out: &mut impl Write, trace_id: &str, reasons: Option<&[String]>) -> io::Result<()> {
        let (tree, style) = (self.tree, self.style);
        if let Some(root) = tree.first_root() {
            let service = shown(self.service(root), style.width / 3).text;
            let name = shown(&root.span.name, style.width.saturating_sub(service.chars().count() + 2)).text;
            style.paint(out, Paint::Bold, &service)?;
            writeln!(out, "  {name}")?;
        }
        let (start, end) = self.bounds;
        let (services, errors) = (self.facts.summary.services.len(), self.facts.summary.errors);
        let begun = if start == 0 { "at an unknown time".to_owned() } else { clock::rfc3339(start) };
        let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
        let when = format!("{begun}  {}", duration_ns(end - start));
        let what = format!("{}  {}  ", count(tree.nodes.len(), "span"), count(services, "service"));
        let errors_told = count(errors, "error");
        let one_line = when.len() + 2 + what.len() + errors_told.len() <= style.width;
        write!(out, "{when}{}{what}", if one_line { "  " } else { "\n" })?;
        style.paint(out, if errors == 0 { Paint::Plain } else { Paint::Error }, &errors_told)?;
        writeln!(out)?;
        style.paint(out, Paint::Dim, &format!("trace {trace_id}"))?;
        writeln!(out)?;
        if tree.left_out > 0 {
            let text = format!("{} nested too deeply to be read here", count(tree.left_out, "value"));
            style.paint(out, Paint::Error, &text)?;
            writeln!(out)?;
        }
        if let Some(reasons) = reasons {
            style.paint(out, Paint::Error, "incomplete: spans may be missing")?;
            writeln!(out)?;
            for reason in reasons {
                writeln!(out, "  {}", shown(reason, style.width - 2).text)?;
            }
        }
        Ok(())
    }

    fn service<'a>(&'a self, node: &'a Node) -> &'a str {
        self.tree.service(node).filter(|service| !service.is_empty()).unwrap_or("(no service)")
    }

    fn row(&self, out: &mut impl Write, row: Row, going_on: &[bool]) -> io::Result<()> {
        let (node, style) = (&self.tree.nodes[row.node], self.style);
        let lines = self.lines(row, going_on);
        let room = self.left() - lines.chars().count();
        let sign = if node.is_error() { "✗ " } else { "" };
        let service = shown(self.service(node), room * 2 / 5);
        let name = padded(&format!("{sign}{}", bounded(&node.span.name)), room.saturating_sub(service.width + 2));
        let error = if node.is_error() { Paint::Error } else { Paint::Plain };
        style.paint(out, Paint::Dim, &lines)?;
        style.paint(out, Paint::Bold, &service.text)?;
        write!(out, "  ")?;
        style.paint(out, error, &name)?;
        write!(out, " ")?;
        style.paint(out, if node.is_error() { Paint::Error } else { Paint::Bar }, &self.bar(row.node))?;
        let known = node.span.start_time_unix_nano != 0 && !ends_before_it_starts(node);
        let [duration, own] = [node.duration_ns(), self.facts.self_ns[row.node]]
            .map(|time| if known { duration_ns(time) } else { "?".to_owned() });
        writeln!(out, " {duration:>DURATION$} {own:>DURATION$}")?;
        self.notes(out, row, going_on)
    }

    fn lines(&self, row: Row, going_on: &[bool]) -> String {
        branch(row.depth, row.last, going_on, self.left() / 2)
    }

    /// The lines of the tree beside what stands below a row.
    fn lines_below(&self, row: Row, going_on: &[bool]) -> String {
        if row.depth * 2 > self.left() / 2 {
            return " ".repeat(self.lines(row, going_on).chars().count() + 2);
        }
        let mut lines: String = going_on.iter().skip(1).map(|goes_on| if *goes_on { "│ " } else { "  " }).collect();
        if row.depth > 0 {
            lines.push_str(if row.last { "  " } else { "│ " });
        }
        lines.push_str(if self.tree.nodes[row.node].children.is_empty() { "  " } else { "│ " });
        lines
    }

    /// The bar of a span, in as many columns as its share of the trace's time. What is shorter than one is a thin line, or half
    /// a column when it is on the critical path.
    fn bar(&self, span: usize) -> String {
        let node = &self.tree.nodes[span];
        let columns = self.bars() - 1;
        let (start, end) = self.bounds;
        let whole = (end - start).max(1) as f64;
        let place = |time: u64| (time.clamp(start, end) - start) as f64 / whole * columns as f64;
        let from = place(node.span.start_time_unix_nano);
        let to = place(node.span.end_time_unix_nano.max(node.span.start_time_unix_nano));
        let first = (from as usize).min(columns - 1);
        let full = ((to - from).round() as usize).min(columns - first);
        if full == 0 {
            let thin = if self.solid.contains_key(&span) { '▌' } else { '▏' };
            return format!("{}{thin}{}", " ".repeat(first), " ".repeat(columns - first - 1));
        }
        let mut bar = vec!['░'; full];
        for segment in self.solid.get(&span).into_iter().flatten() {
            let column = |time: u64| ((place(time) - from).round().max(0.0) as usize).min(full);
            bar[column(segment.start)..column(segment.end)].fill('█');
        }
        format!("{}{}{}", " ".repeat(first), bar.iter().collect::<String>(), " ".repeat(columns - first - full))
    }

    /// What is odd about a span, and what went wrong in it, on lines of their own.
    fn notes(&self, out: &mut impl Write, row: Row, going_on: &[bool]) -> io::Result<()> {
        let node = &self.tree.nodes[row.node];
        let mut notes = Vec::new();
        match node.place {
            Place::Root | Place::Child(_) => {}
            Place::Orphan => {
                let parent = hex::encode(&node.span.parent_span_id[..node.span.parent_span_id.len().min(16)]);
                notes.push((Paint::Dim, format!("its parent {parent} is missing")));
            }
            Place::Circle => notes.push((Paint::Dim, "it is its own ancestor".to_owned())),
        }
        if node.same_id {
            let id = hex::encode(&node.span.span_id[..node.span.span_id.len().min(16)]);
            notes.push((Paint::Dim, format!("another span has the same id {id}")));
        }
        if node.span.start_time_unix_nano == 0 {
            notes.push((Paint::Dim, "it has no start time".to_owned()));
        }
        if ends_before_it_starts(node) {
            notes.push((Paint::Dim, "it ends before it starts".to_owned()));
        }
        if let Some((count, time)) = self.folded.after(row.node) {
            let together = duration_ns(time);
            notes.push((Paint::Dim, format!("{count} more like it, {together} together (--all shows them)")));
        }
        let origin = self.facts.origin.last() == Some(&row.node);
        let mut why = reasons(node);
        if origin {
            match why.first_mut() {
                Some(first) => *first = format!("failed here: {first}"),
                None => why.push("failed here".to_owned()),
            }
        }
        if origin || node.is_error() {
            notes.extend(why.into_iter().map(|why| (Paint::Error, why)));
        }
        for (paint, note) in notes {
            let lines = self.lines_below(row, going_on);
            let width = self.style.width.saturating_sub(lines.chars().count());
            self.style.paint(out, Paint::Dim, &lines)?;
            self.style.paint(out, paint, &shown(&note, width).text)?;
            writeln!(out)?;
        }
        Ok(())
    }
}

/// The lines of the tree before a name, in at most `room` columns: what is deeper is told by a number. `going_on` says of each
/// level above whether the line of its siblings goes on.
pub(crate) fn branch(depth: usize, last: bool, going_on: &[bool], room: usize) -> String {
    let Some((_, above)) = going_on.split_first().filter(|_| depth > 0) else { return String::new() };
    if depth * 2 > room {
        return format!("⋯{depth} ");
    }
    let mut lines: String = above.iter().map(|goes_on| if *goes_on { "│ " } else { "  " }).collect();
    lines.push_str(if last { "└ " } else { "├ " });
    lines
}

/// What a span says about why it failed: the status, and the exception if that says more.
pub(crate) fn reasons(node: &Node) -> Vec<String> {
    let status = node.span.status.as_ref().map_or("", |status| bounded(&status.message));
    let exception = node.exception().map(|exception| match (exception.kind, exception.message) {
        (Some(kind), Some(message)) => format!("{}: {}", bounded(kind), bounded(message)),
        (Some(text), None) | (None, Some(text)) => bounded(text).to_owned(),
        (None, None) => "exception".to_owned(),
    });
    let told = exception.as_ref().is_some_and(|exception| exception.contains(status));
    let status = (!status.is_empty() && !told).then(|| status.to_owned());
    status.into_iter().chain(exception).collect()
}

fn ends_before_it_starts(node: &Node) -> bool {
    node.span.end_time_unix_nano < node.span.start_time_unix_nano
}

/// The start of a text, at most as much as could ever be shown.
pub(crate) fn bounded(text: &str) -> &str {
    match text.char_indices().nth(2_000) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
pub(crate) mod tests;
