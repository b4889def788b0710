//! `clew explain`: what some spans have more often than others.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clew_proto::v1::{ExplainRequest, ExplainResponse, OverRepresented};
use serde_json::json;

use crate::{
    args, clock,
    collector::Where,
    output::{self, thousands},
    text::{harmless, padded, shown},
    values,
};

/// Columns of a value.
const VALUE_WIDTH: usize = 60;

/// Which spans, and where to ask.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew explain '{ status = error }'                     what failed spans have in common that others have not
  clew explain '{ name = \"checkout\" && duration > 1s }' --than '{ name = \"checkout\" && duration < 1s }'
  clew explain '{ resource.service.version = \"2.1\" && duration > 100ms }' --since 1h --json
  clew explain '{ status = error }' --from 2026-11-23T09:00 --to 2026-11-23T10:00

Both are TraceQL: one filter in braces. Exit code 1 tells that nothing was found, or that the collector could not be
asked.")]
pub(crate) struct Args {
    /// The spans in question, in TraceQL
    #[arg(value_name = "FILTER")]
    selection: String,
    /// Those that they are compared with [default: all others]
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    than: String,
    #[command(flatten)]
    range: clock::Range,
    /// Values at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Print a JSON object for each value
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "35s", value_parser = args::duration)]
    timeout: Duration,
}

impl Args {
    /// Asks, and shows the values.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (start_unix_nano, end_unix_nano) = self.range.ends(None)?;
        let request = ExplainRequest {
            selection: self.selection,
            baseline: self.than,
            start_unix_nano,
            end_unix_nano,
            limit: self.limit,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async { self.place.within(self.timeout).explain(request).await })?;
        for why in &answer.partial_reasons {
            eprintln!("clew: spans may be missing: {}", harmless(why));
        }
        let mut out = output::stdout();
        if self.json {
            answer.values.iter().try_for_each(|value| writeln!(out, "{}", as_json(value)))?;
        } else {
            show(&mut out, &answer, output::colour(&io::stdout()))?;
        }
        out.flush()?;
        if answer.values.is_empty() {
            eprintln!("clew: {}", nothing(&answer));
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn nothing(answer: &ExplainResponse) -> &'static str {
    match (answer.selection, answer.baseline) {
        (0, _) => "no span is in question",
        (_, 0) => "there are no other spans to compare with",
        _ => "nothing differs for certain",
    }
}

fn show(out: &mut impl Write, answer: &ExplainResponse, colour: bool) -> io::Result<()> {
    if answer.values.is_empty() {
        return Ok(());
    }
    let (bold, plain) = if colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let text = |one: &OverRepresented| values::pairs(one.value.as_slice());
    let columns = answer.values.iter().map(|one| shown(&text(one), VALUE_WIDTH).width).max().unwrap_or(0);
    let (selection, baseline) = (thousands(answer.selection), thousands(answer.baseline));
    writeln!(out, "{bold}{selection} spans in question, {baseline} others{plain}")?;
    let share = |count: u64, all: u64| format!("{:>6.2} %", count as f64 / all.max(1) as f64 * 100.0);
    for one in &answer.values {
        let (of_selection, of_baseline) =
            (share(one.selection, answer.selection), share(one.baseline, answer.baseline));
        writeln!(
            out,
            "  {}  {bold}{of_selection}{plain} of them, {of_baseline} of the others",
            padded(&text(one), columns)
        )?;
    }
    Ok(())
}

fn as_json(one: &OverRepresented) -> serde_json::Value {
    json!({
        "value": values::object(one.value.as_slice()),
        "selection": one.selection,
        "baseline": one.baseline,
        "score": one.score,
    })
}
