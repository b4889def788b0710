//! Agents, collectors and senders in one thread, on a simulated network, disk and clock, driven by a seed.
//!
//! Each seed makes its own plan: how many of each there are, how slow the network is, who crashes when and loses what was
//! not synced, who cannot reach whom. Whatever happens, in the end every acked span is found, once at each collector
//! that has it, with its content. The same seed always does the same.
//!
//! `CLEW_SIM_SEEDS=5000` runs that many seeds, `CLEW_SIM_SEED=17` runs that one alone and shows what happens.

// What a run did is its output.
#![allow(clippy::print_stdout)]

mod network;
mod nodes;
mod plan;
mod sender;

use std::time::Duration;

use plan::Plan;

/// Runs a seed; the digest of all that happened, or what went wrong.
fn run(seed: u64, verbose: bool) -> Result<u64, String> {
    let plan = Plan::of(seed);
    if verbose {
        println!("{plan:#?}");
    }
    plan.run(verbose)
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_fails_every_acked_span_is_found_once() {
    if let Some(seed) = setting("CLEW_SIM_SEED") {
        let result = run(seed, true);
        assert!(result.is_ok(), "seed {seed}: {}", result.unwrap_err());
        return;
    }
    let seeds = setting("CLEW_SIM_SEEDS").unwrap_or(100);
    let started = std::time::Instant::now();
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let seeds = (worker..seeds).step_by(workers as usize);
                    let failed = |seed| run(seed, false).err().map(|why| format!("CLEW_SIM_SEED={seed}: {why}"));
                    seeds.filter_map(failed).collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|worker| worker.join().expect("a worker panicked")).collect()
    });
    println!("{seeds} seeds in {:?}", started.elapsed());
    assert!(failures.is_empty(), "{} of {seeds} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in [3, 4, 5] {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}

/// How long simulated time may go on.
const LIMIT: Duration = Duration::from_secs(600);
