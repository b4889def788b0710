//! Work that is done on all processors at once.

use std::{panic::resume_unwind, sync::LazyLock, thread};

/// How many processors there are.
pub fn processors() -> usize {
    static PROCESSORS: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *PROCESSORS
}

/// Does `work` on so many threads at once, of which the caller's is one, but on no more than there are processors; gives what each made
/// of it. The work says itself who does what.
pub fn side_by_side<T: Send>(threads: usize, name: &str, work: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        // One that cannot be started leaves its share to the others.
        let spawn = |_| thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, &work).ok();
        let beside: Vec<_> = (1..threads.min(processors())).map_while(spawn).collect();
        let mut done = vec![work()];
        done.extend(beside.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))));
        done
    })
}
