//! The check against collectors in this process that have what each test gives them.

use std::collections::HashMap;

use clap::Parser;
use clew_proto::v1::GetTraceResponse;
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::ResourceSpans};
use prost::Message;
use tonic::Status;

use super::*;
use crate::{
    fake_collector::FakeCollector,
    load::{corpus::Reader, generate::Options, write},
};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

struct Corpus {
    folder: tempfile::TempDir,
    /// The spans of each trace, each alone in a `ResourceSpans`, with the request that carries it.
    traces: HashMap<Vec<u8>, Vec<(ResourceSpans, u32)>>,
}

impl Corpus {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corpus");
        let options =
            Options { seed: 3, spans: 2_000, request_spans: 50, services: 8, start_ns: 1_000_000_000, rate: 1e4 };
        write::write(&path, options, |_| {}).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let (mut traces, mut bytes, mut index) = (HashMap::<_, Vec<_>>::new(), Vec::new(), 0);
        while reader.next(&mut bytes).unwrap().is_some() {
            for resource in ExportTraceServiceRequest::decode(&*bytes).unwrap().resource_spans {
                for scope in &resource.scope_spans {
                    for span in &scope.spans {
                        let mut alone = resource.clone();
                        alone.scope_spans = vec![scope.clone()];
                        alone.scope_spans[0].spans = vec![span.clone()];
                        traces.entry(span.trace_id.clone()).or_default().push((alone, index));
                    }
                }
            }
            index += 1;
            bytes.clear();
        }
        Self { folder, traces }
    }

    /// A collector with the spans that `keep` turns into something.
    fn collector(&self, keep: impl Fn(&ResourceSpans, u32) -> Vec<ResourceSpans>) -> FakeCollector {
        let collector = FakeCollector::start();
        for (trace_id, spans) in &self.traces {
            let kept: Vec<_> = spans.iter().flat_map(|(span, request)| keep(span, *request)).collect();
            if !kept.is_empty() {
                collector.say(trace_id, vec![Ok(parts(&kept))]);
            }
        }
        collector
    }

    fn check(&self, collectors: &[&FakeCollector], options: &str) -> anyhow::Result<serde_json::Value> {
        let path = self.folder.path().join("corpus");
        let urls: String = collectors.iter().map(|collector| format!("--collector {} ", collector.url)).collect();
        let line = format!("check {} {urls} {options}", path.display());
        let args = Line::try_parse_from(line.split_ascii_whitespace()).unwrap().args;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let report = runtime.block_on(args.check())?;
        let mut out = Vec::new();
        report.write_json(&mut out).unwrap();
        Ok(serde_json::from_slice(&out).unwrap())
    }
}

/// An answer in parts of seven spans.
fn parts(spans: &[ResourceSpans]) -> Vec<GetTraceResponse> {
    let part = |spans: &[ResourceSpans]| GetTraceResponse {
        resource_spans: spans.iter().map(|span| span.encode_to_vec().into()).collect(),
        ..GetTraceResponse::default()
    };
    spans.chunks(7).map(part).collect()
}

fn first_span(resource: &mut ResourceSpans) -> &mut opentelemetry_proto::tonic::trace::v1::Span {
    &mut resource.scope_spans[0].spans[0]
}

#[test]
fn a_collector_that_has_everything_is_right() {
    let corpus = Corpus::new();
    let collector = corpus.collector(|span, _| vec![span.clone()]);
    let report = corpus.check(&[&collector], "--tenant team-a").unwrap();
    assert_eq!(report["right"], true, "{report}");
    assert_eq!((&report["spans_found"], &report["traces"]), (&2_000.into(), &corpus.traces.len().into()));
    assert!(collector.tenants().iter().all(|tenant| tenant.as_deref() == Some("team-a")));
    let sample = corpus.check(&[&collector], "--sample 5").unwrap();
    assert_eq!((&sample["right"], &sample["traces"]), (&true.into(), &5.into()));
}

