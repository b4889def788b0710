//! `/sql`: a query in, rows out, as they are worked out.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use clew_common::ids::Tenant;
use clew_sql::format::{Format, Writer};
use futures_util::stream;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::queries::{Queries, QueryError, Rows, SqlQuery, partial};

#[derive(Deserialize)]
struct Parameters {
    q: Option<String>,
    format: Option<Format>,
}

/// All of it.
pub fn router(queries: Queries) -> Router {
    let not_so = || async {
        let why = json!({ "error": "/sql takes GET with ?q=SELECT..., or POST with the query as its body" });
        (StatusCode::METHOD_NOT_ALLOWED, axum::Json(why))
    };
    Router::new().route("/sql", get(by_get).post(by_post)).method_not_allowed_fallback(not_so).with_state(queries)
}

async fn by_get(
    State(queries): State<Queries>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Parameters { q, format } = parameters?.0;
    let text =
        q.ok_or_else(|| QueryError::invalid("say a query: /sql?q=SELECT..., or send it as the body of a POST"))?;
    answer(queries, text, format, &headers).await
}

async fn by_post(
    State(queries): State<Queries>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refused> {
    let Parameters { q, format } = parameters?.0;
    answer(queries, q.unwrap_or(body), format, &headers).await
}

async fn answer(
    queries: Queries,
    text: String,
    format: Option<Format>,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(headers).map_err(|error| QueryError::invalid(error.to_string()))?;
    let accepted = || headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).and_then(Format::accepted);
    let format = format.or_else(accepted).unwrap_or(Format::Json);
    let mut rows = queries.sql(&tenant, SqlQuery { text, parameters: None }).await?;
    let missing = rows.missing.clone();
    let mut writer = Writer::new(format, rows.schema.clone());
    // An error that comes instead of rows, or soon after the first, can still be told as one.
    let mut first = Vec::new();
    let mut next_batch = rows.batches.recv().await;
    let until = Instant::now() + HELD;
    while let Some(batch) = next_batch {
        first.append(&mut writer.write(&batch?).map_err(failed)?);
        if first.len() > MAX_HELD_BYTES {
            break;
        }
        next_batch = timeout_at(until, rows.batches.recv()).await.unwrap_or_default();
    }
    let body = Body::from_stream(stream::try_unfold(Left::Rows(first, rows, Box::new(writer)), next));
    let mut response = ([(CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], body).into_response();
    partial::mark(response.headers_mut(), &missing);
    Ok(response)
}

/// For so long, and up to so many bytes, rows are held back when there are some.
const HELD: Duration = Duration::from_millis(100);
const MAX_HELD_BYTES: usize = 256 << 10;

/// How far an answer is.
enum Left {
    /// Bytes to send, and what is to come.
    Rows(Vec<u8>, Rows, Box<Writer>),
    Done,
}

/// The next bytes. After an error the body is cut off, so that no client takes it for whole.
async fn next(state: Left) -> Result<Option<(Bytes, Left)>, QueryError> {
    let Left::Rows(bytes, mut rows, mut writer) = state else { return Ok(None) };
    if !bytes.is_empty() {
        return Ok(Some((bytes.into(), Left::Rows(Vec::new(), rows, writer))));
    }
    loop {
        match rows.batches.recv().await {
            Some(batch) => {
                let bytes = writer.write(&batch?).map_err(failed)?;
                if !bytes.is_empty() {
                    return Ok(Some((bytes.into(), Left::Rows(Vec::new(), rows, writer))));
                }
            }
            None => return Ok(Some((writer.finish().map_err(failed)?.into(), Left::Done))),
        }
    }
}

fn failed(error: arrow_schema::ArrowError) -> QueryError {
    QueryError::invalid(format!("the answer cannot be written in this format: {error}"))
}

/// A query that is not answered.
struct Refused(QueryError);

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        Self(error)
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self(QueryError::invalid(rejection.body_text()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.0.status(), axum::Json(json!({ "error": self.0.to_string() }))).into_response();
        if let QueryError::Refused { retry } = self.0 {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry.as_secs().max(1)));
        }
        response
    }
}
