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

/// Folds the numbers of a range into as many states as there are processors. Panics when `work` does.
pub fn fold<S: Send, E: Send>(
    range: Range<usize>,
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    let processors = thread::available_parallelism().map_or(1, usize::from).min(range.len()).max(1);
    let next = AtomicUsize::new(range.start);
    let run = || {
        let mut state = begin();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= range.end {
                return Ok(state);
            }
            if let Err(error) = work(&mut state, at) {
                // Nobody needs the rest.
                next.store(range.end, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..processors).map(|_| scope.spawn(run)).collect();
        let mut states = vec![run()?];
        for other in others {
            states.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(states)
    })
}
