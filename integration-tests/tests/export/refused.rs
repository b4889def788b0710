//! Files that cannot be read, spans that nobody takes, and collectors that are away.

use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::{
    clew::{Dir, SOON, Said, clew, command, export},
    odd, spans,
};

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_place_and_what_stands_before_it_is_sent() -> Result<()> {
    let dir = Dir::new()?;
    let collector = dir.collector("c", &[])?;
    let good: Vec<Vec<u8>> = (1..=3).map(|trace| odd::message(vec![odd::span(trace, 1), odd::full(trace)])).collect();
    let bytes = spans::delimited(&good);
    let first = good[0].len() + 2;
    let json: Vec<String> = {
        std::fs::write(dir.path("good.pb"), &bytes)?;
        clew(&["import", &dir.text("good.pb"), "--to", &collector.url(), "--tenant", "json"])?.well()?;
        let text = clew(&["export", "--data", &dir.text("c"), "--tenant", "json"])?.well()?;
        vec![text.trim_end().to_owned(); 2]
    };
    let whole = json.join("\n");
    let cases: [(&str, Vec<u8>, &str, usize); 9] = [
        ("cut.pb", bytes[..bytes.len() - 3].to_vec(), "is cut short", 4),
        ("garbage.pb", [&bytes[..first], &[0xFF; 30]].concat(), &format!("byte {first}: "), 2),
        ("text", b"hello, this is a letter".to_vec(), "is it neither OTLP JSON", 0),
        ("cut.jsonl", whole.as_bytes()[..whole.len() - 9].to_vec(), "line 2: column ", 6),
        ("garbage.jsonl", [json[0].as_bytes(), b"\n\n<html>\n"].concat(), "line 3: column 1: ", 6),
        ("type.jsonl", [json[0].as_bytes(), b"\n{\"resourceSpans\":7}"].concat(), "resourceSpans: ", 6),
        ("cut.pb.zst", cut(zstd::encode_all(&*bytes, 1)?), "incomplete frame", 0),
        ("one.parquet", b"PAR1 and more PAR1".to_vec(), "give the folder", 0),
        ("pretty.json", b"{\n  \"resourceSpans\": []\n}\n".to_vec(), "jq -c", 0),
    ];
    for (name, content, why, sent) in cases {
        std::fs::write(dir.path(name), content)?;
        let file = dir.text(name);
        let said = clew(&["import", &file, "--to", &collector.url(), "--tenant", name])?;
        assert!(!said.success && said.err.starts_with(&format!("clew: {file}")), "{name}: {said:?}");
        assert!(said.err.contains(why), "{name}: {} does not say {why}", said.err);
        assert_eq!(spans::count(&export(&dir.path("c"), name)?), sent, "{name}");
    }
    // What is not there, and what has no spans.
    let missing = clew(&["import", &dir.text("none"), "--to", &collector.url()])?.badly()?;
    assert!(missing.contains("none: cannot open it: "), "{missing}");
    std::fs::create_dir(dir.path("empty"))?;
    let empty = clew(&["import", &dir.text("empty"), "--to", &collector.url()])?.badly()?;
    assert!(empty.contains("there are no blocks"), "{empty}");
    std::fs::write(dir.path("metrics.jsonl"), "{\"resourceMetrics\":[]}\n")?;
    let metrics = clew(&["import", &dir.text("metrics.jsonl"), "--to", &collector.url()])?.well()?;
    assert!(metrics.contains("imported 0 spans") && metrics.contains("1 messages have no spans"), "{metrics}");
    Ok(())
}

fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 3);
    bytes
}

