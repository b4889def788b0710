//! clew: the command that people type.
//!
//! One module a subcommand; this file parses and runs. Exit codes: 0 for success, 1 for failure or "not found", 2 for
//! wrong usage. A reader that goes away (`clew ... | head`) is no failure.

use std::process::ExitCode;

use clap::Parser;
use clew_common::errors;

mod args;
mod blocks;
mod clock;
mod collector;
mod compare;
mod completions;
mod demo;
mod deps;
mod explain;
mod export;
#[cfg(test)]
mod fake_collector;
mod import;
mod load;
mod metrics;
mod output;
mod place;
mod search;
mod sql;
mod tail;
mod text;
mod trace;
mod up;
mod values;
mod verify;

/// Distributed tracing: see your traces, and put tracing systems under load
#[derive(Debug, Parser)]
#[command(
    name = "clew",
    version,
    arg_required_else_help = true,
    after_help = "Run `clew help COMMAND` for examples of each command."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// See it work: agent, collector and a small shop whose services make traces
    Demo(demo::Args),
    /// Show a trace in the terminal
    Trace(trace::Args),
    /// Set two traces side by side: what is slower, fails, or is only in one
    Compare(compare::Args),
    /// Find traces with TraceQL
    Search(search::Args),
    /// Show spans as they come
    Tail(tail::Args),
    /// Compute time series with TraceQL, and draw them
    Metrics(metrics::Args),
    /// Say what some spans have more often than others: why they are slow, or fail
    Explain(explain::Args),
    /// Ask in SQL, once or at a prompt
    Sql(sql::Args),
    /// Show which services call which
    Deps(deps::Args),
    /// Run an agent and a collector for this machine
    Up(up::Args),
    /// Put any OTLP endpoint under load, and check what it kept
    Load(load::Args),
    /// What is in a collector's blocks, and what takes their bytes
    Blocks(blocks::Args),
    /// Read everything that a collector has stored, and say what is damaged
    Verify(verify::Args),
    /// Write what a collector has stored to a file: OTLP JSON, protobuf or Parquet
    Export(export::Args),
    /// Send what was exported, or other files of OTLP, to a collector or an agent
    Import(import::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(args) => args.run(),
            Self::Trace(args) => args.run(),
            Self::Compare(args) => args.run(),
            Self::Search(args) => args.run(),
            Self::Tail(args) => args.run(),
            Self::Metrics(args) => args.run(),
            Self::Explain(args) => args.run(),
            Self::Sql(args) => args.run(),
            Self::Deps(args) => args.run(),
            Self::Up(args) => args.run(),
            Self::Load(args) => args.run(),
            Self::Blocks(args) => args.run(),
            Self::Verify(args) => args.run(),
            Self::Export(args) => args.run(),
            Self::Import(args) => args.run(),
            Self::Completions(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    clew_storage::allocator::give_back_soon();
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clew: {}", errors::in_one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
