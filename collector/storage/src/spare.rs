//! Memory that is free goes back to the system.
//!
//! glibc gives threads arenas of their own and keeps what is freed there for their next need. What a flush or a merge had freed
//! served no other thread, and stayed resident: 180 MiB at 10,000 spans/s where 129 do (docs/benchmarks.md), and 1.5 GiB after a
//! time of full load.

/// Gives the system the pages that the allocator has and nobody uses; about a millisecond for each ten MiB.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator has no safe interface")]
    // SAFETY: the function takes no pointer and changes no memory that is in use; threads may call it at any time (MT-Safe in
    // glibc's manual, where it is said to take each arena's lock).
    unsafe {
        libc::malloc_trim(0);
    }
}
