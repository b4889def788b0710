//! `/api/metrics/query_range` and `/api/metrics/query`

use anyhow::{Context, Result};
use clew_integration_tests::shop::{Shop, now, order, trace_id};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

/// Six orders in two minutes, in a minute that is over; when the first minute began, in seconds.
async fn six_orders(shop: &Shop) -> Result<u64> {
    let minute = now() / (60 * SECOND) * 60 - 240;
    for (number, second) in [1, 10, 20, 30, 70, 80].into_iter().enumerate() {
        shop.send(None, &order(number as u32, (minute + second) * SECOND)).await?;
    }
    Ok(minute)
}

fn sum(series: &Value) -> Result<f64> {
    let samples = series["samples"].as_array().context("samples")?;
    Ok(samples.iter().filter_map(|sample| sample["value"].as_f64()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_in_the_form_that_grafana_reads() -> Result<()> {
    let shop = Shop::open(&[])?;
    let minute = six_orders(&shop).await?;
    let (start, end) = (minute.to_string(), (minute + 120).to_string());
    let query = "{ } | count_over_time() by (resource.service.name)";
    let params = [("q", query), ("start", &start), ("end", &end), ("step", "60s"), ("exemplars", "4")];
    let answer = shop.get("/api/metrics/query_range", &params).await?;
    let series = answer["series"].as_array().context("series")?;
    assert_eq!(series.len(), 2, "{answer}");
    let of_shop = series.iter().find(|series| series["promLabels"] == r#"{resource_service_name="shop"}"#);
    let of_shop = of_shop.with_context(|| answer.to_string())?;
    let service = json!({"key": "resource.service.name", "value": {"stringValue": "shop"}});
    assert_eq!(of_shop["labels"], json!([service]));
    let at = |seconds: u64| ((minute + seconds) * 1000).to_string();
    assert_eq!(
        of_shop["samples"],
        json!([{"timestampMs": at(60), "value": 4.0}, {"timestampMs": at(120), "value": 2.0}])
    );
    let exemplars: Vec<&Value> = series.iter().filter_map(|series| series["exemplars"].as_array()).flatten().collect();
    assert!((1..=4).contains(&exemplars.len()), "{answer}");
    for exemplar in exemplars {
        let labels = exemplar["labels"].as_array().context("labels")?;
        let label =
            |name: &str| labels.iter().find(|label| label["key"] == name).map(|label| &label["value"]["stringValue"]);
        let trace = label("trace:id").and_then(Value::as_str).context("trace:id")?;
        assert!((0..6).any(|number| trace_id(number) == trace), "{exemplar}");
        assert!(exemplar["value"].is_f64() && exemplar["timestampMs"].as_str().is_some(), "{exemplar}");
    }
    assert_eq!(answer["metrics"]["inspectedSpans"], "12");

    // The same in nanoseconds, with a step that is not said.
    let (start, end) = (format!("{start}000000000"), format!("{end}000000000"));
    let params = [("q", "{ kind = server } | rate()"), ("start", &start), ("end", &end), ("exemplars", "0")];
    let answer = shop.get("/api/metrics/query_range", &params).await?;
    assert_eq!(answer["series"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(sum(&answer["series"][0])?.round() as u64, 6, "{answer}");
    assert!(answer["series"][0].get("exemplars").is_none());
    // The last hour.
    for params in [&[][..], &[("since", "30m")]] {
        let params = [&[("q", "{ } | count_over_time()")], params].concat();
        let answer = shop.get("/api/metrics/query_range", &params).await?;
        assert_eq!(sum(&answer["series"][0])? as u64, 12, "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_is_one_value_of_each_series() -> Result<()> {
    let shop = Shop::open(&[])?;
    let minute = six_orders(&shop).await?;
    let (start, end) = (minute.to_string(), (minute + 120).to_string());
    let query = "{ } | quantile_over_time(duration, .5) by (name)";
    let answer = shop.get("/api/metrics/query", &[("q", query), ("start", &start), ("end", &end)]).await?;
    let series = answer["series"].as_array().context("series")?;
    assert_eq!(series.len(), 2, "{answer}");
    for one in series {
        let value = one["value"].as_f64().context("value")?;
        let name = one["labels"].as_array().and_then(|labels| labels.iter().find(|label| label["key"] == "name"));
        let seconds = if name.context("name")?["value"]["stringValue"] == "charge" { 0.1 } else { 0.25 };
        assert!((seconds / 2.0..seconds * 2.0).contains(&value), "{one}");
        assert!(one["promLabels"].as_str().is_some_and(|labels| labels.starts_with("{p=\"0.5\", name=")), "{one}");
    }
    let nothing = shop.get("/api/metrics/query", &[("q", "{ name = \"x\" } | rate() by (name)")]).await?;
    assert_eq!(nothing["series"], json!([]));
    Ok(())
}
