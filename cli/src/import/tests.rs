//! How files are told apart, taken apart and made into requests.

use std::io::Write;

use opentelemetry_proto::tonic::{
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData},
};
use prost::Message;

use super::{
    batch::{Batcher, JOINED_BYTES, SPLIT_BYTES},
    error::ReadError,
    input::Input,
    *,
};

/// A message with these many spans, with names of so many bytes.
fn message(spans: u8, name_bytes: usize) -> Vec<u8> {
    let span = |number: u8| Span {
        trace_id: vec![7; 16],
        span_id: vec![number + 1; 8],
        name: "n".repeat(name_bytes),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() }];
    let resource = Some(Resource { dropped_attributes_count: 3, ..Resource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    TracesData { resource_spans }.encode_to_vec()
}

fn line(message: &[u8]) -> String {
    clew_common::otlp::json::from_protobuf(message, clew_common::otlp::json::Ids::Hex)
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    clew_common::otlp::wire::put_varint(&mut out, message.len() as u64);
    out.extend_from_slice(message);
    out
}

type Read = (Vec<(Vec<u8>, String)>, Option<String>);

fn lines(bytes: &[u8], max: usize) -> Read {
    let mut read = Vec::new();
    let outcome = messages::lines(&mut { bytes }, "a.jsonl", max, |message, place| {
        read.push((message.to_vec(), place.to_owned()));
        Ok(())
    });
    (read, outcome.err().map(|error| error.to_string()))
}

fn delimited(bytes: &[u8], max: usize, guessed: bool) -> Read {
    let mut read = Vec::new();
    let outcome = messages::delimited(&mut { bytes }, "a.pb", max, guessed, |message, place, _| {
        read.push((message.to_vec(), place.to_owned()));
        Ok(())
    });
    (read, outcome.err().map(|error| error.to_string()))
}

#[test]
fn each_line_is_a_message_and_empty_lines_are_none() {
    let (one, two) = (message(1, 3), message(2, 3));
    let text = format!("{}\r\n\n  \n{}", line(&one), line(&two));
    let expected = [(one, "a.jsonl, line 1".to_owned()), (two, "a.jsonl, line 4".to_owned())];
    assert_eq!(lines(text.as_bytes(), 1000), (expected.to_vec(), None));
}

#[test]
fn what_is_wrong_with_a_line_is_told_with_its_place() {
    let good = line(&message(1, 3));
    let error = |second: &str| {
        let (read, error) = lines(format!("{good}\n{second}").as_bytes(), 1000);
        assert_eq!(read.len(), 1);
        error.unwrap()
    };
    let cut = error(&good[..good.len() - 9]);
    assert!(cut.starts_with("a.jsonl, line 2: column ") && cut.contains("is it cut short?"), "{cut}");
    let garbage = error("nonsense\n");
    assert!(garbage.starts_with("a.jsonl, line 2: column 2: expected ident"), "{garbage}");
    let wrong = error("{\"resourceSpans\":[{\"scopeSpans\":7}]}\n");
    assert!(wrong.contains("line 2: column ") && wrong.contains("resourceSpans[0].scopeSpans: "), "{wrong}");
    let pretty = error("{\n}\n");
    assert!(pretty.contains("jq -c"), "{pretty}");
}

#[test]
fn a_line_has_a_limit_and_one_that_just_fits_is_read() {
    let good = line(&message(1, 3));
    let text = format!("{good}\n{good}\n");
    assert_eq!(lines(text.as_bytes(), good.len()).0.len(), 2);
    assert_eq!(lines(good.as_bytes(), good.len()).0.len(), 1);
    let (read, error) = lines(text.as_bytes(), good.len() - 1);
    assert!(read.is_empty());
    assert!(error.unwrap().starts_with("a.jsonl, line 1: it is longer than the limit of "));
}

#[test]
fn messages_are_read_by_their_lengths() {
    let (one, two) = (message(1, 3), message(3, 200));
    let bytes = [with_length(&one), with_length(&two)].concat();
    let second = format!("a.pb, byte {}", one.len() + 1);
    let expected = [(one, "a.pb, byte 0".to_owned()), (two.clone(), second.clone())];
    assert_eq!(delimited(&bytes, two.len(), true), (expected.to_vec(), None));
    for cut in [1, two.len() - 1, two.len(), two.len() + 1] {
        let (read, error) = delimited(&bytes[..bytes.len() - cut], two.len(), true);
        let error = error.unwrap();
        assert!(read.len() == 1 && error.starts_with(&second) && error.contains("cut short"), "{error}");
        assert!(!error.contains("neither"), "{error}");
    }
    let (read, error) = delimited(&bytes, two.len() - 1, true);
    assert_eq!((read.len(), error.unwrap()), (1, format!("{second}: it is longer than the limit of 711 B")));
}

#[test]
fn what_is_no_message_is_told_and_a_false_length_costs_no_memory() {
    for garbage in [&[0xFF; 20][..], b"hello, world", &[0x80, 0x80, 0x80, 0x80, 0x08, 1]] {
        let (read, error) = delimited(garbage, 1 << 40, true);
        let error = error.unwrap();
        assert!(read.is_empty() && error.starts_with("a.pb, byte 0: ") && error.contains("neither"), "{error}");
        assert!(!delimited(garbage, 1 << 40, false).1.unwrap().contains("neither"));
    }
}

#[test]
fn a_files_content_tells_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let kind = |name: &str, bytes: &[u8], format: Option<Format>| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let read = Arc::new(AtomicU64::new(0));
        match Input::open(&path, format, read) {
            Ok(Input::Lines(mut bytes)) => {
                messages::lines(&mut bytes, "", 1000, |_, _| Ok(())).map_or("broken lines", |()| "lines")
            }
            Ok(Input::Delimited { mut bytes, .. }) => {
                messages::delimited(&mut bytes, "", 1000, true, |_, _, _| Ok(())).map_or("broken", |()| "delimited")
            }
            Ok(Input::Blocks(_)) => "blocks",
            Err(error) => {
                assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
                "error"
            }
        }
    };
    let (json, protobuf) = (line(&message(1, 3)).into_bytes(), with_length(&message(1, 3)));
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    assert_eq!(kind("a", &json, None), "lines");
    assert_eq!(kind("a.json", &protobuf, None), "delimited");
    assert_eq!(kind("a", &gzip(&json), None), "lines");
    assert_eq!(kind("a", &[zstd(&protobuf), zstd(&protobuf)].concat(), None), "delimited");
    assert_eq!(kind("a", &gzip(&json)[..gzip(&json).len() - 9], None), "broken lines");
    assert_eq!(kind("a", &[], None), "delimited");
    assert_eq!(kind("a", &protobuf, Some(Format::Json)), "broken lines");
    assert_eq!(kind("a", b"PAR1....", None), "error");
    assert_eq!(kind("a", &protobuf, Some(Format::Parquet)), "error");
    // The length 123 is `{`, and the key of the first field a line's end.
    let of_123 = (0..200).map(|name| message(1, name)).find(|message| message.len() == 123).unwrap();
    assert_eq!(with_length(&of_123)[..2], *b"{\n");
    assert_eq!(kind("a", &with_length(&of_123), None), "delimited");
    assert_eq!(kind("a.json", b"{\n}", None), "broken lines");
    assert!(matches!(Input::open(dir.path(), None, Arc::default()), Ok(Input::Blocks(_))));
    assert!(Input::open(&dir.path().join("none"), None, Arc::default()).is_err());
}

