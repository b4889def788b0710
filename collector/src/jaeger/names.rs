//! Services, what they do, and which call which.

use axum::extract::{Path, Query, State, rejection::PathRejection};
use clew_common::ids::Tenant;
use clew_query::{
    exec::{Dependency, Range, SearchOptions, TagCombinations, TagOptions},
    traceql::{
        ast::{Field, Intrinsic, Kind},
        value::Value,
    },
};
use http::HeaderMap;
use serde::Serialize;

use super::{
    Jaeger,
    answer::Answer,
    condition::{self, service_name},
    model::NO_SERVICE,
    params::Params,
    refused::Refused,
};

/// How far back calls are counted when nothing is said: a day.
const DEFAULT_LOOKBACK_NS: i64 = 86_400 * 1_000_000_000;
/// Names at most, and what they may take together: what clients of gRPC let into one message is 4 MiB.
const MAX_NAMES: usize = 100_000;
const MAX_NAMES_BYTES: usize = 3 << 20;
const KINDS: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];

/// What a service does, and on which side of a call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    pub name: String,
    /// Empty when the spans say none.
    pub span_kind: &'static str,
}

/// Calls of one service by another.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    parent: String,
    child: String,
    call_count: u64,
}

impl Jaeger {
    /// All services, in order.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn services(&self, tenant: &Tenant) -> Result<Answer<Vec<String>>, Refused> {
        let mut found = self.names(tenant, service_name(), String::new()).await?;
        let nameless = format!("{{ {} = nil }}", service_name());
        let options = SearchOptions { range: Range::ALL, limit: 1, spans: 1 };
        if !self.queries.search(tenant, nameless, options).await?.answer.traces.is_empty() {
            found.data.push(NO_SERVICE.to_owned());
            found.data.sort();
            found.data.dedup();
        }
        Ok(bounded(found.data, found.missing, String::len))
    }

    /// What a service does, in order, with spans of one kind or of all.
    ///
    /// # Errors
    /// When no service is said, there is no such kind, or there is no answer.
    pub async fn operations(
        &self,
        tenant: &Tenant,
        service: Option<&str>,
        wanted: Option<&str>,
    ) -> Result<Answer<Vec<Operation>>, Refused> {
        let service = service.ok_or_else(|| Refused::invalid("parameter 'service' is required"))?;
        if let Some(kind) = wanted.filter(|kind| !KINDS.contains(kind)) {
            return Err(Refused::invalid(format!("spanKind is {kind:?}; expected one of {}", KINDS.join(", "))));
        }
        let fields = [Intrinsic::Name, Intrinsic::Kind].map(Field::Intrinsic).to_vec();
        let options = TagOptions { range: Range::ALL, limit: MAX_NAMES + 1 };
        let asked = self.queries.tag_combinations(tenant, fields, of_service(service, wanted), options).await?;
        let TagCombinations { values, missing, .. } = asked.answer;
        let mut operations: Vec<Operation> = values.into_iter().filter_map(operation).collect();
        operations.sort_by(|a, b| (&a.name, a.span_kind).cmp(&(&b.name, b.span_kind)));
        Ok(bounded(operations, missing, |one| one.name.len() + one.span_kind.len()))
    }

    /// Which services call which. Not said: until now, and for a day.
    ///
    /// # Errors
    /// When the range makes no sense or there is no answer.
    pub async fn dependencies(
        &self,
        tenant: &Tenant,
        start: Option<i64>,
        end: Option<i64>,
    ) -> Result<Answer<Vec<Dependency>>, Refused> {
        let range = self.range(start, end, Some(DEFAULT_LOOKBACK_NS));
        if range.end < range.start {
            return Err(Refused::invalid("the end of the time range is before the start"));
        }
        let found = self.queries.dependencies(tenant, range).await?.answer;
        Ok(Answer::of(found.dependencies, found.missing))
    }

    /// The texts that a field is in the spans that a filter finds, in order; perhaps one more than there may be.
    async fn names(&self, tenant: &Tenant, field: Field, filter: String) -> Result<Answer<Vec<String>>, Refused> {
        let options = TagOptions { range: Range::ALL, limit: MAX_NAMES + 1 };
        let found = self.queries.tag_values(tenant, field, filter, options).await?.answer;
        let text = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let mut data: Vec<String> = found.values.into_iter().filter_map(text).collect();
        data.sort();
        Ok(Answer::of(data, found.missing))
    }
}

