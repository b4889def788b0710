//! Pictures of the traces in `tests/data/waterfall.txt`. To rewrite what is expected there: UPDATE_EXPECT=1 cargo test.
//!
//! A case is a title, spans, and the picture:
//!
//! ```text
//! === title [width N]
//! id | parent | service | name | start µs | end µs [| error: status] [| exception: type: message] [| kind: client]
//!     [| attribute: key=text]
//! --- the picture
//! ```
//!
//! `fixed` in the title has the clocks' estimates applied. Ids are digits; a parent of `-` is none. Texts know the escapes \n \t \e (escape) \u{...} and \{text*times}.

use std::path::PathBuf;

use clew_query::analysis::skew::{corrected, skews};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span::Event},
};
use unicode_width::UnicodeWidthStr;

use super::*;

/// When the traces of the cases start.
const START_NS: u64 = 1_795_412_460_000_000_000;

fn attribute(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(text.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// Resolves the escapes of a text.
fn text(escaped: &str) -> String {
    let mut out = String::new();
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let inside = |from: usize| after[from..].split_once('}').unwrap();
        let (kind, after_kind) = after.split_at(1);
        rest = match kind {
            "n" | "t" | "e" => {
                out.push_str(match kind {
                    "n" => "\n",
                    "t" => "\t",
                    _ => "\x1b",
                });
                after_kind
            }
            "u" => {
                let (code, rest) = inside(2);
                out.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
                rest
            }
            _ => {
                let (inside, rest) = inside(1);
                let (repeated, times) = inside.split_once('*').unwrap();
                out.push_str(&repeated.repeat(times.parse().unwrap()));
                rest
            }
        };
    }
    out + rest
}

fn id(digits: &str) -> Vec<u8> {
    if digits == "-" { vec![] } else { digits.parse::<u64>().unwrap().to_be_bytes().to_vec() }
}

fn span(line: &str) -> ResourceSpans {
    let mut fields = line.split('|').map(str::trim);
    let mut next = || fields.next().unwrap_or_else(|| panic!("too few fields: {line}"));
    // A time is counted from the start of the trace; `zero` is the time 0, `max` the last that there is.
    let time = |field: &str| match field {
        "zero" => 0,
        "max" => u64::MAX,
        micros => START_NS.checked_add_signed(micros.parse::<i64>().unwrap() * 1_000).unwrap(),
    };
    let (span_id, parent_span_id) = (id(next()), id(next()));
    let (service, name) = (text(next()), text(next()));
    let (start_time_unix_nano, end_time_unix_nano) = (time(next()), time(next()));
    let mut span = Span { span_id, parent_span_id, name, start_time_unix_nano, end_time_unix_nano, ..Span::default() };
    for extra in fields {
        let (kind, what) = extra.split_once(':').unwrap();
        match kind {
            "error" => span.status = Some(Status { code: 2, message: text(what.trim()) }),
            "kind" => {
                let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
                span.kind = kinds.iter().position(|kind| *kind == what.trim()).unwrap() as i32;
            }
            "attribute" => {
                let (key, value) = what.split_once('=').unwrap();
                span.attributes.push(attribute(key.trim(), &text(value)));
            }
            "exception" => {
                let (kind, message) = what.split_once(':').unwrap();
                let attributes = vec![
                    attribute("exception.type", &text(kind.trim())),
                    attribute("exception.message", &text(message.trim())),
                ];
                span.events.push(Event { name: "exception".into(), attributes, ..Event::default() });
            }
            other => panic!("unknown field {other}"),
        }
    }
    let attributes = if service.is_empty() { vec![] } else { vec![attribute("service.name", &service)] };
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

fn picture(tree: &Tree, reasons: Option<&[String]>, style: Style) -> String {
    drawn(tree, &Facts::of(tree), reasons, Times::AsSent, style)
}

fn drawn(tree: &Tree, facts: &Facts, reasons: Option<&[String]>, times: Times, style: Style) -> String {
    let mut out = Vec::new();
    let subject = Subject { tree, facts, trace_id: &"7".repeat(32), reasons, times, all: false };
    draw(&mut out, subject, style).unwrap();
    String::from_utf8(out).unwrap()
}

/// Draws each case of a file, from its title, what is given, and its width, and shows which ones come out otherwise.
pub(crate) fn check_pictures(file: &str, picture: impl Fn(&str, &str, usize) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let cases = std::fs::read_to_string(&path).unwrap();
    let (preface, cases) = cases.split_once("=== ").unwrap();
    let mut rewritten = preface.to_owned();
    let mut wrong = Vec::new();
    for case in cases.split("\n=== ") {
        let (title, body) = case.split_once('\n').unwrap();
        let (given, expected) = body.split_once("---\n").unwrap_or_else(|| panic!("{title} has no ---"));
        let width = title.split_once("width ").map_or(80, |(_, width)| width.parse().unwrap());
        let drawn = picture(title, given, width);
        for line in drawn.lines() {
            assert!(line.width() <= width, "{title}: too wide: {line}");
            assert!(!line.chars().any(char::is_control), "{title}: {line:?}");
        }
        // Editors cut off spaces at the ends of lines.
        let drawn: String = drawn.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        if drawn.trim_end() != expected.trim_end() {
            wrong.push(format!("{title}\nexpected:\n{expected}\ndrawn:\n{drawn}"));
        }
        rewritten.push_str(&format!("=== {title}\n{given}---\n{}\n\n", drawn.trim_end()));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{}\n", rewritten.trim_end())).unwrap();
    } else {
        assert!(wrong.is_empty(), "{}\nUPDATE_EXPECT=1 rewrites {}", wrong.join("\n"), path.display());
    }
}

/// The trace of some lines.
pub(crate) fn tree(lines: &str) -> Tree {
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    Tree::build(TracesData { resource_spans: lines.map(span).collect() }).with_calls_joined()
}

#[test]
fn pictures_are_as_expected() {
    check_pictures("waterfall.txt", |title, given, width| {
        let (tree, style) = (tree(given), Style { width, colour: false });
        if !title.ends_with("fixed") {
            return picture(&tree, None, style);
        }
        let skews = skews(&tree);
        let fixed = corrected(&tree, &skews);
        drawn(&fixed, &Facts { skews, ..Facts::of(&fixed) }, None, Times::of(&tree, &fixed), style)
    });
}

#[test]
fn colours_come_and_go_in_pairs_and_change_nothing_else() {
    let tree = Tree::build(TracesData { resource_spans: vec![span("1 | - | a | b | 0 | 9 | error: bad")] });
    let coloured = picture(&tree, None, Style { width: 80, colour: true });
    assert_eq!(coloured.matches("\x1b[0m").count() * 2, coloured.matches("\x1b[").count());
    assert!(coloured.contains("\x1b[31m✗ b"), "{coloured}");
    let mut plain = coloured;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[36m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, picture(&tree, None, Style { width: 80, colour: false }));
}

#[test]
fn all_siblings_are_drawn_when_all_are_asked_for() {
    let calls: String = (2..20).map(|n| format!("{n} | 1 | a | call | {n} | {}\n", n + 1)).collect();
    let tree = tree(&format!("1 | - | a | root | 0 | 20\n{calls}"));
    let subject = Subject {
        tree: &tree,
        facts: &Facts::of(&tree),
        trace_id: "7",
        reasons: None,
        times: Times::AsSent,
        all: true,
    };
    let mut out = Vec::new();
    draw(&mut out, subject, Style { width: 80, colour: false }).unwrap();
    let drawn = String::from_utf8(out).unwrap();
    assert_eq!(drawn.lines().filter(|line| line.starts_with(['├', '└'])).count(), 18, "{drawn}");
    assert!(!drawn.contains("--all"), "{drawn}");
}

#[test]
fn an_incomplete_answer_says_so_and_why() {
    let tree = Tree::build(TracesData { resource_spans: vec![span("1 | - | a | b | 0 | 9")] });
    let reasons = ["agent \x1b[2Jx did not answer".to_owned()];
    let drawn = picture(&tree, Some(&reasons), Style { width: 80, colour: false });
    assert!(drawn.contains("incomplete: spans may be missing\n  agent \u{fffd}[2Jx did not answer\n"), "{drawn}");
    let nothing = picture(&Tree::default(), Some(&reasons), Style { width: 80, colour: false });
    assert!(nothing.contains("0 spans") && nothing.contains("did not answer"), "{nothing}");
}

#[test]
fn ten_thousand_spans_in_a_chain_are_drawn_in_narrow_columns() {
    let chain = (1..=10_000).map(|n| span(&format!("{n} | {} | s | n | {n} | 20000", n - 1))).collect();
    let drawn = picture(&Tree::build(TracesData { resource_spans: chain }), None, Style { width: 60, colour: false });
    assert!(drawn.lines().all(|line| line.width() <= 60));
    assert!(drawn.lines().last().unwrap().starts_with("⋯9999 s"), "{:?}", drawn.lines().last());
}
