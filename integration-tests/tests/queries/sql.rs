//! SQL: over HTTP, by `clew sql`, and as Arrow Flight SQL from Python and Java.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{
    installed, metric, program,
    shop::{Answer, Shop, now, order, trace_id, url},
};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

/// Three orders: one in a block, two in memory; and one of another tenant.
async fn shop() -> Result<Shop> {
    let shop = Shop::open(&["--flush-age-s=1", "--max-sql-memory-bytes=16MiB"])?;
    let start = now() - 20 * SECOND;
    shop.send(None, &order(0, start)).await?;
    shop.collector.settle()?;
    for number in 1..3 {
        shop.send(None, &order(number, start + u64::from(number) * SECOND)).await?;
    }
    shop.send(Some("team-a"), &order(77, start)).await?;
    Ok(shop)
}

async fn ask(shop: &Shop, headers: &[(&'static str, &str)], params: &[(&str, &str)]) -> Result<Answer> {
    let mut request = shop.client.get(url(&format!("http://{}", shop.collector.web), "/sql", params)?);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok(Answer { status, headers, body: answer.bytes().await?.to_vec() })
}

async fn rows(shop: &Shop, query: &str) -> Result<Value> {
    ask(shop, &[], &[("q", query)]).await?.whole().with_context(|| query.to_owned())
}

/// Whether `clew sql` succeeded, and what it wrote.
fn clew(shop: &Shop, arguments: &[&str]) -> Result<(bool, String, String)> {
    let mut command = Command::new(program("clew")?);
    command.arg("sql").args(arguments).args(["--collector", &format!("http://{}", shop.collector.grpc)]);
    let Output { status, stdout, stderr } = command.output()?;
    Ok((status.success(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

/// The examples of docs/sql.md in a language, with their names.
fn examples(language: &str) -> Result<Vec<(String, String)>> {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md"))?;
    let mut examples = Vec::new();
    for part in document.split("<!-- ").skip(1) {
        let (name, rest) = part.split_once(" -->\n```").context("a named example")?;
        if let Some(text) = rest.strip_prefix(&format!("{language}\n")) {
            examples.push((name.to_owned(), text.split_once("```").context("its end")?.0.to_owned()));
        }
    }
    Ok(examples)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_whose_resources_are_damaged_is_left_out_and_the_answer_says_so() -> Result<()> {
    let mut shop = shop().await?;
    shop.collector.process.kill()?;
    for day in fs::read_dir(shop.collector.data.join("blocks/default/blocks"))? {
        for block in fs::read_dir(day?.path())? {
            fs::write(block?.path().join("resources.parquet"), b"PAR1")?;
        }
    }
    shop.collector.restart()?;
    let answer = ask(&shop, &[], &[("q", "SELECT count(*) AS n FROM spans")]).await?;
    assert_eq!((answer.status, answer.text().trim()), (200, "[{\"n\":4}]"));
    let why = answer.headers.get("x-clew-partial").context("it says nothing")?.to_str()?;
    assert!(why.contains("resources.parquet"), "{why}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_query_is_told_in_one_form() -> Result<()> {
    let shop = shop().await?;
    let told = |answer: Answer| {
        let json: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        Ok::<_, anyhow::Error>((answer.status, json["error"].as_str().context("error")?.to_owned()))
    };
    let (status, why) = told(ask(&shop, &[], &[("q", "SELECT 1"), ("format", "xml")]).await?)?;
    assert!(status == 400 && why.contains("xml"), "{status} {why}");
    let answer = shop.client.put(format!("http://{}/sql", shop.collector.web)).body("SELECT 1").send().await?;
    assert_eq!(answer.status().as_u16(), 405);
    assert!(answer.json::<Value>().await?["error"].as_str().is_some_and(|why| why.contains("POST")));
    // The engine comes upon it in some row, of few.
    let (status, _) = told(ask(&shop, &[], &[("q", "SELECT 1 / (duration - duration) FROM spans")]).await?)?;
    assert_eq!(status, 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_and_stored_spans_are_asked_together() -> Result<()> {
    let shop = shop().await?;
    let query = "SELECT trace_id, span_id, name, duration, \"span.order\", \"resource.region\" FROM spans
                 WHERE parent_span_id IS NULL ORDER BY start_time";
    let expected: Vec<Value> = (0..3)
        .map(|number| {
            json!({
                "trace_id": trace_id(number), "span_id": "0000000000000001", "name": "POST /orders",
                "duration": 250_000_000, "span.order": number, "resource.region": "eu",
            })
        })
        .collect();
    assert_eq!(rows(&shop, query).await?, json!(expected));
    shop.send(None, &order(9, now())).await?;
    assert_eq!(rows(&shop, "SELECT count(*) AS n FROM spans").await?, json!([{"n": 8}]));
    let other = ask(
        &shop,
        &[("x-scope-orgid", "team-a")],
        &[("q", "SELECT \"span.order\" AS o FROM spans WHERE kind = 'server'")],
    );
    assert_eq!(other.await?.whole()?, json!([{"o": 77}]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_format_that_is_asked_for() -> Result<()> {
    let shop = shop().await?;
    let query = "SELECT name, \"span.vip\" AS vip, \"span.amount\" AS amount FROM spans WHERE trace_id LIKE '%0000' ORDER BY name";
    let csv = "name,vip,amount\nPOST /orders,true,9.5\ncharge,,\n";
    let ndjson =
        "{\"name\":\"POST /orders\",\"vip\":true,\"amount\":9.5}\n{\"name\":\"charge\",\"vip\":null,\"amount\":null}\n";
    let array =
        json!([{"name": "POST /orders", "vip": true, "amount": 9.5}, {"name": "charge", "vip": null, "amount": null}]);
    for (format, kind, text) in [("csv", "text/csv", csv), ("ndjson", "application/x-ndjson", ndjson)] {
        let by_name = ask(&shop, &[], &[("q", query), ("format", format)]).await?;
        let by_header = ask(&shop, &[("accept", kind)], &[("q", query)]).await?;
        for answer in [by_name, by_header] {
            assert_eq!((answer.status, answer.text().as_str()), (200, text));
            assert_eq!(answer.headers["content-type"], kind);
        }
        assert_eq!(clew(&shop, &[query, "--format", format])?, (true, text.to_owned(), String::new()));
    }
    assert_eq!(rows(&shop, query).await?, array);
    let (_, text, _) = clew(&shop, &[query, "--format", "json"])?;
    assert_eq!(serde_json::from_str::<Value>(&text)?, array);
    let arrow = ask(&shop, &[], &[("q", query), ("format", "arrow")]).await?;
    assert_eq!(arrow.headers["content-type"], "application/vnd.apache.arrow.stream");
    assert_eq!(arrow.body[..4], [0xff; 4]);

    let none = "SELECT name FROM spans WHERE false";
    for (format, text) in [("csv", "name\n"), ("ndjson", ""), ("json", "[]\n")] {
        assert_eq!(ask(&shop, &[], &[("q", none), ("format", format)]).await?.text(), text);
        assert_eq!(clew(&shop, &[none, "--format", format])?.1, text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_answered_says_why() -> Result<()> {
    let shop = shop().await?;
    let long = format!("SELECT '{}'", "x".repeat(300_000));
    let replaced = format!("SELECT length(replace('{}', 'a', '{}'))", "a".repeat(120_000), "b".repeat(120_000));
    let large = "SELECT array_agg(value) FROM generate_series(1, 10000000)";
    for (query, status, why) in [
        ("SELECT nope FROM spans", 400, "No field named nope"),
        ("SELECT", 400, "sql parser error"),
        ("", 400, ""),
        ("DROP TABLE spans", 400, "only queries that read"),
        ("COPY spans TO '/tmp/spans.csv'", 400, "only queries that read"),
        ("SELECT * FROM '/etc/passwd'", 400, "not found"),
        (large, 422, "max_sql_memory_bytes"),
        (&replaced, 422, "max_sql_memory_bytes"),
        (&long, 400, "the most"),
    ] {
        let answer =
            shop.client.post(format!("http://{}/sql", shop.collector.web)).body(query.to_owned()).send().await?;
        assert_eq!(answer.status().as_u16(), status, "{query}");
        let error: Value = answer.json().await?;
        assert!(error["error"].as_str().is_some_and(|said| said.contains(why)), "{query}: {error}");
        if query.len() < 100 {
            let (succeeded, text, said) = clew(&shop, &[query])?;
            assert!(
                !succeeded && text.is_empty() && said.starts_with("clew: ") && said.contains(why),
                "{query}: {said}"
            );
        }
    }
    let nothing = ask(&shop, &[], &[]).await?;
    assert_eq!(nothing.status, 400);
    assert_eq!(ask(&shop, &[], &[("q", "SELECT 1"), ("format", "xml")]).await?.status, 400);
    assert_eq!(ask(&shop, &[("x-scope-orgid", "../x")], &[("q", "SELECT 1")]).await?.status, 400);
    assert_eq!(rows(&shop, "SELECT count(*) AS n FROM spans").await?, json!([{"n": 6}]));
    Ok(())
}

/// Queries that never end: one makes rows, one goes round.
const ENDLESS: [&str; 2] = [
    "SELECT sum(a.value % b.value) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_ended_with_advice() -> Result<()> {
    let shop = Shop::open(&["--query-timeout-s=1"])?;
    for query in ENDLESS {
        let answer = ask(&shop, &[], &[("q", query)]).await?;
        assert_eq!(answer.status, 504, "{query}: {}", answer.text());
        assert!(answer.text().contains("more than 1s"), "{query}: {}", answer.text());
    }
    let timed_out = r#"clew_collector_queries_total{kind="sql",outcome="timeout"}"#;
    assert_eq!(metric(shop.collector.admin, timed_out), 2.0);
    assert_eq!(rows(&shop, "SELECT 1 AS n").await?, json!([{"n": 1}]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_its_client_is_gone_and_one_too_many_is_told_to_come_again() -> Result<()> {
    let shop = Shop::open(&["--max-queries=1", "--max-waiting-queries=1", "--query-timeout-s=600"])?;
    for query in ENDLESS {
        let params = [("q", query)];
        let running = async {
            // One runs, one waits.
            tokio::join!(ask(&shop, &[], &params), ask(&shop, &[], &params))
        };
        let refused = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let asked = ask(&shop, &[], &[("q", "SELECT 1 AS n")]);
                // It may be the one that waits.
                if let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), asked).await {
                    break answer;
                }
            }
        };
        let answer = tokio::select! {
            answer = refused => answer?,
            answers = running => anyhow::bail!("endless queries were answered: {answers:?}"),
        };
        assert_eq!((answer.status, &answer.headers["retry-after"]), (429, &"1".parse()?), "{}", answer.text());
        // Both clients are gone, and their places soon are free.
        let again = async {
            loop {
                let answer = ask(&shop, &[], &[("q", "SELECT 1 AS n")]).await?;
                if answer.status != 429 {
                    return answer.whole();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), again).await;
        assert_eq!(answer.context(query)??, json!([{"n": 1}]));
    }
    assert!(metric(shop.collector.admin, r#"clew_collector_queries_total{kind="sql",outcome="cancelled"}"#) >= 2.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_query_and_not_the_prompt() -> Result<()> {
    let shop = shop().await?;
    let folder = tempfile::tempdir()?;
    let history = folder.path().join("history");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/prompt.py");
    let mut command = Command::new(installed("python/bin/python")?);
    command.arg(source).arg(&history).arg(program("clew")?).arg("sql").arg("--history").arg(&history);
    let seen = client(command.args(["--collector", &format!("http://{}", shop.collector.grpc)]))?;
    assert_eq!(seen, json!({"kept": true, "exit": 0, "history": [ENDLESS[1].to_owned() + ";", "SELECT 40 + 2 AS n;"]}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_without_a_collector_says_what_to_do() -> Result<()> {
    let source = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = Command::new(installed("python/bin/python")?);
    command.args(["-c", source]).arg(program("clew")?).args(["sql", "--collector", "http://127.0.0.1:9"]);
    let Output { status, stdout, .. } = command.output()?;
    let said = String::from_utf8_lossy(&stdout);
    assert!(!status.success() && said.contains("no collector answers at http://127.0.0.1:9: start one"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clew_sql_draws_tables_and_lists() -> Result<()> {
    let shop = shop().await?;
    let query = "SELECT service_name, count(*) AS spans, max(\"span.order\") AS last FROM spans GROUP BY 1 ORDER BY 1";
    let table = "\
+--------------+-------+------+
| service_name | spans | last |
+--------------+-------+------+
| payments     | 3     |      |
| shop         | 3     | 2    |
+--------------+-------+------+
2 rows
";
    assert_eq!(clew(&shop, &[query])?, (true, table.to_owned(), String::new()));
    let list = "row 1\n  service_name  payments\n  spans         3\n";
    assert_eq!(
        clew(&shop, &[query, "--format", "list", "--rows", "1"])?.1,
        format!("{list}the first 1 row; --rows N shows more, --format csv all\n")
    );
    let (_, tables, _) = clew(&shop, &["SHOW TABLES"])?;
    for name in ["spans", "events", "links", "resources"] {
        assert!(tables.contains(&format!("| {name} ")), "{tables}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_find_something() -> Result<()> {
    let shop = shop().await?;
    let examples = examples("sql")?;
    let names: BTreeSet<&str> = examples.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["calls", "errors", "exceptions", "orders", "slowest"]));
    let expected = json!({
        "calls": [{"caller": "shop", "callee": "payments", "calls": 3, "errors": 3}],
        "slowest": [{"service_name": "shop", "name": "POST /orders", "calls": 3, "p99_ms": 250.0}],
        "orders": [
            {"trace_id": trace_id(1), "number": 1, "region": "eu"},
            {"trace_id": trace_id(2), "number": 2, "region": "eu"},
        ],
    });
    for (name, query) in &examples {
        let found = rows(&shop, query).await?;
        match (name.as_str(), expected.get(name)) {
            (_, Some(expected)) => assert_eq!(found, *expected, "{name}"),
            ("errors", _) => {
                let errors = found.as_array().into_iter().flatten().filter_map(|row| row["errors"].as_u64());
                assert_eq!(errors.sum::<u64>(), 3, "{found}");
            }
            ("exceptions", _) => {
                assert_eq!((&found[0]["type"], &found[0]["times"]), (&json!("Declined"), &json!(3)), "{found}");
            }
            _ => panic!("nothing checks {name}"),
        }
    }
    Ok(())
}

/// Runs a client; the JSON that it prints.
fn client(command: &mut Command) -> Result<Value> {
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_reads_and_prepares_and_is_refused_what_writes() -> Result<()> {
    let shop = shop().await?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/sql.py");
    let [(_, example)] = &examples("python")?[..] else { anyhow::bail!("expected one example in Python") };
    let mut command = Command::new(installed("python/bin/python")?);
    command.arg(source).args([&format!("grpc://{}", shop.collector.grpc), example]);
    let answers = client(&mut command)?;
    assert_eq!(answers["example"], json!(vec![json!(["payments", 100_000_000]); 3]));
    assert_eq!(answers["numbered"], json!([[3]]));
    assert_eq!(answers["tenant"], json!([[2]]));
    assert_eq!(answers["tables"], json!(["events", "links", "resources", "spans"]));
    assert_eq!(answers["columns"]["duration"], "int64");
    assert_eq!(answers["columns"]["span.vip"], "bool");
    let refused = answers["refused"].as_object().context("refused")?;
    assert_eq!(refused.len(), 5, "{refused:?}");
    for (what, why) in refused {
        let why = why.as_str().with_context(|| format!("{what} was done"))?;
        assert!(why.contains("only queries that read") || why.contains("No field named nope"), "{what}: {why}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_reads_and_prepares_and_is_refused_what_writes() -> Result<()> {
    let shop = shop().await?;
    let mut command = Command::new("java");
    let (classes, libraries) = (installed("java/classes")?, installed("java/lib")?);
    command.args(["-XX:TieredStopAtLevel=1", "--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp"]);
    command.arg(format!("{}:{}/*", classes.display(), libraries.display())).arg("clew.client.Sql");
    let answers = client(command.arg(shop.collector.grpc.to_string()))?;
    assert_eq!(answers["rows"], json!([["payments", 3], ["shop", 3]]));
    assert_eq!(answers["prepared"], 3);
    assert_eq!(answers["tables"], json!(["events", "links", "resources", "spans"]));
    assert!(answers["refused"].as_str().is_some_and(|why| why.contains("only queries that read")), "{answers}");
    Ok(())
}
