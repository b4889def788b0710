//! `clew search`, `clew metrics` and `clew tail` against a collector.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, Result};
use clew_integration_tests::{
    program,
    shop::{Shop, now, order, trace_id},
};
use serde_json::Value;

fn clew(shop: &Shop, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("clew")?);
    command.args(arguments).args(["--collector", &format!("http://{}", shop.collector.grpc)]);
    Ok(command)
}

/// Whether it succeeded, and what it wrote.
fn run(shop: &Shop, arguments: &[&str]) -> Result<(bool, String, String)> {
    let Output { status, stdout, stderr } = clew(shop, arguments)?.output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status.success(), text(stdout), text(stderr)))
}

/// Goes on until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(shop: &Shop, arguments: &[&str]) -> Result<(Self, impl Iterator<Item = std::io::Result<String>> + use<>)> {
        let mut child = clew(shop, arguments)?.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok((Self(child), BufReader::new(stdout).lines()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_search_shows_traces_with_what_was_found() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now() - 60_000_000_000)).await?;
    shop.send(None, &order(2, now())).await?;
    let (found, text, error) = run(&shop, &["search", "{ status = error && span.card.kind != nil }"])?;
    assert!(found && error.is_empty(), "{text}{error}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for (line, id) in [(lines[0], trace_id(2)), (lines[2], trace_id(1))] {
        assert!(line.starts_with(&id) && line.contains("shop POST /orders  2 spans, 1 failed"), "{line}");
    }
    assert!(lines[1].contains("0000000000000002    100ms  charge"), "{text}");
    assert!(lines[1].contains("status=error span.card.kind=credit card"), "{text}");

    let (found, text, _) = run(&shop, &["search", "{ } | count() > 1", "--json", "--since", "30s"])?;
    let trace: Value = serde_json::from_str(&text)?;
    assert!(found && trace["traceID"] == trace_id(2) && trace["spanSets"][0]["attributes"]["count()"] == 2, "{text}");
    assert_eq!(trace["serviceStats"]["payments"]["errorCount"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_is_wrong() -> Result<()> {
    let shop = Shop::open(&[])?;
    assert_eq!(run(&shop, &["search", "{ }"])?, (false, String::new(), "clew: nothing was found\n".to_owned()));
    assert_eq!(run(&shop, &["metrics", "{ name = \"x\" } | rate() by (name)"])?.2, "clew: nothing was found\n");
    for command in ["search", "metrics", "tail"] {
        let (found, _, error) = run(&shop, &[command, "{ status = }"])?;
        assert!(!found && error.contains("line 1, column 12") && error.contains("expected"), "{command}: {error}");
        let gone =
            Command::new(program("clew")?).args([command, "{ }", "--collector", "http://127.0.0.1:1"]).output()?;
        let error = String::from_utf8_lossy(&gone.stderr).into_owned();
        assert!(!gone.status.success() && error.contains("clew up"), "{command}: {error}");
    }
    for (query, why) in [
        ("{ } | rate()", "time series"),
        ("{ } >> { }", "one by one"),
        ("{ trace:duration > 1s }", "once the whole trace is"),
    ] {
        let (found, _, error) = run(&shop, &["tail", query])?;
        assert!(!found && error.contains(why), "{query}: {error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_deps_and_clew_explain_look_at_all_spans() -> Result<()> {
    let shop = Shop::open(&[])?;
    for number in 1..40 {
        shop.send(None, &order(number, now())).await?;
    }
    let (found, text, error) = run(&shop, &["deps"])?;
    assert!(found && error.is_empty(), "{error}");
    assert!(text.starts_with("shop → payments ") && text.contains("39 failed, 100.00 %"), "{text}");
    let (_, text, _) = run(&shop, &["deps", "--dot"])?;
    assert!(text.contains("\"shop\" -> \"payments\" [label=\"39\", color=red];"), "{text}");
    let (_, text, _) = run(&shop, &["deps", "--json"])?;
    let call: Value = serde_json::from_str(&text)?;
    assert_eq!((&call["parent"], &call["calls"], &call["errors"]), (&"shop".into(), &39.into(), &39.into()));

    let (found, text, error) = run(&shop, &["explain", "{ status = error }"])?;
    assert!(found && error.is_empty(), "{text}{error}");
    assert!(text.starts_with("39 spans in question, 39 others"), "{text}");
    assert!(text.contains("resource.service.name=payments") && text.contains("100.00 % of them,   0.00 %"), "{text}");
    let (found, _, error) = run(&shop, &["explain", "{ kind = server }", "--than", "{ kind = server }"])?;
    assert!(!found && error.contains("no other spans"), "{error}");
    let (found, _, error) = run(&shop, &["explain", "{ }"])?;
    assert!(!found && error.contains("all spans are selected"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_deps_and_clew_explain_take_a_range() -> Result<()> {
    let shop = Shop::open(&[])?;
    // 2023-11-14T22:13:20Z
    let then = 1_700_000_000;
    for number in 1..40 {
        shop.send(None, &order(number, then * 1_000_000_000)).await?;
    }
    let (before, behind) = ((then - 1).to_string(), (then + 1).to_string());
    for (range, found) in [
        (&[][..], false),
        (&["--all"], true),
        (&["--from", &before], true),
        (&["--to", &behind], true),
        (&["--from", &before, "--to", &behind], true),
        (&["--from", "2023-11-14T22:13", "--to", "2023-11-14T22:14"], true),
        (&["--from", &behind], false),
        (&["--to", &before], false),
    ] {
        let (deps, text, _) = run(&shop, &[&["deps"], range].concat())?;
        assert_eq!((deps, text.contains("shop → payments")), (found, found), "{range:?}: {text}");
        if range != ["--all"] {
            // Any time is what it asks for when nothing is said.
            let (explained, ..) = run(&shop, &[&["explain", "{ status = error }"], range].concat())?;
            assert_eq!(explained, found || range.is_empty(), "{range:?}");
        }
    }
    for wrong in [&["--from", &*behind, "--to", &*before][..], &["--since", "1h", "--from", &before]] {
        for command in [&["deps"][..], &["explain", "{ status = error }"]] {
            let (found, _, error) = run(&shop, &[command, wrong].concat())?;
            assert!(!found && (error.contains("--from") || error.contains("--since")), "{error}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_metrics_draws_time_series() -> Result<()> {
    let shop = Shop::open(&[])?;
    for number in 1..9 {
        shop.send(None, &order(number, now() - u64::from(number) * 60_000_000_000)).await?;
    }
    let query = "{ } | count_over_time() by (resource.service.name)";
    let (found, text, error) = run(&shop, &["metrics", query, "--since", "10m", "--step", "60s", "--width", "80"])?;
    assert!(found && error.is_empty(), "{text}{error}");
    assert!(text.contains("│⡇") || text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{text}");
    for service in ["shop", "payments"] {
        assert!(text.contains(&format!("━━ resource.service.name={service}")), "{text}");
    }
    let (_, text, _) = run(&shop, &["metrics", query, "--instant", "--since", "20m"])?;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("    8  █")), "{text}");
    let (_, text, _) = run(&shop, &["metrics", query, "--instant", "--since", "20m", "--json"])?;
    let series: Value = serde_json::from_str(text.lines().next().context("no line")?)?;
    assert_eq!(series["values"][0][1], 8.0, "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_tail_shows_spans_as_they_come_and_goes_on_where_it_was() -> Result<()> {
    let mut shop = Shop::open(&[])?;
    let file = tempfile::tempdir()?;
    let file = file.path().join("cursor");
    let file = file.to_str().context("a path")?;
    let query = "{ status = error }";
    shop.send(None, &order(1, now())).await?;
    let (tail, mut lines) = Running::start(&shop, &["tail", query, "--cursor-file", file])?;
    // It may not follow yet: what is sent until then is not shown.
    let line = loop {
        shop.send(None, &order(2, now())).await?;
        if std::fs::exists(file)? {
            break lines.next().context("no line")??;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(line.contains(&trace_id(2)) && line.contains("100ms  payments  charge  ERROR"), "{line}");
    // The collector goes away and comes back.
    shop.collector.process.kill()?;
    shop.collector.restart()?;
    shop.send(None, &order(3, now())).await?;
    let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(&trace_id(3))));
    assert!(line.is_some(), "it does not go on");
    drop(tail);
    // What came while nobody looked.
    shop.send(None, &order(4, now())).await?;
    let (_tail, lines) = Running::start(&shop, &["tail", query, "--cursor-file", file, "--json"])?;
    // The third may come again, in the same line.
    let line = lines.map_while(Result::ok).find(|line| line.contains(&trace_id(4))).context("no line")?;
    let traces: Value = serde_json::from_str(&line)?;
    assert_eq!(traces["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"], "charge");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_trace_says_where_it_failed_and_what_it_waited_for() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    let (shown, text, error) = run(&shop, &["trace", &trace_id(1), "--width", "80"])?;
    assert!(shown && error.is_empty(), "{error}");
    assert!(text.contains("\nfailed at payments charge: declined\n"), "{text}");
    assert!(text.contains("60.0 %  shop POST /orders") && text.contains("40.0 %  payments charge"), "{text}");
    let (_, text, _) = run(&shop, &["trace", &trace_id(1), "--json"])?;
    let trace: Value = serde_json::from_str(&text)?;
    assert_eq!(trace["resourceSpans"].as_array().map(Vec::len), Some(2));
    let analysis = &trace["analysis"];
    assert_eq!((&analysis["summary"]["spans"], &analysis["summary"]["errors"]), (&2.into(), &1.into()));
    assert_eq!(analysis["summary"]["durationNs"], 250_000_000);
    assert_eq!(analysis["origin"][0], "0000000000000002");
    let path = analysis["criticalPath"].as_array().context("a path")?;
    let ids: Vec<_> = path.iter().filter_map(|segment| segment["spanId"].as_str()).collect();
    assert_eq!(ids, ["0000000000000001", "0000000000000002", "0000000000000001"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_compare_shows_two_traces_side_by_side() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    let mut slow = order(2, now());
    let charge = &mut slow["resourceSpans"][1]["scopeSpans"][0]["spans"][0];
    let end = charge["endTimeUnixNano"].as_str().context("an end")?.parse::<u64>()? + 100_000_000;
    charge["endTimeUnixNano"] = end.to_string().into();
    shop.send(None, &slow).await?;
    let (shown, text, error) = run(&shop, &["compare", &trace_id(1), &trace_id(2), "--width", "100"])?;
    assert!(shown && error.is_empty(), "{error}");
    assert!(text.contains("+100ms  payments charge itself (+100 %)"), "{text}");
    assert!(text.contains("order: 1 > 2"), "{text}");
    let (_, text, _) = run(&shop, &["compare", &trace_id(1), &trace_id(2), "--json"])?;
    assert_eq!(serde_json::from_str::<Value>(&text)?["places"].as_array().map(Vec::len), Some(2));
    let (shown, text, error) = run(&shop, &["compare", &trace_id(1), &trace_id(3)])?;
    assert!(!shown && text.is_empty() && error.contains(&format!("trace B, {}", trace_id(3))), "{error}");
    Ok(())
}
