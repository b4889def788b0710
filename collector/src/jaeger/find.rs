//! Traces over the older HTTP API: those that a search finds, and those with certain ids.

use axum::{
    extract::{Path, Query, State, rejection::PathRejection},
    response::Response,
};
use clew_common::ids::{Tenant, TraceId};
use clew_query::exec::Range;
use http::HeaderMap;

use super::{
    Jaeger,
    answer::{self, Answer},
    condition::Wanted,
    json, model,
    params::Params,
    refused::Refused,
    search::{DEFAULT_TRACES, Ids, MAX_TRACES, Read, Search},
};
use crate::lookup;

/// Ids that may be asked for together.
const MAX_IDS: usize = 100;

/// `/api/traces`
pub async fn traces(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    let ids: Vec<&str> = params.all("traceID").collect();
    let ids = if ids.is_empty() {
        let limit = params.number("limit")?.unwrap_or(DEFAULT_TRACES);
        if limit == 0 {
            return Err(Refused::invalid(format!("limit is 0; expected 1 to {MAX_TRACES}")));
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let range = range(&jaeger, &params)?;
        jaeger.find(&tenant, Search::new(wanted(&params)?, range, limit)?).await?
    } else {
        if ids.len() > MAX_IDS {
            return Err(Refused::invalid(format!("{} ids are given; expected {MAX_IDS} at most", ids.len())));
        }
        // One that is given twice, or once in its short form, is one.
        let mut all: Vec<TraceId> = Vec::new();
        for id in ids {
            let id = id.parse()?;
            if !all.contains(&id) {
                all.push(id);
            }
        }
        Ids { ids: all, missing: Vec::new() }
    };
    let Read { answers, unknown, missing } = jaeger.read_all(&tenant, ids, made).await?;
    Ok(answer::of_json(answers, &missing, &unknown))
}

/// `/api/traces/{id}`
pub async fn trace(
    State(jaeger): State<Jaeger>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let ids = Ids { ids: vec![id?.parse()?], missing: Vec::new() };
    let Read { answers, missing, .. } = jaeger.read_all(&Tenant::from_headers(&headers)?, ids, made).await?;
    if answers.is_empty() && missing.is_empty() {
        return Err(Refused::Unknown);
    }
    Ok(answer::of_json(answers, &missing, &[]))
}

/// What is said to who wants to archive a trace.
pub const NO_ARCHIVE: &str =
    "there is no archive: traces are kept for as long as retention_s says; clew export writes them to a file";

/// `/api/archive/{id}`
pub async fn archive(id: Result<Path<String>, PathRejection>) -> Result<Answer<()>, Refused> {
    id?.parse::<TraceId>()?;
    Err(Refused::Unsupported(NO_ARCHIVE))
}

/// A trace in the JSON of Jaeger's UI.
fn made(id: TraceId, trace: lookup::Trace) -> Result<String, Refused> {
    let trace = model::of_otlp(&trace.spans).ok_or(Refused::Damaged(id))?;
    Ok(json::written(id, &trace))
}

/// From microseconds; the last two days when nothing is said.
fn range(jaeger: &Jaeger, params: &Params) -> Result<Range, Refused> {
    let ns = |us: u64| i64::try_from(us.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let start = params.number("start")?.map(ns);
    let length = match start {
        // The UI says `custom` besides a start.
        Some(_) => None,
        None => params.duration_ns("lookback")?.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX)),
    };
    let Range { start, end } = jaeger.range(start, params.number("end")?.map(ns), length);
    if end < start {
        return Err(Refused::invalid(format!("start is {start} ns and end is {end} ns: the end is before the start")));
    }
    // Jaeger's end is in the range.
    Ok(Range { start, end: end.saturating_add(1_000) })
}

fn wanted(params: &Params) -> Result<Wanted, Refused> {
    let text = |name: &str| params.text(name).map(str::to_owned);
    // The UI says `all` for any.
    let operation = text("operation").filter(|operation| operation != "all");
    Ok(Wanted {
        service: text("service"),
        operation,
        min_ns: params.duration_ns("minDuration")?,
        max_ns: params.duration_ns("maxDuration")?,
        tags: tags(params)?,
    })
}

/// The tags that are asked for.
pub fn tags(params: &Params) -> Result<Vec<(String, String)>, Refused> {
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
    Ok(tags)
}
