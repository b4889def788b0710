//! Replays what Grafana's Tempo data source asks: `grafana.json` has the requests, and shapes of what it reads.
//!
//! A shape is an object, which has just these fields (those with `?` may be missing, `*` is any name: Grafana refuses a message with
//! others), a list of one shape, of which there is one at least, or a name: of a shape, of a type below, or words with `|` between.
//! `json` is what the answer has among its fields, `text` all that it is.

use anyhow::{Context, Result, bail, ensure};
use clew_integration_tests::{
    python,
    shop::{Shop, now, order, trace_id},
};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Map, Value, json};

const SECOND: u64 = 1_000_000_000;

/// tempopb.TraceByIDResponse, as far as Grafana reads it.
#[derive(Clone, PartialEq, Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

/// Says where a value is not of a shape.
fn check(value: &Value, shape: &Value, shapes: &Value, place: &str) -> Result<()> {
    match shape {
        Value::Object(fields) => {
            object(value.as_object().with_context(|| format!("{place}: {value}"))?, fields, shapes, place)
        }
        Value::Array(of) => {
            let items = value.as_array().with_context(|| format!("{place} is no list: {value}"))?;
            ensure!(!items.is_empty(), "{place} is empty");
            items.iter().enumerate().try_for_each(|(at, item)| check(item, &of[0], shapes, &format!("{place}[{at}]")))
        }
        Value::String(name) => match shapes.get(name) {
            Some(shape) => check(value, shape, shapes, place),
            None => {
                ensure!(is_of(value, name), "{place}: {value} is no {name}");
                Ok(())
            }
        },
        shape => bail!("{shape} is no shape"),
    }
}

fn object(found: &Map<String, Value>, fields: &Map<String, Value>, shapes: &Value, place: &str) -> Result<()> {
    for (name, value) in found {
        let shape = fields.get(name).or_else(|| fields.get(&format!("{name}?"))).or_else(|| fields.get("*"));
        let shape = shape.with_context(|| format!("{place} has {name}, which Grafana does not know"))?;
        check(value, shape, shapes, &format!("{place}.{name}"))?;
    }
    let needed = fields.keys().filter(|name| !name.ends_with(['?', '*']));
    for name in needed {
        ensure!(found.contains_key(name), "{place} has no {name}");
    }
    Ok(())
}

fn is_of(value: &Value, kind: &str) -> bool {
    let text = value.as_str();
    let hex = |digits: usize| text.is_some_and(|text| text.len() == digits && hex::decode(text).is_ok());
    match kind {
        "text" => text.is_some(),
        // How protobuf's JSON has 64 bits.
        "digits" => text.is_some_and(|text| text.parse::<u64>().is_ok()),
        "count" => value.is_u64(),
        "number" => value.is_number(),
        "trace id" => hex(32),
        "span id" => hex(16),
        "value" => value.as_object().is_some_and(|one| one.iter().all(|(kind, value)| is_any_value(kind, value))),
        words => words.split('|').any(|word| text == Some(word)),
    }
}

/// A field of OTLP's AnyValue.
fn is_any_value(kind: &str, value: &Value) -> bool {
    match kind {
        "stringValue" => value.is_string(),
        "intValue" => value.as_str().is_some_and(|text| text.parse::<i64>().is_ok()),
        "doubleValue" => value.is_number(),
        "boolValue" => value.is_boolean(),
        "arrayValue" => {
            value["values"].as_array().is_some_and(|values| values.iter().all(|value| is_of(value, "value")))
        }
        _ => false,
    }
}

