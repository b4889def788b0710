//! Traces: those that a search finds, and those with certain ids.

use axum::extract::{Path, Query, State};
use clew_common::ids::{Tenant, TraceId};
use clew_query::exec::{Range, SearchOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;

use super::{
    Jaeger,
    answer::{Answer, Refused},
    condition::Wanted,
    params::Params,
    tenant,
    trace::{Trace, of_otlp},
};

/// Traces that an answer has when nothing is said, and at most.
const DEFAULT_TRACES: u64 = 100;
const MAX_TRACES: u64 = 1_500;
/// Traces that are read at once.
const AT_ONCE: usize = 8;
/// Ids that may be asked for together.
const MAX_IDS: usize = 100;
/// The range when nothing is said: the last two days.
const DEFAULT_RANGE_NS: u64 = 2 * 86_400 * 1_000_000_000;

/// `/api/traces`
pub async fn traces(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Answer<Vec<Trace>>, Refused> {
    let tenant = tenant(&headers)?;
    let ids: Vec<&str> = params.all("traceID").collect();
    let (ids, missing) = if ids.is_empty() {
        let limit = params.number("limit")?.unwrap_or(DEFAULT_TRACES);
        if !(1..=MAX_TRACES).contains(&limit) {
            return Err(Refused::invalid(format!("limit is {limit}; expected 1 to {MAX_TRACES}")));
        }
        let options = SearchOptions { range: range(&jaeger, &params)?, limit: limit as usize, spans: 1 };
        let found = jaeger.queries.search(&tenant, wanted(&params)?.traceql(), options).await?.answer;
        let ids = found.traces.iter().filter_map(|trace| TraceId::new(trace.trace_id));
        (ids.collect(), found.missing)
    } else {
        if ids.len() > MAX_IDS {
            return Err(Refused::invalid(format!("{} ids are given; expected {MAX_IDS} at most", ids.len())));
        }
        (ids.into_iter().map(parsed).collect::<Result<Vec<_>, _>>()?, Vec::new())
    };
    let mut answer = read(&jaeger, &tenant, ids).await?;
    answer.missing.extend(missing);
    Ok(answer)
}

/// `/api/traces/{id}`
pub async fn trace(
    State(jaeger): State<Jaeger>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Answer<Vec<Trace>>, Refused> {
    let answer = read(&jaeger, &tenant(&headers)?, vec![parsed(&id)?]).await?;
    if answer.data.is_empty() && answer.missing.is_empty() {
        return Err(Refused::unknown());
    }
    Ok(answer)
}

/// `/api/archive/{id}`
pub async fn archive(Path(id): Path<String>) -> Result<Answer<()>, Refused> {
    parsed(&id)?;
    Err(Refused::unsupported(
        "there is no archive: traces are kept for as long as retention_s says; clew export writes them to a file",
    ))
}

fn parsed(id: &str) -> Result<TraceId, Refused> {
    id.parse().map_err(|error: clew_common::ids::NotATraceId| Refused::invalid(error.to_string()))
}

/// Reads traces; those that are not known are left out.
async fn read(jaeger: &Jaeger, tenant: &Tenant, ids: Vec<TraceId>) -> Result<Answer<Vec<Trace>>, Refused> {
    let one = async |id: TraceId| {
        let found = jaeger.lookup.trace(tenant, id).await.map_err(|error| Refused::busy(error.to_string()))?;
        Ok::<_, Refused>((id, found))
    };
    let found: Vec<_> = stream::iter(ids).map(one).buffered(AT_ONCE).try_collect().await?;
    // The conversion takes a processor for as long as there are spans.
    let made = jaeger.queries.world.work.run(move || {
        let mut answer = Answer { data: Vec::new(), total: 0, missing: Vec::new() };
        for (id, crate::lookup::Trace { spans, partial_reasons }) in found {
            answer.missing.extend(partial_reasons);
            if !spans.is_empty() {
                match of_otlp(&id.to_string(), &spans) {
                    Some(trace) => answer.data.push(trace),
                    None => answer.missing.push(format!("trace {id} cannot be read")),
                }
            }
        }
        answer.total = answer.data.len();
        answer
    });
    Ok(made.await)
}

/// From microseconds; the last two days when nothing is said.
fn range(jaeger: &Jaeger, params: &Params) -> Result<Range, Refused> {
    let ns = |us: u64| us.saturating_mul(1_000);
    let end = params.number("end")?.map_or_else(|| jaeger.queries.now_ns(), ns);
    let start = match (params.number("start")?, params.duration_ns("lookback")) {
        (Some(start), _) => ns(start),
        // The UI says `custom` besides a start.
        (None, lookback) => end.saturating_sub(lookback?.unwrap_or(DEFAULT_RANGE_NS)),
    };
    if end < start {
        return Err(Refused::invalid(format!("start is {start} ns and end is {end} ns: the end is before the start")));
    }
    let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    // Jaeger's end is in the range.
    Ok(Range { start: signed(start), end: signed(end.saturating_add(1_000)) })
}

fn wanted(params: &Params) -> Result<Wanted, Refused> {
    let text = |name: &str| params.all(name).next().map(str::to_owned);
    let mut tags = Vec::new();
    for tag in params.all("tag") {
        let pair = tag
            .split_once(':')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Refused::invalid(format!("malformed 'tag' parameter {tag:?}: expected key:value")))?;
        tags.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    for json in params.all("tags") {
        let wrong = |why: String| {
            Refused::invalid(format!(
                "malformed 'tags' parameter, expected a JSON object of texts such as {{\"key\":\"value\"}}: {why}"
            ))
        };
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        for (key, value) in map {
            if key.is_empty() {
                return Err(wrong("a key is empty".to_owned()));
            }
            let text = match value {
                serde_json::Value::String(text) => text,
                value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => value.to_string(),
                _ => return Err(wrong(format!("{key} is no text"))),
            };
            tags.push((key, text));
        }
    }
    let (min_ns, max_ns) = (params.duration_ns("minDuration")?, params.duration_ns("maxDuration")?);
    if let (Some(min), Some(max)) = (min_ns, max_ns)
        && max < min
    {
        return Err(Refused::invalid("'maxDuration' should be greater than 'minDuration'"));
    }
    // The UI says `all` for any.
    let operation = text("operation").filter(|operation| operation != "all");
    Ok(Wanted { service: text("service"), operation, min_ns, max_ns, tags })
}
