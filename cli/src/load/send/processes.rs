//! What other processes used during a run: CPU time and memory, from /proc.

use std::fs;

/// Clock ticks a second in /proc/PID/stat: USER_HZ, which is 100 on every architecture that Linux runs Rust on.
const TICKS_PER_S: f64 = 100.0;

/// A process that is watched from the start of a run to its end.
#[derive(Debug)]
pub(crate) struct Watched {
    pid: u32,
    name: String,
    cpu_start_s: f64,
    last: Sample,
    rss_start: u64,
    rss_peak: u64,
    gone: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    /// User and system time of all threads, including those that have ended.
    cpu_s: f64,
    /// Bytes.
    rss: u64,
    /// Highest ever, in bytes.
    high_water: u64,
}

/// What it used.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Usage {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_start_bytes: u64,
    /// Highest of the samples taken five times a second.
    pub(crate) rss_peak_bytes: u64,
    pub(crate) rss_end_bytes: u64,
    /// Highest since the process started, by the kernel's count.
    pub(crate) high_water_bytes: u64,
    /// The process ended before the run did; its figures are the last that were seen.
    pub(crate) gone: bool,
}

impl Watched {
    /// Begins to watch; none when there is no such process.
    pub(crate) fn start(pid: u32) -> Option<Self> {
        let (name, first) = sample(pid)?;
        let Sample { cpu_s: cpu_start_s, rss, .. } = first;
        Some(Self { pid, name, cpu_start_s, last: first, rss_start: rss, rss_peak: rss, gone: false })
    }

    /// Takes a sample.
    pub(crate) fn look(&mut self) {
        match sample(self.pid) {
            Some((_, sample)) => {
                self.rss_peak = self.rss_peak.max(sample.rss);
                self.last = sample;
            }
            None => self.gone = true,
        }
    }

    /// Takes a last sample and adds up.
    pub(crate) fn finish(mut self) -> Usage {
        self.look();
        Usage {
            pid: self.pid,
            name: self.name,
            cpu_seconds: self.last.cpu_s - self.cpu_start_s,
            rss_start_bytes: self.rss_start,
            rss_peak_bytes: self.rss_peak,
            rss_end_bytes: self.last.rss,
            high_water_bytes: self.last.high_water,
            gone: self.gone,
        }
    }
}

fn sample(pid: u32) -> Option<(String, Sample)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character, so what follows is found from the last one.
    let (head, fields) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    // utime and stime are fields 14 and 15, counted from 1; the first after the name is field 3.
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let rss = kib("VmRSS:")? * 1024;
    Some((name, Sample { cpu_s: ticks as f64 / TICKS_PER_S, rss, high_water: kib("VmHWM:")? * 1024 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_is_seen() {
        let mut watched = Watched::start(std::process::id()).unwrap();
        let memory = vec![1u8; 64 << 20];
        let mut sum = 0u64;
        let until = std::time::Instant::now() + std::time::Duration::from_millis(200);
        while std::time::Instant::now() < until {
            sum += memory.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>();
        }
        watched.look();
        drop(memory);
        let usage = watched.finish();
        assert!(sum > 0 && usage.cpu_seconds > 0.05, "{usage:?}");
        // Other tests of this process give memory back meanwhile: only what is there at one moment can be told.
        assert!(usage.rss_peak_bytes >= 64 << 20 && usage.high_water_bytes >= usage.rss_end_bytes, "{usage:?}");
        assert!(!usage.gone);
    }

    #[test]
    fn a_process_that_is_not_there_is_not_watched() {
        assert!(Watched::start(u32::MAX).is_none());
    }
}
