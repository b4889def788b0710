//! Queries in SQL over small stores, by the cases in `tests/cases`. `CLEW_UPDATE_CASES=1 cargo test -p clew-sql` rewrites what they give.

use std::{fmt::Write, fs, path::Path, sync::Arc, time::Duration};

use clew_query::exec::{Budget, Cache, Spans};
use clew_sql::{Limits, ParamValues, STACK_BYTES, Session, SqlError};
use clew_storage::Snapshot;
use datafusion::{arrow::util::pretty::pretty_format_batches, common::ScalarValue};
use futures_util::TryStreamExt;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
    trace::v1::{
        ResourceSpans, Span, Status,
        span::{Event, Link},
    },
};

#[path = "../../query/tests/stored/store.rs"]
mod store;

use store::{Batch, attribute};

const MS: u64 = 1_000_000;
/// 2026-01-02T03:04:05Z
const START: u64 = 1_767_323_045_000_000_000;
const LIMITS: Limits = Limits { memory_bytes: 64 << 20, threads: 2 };

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

fn span(trace: u8, id: u8, parent: u8, name: &str, start_ms: u64, took_ms: u64) -> Span {
    let id_of = |id: u8| if id == 0 { vec![] } else { vec![0, 0, 0, 0, 0, 0, 0, id] };
    Span {
        trace_id: vec![trace; 16],
        span_id: id_of(id),
        parent_span_id: id_of(parent),
        name: name.to_owned(),
        start_time_unix_nano: START + start_ms * MS,
        end_time_unix_nano: START + (start_ms + took_ms) * MS,
        kind: i32::from(id % 4),
        ..Span::default()
    }
}

fn of(service: &str, zone: Option<&str>, span: Span) -> ResourceSpans {
    let zone = zone.map(|zone| attribute("zone", text(zone)));
    store::span(span, [attribute("service.name", text(service))].into_iter().chain(zone).collect())
}

/// Two traces of a shop: the first one in two blocks, or in one and in memory; a span of it was sent to two collectors.
fn shop() -> Vec<Batch> {
    let mut cart = span(1, 1, 0, "GET /cart", 0, 120);
    cart.attributes = vec![attribute("http.route", text("/cart")), attribute("size", Value::IntValue(3))];
    let mut query = span(1, 2, 1, "SELECT", 10, 40);
    query.attributes = vec![attribute("size", Value::IntValue(50)), attribute("ratio", Value::DoubleValue(0.5))];
    query.events = vec![
        Event {
            time_unix_nano: START + 20 * MS,
            name: "row".to_owned(),
            attributes: vec![attribute("n", Value::IntValue(7))],
            ..Event::default()
        },
        Event { time_unix_nano: START + 21 * MS, name: "done".to_owned(), ..Event::default() },
    ];
    let mut pay = span(1, 3, 1, "charge", 60, 55);
    pay.status = Some(Status { code: 2, message: "card refused".to_owned() });
    pay.attributes = vec![attribute("size", text("large")), attribute("vip", Value::BoolValue(true))];
    let mut late = span(2, 4, 9, "late", 5_000, 1);
    let list =
        ArrayValue { values: vec![AnyValue { value: Some(text("a")) }, AnyValue { value: Some(Value::IntValue(2)) }] };
    late.attributes = vec![
        attribute("tags", Value::ArrayValue(list)),
        attribute("vip", Value::BoolValue(false)),
        attribute("ratio", Value::IntValue(2)),
        KeyValue {
            key: "vip.level".to_owned(),
            value: Some(AnyValue { value: Some(text("gold")) }),
            ..KeyValue::default()
        },
    ];
    late.links =
        vec![Link { trace_id: vec![1; 16], span_id: vec![0, 0, 0, 0, 0, 0, 0, 3], flags: 1, ..Link::default() }];
    let twice = of("bank", Some("eu"), pay);
    vec![
        Batch { place: 0, spans: vec![of("web", None, cart), of("db", Some("eu"), query)], may_duplicate: false },
        Batch { place: 1, spans: vec![twice.clone()], may_duplicate: false },
        Batch { place: 2, spans: vec![twice, of("web", None, late)], may_duplicate: true },
    ]
}

