//! From a client through an agent to a collector, and back by trace id.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clew_integration_tests::{Agent, Collector};
use clew_proto::v1::{GetTraceRequest, query_client::QueryClient};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use prost::Message;
use serde_json::Value;

use crate::{
    client::{Client, Compression, Protocol},
    compare, neutral,
};

/// How long after the client's flush every span may take to be found.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs `client` against an agent and a collector of its own; then both interfaces that give traces by id must give
/// exactly what the client made.
///
/// # Errors
/// When something differs, with every difference.
pub fn comes_back_whole(client: Client, protocol: Protocol, compression: Compression) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"), &[])?;
    let agent = Agent::start(&folder.path().join("agent"), &[collector.url()], &[])?;
    let url = if protocol == Protocol::Grpc { agent.grpc_url() } else { agent.http_url() };
    let made = client.run(protocol, &url, compression)?;

    let mut traces: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for span in &made {
        traces.entry(span["trace_id"].as_str().context("a span without trace id")?).or_default().push(span.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let answers = Answers::new(&collector).await?;
        let flushed = Instant::now();
        for (id, made) in &traces {
            let tempo = complete(made.len(), flushed, async || answers.tempo(id).await).await;
            let own = complete(made.len(), flushed, async || answers.clew(id).await).await;
            for (api, found) in [("Tempo's API", tempo), ("clew.v1", own)] {
                let found = found.with_context(|| format!("{api}, trace {id}\n{}", agent.process.log_text()))?;
                let differences = compare::differences(made, &neutral::spans(&found)?);
                ensure!(differences.is_empty(), "{client:?}, {api}, trace {id}:\n{}", differences.join("\n"));
            }
        }
        Ok(())
    })
}

/// Asks until the answer has at least `spans` spans, or the deadline has passed; then the last answer.
async fn complete(
    spans: usize,
    flushed: Instant,
    ask: impl AsyncFn() -> Result<Option<Vec<ResourceSpans>>>,
) -> Result<Vec<ResourceSpans>> {
    loop {
        let answer = ask().await?.unwrap_or_default();
        let found: usize = answer.iter().flat_map(|part| &part.scope_spans).map(|part| part.spans.len()).sum();
        if found >= spans || flushed.elapsed() > DEADLINE {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// tempopb.TraceByIDResponse, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

/// The collector's interfaces. Each gives None for a trace that is not known (yet).
struct Answers {
    http: reqwest::Client,
    tempo: String,
    query: QueryClient<tonic::transport::Channel>,
}

impl Answers {
    async fn new(collector: &Collector) -> Result<Self> {
        let query = QueryClient::connect(collector.url()).await?;
        Ok(Self { http: reqwest::Client::new(), tempo: collector.tempo_url(), query })
    }

    async fn tempo(&self, id: &str) -> Result<Option<Vec<ResourceSpans>>> {
        let url = format!("{}/api/v2/traces/{id}", self.tempo);
        let answer = self.http.get(url).header("accept", "application/protobuf").send().await?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => bail!("status {status}: {}", answer.text().await?),
        }
        let answer = TraceById::decode(answer.bytes().await?)?;
        ensure!(answer.status == 0, "a partial answer: {}", answer.message);
        Ok(Some(answer.trace.unwrap_or_default().resource_spans))
    }

    async fn clew(&self, id: &str) -> Result<Option<Vec<ResourceSpans>>> {
        let request = GetTraceRequest { trace_id: Bytes::from(hex::decode(id)?) };
        let mut parts = match self.query.clone().get_trace(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
            Err(status) => return Err(status.into()),
        };
        let mut spans = Vec::new();
        while let Some(part) = parts.message().await? {
            ensure!(!part.partial, "a partial answer: {:?}", part.partial_reasons);
            for encoded in part.resource_spans {
                spans.push(ResourceSpans::decode(encoded)?);
            }
        }
        Ok(Some(spans))
    }
}
