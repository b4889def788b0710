//! What attributes are called, and what values they have: for editors that complete queries.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use clew_common::ids::Tenant;
use clew_proto::tempopb::{
    MetadataMetrics, SearchTagValuesRequest, SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsRequest,
    SearchTagsResponse, SearchTagsV2Response, SearchTagsV2Scope, TagValue,
};
use clew_query::{
    exec::{TagOptions, TagScope},
    traceql::{ast::Field, value::Value},
};
use http::HeaderMap;

use super::{
    Tempo,
    error::Refused,
    params::Params,
    respond::{Reply, took},
    tags_query,
};
use crate::queries::{
    Answer, Asked,
    bounds::{DEFAULT_TAGS, MAX_TAGS, range_s, within},
    field::field,
    value,
};

/// As Tempo calls them.
const SCOPES: [(&str, TagScope); 6] = [
    ("resource", TagScope::Resource),
    ("span", TagScope::Span),
    ("event", TagScope::Event),
    ("link", TagScope::Link),
    ("instrumentation", TagScope::Instrumentation),
    ("intrinsic", TagScope::Intrinsic),
];

/// `/api/search/tags`
pub async fn names_v1(
    State(tempo): State<Tempo>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    Ok(tempo.tag_names_v1(&tenant, names_request(&params)?).await?.over_http(&headers))
}

/// `/api/v2/search/tags`
pub async fn names_v2(
    State(tempo): State<Tempo>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    Ok(tempo.tag_names(&tenant, names_request(&params)?).await?.over_http(&headers))
}

/// `/api/search/tag/{tag}/values`
pub async fn values_v1(
    State(tempo): State<Tempo>,
    Path(tag): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    Ok(tempo.tag_values_v1(&tenant, values_request(tag, &params)?).await?.over_http(&headers))
}

/// `/api/v2/search/tag/{tag}/values`
pub async fn values_v2(
    State(tempo): State<Tempo>,
    Path(tag): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    Ok(tempo.tag_values(&tenant, values_request(tag, &params)?).await?.over_http(&headers))
}

fn names_request(params: &Params) -> Result<SearchTagsRequest, Refused> {
    Ok(SearchTagsRequest {
        scope: params.text("scope").unwrap_or_default().to_owned(),
        query: params.text("q").unwrap_or_default().to_owned(),
        start: params.time_s("start")?,
        end: params.time_s("end")?,
        max_tags_per_scope: params.count("limit")?,
        ..SearchTagsRequest::default()
    })
}

fn values_request(tag: String, params: &Params) -> Result<SearchTagValuesRequest, Refused> {
    Ok(SearchTagValuesRequest {
        tag_name: unescaped(tag),
        query: params.text("q").unwrap_or_default().to_owned(),
        start: params.time_s("start")?,
        end: params.time_s("end")?,
        max_tag_values: params.count("limit")?,
        ..SearchTagValuesRequest::default()
    })
}

