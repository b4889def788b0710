use std::fmt::Write;

use opentelemetry_proto::tonic::trace::v1::TracesData;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::otlp::{
    arbitrary,
    walk::{self, Flaw, MAX_DEPTH, Reason},
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_as_it_was(request in arbitrary::request(), ids in prop_oneof![Just(Ids::Hex), Just(Ids::Base64)]) {
        let bytes = request.encode_to_vec();
        let json = from_protobuf(&bytes, ids);
        let back = to_protobuf(json.as_bytes()).map_err(|error| TestCaseError::fail(format!("{error} in {json}")))?;
        // By its bytes, as NaN is not equal to itself.
        prop_assert_eq!(TracesData::decode(&*back).unwrap().encode_to_vec(), bytes, "{}", json);
    }

    #[test]
    fn what_is_written_is_what_another_parser_reads(request in arbitrary::request()) {
        let json = from_protobuf(&request.encode_to_vec(), Ids::Hex);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let spans = value["resourceSpans"].as_array().into_iter().flatten()
            .flat_map(|resource_spans| resource_spans["scopeSpans"].as_array().into_iter().flatten())
            .flat_map(|scope_spans| scope_spans["spans"].as_array().into_iter().flatten());
        let names: Vec<_> = spans.map(|span| span["name"].as_str().unwrap_or_default().to_owned()).collect();
        let expected: Vec<_> = request.resource_spans.iter().flat_map(|it| &it.scope_spans).flat_map(|it| &it.spans)
            .map(|span| span.name.clone()).collect();
        prop_assert_eq!(names, expected);
    }

    #[test]
    fn broken_protobuf_is_written_without_panics(
        bytes in arbitrary::request().prop_flat_map(|request| arbitrary::mutated(request.encode_to_vec()))
    ) {
        let json = from_protobuf(&bytes, Ids::Base64);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
    }

    #[test]
    fn fields_that_come_twice_are_merged_as_protobuf_merges_them(first in arbitrary::request(), second in arbitrary::request()) {
        // Two ResourceSpans messages as one: their resources merge, lists are joined.
        let mut bytes = Vec::new();
        for request in [first, second] {
            for resource_spans in request.resource_spans {
                bytes.extend_from_slice(&resource_spans.encode_to_vec());
            }
        }
        let request = wrapped(1, &bytes);
        let merged = TracesData::decode(&*request).unwrap().encode_to_vec();
        let back = to_protobuf(from_protobuf(&request, Ids::Hex).as_bytes()).unwrap();
        prop_assert_eq!(TracesData::decode(&*back).unwrap().encode_to_vec(), merged);
    }
}

/// A message in a field of another.
fn wrapped(field: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    prost::encoding::encode_varint(body.len() as u64, &mut out);
    out.extend_from_slice(body);
    out
}

/// The cases file has, for each case, a line `== name`, the JSON, a line `--`, and what comes of it: the request as
/// written again, or `error: ` with the error. With CLEW_UPDATE_CASES set, the expectations are written anew.
#[test]
fn the_cases_file_holds() {
    const CASES: &str = include_str!("cases.txt");
    let mut actual = String::new();
    for case in CASES.split("== ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a case has a name");
        let json = rest.split("\n--\n").next().expect("a case has JSON");
        let outcome = match to_protobuf(json.as_bytes()) {
            Ok(bytes) => from_protobuf(&bytes, Ids::Hex),
            Err(error) => format!("error: {error}"),
        };
        writeln!(actual, "== {name}\n{json}\n--\n{outcome}").unwrap();
    }
    if std::env::var_os("CLEW_UPDATE_CASES").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/otlp/json/cases.txt"), &actual).unwrap();
    }
    for (actual, expected) in actual.lines().zip(CASES.lines()) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual, CASES);
}

/// A request of two spans, one of which has the value.
fn with_value(value: &str) -> String {
    let ids = format!(r#""traceId":"{}","spanId":"{}""#, "0a".repeat(16), "0b".repeat(8));
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids}}},{{{ids},"attributes":[{{"key":"a","value":{value}}}]}}]}}]}}]}}"#
    )
}

fn checked(json: &str) -> walk::Checked {
    let bytes = to_protobuf(json.as_bytes()).expect("JSON that is understood");
    walk::check(&bytes, |_| ()).expect("a good request")
}

