//! Asks a collector's data folder, while no collector runs, and says what each answer takes.
//!
//! `cargo run --release -p clew-query --example ask -- FOLDER QUERY [RUNS [CACHE_MIB]]`, where QUERY is TraceQL,
//! `dependencies` or `explain FILTER`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clew_common::{ids::Tenant, world::World};
use clew_query::{
    exec::{
        Budget, Cache, ExplainOptions, MetricsOptions, Range, Sample, SearchOptions, dependencies, explain, metrics,
        search,
    },
    traceql::{
        self,
        ast::{Body, SpansetExpr, SpansetKind, Stage},
        steps::Steps,
    },
};
use clew_storage::{Opened, Snapshot, Storage, block::Layout, retention, store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, query, ..] = &arguments[..] else { return Err("say FOLDER and QUERY".into()) };
    let runs = arguments.get(2).map_or(Ok(20), |text| text.parse())?;
    let cache_mib = arguments.get(3).map_or(Ok(2048), |text| text.parse::<usize>())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let snapshot = open(Path::new(folder))?;
    let (mut start, mut end, mut spans) = (i64::MAX, i64::MIN, 0);
    for block in snapshot.blocks() {
        let meta = block.meta();
        (start, end, spans) = (start.min(meta.start_min), end.max(meta.start_max), spans + meta.spans);
    }
    println!(
        "{} blocks, {spans} spans in them, over {:?}",
        snapshot.blocks().len(),
        Duration::from_nanos((end - start) as u64)
    );
    let explained = query.strip_prefix("explain ");
    let parsed = if query == "dependencies" { None } else { Some(traceql::parse(explained.unwrap_or(query))?.body) };
    let cache = Cache::new(cache_mib << 20);
    let mut times = Vec::new();
    for run in 0..runs {
        let (budget, _client) = Budget::new(Duration::from_secs(300));
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let answer = match &parsed {
            None => {
                let found = dependencies(&snapshot, &cache, Range::ALL, &budget)?;
                let calls: u64 = found.dependencies.iter().map(|dependency| dependency.calls).sum();
                format!("{calls} calls between {} pairs of services", found.dependencies.len())
            }
            Some(Body::Spans(pipeline)) if explained.is_some() => {
                let Some(Stage::Spansets(SpansetExpr { kind: SpansetKind::Filter(Some(filter)), .. })) =
                    pipeline.stages.first()
                else {
                    return Err("say one filter after explain".into());
                };
                let options = ExplainOptions { range: Range::ALL, values: 3, limit: 20, sample: Sample::USUAL };
                let found = explain(&snapshot, &cache, filter, None, options, &budget)?;
                let first = found.over.first();
                format!("{:?} of {} spans inspected, first {first:?}", found.totals, found.inspected_spans)
            }
            Some(Body::Spans(pipeline)) => {
                let found = search(
                    &snapshot,
                    &cache,
                    pipeline,
                    SearchOptions { range: Range::ALL, limit: 20, spans: 3 },
                    &budget,
                )?;
                let first = found.traces.first().map(|found| hex::encode(found.trace_id));
                format!("{} traces, {} spans inspected, first {first:?}", found.traces.len(), found.inspected_spans)
            }
            Some(Body::Metrics(expr)) => {
                let step = ((end - start) / 60).max(1);
                let steps = Steps::aligned(start as u64, end as u64, step as u64);
                let options = MetricsOptions { steps, exemplars: 0, max_series: 10_000 };
                let measured = metrics(&snapshot, &cache, expr, options, &budget)?;
                let sum: f64 = measured.series.iter().flat_map(|series| series.values.iter().flatten()).sum();
                format!("{} series, {} spans inspected, sum {sum}", measured.series.len(), measured.inspected_spans)
            }
        };
        let took = began.elapsed();
        if run == 0 {
            println!("cold {took:?}, {:.2} CPU-s: {answer}", cpu_seconds() - cpu);
        } else {
            times.push(took);
        }
    }
    times.sort();
    if let (Some(median), Some(most)) = (times.get(times.len() / 2), times.last()) {
        println!(
            "warm p50 {median:?}, most {most:?}, {:.1} M spans/s, cache {} MiB",
            spans as f64 / median.as_secs_f64() / 1e6,
            cache.bytes() >> 20
        );
    }
    Ok(())
}

fn open(folder: &Path) -> Result<Snapshot, Box<dyn std::error::Error>> {
    let options = clew_storage::Options {
        data: folder.to_owned(),
        wal: None,
        segment_bytes: 64 << 20,
        max_wal_bytes: 4 << 30,
        max_record_bytes: 128 << 20,
        flush_bytes: 256 << 20,
        flush_age: Duration::from_secs(300),
        max_memory_bytes: 1 << 30,
        max_tenants: 100,
        layout: Layout::default(),
        cache_bytes: 64 << 20,
        sweep_delay: Duration::from_secs(600),
        merge_nice: 0,
        retention: retention::Limits::default(),
        sole: true,
        heir_of: Vec::new(),
    };
    let world = World::real();
    let blocks: PathBuf = folder.join("blocks");
    let Opened { storage, .. } = Storage::open(options, store::open(&blocks.display().to_string(), &world)?, world)?;
    Ok(storage.snapshot(&Tenant::default()))
}

/// Of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}
