//! What a run has come to, for people and for programs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{processes::Usage, tally::Tally};
use crate::output::{bytes, duration_ns, thousands};

/// The outcome of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    seconds: f64,
    spans: u64,
    requests: u64,
    /// As they went out, compressed.
    bytes: u64,
    spans_per_second: f64,
    latency_us: Latency,
    retries: u64,
    refused_requests: u64,
    refused_spans: u64,
    given_up_requests: u64,
    given_up_spans: u64,
    partial_requests: u64,
    rejected_spans: u64,
    /// Reasons that the endpoint gave, and how often.
    reasons: BTreeMap<String, Given>,
    processes: Vec<Process>,
    /// CPU time of this program.
    generator_cpu_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct Given {
    times: u64,
    example: String,
}

#[derive(Debug, Serialize)]
struct Process {
    #[serde(flatten)]
    usage: Usage,
    spans_per_cpu_second: Option<f64>,
    cores: f64,
}

impl Report {
    /// Adds up. `seconds` is the time until the last ack; `watched_seconds` that over which processes were watched.
    pub(crate) fn new(tally: &Tally, seconds: f64, watched_seconds: f64, usage: Vec<Usage>, own: f64) -> Self {
        let process = |usage: Usage| Process {
            spans_per_cpu_second: (usage.cpu_seconds > 0.0).then(|| tally.acked_spans as f64 / usage.cpu_seconds),
            cores: usage.cpu_seconds / watched_seconds.max(f64::EPSILON),
            usage,
        };
        let reason = |(code, (times, example)): (&String, &(u64, String))| {
            (code.clone(), Given { times: *times, example: example.clone() })
        };
        Self {
            seconds,
            spans: tally.acked_spans,
            requests: tally.acked_requests,
            bytes: tally.acked_bytes,
            spans_per_second: tally.acked_spans as f64 / seconds.max(f64::EPSILON),
            latency_us: Latency {
                mean: tally.mean_latency_us(),
                p50: tally.latency_us(0.5),
                p90: tally.latency_us(0.9),
                p99: tally.latency_us(0.99),
                p999: tally.latency_us(0.999),
                max: tally.latency_us(1.0),
            },
            retries: tally.retries,
            refused_requests: tally.refused_requests,
            refused_spans: tally.refused_spans,
            given_up_requests: tally.given_up_requests,
            given_up_spans: tally.given_up_spans,
            partial_requests: tally.partial_requests,
            rejected_spans: tally.rejected_spans,
            reasons: tally.reasons.iter().map(reason).collect(),
            processes: usage.into_iter().map(process).collect(),
            generator_cpu_seconds: own,
        }
    }

    /// One JSON object on a line of its own.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    /// A few lines for people.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let per_second = |total: f64| total / self.seconds.max(f64::EPSILON);
        writeln!(
            out,
            "acked {} spans in {} requests, {}, within {:.2} s",
            thousands(self.spans),
            thousands(self.requests),
            bytes(self.bytes),
            self.seconds
        )?;
        let rate = bytes(per_second(self.bytes as f64) as u64);
        writeln!(out, "  rate       {} spans/s, {rate}/s", thousands(self.spans_per_second as u64))?;
        let Latency { p50, p90, p99, p999, max, .. } = self.latency_us;
        let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(|micros| duration_ns(micros * 1_000));
        writeln!(out, "  latency    p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}")?;
        let lost = |requests: u64, spans: u64| match requests {
            0 => "0".to_owned(),
            _ => format!("{} requests ({} spans)", thousands(requests), thousands(spans)),
        };
        writeln!(
            out,
            "  retries {}  refused {}  given up {}  rejected spans {}",
            thousands(self.retries),
            lost(self.refused_requests, self.refused_spans),
            lost(self.given_up_requests, self.given_up_spans),
            thousands(self.rejected_spans)
        )?;
        for (code, Given { times, example }) in &self.reasons {
            let example: String = example.chars().filter(|c| !c.is_control()).take(160).collect();
            writeln!(out, "    {code}, {} times: {example}", thousands(*times))?;
        }
        self.processes.iter().try_for_each(|process| process.write_text(out))?;
        writeln!(out, "  generator  {:.2} CPU-s", self.generator_cpu_seconds)
    }
}

impl Process {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let usage = &self.usage;
        let gone = if usage.gone { " (ended during the run)" } else { "" };
        let speed = match self.spans_per_cpu_second {
            Some(speed) => format!("{} spans per CPU-s", thousands(speed as u64)),
            None => "too little to measure".to_owned(),
        };
        let name: String = usage.name.chars().filter(|c| !c.is_control()).collect();
        writeln!(
            out,
            "  {name} {}{gone}  {:.2} CPU-s, {speed}, {:.3} cores, RSS {} -> peak {} -> {} (high-water mark {})",
            usage.pid,
            usage.cpu_seconds,
            self.cores,
            bytes(usage.rss_start_bytes),
            bytes(usage.rss_peak_bytes),
            bytes(usage.rss_end_bytes),
            bytes(usage.high_water_bytes)
        )
    }
}
