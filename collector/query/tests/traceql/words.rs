//! Whatever comes in, the parser neither falls over nor changes what it says when it says it again.

use clew_query::traceql::parse;
use proptest::prelude::*;

const WORDS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "|",
    "||",
    "&&",
    "!",
    "=",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "=~",
    "!~",
    "~",
    ">>",
    "<<",
    "!>",
    "!<",
    "!>>",
    "!<<",
    "&>",
    "&<",
    "&>>",
    "&<<",
    "&~",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    ",",
    "1",
    "0",
    "1.5",
    ".5",
    "1e3",
    "2h45m",
    "10ms",
    "9223372036854775807",
    "9223372036854775808",
    "minInt",
    "maxInt",
    "true",
    "false",
    "nil",
    "ok",
    "error",
    "server",
    "\"a\"",
    "`b`",
    "\"\\n\"",
    "duration",
    "name",
    "status",
    "kind",
    "parent",
    "childCount",
    "rootName",
    "nestedSetParent",
    "span:id",
    "trace:duration",
    "event:name",
    "link:traceID",
    "instrumentation:version",
    ".a",
    "span.b",
    "resource.c",
    "parent.d",
    "parent.span.e",
    "parent.resource.f",
    "event.g",
    "link.h",
    "instrumentation.i",
    "span.\"j k\"",
    ".\"0\"",
    "parent.\"span.x\"",
    "//",
    "\n",
    "by",
    "coalesce",
    "select",
    "count",
    "min",
    "max",
    "avg",
    "sum",
    "rate",
    "count_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "sum_over_time",
    "compare",
    "topk",
    "bottomk",
    "with",
    "sample",
    "most_recent",
    "()",
    "{}",
    "x",
];

/// Expressions inside of braces, by their grammar.
pub fn expr() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i32>().prop_map(|number| number.to_string()),
        (-1e6..1e6f64).prop_map(|number| format!("{number:?}")),
        (1..5000u32, prop::sample::select(vec!["ns", "us", "ms", "s", "m", "h", "d"]))
            .prop_map(|(number, unit)| format!("{number}{unit}")),
        prop::sample::select(vec![
            ".a",
            "span.b",
            "duration",
            "parent.c",
            "span:childCount",
            "minInt",
            "event.\"e e\""
        ])
        .prop_map(str::to_owned),
    ];
    let number = number.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%", "^"]), inner.clone())
                .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.prop_map(|inner| format!("-{inner}")),
        ]
    });
    let condition = prop_oneof![
        (number.clone(), prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]), number)
            .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
        "[a-z \\\\\"\n\t.*]{0,6}".prop_map(|text| format!("name = {}", quoted(&text))),
        Just("span.\"é ü\" !~ `x.*`".to_owned()),
        Just("status != error".to_owned()),
        Just("kind = server".to_owned()),
        Just(".x = nil".to_owned()),
        Just("span.ok".to_owned()),
    ];
    condition.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("{left} && {right}")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("{left} || {right}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.prop_map(|inner| format!("!({inner})")),
        ]
    })
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

fn spans() -> impl Strategy<Value = String> {
    let relations =
        vec!["&&", "||", ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>", "&>>", "&<", "&<<", "&~"];
    prop_oneof![Just("{ }".to_owned()), expr().prop_map(|expr| format!("{{{expr}}}"))].prop_recursive(
        3,
        8,
        2,
        move |inner| {
            prop_oneof![
                (inner.clone(), prop::sample::select(relations.clone()), inner.clone())
                    .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
                inner.clone().prop_map(|inner| format!("({inner})")),
                (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} | {right})")),
                (inner.clone(), stage()).prop_map(|(left, stage)| format!("({left} | {stage})")),
            ]
        },
    )
}

