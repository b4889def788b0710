//! `/api/traces` and `/api/v2/traces`

use anyhow::Result;
use clew_integration_tests::shop::{Shop, now, order, trace_id};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::Value;

/// The names of the spans of ResourceSpans in JSON.
fn names(resource_spans: &Value) -> Vec<&str> {
    let resources = resource_spans.as_array().into_iter().flatten();
    let scopes = resources.flat_map(|resource| resource["scopeSpans"].as_array().into_iter().flatten());
    let spans = scopes.flat_map(|scope| scope["spans"].as_array().into_iter().flatten());
    let mut names: Vec<&str> = spans.filter_map(|span| span["name"].as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_comes_in_each_form_that_tempos_clients_ask_for() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now();
    shop.send(None, &order(1, start)).await?;
    let id = trace_id(1);
    let expected = ["POST /orders", "charge"];
    let (from, to) = ((start / 1_000_000_000 - 60).to_string(), (start / 1_000_000_000 + 60).to_string());
    // Grafana says the time, too.
    for params in [&[][..], &[("start", &*from), ("end", &*to)]] {
        let first = shop.get(&format!("/api/traces/{id}"), params).await?;
        assert_eq!(names(&first["batches"]), expected, "{first}");
        let second = shop.get(&format!("/api/v2/traces/{id}"), params).await?;
        assert_eq!(names(&second["trace"]["resourceSpans"]), expected, "{second}");
        assert!(second.get("status").is_none(), "{second}");

        let accept = [("accept", "application/protobuf")];
        let answer = shop.ask_with(&accept, &format!("/api/traces/{id}"), params).await?;
        assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/protobuf".parse()?));
        let spans = TracesData::decode(&*answer.body)?;
        let scopes = spans.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let mut found: Vec<&str> = scopes.flat_map(|scope| &scope.spans).map(|span| &*span.name).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        // Of the second form the trace is a field.
        let answer = shop.ask_with(&accept, &format!("/api/v2/traces/{id}"), params).await?;
        let trace = answer.body.windows(spans.encoded_len()).any(|bytes| bytes == spans.encode_to_vec());
        assert!(answer.status == 200 && trace, "{} bytes", answer.body.len());
    }
    for (path, status) in [(format!("/api/traces/{}", trace_id(2)), 404), ("/api/v2/traces/nothing".to_owned(), 400)] {
        let answer = shop.ask(&path, &[]).await?;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let other = shop.ask_with(&[("x-scope-orgid", "team-a")], &format!("/api/traces/{id}"), &[]).await?;
    assert_eq!(other.status, 404);
    Ok(())
}
