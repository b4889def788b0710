//! What is refused: wrong queries and parameters, queries that take too long, and too many.

use std::time::Duration;

use anyhow::{Context, Result};
use clew_integration_tests::{
    metric,
    shop::{Shop, now, order},
};
use clew_proto::v1::{SearchRequest, query_client::QueryClient};
use futures_util::future::join_all;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_words() -> Result<()> {
    let shop = Shop::open(&[])?;
    let (search, range, instant) = ("/api/search", "/api/metrics/query_range", "/api/metrics/query");
    let all = "{ } | rate()";
    for (path, params, what) in [
        (search, vec![("q", "{ status = }")], "line 1, column 12"),
        (search, vec![("q", "{ } | rate()")], "time series"),
        (search, vec![("q", "{ }"), ("limit", "many")], "limit is \"many\""),
        (search, vec![("q", "{ }"), ("limit", "-1")], "limit"),
        (search, vec![("q", "{ }"), ("limit", "1000000")], "10000 at most"),
        (search, vec![("q", "{ }"), ("spss", "x")], "spss"),
        (search, vec![("q", "{ }"), ("start", "yesterday")], "start is \"yesterday\""),
        (search, vec![("q", "{ }"), ("start", "20"), ("end", "10")], "before the start"),
        (search, vec![("tags", "a=b"), ("minDuration", "soon")], "minDuration"),
        (range, vec![], "q is missing"),
        (range, vec![("q", "{ }")], "finds traces"),
        (range, vec![("q", all), ("step", "x")], "step"),
        (range, vec![("q", all), ("start", "0"), ("end", "100000"), ("step", "1s")], "points"),
        (range, vec![("q", all), ("maxSeries", "1000000")], "maxSeries"),
        (instant, vec![("q", all), ("start", "20"), ("end", "10")], "before the start"),
        (instant, vec![("q", "{ } | rate() by ()")], "line 1, column 18"),
    ] {
        let answer = shop.ask(path, &params).await?;
        assert_eq!(answer.status, 400, "{path} {params:?}: {}", answer.text());
        assert!(answer.text().contains(what), "{path} {params:?}: {}", answer.text());
        assert!(answer.headers["content-type"].to_str()?.starts_with("text/plain"), "{:?}", answer.headers);
    }
    let long = "x".repeat(50_000);
    for (headers, path, status) in [
        (vec![("x-scope-orgid", "../x")], "/api/search?q=%7B%7D".to_owned(), 400),
        (vec![], "/api/search?q=%ff".to_owned(), 400),
        (vec![], format!("/api/search?q={long}"), 400),
        (vec![], "/api/searches".to_owned(), 404),
    ] {
        let answer = shop.ask_with(&headers, &path, &[]).await?;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert!(metric(shop.collector.admin, r#"clew_collector_queries_total{kind="search",outcome="invalid"}"#) >= 2.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_too_much_is_refused_with_its_limit() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    let (search, range) = ("/api/search", "/api/metrics/query_range");
    let nested = format!("{{ {}.a{} }}", "(".repeat(10_000), ")".repeat(10_000));
    let patterns = vec!["{ .a =~ \"a\" }"; 33].join(" || ");
    let long = format!("{{ .a = \"{}\" }}", "x".repeat(1_000_000));
    let years = [("q", "{ } | rate()"), ("start", "0"), ("end", "1900000000"), ("step", "1ns")];
    for (path, params, what) in [
        (search, &[("q", "{ }"), ("limit", "2147483648")][..], "10000 at most"),
        (search, &[("q", "{ }"), ("spss", "2147483648")], "1000 at most"),
        (range, &years, "11000 at most"),
        (range, &[("q", "{ } | rate()"), ("maxSeries", "2147483648")], "10000 at most"),
        ("/api/search/tags", &[("limit", "2147483648")], "100000 at most"),
        (search, &[("q", "{ .a =~ \"(a{1000}){1000}\" }")], "more than 4194304 bytes"),
        (search, &[("q", &patterns)], "at most 32 regular expressions"),
        (search, &[("q", &nested)], "nested more than 100 deep"),
    ] {
        let answer = shop.ask(path, params).await?;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.text().contains(what), "{path}: expected {what}, found {}", answer.text());
    }
    // No address is so long; a message may be.
    let answer = shop.ask(search, &[("q", &long)]).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status)));
    let mut client = QueryClient::connect(shop.collector.url()).await?;
    let refused = client.search(SearchRequest { query: long, ..SearchRequest::default() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("65536 at most"), "{}", refused.message());
    assert_eq!(shop.found(&[("q", "{ }")]).await?.len(), 1, "it goes on");
    Ok(())
}

