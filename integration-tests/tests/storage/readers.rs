//! Others read blocks as docs/schema.md tells them to, and count what Clew counts.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{Collector, files, installed, program};
use serde_json::{Value, json};

const SPANS: u64 = 60_000;

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// Fills a store with several blocks. Its collector goes on.
fn fill(dir: &Path) -> Result<Collector> {
    let flags = ["--flush-bytes=12MiB", "--flush-age-s=1"];
    let collector = Collector::start(&dir.join("clew-data/collector"), &flags)?;
    let corpus = dir.join("corpus");
    run(Command::new(program("clew")?).args(["load", "write"]).arg(&corpus).args(["--spans", &SPANS.to_string()]))?;
    let send = ["--endpoint", &collector.url(), "--rate", "20000"];
    run(Command::new(program("clew")?).args(["load", "send"]).arg(&corpus).args(send))?;
    collector.settle()?;
    let shapes = files(&dir.join("clew-data/collector/blocks"), "shapes.parquet")?;
    ensure!(!shapes.is_empty(), "no block has shapes: they are not read here");
    Ok(collector)
}

/// Runs a script of `readers/` in a folder; what it prints.
fn script(dir: &Path, name: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers");
    let mut command = Command::new(installed("python/bin/python")?);
    command.current_dir(dir).arg(here.join(name)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(run(&mut command)?.stdout)
}

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.md");

/// What Clew itself says is there: the answers that the examples should give.
fn expected(dir: &Path) -> Result<BTreeMap<&'static str, Value>> {
    let exported = run(Command::new(program("clew")?).current_dir(dir).args(["export", "--format", "json"]))?;
    let mut services: HashMap<(String, String), String> = HashMap::new();
    let mut spans = Vec::new();
    for line in exported.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let data: Value = serde_json::from_slice(line)?;
        for resource_spans in list(&data["resourceSpans"]) {
            let service = attribute(&resource_spans["resource"], "service.name").context("a service")?;
            for span in list(&resource_spans["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
                services.insert(id(span, "spanId"), service.to_owned());
                spans.push((service.to_owned(), span.clone()));
            }
        }
    }
    let traces: HashSet<_> = spans.iter().map(|(_, span)| span["traceId"].as_str()).collect();
    let is_child = |span: &Value| span["parentSpanId"].as_str().is_some_and(|id| !id.is_empty());
    let children = spans.iter().filter(|(_, span)| is_child(span)).count();
    let is_get = |span: &Value| attribute(span, "http.request.method") == Some("GET");
    let (mut errors, mut edges) = (BTreeMap::<&str, (u64, u64)>::new(), BTreeMap::<(&str, &str), u64>::new());
    let mut failed = 0;
    for (service, span) in &spans {
        let is_error = span["status"]["code"] == 2;
        failed += u64::from(is_error);
        let of_service = errors.entry(service).or_default();
        *of_service = (of_service.0 + 1, of_service.1 + u64::from(is_error));
        if let Some(caller) = services.get(&id(span, "parentSpanId")).filter(|_| is_child(span)) {
            *edges.entry((caller, service)).or_default() += 1;
        }
    }
    Ok([
        ("blocks", json!([[SPANS]])),
        ("spans", json!([[SPANS, traces.len(), children]])),
        ("errors", errors.iter().map(|(service, (all, errors))| json!([service, all, errors])).collect()),
        ("edges", edges.iter().map(|((caller, callee), calls)| json!([caller, callee, calls])).collect()),
        ("attribute", json!([[spans.iter().filter(|(_, span)| is_get(span)).count()]])),
        ("resources", json!([[SPANS]])),
        ("pandas", json!({"spans": SPANS, "traces": traces.len(), "children": children, "errors": failed})),
    ]
    .into())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn id(span: &Value, of: &str) -> (String, String) {
    [&span["traceId"], &span[of]].map(|id| id.as_str().unwrap_or_default().to_owned()).into()
}

fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    list(&of["attributes"]).iter().find(|attribute| attribute["key"] == key)?["value"]["stringValue"].as_str()
}

#[test]
fn duckdb_and_pandas_count_in_blocks_what_clew_counts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    ensure!(fill(dir.path())?.process.stop(std::time::Duration::from_secs(20))?);
    let mut answers: BTreeMap<String, Value> = serde_json::from_slice(&script(dir.path(), "run.py", &[SCHEMA])?)?;
    for (example, answer) in expected(dir.path())? {
        let given = answers.remove(example).with_context(|| format!("docs/schema.md has no example {example}"))?;
        assert_eq!(given, answer, "{example}");
    }
    let slowest = answers.remove("slowest").context("docs/schema.md has no example slowest")?;
    assert_eq!(list(&slowest).len(), 10);
    assert!(answers.is_empty(), "nothing checks {answers:?}");
    Ok(())
}

#[test]
fn sql_over_adbc_gives_what_duckdb_finds_in_the_blocks() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = fill(dir.path())?;
    let url = format!("grpc://{}", collector.grpc);
    let equal = String::from_utf8(script(dir.path(), "beside.py", &[&url, SCHEMA])?)?;
    assert!(equal.trim().parse::<u32>()? >= 20, "{equal}");
    Ok(())
}
