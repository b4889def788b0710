//! `clew import`: sends what `clew export` wrote, or other files of OTLP, to a collector, an agent or any OTLP endpoint.
//!
//! [`input`] opens files and tells what they are, [`messages`] takes them apart, [`batch`] makes requests of messages. [`read`]
//! does all that in a thread; the requests are sent as those of `clew load send` are.

mod batch;
mod error;
mod input;
mod messages;
mod read;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow};
use clew_common::ids::Tenant;
use http::{HeaderName, HeaderValue};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use self::{batch::Found, read::Plan};
use crate::{
    args,
    export::Format,
    load::send::{
        body::Compression,
        tally::Tally,
        transport::{Connection, Endpoint, Protocol, Target},
        worker::{self, Run},
    },
    output,
};

/// Requests that are on their way at once, and as many wait to be sent: about 1 MiB each, unless a span is larger.
const IN_FLIGHT: usize = 4;
/// How often the progress bar moves.
const LOOK: Duration = Duration::from_millis(200);

/// What to import, and where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew import spans.jsonl                            to the agent at 127.0.0.1:4317
  clew import a.jsonl.gz b.pb.zst --to http://tracing:4327
  clew import spans                                  a folder of Parquet, as `clew export` wrote it
  clew export --store s3://old/prefix | clew import - --to http://new:4327 --tenant shop
  clew import otelcol.json --to http://tempo:4318 --protocol http

What a file is, its content tells: OTLP JSON with a message a line, protobuf with each message's
length before it as a varint, either of them compressed by gzip or zstd, or a folder of blocks
(a collector's blocks too, and s3://...). A message is a TracesData or ExportTraceServiceRequest;
a line or message has up to 512 MiB.

Messages are joined to requests of about 1 MiB, larger ones are split. What OTLP calls retryable
is retried, with growing pauses or those that the endpoint asks for. Exact duplicates of spans
that are there already are stored, and dropped when a collector merges its blocks.

Exit code 1 tells that some spans were refused, or that a file cannot be read: then its place
is told, and all that stands before it was sent.")]
pub(crate) struct Args {
    /// Files or folders; - is standard input
    #[arg(required = true, value_name = "PATH")]
    inputs: Vec<PathBuf>,
    /// Where to send to: http://HOST:PORT[/PATH] or unix:PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4317", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    to: Endpoint,
    /// What to speak
    #[arg(long, value_enum, default_value = "grpc")]
    protocol: Protocol,
    /// How to compress requests
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Whose spans they become [default: of the tenant default]
    #[arg(long, value_parser = args::tenant)]
    tenant: Option<Tenant>,
    /// What the files are [default: what their content tells]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Header of every request, for credentials; may be given several times
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = args::header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Longest wait for one answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = args::duration)]
    timeout: Duration,
    /// How long to retry a request
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = args::duration)]
    give_up: Duration,
}