fn stage() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "count() > 2",
            "avg(duration) + 1s >= 3 * min(duration)",
            "-(count() - 1) < -2 ^ 2",
            "(1 + count()) / 2 = 3",
            "({ status = error } | count()) > ({ kind = server } | by(name) | count() > 1 | count())",
            "2 * ({ .a = 1 } > { } | max(duration) - 1ms) >= max(duration)",
            "by(resource.service.name)",
            "by(duration > 1s && .a = 2)",
            "coalesce()",
            "select(name, .a, event.b)",
        ])
        .prop_map(str::to_owned),
        expr().prop_map(|expr| format!("{{ {expr} }}")),
    ]
}

/// Whole queries.
pub fn query() -> impl Strategy<Value = String> {
    let series = prop::sample::select(vec![
        "rate()",
        "rate() by (name, .a)",
        "quantile_over_time(duration, 0.5, .9, 1)",
        "histogram_over_time(span.a) by (resource.b) > 5",
        "count_over_time() | topk(3) | bottomk(2) <= -1.5",
    ]);
    let metrics = (spans(), series).prop_map(|(spans, series)| format!("{spans} | {series}")).boxed();
    let arithmetic = metrics.clone().prop_map(|metrics| format!("({metrics})")).prop_recursive(3, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/"]), inner.clone())
                .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            inner.clone().prop_map(|inner| format!("({inner} > 1)")),
            inner.clone().prop_map(|inner| format!("2 * ({inner})")),
            inner.prop_map(|inner| format!("({inner}) / -1.5")),
        ]
    });
    prop_oneof![
        (spans(), prop::collection::vec(stage(), 0..4))
            .prop_map(|(spans, stages)| [vec![spans], stages].concat().join(" | ")),
        metrics,
        arithmetic,
    ]
}

/// What can be read is the same when it is written and read again.
fn stable(text: &str) -> Result<bool, TestCaseError> {
    let Ok(query) = parse(text) else { return Ok(false) };
    let canonical = query.to_string();
    let again = parse(&canonical);
    prop_assert_eq!(again.as_ref(), Ok(&query), "{}", canonical);
    prop_assert_eq!(again.map(|query| query.to_string()), Ok(canonical));
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_fall_over(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        stable(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn no_text_in_braces_makes_it_fall_over(text in "\\{[ -~é\n]{0,60}\\}") {
        stable(&text)?;
    }

    #[test]
    fn no_soup_of_words_makes_it_fall_over(words in prop::collection::vec(prop::sample::select(WORDS), 0..40), gap in "[ ]?") {
        stable(&words.join(&gap))?;
    }

    #[test]
    fn what_the_grammar_allows_is_read_and_written_alike(query in query()) {
        prop_assert!(stable(&query)?, "{}: {}", query, parse(&query).unwrap_err());
    }

    #[test]
    fn any_key_and_any_string_survive(key in any::<String>(), text in any::<String>()) {
        use clew_query::traceql::ast::{Attribute, Body, Expr, ExprKind, CompareOp, Field, Literal, Pipeline, Query, Scope,
            SpansetExpr, SpansetKind, Stage};
        prop_assume!(!key.is_empty());
        for (scope, of_parent) in [(Scope::Any, false), (Scope::Any, true), (Scope::Span, true), (Scope::Event, false)] {
            let field = Field::Attribute(Attribute { scope, of_parent, key: key.clone() });
            let expr = |kind| Expr { kind, at: Default::default() };
            let left = Box::new(expr(ExprKind::Field(field)));
            let right = Box::new(expr(ExprKind::Literal(Literal::String(text.clone()))));
            let filter = expr(ExprKind::Compare { op: CompareOp::Eq, left, right });
            let spans = SpansetExpr { kind: SpansetKind::Filter(Some(filter)), at: Default::default() };
            let body = Body::Spans(Pipeline { stages: vec![Stage::Spansets(spans)] });
            let query = Query { body, hints: vec![] };
            prop_assert_eq!(parse(&query.to_string()), Ok(query));
        }
    }
}
