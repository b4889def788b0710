//! What is answered to the same questions about the same spans, to the last type.

use std::{fmt::Write, path::Path};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::shop::{Shop, order};
use serde_json::Value;

/// Each case is a line with a path and, up to an empty line, the answer's JSON. With CLEW_UPDATE_CASES set, the answers are written anew.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_the_file() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(5, 1_700_000_000_123_456_000)).await?;
    shop.send(None, &serde_json::from_str(include_str!("odd.json"))?).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jaeger/answers.txt");
    let cases = std::fs::read_to_string(&file)?;
    let mut written = String::new();
    for case in cases.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let (path, expected) = case.trim().split_once('\n').unwrap_or((case.trim(), "null"));
        let response = shop.client.get(format!("http://{}{path}", shop.collector.web)).send().await?;
        ensure!(response.headers()["content-type"] == "application/json", "{path}: {:?}", response.headers());
        let answer = sorted(response.json().await?);
        if std::env::var_os("CLEW_UPDATE_CASES").is_none() {
            assert_eq!(answer, serde_json::from_str::<Value>(expected)?, "{path}");
        }
        writeln!(written, "{path}\n{}\n", serde_json::to_string_pretty(&answer)?)?;
    }
    if std::env::var_os("CLEW_UPDATE_CASES").is_some() {
        std::fs::write(&file, written).context("answers.txt")?;
    }
    Ok(())
}

/// Attributes and tags have no order: here they are by their keys.
fn sorted(mut value: Value) -> Value {
    match &mut value {
        Value::Array(values) => {
            values.iter_mut().for_each(|value| *value = sorted(value.take()));
            if values.iter().all(|value| value["key"].is_string()) {
                values.sort_by_key(|value| value["key"].to_string());
            }
        }
        Value::Object(map) => map.iter_mut().for_each(|(_, value)| *value = sorted(value.take())),
        _ => {}
    }
    value
}
