//! A collector with the spans of a small shop, and a client of its APIs.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Collector;

/// A collector, and whoever asks it.
pub struct Shop {
    pub collector: Collector,
    pub client: reqwest::Client,
    _dir: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of an answer that is whole.
    pub fn whole(self) -> Result<Value> {
        ensure!(self.status == 200, "{} {}", self.status, self.text());
        ensure!(self.headers["content-type"] == "application/json", "{:?}", self.headers);
        ensure!(!self.headers.contains_key("x-clew-partial"), "{:?}", self.headers);
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Now, in nanoseconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}

/// The id of the trace with this number.
pub fn trace_id(number: u32) -> String {
    format!("{:032x}", u128::from(number) | 0xc1e3 << 112)
}

/// An order: a server span of the shop with an error in a call to its payments below it, 250 ms in all.
pub fn order(number: u32, start: u64) -> Value {
    let at = |ms: u64| (start + ms * 1_000_000).to_string();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let trace = trace_id(number);
    let root = json!({
        "traceId": trace, "spanId": format!("{:016x}", 1), "name": "POST /orders", "kind": 2,
        "startTimeUnixNano": at(0), "endTimeUnixNano": at(250),
        "attributes": [
            text("http.method", "POST"),
            {"key": "http.status_code", "value": {"intValue": "200"}},
            {"key": "order", "value": {"intValue": number.to_string()}},
            {"key": "vip", "value": {"boolValue": true}},
            {"key": "amount", "value": {"doubleValue": 9.5}},
            {"key": "items", "value": {"arrayValue": {"values": [{"stringValue": "tea"}, {"stringValue": "cup"}]}}},
        ],
    });
    let charge = json!({
        "traceId": trace, "spanId": format!("{:016x}", 2), "parentSpanId": format!("{:016x}", 1),
        "name": "charge", "kind": 3, "startTimeUnixNano": at(10), "endTimeUnixNano": at(110),
        "attributes": [text("card.kind", "credit card"), text("say \"hi\"", "yes")],
        "status": {"code": 2, "message": "declined"},
        "events": [{"timeUnixNano": at(20), "name": "exception", "attributes": [text("exception.type", "Declined")]}],
        "links": [{"traceId": trace_id(9_999), "spanId": format!("{:016x}", 7), "attributes": [text("why", "retry")]}],
    });
    let resource = |service: &str| json!({"attributes": [text("service.name", service), text("region", "eu")]});
    let scope = json!({"name": "shop.http", "version": "1.2", "attributes": [text("library", "hand")]});
    json!({"resourceSpans": [
        {"resource": resource("shop"), "scopeSpans": [{"scope": scope, "spans": [root]}]},
        {"resource": resource("payments"), "scopeSpans": [{"scope": scope, "spans": [charge]}]},
    ]})
}

impl Shop {
    /// Opens, without spans.
    pub fn open(flags: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let collector = Collector::start(&dir.path().join("collector"), flags)?;
        Ok(Self { collector, client: reqwest::Client::new(), _dir: dir })
    }

    /// Sends spans and waits for the ack.
    pub async fn send(&self, tenant: Option<&str>, spans: &Value) -> Result<()> {
        let mut request = self.client.post(format!("http://{}/v1/traces", self.collector.http)).json(spans);
        if let Some(tenant) = tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status == 200 && text == r#"{"partialSuccess":{}}"#, "{status} {text}");
        Ok(())
    }

    /// Asks for a path below Tempo's port.
    pub async fn ask(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer> {
        self.ask_with(&[], path, params).await
    }

    /// The same with headers.
    pub async fn ask_with(
        &self,
        headers: &[(&'static str, &str)],
        path: &str,
        params: &[(&str, &str)],
    ) -> Result<Answer> {
        let mut request = self.client.get(url(&self.collector.tempo_url(), path, params)?);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.bytes().await?.to_vec() })
    }

    /// The JSON of an answer that is whole.
    pub async fn get(&self, path: &str, params: &[(&str, &str)]) -> Result<Value> {
        self.ask(path, params).await?.whole().with_context(|| format!("{path} {params:?}"))
    }

    /// The ids of the traces that a query finds, in order.
    pub async fn found(&self, params: &[(&str, &str)]) -> Result<Vec<String>> {
        let answer = self.get("/api/search", params).await?;
        let traces = answer["traces"].as_array().context("traces")?;
        traces.iter().map(|trace| Ok(trace["traceID"].as_str().context("traceID")?.to_owned())).collect()
    }
}

/// A URL with parameters.
pub fn url(base: &str, path: &str, params: &[(&str, &str)]) -> Result<reqwest::Url> {
    let mut url = reqwest::Url::parse(&format!("{base}{path}"))?;
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    Ok(url)
}
