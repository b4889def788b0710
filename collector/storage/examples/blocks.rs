//! Turns a corpus (`clew load write`) into blocks, and says what each step takes.
//!
//! `cargo run --release -p clew-storage --example blocks -- CORPUS FOLDER [SPANS_A_BLOCK [SPANS_A_BATCH [PAGE_ROWS [GROUP_ROWS [LEVEL [SHAPE_BYTES [LEAST_PAGE_ROWS]]]]]]]`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::Arc,
};

use arrow_array::RecordBatch;
use bytes::Bytes;
use clew_common::{ids::Tenant, world::World};
use clew_storage::{
    block::{BlockWriter, Layout, Meta, SPANS, Spec},
    columns::{Builder, Resource},
    merge::{Batches, Counts, order},
    store::{self, Store},
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use uuid::Uuid;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, folder, ..] = &arguments[..] else { return Err("say CORPUS and FOLDER".into()) };
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (block_spans, batch_spans) = (number(2, 1 << 20)?, number(3, 8192)?);
    let layout = Layout::default();
    let layout = Layout {
        page_rows: number(4, layout.page_rows)?,
        least_page_rows: number(8, layout.least_page_rows)?,
        group_rows: number(5, layout.group_rows)?,
        level: number(6, layout.level as usize)? as i32,
        shape_bytes: Some(number(7, layout.shape_bytes.unwrap_or(0))?).filter(|bytes| *bytes > 0),
    };
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let store = store::open(folder, &World::real())?;
    let corpus = Bytes::from(fs::read(corpus)?);
    let mut run = Run { store, layout, steps: Steps::default(), metas: Vec::new(), blocks: 0 };
    let mut builder = Builder::new();
    let (mut batches, mut resources, mut rows) = (Vec::new(), HashMap::new(), 0);
    let mut at = 80;
    while at < corpus.len() {
        let length = u32::from_le_bytes(corpus[at..at + 4].try_into()?) as usize;
        let request = corpus.slice(at + 8..at + 8 + length);
        at += 8 + length;
        run.steps.time("columns", || builder.add(&request))?;
        if builder.rows() >= batch_spans || at >= corpus.len() {
            let spans = run.steps.time("columns", || builder.finish())?;
            rows += spans.batch.num_rows();
            batches.push(spans.batch);
            resources.extend(spans.resources.into_iter().map(|resource| (resource.id, resource)));
        }
        if rows >= block_spans || at >= corpus.len() {
            run.block(&batches, &resources)?;
            batches.clear();
            rows = 0;
        }
    }
    run.report(folder)
}

struct Run {
    store: Arc<dyn Store>,
    layout: Layout,
    steps: Steps,
    metas: Vec<(String, Meta)>,
    blocks: u128,
}

impl Run {
    fn block(
        &mut self,
        batches: &[RecordBatch],
        resources: &HashMap<u64, Resource>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.blocks += 1;
        let spec = Spec::new(Uuid::from_u128(self.blocks), Tenant::default());
        let path = spec.path();
        let store = self.store.clone();
        // The order once more, to know what it takes by itself.
        self.steps.time("order", || order(&mut Batches(batches)))?;
        let counts = self.steps.time("counts", || Counts::of(batches));
        let layout = self.layout;
        let meta = self.steps.time("order and write", || {
            let mut writer = BlockWriter::with_counts(store, &spec, counts, layout)?;
            writer.write(&mut Batches(batches))?;
            writer.finish(resources.values())
        })?;
        self.metas.push((path, meta));
        Ok(())
    }

    fn report(&self, folder: &str) -> Result<(), Box<dyn std::error::Error>> {
        let spans = self.metas.iter().map(|(_, meta)| meta.spans).sum::<u64>() as f64;
        println!("{spans} spans in {} blocks, {:?}", self.metas.len(), self.layout);
        for (step, seconds) in &self.steps.0 {
            println!(
                "{step:16} {:8.3} M spans per CPU-s, {:6.3} us a span",
                spans / seconds / 1e6,
                seconds / spans * 1e6
            );
        }
        let mut files: BTreeMap<String, u64> = BTreeMap::new();
        let mut columns: BTreeMap<String, (i64, usize, String)> = BTreeMap::new();
        for (path, meta) in &self.metas {
            for (name, file) in &meta.files {
                *files.entry(name.clone()).or_default() += file.bytes;
            }
            *files.entry("meta.json".into()).or_default() += self.store.size(&format!("{path}/meta.json"))?;
            let spans = meta.files.get(SPANS).and_then(|file| file.tail).map_or(0, |tail| tail.bytes);
            *files.entry("  footer".into()).or_default() += spans;
            let reader = SerializedFileReader::new(fs::File::open(Path::new(folder).join(path).join(SPANS))?)?;
            for group in reader.metadata().row_groups() {
                for column in group.columns() {
                    let entry = columns.entry(column.column_path().string()).or_default();
                    entry.0 += column.compressed_size();
                    entry.1 += column.num_values() as usize;
                    entry.2 = format!("{:?}", column.encodings().collect::<Vec<_>>());
                }
            }
        }
        let all: u64 = files.iter().filter(|(name, _)| !name.starts_with(' ')).map(|(_, bytes)| bytes).sum();
        println!("{:.2} bytes a span", all as f64 / spans);
        for (name, bytes) in files {
            println!("{:8.3} {name}", bytes as f64 / spans);
        }
        let mut columns: Vec<_> = columns.into_iter().collect();
        columns.sort_by_key(|(_, (bytes, ..))| -bytes);
        for (name, (bytes, _, encodings)) in columns.iter().take(48) {
            println!("{:8.3} {name} {encodings}", *bytes as f64 / spans);
        }
        let rest: i64 = columns.iter().skip(48).map(|(_, (bytes, ..))| bytes).sum();
        println!("{:8.3} in {} more", rest as f64 / spans, columns.len().saturating_sub(48));
        Ok(())
    }
}

/// CPU-seconds of this thread.
#[derive(Default)]
struct Steps(BTreeMap<&'static str, f64>);

impl Steps {
    fn time<T>(&mut self, step: &'static str, work: impl FnOnce() -> T) -> T {
        let before = cpu_seconds();
        let done = work();
        *self.0.entry(step).or_default() += cpu_seconds() - before;
        done
    }
}

fn cpu_seconds() -> f64 {
    let line = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    line.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9
}
