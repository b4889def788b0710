//! SQL over small stores. `CLEW_UPDATE_CASES=1 cargo test -p clew-sql` rewrites what the cases in `tests/cases` give.

mod sql {
    mod ask;
    mod cases;
    mod functions;
    mod memory;
    mod plan;
    mod refused;
    mod shop;
    #[path = "../../../query/tests/stored/store.rs"]
    mod store;
    mod wherever;
}
