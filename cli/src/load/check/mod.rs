//! `clew load check`: looks up what was sent, and compares it with the truth.
//!
//! Each trace is fetched from every collector that is named; [`compare`] finds what is missing, doubled, altered or was
//! never sent; [`report`] counts.

mod compare;
mod report;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{anyhow, bail};
use http::Uri;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::metadata::{Ascii, MetadataValue};

use self::report::Report;
use super::{
    digest::{SpanDigest, each_span},
    generate::random::Random,
    send::Acked,
    truth::{self, Truth},
};
use crate::{
    args,
    collector::{Collector, Found, LookupError},
    output,
};

/// How often a lookup is tried when the collector cannot answer now.
const ATTEMPTS: u32 = 5;

/// Pause before a lookup is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// What to look up, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew load check corpus                                 every trace, at 127.0.0.1:4327
  clew load check corpus --sample 1000 --wait 10s        a thousand of them, which may still be under way
  clew load check corpus --collector http://a:4327 --collector http://b:4327
  clew load check corpus --acked acked.txt               after trouble: only what was acked has to be there

Needs CORPUS.truth, which `clew load write` has made. It knows the traces of loop 1 of
`clew load send`. Exit code 1 tells that something is missing, doubled, altered, or was never
sent.")]
pub(crate) struct Args {
    /// File written by `clew load write`
    corpus: PathBuf,
    /// Where to ask; given several times, the answers are put together
    #[arg(long = "collector", value_name = "URL", default_value = "http://127.0.0.1:4327", value_parser = args::collector)]
    collectors: Vec<Uri>,
    /// Require only the requests that this file of `clew load send --acked` names
    #[arg(long, value_name = "FILE")]
    acked: Option<PathBuf>,
    /// Look up only so many traces, chosen at random
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Where the random choice starts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lookups at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Ask again for traces that are not yet right, until this much time has passed since the start
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = args::duration)]
    wait: Duration,
    /// Longest wait for one answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = args::duration)]
    timeout: Duration,
    /// Whose spans
    #[arg(long)]
    tenant: Option<MetadataValue<Ascii>>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What all lookups share.
#[derive(Debug)]
struct Check {
    truth: Truth,
    acked: Option<Acked>,
    /// Indices of the traces to look up.
    chosen: Vec<usize>,
    next: AtomicUsize,
    collectors: Vec<Collector>,
    wait_until: Instant,
    report: Mutex<Report>,
    bar: ProgressBar,
}

impl Args {
    /// Looks up and reports.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(self.check())?;
        let mut out = output::stdout();
        if self.json { report.write_json(&mut out) } else { report.write_text(&mut out) }?;
        out.flush()?;
        Ok(if report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn check(&self) -> anyhow::Result<Report> {
        let truth = Truth::read(&truth::path_of(&self.corpus))?;
        let acked = self.acked.as_deref().map(Acked::read).transpose()?;
        if let Some(acked) = &acked
            && acked.len() > truth.requests
        {
            bail!("the file of --acked names {} requests, the corpus has {}", acked.len(), truth.requests);
        }
        let started = Instant::now();
        let collector = |url: &Uri| Collector::new(url.clone(), self.tenant.clone(), self.timeout);
        let chosen = choose(truth.traces.len(), self.sample, self.seed);
        let check = Arc::new(Check {
            bar: progress(chosen.len() as u64),
            chosen,
            truth,
            acked,
            next: AtomicUsize::new(0),
            collectors: self.collectors.iter().map(collector).collect(),
            wait_until: started + self.wait,
            report: Mutex::new(Report::new()),
        });
        let mut lookups = JoinSet::new();
        for _ in 0..self.concurrency {
            let check = check.clone();
            lookups.spawn(async move { check.work().await });
        }
        while let Some(ended) = lookups.join_next().await {
            ended.map_err(|error| anyhow!("a lookup failed: {error}"))??;
        }
        check.bar.finish_and_clear();
        let check = Arc::into_inner(check).ok_or_else(|| anyhow!("a lookup is still running"))?;
        let mut report = check.report.into_inner();
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }
}

impl Check {
    async fn work(&self) -> Result<(), LookupError> {
        while let Some(index) = self.chosen.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            self.trace(*index).await?;
            self.bar.set_position(self.report.lock().traces());
        }
        Ok(())
    }

