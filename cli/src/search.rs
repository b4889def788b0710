//! `clew search`: finds traces by a TraceQL query.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use clew_proto::{
    opentelemetry::proto::common::v1::{KeyValue, any_value::Value},
    tempopb::{
        SearchRequest, SearchResponse, Span, TraceSearchMetadata, streaming_querier_client::StreamingQuerierClient,
    },
};
use http::Uri;
use tonic::{
    Code, Request,
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};

use crate::{args, output, text::harmless};

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
    /// Where to ask
    #[arg(
        long,
        value_name = "URL",
        env = "CLEW_COLLECTOR",
        default_value = "http://127.0.0.1:4327",
        value_parser = args::collector
    )]
    collector: Uri,
    /// Print a JSON object for each trace; attributes are texts
    #[arg(long)]
    json: bool,
    /// Whose traces
    #[arg(long)]
    tenant: Option<MetadataValue<Ascii>>,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "35s", value_parser = args::duration)]
    timeout: Duration,
}

impl Args {
    /// Asks, and shows what was found.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(async { tokio::time::timeout(self.timeout, self.ask()).await });
        let (found, partial) = asked.with_context(|| format!("no answer within {:?}", self.timeout))??;
        if let Some(why) = partial {
            eprintln!("clew: traces may be missing: {why}");
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

    /// The traces, and why some may be missing.
    async fn ask(&self) -> anyhow::Result<(Vec<TraceSearchMetadata>, Option<String>)> {
        let since = self.since.map(|since| SystemTime::now().checked_sub(since).unwrap_or(UNIX_EPOCH));
        let start = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
        let mut request = Request::new(SearchRequest {
            query: self.query.clone(),
            limit: self.limit,
            spans_per_span_set: self.spans,
            start: u32::try_from(start).unwrap_or(u32::MAX),
            ..SearchRequest::default()
        });
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-scope-orgid", tenant.clone());
        }
        let channel = Endpoint::from(self.collector.clone()).connect_timeout(self.timeout).connect().await;
        let channel = channel.with_context(|| {
            let url = self.collector.to_string();
            format!("no collector answers at {url}: start one with `clew demo` or `clew up`, or say where it is with --collector URL")
        })?;
        let mut client = StreamingQuerierClient::new(channel);
        let answer = match client.search(request).await {
            Ok(answer) => answer,
            Err(status) if status.code() == Code::InvalidArgument => bail!("{}", status.message()),
            Err(status) => bail!("the collector refused: {} ({:?})", status.message(), status.code()),
        };
        let partial = answer.metadata().get("x-clew-partial").and_then(|why| why.to_str().ok()).map(str::to_owned);
        let mut parts = answer.into_inner();
        let mut found = Vec::new();
        while let Some(SearchResponse { traces, .. }) = parts.message().await? {
            found.extend(traces);
        }
        Ok((found, partial))
    }
}

fn show(out: &mut impl Write, trace: &TraceSearchMetadata, colour: bool) -> io::Result<()> {
    let (bold, red, plain) = if colour { ("\x1b[1m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
    let spans: u32 = trace.service_stats.values().map(|stats| stats.span_count).sum();
    let errors: u32 = trace.service_stats.values().map(|stats| stats.error_count).sum();
    let ago = ago(trace.start_time_unix_nano);
    let took = output::duration_ns(u64::from(trace.duration_ms) * 1_000_000);
    write!(
        out,
        "{bold}{}{plain}  {ago:>9}  {took:>7}  {} {}",
        harmless(&trace.trace_id),
        harmless(&trace.root_service_name),
        harmless(&trace.root_trace_name)
    )?;
    write!(out, "  {spans} span{}", if spans == 1 { "" } else { "s" })?;
    if errors > 0 {
        write!(out, ", {red}{errors} failed{plain}")?;
    }
    writeln!(out)?;
    for set in &trace.span_sets {
        let computed = attributes(&set.attributes);
        if !computed.is_empty() {
            writeln!(out, "  {computed}")?;
        }
        for span in &set.spans {
            let Span { span_id, name, duration_nanos, attributes: named, .. } = span;
            let (span_id, name, took) = (harmless(span_id), harmless(name), output::duration_ns(*duration_nanos));
            writeln!(out, "    {span_id}  {took:>7}  {name}  {}", attributes(named))?;
        }
        let more = u64::from(set.matched).saturating_sub(set.spans.len() as u64);
        if more > 0 {
            writeln!(out, "    and {} more", output::thousands(more))?;
        }
    }
    Ok(())
}

/// How long ago it was, for people.
fn ago(ns: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    format!("{} ago", output::duration_ns(now.saturating_sub(ns) / 1_000_000_000 * 1_000_000_000))
}

fn attributes(attributes: &[KeyValue]) -> String {
    let one = |pair: &KeyValue| harmless(&format!("{}={}", pair.key, text(pair)));
    attributes.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(other) => format!("{other:?}"),
        None => "nil".to_owned(),
    }
}

fn as_json(trace: &TraceSearchMetadata) -> serde_json::Value {
    let pairs = |pairs: &[KeyValue]| {
        let pair = |pair: &KeyValue| (pair.key.clone(), serde_json::Value::String(text(pair)));
        pairs.iter().map(pair).collect::<serde_json::Map<_, _>>()
    };
    let sets = trace.span_sets.iter().map(|set| {
        let spans = set.spans.iter().map(|span| {
            serde_json::json!({
                "spanID": span.span_id,
                "name": span.name,
                "startTimeUnixNano": span.start_time_unix_nano.to_string(),
                "durationNanos": span.duration_nanos.to_string(),
                "attributes": pairs(&span.attributes),
            })
        });
        serde_json::json!({
            "matched": set.matched,
            "attributes": pairs(&set.attributes),
            "spans": spans.collect::<Vec<_>>(),
        })
    });
    let services = trace.service_stats.iter().map(|(name, stats)| {
        let stats = serde_json::json!({ "spanCount": stats.span_count, "errorCount": stats.error_count });
        (name.clone(), stats)
    });
    serde_json::json!({
        "traceID": trace.trace_id,
        "rootServiceName": trace.root_service_name,
        "rootTraceName": trace.root_trace_name,
        "startTimeUnixNano": trace.start_time_unix_nano.to_string(),
        "durationMs": trace.duration_ms,
        "spanSets": sets.collect::<Vec<_>>(),
        "serviceStats": services.collect::<serde_json::Map<_, _>>(),
    })
}
