//! Work on all processors.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;

/// What `work` gives for each number of a range, in order. Panics when it does.
pub fn map<T: Send>(range: Range<usize>, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, usize::from).min(range.len());
    if processors <= 1 {
        return range.map(work).collect();
    }
    let next = AtomicUsize::new(range.start);
    let done = Mutex::new(Vec::with_capacity(range.len()));
    let run = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= range.end {
                break;
            }
            let result = work(at);
            done.lock().push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..processors {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
