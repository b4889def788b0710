//! `clew load write`: makes up a corpus and its truth.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    corpus::{self, FileError, Header},
    digest::each_span_of_request,
    generate::{Generator, Options, Request},
    truth,
};
use crate::{clock, output};

/// Requests between the thread that generates and the one that writes.
const AHEAD: usize = 8;

const HOUR_NS: u64 = 3_600_000_000_000;

/// What to write.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew load write corpus                               one million spans, about 490 MB
  clew load write small --spans 50000 --seed 7         another shop, fifty thousand spans
  clew load write corpus --start 2026-11-23T05:00:00Z  the same bytes every time, everywhere

The same --seed, --start and sizes give the same bytes. Without --start, the corpus ends at the
last full hour. Beside the corpus lies CORPUS.truth, by which `clew load check` compares what
comes back.")]
pub(crate) struct Args {
    /// File to write; its truth is written to CORPUS.truth
    corpus: PathBuf,
    /// Spans in all
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    spans: u64,
    /// Where the random numbers start
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Spans a request
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    request_spans: u32,
    /// Services of the shop
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    services: u32,
    /// When the first trace starts (UTC)
    #[arg(long, value_name = "TIME", value_parser = clock::parse)]
    start: Option<u64>,
    /// Spans a second in the corpus' own time: how close together its traces are
    #[arg(long, value_name = "SPANS_PER_S", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    corpus_rate: u32,
}

impl Args {
    /// Writes the corpus and says what is in it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let options = Options {
            seed: self.seed,
            spans: self.spans,
            request_spans: self.request_spans as usize,
            services: self.services as usize,
            start_ns: self.start.map_or_else(|| self.default_start(), Ok)?,
            rate: self.corpus_rate.into(),
        };
        let bar = progress(self.spans);
        let started = Instant::now();
        let header = write(&self.corpus, options, |spans| bar.set_position(spans))?;
        bar.finish_and_clear();
        self.report(&header, started.elapsed().as_secs_f64()).context("writing to standard output")?;
        Ok(ExitCode::SUCCESS)
    }

    /// The corpus ends at the last full hour, so that it is recent and yet the same for a while.
    fn default_start(&self) -> anyhow::Result<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970: give --start")?;
        let length_ns = self.spans as u128 * 1_000_000_000 / u128::from(self.corpus_rate);
        let end_ns = now.as_nanos() / u128::from(HOUR_NS) * u128::from(HOUR_NS);
        let start_ns = end_ns.checked_sub(length_ns).ok_or_else(|| anyhow!("so long a corpus starts before 1970"))?;
        Ok(u64::try_from(start_ns / 1_000_000_000)? * 1_000_000_000)
    }

    fn report(&self, header: &Header, seconds: f64) -> io::Result<()> {
        let mut out = output::stdout();
        let (path, start) = (self.corpus.display(), clock::rfc3339(header.start_ns));
        let truth = truth::path_of(&self.corpus);
        writeln!(
            out,
            "wrote {path} ({}) and {} in {seconds:.1} s",
            output::bytes(header.bytes + 8 * header.requests),
            truth.display()
        )?;
        writeln!(
            out,
            "{} spans, {} traces, {} requests, {:.1} bytes a span, {} of traffic from {start}",
            output::thousands(header.spans),
            output::thousands(header.traces),
            output::thousands(header.requests),
            header.bytes as f64 / header.spans.max(1) as f64,
            output::duration_ns(header.length_ns),
        )?;
        if self.start.is_none() {
            writeln!(out, "for the same bytes again: --seed {} --start {start}", self.seed)?;
        }
        writeln!(out, "send it with: clew load send {path}")?;
        out.flush()
    }
}

fn progress(spans: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:32} {human_pos} of {human_len} spans, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(spans).with_style(style)
}

/// Writes a corpus and its truth. One thread generates, another takes digests and writes.
pub(crate) fn write(path: &Path, options: Options, mut progress: impl FnMut(u64)) -> anyhow::Result<Header> {
    let header = Header { seed: options.seed, start_ns: options.start_ns, ..Header::default() };
    let corpus = corpus::Writer::create(path, header)?;
    let truth = truth::Writer::create(&truth::path_of(path))?;
    let (full, requests) = mpsc::sync_channel(AHEAD);
    let (empty, spare) = mpsc::channel();
    let writing = thread::spawn(move || store(corpus, truth, &requests, &empty));

    let mut generator = Generator::new(options);
    let mut spans = 0;
    while let Some(request) = generator.next() {
        spans += u64::from(request.spans);
        progress(spans);
        if full.send(request).is_err() {
            break; // The other thread has failed: it tells why.
        }
        spare.try_iter().for_each(|request| generator.reuse(request));
    }
    drop(full);
    let (corpus, truth) = writing.join().map_err(|_| anyhow!("the writing thread panicked"))??;
    let header = corpus.finish(generator.traces(), generator.length_ns())?;
    truth.finish(header.seed, header.requests)?;
    Ok(header)
}

fn store(
    mut corpus: corpus::Writer,
    mut truth: truth::Writer,
    requests: &mpsc::Receiver<Request>,
    empty: &mpsc::Sender<Request>,
) -> Result<(corpus::Writer, truth::Writer), FileError> {
    let mut spans = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        corpus.append(&request.bytes, request.spans)?;
        request.begun.iter().for_each(|(trace_id, spans)| truth.begin(*trace_id, *spans));
        spans.clear();
        each_span_of_request(&request.bytes, |span| spans.push(span))
            .expect("the encoder of this program writes well-formed messages");
        spans.iter().try_for_each(|span| truth.add(*span, index as u32))?;
        // The generator may have ended: then nobody needs the memory.
        empty.send(request).ok();
    }
    Ok((corpus, truth))
}
