//! Measures the way between OTLP bytes and columns on one core, on a corpus:
//! `clew load write --spans 1000000 CORPUS; cargo run --release -p clew-storage --example columns -- CORPUS`.
//!
//! CPU time of the thread counts. Of some rounds over the whole corpus the fastest counts: the others were disturbed.
#![allow(clippy::print_stdout)]

use std::{collections::BTreeMap, hint::black_box};

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use clew_storage::{
    columns::{Builder, Resource, Spans, write_otlp},
    schema::core,
};

/// Spans a batch: what a busy agent sends, and one request.
const BATCHES: [usize; 2] = [2000, 500];
const ROUNDS: usize = 7;
/// Of the corpus file and of each of its requests (`cli/src/load/corpus.rs`).
const HEADER_BYTES: usize = 80;
const RECORD_HEADER_BYTES: usize = 8;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("which corpus? make one with `clew load write`")?;
    let corpus = std::fs::read(&path).with_context(|| path.clone())?;
    for size in BATCHES {
        let batches = batches(&corpus, size)?;
        let bytes: usize = batches.iter().map(Vec::len).sum();
        let mut builder = Builder::new();
        let (mut spans, mut memory) = (0, 0);
        let build = fastest(|| {
            (spans, memory) = (0, 0);
            for batch in &batches {
                builder.add(batch)?;
                let built = builder.finish()?;
                spans += built.batch.num_rows();
                memory += built.batch.get_array_memory_size();
                black_box(built);
            }
            Ok(())
        })?;
        println!("{} spans, {} bytes each, in batches of {}", spans, bytes / spans, spans / batches.len());
        report("OTLP to columns", build, spans);
        println!("{:>18}: {} bytes a span", "columns in memory", memory / spans);
        writing(&batches)?;
    }
    Ok(())
}

/// Measures how traces are written.
fn writing(batches: &[Vec<u8>]) -> Result<()> {
    let mut builder = Builder::new();
    let mut work = Vec::new();
    for batch in batches.iter().take(50) {
        builder.add(batch)?;
        let spans = builder.finish()?;
        work.push((traces(&spans), spans));
    }
    let count: usize = work.iter().map(|(_, spans)| spans.batch.num_rows()).sum();
    let traces: usize = work.iter().map(|(traces, _)| traces.len()).sum();
    let mut out = Vec::new();
    let write = fastest(|| {
        for (traces, spans) in &work {
            let find = |id| spans.resources.iter().find(|resource: &&Resource| resource.id == id).cloned();
            for rows in traces {
                out.clear();
                write_otlp(&spans.batch, rows, find, &mut out)?;
                black_box(&out);
            }
        }
        Ok(())
    })?;
    report("columns to OTLP", write, count);
    println!("{:>18}: {:.1} us each, of {} spans", "a trace", write / 1e3 / traces as f64, count / traces);
    Ok(())
}

/// The rows of each trace.
fn traces(spans: &Spans) -> Vec<Vec<usize>> {
    let ids = spans.batch.column(core::TRACE_ID).as_fixed_size_binary();
    let mut traces: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for row in 0..spans.batch.num_rows() {
        traces.entry(ids.value(row)).or_default().push(row);
    }
    traces.into_values().collect()
}

/// The requests of a corpus, joined to batches of at least as many spans.
fn batches(corpus: &[u8], spans: usize) -> Result<Vec<Vec<u8>>> {
    let (mut batches, mut batch, mut within) = (Vec::new(), Vec::new(), 0);
    let mut rest = corpus.get(HEADER_BYTES..).context("the corpus has no header")?;
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(RECORD_HEADER_BYTES).context("a record is cut short")?;
        let word = |at: usize| header[at..at + 4].iter().rev().fold(0, |word, byte| word << 8 | usize::from(*byte));
        let (request, after) = after.split_at_checked(word(0)).context("a request is cut short")?;
        batch.extend_from_slice(request);
        within += word(4);
        rest = after;
        if within >= spans || rest.is_empty() {
            batches.push(std::mem::take(&mut batch));
            within = 0;
        }
    }
    Ok(batches)
}

/// Nanoseconds of CPU time.
fn fastest(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = cpu_ns()?;
        work()?;
        best = best.min(cpu_ns()? - start);
    }
    Ok(best)
}

/// What this thread has run so far.
fn cpu_ns() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().context("schedstat is empty")?.parse()?)
}

fn report(name: &str, ns: f64, spans: usize) {
    let each = ns / spans as f64;
    println!("{name:>18}: {each:.0} ns a span, {:.2} M spans/s", 1e3 / each);
}
