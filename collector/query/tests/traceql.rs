//! TraceQL by cases in files: `tests/traceql/README.md` says how they are written.

mod traceql {
    mod cases;
    mod executor;
    mod language;
    mod laws;
    mod meaning;
    #[path = "../stored/opened.rs"]
    mod opened;
    mod traces;
    mod words;
}