impl Args {
    /// Imports and reports.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let hint = "start one with `clew up`, or say where it is with --to URL";
        reach(&self.to).with_context(|| format!("nobody takes spans at {}: {hint}", self.to))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clean = runtime.block_on(self.send())?;
        Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Sends everything; says whether all of it was taken.
    async fn send(self) -> anyhow::Result<bool> {
        let mut headers = self.headers.clone();
        if let Some(tenant) = &self.tenant {
            let value = HeaderValue::from_str(&tenant.to_string()).context("the tenant's name")?;
            headers.push((HeaderName::from_static("x-scope-orgid"), value));
        }
        let target = Arc::new(Target::new(self.to.clone(), self.protocol, self.compression, &headers)?);
        let bar = progress(&self.inputs);
        let bytes_read = Arc::new(AtomicU64::new(0));
        let plan =
            Plan { inputs: self.inputs, format: self.format, compression: self.compression, read: bytes_read.clone() };
        let (to, items) = mpsc::channel(IN_FLIGHT);
        let reading = thread::spawn(move || read::read(&plan, &to));
        let run = Arc::new(Run {
            items: tokio::sync::Mutex::new(items),
            tally: Mutex::new(Tally::new()),
            acked: None,
            started: Instant::now(),
            deadline: None,
            answer_timeout: self.timeout,
            give_up: self.give_up,
            stop: CancellationToken::new(),
        });
        let mut senders = JoinSet::new();
        let connection = Connection::new(self.protocol, target);
        for _ in 0..IN_FLIGHT {
            senders.spawn(worker::work(run.clone(), connection.for_another()));
        }
        let mut looks = interval(LOOK);
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        loop {
            tokio::select! {
                ended = senders.join_next() => match ended {
                    Some(ended) => ended.map_err(|error| anyhow!("a sender failed: {error}"))??,
                    None => break,
                },
                _ = looks.tick() => look(&bar, &run.tally.lock(), bytes_read.load(Relaxed)),
                _ = &mut interrupt, if !run.stop.is_cancelled() => run.stop.cancel(),
            }
        }
        bar.finish_and_clear();
        // The reader stops as soon as nobody takes its requests.
        run.items.lock().await.close();
        while run.items.lock().await.try_recv().is_ok() {}
        let stopped = run.stop.is_cancelled();
        let (found, failed) = if stopped && !reading.is_finished() {
            // It may wait for standard input for ever.
            (Found::default(), None)
        } else {
            reading.join().map_err(|_| anyhow!("the reading thread panicked"))?
        };
        let tally = run.tally.lock();
        let mut out = output::stdout();
        report(&mut out, &tally, &found, stopped)?;
        out.flush()?;
        if let Some(error) = &failed {
            eprintln!("clew: {error}");
        }
        Ok(tally.is_clean() && found.bad_spans == 0 && failed.is_none() && !stopped)
    }
}

/// Whether somebody listens: else every request would be retried for minutes.
fn reach(endpoint: &Endpoint) -> io::Result<()> {
    match endpoint {
        Endpoint::Tcp { authority, .. } => TcpStream::connect(authority.as_str()).map(drop),
        Endpoint::Unix(path) => UnixStream::connect(path).map(drop),
    }
}

fn report(out: &mut impl Write, tally: &Tally, found: &Found, stopped: bool) -> io::Result<()> {
    let (spans, requests) = (output::thousands(tally.acked_spans), output::thousands(tally.acked_requests));
    let refused = tally.refused_spans + tally.rejected_spans + tally.given_up_spans + found.bad_spans;
    write!(out, "imported {spans} spans in {requests} requests; refused {}", output::thousands(refused))?;
    if tally.given_up_spans > 0 {
        write!(out, ", of which {} were given up after retries", output::thousands(tally.given_up_spans))?;
    }
    if tally.retries > 0 {
        write!(out, "; {} retries", output::thousands(tally.retries))?;
    }
    if found.empty > 0 {
        write!(out, "; {} messages have no spans", output::thousands(found.empty))?;
    }
    writeln!(out, "{}", if stopped { "; stopped before the end" } else { "" })?;
    for (code, (times, example)) in &tally.reasons {
        let example: String = example.chars().filter(|c| !c.is_control()).take(160).collect();
        writeln!(out, "  {code}, {} times: {example}", output::thousands(*times))?;
    }
    Ok(())
}

fn look(bar: &ProgressBar, tally: &Tally, bytes_read: u64) {
    bar.set_position(bytes_read);
    let retries = if tally.retries > 0 { format!(", {} retries", tally.retries) } else { String::new() };
    bar.set_message(format!("{} spans{retries}", output::thousands(tally.acked_spans)));
}

/// A bar on standard error, where that is a terminal; it shows how much was read, where that can be told.
fn progress(inputs: &[PathBuf]) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let sizes = inputs.iter().map(|path| bytes_of(path));
    let (bar, template) = match sizes.sum::<Option<u64>>() {
        Some(total) => (ProgressBar::new(total), "{bar:32} {bytes} of {total_bytes}, {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed} {bytes}, {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Bytes of a file, or of all in a folder; None for what has no size.
fn bytes_of(path: &Path) -> Option<u64> {
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return meta.is_file().then_some(meta.len());
    }
    std::fs::read_dir(path).ok()?.map(|entry| bytes_of(&entry.ok()?.path())).sum()
}
