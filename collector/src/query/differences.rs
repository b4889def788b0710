//! Which services call which, and in what spans differ from others.

use clew_common::ids::Tenant;
use clew_proto::v1::{
    DependenciesRequest, DependenciesResponse, Dependency, ExplainRequest, ExplainResponse, OverRepresented,
};
use clew_query::{
    analysis::over::{Counted, Over},
    exec::{ExplainOptions, Sample},
    traceql::{ast::Field, value::Value},
};
use prost::Message;
use tonic::Status;

use crate::queries::{
    Queries,
    bounds::{range_ns, within},
    partial::{left_out, reasons},
    parts::Room,
    value::key_value,
};

/// Values of an answer when nothing is said, and at most.
const DEFAULT_VALUES: u32 = 20;
const MAX_VALUES: u32 = 1_000;
/// Values of one field at most: others have something to say too.
const FIELD_VALUES: usize = 5;

/// Which services call which.
pub async fn dependencies(
    queries: &Queries,
    tenant: &Tenant,
    request: DependenciesRequest,
) -> Result<DependenciesResponse, Status> {
    let range = range_ns(request.start_unix_nano, request.end_unix_nano)?;
    let found = queries.dependencies(tenant, range).await?.answer;
    let dependencies = found.dependencies.into_iter().map(|one| Dependency {
        parent: one.parent,
        child: one.child,
        calls: one.calls,
        errors: one.errors,
    });
    let (dependencies, cut) = Room::shared_by(1).keep(dependencies, Dependency::encoded_len);
    let mut partial_reasons = reasons(found.missing);
    partial_reasons.extend(left_out(dependencies.len(), cut, "pairs of services"));
    Ok(DependenciesResponse { dependencies, partial_reasons })
}

/// In what spans differ from others.
pub async fn explain(queries: &Queries, tenant: &Tenant, request: ExplainRequest) -> Result<ExplainResponse, Status> {
    let options = ExplainOptions {
        range: range_ns(request.start_unix_nano, request.end_unix_nano)?,
        values: FIELD_VALUES,
        limit: within("limit", request.limit, DEFAULT_VALUES, MAX_VALUES)?,
        sample: Sample::USUAL,
    };
    let found = queries.explain(tenant, request.selection, request.baseline, options).await?.answer;
    let value =
        |Over { counted: Counted { value: (field, value), selection, baseline }, score }: Over<(Field, Value)>| {
            OverRepresented { value: Some(key_value(&field.to_string(), &value)), selection, baseline, score }
        };
    let (values, cut) = Room::shared_by(1).keep(found.over.into_iter().map(value), OverRepresented::encoded_len);
    let mut partial_reasons = reasons(found.missing);
    partial_reasons.extend(left_out(values.len(), cut, "values"));
    Ok(ExplainResponse { selection: found.totals.selection, baseline: found.totals.baseline, values, partial_reasons })
}