/// `/api/services`
pub async fn services(State(jaeger): State<Jaeger>, headers: HeaderMap) -> Result<Answer<Vec<String>>, Refused> {
    jaeger.services(&Tenant::from_headers(&headers)?).await
}

/// `/api/services/{service}/operations`
pub async fn operations_of(
    State(jaeger): State<Jaeger>,
    service: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Answer<Vec<String>>, Refused> {
    let name = Field::Intrinsic(Intrinsic::Name);
    let found = jaeger.names(&Tenant::from_headers(&headers)?, name, of_service(&service?, None)).await?;
    Ok(bounded(found.data, found.missing, String::len))
}

/// `/api/operations`
pub async fn operations(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Answer<Vec<Operation>>, Refused> {
    jaeger.operations(&Tenant::from_headers(&headers)?, params.text("service"), params.text("spanKind")).await
}

/// `/api/dependencies`: up to `endTs`, from `lookback` before it, both in milliseconds; those of a `service`, or all.
pub async fn dependencies(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Answer<Vec<Call>>, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    let ns = |ms: u64| i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    let lookback = params.number("lookback")?.map(ns);
    let Range { start, end } =
        jaeger.range(None, params.number("endTs")?.map(ns), lookback.or(Some(DEFAULT_LOOKBACK_NS)));
    let Answer { data, missing, .. } = jaeger.dependencies(&tenant, Some(start), Some(end)).await?;
    let is_of = |one: &Dependency| params.text("service").is_none_or(|name| one.parent == name || one.child == name);
    let call = |one: Dependency| Call { parent: one.parent, child: one.child, call_count: one.calls };
    Ok(Answer::of(data.into_iter().filter(is_of).map(call).collect(), missing))
}

/// As many as there may be, of those in order; that some are left out is said.
fn bounded<T>(mut names: Vec<T>, mut missing: Vec<String>, bytes: impl Fn(&T) -> usize) -> Answer<Vec<T>> {
    let mut left = MAX_NAMES_BYTES;
    let fits = names.iter().take(MAX_NAMES).take_while(|name| {
        // What a message has around each.
        let rest = left.checked_sub(bytes(name) + 16);
        left = rest.unwrap_or(0);
        rest.is_some()
    });
    let fits = fits.count();
    if fits < names.len() {
        names.truncate(fits);
        missing.push(format!("there are more names than fit into an answer; these are the first {fits}"));
    }
    Answer::of(names, missing)
}

/// A name and a kind.
fn operation(values: Vec<Value>) -> Option<Operation> {
    let [Value::String(name), kind] = <[Value; 2]>::try_from(values).ok()? else { return None };
    let span_kind = match kind {
        Value::Kind(kind) if kind != Kind::Unspecified => kind.name(),
        _ => "",
    };
    Some(Operation { name, span_kind })
}

fn of_service(service: &str, kind: Option<&str>) -> String {
    let kind = kind.map_or_else(String::new, |kind| format!(" && kind = {kind}"));
    format!("{{ {}{kind} }}", condition::of_service(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_left_out_are_told() {
        let all = |names: Vec<String>| bounded(names, Vec::new(), String::len);
        let few = all(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!((few.data.len(), few.total, few.missing.len()), (2, 2, 0));
        let many = all((0..=MAX_NAMES).map(|at| format!("{at:06}")).collect());
        assert!(many.data.len() <= MAX_NAMES && many.total == many.data.len() && many.missing.len() == 1);
        assert_eq!(many.data[0], "000000");
        let long = all((0..4).map(|at| format!("{at}{}", "x".repeat(1 << 20))).collect());
        assert_eq!(long.data.len(), 2);
        assert!(long.missing[0].ends_with("the first 2"), "{:?}", long.missing);
    }
}
