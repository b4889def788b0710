//! `clew search`: finds traces by a TraceQL query.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clew_proto::v1::{FoundSpan, FoundTrace, SearchRequest, SpanSet};
use serde_json::json;

use crate::{args, clock, collector::Where, output, text::harmless, values};

/// What to look for, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew search '{ status = error }'                        the newest failed spans, by trace
  clew search '{ resource.service.name = \"cart\" && duration > 1s }' --since 1h
  clew search '{ name = \"checkout\" } >> { status = error }' --limit 5
  clew search '{ span.http.route = \"/pay\" } | select(span.http.response.status_code)' --json | jq

The language is TraceQL, as in Grafana: docs/traceql.md. `clew trace ID` shows one of the traces.
Exit code 1 tells that nothing was found, or that the collector could not be asked.")]
pub(crate) struct Args {
    /// The query, in TraceQL
    #[arg(value_name = "QUERY")]
    query: String,
    /// Traces at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Spans of each trace at most
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    spans: u32,
    /// Only what started so long ago at most, such as 15m [default: any time]
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    since: Option<Duration>,
    /// Print a JSON object for each trace
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "35s", value_parser = args::duration)]
    timeout: Duration,
}

impl Args {
    /// Asks, and shows what was found.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let request = SearchRequest {
            query: self.query,
            start_unix_nano: self.since.map_or(0, |since| clock::now_ns().saturating_sub(since.as_nanos() as u64)),
            limit: self.limit,
            spans_per_set: self.spans,
            ..SearchRequest::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (found, reasons) = runtime.block_on(async { self.place.within(self.timeout).search(request).await })?;
        for why in reasons {
            eprintln!("clew: traces may be missing: {}", harmless(&why));
        }
        let mut out = output::stdout();
        let colour = output::colour(&io::stdout());
        for trace in &found {
            if self.json {
                writeln!(out, "{}", as_json(trace))?;
            } else {
                show(&mut out, trace, colour)?;
            }
        }
        out.flush()?;
        if found.is_empty() {
            eprintln!("clew: nothing was found");
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(out: &mut impl Write, trace: &FoundTrace, colour: bool) -> io::Result<()> {
    let (bold, red, plain) = if colour { ("\x1b[1m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
    let spans: u32 = trace.services.iter().map(|service| service.spans).sum();
    let errors: u32 = trace.services.iter().map(|service| service.errors).sum();
    let (id, ago, took) =
        (hex::encode(&trace.trace_id), ago(trace.start_unix_nano), output::duration_ns(trace.duration_nano));
    let root = match (&trace.root_service, &trace.root_name) {
        (None, None) => "(no root yet)".to_owned(),
        (service, name) => {
            let text = |part: &Option<String>| harmless(part.as_deref().unwrap_or_default());
            format!("{} {}", text(service), text(name))
        }
    };
    write!(out, "{bold}{id}{plain}  {ago:>9}  {took:>7}  {root}  {spans} span{}", if spans == 1 { "" } else { "s" })?;
    if errors > 0 {
        write!(out, ", {red}{errors} failed{plain}")?;
    }
    writeln!(out)?;
    for SpanSet { matched, spans, attributes } in &trace.sets {
        if !attributes.is_empty() {
            writeln!(out, "  {}", values::pairs(attributes))?;
        }
        for FoundSpan { span_id, name, duration_nano, attributes, .. } in spans {
            let (id, took) = (hex::encode(span_id), output::duration_ns(*duration_nano));
            writeln!(out, "    {id}  {took:>7}  {}  {}", harmless(name), values::pairs(attributes))?;
        }
        let more = u64::from(*matched).saturating_sub(spans.len() as u64);
        if more > 0 {
            writeln!(out, "    and {} more", output::thousands(more))?;
        }
    }
    Ok(())
}

/// How long ago it was, for people.
fn ago(ns: u64) -> String {
    let age = clock::now_ns().saturating_sub(ns);
    format!("{} ago", output::duration_ns(age / 1_000_000_000 * 1_000_000_000))
}

fn as_json(trace: &FoundTrace) -> serde_json::Value {
    let span = |span: &FoundSpan| {
        json!({
            "spanID": hex::encode(&span.span_id),
            "name": span.name,
            "startTimeUnixNano": span.start_unix_nano.to_string(),
            "durationNanos": span.duration_nano.to_string(),
            "attributes": values::object(&span.attributes),
        })
    };
    let set = |set: &SpanSet| {
        json!({
            "matched": set.matched,
            "attributes": values::object(&set.attributes),
            "spans": set.spans.iter().map(span).collect::<Vec<_>>(),
        })
    };
    let services = trace
        .services
        .iter()
        .map(|stats| (stats.service.clone(), json!({ "spanCount": stats.spans, "errorCount": stats.errors })));
    json!({
        "traceID": hex::encode(&trace.trace_id),
        "rootServiceName": trace.root_service,
        "rootTraceName": trace.root_name,
        "startTimeUnixNano": trace.start_unix_nano.to_string(),
        "durationNanos": trace.duration_nano.to_string(),
        "spanSets": trace.sets.iter().map(set).collect::<Vec<_>>(),
        "serviceStats": services.collect::<serde_json::Map<_, _>>(),
    })
}
