//! `clew compare`: two traces side by side.

mod attributes;
mod picture;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clew_query::{
    analysis::{
        compare::{Compared, Side, compare, ranked},
        summary::summary,
    },
    tree::Tree,
};
use serde_json::{Value, json};

use crate::{
    args,
    collector::{Collector, Where},
    output,
    text::harmless,
    trace::{TraceId, waterfall::Style},
};

/// Which traces, and how to show them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew compare 4bf92f3577b34da6a3ce929d0e0e4736 a3ce929d0e0e47364bf92f3577b34da6    a good one, and a slow or failed one
  clew compare 4bf92f3577b34da6a3ce929d0e0e4736 a3ce929d0e0e47364bf92f3577b34da6 --json | jq '.places[.ranked[0]]'

Spans belong together when their service, name and kind are the same, and those of all their parents. What differs
most comes first, then the tree of both. Exit code 1 tells that a trace is not known, or that the collector could not
be asked.")]
pub(crate) struct Args {
    /// Id of the first trace: up to 32 hexadecimal digits
    #[arg(value_name = "A")]
    first: TraceId,
    /// Id of the second trace
    #[arg(value_name = "B")]
    second: TraceId,
    #[command(flatten)]
    place: Where,
    /// Print the places of both as JSON
    #[arg(long)]
    json: bool,
    /// Columns to use [default: as wide as the terminal]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    width: Option<u16>,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = args::duration)]
    timeout: Duration,
}

impl Args {
    /// Fetches both and shows how they differ.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let trees = runtime.block_on(self.fetch())?;
        let mut out = output::stdout();
        let style = Style { width: output::width(self.width), colour: output::colour(&io::stdout()) };
        self.show(&mut out, &trees, style)?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    async fn fetch(&self) -> anyhow::Result<[Tree; 2]> {
        let collector = self.place.within(self.timeout);
        Ok([one(&collector, "A", self.first).await?, one(&collector, "B", self.second).await?])
    }

    fn show(&self, out: &mut impl Write, trees: &[Tree; 2], style: Style) -> anyhow::Result<()> {
        let ids = [self.first, self.second].map(|id| hex::encode(id.0));
        let places = compare(&trees[0], &trees[1]);
        if self.json {
            return Ok(writeln!(out, "{}", as_json(trees, &ids, &places))?);
        }
        Ok(picture::draw(out, trees, &ids, &places, style)?)
    }
}

async fn one(collector: &Collector, which: &str, id: TraceId) -> anyhow::Result<Tree> {
    let what = || format!("cannot compare trace {which}, {}", hex::encode(id.0));
    let found = collector.trace(id.0).await.with_context(what)?;
    for why in &found.reasons {
        eprintln!("clew: spans of trace {which} may be missing: {}", harmless(why));
    }
    let tree = Tree::decode(&found.resource_spans)
        .context("the collector's answer cannot be read as spans")
        .with_context(what)?;
    if tree.nodes.is_empty() {
        bail!("{}: no span of it was found", what());
    }
    Ok(tree.with_calls_joined())
}

/// As `docs/analysis.md` has it.
fn as_json(trees: &[Tree; 2], ids: &[String; 2], places: &[Compared]) -> Value {
    let side = |Side { spans, errors, duration_ns, self_ns }: Side| json!({ "spans": spans, "errors": errors, "durationNs": duration_ns, "selfNs": self_ns });
    let place = |place: &Compared| {
        let changed = attributes::changed(trees, place);
        let changed = changed.into_iter().map(|change| {
            let [first, second] = change.values;
            json!({ "key": change.key, "a": first, "b": second })
        });
        json!({
            "service": place.service,
            "name": place.name,
            "kind": place.kind,
            "depth": place.depth,
            "a": side(place.sides[0]),
            "b": side(place.sides[1]),
            "attributes": changed.collect::<Vec<_>>(),
        })
    };
    let whole = |at: usize| {
        let sum = summary(&trees[at]);
        json!({ "traceId": ids[at], "spans": sum.spans, "errors": sum.errors, "durationNs": sum.duration_ns })
    };
    json!({
        "a": whole(0),
        "b": whole(1),
        "places": places.iter().map(place).collect::<Vec<_>>(),
        "ranked": ranked(places),
    })
}

#[cfg(test)]
mod tests;