/// Puts messages into requests: their sizes and spans, all spans by their first byte, and what was found.
fn batched(messages: &[Vec<u8>]) -> (Vec<(usize, u32)>, Vec<u8>, Found) {
    let (mut requests, mut spans) = (Vec::new(), Vec::new());
    let mut batcher = Batcher::new(|request: Vec<u8>, count| {
        requests.push((request.len(), count));
        for resource_spans in TracesData::decode(&*request).unwrap().resource_spans {
            assert_eq!(resource_spans.resource.unwrap().dropped_attributes_count, 3);
            spans.extend(resource_spans.scope_spans.iter().flat_map(|it| &it.spans).map(|span| span.span_id[0]));
        }
        Ok::<_, ReadError>(())
    });
    for message in messages {
        batcher.add(message, "here", false).unwrap();
    }
    batcher.finish().unwrap();
    let found = batcher.found;
    (requests, spans, found)
}

#[test]
fn small_messages_are_joined() {
    let (requests, spans, found) = batched(&vec![message(2, 100_000); 8]);
    assert_eq!(requests.iter().map(|(_, spans)| *spans).collect::<Vec<_>>(), [10, 6]);
    assert!(requests.iter().all(|(bytes, _)| *bytes <= JOINED_BYTES));
    assert_eq!((spans.len(), found), (16, Found { spans: 16, bad_spans: 0, empty: 0 }));
}

#[test]
fn large_messages_are_split_and_lose_nothing() {
    let (requests, spans, found) = batched(&[message(100, 200_000), message(1, 2 * SPLIT_BYTES)]);
    let (last, others) = requests.split_last().unwrap();
    assert!(others.iter().all(|(bytes, _)| *bytes <= SPLIT_BYTES) && others.len() >= 7, "{requests:?}");
    assert!(last.0 > SPLIT_BYTES && last.1 == 1, "a single span is not split");
    assert_eq!(spans, (1..=100).chain([1]).collect::<Vec<_>>());
    assert_eq!(found.spans, 101);
}

#[test]
fn bad_spans_are_counted_and_the_others_sent() {
    let mut traces = TracesData::decode(&*message(5, 3)).unwrap();
    traces.resource_spans[0].scope_spans[0].spans[2].trace_id = vec![0; 16];
    let metrics = b"\x12\x03abc".to_vec();
    let (_, spans, found) = batched(&[traces.encode_to_vec(), metrics, Vec::new()]);
    assert_eq!(spans, [1, 2, 4, 5]);
    assert_eq!(found, Found { spans: 4, bad_spans: 1, empty: 2 });
    let mut batcher = Batcher::new(|_, _| Ok(()));
    let error = batcher.add(b"\x0A\x7Fshort", "a.pb, byte 9", true).unwrap_err().to_string();
    assert!(error.starts_with("a.pb, byte 9: ") && error.contains("neither"), "{error}");
}
