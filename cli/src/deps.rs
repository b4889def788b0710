//! `clew deps`: which services call which.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clew_proto::v1::{DependenciesRequest, Dependency};
use serde_json::json;

use crate::{
    args, clock,
    collector::Where,
    output::{self, thousands},
    text::{harmless, padded, shown},
};

/// Columns of a name.
const NAME_WIDTH: usize = 40;
/// Columns of a bar.
const BAR_WIDTH: usize = 20;

/// How far back calls are counted when nothing is said.
const USUAL: Duration = Duration::from_secs(3_600);

/// Of what time, and where to ask.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew deps                        the calls of the last hour, counted over all spans
  clew deps --since 24h --json
  clew deps --from 2026-11-23T09:00 --to 2026-11-23T10:00
  clew deps --all                  the calls of everything that is stored
  clew deps --dot | dot -Tsvg > services.svg

Exit code 1 tells that nothing was found, or that the collector could not be asked.")]
pub(crate) struct Args {
    #[command(flatten)]
    range: clock::Range,
    /// Of any time
    #[arg(long, conflicts_with_all = ["since", "from", "to"])]
    all: bool,
    /// Print a JSON object for each pair of services
    #[arg(long)]
    json: bool,
    /// Print a graph for Graphviz
    #[arg(long, conflicts_with = "json")]
    dot: bool,
    #[command(flatten)]
    place: Where,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "35s", value_parser = args::duration)]
    timeout: Duration,
}

impl Args {
    /// Asks, and shows the calls.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (start, end) = self.range.ends((!self.all).then_some(USUAL))?;
        let request = DependenciesRequest { start_unix_nano: start, end_unix_nano: end };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async { self.place.within(self.timeout).dependencies(request).await })?;
        for why in &answer.partial_reasons {
            eprintln!("clew: calls may be missing: {}", harmless(why));
        }
        let mut all = answer.dependencies;
        all.sort_by_key(|one| std::cmp::Reverse(one.calls));
        let mut out = output::stdout();
        if self.json {
            for Dependency { parent, child, calls, errors } in &all {
                writeln!(out, "{}", json!({ "parent": parent, "child": child, "calls": calls, "errors": errors }))?;
            }
        } else if self.dot {
            dot(&mut out, &all)?;
        } else {
            table(&mut out, &all, output::colour(&io::stdout()))?;
        }
        out.flush()?;
        if all.is_empty() {
            eprintln!("clew: nothing was found");
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(out: &mut impl Write, all: &[Dependency], colour: bool) -> io::Result<()> {
    let (red, plain) = if colour { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    let columns =
        |of: fn(&Dependency) -> &str| all.iter().map(|one| shown(of(one), NAME_WIDTH).width).max().unwrap_or(0);
    let (parents, children) = (columns(|one| &one.parent), columns(|one| &one.child));
    let most = all.iter().map(|one| one.calls).max().unwrap_or(1).max(1);
    for Dependency { parent, child, calls, errors } in all {
        let bar = (*calls as f64 / most as f64 * BAR_WIDTH as f64).ceil() as usize;
        let (parent, child) = (padded(parent, parents), padded(child, children));
        write!(out, "{parent} → {child}  {:>12}  {:<BAR_WIDTH$}", thousands(*calls), "█".repeat(bar))?;
        if *errors > 0 {
            let share = *errors as f64 / (*calls).max(1) as f64 * 100.0;
            write!(out, "  {red}{} failed, {share:.2} %{plain}", thousands(*errors))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn dot(out: &mut impl Write, all: &[Dependency]) -> io::Result<()> {
    let quoted = |name: &str| format!("\"{}\"", harmless(name).replace('\\', "\\\\").replace('"', "\\\""));
    writeln!(out, "digraph services {{")?;
    for Dependency { parent, child, calls, errors } in all {
        let colour = if *errors > 0 { ", color=red" } else { "" };
        writeln!(out, "  {} -> {} [label=\"{}\"{colour}];", quoted(parent), quoted(child), thousands(*calls))?;
    }
    writeln!(out, "}}")
}
