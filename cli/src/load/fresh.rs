//! `clew load fresh`: how long after its ack a span can be found.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clew_proto::v1::SearchRequest;
use http::Uri;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message;
use rand::RngExt;

use crate::{
    args, clock,
    collector::{Collector, LookupError},
    output,
};

/// How to ask.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  clew load send corpus --rate 10000 &          something else to do for agent and collector
  clew load fresh --count 500

Each probe is a trace of one span. It is sent over OTLP/HTTP; from the moment of its ack the collector is asked for it until
it has it: for its id or, with --search, for its name in the last minute.")]
pub(crate) struct Args {
    /// OTLP/HTTP endpoint that the probes are sent to
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318")]
    endpoint: String,
    /// Where to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4327", value_parser = args::collector)]
    collector: Uri,
    /// Search for the probes instead of asking for their ids
    #[arg(long)]
    search: bool,
    /// How many probes
    #[arg(long, default_value_t = 200)]
    count: u32,
    /// Pause between probes
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = args::duration)]
    pause: Duration,
}

/// A span that is not found after this is lost.
const LOST: Duration = Duration::from_secs(30);

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(self.count > 0, "--count is 0: there is nothing to measure");
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(self.probe())
    }

    async fn probe(self) -> anyhow::Result<ExitCode> {
        let http = reqwest::Client::new();
        let url = format!("{}/v1/traces", self.endpoint.trim_end_matches('/'));
        let collector = Collector::new(self.collector.clone(), None, Duration::from_secs(5));
        let mut waits = Vec::new();
        for _ in 0..self.count {
            let (trace_id, body) = probe();
            let answer = http
                .post(&url)
                .header("content-type", "application/x-protobuf")
                .body(body)
                .send()
                .await
                .with_context(|| format!("nobody takes spans at {url}: is an agent running?"))?;
            ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
            waits.push(self.found(&collector, trace_id).await?);
            tokio::time::sleep(self.pause).await;
        }
        waits.sort_unstable();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        writeln!(
            output::stdout(),
            "found after its ack: p50 {:.1} ms  p90 {:.1} ms  p99 {:.1} ms  max {:.1} ms  ({} spans)",
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
            waits.len()
        )?;
        Ok(ExitCode::SUCCESS)
    }

    /// Asks until the trace is there; how long that took.
    async fn found(&self, collector: &Collector, trace_id: [u8; 16]) -> anyhow::Result<Duration> {
        let acked = Instant::now();
        let id = hex::encode(trace_id);
        loop {
            let found = if self.search {
                let start_unix_nano = clock::now_ns() - 60_000_000_000;
                let query = format!("{{ name = \"probe {id}\" }}");
                let request = SearchRequest { query, start_unix_nano, ..SearchRequest::default() };
                collector.search(request).await.map(|(traces, _)| !traces.is_empty())
            } else {
                collector.trace(trace_id).await.map(|found| !found.resource_spans.is_empty())
            };
            match found {
                Ok(true) => return Ok(acked.elapsed()),
                Ok(false) | Err(LookupError::NotFound { .. }) => {}
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error.into()),
            }
            ensure!(acked.elapsed() < LOST, "trace {id} was acked, but not found for {LOST:?}");
        }
    }
}

fn probe() -> ([u8; 16], Vec<u8>) {
    let mut random = rand::rng();
    let trace_id: [u8; 16] = random.random();
    let span = Span {
        trace_id: trace_id.to_vec(),
        span_id: random.random_range(1..u64::MAX).to_be_bytes().to_vec(),
        name: format!("probe {}", hex::encode(trace_id)),
        start_time_unix_nano: clock::now_ns(),
        end_time_unix_nano: clock::now_ns(),
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    (trace_id, TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }.encode_to_vec())
}
