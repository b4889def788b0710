//! The same over gRPC, for Jaeger's clients (`v2`, `v3`) and for a Jaeger that has its spans here (`storage`).
//!
//! `message` has the spans of Jaeger's older API. Traces are streamed: a few are read ahead, and the next ones when those were taken.

mod message;
mod storage;
mod v2;
mod v3;

use bytes::Bytes;
use clew_common::ids::{Tenant, TraceId};
use clew_proto::{
    jaeger::{
        api_v2, api_v3,
        storage::{v1 as storage_v1, v2 as storage_v2},
    },
    opentelemetry::proto::trace::v1::TracesData,
};
use clew_query::exec::Range;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use prost_types::{Duration, Timestamp};
use tonic::{Request, Response, Status, service::Routes};

use super::{
    Jaeger,
    condition::Wanted,
    refused::Refused,
    search::{Ids, Made, Make, Search},
};
use crate::{
    lookup::Trace,
    queries::{partial, parts},
};

/// What the services are called.
pub const NAMES: [&str; 7] = [
    api_v2::query_service_server::SERVICE_NAME,
    api_v3::query_service_server::SERVICE_NAME,
    api_v3::capabilities_server::SERVICE_NAME,
    storage_v2::trace_reader_server::SERVICE_NAME,
    storage_v2::dependency_reader_server::SERVICE_NAME,
    storage_v2::capabilities_server::SERVICE_NAME,
    storage_v1::plugin_capabilities_server::SERVICE_NAME,
];

/// All of them.
pub fn routes(jaeger: &Jaeger) -> Routes {
    Routes::new(api_v2::query_service_server::QueryServiceServer::new(jaeger.clone()))
        .add_service(api_v3::query_service_server::QueryServiceServer::new(jaeger.clone()))
        .add_service(api_v3::capabilities_server::CapabilitiesServer::new(jaeger.clone()))
        .add_service(storage_v2::trace_reader_server::TraceReaderServer::new(jaeger.clone()))
        .add_service(storage_v2::dependency_reader_server::DependencyReaderServer::new(jaeger.clone()))
        .add_service(storage_v2::capabilities_server::CapabilitiesServer::new(jaeger.clone()))
        .add_service(storage_v1::plugin_capabilities_server::PluginCapabilitiesServer::new(jaeger.clone()))
}

type Answers<M> = BoxStream<'static, Result<M, Status>>;

fn tenant<T>(request: &Request<T>) -> Result<Tenant, Refused> {
    Ok(Tenant::from_headers(&request.metadata().clone().into_headers())?)
}

fn reply<M>(message: M, missing: &[String]) -> Response<M> {
    let mut response = Response::new(message);
    partial::mark_metadata(response.metadata_mut(), missing);
    response
}

/// What all searches say.
struct Asked {
    service: String,
    operation: String,
    tags: Vec<(String, String)>,
    range: Range,
    min: Option<Duration>,
    max: Option<Duration>,
    depth: i32,
}

impl Asked {
    fn search(self) -> Result<Search, Refused> {
        let text = |text: String| (!text.is_empty()).then_some(text);
        let wanted = Wanted {
            service: text(self.service),
            operation: text(self.operation),
            min_ns: duration_ns("duration_min", self.min)?,
            max_ns: duration_ns("duration_max", self.max)?,
            tags: self.tags,
        };
        Search::new(wanted, self.range, self.depth.into())
    }
}

/// Refuses what would be another search without it.
fn none_of(fields: &[(&str, &Bytes)]) -> Result<(), Refused> {
    match fields.iter().find(|(_, said)| !said.is_empty()) {
        Some((name, _)) => Err(Refused::invalid(format!("{name} is not offered here, as Capabilities says"))),
        None => Ok(()),
    }
}

/// What clients written in Go say when no time is said: the year 1.
const GO_NEVER: Timestamp = Timestamp { seconds: -62_135_596_800, nanos: 0 };

/// None: no time is said. 1970 is one.
fn time_ns(time: Option<Timestamp>) -> Option<i64> {
    let Timestamp { seconds, nanos } = time.filter(|time| *time != GO_NEVER)?;
    let ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Some(i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX }))
}

/// None: any duration.
fn duration_ns(name: &str, duration: Option<Duration>) -> Result<Option<u64>, Refused> {
    let ns = duration.map_or(0, |Duration { seconds, nanos }| i128::from(seconds) * 1_000_000_000 + i128::from(nanos));
    match u64::try_from(ns) {
        Ok(0) => Ok(None),
        Ok(ns) => Ok(Some(ns)),
        Err(_) if ns > 0 => Ok(Some(u64::MAX)),
        Err(_) => Err(Refused::invalid(format!("{name} is negative"))),
    }
}

/// Traces that are about to be streamed, each as messages. The first of them has been read: what may be missing is said before a
/// stream's messages.
struct Traces<M> {
    first: Option<Made<Vec<M>>>,
    rest: BoxStream<'static, Result<Made<Vec<M>>, Refused>>,
    missing: Vec<String>,
}

impl<M: Send + 'static> Traces<M> {
    async fn open(
        jaeger: &Jaeger,
        tenant: &Tenant,
        Ids { ids, mut missing }: Ids,
        cut: Make<Vec<M>>,
    ) -> Result<Self, Refused> {
        let mut rest = jaeger.read(tenant, ids, cut).boxed();
        let first = rest.try_next().await?;
        missing.extend(first.iter().flat_map(|made| made.missing.clone()));
        Ok(Self { first, rest, missing })
    }

    /// One trace, of which something has to be known.
    async fn open_one(jaeger: &Jaeger, tenant: &Tenant, id: TraceId, cut: Make<Vec<M>>) -> Result<Self, Refused> {
        let traces = Self::open(jaeger, tenant, Ids { ids: vec![id], missing: Vec::new() }, cut).await?;
        match &traces.first {
            None => Err(Refused::Unknown),
            Some(Made { answer: None, .. }) => Err(Refused::Unreadable(traces.missing.join("; "))),
            Some(_) => Ok(traces),
        }
    }

    fn stream(self) -> Response<Answers<M>> {
        let Self { first, rest, missing } = self;
        let messages = stream::iter(first.map(Ok))
            .chain(rest)
            .map_ok(|made| stream::iter(made.answer.into_iter().flatten().map(Ok::<M, Refused>)))
            .try_flatten()
            .map_err(Status::from);
        reply(messages.boxed(), &missing)
    }
}

/// A trace as OTLP.
fn otlp(_: TraceId, trace: Trace) -> Result<Vec<TracesData>, Refused> {
    let parts = parts::cut(parts::pieces(&trace.spans), Bytes::len);
    Ok(parts.into_iter().map(|resource_spans| TracesData { resource_spans }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_left_out_and_the_year_1_of_go_are_no_times() {
        let ns = |seconds, nanos| time_ns(Some(Timestamp { seconds, nanos }));
        assert_eq!(time_ns(None), None);
        assert_eq!(ns(-62_135_596_800, 0), None);
        assert_eq!(ns(0, 0), Some(0));
        assert_eq!(ns(0, 1), Some(1));
        assert_eq!(ns(-1, 5), Some(-999_999_995));
        assert_eq!(ns(1_700_000_000, 123), Some(1_700_000_000_000_000_123));
        assert_eq!((ns(i64::MAX, 0), ns(i64::MIN, 0)), (Some(i64::MAX), Some(i64::MIN)));
    }
}
