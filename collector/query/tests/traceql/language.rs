//! What is read, and what is refused with which words.

use clew_query::traceql::{MAX_BYTES, MAX_PATTERNS, parse};

use super::cases;

#[test]
fn queries_are_read_and_written_canonically() {
    let cases = cases::run("parse", &["=> "], |query| match parse(query) {
        Ok(query) => {
            let canonical = query.to_string();
            assert_eq!(parse(&canonical).as_ref(), Ok(&query), "read again: {canonical}");
            format!("=> {canonical}")
        }
        Err(error) => format!("=> refused: {error}"),
    });
    assert!(cases >= 200, "only {cases} cases were found");
}

#[test]
fn queries_are_refused_with_their_place_and_reason() {
    let cases = cases::run("refuse", &["!! "], |query| match parse(query) {
        Ok(query) => format!("!! read: {query}"),
        Err(error) => format!("!! {error}"),
    });
    assert!(cases >= 100, "only {cases} cases were found");
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for (open, middle, close) in [
        ("{ ", "", ""),
        ("{ (", ".a", ")"),
        ("{ !", ".a", ""),
        ("{ -", ".a", ""),
        ("{ - (", ".a", ")"),
        ("{ .a ^ ", ".a", ""),
        ("{ .a + ", ".a", ""),
        ("{ .a = ", ".a", ""),
        ("(", "{ }", ")"),
        ("- ", "1", ""),
        ("({ } | ", "{ }", ")"),
        ("{ } >> ", "{ }", ""),
        ("({ } >> ", "{ }", ")"),
        ("1 + ", "count() > 1", ""),
        ("((1 + ", "count() > 1", ")"),
        ("({ } | rate()) + ", "({ } | rate())", ""),
    ] {
        for nested in [101, 1000, 60_000 / open.len()] {
            let (first, repeated) =
                if let Some(repeated) = open.strip_prefix("{ ") { ("{ ", repeated) } else { ("", open) };
            let query = format!("{first}{}{middle}{}", repeated.repeat(nested), close.repeat(nested));
            assert!(parse(&query).is_err(), "{nested} times {open}");
        }
    }
    let stages = format!("{{ }} | rate(){}", " | topk(1)".repeat(6000));
    assert!(parse(&stages).is_err());
}

#[test]
fn the_deepest_queries_that_are_read_need_little_stack() {
    // Half of what threads have otherwise, in builds that are not optimised.
    let deepest = || {
        for (open, middle, close) in [
            ("(", "{ .a }", ")"),
            ("({ } | ", "{ .a }", ")"),
            ("({ } >> ", "{ .a }", ")"),
            ("({ } | rate()) + (", "({ } | rate())", ")"),
        ] {
            deepest_query("", open, middle, close, "");
        }
        deepest_query("", "(1 + ", "count()", ")", " > 1");
        for (open, close) in
            [("(", ")"), ("!", ""), ("-", ""), ("(1 + ", ")"), ("(.a || ", ")"), (".a ^ ", ""), (".a = (", ")")]
        {
            deepest_query("{ .b = (", open, ".a", close, ") }");
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(deepest).unwrap().join().unwrap();
}

/// Reads and writes the query with as many repetitions as are allowed.
fn deepest_query(before: &str, open: &str, middle: &str, close: &str, after: &str) {
    let query = |count: usize| format!("{before}{}{middle}{}{after}", open.repeat(count), close.repeat(count));
    let count = (0..200).take_while(|count| parse(&query(*count)).is_ok()).last();
    let read = parse(&query(count.unwrap_or(0)));
    assert!(count.is_some_and(|count| count >= 20), "{open}: {read:?}");
    assert_eq!(parse(&read.as_ref().unwrap().to_string()), read);
}

#[test]
fn long_lists_and_pipelines_are_no_nesting() {
    let any: Vec<_> = (0..2000).map(|number| format!(".id = {number}")).collect();
    for query in
        [format!("{{ {} }}", any.join(" || ")), format!("{{ {} }}", any.join(" && ")), vec!["{ }"; 5000].join(" | ")]
    {
        let read = parse(&query).unwrap();
        assert_eq!(read.to_string(), query);
    }
}

#[test]
fn a_query_that_is_too_long_is_not_read() {
    let query = format!("{{ .a = `{}` }}", "x".repeat(MAX_BYTES));
    let error = parse(&query).unwrap_err();
    assert_eq!(error.position.offset, MAX_BYTES);
}

#[test]
fn regular_expressions_are_counted() {
    let query = |count| format!("{{ {} }}", vec![".a =~ `x`"; count].join(" || "));
    assert!(parse(&query(MAX_PATTERNS)).is_ok());
    assert!(parse(&query(MAX_PATTERNS + 1)).is_err());
}
