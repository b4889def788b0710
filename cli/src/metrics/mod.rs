//! `clew metrics`: computes time series by a TraceQL query, and draws them.

mod chart;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clew_proto::{
    opentelemetry::proto::common::v1::KeyValue,
    v1::{MetricsRequest, TimeSeries},
};
use serde_json::json;

use self::chart::{Chart, Line};
use crate::{
    args, clock,
    collector::Where,
    output::{self, number},
    text::{harmless, padded, shown},
    values,
};

/// Series that are drawn; all are listed.
const MAX_LINES: usize = 6;
/// Series that are listed for people.
const MAX_LISTED: usize = 40;
/// Rows of the chart.
const HEIGHT: usize = 12;
/// Columns of a label.
const LABEL_WIDTH: usize = 48;

/// What to compute, and how to show it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew metrics '{ } | rate() by (resource.service.name)'
  clew metrics '{ status = error } | rate()' --since 15m --step 5s
  clew metrics '{ name = \"checkout\" } | quantile_over_time(duration, .5, .99)' --since 24h
  clew metrics '{ } | count_over_time() by (name) | topk(10)' --instant

The language is TraceQL, as in Grafana: docs/traceql.md. Exit code 1 tells that nothing was found, or that the collector
could not be asked.")]
pub(crate) struct Args {
    /// The query, in TraceQL
    #[arg(value_name = "QUERY")]
    query: String,
    /// From so long ago until now
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = args::duration)]
    since: Duration,
    /// From one point to the next [default: one that fits]
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    step: Option<Duration>,
    /// One value for all of the time
    #[arg(long, conflicts_with = "step")]
    instant: bool,
    /// Print a JSON object for each series
    #[arg(long)]
    json: bool,
    /// Columns to use [default: as wide as the terminal]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(40..=1000))]
    width: Option<u16>,
    #[command(flatten)]
    place: Where,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "35s", value_parser = args::duration)]
    timeout: Duration,
}

impl Args {
    /// Asks, and shows what was computed.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let end_unix_nano = clock::now_ns();
        let request = MetricsRequest {
            query: self.query,
            start_unix_nano: end_unix_nano.saturating_sub(self.since.as_nanos() as u64).max(1),
            end_unix_nano,
            step_nano: self.step.map_or(0, |step| step.as_nanos() as u64),
            instant: self.instant,
            ..MetricsRequest::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut series, reasons) =
            runtime.block_on(async { self.place.within(self.timeout).metrics(request).await })?;
        for why in reasons {
            eprintln!("clew: spans may be missing: {}", harmless(&why));
        }
        series.retain(|series| !series.values.is_empty());
        series.sort_by(|a, b| peak(b).total_cmp(&peak(a)));
        let mut out = output::stdout();
        let (width, colour) = (output::width(self.width), output::colour(&io::stdout()));
        if self.json {
            series.iter().try_for_each(|series| writeln!(out, "{}", as_json(series)))?;
        } else if self.instant {
            bars(&mut out, &series, width)?;
        } else if !series.is_empty() {
            draw(&mut out, &series, width, colour)?;
        }
        out.flush()?;
        if series.is_empty() {
            eprintln!("clew: nothing was found");
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The largest value.
fn peak(series: &TimeSeries) -> f64 {
    series.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn label(labels: &[KeyValue]) -> String {
    if labels.is_empty() { "all".to_owned() } else { values::pairs(labels) }
}

fn draw(out: &mut impl Write, series: &[TimeSeries], width: usize, colour: bool) -> io::Result<()> {
    let line = |series: &TimeSeries| {
        let points = series.times_unix_nano.iter().copied().zip(series.values.iter().copied());
        Line { points: points.collect() }
    };
    let chart = Chart { lines: series.iter().take(MAX_LINES).map(line).collect(), width, height: HEIGHT, colour };
    chart.draw(out)?;
    writeln!(out)?;
    let listed = || series.iter().take(MAX_LISTED);
    let columns = listed().map(|series| shown(&label(&series.labels), LABEL_WIDTH).width).max().unwrap_or(0);
    writeln!(out, "     {}  {:>9}  {:>9}  {:>9}", padded("", columns), "last", "mean", "max")?;
    for (at, series) in listed().enumerate() {
        let last = series.values.last().copied().unwrap_or(0.0);
        let mean = series.values.iter().sum::<f64>() / series.values.len() as f64;
        writeln!(
            out,
            "  {} {}  {:>9}  {:>9}  {:>9}",
            if at < MAX_LINES { chart.mark(at) } else { "  ".to_owned() },
            padded(&label(&series.labels), columns),
            number(last),
            number(mean),
            number(peak(series)),
        )?;
    }
    rest(out, series.len())
}

/// A bar for each value.
fn bars(out: &mut impl Write, series: &[TimeSeries], width: usize) -> io::Result<()> {
    let listed = || series.iter().take(MAX_LISTED);
    let columns = listed().map(|series| shown(&label(&series.labels), LABEL_WIDTH).width).max().unwrap_or(0);
    let most = listed().map(peak).fold(0.0, f64::max);
    let room = width.saturating_sub(columns + 14) as f64;
    for series in listed() {
        let (label, value) = (padded(&label(&series.labels), columns), peak(series));
        // From 0 on; what is not positive has no bar.
        let bar = if most > 0.0 { (value / most * room).clamp(0.0, room).round() as usize } else { 0 };
        writeln!(out, "{label}  {:>9}  {}", number(value), "█".repeat(bar))?;
    }
    rest(out, series.len())
}

fn rest(out: &mut impl Write, series: usize) -> io::Result<()> {
    if series > MAX_LISTED {
        writeln!(out, "  and {} more; --json has them all, | topk({MAX_LISTED}) computes fewer", series - MAX_LISTED)?;
    }
    Ok(())
}

fn as_json(series: &TimeSeries) -> serde_json::Value {
    // JSON has no other numbers.
    let point = |(time, value): (&u64, &f64)| json!([time.to_string(), value.is_finite().then_some(value)]);
    let points: Vec<_> = series.times_unix_nano.iter().zip(&series.values).map(point).collect();
    json!({ "labels": values::object(&series.labels), "values": points })
}
