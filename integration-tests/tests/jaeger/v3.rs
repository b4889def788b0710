//! Jaeger's newer API over HTTP: /api/v3.

use anyhow::{Context, Result, ensure};
use clew_integration_tests::shop::{Shop, now, order, trace_id, url};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// The status, the headers and the JSON of an answer.
pub async fn ask(
    shop: &Shop,
    tenant: Option<&str>,
    path: &str,
    params: &[(&str, &str)],
) -> Result<(u16, HeaderMap, Value)> {
    let mut request = shop.client.get(url(&format!("http://{}/api/v3", shop.collector.web), path, params)?);
    if let Some(tenant) = tenant {
        request = request.header("x-scope-orgid", tenant);
    }
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    ensure!(headers["content-type"] == "application/json", "{headers:?}");
    Ok((status, headers, answer.json().await?))
}

/// The ids of the traces that are found, by their summaries and by their spans.
async fn found(shop: &Shop, params: &[(&str, &str)]) -> Result<Vec<String>> {
    let (status, _, summaries) = ask(shop, None, "/trace-summaries", params).await?;
    ensure!(status == 200, "{summaries}");
    let id = |value: &Value| Ok(value["traceId"].as_str().context("traceId")?.to_owned());
    let ids = summaries["summaries"].as_array().context("summaries")?.iter().map(id).collect::<Result<Vec<_>>>()?;
    let (status, _, traces) = ask(shop, None, "/traces", params).await?;
    if ids.is_empty() {
        ensure!(status == 404 && traces["error"]["httpCode"] == 404, "{traces}");
        return Ok(ids);
    }
    ensure!(status == 200, "{traces}");
    let resources = traces["result"]["resourceSpans"].as_array().context("resourceSpans")?;
    let mut with_spans =
        resources.iter().map(|resource| id(&resource["scopeSpans"][0]["spans"][0])).collect::<Result<Vec<_>>>()?;
    with_spans.dedup();
    ensure!(ids == with_spans, "{ids:?} {with_spans:?}");
    Ok(ids)
}

/// A time as clients write it.
fn time(ns: u64) -> String {
    humantime::format_rfc3339_nanos(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(ns)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_searched_by_all_parameters_in_either_spelling() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now() - 10_000_000_000;
    for number in 1..4 {
        shop.send(None, &order(number, start + u64::from(number) * 1_000_000_000)).await?;
    }
    let all = [trace_id(3), trace_id(2), trace_id(1)];
    let (from, to, second) = (time(start), time(now()), time(start + 2_000_000_000));
    let whole = [("query.start_time_min", &*from), ("query.start_time_max", &*to)];
    for (params, traces) in [
        (&[][..], &all[..]),
        (&[("query.service_name", "shop")], &all),
        (&[("query.serviceName", "nobody")], &[]),
        (&[("query.service_name", "payments"), ("query.search_depth", "2")], &all[..2]),
        (&[("query.searchDepth", "1")], &all[..1]),
        (&[("query.num_traces", "1")], &all[..1]),
        (&[("query.service_name", "payments"), ("query.operation_name", "charge")], &all),
        (&[("query.serviceName", "shop"), ("query.operationName", "charge")], &[]),
        (&[("query.duration_min", "200ms")], &all),
        (&[("query.durationMin", "251ms")], &[]),
        (&[("query.durationMax", "100ms"), ("query.serviceName", "shop")], &[]),
        (&[("query.attributes", r#"{"order": "2", "vip": "true"}"#)], &all[1..2]),
        (&[("query.attributes", r#"{"error": "true", "region": "eu"}"#), ("query.raw_traces", "true")], &all),
        (&[("query.startTimeMin", &*second)], &all[..2]),
        // The end is excluded.
        (&[("query.startTimeMax", &*second), ("query.service_name", "shop")], &all[2..]),
    ] {
        assert_eq!(found(&shop, &[params, &whole].concat()).await?, traces, "{params:?}");
    }
    let (status, _, answer) = ask(&shop, None, &format!("/traces/{}", trace_id(2)), &[("raw_traces", "1")]).await?;
    assert_eq!((status, answer["result"]["resourceSpans"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_may_be_posted() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now() - 10_000_000_000;
    for number in 1..4 {
        shop.send(None, &order(number, start)).await?;
    }
    let post = async |path: &str, body: String| {
        let request = shop.client.post(format!("http://{}/api/v3{path}", shop.collector.web)).body(body);
        let answer = request.send().await?;
        anyhow::Ok((answer.status().as_u16(), answer.json::<Value>().await?))
    };
    let range = json!({"startTimeMin": time(start), "start_time_max": time(now()), "durationMin": "0.2s"});
    let mut query = range.clone();
    query["attributes"] = json!({"order": "2"});
    query["searchDepth"] = 5.into();
    for path in ["/traces", "/trace-summaries"] {
        let (status, answer) = post(path, json!({"query": query}).to_string()).await?;
        assert!(status == 200 && answer.to_string().contains(&trace_id(2)), "{answer}");
        assert!(!answer.to_string().contains(&trace_id(1)), "{answer}");
        for (body, why) in [
            (String::new(), "malformed body"),
            ("[]".to_owned(), "malformed body"),
            ("[".repeat(100_000), "malformed body"),
            ("{}".to_owned(), "missing field `query`"),
            (json!({"query": {}}).to_string(), "are required"),
            (json!({"query": {"pagination": {"pageSize": 1}}}).to_string(), "query.pagination is not offered"),
        ] {
            let (status, answer) = post(path, body).await?;
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(status == 400 && message.contains(why), "{why}: {status} {answer}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_traces_of_its_own() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(Some("team-a"), &order(1, now())).await?;
    let path = format!("/traces/{}", trace_id(1));
    assert_eq!(ask(&shop, Some("team-a"), &path, &[]).await?.0, 200);
    assert_eq!(ask(&shop, None, &path, &[]).await?.0, 404);
    assert_eq!(ask(&shop, Some("team-a"), "/services", &[]).await?.2["services"][0], "payments");
    assert_eq!(ask(&shop, None, "/services", &[]).await?.2, json!({"services": []}));
    assert_eq!(ask(&shop, Some("../x"), "/services", &[]).await?.0, 400);
    Ok(())
}