fn session(snapshot: &Snapshot, limits: Limits) -> Session {
    let (budget, client) = Budget::new(Duration::from_secs(60));
    std::mem::forget(client);
    let spans = Spans::open(snapshot, &Cache::new(1 << 20), &budget).unwrap();
    Session::open(Arc::new(spans), budget, limits).unwrap()
}

/// Runs a query on a thread of its own, as the collector does.
fn ask(snapshot: &Snapshot, query: &str, limits: Limits) -> Result<String, SqlError> {
    let session = session(snapshot, limits);
    let query = query.to_owned();
    let work = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rows = session.plan(&query, None).await?.run().await?;
            let schema = rows.schema();
            let batches: Vec<_> = rows.try_collect().await?;
            if batches.is_empty() {
                return Ok(format!("no rows of {} columns", schema.fields().len()));
            }
            Ok(pretty_format_batches(&batches).unwrap().to_string())
        })
    });
    work.unwrap().join().unwrap()
}

#[test]
fn queries_give_what_the_cases_say_wherever_spans_lie() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let rewrite = std::env::var_os("CLEW_UPDATE_CASES").is_some();
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut cases, mut wrong) = (0, String::new());
    for file in files {
        let mut rewritten = Vec::new();
        for paragraph in fs::read_to_string(&file).unwrap().split("\n\n") {
            let (expected, query): (Vec<_>, Vec<_>) = paragraph.lines().partition(|line| line.starts_with("> "));
            let sql: Vec<_> = query.iter().filter(|line| !line.starts_with("--")).copied().collect();
            let mut lines: Vec<String> = query.iter().map(|line| (*line).to_owned()).collect();
            for blocks in if sql.is_empty() { 0..0 } else { 0..3 } {
                let found = store::ask(&shop(), blocks, |snapshot| ask(snapshot, &sql.join("\n"), LIMITS));
                let found = found.unwrap_or_else(|error| error.to_string());
                let found: Vec<String> = found.lines().map(|line| format!("> {line}")).collect();
                if blocks == 0 {
                    lines.extend(found.clone());
                }
                if found != expected {
                    writeln!(
                        wrong,
                        "{blocks} blocks: {}\n{}\nexpected\n{}",
                        sql.join("\n"),
                        found.join("\n"),
                        expected.join("\n")
                    )
                    .unwrap();
                }
                cases += 1;
            }
            rewritten.push(lines.join("\n"));
        }
        if rewrite {
            fs::write(&file, rewritten.join("\n\n").trim_end().to_owned() + "\n").unwrap();
        }
    }
    assert!(cases > 60, "{cases}");
    assert!(wrong.is_empty() || rewrite, "{wrong}");
}

