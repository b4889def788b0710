//! What a trace says in a few lines: where it failed, where its time went, what is odd about it.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use clew_query::{
    analysis::{
        critical_path::parts,
        pairing::PairKind,
        skew::{Clock, Skew},
    },
    tree::Tree,
};

use super::{
    facts::{Facts, oddities},
    waterfall::{Paint, Style, Times, bounded, reasons},
};
use crate::{output::duration_ns, text::shown};

/// Parts of the critical path that are told.
const PARTS: usize = 5;

/// Ways between services that are told.
const WAYS: usize = 3;

/// Network time below this share of the trace's is nothing to tell: one part in so many.
const WORTH_TELLING: u64 = 20;

/// Columns of what a line is about.
const LABEL: usize = 10;

/// Writes the lines.
pub(crate) fn write(out: &mut impl Write, tree: &Tree, facts: &Facts, times: Times, style: Style) -> io::Result<()> {
    let told = Findings { tree, facts, style };
    told.origin(out)?;
    told.path(out)?;
    told.ways(out)?;
    told.clocks(out, times)?;
    told.odd(out)
}

struct Findings<'a> {
    tree: &'a Tree,
    facts: &'a Facts,
    style: Style,
}

impl Findings<'_> {
    fn line(&self, out: &mut impl Write, paint: Paint, label: &str, text: &str) -> io::Result<()> {
        self.style.paint(out, paint, &format!("{label:<LABEL$}"))?;
        writeln!(out, "{}", shown(text, self.style.width - LABEL).text)
    }

    fn name(&self, span: usize) -> String {
        let node = &self.tree.nodes[span];
        let name = operation(self.tree.service(node).unwrap_or_default(), bounded(&node.span.name));
        shown(&name, self.style.width / 2).text
    }

    fn origin(&self, out: &mut impl Write) -> io::Result<()> {
        let Some((last, above)) = self.facts.origin.split_last() else { return Ok(()) };
        let why = reasons(&self.tree.nodes[*last]).into_iter().next();
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        self.line(out, Paint::Error, "failed at", &format!("{}{why}", self.name(*last)))?;
        if above.is_empty() {
            return Ok(());
        }
        // Of a long way its ends say most.
        let names: Vec<String> = match above {
            [first, .., before, last] if above.len() > 4 => {
                let between = format!("{} more", above.len() - 3);
                vec![self.name(*first), between, self.name(*before), self.name(*last)]
            }
            all => all.iter().map(|span| self.name(*span)).collect(),
        };
        self.line(out, Paint::Dim, "through", &names.join(" > "))
    }

    fn path(&self, out: &mut impl Write) -> io::Result<()> {
        let parts = parts(self.tree, &self.facts.path);
        let whole: u64 = parts.iter().map(|part| part.duration_ns).sum();
        if parts.len() < 2 {
            return Ok(());
        }
        for (at, part) in parts.iter().take(PARTS).enumerate() {
            let share = part.duration_ns as f64 / whole as f64 * 100.0;
            let time = duration_ns(part.duration_ns);
            let text = format!("{time:>10} {share:>5.1} %  {}", operation(part.service, bounded(part.name)));
            self.line(out, Paint::Dim, if at == 0 { "time in" } else { "" }, &text)?;
        }
        match parts.len().saturating_sub(PARTS) {
            0 => Ok(()),
            more => self.line(out, Paint::Dim, "", &format!("{:>10} and {more} more on the critical path", "")),
        }
    }

    /// What networks and queues took between services, where it is much.
    fn ways(&self, out: &mut impl Write) -> io::Result<()> {
        let mut ways: BTreeMap<(bool, &str, &str), (usize, u64)> = BTreeMap::new();
        for pair in &self.facts.pairs {
            let is_call = pair.kind == PairKind::Call;
            let Some(time) = (if is_call { pair.network_ns } else { pair.out_ns }) else { continue };
            let service = |span: usize| self.tree.service(&self.tree.nodes[span]).unwrap_or_default();
            let (count, sum) = ways.entry((!is_call, service(pair.caller), service(pair.callee))).or_default();
            *count += 1;
            *sum = sum.saturating_add(time);
        }
        let mut ways: Vec<_> =
            ways.into_iter().filter(|(_, (_, sum))| *sum > self.facts.summary.duration_ns / WORTH_TELLING).collect();
        ways.sort_by_key(|(_, (_, sum))| std::cmp::Reverse(*sum));
        for ((is_message, from, to), (count, sum)) in ways.into_iter().take(WAYS) {
            let (label, noun) = if is_message { ("queue", "message") } else { ("network", "call") };
            let plural = if count == 1 { "" } else { "s" };
            let ends = format!("{} > {}", named(from), named(to));
            let text = format!("{:>10}          {ends} ({count} {noun}{plural})", duration_ns(sum));
            self.line(out, Paint::Dim, label, &text)?;
        }
        Ok(())
    }

    fn clocks(&self, out: &mut impl Write, times: Times) -> io::Result<()> {
        let mut wrong = self.facts.skews.iter().filter(|skew| skew.estimate_ns != 0).peekable();
        if wrong.peek().is_none() {
            return Ok(());
        }
        for skew in wrong {
            self.line(out, Paint::Dim, "clocks", &apart(skew))?;
        }
        let applied = match times {
            Times::AsSent => "the picture shows times as they were sent; --fix-clocks corrects it",
            Times::Corrected => "the picture is corrected by these estimates; the spans are not",
            Times::NothingToCorrect => "no span was moved: other estimates contradict these",
        };
        self.line(out, Paint::Dim, "", applied)
    }

    fn odd(&self, out: &mut impl Write) -> io::Result<()> {
        let odd = oddities(self.tree);
        let count = |number: usize, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{number} {many}")),
        };
        let told = [
            (odd.roots > 1).then(|| format!("{} roots", odd.roots)),
            (odd.roots == 0 && !self.tree.nodes.is_empty()).then(|| "no root".to_owned()),
            count(odd.missing_parents, "span without its parent", "spans without their parents"),
            count(odd.circles, "circle of parents", "circles of parents"),
            count(odd.same_ids, "id that was used before", "ids that were used before"),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        if told.is_empty() { Ok(()) } else { self.line(out, Paint::Dim, "odd", &told.join(", ")) }
    }
}

pub(crate) fn named(service: &str) -> &str {
    if service.is_empty() { "(no service)" } else { bounded(service) }
}

pub(crate) fn operation(service: &str, name: &str) -> String {
    format!("{} {name}", named(service)).trim_end().to_owned()
}

/// How far two clocks are apart, in words.
fn apart(skew: &Skew) -> String {
    let name = |clock: &Clock| match clock.host.as_str() {
        "" => named(&clock.service).to_owned(),
        host => format!("{} on {}", named(&clock.service), bounded(host)),
    };
    let size = duration_ns(skew.estimate_ns.unsigned_abs());
    let room = duration_ns(skew.high_ns.abs_diff(skew.low_ns).div_ceil(2));
    let how = if skew.estimate_ns < 0 { "behind" } else { "ahead of" };
    let calls = if skew.calls == 1 { "1 call".to_owned() } else { format!("{} calls", skew.calls) };
    let disagree = if skew.disagree { " that disagree" } else { "" };
    format!("{} is {size} ± {room} {how} {}, by {calls}{disagree}", name(&skew.callee), name(&skew.caller))
}
