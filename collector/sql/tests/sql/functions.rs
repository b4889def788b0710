//! What functions give.

use super::{
    ask::{LIMITS, ask},
    shop::shop,
    store,
};

#[test]
fn functions_give_what_they_gave_without_being_counted() {
    let long = "x".repeat(100_000);
    store::ask(&shop(), 1, |snapshot| {
        for (expression, value) in [
            ("replace('a-b', '-', '+')", "a+b"),
            ("regexp_replace('a12b3', '[0-9]+', '#', 'g')", "a#b#"),
            ("regexp_replace(name, '(.).*', '\\1\\1')", "cc"),
            ("name || '/' || service_name", "charge/bank"),
            ("concat(name, NULL, service_name)", "chargebank"),
            ("name || NULL", ""),
            ("concat_ws(', ', name, service_name, duration)", "charge, bank, 55000000"),
            ("upper(substr(name, 2, 3))", "HAR"),
            ("initcap(reverse(name))", "Egrahc"),
            ("to_char(start_time, '%Y')", "2026"),
            ("array_to_string(array_sort(make_array(3, 1, 2)), '-')", "1-2-3"),
            ("(make_array(1, 2) || make_array(3))[3]", "3"),
            ("coalesce(NULL, name)", "charge"),
            ("nvl(NULL, name)", "charge"),
            ("nvl2(name, 'yes', 'no')", "yes"),
            ("named_struct('a', name)['a']", "charge"),
            ("struct(name)['c0']", "charge"),
            ("map(make_array('k'), make_array(name))['k']", "charge"),
            ("split_part('a,b', ',', 2)", "b"),
            ("overlay(name placing 'X' from 1 for 2)", "Xarge"),
            ("greatest(name, 'a')", "charge"),
            ("CASE WHEN length(name) > 2 THEN left(name, 2) ELSE name || name END", "ch"),
            ("max(name) OVER ()", "charge"),
            ("arrow_typeof(name || 'x')", "Utf8View"),
        ] {
            let query = format!("SELECT {expression} AS x FROM spans WHERE name = 'charge'");
            let answer = ask(snapshot, &query, LIMITS).unwrap_or_else(|error| panic!("{query}: {error}"));
            let cell = answer.lines().nth(3).unwrap().trim_matches(['|', ' ']);
            assert_eq!(cell, value, "{query}");
        }
        let query = "SELECT name || '!' FROM spans WHERE name = 'charge'";
        assert!(ask(snapshot, query, LIMITS).unwrap().contains("| spans.name || Utf8(\"!\") |"));
        let listed =
            "SELECT count(*) FROM (SELECT unnest(map_keys(attributes)) AS key FROM spans) WHERE key IS NOT NULL";
        assert!(ask(snapshot, listed, LIMITS).unwrap().contains("| 1 "));
        let counted = "SELECT count(DISTINCT l || 'x') FROM (SELECT replace('{}', 'x', 'y') AS l FROM spans)";
        assert!(ask(snapshot, &counted.replace("{}", &long), LIMITS).unwrap().contains("| 1 "));
        // Rows are the same however many come together.
        let many = format!("SELECT count(*) AS n FROM generate_series(1, 20000) WHERE concat(value) <> '{long}'");
        assert!(ask(snapshot, &many, LIMITS).unwrap().contains("| 20000 "));
    });
}