#[test]
fn what_is_not_of_a_shape_is_told_with_its_place() {
    let requests: Value = serde_json::from_str(include_str!("grafana.json")).unwrap();
    let shapes = &requests["shapes"];
    let good = json!({"tagValues": [{"type": "int", "value": "200"}], "metrics": {"totalJobs": 1}});
    check(&good, &json!("tag values"), shapes, "it").unwrap();
    for (wrong, why) in [
        (json!({"tagValues": []}), "it.tagValues is empty"),
        (json!({"metrics": {}}), "it has no tagValues"),
        (json!({"tagValues": [{"type": "long", "value": "200"}]}), "it.tagValues[0].type"),
        (json!({"tagValues": [{"type": "int", "value": 200}]}), "it.tagValues[0].value"),
        (json!({"tagValues": [{"type": "int", "value": "200"}], "more": 1}), "it has more"),
    ] {
        let error = check(&wrong, &json!("tag values"), shapes, "it").unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// With what `$` stands for.
fn filled(json: &Value, start: u64) -> Result<Value> {
    let (start, end) = (start / SECOND - 60, now() / SECOND + 60);
    let text = json.to_string();
    let text = text.replace("$START_NS", &(start * SECOND).to_string()).replace("$END_NS", &(end * SECOND).to_string());
    let text = text.replace("\"$START\"", &start.to_string()).replace("\"$END\"", &end.to_string());
    Ok(serde_json::from_str(&text.replace("$TRACE", &trace_id(1)))?)
}

/// Two orders in a block, one in memory; a span whose trace has no root yet is among them.
async fn shop() -> Result<(Shop, Value)> {
    let shop = Shop::open(&["--flush-age-s=1"])?;
    let start = now() - 20 * SECOND;
    for number in 0..3 {
        shop.send(None, &order(number, start)).await?;
        if number == 1 {
            shop.collector.settle()?;
        }
    }
    let mut orphan = order(3, start);
    orphan["resourceSpans"].as_array_mut().context("resources")?.remove(0);
    shop.send(None, &orphan).await?;
    let requests = filled(&serde_json::from_str(include_str!("grafana.json"))?, start)?;
    Ok((shop, requests))
}

async fn ask(shop: &Shop, base: &str, asked: &Value, shapes: &Value) -> Result<()> {
    let path = asked["path"].as_str().context("path")?;
    let mut url = reqwest::Url::parse(&format!("{base}{path}"))?;
    for (name, value) in asked["params"].as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        url.query_pairs_mut().append_pair(name, &value);
    }
    let accept = asked["accept"].as_str().unwrap_or("application/json, text/plain, */*");
    let answer = shop.client.get(url).header("accept", accept).header("x-grafana-org-id", "1").send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await?;
    let text = String::from_utf8_lossy(&body);
    ensure!(status == asked["status"].as_u64().unwrap_or(200) as u16, "{status} {text}");
    if let Some(kind) = asked["protobuf"].as_str() {
        ensure!(headers["content-type"] == "application/protobuf", "{headers:?}");
        let trace = match kind {
            "Trace" => Some(TracesData::decode(&body[..])?),
            _ => TraceById::decode(&body[..])?.trace,
        };
        let scopes = trace.context("no trace")?.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        let spans = scopes.map(|scope| scope.spans.len()).sum::<usize>();
        ensure!(spans == 2, "{spans} spans");
    }
    if let Some(expected) = asked["text"].as_str() {
        ensure!(text == expected, "{text}");
    }
    if let Some(expected) = asked["json"].as_object() {
        let found: Value = serde_json::from_str(&text)?;
        ensure!(expected.iter().all(|(name, value)| found[name] == *value), "{found}");
    }
    if !asked["shape"].is_null() {
        ensure!(headers["content-type"] == "application/json", "{headers:?}");
        check(&serde_json::from_str(&text)?, &asked["shape"], shapes, "the answer")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_grafana_over_http_is_answered_in_the_shape_that_it_reads() -> Result<()> {
    let (shop, requests) = shop().await?;
    let mut wrong = Vec::new();
    for base in [shop.collector.tempo_url(), format!("http://{}/tempo", shop.collector.web)] {
        for asked in requests["http"].as_array().context("http")? {
            if let Err(error) = ask(&shop, &base, asked, &requests["shapes"]).await {
                wrong.push(format!("{}: {} {}: {error:#}", asked["why"], asked["path"], asked["params"]));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// In protobuf's JSON what is 0 or empty is missing.
fn optional(shape: &Value) -> Value {
    match shape {
        Value::Object(fields) => {
            let name = |name: &String| if name.ends_with(['?', '*']) { name.clone() } else { format!("{name}?") };
            fields.iter().map(|(field, shape)| (name(field), optional(shape))).collect()
        }
        Value::Array(of) => of.iter().map(optional).collect(),
        same => same.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_grafana_over_grpc_is_answered_in_the_shape_that_it_reads() -> Result<()> {
    let (shop, requests) = shop().await?;
    let shapes: Map<String, Value> = requests["shapes"]
        .as_object()
        .context("shapes")?
        .iter()
        .map(|(name, shape)| (name.clone(), optional(shape)))
        .collect();
    let shapes = Value::from(shapes);
    let asked = requests["grpc"].as_array().context("grpc")?;
    let mut calls = Value::from(asked.clone());
    for call in calls.as_array_mut().into_iter().flatten() {
        call["method"] = format!("tempopb.StreamingQuerier/{}", call["method"].as_str().unwrap_or_default()).into();
        // Headers of the data source's settings.
        call["metadata"] = json!({"x-scope-orgid": "default", "x-grafana-org-id": "1"});
    }
    for target in [shop.collector.tempo, shop.collector.web] {
        for (asked, answer) in asked.iter().zip(python::call(shop.collector.grpc, target, &calls)?) {
            ensure!(answer["code"] == "OK", "{}: {answer}", asked["why"]);
            let messages = answer["messages"].as_array().context("messages")?;
            ensure!(!messages.is_empty(), "{}: no message", asked["why"]);
            for message in messages {
                ensure!(message.as_object().is_some_and(|fields| fields.len() > 1), "{}: {message}", asked["why"]);
                check(message, &asked["shape"], &shapes, "the message").with_context(|| asked["why"].to_string())?;
            }
        }
    }
    Ok(())
}