#[test]
fn spans_that_nobody_takes_are_counted_and_fail_the_import() -> Result<()> {
    let dir = Dir::new()?;
    let collector = dir.collector("c", &["--max-request-bytes=2MiB", "--max-intake-bytes=64MiB"])?;
    let bad = Span { trace_id: vec![0; 16], ..odd::span(1, 1) };
    let file = dir.write("bad.pb", &[odd::message(vec![odd::span(1, 2), bad, odd::span(1, 3)])])?;
    let said = clew(&["import", &file, "--to", &collector.url()])?.badly()?;
    assert!(said.contains("imported 2 spans in 1 requests; refused 1\n"), "{said}");
    assert!(said.contains("bad.pb, byte 0: a span cannot be sent: trace_id has to be 16 bytes"), "{said}");
    // One span that is more than the collector takes in a request.
    let huge = Span { name: "n".repeat(2 << 20), ..odd::span(2, 1) };
    let file = dir.write("huge.pb", &[odd::message(vec![odd::span(2, 2)]), odd::message(vec![huge])])?;
    let said = clew(&["import", &file, "--to", &collector.url()])?.badly()?;
    assert!(said.contains("imported 1 spans in 1 requests; refused 1\n"), "{said}");
    assert!(said.contains("ResourceExhausted, 1 times"), "{said}");
    assert_eq!(spans::count(&export(&dir.path("c"), "default")?), 3);
    let nobody = clew(&["import", &file, "--to", "http://127.0.0.1:1"])?.badly()?;
    assert!(nobody.contains("nobody takes spans at http://127.0.0.1:1"), "{nobody}");
    Ok(())
}

#[test]
fn an_import_outlasts_a_collector_that_is_away_and_each_span_is_there_once() -> Result<()> {
    let dir = Dir::new()?;
    let mut collector = dir.collector("c", &[])?;
    let messages: Vec<Vec<u8>> = (0..40u32)
        .map(|part| odd::message((0..2000).map(|number| odd::span(1, 2000 * part + number)).collect()))
        .collect();
    let mut import = command(&["import", "-", "--to", &collector.url(), "--give-up", "60s"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = import.stdin.take().context("a pipe")?;
    let (first, last) = messages.split_at(20);
    stdin.write_all(&spans::delimited(first))?;
    std::thread::sleep(Duration::from_millis(300));
    collector.process.kill()?;
    // In the background: nobody reads while the collector is away.
    let rest = spans::delimited(last);
    let writing = std::thread::spawn(move || stdin.write_all(&rest));
    std::thread::sleep(Duration::from_millis(700));
    collector.restart()?;
    let said = Said::from(import.wait_with_output()?);
    writing.join().map_err(|_| anyhow::anyhow!("writing panicked"))??;
    let out = said.well()?;
    assert!(out.contains("imported 80 000 spans") && out.contains("retries"), "{out}");
    spans::same(&export(&dir.path("c"), "default")?, &spans::of(&messages)?)
}

#[test]
fn neither_an_export_nor_an_import_takes_much_memory() -> Result<()> {
    const MOST_BYTES: u64 = 160 << 20;
    let dir = Dir::new()?;
    let corpus = dir.text("corpus");
    clew(&["load", "write", &corpus, "--spans", "150000"])?.well()?;
    let collector = dir.collector("c", &["--flush-age-s=1"])?;
    clew(&["load", "send", &corpus, "--endpoint", &collector.url()])?.well()?;
    crate::clew::wait_flushed(&collector)?;
    let (file, to) = (dir.text("all.jsonl"), collector.url());
    let data = dir.text("c");
    let export = peak(&["export", "--data", &data, "--output", &file])?;
    let bytes = std::fs::metadata(&file)?.len();
    assert!(bytes > MOST_BYTES - (10 << 20), "{bytes} bytes prove nothing");
    let import = peak(&["import", &file, "--to", &to, "--tenant", "other"])?;
    assert!(export.max(import) < MOST_BYTES, "the export took {export} bytes and the import {import}");
    Ok(())
}

/// Runs `clew`; gives the most memory that it was seen to have.
fn peak(arguments: &[&str]) -> Result<u64> {
    let mut child = command(arguments)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let (started, mut peak) = (Instant::now(), 0);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(1024 * kilobytes.unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            anyhow::ensure!(status.success(), "{arguments:?} failed");
            return Ok(peak);
        }
        anyhow::ensure!(started.elapsed() < SOON, "{arguments:?} does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}
