//! `clew trace`: shows one trace in the terminal.

mod facts;
pub(crate) mod findings;
mod folded;
mod id;
pub(crate) mod waterfall;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clew_common::otlp::json::{self, Ids};
use clew_query::{analysis::skew::corrected, tree::Tree};
use http::Uri;
use tonic::metadata::{Ascii, MetadataValue};

pub(crate) use self::id::TraceId;
use self::{
    facts::Facts,
    waterfall::{Style, Subject, Times, draw},
};
use crate::{
    args,
    collector::{Collector, Found, LookupError},
    output,
};

/// Which trace, and how to show it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew trace 4bf92f3577b34da6a3ce929d0e0e4736           from the collector at 127.0.0.1:4327
  clew trace a3ce929d0e0e4736 --collector tracing:4327  a 64-bit id, from another one
  clew trace 4bf92f3577b34da6a3ce929d0e0e4736 --json | jq '.resourceSpans[].scopeSpans[].spans'
  clew trace 4bf92f3577b34da6a3ce929d0e0e4736 --json | jq .analysis.criticalPathParts

Above the waterfall: where the trace failed, and what took its time. Bars are solid on the critical path: the
stretches that would have to be shorter for the whole to be. `itself` is the time in which no child ran.

A trace can be found within moments of its spans being sent, even while they still wait at an
agent. Exit code 1 tells that the collector knows no such trace, or could not be asked.")]
pub(crate) struct Args {
    /// Id of the trace: up to 32 hexadecimal digits
    #[arg(value_name = "ID")]
    id: TraceId,
    /// Where to ask
    #[arg(
        long,
        value_name = "URL",
        env = "CLEW_COLLECTOR",
        default_value = "http://127.0.0.1:4327",
        value_parser = args::collector
    )]
    collector: Uri,
    /// Print it as OTLP JSON, with what was found in a field `analysis`
    #[arg(long)]
    json: bool,
    /// Draw it by the clock of its root, as far as calls tell how clocks differ
    #[arg(long, conflicts_with = "json")]
    fix_clocks: bool,
    /// Draw repeated siblings too
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Columns to use [default: as wide as the terminal]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    width: Option<u16>,
    /// Whose trace
    #[arg(long)]
    tenant: Option<MetadataValue<Ascii>>,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = args::duration)]
    timeout: Duration,
}

impl Args {
    /// Fetches the trace and shows it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = match runtime.block_on(self.fetch()) {
            Err(LookupError::NotFound { .. }) => Found::default(),
            found => found?,
        };
        if found.resource_spans.is_empty() && !found.partial {
            eprintln!("{}", self.not_found());
            return Ok(ExitCode::FAILURE);
        }
        let mut out = output::stdout();
        let style = Style { width: output::width(self.width), colour: output::colour(&io::stdout()) };
        self.show(&mut out, &found, style)?;
        out.flush()?;
        Ok(if found.resource_spans.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    async fn fetch(&self) -> Result<Found, LookupError> {
        Collector::new(self.collector.clone(), self.tenant.clone(), self.timeout).trace(self.id.0).await
    }

    fn show(&self, out: &mut impl Write, found: &Found, style: Style) -> anyhow::Result<()> {
        let tree = Tree::decode(&found.resource_spans).context("the collector's answer cannot be read as spans")?;
        let tree = tree.with_calls_joined();
        let mut facts = Facts::of(&tree);
        if self.json {
            return Ok(writeln!(out, "{}", as_json(found, &tree, &facts))?);
        }
        let (mut shown, mut times) = (&tree, Times::AsSent);
        let fixed = self.fix_clocks.then(|| corrected(&tree, &facts.skews));
        if let Some(fixed) = &fixed {
            // What clocks say is in the times as they were sent.
            facts = Facts { skews: facts.skews, ..Facts::of(fixed) };
            (shown, times) = (fixed, Times::of(&tree, fixed));
        }
        let subject = Subject {
            tree: shown,
            facts: &facts,
            trace_id: &hex::encode(self.id.0),
            reasons: found.partial.then_some(&*found.reasons),
            times,
            all: self.all,
        };
        Ok(draw(out, subject, style)?)
    }

    fn not_found(&self) -> String {
        let id = hex::encode(self.id.0);
        let tenant = self.tenant.as_ref().and_then(|tenant| tenant.to_str().ok());
        let whose = tenant.map_or(String::new(), |tenant| format!(" of tenant {tenant}"));
        let collector = self.collector.to_string();
        let collector = collector.trim_end_matches('/');
        let other = if whose.is_empty() { "belong to a tenant (--tenant NAME)" } else { "belong to another tenant" };
        format!(
            "clew: the collector at {collector} knows no trace {id}{whose}.\n\
             It may not have been sent yet (SDKs send every few seconds), not have been sampled, {other},\n\
             or lie at another collector (--collector URL)."
        )
    }
}

/// OTLP JSON: the parts of a TracesData message, one behind the other, are one. Readers of OTLP JSON pass over fields that they
/// do not know, so what was found stands in one more.
fn as_json(found: &Found, tree: &Tree, facts: &Facts) -> String {
    let mut traces_data = Vec::new();
    for resource_spans in &found.resource_spans {
        prost::encoding::bytes::encode(1, resource_spans, &mut traces_data);
    }
    let spans = json::from_protobuf(&traces_data, Ids::Hex);
    let fields = spans.strip_suffix('}').unwrap_or(&spans);
    let comma = if fields.len() > 1 { "," } else { "" };
    format!("{fields}{comma}\"analysis\":{}}}", facts.as_json(tree))
}

#[cfg(test)]
mod tests;
