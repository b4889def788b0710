//! The allocator of every program that stores spans: mimalloc.
//!
//! glibc's took a fifth of the time of a lookup over many blocks, and what a flush had freed served no other thread: it stayed resident
//! (docs/benchmarks.md). It asks for no huge pages (the crate's feature `no_thp`): with them more is resident, and nothing is faster.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_get, mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, of which the crate has no name: how long free pages are kept, in milliseconds.
const PURGE_DELAY: mi_option_t = 15;
/// What it is when nobody has set it.
const DEFAULT: c_long = 1_000;
/// At 10,000 spans/s 161 MiB were resident at most with the default, 130 with this, at the same CPU.
const MILLISECONDS: c_long = 10;

/// Has pages that nobody uses go back to the system soon, unless `MIMALLOC_PURGE_DELAY` in the environment says when. For the start of a
/// program, before there are other threads.
pub fn give_back_soon() {
    #[expect(unsafe_code, reason = "the allocator has no safe interface for it")]
    // SAFETY: the functions take no pointers, refuse options that there are not, and read and write a static number of the allocator's:
    // nobody else does while there is one thread, and one that did would see one value or the other. In another version of mimalloc
    // the number may mean another option: only one with the same default would be set, and the test would fail.
    unsafe {
        if mi_option_get(PURGE_DELAY) == DEFAULT {
            mi_option_set_default(PURGE_DELAY, MILLISECONDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_are_free_go_back_soon() {
        give_back_soon();
        #[expect(unsafe_code, reason = "the allocator has no safe interface for it")]
        // SAFETY: as above.
        let delay = unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay, MILLISECONDS, "this version of mimalloc has its options in another order");
    }
}
