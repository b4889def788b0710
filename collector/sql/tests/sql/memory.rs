//! A query has so much memory and no more.

use std::fs;

use clew_sql::{Limits, SqlError};

use super::{
    ask::{LIMITS, ask},
    shop::shop,
    store,
};

#[test]
fn a_query_that_needs_more_memory_than_it_may_have_ends_with_an_error() {
    store::ask(&shop(), 1, |snapshot| {
        let limits = Limits { memory_bytes: 1 << 20, ..LIMITS };
        for query in [
            "SELECT value, count(*) FROM generate_series(1, 10000000) GROUP BY value",
            "SELECT a.value FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.value = b.value",
            "SELECT array_agg(value) FROM generate_series(1, 10000000)",
            "SELECT * FROM generate_series(1, 3000000) ORDER BY value DESC",
        ] {
            let answer = ask(snapshot, query, limits);
            assert!(matches!(answer, Err(SqlError::TooMuch(_))), "{query}: {answer:?}");
        }
    });
}

#[test]
fn groups_of_many_kinds_are_refused_and_lists_count_for_what_they_take() {
    let keys: Vec<String> = (1..=12).map(|at| format!("value % {at}")).collect();
    let cube = |count: usize| {
        format!("SELECT count(*) FROM generate_series(1, 100000) GROUP BY CUBE({})", keys[..count].join(", "))
    };
    let both = "SELECT count(*) FROM generate_series(1, 10) GROUP BY CUBE(value, value % 2, value % 3, value % 4), CUBE(value % 5, value % 6, value % 7)";
    let lists = "SELECT sum(cardinality(x)) FROM (SELECT a.value, array_agg(concat('name of ', b.value)) AS x \
                 FROM generate_series(1, 2000) a CROSS JOIN generate_series(1, 10000) b GROUP BY 1)";
    store::ask(&shop(), 1, |snapshot| {
        for query in [&*cube(7), &*cube(12), both] {
            let answer = ask(snapshot, query, LIMITS);
            assert!(
                matches!(&answer, Err(SqlError::Invalid(why)) if why.contains("64 are the most")),
                "{query}: {answer:?}"
            );
        }
        assert!(ask(snapshot, &cube(6).replace("100000", "10"), LIMITS).is_ok());
        let answer = ask(snapshot, lists, LIMITS);
        assert!(matches!(answer, Err(SqlError::TooMuch(_))), "{answer:?}");
        // A list of 1.6 MB counts as four times that.
        let list = "SELECT cardinality(array_agg(value)) FROM generate_series(1, 200000)";
        let answer = ask(snapshot, list, Limits { memory_bytes: 6 << 20, ..LIMITS });
        assert!(matches!(answer, Err(SqlError::TooMuch(_))), "{answer:?}");
        let few = "SELECT cardinality(array_agg(value)) FROM generate_series(1, 10000)";
        assert!(ask(snapshot, few, LIMITS).unwrap().contains("| 10000"));
    });
    assert!(peak() < 2 << 10, "{} MiB", peak());
}

/// The most memory that this process had, in MiB. Tests that run at the same time count too.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn rows_of_windows_count_as_memory_of_the_query() {
    let long = "x".repeat(10_000);
    let limits = Limits { memory_bytes: 2 << 20, ..LIMITS };
    let refused = [
        // Wide frames, before a row and after it, and rows that are all alike.
        "SELECT sum(value) OVER (ORDER BY value ROWS BETWEEN 200000 PRECEDING AND CURRENT ROW) AS x",
        "SELECT sum(value) OVER (ORDER BY value ROWS BETWEEN CURRENT ROW AND 200000 FOLLOWING) AS x",
        "SELECT count(*) OVER (ORDER BY 1) AS x",
        "SELECT lead(value, 200000) OVER (ORDER BY value) AS x",
        // Partitions of which each goes on until the last row.
        "SELECT sum(value) OVER (PARTITION BY value % 100 ORDER BY value) AS x",
    ];
    let refused = refused.map(|query| format!("SELECT sum(x) FROM ({query} FROM generate_series(1, 300000))"));
    let window = |function: &str| {
        format!(
            "SELECT sum(length(x)) FROM (SELECT {function} AS x FROM (SELECT value, CASE WHEN value = 1 THEN '{long}' END AS t FROM generate_series(1, 200000)))"
        )
    };
    // Each row has a copy of the one long value.
    let copied = [
        "first_value(t) OVER (ORDER BY value)",
        "max(t) OVER ()",
        "min(t) OVER (ORDER BY value ROWS 100000 PRECEDING)",
    ];
    let copied = copied.map(window);
    store::ask(&shop(), 1, |snapshot| {
        for query in refused.iter().chain(&copied) {
            let answer = ask(snapshot, query, limits);
            assert!(matches!(answer, Err(SqlError::TooMuch(_))), "{}: {answer:?}", &query[..80]);
        }
        for function in ["array_agg(value)", "string_agg(concat(value), ',')"] {
            for window in ["()", "(ORDER BY value)", "(PARTITION BY value % 2)", "(ORDER BY value ROWS 1 PRECEDING)"] {
                let query = format!("SELECT {function} OVER {window} FROM generate_series(1, 10)");
                let answer = ask(snapshot, &query, LIMITS);
                assert!(
                    matches!(&answer, Err(SqlError::Invalid(why)) if why.contains("GROUP BY")),
                    "{query}: {answer:?}"
                );
            }
        }
    });
    assert!(peak() < 2 << 10, "{} MiB", peak());
}