#[test]
fn lost_doubled_altered_and_foreign_spans_are_found() {
    let corpus = Corpus::new();
    let broken = corpus.collector(|span, request| {
        let mut other = span.clone();
        match request {
            1 => vec![],
            2 => vec![span.clone(), span.clone()],
            3 => {
                first_span(&mut other).attributes.pop();
                vec![other]
            }
            4 => {
                first_span(&mut other).span_id = first_span(&mut other).span_id.iter().map(|byte| !byte).collect();
                vec![span.clone(), other]
            }
            _ => vec![span.clone()],
        }
    });
    let report = corpus.check(&[&broken], "").unwrap();
    assert_eq!(report["right"], false);
    for fault in ["missing", "duplicate", "altered", "unknown"] {
        assert_eq!(report[fault], 50, "{fault} in {report}");
    }
    let missing = report["examples"].as_array().unwrap().iter().filter(|example| example["fault"] == "missing");
    assert!(missing.clone().count() == 10 && missing.clone().all(|example| example["request"] == 1), "{report}");
}

#[test]
fn with_an_acked_file_the_rest_may_be_missing_but_not_doubled() {
    let corpus = Corpus::new();
    let acked = corpus.folder.path().join("acked");
    let text: String = (0..100).filter(|index| *index != 1).map(|index| format!("{index}\n")).collect();
    std::fs::write(&acked, text).unwrap();
    let options = format!("--acked {}", acked.display());
    // Of the corpus' requests there are fewer than a hundred, so the file cannot be of this corpus.
    assert!(corpus.check(&[], &options).unwrap_err().to_string().contains("--acked names 99"));
    let count = corpus.traces.values().flatten().map(|(_, request)| request + 1).max().unwrap();
    let text: String = (0..count).filter(|index| *index != 1).map(|index| format!("{index}\n")).collect();
    std::fs::write(&acked, text).unwrap();
    let without = corpus.collector(|span, request| if request == 1 { vec![] } else { vec![span.clone()] });
    assert_eq!(corpus.check(&[&without], &options).unwrap()["right"], true);
    assert_eq!(corpus.check(&[&without], "").unwrap()["missing"], 50);
    let doubled = corpus.collector(|span, request| vec![span.clone(); if request == 1 { 2 } else { 1 }]);
    assert_eq!(corpus.check(&[&doubled], &options).unwrap()["duplicate"], 50);
}

#[test]
fn two_collectors_together_have_everything() {
    let corpus = Corpus::new();
    let one = corpus.collector(|span, request| if request < 20 { vec![span.clone()] } else { vec![] });
    let other = corpus.collector(|span, request| if request > 10 { vec![span.clone()] } else { vec![] });
    assert_eq!(corpus.check(&[&one, &other], "").unwrap()["right"], true);
    assert_eq!(corpus.check(&[&one], "").unwrap()["right"], false);
}

#[test]
fn a_trace_that_is_still_under_way_is_asked_for_again() {
    let corpus = Corpus::new();
    let collector = corpus.collector(|span, _| vec![span.clone()]);
    let (trace_id, spans) = corpus.traces.iter().find(|(_, spans)| spans.len() > 1).unwrap();
    let whole: Vec<_> = spans.iter().map(|(span, _)| span.clone()).collect();
    let under_way = || {
        let mut partial = parts(&whole[..1]);
        partial[0].partial = true;
        partial[0].partial_reasons = vec!["agent a did not answer".into()];
        let busy = Err(Status::unavailable("busy"));
        collector.say(trace_id, vec![Err(Status::not_found("")), busy, Ok(partial), Ok(parts(&whole))]);
    };
    under_way();
    assert_eq!(corpus.check(&[&collector], "--wait 30s").unwrap()["right"], true);
    under_way();
    let report = corpus.check(&[&collector], "").unwrap();
    assert_eq!(report["missing"], whole.len(), "{report}");
}

#[test]
fn a_collector_that_is_not_there_is_said_to_be_so() {
    let corpus = Corpus::new();
    let mut collector = FakeCollector::start();
    collector.url = "http://127.0.0.1:9".parse().unwrap();
    let error = corpus.check(&[&collector], "").unwrap_err().to_string();
    assert!(error.contains("no collector answers at http://127.0.0.1:9 (") && error.contains("clew up"), "{error}");
}