#[test]
fn values_nested_too_deep_cost_only_their_span() {
    let nested = |levels: usize| {
        let (open, close) = (r#"{"arrayValue":{"values":["#, "]}}");
        with_value(&format!("{}{}{}", open.repeat(levels - 1), r#"{"intValue":1}"#, close.repeat(levels - 1)))
    };
    let limit = MAX_DEPTH as usize;
    assert_eq!(checked(&nested(limit)).spans, 2);
    for levels in [limit + 1, limit + 2, 10_000, 1_000_000] {
        let checked = checked(&nested(levels));
        assert_eq!(checked.spans, 1, "{levels} levels");
        assert_eq!(checked.bad[0].reason, Reason::Span(Flaw::TooDeep));
    }
}

#[test]
fn lists_of_keys_nested_too_deep_cost_only_their_span() {
    let nested = |levels: usize, inner: &str| {
        let (open, close) = (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}");
        with_value(&format!("{}{inner}{}", open.repeat(levels - 1), close.repeat(levels - 1)))
    };
    let limit = MAX_DEPTH as usize;
    assert_eq!(checked(&nested(limit, "{}")).spans, 2);
    assert_eq!(checked(&nested(limit + 1, "{}")).spans, 1);
    // No value is not one level more.
    assert_eq!(checked(&nested(limit + 1, "null")).spans, 2);
}

#[test]
fn ten_million_brackets_are_skipped_or_refused_without_recursion() {
    let count = 10_000_000;
    let deep = format!("{}{}", "[".repeat(count), "]".repeat(count));
    assert_eq!(checked(&format!(r#"{{"unknown":{deep}}}"#)).spans, 0);
    let unclosed = r#"{"a":"#.repeat(count);
    assert!(to_protobuf(unclosed.as_bytes()).unwrap_err().what.contains("EOF"));
    let error = to_protobuf(with_value(&deep).as_bytes()).unwrap_err();
    assert_eq!(error.path, "resourceSpans[0].scopeSpans[0].spans[1].attributes[0].value");
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let error = to_protobuf(b"{\n \"a\": \"\xFF\"}").unwrap_err();
    assert_eq!((error.what.as_str(), error.line, error.column), ("not UTF-8", 2, 8));
}

#[test]
fn an_error_stays_short_whatever_the_text() {
    let json =
        format!(r#"{{"resourceSpans":[{{"resource":{{"droppedAttributesCount":"{}"}}}}]}}"#, "é".repeat(100_000));
    let error = to_protobuf(json.as_bytes()).unwrap_err().to_string();
    assert!(error.len() < 500, "{error}");
    assert!(error.starts_with("resourceSpans[0].resource.droppedAttributesCount: invalid value"), "{error}");
    assert!(error.contains("a 32-bit number as a number or a string"), "{error}");
}

#[test]
fn for_other_readers_ids_are_base64_and_enums_have_names() {
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}","spanId":"{}","kind":2,"startTimeUnixNano":"7","status":{{"code":2}}}}]}}]}}]}}"#,
        "0a".repeat(16),
        "0b".repeat(8)
    );
    let bytes = to_protobuf(json.as_bytes()).unwrap();
    let mut out = "{\"batches\":".to_owned();
    write_resource_spans_array(&mut out, &bytes, Ids::Base64);
    assert_eq!(
        out,
        concat!(
            r#"{"batches":[{"scopeSpans":[{"spans":[{"traceId":"CgoKCgoKCgoKCgoKCgoKCg==","spanId":"CwsLCwsLCws=","#,
            r#""kind":"SPAN_KIND_SERVER","startTimeUnixNano":"7","status":{"code":"STATUS_CODE_ERROR"}}]}]}]"#
        )
    );
}

#[test]
fn a_table_row_fits_its_place() {
    fn look(message: &'static schema::Message, seen: &mut Vec<*const schema::Message>) {
        if seen.contains(&(message as *const _)) {
            return;
        }
        seen.push(message);
        assert!(message.fields.len() <= schema::MAX_FIELDS);
        for field in message.fields {
            if field.label == schema::Label::Many {
                assert!(matches!(field.kind, schema::Kind::Text | schema::Kind::Message(_)), "{}", field.name);
            }
            if let schema::Kind::Message(message) = field.kind {
                look(message, seen);
            }
        }
    }
    look(&schema::REQUEST, &mut Vec::new());
}