/// `inner` with something done so many times to the column `x`, each time to what the last one gave.
fn again(inner: &str, times: usize, what: &str) -> String {
    let steps = (1..=times).map(|at| format!(", t{at} AS (SELECT {what} AS x FROM t{})", at - 1));
    format!("WITH t0 AS ({inner}){} SELECT x FROM t{times}", steps.collect::<String>())
}

#[test]
fn results_of_functions_count_as_memory_of_the_query() {
    let (a, b) = ("a".repeat(120_000), "b".repeat(120_000));
    let rows = "SELECT concat('n', value) AS x FROM generate_series(1, 10000)";
    let list = "SELECT make_array(value, value) AS x FROM generate_series(1, 10000)";
    let queries = [
        format!("SELECT length(replace('{a}', 'a', '{b}'))"),
        format!("SELECT length(regexp_replace('{a}', 'a', '{b}', 'g'))"),
        format!("SELECT length(regexp_replace('{a}', '', '{b}', 'g'))"),
        format!("SELECT cardinality(regexp_match('{a}', '{}a{}'))", "(".repeat(1_000), "+)".repeat(1_000)),
        format!("SELECT length(array_to_string(string_to_array('{a}', NULL), '{b}'))"),
        format!("SELECT sum(length(replace(x, 'n', '{b}'))) FROM ({rows})"),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "x || x")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "concat(x, x)")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "concat_ws('-', x, x, x)")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "overlay(x placing x from 1 for 1)|| x")),
        format!("SELECT sum(length(x)) FROM ({})", again(rows, 25, "replace(x, 'n', x)")),
        format!("SELECT sum(cardinality(x)) FROM ({})", again(list, 25, "array_concat(x, x)")),
        format!("SELECT sum(cardinality(x)) FROM ({})", again(list, 25, "x || x")),
        format!("SELECT sum(cardinality(x)) FROM ({})", again(list, 25, "make_array(x, x)")),
        // Lists that become rows, with a long text beside each value.
        format!(
            "SELECT sum(length(t || c)) FROM (SELECT unnest(string_to_array('{a}', NULL)) AS c, concat('{b}', random()) AS t)"
        ),
    ];
    store::ask(&shop(), 1, |snapshot| {
        for query in &queries {
            let refused = match ask(snapshot, query, LIMITS) {
                Err(SqlError::TooMuch(_)) => true,
                // Of constants there may be less.
                Err(SqlError::Invalid(why)) => why.contains("constants") && !query.contains("generate_series"),
                _ => false,
            };
            assert!(refused, "{}: {:?}", &query[..60], ask(snapshot, query, LIMITS));
        }
        // A window has all rows, until the last one has come.
        let window =
            "SELECT sum(n + value) FROM (SELECT count(*) OVER () AS n, value FROM generate_series(1, 2000000))";
        let answer = ask(snapshot, window, Limits { memory_bytes: 8 << 20, ..LIMITS });
        assert!(matches!(answer, Err(SqlError::TooMuch(_))), "{answer:?}");
        let constant = format!("SELECT cardinality(string_to_array('{a}', NULL))");
        let answer = ask(snapshot, &constant, LIMITS);
        assert!(matches!(&answer, Err(SqlError::Invalid(why)) if why.contains("constants")), "{answer:?}");
        // The type of each has that of the last one twice.
        for what in
            ["named_struct('a', x, 'b', x)", "struct(x, x)", "map(make_array(x), make_array(x))", "{a: x, b: x}"]
        {
            let answer = ask(snapshot, &again(rows, 60, what), LIMITS);
            assert!(matches!(&answer, Err(SqlError::Invalid(why)) if why.contains("structs")), "{what}: {answer:?}");
        }
        let fixed = "SELECT CAST(make_array(1) AS BIGINT[1000000000])";
        assert!(matches!(ask(snapshot, fixed, LIMITS), Err(SqlError::Invalid(why)) if why.contains("fixed length")));
    });
    assert!(peak() < 2 << 10, "{} MiB", peak());
}
