//! What is not answered.

use std::fs;

use clew_sql::SqlError;

use super::{
    ask::{LIMITS, ask},
    shop::shop,
    store,
};

#[test]
fn what_does_anything_but_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.csv");
    let path = file.display();
    fs::write(&file, "a\n1\n").unwrap();
    let queries = [
        format!("COPY (SELECT 1) TO '{path}' STORED AS CSV"),
        format!("COPY spans TO '{path}'"),
        format!("EXPLAIN COPY spans TO '{path}'"),
        format!("EXPLAIN ANALYZE COPY spans TO '{path}'"),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'"),
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        format!("SELECT * FROM read_csv('{path}')"),
        format!("SELECT * FROM read_parquet('{path}')"),
        "SELECT * FROM 'http://127.0.0.1:1/x.parquet'".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        "CREATE FUNCTION f() RETURNS INT RETURN 1".to_owned(),
        "CREATE SCHEMA s".to_owned(),
        "DROP TABLE spans".to_owned(),
        "ALTER TABLE spans ADD COLUMN x INT".to_owned(),
        "INSERT INTO spans SELECT * FROM spans".to_owned(),
        "INSERT INTO resources VALUES (1)".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO resources SELECT * FROM resources".to_owned(),
        "UPDATE resources SET resource_id = 1".to_owned(),
        "DELETE FROM resources".to_owned(),
        "TRUNCATE TABLE resources".to_owned(),
        "MERGE INTO resources USING spans ON true WHEN MATCHED THEN DELETE".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "EXECUTE p".to_owned(),
        "BEGIN".to_owned(),
        "COMMIT".to_owned(),
        "GRANT SELECT ON spans TO x".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "SELECT 1; DROP TABLE spans".to_owned(),
        "SELECT repeat('x', 2000000000)".to_owned(),
        "SELECT lpad(name, 2000000000) FROM spans".to_owned(),
        "SELECT range(1, 2000000000)".to_owned(),
        "SELECT array_repeat(1, 2000000000)".to_owned(),
        String::new(),
        "-- nothing".to_owned(),
        "nonsense".to_owned(),
    ];
    store::ask(&shop(), 1, |snapshot| {
        for query in &queries {
            let answer = ask(snapshot, query, LIMITS);
            assert!(matches!(&answer, Err(SqlError::Invalid(why)) if !why.is_empty()), "{query}: {answer:?}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "a\n1\n");
        assert!(ask(snapshot, "SELECT count(*) FROM spans", LIMITS).unwrap().contains("| 4 "));
    });
}

#[test]
fn what_the_engine_would_take_for_something_else_or_cannot_do_is_said() {
    let queries = [
        ("SELECT count(*) FROM spans TABLESAMPLE BERNOULLI(10)", "random()"),
        ("SELECT name FROM spans WHERE name SIMILAR TO 'GET%'", "LIKE"),
        ("SELECT name FROM spans WHERE name ~ '(('", "regex"),
        ("SELECT max(attributes) FROM spans", ""),
        ("SELECT count(*) FROM spans GROUP BY row_number() OVER ()", "subquery"),
    ];
    store::ask(&shop(), 1, |snapshot| {
        for (query, why) in queries {
            match ask(snapshot, query, LIMITS) {
                Err(SqlError::Invalid(said)) => {
                    assert!(said.contains(why) && said.len() < 500 && !said.contains("bug report"), "{query}: {said}");
                }
                answer => panic!("{query}: {answer:?}"),
            }
        }
        let entries = "SELECT cardinality(map_entries(attributes)) FROM events LIMIT 1";
        assert!(!matches!(ask(snapshot, entries, LIMITS), Err(SqlError::Failed(_))));
        // A word in quotes is a name.
        assert!(ask(snapshot, "SELECT 1 AS \"tablesample\"", LIMITS).is_ok());
    });
}

#[test]
fn long_and_deep_queries_are_answered_or_refused() {
    store::ask(&shop(), 1, |snapshot| {
        let terms = |count: usize| vec!["duration = 1"; count].join(" OR ");
        let any = |count: usize| format!("SELECT count(*) FROM spans WHERE {}", terms(count));
        assert!(ask(snapshot, &any(300), LIMITS).unwrap().contains("| 0 "));
        assert!(ask(snapshot, &format!("SELECT {}", vec!["1"; 990].join("+")), LIMITS).is_ok());
        let ids: Vec<String> = (0..5_000).map(|id| format!("'{id:016x}'")).collect();
        let listed = format!("SELECT count(*) FROM spans WHERE span_id IN ({})", ids.join(","));
        assert!(ask(snapshot, &listed, LIMITS).unwrap().contains("| 4 "));
        let refused = |query: &str, why: &str| match ask(snapshot, query, LIMITS) {
            Err(SqlError::Invalid(said)) => assert!(said.contains(why), "{said}"),
            answer => panic!("{}: {answer:?}", &query[..40]),
        };
        let joined = ask(snapshot, &format!("SELECT {} FROM spans LIMIT 1", vec!["name"; 490].join("||")), LIMITS);
        assert!(joined.unwrap().contains("GET /"));
        refused(&any(400), "IN (...)");
        refused(&format!("SELECT '{}'", "x".repeat(300_000)), "bytes");
        refused(&format!("SELECT {}1", "- ".repeat(900)), "");
        refused(&format!("SELECT {}true", "NOT ".repeat(900)), "");
        refused(&format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000)), "");
        refused(&format!("{}SELECT 1{}", "SELECT * FROM (".repeat(300), ")".repeat(300)), "");
        refused(&format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(240), " END".repeat(240)), "");
    });
}
