//! What is said about traces, by cases in files (`tests/analysis/README.md` says how they are written) and by laws.

mod analysis {
    mod cases;
    mod laws;
    mod traces;
}