#[test]
fn what_does_anything_but_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.csv");
    let path = file.display();
    fs::write(&file, "a\n1\n").unwrap();
    let queries = [
        format!("COPY (SELECT 1) TO '{path}' STORED AS CSV"),
        format!("COPY spans TO '{path}'"),
        format!("EXPLAIN COPY spans TO '{path}'"),
        format!("EXPLAIN ANALYZE COPY spans TO '{path}'"),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'"),
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        format!("SELECT * FROM read_csv('{path}')"),
        format!("SELECT * FROM read_parquet('{path}')"),
        "SELECT * FROM 'http://127.0.0.1:1/x.parquet'".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        "CREATE FUNCTION f() RETURNS INT RETURN 1".to_owned(),
        "CREATE SCHEMA s".to_owned(),
        "DROP TABLE spans".to_owned(),
        "ALTER TABLE spans ADD COLUMN x INT".to_owned(),
        "INSERT INTO spans SELECT * FROM spans".to_owned(),
        "INSERT INTO resources VALUES (1)".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO resources SELECT * FROM resources".to_owned(),
        "UPDATE resources SET resource_id = 1".to_owned(),
        "DELETE FROM resources".to_owned(),
        "TRUNCATE TABLE resources".to_owned(),
        "MERGE INTO resources USING spans ON true WHEN MATCHED THEN DELETE".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "EXECUTE p".to_owned(),
        "BEGIN".to_owned(),
        "COMMIT".to_owned(),
        "GRANT SELECT ON spans TO x".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "SELECT 1; DROP TABLE spans".to_owned(),
        "SELECT repeat('x', 2000000000)".to_owned(),
        "SELECT lpad(name, 2000000000) FROM spans".to_owned(),
        "SELECT range(1, 2000000000)".to_owned(),
        "SELECT array_repeat(1, 2000000000)".to_owned(),
        String::new(),
        "-- nothing".to_owned(),
        "nonsense".to_owned(),
    ];
    store::ask(&shop(), 1, |snapshot| {
        for query in &queries {
            let answer = ask(snapshot, query, LIMITS);
            assert!(matches!(&answer, Err(SqlError::Invalid(why)) if !why.is_empty()), "{query}: {answer:?}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "a\n1\n");
        assert!(ask(snapshot, "SELECT count(*) FROM spans", LIMITS).unwrap().contains("| 4 "));
    });
}

#[test]
fn a_query_that_needs_more_memory_than_it_may_have_ends_with_an_error() {
    store::ask(&shop(), 1, |snapshot| {
        let limits = Limits { memory_bytes: 1 << 20, ..LIMITS };
        for query in [
            "SELECT value, count(*) FROM generate_series(1, 10000000) GROUP BY value",
            "SELECT a.value FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.value = b.value",
            "SELECT array_agg(value) FROM generate_series(1, 10000000)",
            "SELECT * FROM generate_series(1, 3000000) ORDER BY value DESC",
        ] {
            let answer = ask(snapshot, query, limits);
            assert!(matches!(answer, Err(SqlError::TooMuch(_))), "{query}: {answer:?}");
        }
    });
}

#[test]
fn long_and_deep_queries_are_answered_or_refused() {
    store::ask(&shop(), 1, |snapshot| {
        let terms = |count: usize| vec!["duration = 1"; count].join(" OR ");
        let any = |count: usize| format!("SELECT count(*) FROM spans WHERE {}", terms(count));
        assert!(ask(snapshot, &any(300), LIMITS).unwrap().contains("| 0 "));
        assert!(ask(snapshot, &format!("SELECT {}", vec!["1"; 990].join("+")), LIMITS).is_ok());
        let ids: Vec<String> = (0..5_000).map(|id| format!("'{id:016x}'")).collect();
        let listed = format!("SELECT count(*) FROM spans WHERE span_id IN ({})", ids.join(","));
        assert!(ask(snapshot, &listed, LIMITS).unwrap().contains("| 4 "));
        let refused = |query: &str, why: &str| match ask(snapshot, query, LIMITS) {
            Err(SqlError::Invalid(said)) => assert!(said.contains(why), "{said}"),
            answer => panic!("{}: {answer:?}", &query[..40]),
        };
        refused(&any(400), "IN (...)");
        refused(&format!("SELECT '{}'", "x".repeat(300_000)), "bytes");
        refused(&format!("SELECT {}1", "- ".repeat(900)), "");
        refused(&format!("SELECT {}true", "NOT ".repeat(900)), "");
        refused(&format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000)), "");
        refused(&format!("{}SELECT 1{}", "SELECT * FROM (".repeat(300), ")".repeat(300)), "");
        refused(&format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(240), " END".repeat(240)), "");
    });
}

#[test]
fn a_spent_budget_ends_a_query() {
    store::ask(&shop(), 1, |snapshot| {
        let (budget, client) = Budget::new(Duration::from_secs(60));
        let spans = Arc::new(Spans::open(snapshot, &Cache::new(1 << 20), &budget).unwrap());
        let session = Session::open(spans, budget, LIMITS).unwrap();
        drop(client);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let rows = session.plan("SELECT name FROM spans", None).await?.run().await?;
            rows.try_collect::<Vec<_>>().await.map_err(SqlError::from)
        });
        assert!(matches!(answer, Err(SqlError::Stopped(_))), "{answer:?}");
    });
}

