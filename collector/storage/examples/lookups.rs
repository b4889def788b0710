//! Looks traces up in the blocks of a folder, one after the other, and says how long that takes.
//!
//! `cargo run --release -p clew-storage --example lookups -- FOLDER [LOOKUPS]`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::{ops::Range, sync::Arc, time::Instant};

use arrow_array::cast::AsArray;
use clew_common::{ids::TraceId, log::Work, world::World};
use clew_storage::{
    block::{Block, BlockError, Cache, trace_in},
    schema::core,
    store,
    verify::{folders, replaced},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, ..] = &arguments[..] else { return Err("say FOLDER".into()) };
    let lookups = arguments.get(1).map_or(Ok(5000), |text| text.parse::<usize>())?;
    let store = store::open(folder, &World::real())?;
    let cache = Arc::new(Cache::new(384 << 20));
    let mut blocks = Vec::new();
    let mut traces: Vec<TraceId> = Vec::new();
    let found = folders(&store)?;
    let replaced = replaced(&found);
    for found in found.iter().filter(|found| found.block.is_some() && !replaced.contains(&found.id)) {
        let block = Block::open(store.clone(), &found.path, cache.clone())?;
        for group in 0..block.groups()?.len() {
            let ids = block.column(group, core::TRACE_ID)?;
            let ids = ids.as_ref().and_then(|ids| ids.as_fixed_size_binary_opt());
            let ids = ids.map_or(&[][..], |ids| ids.value_data().as_chunks::<16>().0);
            traces.extend(ids.chunk_by(|a, b| a == b).filter_map(|run| TraceId::new(run[0])));
        }
        blocks.push(block);
    }
    if traces.is_empty() {
        return Err("there are no blocks in FOLDER: of a collector, say the folder blocks of its data".into());
    }
    // A step that has no divisor in common with their number goes through all of them.
    let step = (traces.len() * 618 / 1000) | 1;
    println!("{} traces in {} blocks", traces.len(), blocks.len());
    let look_up = |numbers: Range<usize>, what: &str| {
        let (mut times, mut bytes) = (Vec::with_capacity(numbers.len()), 0);
        for at in numbers {
            let trace = &traces[at * step % traces.len()];
            let start = Instant::now();
            let holding: Vec<_> = blocks.iter().filter(|block| block.may_hold(trace)).collect();
            for found in trace_in(&holding, trace, Work::Threads, &|_| true) {
                bytes += found?.len();
            }
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let part = |share: usize| times[(times.len() - 1) * share / 100];
        println!(
            "{} {what}: p50 {:?}, p90 {:?}, p99 {:?}, most {:?}; {} bytes a trace",
            times.len(),
            part(50),
            part(90),
            part(99),
            part(100),
            bytes / times.len()
        );
        Ok::<_, BlockError>(())
    };
    let lookups = lookups.max(1);
    look_up(0..lookups, "lookups after a start")?;
    look_up(lookups..2 * lookups, "of other traces")?;
    println!("{} MiB in the cache", cache.bytes() >> 20);
    look_up((2 * lookups).saturating_sub(500)..2 * lookups, "of them again")?;
    Ok(())
}
