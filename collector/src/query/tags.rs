//! What attributes are called, and what values fields have.

use clew_common::ids::Tenant;
use clew_proto::{
    opentelemetry::proto::common::v1::AnyValue,
    v1::{ScopeTags, TagNamesRequest, TagNamesResponse, TagScope, TagValuesRequest, TagValuesResponse},
};
use clew_query::exec::{self, TagOptions};
use prost::Message;
use tonic::Status;

use crate::queries::{
    Queries, QueryError,
    bounds::{DEFAULT_TAGS, MAX_TAGS, range_ns, within},
    field::field,
    partial::{left_out, reasons},
    parts::{self, MESSAGE_BYTES, Room},
    value::any,
};

const SCOPES: [(TagScope, exec::TagScope); 6] = [
    (TagScope::Span, exec::TagScope::Span),
    (TagScope::Resource, exec::TagScope::Resource),
    (TagScope::Event, exec::TagScope::Event),
    (TagScope::Link, exec::TagScope::Link),
    (TagScope::Instrumentation, exec::TagScope::Instrumentation),
    (TagScope::Intrinsic, exec::TagScope::Intrinsic),
];

/// Names.
pub async fn names(queries: &Queries, tenant: &Tenant, request: TagNamesRequest) -> Result<TagNamesResponse, Status> {
    let options = TagOptions {
        range: range_ns(request.start_unix_nano, request.end_unix_nano)?,
        limit: within("limit", request.limit, DEFAULT_TAGS, MAX_TAGS)?,
    };
    let scope = match TagScope::try_from(request.scope) {
        Ok(TagScope::Unspecified) => None,
        Ok(said) => SCOPES.iter().find(|(ours, _)| *ours == said).map(|(_, scope)| *scope),
        Err(_) => return Err(QueryError::invalid(format!("{} is no scope", request.scope)).into()),
    };
    let tags = queries.tag_names(tenant, scope, request.query, options).await?.answer;
    let mut partial_reasons = reasons(tags.missing);
    let (mut scopes, shares) = (Vec::new(), tags.scopes.len());
    for (of, names) in tags.scopes {
        let Some((scope, _)) = SCOPES.iter().find(|(_, theirs)| *theirs == of) else { continue };
        let (names, cut) = Room::shared_by(shares).keep(names, String::len);
        partial_reasons.extend(left_out(names.len(), cut, &format!("names of {of:?} attributes").to_lowercase()));
        scopes.push(ScopeTags { scope: (*scope).into(), names });
    }
    Ok(TagNamesResponse { scopes, partial_reasons })
}

/// The messages with values.
pub async fn values(
    queries: &Queries,
    tenant: &Tenant,
    request: TagValuesRequest,
) -> Result<Vec<TagValuesResponse>, Status> {
    let options = TagOptions {
        range: range_ns(request.start_unix_nano, request.end_unix_nano)?,
        limit: within("limit", request.limit, DEFAULT_TAGS, MAX_TAGS)?,
    };
    let found = queries.tag_values(tenant, field(&request.field)?, request.query, options).await?.answer;
    let fits = |value: &AnyValue| value.encoded_len() <= MESSAGE_BYTES;
    let (values, long): (Vec<_>, Vec<_>) = found.values.iter().map(any).partition(fits);
    let mut partial_reasons = reasons(found.missing);
    partial_reasons.extend(left_out(values.len(), long.len(), "values"));
    let parts = parts::cut(values, AnyValue::encoded_len);
    let mut messages: Vec<_> =
        parts.into_iter().map(|values| TagValuesResponse { values, partial_reasons: Vec::new() }).collect();
    if let Some(last) = messages.last_mut() {
        last.partial_reasons = partial_reasons;
    }
    Ok(messages)
}
