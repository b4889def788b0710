//! What a check has come to.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::json;

use super::compare::{Fault, Finding};
use crate::output::{duration_ns, thousands};

/// Findings that are told one by one, of each sort.
const EXAMPLES: usize = 10;

/// Longest lookup that is told apart, in microseconds: ten minutes.
const MAX_LOOKUP_US: u64 = 600_000_000;

/// Counts of a check.
#[derive(Debug)]
pub(crate) struct Report {
    traces: u64,
    spans: u64,
    wrong_traces: u64,
    partial_traces: u64,
    /// Why answers were partial, and how often.
    partial_reasons: BTreeMap<String, u64>,
    failed_lookups: u64,
    first_failure: Option<String>,
    faults: BTreeMap<Fault, u64>,
    examples: BTreeMap<Fault, Vec<(String, Finding)>>,
    lookup_us: Histogram<u64>,
    pub(crate) seconds: f64,
}

impl Report {
    /// Nothing checked yet.
    pub(crate) fn new() -> Self {
        Self {
            traces: 0,
            spans: 0,
            wrong_traces: 0,
            partial_traces: 0,
            partial_reasons: BTreeMap::new(),
            failed_lookups: 0,
            first_failure: None,
            faults: BTreeMap::new(),
            examples: BTreeMap::new(),
            lookup_us: Histogram::new_with_max(MAX_LOOKUP_US, 3).expect("ten minutes in microseconds fit a histogram"),
            seconds: 0.0,
        }
    }

    /// One lookup at one collector.
    pub(crate) fn looked_up(&mut self, took: Duration) {
        self.lookup_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// One trace was compared; so many of its spans were found.
    pub(crate) fn compared(
        &mut self,
        trace_id: [u8; 16],
        spans: usize,
        partial: Option<&[String]>,
        findings: &[Finding],
    ) {
        self.traces += 1;
        self.spans += spans as u64;
        self.wrong_traces += u64::from(!findings.is_empty());
        if let Some(reasons) = partial {
            self.partial_traces += 1;
            reasons.iter().for_each(|reason| *self.partial_reasons.entry(reason.clone()).or_default() += 1);
        }
        for finding in findings {
            *self.faults.entry(finding.fault).or_default() += 1;
            let examples = self.examples.entry(finding.fault).or_default();
            if examples.len() < EXAMPLES {
                examples.push((hex::encode(trace_id), finding.clone()));
            }
        }
    }

    /// A trace could not be looked up.
    pub(crate) fn failed(&mut self, error: impl ToString) {
        self.failed_lookups += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    /// Traces so far.
    pub(crate) fn traces(&self) -> u64 {
        self.traces + self.failed_lookups
    }

    /// Everything is as it was sent.
    pub(crate) fn is_right(&self) -> bool {
        self.wrong_traces == 0 && self.failed_lookups == 0
    }

    fn fault(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or_default()
    }

    /// One JSON object on a line of its own.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let examples = self.examples.values().flatten().map(|(trace_id, finding)| {
            json!({
                "fault": finding.fault,
                "trace_id": trace_id,
                "span_id": hex::encode(finding.span_id),
                "request": finding.request,
            })
        });
        let report = json!({
            "right": self.is_right(),
            "seconds": self.seconds,
            "traces": self.traces,
            "spans_found": self.spans,
            "wrong_traces": self.wrong_traces,
            "missing": self.fault(Fault::Missing),
            "duplicate": self.fault(Fault::Duplicate),
            "altered": self.fault(Fault::Altered),
            "unknown": self.fault(Fault::Unknown),
            "partial_traces": self.partial_traces,
            "partial_reasons": self.partial_reasons,
            "failed_lookups": self.failed_lookups,
            "first_failure": self.first_failure,
            "examples": examples.collect::<Vec<_>>(),
            "lookup_us": {
                "p50": self.lookup_us.value_at_quantile(0.5),
                "p99": self.lookup_us.value_at_quantile(0.99),
                "max": self.lookup_us.max(),
            },
        });
        writeln!(out, "{report}")
    }

    /// A few lines for people.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let verdict = if self.is_right() { "right: every span is there once, as it was sent" } else { "WRONG" };
        writeln!(
            out,
            "{verdict}: {} traces, {} spans found, {:.1} s",
            thousands(self.traces),
            thousands(self.spans),
            self.seconds
        )?;
        let [p50, p99, max] =
            [0.5, 0.99, 1.0].map(|quantile| duration_ns(self.lookup_us.value_at_quantile(quantile) * 1_000));
        writeln!(out, "  lookup     p50 {p50}  p99 {p99}  max {max}")?;
        writeln!(
            out,
            "  spans      {} missing, {} duplicate, {} altered, {} unknown, in {} traces",
            thousands(self.fault(Fault::Missing)),
            thousands(self.fault(Fault::Duplicate)),
            thousands(self.fault(Fault::Altered)),
            thousands(self.fault(Fault::Unknown)),
            thousands(self.wrong_traces)
        )?;
        for (fault, examples) in &self.examples {
            for (trace_id, finding) in examples {
                let request = finding.request.map_or(String::new(), |request| format!(" of request {request}"));
                let name = format!("{fault:?}").to_lowercase();
                writeln!(out, "    {name} span {}{request} in trace {trace_id}", hex::encode(finding.span_id))?;
            }
        }
        if self.partial_traces > 0 {
            writeln!(out, "  partial    {} answers", thousands(self.partial_traces))?;
            for (reason, times) in &self.partial_reasons {
                let reason: String = reason.chars().filter(|c| !c.is_control()).take(160).collect();
                writeln!(out, "    {reason}, {} times", thousands(*times))?;
            }
        }
        if let Some(failure) = &self.first_failure {
            writeln!(out, "  {} lookups failed, the first one so: {failure}", thousands(self.failed_lookups))?;
        }
        Ok(())
    }
}