    /// Looks one trace up until it is right or the time for that is over.
    async fn trace(&self, index: usize) -> Result<(), LookupError> {
        let trace = &self.truth.traces[index];
        let spans = &self.truth.spans[trace.spans.clone()];
        loop {
            let (mut answers, mut partial) = (Vec::new(), None::<Vec<String>>);
            for collector in &self.collectors {
                let found = match self.look_up(collector, trace.trace_id).await {
                    Ok(found) => found,
                    // Nothing has ever been heard of this collector: more questions are of no use.
                    Err(error @ LookupError::Unreachable { .. }) if self.report.lock().traces() == 0 => {
                        return Err(error);
                    }
                    Err(error) => {
                        self.report.lock().failed(error);
                        return Ok(());
                    }
                };
                if found.partial {
                    partial.get_or_insert_default().extend(found.reasons);
                }
                match digests(&found.resource_spans) {
                    Ok(digests) => answers.push(digests),
                    Err(error) => {
                        self.report.lock().failed(format!("trace {}: {error}", hex::encode(trace.trace_id)));
                        return Ok(());
                    }
                }
            }
            let found = compare::union(&answers);
            let required = |request| self.acked.as_ref().is_none_or(|acked| acked.contains(request));
            // The sum first: nearly all traces are right, and then there is nothing to compare one by one.
            let sum = found.keys().fold(0u64, |sum, (_, digest)| sum.wrapping_add(*digest));
            let whole = found.len() == spans.len() && sum == trace.digest && found.values().all(|count| *count == 1);
            let findings = if whole { Vec::new() } else { compare::compare(&found, spans, required) };
            if findings.is_empty() || Instant::now() >= self.wait_until {
                let mut report = self.report.lock();
                report.compared(trace.trace_id, found.values().sum(), partial.as_deref(), &findings);
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// One lookup at one collector; nothing found is an empty answer.
    async fn look_up(&self, collector: &Collector, trace_id: [u8; 16]) -> Result<Found, LookupError> {
        let mut attempt = 1;
        loop {
            let asked = Instant::now();
            match collector.trace(trace_id).await {
                Err(error) if error.is_passing() && attempt < ATTEMPTS => {
                    attempt += 1;
                    sleep(PAUSE).await;
                }
                Err(LookupError::NotFound { .. }) => {
                    self.report.lock().looked_up(asked.elapsed());
                    return Ok(Found::default());
                }
                Err(error) => return Err(error),
                Ok(found) => {
                    self.report.lock().looked_up(asked.elapsed());
                    return Ok(found);
                }
            }
        }
    }
}

fn digests(resource_spans: &[bytes::Bytes]) -> Result<Vec<SpanDigest>, super::wire::Malformed> {
    let mut digests = Vec::new();
    resource_spans.iter().try_for_each(|bytes| each_span(bytes, &mut |span| digests.push(span)))?;
    Ok(digests)
}

/// Which traces to look up, in which order.
fn choose(traces: usize, sample: Option<usize>, seed: u64) -> Vec<usize> {
    let mut chosen: Vec<_> = (0..traces).collect();
    if let Some(sample) = sample.filter(|sample| *sample < traces) {
        let mut random = Random::new(seed);
        (0..sample).for_each(|i| chosen.swap(i, i + random.below(traces - i)));
        chosen.truncate(sample);
    }
    chosen
}

fn progress(traces: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:32} {human_pos} of {human_len} traces, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(traces).with_style(style)
}

#[cfg(test)]
mod tests;
