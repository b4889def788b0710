//! Answers are the same wherever spans lie: in memory, and in blocks of many row groups.

use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{ResourceSpans, Span, Status, span::Event},
};

use super::{
    ask::{LIMITS, ask},
    store::{self, Batch, Kept, attribute},
};

const SPANS: u64 = 400;
const PLACES: u64 = 3;
/// Most traces have several spans, in several places.
const TRACES: u64 = 90;

fn made(number: u64) -> ResourceSpans {
    let text = |text: String| Value::StringValue(text);
    let mut attributes = vec![attribute("route", text(format!("/{}", number % 7)))];
    // Some keys are in many spans, some in few, and one has values of two types.
    if number.is_multiple_of(5) {
        attributes.push(attribute("size", Value::IntValue((number % 11) as i64)));
    }
    if number.is_multiple_of(40) {
        attributes.push(attribute("size.of", text("large".to_owned())));
        attributes.push(attribute(
            "mixed",
            if number.is_multiple_of(80) { text("x".to_owned()) } else { Value::IntValue(1) },
        ));
    }
    let start = 1_000_000_000 + number * 7_919 % 1_000;
    let event = Event { time_unix_nano: start + 1, name: format!("e{}", number % 3), ..Event::default() };
    let span = Span {
        trace_id: u128::from(1 + number % TRACES).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        parent_span_id: if number < TRACES { vec![] } else { (number + 1 - TRACES).to_be_bytes().to_vec() },
        name: format!("n{}", number % 13),
        kind: (number % 6) as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: start + number % 50,
        status: number.is_multiple_of(9).then(|| Status { code: 2, message: format!("m{}", number % 4) }),
        attributes,
        events: if number.is_multiple_of(10) { vec![event] } else { vec![] },
        ..Span::default()
    };
    let zone = (!number.is_multiple_of(4)).then(|| attribute("zone", text(format!("z{}", number % 4))));
    store::span(span, [attribute("service.name", text(format!("s{}", number % 5)))].into_iter().chain(zone).collect())
}

/// The first ten spans are stored everywhere.
fn batches() -> Vec<Batch> {
    let batch = |place: u64| {
        let here = (0..SPANS).filter(|number| *number < 10 || number / 3 % PLACES == place);
        Batch { place: place as usize, spans: here.map(made).collect(), may_duplicate: true }
    };
    (0..PLACES).map(batch).collect()
}

const QUERIES: [&str; 18] = [
    "SELECT count(*), count(DISTINCT trace_id), sum(duration), min(start_time), max(end_time) FROM spans",
    "SELECT name, status, count(*) FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT * FROM spans ORDER BY span_id",
    "SELECT span_id FROM spans WHERE \"span.size\" > 8 ORDER BY 1",
    "SELECT span_id, \"span.mixed\" FROM spans WHERE \"span.mixed\" IS NOT NULL ORDER BY 1",
    "SELECT span_id FROM spans WHERE \"span.mixed\" = 'x' OR \"span.size.of\" = 'none' ORDER BY 1",
    "SELECT span_id FROM spans WHERE \"span.route\" = '/3' AND service_name = 's1' AND status = 'error' ORDER BY 1",
    "SELECT span_id, duration FROM spans WHERE duration >= 49 ORDER BY 1",
    "SELECT count(*) FROM spans WHERE \"resource.zone\" IS NULL",
    "SELECT name, count(*) FROM spans WHERE start_time < to_timestamp_nanos(1000000100) GROUP BY 1 ORDER BY 1",
    "SELECT span_id, parent_span_id, root_name FROM spans WHERE trace_id = '00000000000000000000000000000007' ORDER BY 1",
    "SELECT root_service_name, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT c.name, p.name, count(*) FROM spans c JOIN spans p ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT span_id, rank() OVER (PARTITION BY trace_id ORDER BY start_time, span_id) FROM spans ORDER BY 1",
    "SELECT span_id, time, name FROM events ORDER BY 1, 2",
    "SELECT count(*) FROM events WHERE name = 'e1' AND service_name = 's0'",
    "SELECT service_name, count(*) FROM resources GROUP BY 1 ORDER BY 1",
    "SELECT span_id FROM spans ORDER BY start_time DESC, span_id LIMIT 7",
];

#[test]
fn answers_are_those_of_spans_in_memory() {
    let batches = batches();
    let answers = |kept: Kept| {
        store::ask(&batches, kept, |snapshot| {
            QUERIES.map(|query| ask(snapshot, query, LIMITS).unwrap_or_else(|error| panic!("{query}: {error}")))
        })
    };
    let in_memory = answers(0.into());
    assert!(in_memory[0].contains("| 400 "), "{}", in_memory[0]);
    for kept in [2.into(), Kept::cut(1, 16), Kept::cut(2, 64)] {
        for ((query, found), expected) in QUERIES.iter().zip(answers(kept)).zip(&in_memory) {
            assert!(found == *expected, "{kept:?}: {query}\n{found}\nin memory\n{expected}");
        }
    }
}
