//! `clew load send`: replays a corpus against an OTLP endpoint.
//!
//! [`source`] reads requests ahead, [`worker`]s send them over a [`transport`] until the [`answer`] is final, [`tally`]
//! counts, [`processes`] watches what it costs, [`report`] says it all. Everything but the reader runs in one thread: the
//! generator shares its machine with what it measures.

mod acked;
mod answer;
pub(crate) mod body;
mod processes;
mod report;
pub(crate) mod source;
pub(crate) mod tally;
pub(crate) mod transport;
pub(crate) mod worker;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use http::{HeaderName, HeaderValue};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::acked::Acked;
use self::{
    acked::AckedWriter,
    body::Compression,
    processes::{Usage, Watched},
    report::Report,
    source::Plan,
    tally::Tally,
    transport::{Connection, Endpoint, Protocol, Target},
    worker::Run,
};
use super::corpus;
use crate::{args, output};

/// How often memory is sampled and the progress bar moves.
const LOOK: Duration = Duration::from_millis(200);

/// What to send, where and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew load send corpus                                   once, flat out, to 127.0.0.1:4317
  clew load send corpus --rate 10000 --duration 60s       10,000 spans a second for a minute
  clew load send corpus --protocol http --endpoint http://127.0.0.1:4318 --compression gzip
  clew load send corpus --endpoint http://tempo:4317 --header x-scope-orgid=team-a
  clew load send corpus --pid $(pidof clew-agent) --json  with CPU and memory of a process
  clew load send corpus --acked acked && clew load check corpus --acked acked

Requests go out as they lie in the corpus. What OTLP calls retryable is retried, with growing
pauses or those that the endpoint asks for. From the second loop on, trace ids are changed (in
each loop in its own way), because an endpoint may suppress repeated requests; `clew load check`
knows the traces of loop 1. To send a corpus once more soon after, say --from-loop 2.

