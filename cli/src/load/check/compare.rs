//! Compares what was found of a trace with the truth about it.

use std::collections::BTreeMap;

use crate::load::{digest::SpanDigest, truth::TrueSpan};

/// What is wrong with one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// It was acknowledged and is not there.
    Missing,
    /// It is there more than once.
    Duplicate,
    /// It is there with other content.
    Altered,
    /// It was never sent.
    Unknown,
}

/// One span that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) fault: Fault,
    pub(crate) span_id: [u8; 8],
    /// The request that carried it; none for a span that was never sent.
    pub(crate) request: Option<u32>,
}

/// The answers of several collectors as one: a span that several have is counted once, a span that one has twice, twice.
pub(crate) fn union(answers: &[Vec<SpanDigest>]) -> BTreeMap<([u8; 8], u64), usize> {
    let mut all = BTreeMap::new();
    for answer in answers {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        answer.iter().for_each(|span| *counts.entry((span.span_id, span.digest)).or_default() += 1);
        for (span, count) in counts {
            let most = all.entry(span).or_default();
            *most = count.max(*most);
        }
    }
    all
}

/// Everything that is wrong with a trace. `required` tells of a request whether its spans have to be there.
pub(crate) fn compare(
    found: &BTreeMap<([u8; 8], u64), usize>,
    truth: &[TrueSpan],
    required: impl Fn(u32) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let expected: BTreeMap<_, _> = truth.iter().map(|span| (span.span_id, span)).collect();
    for ((span_id, digest), count) in found {
        let span = expected.get(span_id);
        let request = span.map(|span| span.request);
        let fault = match span {
            None => Fault::Unknown,
            Some(span) if span.digest != *digest => Fault::Altered,
            Some(_) if *count > 1 => Fault::Duplicate,
            Some(_) => continue,
        };
        findings.push(Finding { fault, span_id: *span_id, request });
    }
    for span in truth {
        let mut same_id = found.range((span.span_id, 0)..=(span.span_id, u64::MAX));
        if same_id.next().is_none() && required(span.request) {
            findings.push(Finding { fault: Fault::Missing, span_id: span.span_id, request: Some(span.request) });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: [TrueSpan; 3] = [
        TrueSpan { span_id: [1; 8], digest: 10, request: 0 },
        TrueSpan { span_id: [2; 8], digest: 20, request: 0 },
        TrueSpan { span_id: [3; 8], digest: 30, request: 1 },
    ];

    fn found(spans: &[(u8, u64)]) -> Vec<SpanDigest> {
        spans.iter().map(|(id, digest)| SpanDigest { trace_id: [9; 16], span_id: [*id; 8], digest: *digest }).collect()
    }

    fn faults(answers: &[Vec<SpanDigest>], required: impl Fn(u32) -> bool) -> Vec<(Fault, u8)> {
        let findings = compare(&union(answers), &TRUTH, required);
        findings.iter().map(|finding| (finding.fault, finding.span_id[0])).collect()
    }

    #[test]
    fn a_trace_that_is_right_has_no_findings() {
        assert_eq!(faults(&[found(&[(3, 30), (1, 10), (2, 20)])], |_| true), []);
    }

    #[test]
    fn each_fault_is_told_by_its_name() {
        let answer = found(&[(1, 10), (1, 10), (2, 21), (4, 40)]);
        let expected = [(Fault::Duplicate, 1), (Fault::Altered, 2), (Fault::Unknown, 4), (Fault::Missing, 3)];
        assert_eq!(faults(&[answer], |_| true), expected);
    }

    #[test]
    fn a_span_that_is_there_both_right_and_altered_is_altered() {
        assert_eq!(faults(&[found(&[(1, 10), (1, 11), (2, 20), (3, 30)])], |_| true), [(Fault::Altered, 1)]);
    }

    #[test]
    fn only_spans_of_acked_requests_have_to_be_there() {
        assert_eq!(faults(&[found(&[(1, 10)])], |request| request == 1), [(Fault::Missing, 3)]);
    }

    #[test]
    fn what_two_collectors_have_alike_is_no_duplicate() {
        let (one, other) = (found(&[(1, 10), (2, 20)]), found(&[(2, 20), (3, 30)]));
        assert_eq!(faults(&[one.clone(), other], |_| true), []);
        let twice = found(&[(2, 20), (2, 20), (3, 30)]);
        assert_eq!(faults(&[one, twice], |_| true), [(Fault::Duplicate, 2)]);
    }
}
