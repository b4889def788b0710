//! How much memory the allocator keeps.

/// Lets all threads have their memory from one place, unless the environment says otherwise (`MALLOC_ARENA_MAX`). To be called
/// first of all.
///
/// Each thread of glibc's allocator takes from one of up to sixteen arenas, and what it gives back serves only those that
/// use the same one. Here spans come on one thread, become a block on another and are merged on a third: at 10,000 spans/s
/// 88 MiB that are in use at most then took 200 MiB, and take 120 MiB with one arena, at the same CPU-seconds (`docs/benchmarks.md`).
#[allow(unsafe_code, reason = "nothing else sets it from within")]
pub fn share() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        // SAFETY: it takes two numbers by value and changes a setting of the allocator, under the allocator's own lock.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}