#[test]
fn parameters_stand_for_numbers_and_for_question_marks() {
    let values = |query: &'static str, values: Vec<ScalarValue>| {
        store::ask(&shop(), 1, move |snapshot| {
            let session = session(snapshot, LIMITS);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let planned = session.plan(query, None).await?;
                let names: Vec<_> = planned.parameters()?.fields().iter().map(|field| field.name().clone()).collect();
                let planned = session.plan(query, Some(ParamValues::from(values.clone()))).await?;
                let batches: Vec<_> = planned.run().await?.try_collect().await?;
                let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                Ok::<_, SqlError>((names, rows))
            })
        })
    };
    let (web, long) = (ScalarValue::from("web"), ScalarValue::from(2_000_000_i64));
    let two = |names: [&str; 2], rows| Ok((names.map(str::to_owned).to_vec(), rows));
    let both = vec![web.clone(), long.clone()];
    assert_eq!(
        values("SELECT '?' FROM spans WHERE service_name = $1 AND duration > $2", both.clone()),
        two(["$1", "$2"], 1)
    );
    assert_eq!(values("SELECT '?' FROM spans WHERE duration > $2 AND service_name = $1", both), two(["$1", "$2"], 1));
    let query = "SELECT '?', \"name\" /* ? */ FROM spans WHERE service_name = ? AND duration > ? -- ?";
    assert_eq!(values(query, vec![web.clone(), long]), two(["$1", "$2"], 1));
    assert!(matches!(values(query, vec![web]), Err(SqlError::Invalid(_))));
}

/// `inner` with something done so many times to the column `x`, each time to what the last one gave.
fn again(inner: &str, times: usize, what: &str) -> String {
    let steps = (1..=times).map(|at| format!(", t{at} AS (SELECT {what} AS x FROM t{})", at - 1));
    format!("WITH t0 AS ({inner}){} SELECT x FROM t{times}", steps.collect::<String>())
}

#[test]
fn results_of_functions_count_as_memory_of_the_query() {
    let (a, b) = ("a".repeat(120_000), "b".repeat(120_000));
    let rows = "SELECT concat('n', value) AS x FROM generate_series(1, 10000)";
    let list = "SELECT make_array(value, value) AS x FROM generate_series(1, 10000)";
    let queries = [
        format!("SELECT length(replace('{a}', 'a', '{b}'))"),
        format!("SELECT length(regexp_replace('{a}', 'a', '{b}', 'g'))"),
        format!("SELECT length(regexp_replace('{a}', '', '{b}', 'g'))"),
        format!("SELECT cardinality(regexp_match('{a}', '{}a{}'))", "(".repeat(1_000), "+)".repeat(1_000)),
        format!("SELECT length(array_to_string(string_to_array('{a}', NULL), '{b}'))"),
        format!("SELECT sum(length(replace(x, 'n', '{b}'))) FROM ({rows})"),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "x || x")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "concat(x, x)")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "concat_ws('-', x, x, x)")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "overlay(x placing x from 1 for 1)|| x")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "replace(x, 'n', x)")),
        format!("SELECT sum(cardinality(x)) FROM ({})", again(list, 25, "array_concat(x, x)")),
        format!("SELECT sum(cardinality(x)) FROM ({})", again(list, 25, "x || x")),
        format!("SELECT sum(cardinality(x)) FROM ({})", again(list, 25, "make_array(x, x)")),
        // Lists that become rows, with a long text beside each value.
        format!(
            "SELECT sum(length(t || c)) FROM (SELECT unnest(string_to_array('{a}', NULL)) AS c, concat('{b}', random()) AS t)"
        ),
    ];
    store::ask(&shop(), 1, |snapshot| {
        for query in &queries {
            let refused = match ask(snapshot, query, LIMITS) {
                Err(SqlError::TooMuch(_)) => true,
                // Of constants there may be less.
                Err(SqlError::Invalid(why)) => why.contains("constants") && !query.contains("generate_series"),
                _ => false,
            };
            assert!(refused, "{}: {:?}", &query[..60], ask(snapshot, query, LIMITS));
        }
        // A window has all rows, until the last one has come.
        let window =
            "SELECT sum(n + value) FROM (SELECT count(*) OVER () AS n, value FROM generate_series(1, 2000000))";
        let answer = ask(snapshot, window, Limits { memory_bytes: 8 << 20, ..LIMITS });
        assert!(matches!(answer, Err(SqlError::TooMuch(_))), "{answer:?}");
        let constant = format!("SELECT cardinality(string_to_array('{a}', NULL))");
        let answer = ask(snapshot, &constant, LIMITS);
        assert!(matches!(&answer, Err(SqlError::Invalid(why)) if why.contains("constants")), "{answer:?}");
        // The type of each has that of the last one twice.
        for what in
            ["named_struct('a', x, 'b', x)", "struct(x, x)", "map(make_array(x), make_array(x))", "{a: x, b: x}"]
        {
            let answer = ask(snapshot, &again(rows, 60, what), LIMITS);
            assert!(matches!(&answer, Err(SqlError::Invalid(why)) if why.contains("structs")), "{what}: {answer:?}");
        }
        let fixed = "SELECT CAST(make_array(1) AS BIGINT[1000000000])";
        assert!(matches!(ask(snapshot, fixed, LIMITS), Err(SqlError::Invalid(why)) if why.contains("fixed length")));
    });
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 2 << 20, "{} MiB", peak >> 10);
}