With --rate, requests are due by the clock, whether earlier ones were answered or not, and
latency counts from then. Exit code 1 tells that some spans were not taken.")]
pub(crate) struct Args {
    /// File written by `clew load write`
    corpus: PathBuf,
    /// Where to send to: http://HOST:PORT[/PATH] or unix:PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4317", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    endpoint: Endpoint,
    /// What to speak
    #[arg(long, value_enum, default_value = "grpc")]
    protocol: Protocol,
    /// How to compress requests (at the fastest level)
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Spans a second [default: as fast as they are taken]
    #[arg(long, value_name = "SPANS_PER_S", value_parser = args::rate)]
    rate: Option<f64>,
    /// Connections; over HTTP each request in flight has one of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Stop after this long (60s, 5m), repeating the corpus as often as needed
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    duration: Option<Duration>,
    /// Send the corpus this many times [default: 1, or until --duration is over]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    loops: Option<u64>,
    /// Number of the first loop: 2 and more change the trace ids, each in its own way
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_loop: u64,
    /// Header of every request, for tenants or credentials; may be given several times
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = args::header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Longest wait for one answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = args::duration)]
    timeout: Duration,
    /// How long to retry a request
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = args::duration)]
    give_up: Duration,
    /// Report CPU time and memory of this process; may be given several times
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,
    /// Watch the processes for this long after the last ack too
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = args::duration)]
    settle: Duration,
    /// Append the index of every acked request to this file, and skip those that are in it; plays the corpus once
    #[arg(long, value_name = "FILE", conflicts_with = "loops")]
    acked: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Sends and reports.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (report, clean) = runtime.block_on(self.send())?;
        let mut out = output::stdout();
        if self.json { report.write_json(&mut out) } else { report.write_text(&mut out) }?;
        out.flush()?;
        Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Sends; the report, and whether all spans were taken.
    async fn send(&self) -> anyhow::Result<(Report, bool)> {
        let reader = corpus::Reader::open(&self.corpus)?;
        let header = reader.header;
        let (plan, acked) = self.plan(header.requests)?;
        let total = plan.loops.map(|loops| loops * header.spans);
        let target = Target::new(self.endpoint.clone(), self.protocol, self.compression, &self.headers)?;
        let target = Arc::new(target);
        let senders = usize::from(self.connections) * usize::from(self.in_flight);
        let mut watched = self.pids.iter().map(|pid| watch(*pid)).collect::<Result<Vec<_>, _>>()?;
        let own = Watched::start(std::process::id());

        let (to, items) = mpsc::channel(senders.clamp(4, 32));
        let reading = thread::spawn(move || source::read(reader, &plan, &to));
        let started = Instant::now();
        let run = Arc::new(Run {
            items: tokio::sync::Mutex::new(items),
            tally: Mutex::new(Tally::new()),
            acked: acked.map(Mutex::new),
            started,
            deadline: self.duration.map(|duration| started + duration),
            answer_timeout: self.timeout,
            give_up: self.give_up,
            stop: CancellationToken::new(),
        });
        let mut senders = JoinSet::new();
        for _ in 0..self.connections {
            let connection = Connection::new(self.protocol, target.clone());
            for _ in 0..self.in_flight {
                senders.spawn(worker::work(run.clone(), connection.for_another()));
            }
        }
        let bar = progress(total, self.duration);
        watch_over(&run, &mut senders, &mut watched, &bar).await?;
        let seconds = started.elapsed().as_secs_f64();
        sleep(self.settle).await;
        let watched_seconds = started.elapsed().as_secs_f64();
        let usage: Vec<Usage> = watched.into_iter().map(Watched::finish).collect();
        let own_seconds = own.map_or(0.0, |own| own.finish().cpu_seconds);
        bar.finish_and_clear();

        // The reader stops as soon as nobody takes its items.
        run.items.lock().await.close();
        while run.items.lock().await.try_recv().is_ok() {}
        reading.join().map_err(|_| anyhow!("the reading thread panicked"))??;
        let tally = run.tally.lock();
        Ok((Report::new(&tally, seconds, watched_seconds, usage, own_seconds), tally.is_clean()))
    }

    fn plan(&self, requests: u64) -> anyhow::Result<(Plan, Option<AckedWriter>)> {
        let (mut skip, mut writer) = (Acked::default(), None);
        if let Some(path) = &self.acked {
            skip = Acked::read(path)?;
            if skip.len() >= requests {
                bail!("{} says that all requests were acked: remove it to send them again", path.display());
            }
            writer = Some(AckedWriter::open(path)?);
        }
        let once = self.acked.is_some() || self.duration.is_none();
        let loops = self.loops.or(once.then_some(1));
        Ok((Plan { from_loop: self.from_loop, loops, rate: self.rate, compression: self.compression, skip }, writer))
    }
}

fn watch(pid: u32) -> anyhow::Result<Watched> {
    Watched::start(pid).with_context(|| format!("--pid {pid}: there is no such process"))
}

/// Waits for the senders, and keeps an eye on everything.
async fn watch_over(
    run: &Run,
    senders: &mut JoinSet<Result<(), worker::AckedError>>,
    watched: &mut [Watched],
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut looks = interval(LOOK);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        tokio::select! {
            ended = senders.join_next() => match ended {
                Some(ended) => ended.map_err(|error| anyhow!("a sender failed: {error}"))??,
                None => return Ok(()),
            },
            _ = looks.tick() => {
                watched.iter_mut().for_each(Watched::look);
                let tally = run.tally.lock();
                bar.set_position(tally.acked_spans);
                bar.set_message(format!("{} retries", tally.retries));
            }
            _ = &mut interrupt, if !run.stop.is_cancelled() => run.stop.cancel(),
        }
    }
}

fn progress(total: Option<u64>, duration: Option<Duration>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match (total, duration) {
        (Some(total), None) => {
            (ProgressBar::new(total), "{bar:32} {human_pos} of {human_len} spans acked, {per_sec}, {msg}")
        }
        _ => (ProgressBar::new_spinner(), "{spinner} {elapsed} {human_pos} spans acked, {per_sec}, {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests;