/// A query that takes a while: hundreds of stages.
pub fn slow() -> String {
    vec!["{}||{}"; 400].join("|") + "|{ name = \"charge\" }"
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_told_so_however_many_run() -> Result<()> {
    let shop = Shop::open(&["--max-queries=1", "--max-waiting-queries=0"])?;
    for number in 0..40 {
        shop.send(None, &order(number, now())).await?;
    }
    let slow = slow();
    let (params, wrong) = ([("q", &*slow)], [("q", "{ status = }")]);
    let busy = async {
        loop {
            // Most of them are refused: one runs at all times.
            join_all((0..4).map(|_| shop.ask("/api/search", &params))).await;
        }
    };
    let asked = async {
        for _ in 0..100 {
            let answer = shop.ask("/api/search", &wrong).await?;
            anyhow::ensure!(answer.status == 400, "{} {}", answer.status, answer.text());
        }
        Ok(())
    };
    tokio::select! {
        asked = asked => asked,
        () = busy => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_one_too_many_is_told_to_come_again() -> Result<()> {
    let shop = Shop::open(&["--max-queries=1", "--max-waiting-queries=1"])?;
    for number in 0..40 {
        shop.send(None, &order(number, now())).await?;
    }
    let params = [("q", slow())];
    let params = params.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answers = join_all((0..30).map(|_| shop.ask("/api/search", &params))).await;
    let mut counts = [0, 0];
    for answer in answers {
        let answer = answer?;
        match answer.status {
            200 => counts[0] += 1,
            429 => {
                counts[1] += 1;
                assert_eq!(answer.headers["retry-after"], "1");
                assert_eq!(answer.text(), "too many queries at once; retry in 1 s");
            }
            other => anyhow::bail!("{other}: {}", answer.text()),
        }
    }
    assert!(counts[0] >= 2 && counts[1] >= 1, "answered, refused: {counts:?}");
    let refused = r#"clew_collector_queries_total{kind="search",outcome="refused"}"#;
    assert_eq!(metric(shop.collector.admin, refused) as u64, counts[1]);
    // What comes alone is answered.
    shop.get("/api/search", &[("q", "{ }")]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_its_client_is_gone() -> Result<()> {
    let shop = Shop::open(&["--max-queries=1", "--max-waiting-queries=8"])?;
    for number in 0..40 {
        shop.send(None, &order(number, now())).await?;
    }
    let query = slow();
    let cancelled = r#"clew_collector_queries_total{kind="search",outcome="cancelled"}"#;
    for wait in 0..20 {
        let params = [("q", query.as_str())];
        let asked = shop.ask("/api/search", &params);
        // It may have been answered.
        let _ = tokio::time::timeout(Duration::from_millis(2 * wait), asked).await;
    }
    for _ in 0..100 {
        if metric(shop.collector.admin, cancelled) > 0.0 {
            // Its place is free again.
            shop.get("/api/search", &[("q", "{ }")]).await?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no query was cancelled")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_ended_with_advice() -> Result<()> {
    let shop = Shop::open(&["--query-timeout-s=1"])?;
    for batch in 0..10 {
        let mut all = order(batch * 1_000, now());
        for number in 1..1_000 {
            let mut more = order(batch * 1_000 + number, now());
            let more = more["resourceSpans"].as_array_mut().map(std::mem::take).unwrap_or_default();
            all["resourceSpans"].as_array_mut().context("spans")?.extend(more);
        }
        shop.send(None, &all).await?;
    }
    // Hundreds of stages for each of thousands of traces.
    let query = vec!["{}||{}"; 800].join("|") + "|count()>2";
    let answer = shop.ask("/api/search", &[("q", &query), ("limit", "10000")]).await?;
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.text().contains("more than 1s; ask for a shorter time range"), "{}", answer.text());
    let timed_out = r#"clew_collector_queries_total{kind="search",outcome="timeout"}"#;
    assert_eq!(metric(shop.collector.admin, timed_out), 1.0);
    Ok(())
}
