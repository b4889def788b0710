//! Exports beside a collector that takes spans, flushes and merges all the time.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};

use crate::{
    clew::{Dir, clew, import},
    odd,
    spans::Flat,
};

/// A block for about each message, and a merge for every eighth, whose files go a second later.
const FLAGS: [&str; 5] =
    ["--segment-bytes=1MiB", "--flush-bytes=1MiB", "--max-memory-bytes=16MiB", "--flush-age-s=1", "--sweep-delay-s=1"];

/// So many messages are sent, of so many spans.
const MESSAGES: u32 = 40;
const SPANS: u32 = 40;

/// About 1.3 MiB in memory.
fn message(part: u32) -> Vec<u8> {
    let span = |number: u32| {
        // Little that compresses, so that the log's files fill and go.
        let noise: [u8; 4096] = rand::random();
        let text = hex::encode(noise).repeat(4);
        Span { attributes: vec![odd::pair("text", Value::StringValue(text))], ..odd::span(1, number) }
    };
    odd::message((0..SPANS).map(|number| span(SPANS * part + number)).collect())
}

/// How often each span is there, by its number.
fn numbers(found: &BTreeMap<Flat, usize>) -> Result<BTreeMap<u32, usize>> {
    let numbers = found.iter().map(|(flat, times)| {
        let number = flat.span.get(1).and_then(|id| id.last_chunk()).context("a span id")?;
        Ok((u32::from_be_bytes(*number), *times))
    });
    numbers.collect()
}

#[test]
fn what_was_acked_before_an_export_began_is_in_it_while_blocks_come_and_are_merged() -> Result<()> {
    let dir = Dir::new()?;
    let collector = dir.collector("c", &FLAGS)?;
    let (acked, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let (mut repeated, mut exports) = (0, 0);
    let mut export = |round: usize| {
        let acked = SPANS * acked.load(Ordering::SeqCst);
        let found = if round.is_multiple_of(2) {
            crate::clew::export(&dir.path("c"), "default")?
        } else {
            let folder = dir.path("folder");
            let text = dir.text("folder");
            clew(&["export", "--data", &dir.text("c"), "--format", "parquet", "--output", &text])?.well()?;
            clew(&["verify", "--store", &text])?.well()?;
            let said = clew(&["export", "--store", &text, "--format", "protobuf"])?;
            std::fs::remove_dir_all(folder)?;
            crate::spans::of_delimited(&said.out)?
        };
        let found = numbers(&found)?;
        let missing = (0..acked).filter(|number| !found.contains_key(number)).count();
        ensure!(missing == 0, "export {round} lacks {missing} of the {acked} spans that were acked before it began");
        repeated += found.values().sum::<usize>() - found.len();
        exports += 1;
        Ok(found)
    };
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = (0..MESSAGES).try_for_each(|part| {
                let file = dir.write("next.pb", &[message(part)])?;
                import(&collector, &[&file], "default")?;
                acked.fetch_add(1, Ordering::SeqCst);
                // Exports go on meanwhile, and what was merged is deleted.
                std::thread::sleep(Duration::from_millis(200));
                anyhow::Ok(())
            });
            done.store(true, Ordering::SeqCst);
            sent
        });
        let exported = (0..).take_while(|_| !done.load(Ordering::SeqCst)).try_for_each(|round| export(round).map(drop));
        sending.join().map_err(|_| anyhow::anyhow!("sending panicked"))??;
        exported
    })?;
    let merged = clew(&["blocks", "--data", &dir.text("c"), "--json"])?.well()?;
    assert!(merged.contains("\"level\":1"), "nothing was merged: {merged}");
    let all = export(0)?;
    assert_eq!(all.len(), (MESSAGES * SPANS) as usize);
    assert!(all.values().all(|times| *times == 1), "with nothing going on, a span is exported twice");
    // Repeated only where a block was merged and deleted while it was read.
    assert!(exports > 5 && repeated <= all.len(), "{exports} exports, {repeated} spans twice");
    Ok(())
}
