//! A service that sends spans until each was acked, and the check that looks them up.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use clew_proto::v1::{GetTraceRequest, query_client::QueryClient};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::time::{sleep, timeout};
use tonic::{Code, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

use crate::{
    network::connect,
    nodes::{AGENT_PORT, COLLECTOR_PORT},
};

/// Acked spans by trace: their names, which are all different.
pub type Acked = Rc<RefCell<BTreeMap<[u8; 16], Vec<String>>>>;

/// Sends `requests` requests, each until it is acked, and writes down what was.
pub async fn send(name: String, agent: String, requests: u32, seed: u64, acked: Acked) -> turmoil::Result {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut client: Option<Grpc<_>> = None;
    for number in 0..requests {
        let request = request(&name, number, &mut random);
        loop {
            if client.is_none() {
                let endpoint = Endpoint::from_shared(format!("http://{agent}:{AGENT_PORT}"))?;
                client =
                    timeout(Duration::from_secs(2), connect(endpoint)).await.ok().and_then(Result::ok).map(Grpc::new);
            }
            if let Some(open) = &mut client {
                match timeout(Duration::from_secs(2), export(open, request.clone())).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(status)) if status.code() == Code::InvalidArgument => return Err(status.into()),
                    // A retry: the same bytes again, perhaps over a new connection.
                    _ => client = None,
                }
            }
            sleep(Duration::from_millis(random.random_range(50..300))).await;
        }
        for span in
            request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans)
        {
            let trace = span.trace_id.try_into().expect("16 bytes");
            acked.borrow_mut().entry(trace).or_default().push(span.name);
        }
        sleep(Duration::from_millis(random.random_range(0..200))).await;
    }
    Ok(())
}

async fn export(
    client: &mut Grpc<tonic::transport::Channel>,
    request: ExportTraceServiceRequest,
) -> Result<ExportTraceServiceResponse, tonic::Status> {
    client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(clew_common::otlp::grpc::EXPORT);
    let codec = ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
    Ok(client.unary(tonic::Request::new(request), path, codec).await?.into_inner())
}

/// Spans of a few traces that all senders share.
fn request(sender: &str, number: u32, random: &mut SmallRng) -> ExportTraceServiceRequest {
    let spans = (0..random.random_range(1..12))
        .map(|index| {
            let mut trace_id = vec![0; 15];
            trace_id.push(random.random_range(1..8));
            let filler = "x".repeat(random.random_range(0..200));
            Span {
                trace_id,
                span_id: random.random_range(1..u64::MAX).to_be_bytes().to_vec(),
                name: format!("{sender}/{number}/{index}/{filler}"),
                ..Default::default()
            }
        })
        .collect();
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}

/// Looks up every acked span until all are found; then says how often each collector has each.
pub async fn check(collectors: Vec<String>, acked: Acked) -> Result<u64, String> {
    let expected = acked.borrow().clone();
    for attempt in 0.. {
        let missing = look(&collectors, &expected).await?;
        match missing {
            None => break,
            Some(_) if attempt < 200 => sleep(Duration::from_millis(500)).await,
            Some(missing) => return Err(format!("never found: {missing}")),
        }
    }
    Ok(expected.values().map(|spans| spans.len() as u64).sum())
}

/// The first acked span that no collector has, or a collector cannot be asked; an error when one is there twice.
async fn look(collectors: &[String], expected: &BTreeMap<[u8; 16], Vec<String>>) -> Result<Option<String>, String> {
    for (trace, names) in expected {
        let mut found: HashMap<String, u32> = HashMap::new();
        for collector in collectors {
            let answer = match timeout(Duration::from_secs(5), get_trace(collector, trace)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(why)) => return Ok(Some(format!("{collector}: {why}"))),
                Err(_) => return Ok(Some(format!("{collector} does not answer"))),
            };
            let mut here: HashMap<String, u32> = HashMap::new();
            for name in answer {
                *here.entry(name).or_default() += 1;
            }
            if let Some((name, count)) = here.iter().find(|(_, count)| **count > 1) {
                return Err(format!("{collector} has {name:.40} {count} times"));
            }
            here.into_iter().for_each(|(name, count)| *found.entry(name).or_default() += count);
        }
        if let Some(missing) = names.iter().find(|name| !found.contains_key(*name)) {
            return Ok(Some(format!("{missing:.40}")));
        }
    }
    Ok(None)
}

async fn get_trace(collector: &str, trace: &[u8; 16]) -> Result<Vec<String>, String> {
    let endpoint =
        Endpoint::from_shared(format!("http://{collector}:{COLLECTOR_PORT}")).map_err(|error| error.to_string())?;
    let mut client = QueryClient::new(connect(endpoint).await.map_err(|error| error.to_string())?);
    let request = GetTraceRequest { trace_id: trace.to_vec().into() };
    let mut parts = match client.get_trace(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(Vec::new()),
        Err(status) => return Err(status.to_string()),
    };
    let mut names = Vec::new();
    while let Some(part) = parts.message().await.map_err(|status| status.to_string())? {
        for resource_spans in part.resource_spans {
            let resource_spans = ResourceSpans::decode(resource_spans).map_err(|error| error.to_string())?;
            names.extend(resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| span.name));
        }
    }
    Ok(names)
}
