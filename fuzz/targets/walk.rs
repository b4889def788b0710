//! The check of OTLP bytes against prost, and what builds on it: the filter and JSON.
#![no_main]

use clew_common::otlp::{
    filter,
    json::{self, Ids},
    walk::{self, Flaw, Reason},
};
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let checked = walk::check(bytes, |_| ());
    let decoded = TracesData::decode(bytes);
    let _ = filter::of_trace(bytes, &[1; 16]);
    let _ = json::from_protobuf(bytes, Ids::Base64);

    let reasons: &[walk::BadSpan] = checked.as_ref().map_or(&[], |checked| &checked.bad);
    let is_id = |reason| matches!(reason, Reason::TraceId | Reason::SpanId | Reason::ParentSpanId | Reason::LinkId);
    let is_deep = |reason| {
        matches!(reason, Reason::Span(Flaw::TooDeep) | Reason::Scope(Flaw::TooDeep) | Reason::Resource(Flaw::TooDeep))
    };
    let readable = checked.is_ok() && reasons.iter().all(|bad| is_id(bad.reason));
    if readable {
        decoded.as_ref().expect("prost reads what is good");
    } else if decoded.is_ok() {
        // Prost reads groups and goes as deep as it gets. A group's key has 3 or 4 in its lowest bits.
        let group = bytes.iter().any(|byte| matches!(byte & 7, 3 | 4));
        let deep = checked.is_err() || reasons.iter().any(|bad| is_deep(bad.reason));
        assert!(group || deep, "prost reads what is bad: {checked:?}");
    }

    if let Ok(walk::Checked { spans, bad }) = checked {
        let left = filter::without(bytes, &bad);
        assert_eq!(walk::check(&left, |_| ()), Ok(walk::Checked { spans, bad: Vec::new() }));
        TracesData::decode(&*left).expect("prost reads what is left");
        let text = json::from_protobuf(&left, Ids::Hex);
        let back = json::to_protobuf(text.as_bytes()).expect("JSON that is read back");
        assert_eq!(text, json::from_protobuf(&back, Ids::Hex));
    }
});