/// Grafana escapes names twice, and not everything between it and here takes the first away.
fn unescaped(tag: String) -> String {
    let mut bytes = Vec::with_capacity(tag.len());
    let mut rest = tag.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = if *first == b'%' { behind.first_chunk::<2>() } else { None };
        let mut byte = [0];
        match code {
            Some(code) if hex::decode_to_slice(code, &mut byte).is_ok() => {
                bytes.push(byte[0]);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or(tag)
}

impl Tempo {
    /// What attributes are called, by scope.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tag_names(
        &self,
        tenant: &Tenant,
        request: SearchTagsRequest,
    ) -> Result<Reply<SearchTagsV2Response>, Refused> {
        let options = TagOptions {
            range: range_s(request.start, request.end)?,
            limit: within("limit", request.max_tags_per_scope, DEFAULT_TAGS, MAX_TAGS)?,
        };
        let asked = self.queries.tag_names(tenant, scope(&request.scope)?, request.query, options).await?;
        let metrics = Some(metadata(&asked));
        let Asked { answer, .. } = asked;
        let name = |scope: TagScope| SCOPES.iter().find(|(_, other)| *other == scope).map_or("", |(name, _)| name);
        let scopes = answer.scopes.into_iter().filter(|(_, tags)| !tags.is_empty());
        let scopes = scopes.map(|(scope, tags)| SearchTagsV2Scope { name: name(scope).to_owned(), tags });
        let message = SearchTagsV2Response { scopes: scopes.collect(), metrics };
        Ok(Reply { message, missing: answer.missing })
    }

    /// What attributes are called. What every span has is not listed unless it is asked for.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tag_names_v1(
        &self,
        tenant: &Tenant,
        request: SearchTagsRequest,
    ) -> Result<Reply<SearchTagsResponse>, Refused> {
        let intrinsics = scope(&request.scope)? == Some(TagScope::Intrinsic);
        let Reply { message, missing } = self.tag_names(tenant, request).await?;
        let scopes = message.scopes.into_iter().filter(|scope| intrinsics || scope.name != "intrinsic");
        let names: BTreeSet<String> = scopes.flat_map(|scope| scope.tags).collect();
        let message = SearchTagsResponse { tag_names: names.into_iter().collect(), metrics: message.metrics };
        Ok(Reply { message, missing })
    }

    /// The values of a field, with their types.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tag_values(
        &self,
        tenant: &Tenant,
        request: SearchTagValuesRequest,
    ) -> Result<Reply<SearchTagValuesV2Response>, Refused> {
        let field = field(&request.tag_name)?;
        let Reply { message: (values, metrics), missing } = self.values_of(tenant, field, &request).await?;
        let typed = |value: &Value| Some(TagValue { r#type: type_name(value)?.to_owned(), value: value::text(value) });
        let tag_values = values.iter().filter_map(typed).collect();
        Ok(Reply { message: SearchTagValuesV2Response { tag_values, metrics: Some(metrics) }, missing })
    }

    /// The values of an attribute, or of what a search by tags calls so, as text.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tag_values_v1(
        &self,
        tenant: &Tenant,
        request: SearchTagValuesRequest,
    ) -> Result<Reply<SearchTagValuesResponse>, Refused> {
        let field = tags_query::field(&request.tag_name);
        let Reply { message: (values, metrics), missing } = self.values_of(tenant, field, &request).await?;
        let texts: BTreeSet<String> =
            values.iter().filter(|value| type_name(value).is_some()).map(value::text).collect();
        let tag_values = texts.into_iter().collect();
        Ok(Reply { message: SearchTagValuesResponse { tag_values, metrics: Some(metrics) }, missing })
    }

    async fn values_of(
        &self,
        tenant: &Tenant,
        field: Field,
        request: &SearchTagValuesRequest,
    ) -> Result<Reply<(Vec<Value>, MetadataMetrics)>, Refused> {
        let options = TagOptions {
            range: range_s(request.start, request.end)?,
            limit: within("limit", request.max_tag_values, DEFAULT_TAGS, MAX_TAGS)?,
        };
        let asked = self.queries.tag_values(tenant, field, request.query.clone(), options).await?;
        let metrics = metadata(&asked);
        Ok(Reply { message: (asked.answer.values, metrics), missing: asked.answer.missing })
    }
}

/// None: all.
fn scope(name: &str) -> Result<Option<TagScope>, Refused> {
    let known = || SCOPES.map(|(name, _)| name).join(", ");
    match SCOPES.iter().find(|(other, _)| *other == name) {
        Some((_, scope)) => Ok(Some(*scope)),
        None if name.is_empty() || name == "none" => Ok(None),
        None => Err(Refused::invalid(format!("scope is {name:?}; expected one of {}, none", known()))),
    }
}

/// As Tempo calls it. None: it is not to be compared with.
fn type_name(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) => Some("string"),
        Value::Int(_) => Some("int"),
        Value::Float(_) => Some("float"),
        Value::Bool(_) => Some("bool"),
        Value::Duration(_) => Some("duration"),
        Value::Status(_) | Value::Kind(_) => Some("keyword"),
        Value::Nil | Value::Array(_) | Value::Opaque => None,
    }
}

fn metadata<T: Answer>(asked: &Asked<T>) -> MetadataMetrics {
    let took = took(asked);
    MetadataMetrics {
        total_jobs: took.total_jobs,
        completed_jobs: took.completed_jobs,
        total_blocks: took.total_blocks,
        ..MetadataMetrics::default()
    }
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn names_are_unescaped_once_more() {
        for (name, plain) in [
            ("resource.service.name", "resource.service.name"),
            ("span.a%2Fb", "span.a/b"),
            ("span.%22a%20b%22", "span.\"a b\""),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%ff", "%ff"),
            ("%é", "%é"),
        ] {
            assert_eq!(unescaped(name.to_owned()), plain);
        }
    }
}
