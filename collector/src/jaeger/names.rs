//! Services, what they do, and which call which.

use axum::extract::{Path, Query, State};
use clew_common::ids::Tenant;
use clew_query::{
    exec::{Dependency, Range, TagOptions},
    traceql::{
        ast::{Field, Intrinsic, Literal},
        value::Value,
    },
};
use http::HeaderMap;
use serde::Serialize;

use super::{
    Jaeger,
    answer::{Answer, Refused},
    condition::service_name,
    params::Params,
    tenant,
};

/// How far back calls are counted when nothing is said: a day.
const DEFAULT_LOOKBACK_MS: u64 = 86_400_000;
/// Names at most.
const MAX_NAMES: usize = 10_000;
const KINDS: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];

/// What a service does, and on which side of a call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    name: String,
    span_kind: &'static str,
}

/// `/api/services`
pub async fn services(State(jaeger): State<Jaeger>, headers: HeaderMap) -> Result<Answer<Vec<String>>, Refused> {
    names(&jaeger, &tenant(&headers)?, service_name(), String::new()).await
}

/// `/api/services/{service}/operations`
pub async fn operations_of(
    State(jaeger): State<Jaeger>,
    Path(service): Path<String>,
    headers: HeaderMap,
) -> Result<Answer<Vec<String>>, Refused> {
    let name = Field::Intrinsic(Intrinsic::Name);
    names(&jaeger, &tenant(&headers)?, name, of_service(&service, None)).await
}

/// `/api/operations`
pub async fn operations(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Answer<Vec<Operation>>, Refused> {
    let tenant = tenant(&headers)?;
    let service = params.text("service").ok_or_else(|| Refused::invalid("parameter 'service' is required"))?;
    let mut answer = Answer { data: Vec::new(), total: 0, missing: Vec::new() };
    let wanted = params.text("spanKind");
    if let Some(kind) = wanted.filter(|kind| !KINDS.contains(kind)) {
        return Err(Refused::invalid(format!("spanKind is {kind:?}; expected one of {}", KINDS.join(", "))));
    }
    for kind in ["unspecified"].into_iter().chain(KINDS).filter(|kind| wanted.is_none_or(|wanted| wanted == *kind)) {
        let name = Field::Intrinsic(Intrinsic::Name);
        let found = names(&jaeger, &tenant, name, of_service(service, Some(kind))).await?;
        let span_kind = if kind == "unspecified" { "" } else { kind };
        answer.data.extend(found.data.into_iter().map(|name| Operation { name, span_kind }));
        answer.missing.extend(found.missing);
    }
    answer.missing.dedup();
    answer.data.sort_by(|a, b| (&a.name, a.span_kind).cmp(&(&b.name, b.span_kind)));
    answer.total = answer.data.len();
    Ok(answer)
}

/// Calls of one service by another.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    parent: String,
    child: String,
    call_count: u64,
}

/// `/api/dependencies`: up to `endTs`, from `lookback` before it, both in milliseconds.
pub async fn dependencies(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Answer<Vec<Call>>, Refused> {
    let tenant = tenant(&headers)?;
    let end = params.number("endTs")?.map_or_else(|| jaeger.queries.now_ns(), |ms| ms.saturating_mul(1_000_000));
    let lookback = params.number("lookback")?.unwrap_or(DEFAULT_LOOKBACK_MS).saturating_mul(1_000_000);
    let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let range = Range { start: signed(end.saturating_sub(lookback)), end: signed(end) };
    let found = jaeger.queries.dependencies(&tenant, range).await?.answer;
    let call = |one: Dependency| Call { parent: one.parent, child: one.child, call_count: one.calls };
    let data: Vec<_> = found.dependencies.into_iter().map(call).collect();
    Ok(Answer { total: data.len(), data, missing: found.missing })
}

fn of_service(service: &str, kind: Option<&str>) -> String {
    let kind = kind.map_or_else(String::new, |kind| format!(" && kind = {kind}"));
    format!("{{ {} = {}{kind} }}", service_name(), Literal::String(service.to_owned()))
}

/// The texts that a field is in the spans that a filter finds, in order.
async fn names(jaeger: &Jaeger, tenant: &Tenant, field: Field, filter: String) -> Result<Answer<Vec<String>>, Refused> {
    let options = TagOptions { range: Range::ALL, limit: MAX_NAMES };
    let found = jaeger.queries.tag_values(tenant, field, filter, options).await?.answer;
    let text = |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    let mut data: Vec<String> = found.values.into_iter().filter_map(text).collect();
    data.sort();
    Ok(Answer { total: data.len(), data, missing: found.missing })
}