#[test]
fn functions_give_what_they_gave_without_being_counted() {
    let long = "x".repeat(100_000);
    store::ask(&shop(), 1, |snapshot| {
        for (expression, value) in [
            ("replace('a-b', '-', '+')", "a+b"),
            ("regexp_replace('a12b3', '[0-9]+', '#', 'g')", "a#b#"),
            ("regexp_replace(name, '(.).*', '\\1\\1')", "cc"),
            ("name || '/' || service_name", "charge/bank"),
            ("concat(name, NULL, service_name)", "chargebank"),
            ("name || NULL", ""),
            ("concat_ws(', ', name, service_name, duration)", "charge, bank, 55000000"),
            ("upper(substr(name, 2, 3))", "HAR"),
            ("initcap(reverse(name))", "Egrahc"),
            ("to_char(start_time, '%Y')", "2026"),
            ("array_to_string(array_sort(make_array(3, 1, 2)), '-')", "1-2-3"),
            ("(make_array(1, 2) || make_array(3))[3]", "3"),
            ("coalesce(NULL, name)", "charge"),
            ("nvl(NULL, name)", "charge"),
            ("nvl2(name, 'yes', 'no')", "yes"),
            ("named_struct('a', name)['a']", "charge"),
            ("struct(name)['c0']", "charge"),
            ("map(make_array('k'), make_array(name))['k']", "charge"),
            ("split_part('a,b', ',', 2)", "b"),
            ("overlay(name placing 'X' from 1 for 2)", "Xarge"),
            ("greatest(name, 'a')", "charge"),
            ("CASE WHEN length(name) > 2 THEN left(name, 2) ELSE name || name END", "ch"),
            ("array_to_string(array_agg(name) OVER (), ',')", "charge"),
            ("arrow_typeof(name || 'x')", "Utf8View"),
        ] {
            let query = format!("SELECT {expression} AS x FROM spans WHERE name = 'charge'");
            let answer = ask(snapshot, &query, LIMITS).unwrap_or_else(|error| panic!("{query}: {error}"));
            let cell = answer.lines().nth(3).unwrap().trim_matches(['|', ' ']);
            assert_eq!(cell, value, "{query}");
        }
        let query = "SELECT name || '!' FROM spans WHERE name = 'charge'";
        assert!(ask(snapshot, query, LIMITS).unwrap().contains("| spans.name || Utf8(\"!\") |"));
        let listed =
            "SELECT count(*) FROM (SELECT unnest(map_keys(attributes)) AS key FROM spans) WHERE key IS NOT NULL";
        assert!(ask(snapshot, listed, LIMITS).unwrap().contains("| 1 "));
        let counted = "SELECT count(DISTINCT l || 'x') FROM (SELECT replace('{}', 'x', 'y') AS l FROM spans)";
        assert!(ask(snapshot, &counted.replace("{}", &long), LIMITS).unwrap().contains("| 1 "));
        // Rows are the same however many come together.
        let many = format!("SELECT count(*) AS n FROM generate_series(1, 20000) WHERE concat(value) <> '{long}'");
        assert!(ask(snapshot, &many, LIMITS).unwrap().contains("| 20000 "));
    });
}
