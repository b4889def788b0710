//! `clew search` against a collector.

use std::process::{Command, Output};

use anyhow::Result;
use clew_integration_tests::program;
use serde_json::Value;

use crate::shop::{Shop, now, order, trace_id};

fn search(shop: &Shop, arguments: &[&str]) -> Result<(bool, String, String)> {
    let collector = format!("http://{}", shop.collector.grpc);
    let command = ["search", "--collector", &collector];
    let Output { status, stdout, stderr } = Command::new(program("clew")?).args(command).args(arguments).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status.success(), text(stdout), text(stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_search_shows_traces_with_what_was_found() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now() - 60_000_000_000)).await?;
    shop.send(None, &order(2, now())).await?;
    let (found, text, error) = search(&shop, &["{ status = error && span.card.kind != nil }"])?;
    assert!(found && error.is_empty(), "{text}{error}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for (line, id) in [(lines[0], trace_id(2)), (lines[2], trace_id(1))] {
        assert!(line.starts_with(&id) && line.contains("shop POST /orders  2 spans, 1 failed"), "{line}");
    }
    assert!(lines[1].contains("0000000000000002    100ms  charge"), "{text}");
    assert!(lines[1].contains("status=error span.card.kind=credit card"), "{text}");

    let (found, text, _) = search(&shop, &["{ } | count() > 1", "--json", "--since", "30s"])?;
    let trace: Value = serde_json::from_str(&text)?;
    assert!(found && trace["traceID"] == trace_id(2) && trace["spanSets"][0]["attributes"]["count()"] == "2", "{text}");
    assert_eq!(trace["serviceStats"]["payments"]["errorCount"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_search_says_what_is_wrong() -> Result<()> {
    let shop = Shop::open(&[])?;
    assert_eq!(search(&shop, &["{ }"])?, (false, String::new(), "clew: nothing was found\n".to_owned()));
    let (found, _, error) = search(&shop, &["{ status = }"])?;
    assert!(!found && error.contains("line 1, column 12") && error.contains("expected"), "{error}");
    let gone = Command::new(program("clew")?).args(["search", "{ }", "--collector", "http://127.0.0.1:1"]).output()?;
    let error = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(!gone.status.success() && error.contains("clew up"), "{error}");
    Ok(())
}
