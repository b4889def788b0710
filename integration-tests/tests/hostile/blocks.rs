//! Blocks of which a file is damaged, cut short or gone.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{Collector, program};
use serde_json::Value;

use crate::{
    folders::copy,
    support::{SOON, collector_door, grpc, spans, starting},
};

const FLAGS: [&str; 1] = ["--flush-age-s=1"];

/// The blocks of a collector's data folder, oldest first.
fn blocks(data: &Path) -> Result<Vec<PathBuf>> {
    let below = |folder: PathBuf| -> Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut blocks = Vec::new();
    for day in below(data.join("blocks/default/blocks"))? {
        blocks.extend(below(day)?);
    }
    blocks.sort();
    Ok(blocks)
}

/// The answer to a lookup by Tempo's second version of it.
async fn lookup(collector: &Collector, trace: [u8; 16]) -> Result<Value> {
    let url = format!("http://{}/api/v2/traces/{}", collector.tempo, hex::encode(trace));
    let answer = reqwest::get(url).await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    Ok(answer.json().await?)
}

fn has_spans(answer: &Value) -> bool {
    answer["trace"]["resourceSpans"].as_array().is_some_and(|spans| !spans.is_empty())
}

fn verify(data: &Path, repair: bool) -> Result<(bool, String)> {
    let mut verify = Command::new(program("clew")?);
    verify.arg("verify").arg("--data").arg(data);
    if repair {
        verify.arg("--repair");
    }
    let output = verify.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// A collector with a block for each of two traces, stopped.
async fn two_blocks(data: &Path) -> Result<(Collector, [[u8; 16]; 2])> {
    let mut collector = starting(|| Collector::start(data, &FLAGS))?;
    let traces = [spans::id(), spans::id()];
    for trace in traces {
        grpc::export(collector.grpc, &spans::request([spans::heavy(trace, 50_000)])).await?.accepted()?;
        collector.settle()?;
    }
    ensure!(collector.process.stop(SOON)?);
    Ok((collector, traces))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_a_block_is_found_and_named_and_costs_only_that_block() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("collector");
    let (collector, [first, second]) = two_blocks(&data).await?;
    let all = blocks(&data)?;
    ensure!(all.len() == 2, "{all:?}");
    let (good, said) = verify(&data, false)?;
    ensure!(good, "{said}");
    type Harm = fn(&Path, &[u8]) -> std::io::Result<()>;
    let flip: Harm = |path, bytes| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes)
    };
    let cut: Harm = |path, bytes| std::fs::write(path, &bytes[..bytes.len() / 2]);
    let remove: Harm = |path, _| std::fs::remove_file(path);
    let harms = [("flipped", flip), ("cut", cut), ("removed", remove)];
    for name in ["spans.parquet", "resources.parquet", "filter.bin", "meta.json"] {
        for (how, harm) in harms.into_iter().filter(|(how, _)| (name, *how) != ("meta.json", "removed")) {
            let label = format!("{name} {how}");
            let data = dir.path().join(&label);
            copy(&collector.data, &data)?;
            let all = blocks(&data)?;
            let block = all[0].file_name().unwrap_or_default().to_string_lossy();
            harm(&all[0].join(name), &std::fs::read(all[0].join(name))?)?;
            let mut harmed = starting(|| Collector::start(&data, &FLAGS)).context(label.clone())?;
            let answer = lookup(&harmed, first).await?;
            let reason = answer["message"].as_str().unwrap_or_default();
            ensure!(answer["status"] == "PARTIAL" && reason.contains(&*block), "{label}: {reason}");
            ensure!(has_spans(&lookup(&harmed, second).await?), "{label}: the other block's trace is gone");
            collector_door(&harmed).ready()?;
            ensure!(harmed.process.stop(SOON)?);

            let (good, said) = verify(&data, false)?;
            ensure!(!good && said.contains(name), "{label}: {said}");
            // Set aside, it makes answers partial no longer.
            verify(&data, true)?;
            harmed.restart()?;
            let answer = lookup(&harmed, second).await?;
            ensure!(has_spans(&answer) && answer["status"].is_null(), "{label}: {}", answer["message"]);
            ensure!(!all[0].exists() && all[1].exists(), "{label}: {:?}", blocks(&data)?);
        }
    }
    Ok(())
}
