//! Which functions a query may call, and how long their results may be.
//!
//! The engine counts the memory of groups, joins and sorted rows, not that of the values that functions work out. So here:
//!
//! - **A function whose result has no fixed length is counted** (`counted`): before it runs there has to be room for the longest result
//!   that its arguments allow (`longest`), and what it gave is counted for as long as somebody holds it (`account`), in the memory that
//!   the query has for everything. `||` is counted likewise. Numbers, times and booleans need none of that.
//! - **A constant is copied for each row of a batch**, and nothing counts that. So what constants make of each other may not be longer
//!   than queries usually are, and batches have fewer rows the longer the query is ([`Constants`]).
//! - **Functions whose result is as long as a number, or as many as a list says, are left out** ([`LEFT_OUT`]), and those that take
//!   time which grows with the square of a text: nothing stops a function while it runs.
//! - **Aggregates are counted by the engine** after each batch.
//!
//! `tests/functions.txt` has each function of the engine with what becomes of it: a new one is to be read before it is let in.

mod account;
mod counted;
mod longest;
mod rewrite;

use std::sync::Arc;

use datafusion::{
    common::Result,
    execution::{FunctionRegistry, SessionState},
};

pub use account::Account;
pub use longest::bytes_of;
use rewrite::Counting;

/// Functions that are left out, by one of their names.
const LEFT_OUT: [&str; 19] = [
    // As long as a number says.
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "array_resize",
    "range",
    "generate_series",
    // A value for each of a list's, or as many as the longest list has.
    "array_replace_n",
    "array_replace_all",
    "arrays_zip",
    // To lists of a fixed length, which take as much for each null. CAST does the rest.
    "arrow_cast",
    "arrow_try_cast",
    "cast_to_type",
    "try_cast_to_type",
    // Lists become columns of rows with all that the expression names beside them.
    "array_any_match",
    "array_filter",
    "array_first",
    "array_transform",
    // The time grows with the product of the lengths.
    "levenshtein",
];

/// Those that the engine puts something else for before it calls them, which is counted; what `get_field` gives is a part of what it gets.
const NEVER_CALLED: [&str; 4] = ["coalesce", "nvl", "nvl2", "get_field"];

/// How much may be constant.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// What the texts and lists take that functions make of constants, together.
    pub most_bytes: usize,
    /// Rows that are worked on together: so many copies of all constants are 128 MiB.
    pub batch_rows: usize,
}

impl Constants {
    /// Of a query of so many bytes, with its parameters.
    pub fn of(query_bytes: usize) -> Self {
        let most_bytes = query_bytes.max(16 << 10);
        Self { most_bytes, batch_rows: ((128 << 20) / most_bytes).clamp(64, 8192) }
    }
}

/// Has the functions of a session counted.
pub fn count(state: &mut SessionState, account: &Arc<Account>) -> Result<()> {
    for name in LEFT_OUT {
        state.deregister_udf(name)?;
        state.deregister_higher_order_function(name)?;
    }
    state.register_function_rewrite(Arc::new(Counting::new(account.clone())))
}

#[cfg(test)]
mod tests;
