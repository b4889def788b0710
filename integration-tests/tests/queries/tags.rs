//! What attributes are called, and their values.

use anyhow::{Context, Result};
use clew_integration_tests::shop::{Shop, now, order};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

/// Two orders in memory, two in a block.
async fn shop() -> Result<Shop> {
    let shop = Shop::open(&["--flush-age-s=1"])?;
    for number in 0..4 {
        shop.send(None, &order(number, now() - 20 * SECOND)).await?;
        if number == 1 {
            shop.collector.settle()?;
        }
    }
    Ok(shop)
}

fn texts(list: &Value) -> Vec<&str> {
    let mut texts: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    texts.sort_unstable();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_listed_by_scope() -> Result<()> {
    let shop = shop().await?;
    let all = shop.get("/api/v2/search/tags", &[]).await?;
    let scope = |answer: &Value, wanted: &str| -> Option<Vec<String>> {
        let scopes = answer["scopes"].as_array()?;
        let scope = scopes.iter().find(|scope| scope["name"] == wanted)?;
        Some(texts(&scope["tags"]).into_iter().map(str::to_owned).collect())
    };
    let span = ["amount", "card.kind", "http.method", "http.status_code", "items", "order", "say \"hi\"", "vip"];
    for (name, tags) in [
        ("span", &span[..]),
        ("resource", &["region", "service.name"]),
        ("event", &["exception.type"]),
        ("link", &["why"]),
        ("instrumentation", &["library"]),
    ] {
        assert_eq!(scope(&all, name).with_context(|| all.to_string())?, tags, "{name}");
        let one = shop.get("/api/v2/search/tags", &[("scope", name)]).await?;
        assert_eq!(scope(&one, name).as_deref(), scope(&all, name).as_deref(), "{name}");
        assert_eq!(one["scopes"].as_array().map(Vec::len), Some(1), "{one}");
    }
    let intrinsics = scope(&all, "intrinsic").with_context(|| all.to_string())?;
    for name in ["duration", "name", "status", "kind", "rootName", "rootServiceName", "traceDuration"] {
        assert!(intrinsics.iter().any(|intrinsic| intrinsic == name), "{name}: {intrinsics:?}");
    }
    assert_eq!(all["metrics"]["completedJobs"], 1);

    let old = shop.get("/api/search/tags", &[]).await?;
    let names = texts(&old["tagNames"]);
    assert!(names.contains(&"service.name") && names.contains(&"http.method") && !names.contains(&"duration"), "{old}");
    let old = shop.get("/api/search/tags", &[("scope", "resource")]).await?;
    assert_eq!(texts(&old["tagNames"]), ["region", "service.name"]);

    let filter = [("scope", "span"), ("q", "{ resource.service.name = \"payments\" && span.x = }")];
    let some = shop.get("/api/v2/search/tags", &filter).await?;
    assert_eq!(scope(&some, "span").context("span")?, ["card.kind", "say \"hi\""]);
    let some = shop.get("/api/v2/search/tags", &[("scope", "span"), ("limit", "2")]).await?;
    assert_eq!(scope(&some, "span").map(|tags| tags.len()), Some(2));
    let later = (now() / SECOND + 1000).to_string();
    let none = shop.get("/api/v2/search/tags", &[("scope", "span"), ("start", &later)]).await?;
    assert_eq!(none["scopes"], json!([]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_listed_with_their_types() -> Result<()> {
    let shop = shop().await?;
    for (tag, kind, values) in [
        ("resource.service.name", "string", &["payments", "shop"][..]),
        (".service.name", "string", &["payments", "shop"]),
        ("span.http.status_code", "int", &["200"]),
        ("span.order", "int", &["0", "1", "2", "3"]),
        ("span.vip", "bool", &["true"]),
        ("span.amount", "float", &["9.5"]),
        ("span.items", "string", &["cup", "tea"]),
        ("event.exception.type", "string", &["Declined"]),
        ("link.why", "string", &["retry"]),
        ("instrumentation.library", "string", &["hand"]),
        ("name", "string", &["POST /orders", "charge"]),
        ("span:name", "string", &["POST /orders", "charge"]),
        ("event:name", "string", &["exception"]),
        ("statusMessage", "string", &["", "declined"]),
        ("rootName", "string", &["POST /orders"]),
        ("rootServiceName", "string", &["shop"]),
        ("span.\"say \\\"hi\\\"\"", "string", &["yes"]),
        // As Grafana escapes it: twice.
        ("span.%22say%20%5C%22hi%5C%22%22", "string", &["yes"]),
        ("span.nobody", "string", &[]),
    ] {
        let answer = shop.get(&format!("/api/v2/search/tag/{}/values", escaped(tag)), &[]).await?;
        let found = answer["tagValues"].as_array().context("values")?;
        let mut found: Vec<(&str, &str)> = found
            .iter()
            .map(|value| (value["type"].as_str().unwrap_or_default(), value["value"].as_str().unwrap_or_default()))
            .collect();
        found.sort_unstable();
        let values: Vec<_> = values.iter().map(|value| (kind, *value)).collect();
        assert_eq!(found, values, "{tag}");
    }
    for (tag, contained) in [("status", "error"), ("kind", "server")] {
        let answer = shop.get(&format!("/api/v2/search/tag/{tag}/values"), &[]).await?;
        let found = answer["tagValues"].as_array().context("values")?;
        assert!(found.contains(&json!({"type": "keyword", "value": contained})), "{answer}");
    }
    for (tag, values) in [
        ("service.name", &["payments", "shop"][..]),
        ("order", &["0", "1", "2", "3"]),
        ("name", &["POST /orders", "charge"]),
        ("root.name", &["POST /orders"]),
    ] {
        let answer = shop.get(&format!("/api/search/tag/{tag}/values"), &[]).await?;
        assert_eq!(texts(&answer["tagValues"]), values, "{tag}");
    }
    let path = "/api/v2/search/tag/resource.service.name/values";
    for (filter, count) in [
        ("{ name = \"charge\" }", 1),
        ("{ name = \"charge\" && .x = }", 1),
        ("{ }", 2),
        ("{ span.order = 77 }", 0),
        ("nonsense", 2),
    ] {
        let answer = shop.get(path, &[("q", filter)]).await?;
        assert_eq!(answer["tagValues"].as_array().map(Vec::len), Some(count), "{filter}");
    }
    let one = shop.get(path, &[("limit", "1")]).await?;
    assert_eq!(one["tagValues"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tag_and_no_scope_is_refused() -> Result<()> {
    let shop = Shop::open(&[])?;
    for (path, what) in [
        ("/api/v2/search/tags?scope=everything", "resource, span, event"),
        ("/api/search/tags?scope=everything", "resource, span, event"),
        ("/api/v2/search/tag/service.name/values", "is no tag"),
        ("/api/v2/search/tag/name)%20%7C%20rate(/values", "is no tag"),
        ("/api/v2/search/tag/name/values?limit=many", "limit"),
    ] {
        let answer = shop.ask(path, &[]).await?;
        assert!(answer.status == 400 && answer.text().contains(what), "{path}: {} {}", answer.status, answer.text());
    }
    Ok(())
}

/// A part of a path.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
