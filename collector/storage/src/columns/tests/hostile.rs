//! What requests can do to memory and time.

use arrow_array::Array;
use clew_common::otlp::{filter, record::Codec, walk};
use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, any_value::Value},
    trace::v1::{Span, TracesData},
};
use prost::Message;

use super::{columns, has_raw, otlp, pair, request, span, spans, text};
use crate::{
    columns::{Builder, attributes::MAX_COLUMNS},
    decode::{Decoder, Encoded},
    schema,
};

fn columns_of(spans: &crate::columns::Spans) -> usize {
    schema::attributes(spans.batch.schema_ref()).count()
}

#[test]
fn a_hundred_thousand_keys_make_no_more_columns_than_there_may_be() {
    let keys = |spans: usize, each: usize| {
        let span = |at: usize| span((0..each).map(|key| pair(&format!("{}", at * each + key), text("v"))).collect());
        request((0..spans).map(span).collect()).encode_to_vec()
    };
    for bytes in [keys(1, 100_000), keys(1000, 100)] {
        let columns = columns(&bytes);
        assert!(columns_of(&columns) <= MAX_COLUMNS);
        assert!(columns.batch.get_array_memory_size() < 20 * bytes.len());
        assert!(!has_raw(&columns));
        assert_eq!(spans(&otlp(&columns)), spans(&bytes));
    }
}

#[test]
fn a_key_a_hundred_thousand_times_on_a_span_is_kept_as_it_came() {
    let bytes = request(vec![span((0..100_000).map(|at| pair("k", Value::IntValue(at))).collect())]).encode_to_vec();
    let columns = columns(&bytes);
    assert_eq!(otlp(&columns), bytes);
    assert!(columns.batch.get_array_memory_size() < 20 * bytes.len());
}

#[test]
fn columns_that_few_rows_have_do_not_take_more_memory_than_a_few_times_the_request() {
    let all = (0..20_000).map(|at| {
        let common = pair("common", Value::IntValue(at));
        let rare = (at % 40 == 0)
            .then(|| pair(&format!("rare {at}"), if at % 80 == 0 { text("v") } else { Value::BoolValue(true) }));
        Span { start_time_unix_nano: at as u64, ..span([common].into_iter().chain(rare).collect()) }
    });
    let bytes = request(all.collect()).encode_to_vec();
    let columns = columns(&bytes);
    assert!((2..MAX_COLUMNS).contains(&columns_of(&columns)));
    let lists = columns.batch.column(schema::core::ATTRIBUTES);
    assert!(lists.null_count() < lists.len());
    assert!(columns.batch.get_array_memory_size() < 10 * bytes.len());
    assert_eq!(spans(&otlp(&columns)), spans(&bytes));
}

#[test]
fn a_large_scope_is_not_repeated_for_any_number_of_spans() {
    let with = |scope_bytes: usize, count: usize| {
        let mut request: TracesData = request(vec![span(vec![]); count]);
        let attributes = vec![pair("k", text(&"x".repeat(scope_bytes)))];
        request.resource_spans[0].scope_spans[0].scope =
            Some(InstrumentationScope { attributes, ..InstrumentationScope::default() });
        request.encode_to_vec()
    };
    let good = with(1 << 20, 50);
    assert_eq!(spans(&otlp(&columns(&good))), spans(&good));
    assert!(Builder::new().add(&with(1 << 20, 5000)).is_err());
    // What passes the check for a sender is stored, whatever it is joined with.
    let checked = walk::check(&with(300_000, 250), |_| ()).unwrap();
    let left = filter::without(&with(300_000, 250), &checked.bad);
    let batch = left.repeat(4);
    let (raw_bytes, spans) = (batch.len() as u32, 4 * checked.spans);
    let batch = Encoded { codec: Codec::Identity, payload: batch.into(), raw_bytes, spans };
    assert_eq!(Decoder::default().decode(&batch).unwrap().count, spans);
}

#[test]
fn a_strange_batch_is_forgotten_after_it() {
    let strange = (0..1000).map(|at| pair(&format!("strange {at}"), text("v"))).collect();
    let plain = request(vec![span(vec![pair("k", text("v"))])]).encode_to_vec();
    let mut builder = Builder::new();
    builder.add(&request(vec![span(strange)]).encode_to_vec()).unwrap();
    builder.finish().unwrap();
    for _ in 0..2 {
        builder.add(&plain).unwrap();
        let built = builder.finish().unwrap();
        assert_eq!(columns_of(&built), 1);
        assert_eq!(built.batch, columns(&plain).batch);
    }
}
