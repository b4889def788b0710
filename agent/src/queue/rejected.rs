//! Batches that a collector refused for good: kept as files that anyone can open, within a budget.

use std::{collections::VecDeque, io, path::PathBuf, sync::Arc};

use clew_common::{
    log::{Disk, Entry, read_whole, replace_whole},
    otlp::record::{Codec, Head},
};
use parking_lot::Mutex;

use crate::metrics::QueueMetrics;

/// The folder `rejected/`. A batch is two files: `<seq>.otlp.zst` (or `.otlp`), an ExportTraceServiceRequest, and
/// `<seq>.reason.txt`.
pub struct Rejected {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    max_bytes: u64,
    kept: Mutex<VecDeque<(String, u64)>>,
    metrics: QueueMetrics,
}

impl Rejected {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, max_bytes: u64, metrics: QueueMetrics) -> io::Result<Self> {
        disk.create_dir_all(&dir)?;
        let mut names = disk.list(&dir)?;
        names.retain(|name| !name.ends_with(".reason.txt"));
        names.sort();
        let mut kept = VecDeque::new();
        for name in names {
            let bytes = disk.open(&dir.join(&name))?.len()?;
            kept.push_back((name, bytes));
        }
        Ok(Self { disk, dir, max_bytes, kept: Mutex::new(kept), metrics })
    }

    /// Keeps a batch and why it was refused; drops and counts the oldest ones past the budget.
    pub fn keep(&self, entry: &Entry, reason: &str) {
        let spans = Head::weigh(entry.kind, &entry.payload);
        self.metrics.rejected_spans(spans);
        if let Err(error) = self.try_keep(entry, reason) {
            self.metrics.evicted_spans("rejected_not_kept", spans);
            tracing::error!(%error, seq = entry.seq, reason, "a refused batch could not be kept");
        }
    }

    fn try_keep(&self, entry: &Entry, reason: &str) -> io::Result<()> {
        let (head, spans_at) = Head::decode(&entry.payload).map_err(io::Error::other)?;
        let body = entry.payload.get(spans_at..).unwrap_or_default();
        let ending = if head.codec == Codec::Zstd { "otlp.zst" } else { "otlp" };
        let name = format!("{:020}.{ending}", entry.seq);
        let mut kept = self.kept.lock();
        replace_whole(&*self.disk, &self.dir.join(reason_file(&name)), reason.as_bytes())?;
        replace_whole(&*self.disk, &self.dir.join(&name), body)?;
        kept.push_back((name, body.len() as u64));
        while kept.iter().map(|(_, bytes)| bytes).sum::<u64>() > self.max_bytes
            && let Some((oldest, _)) = kept.pop_front()
        {
            let reason = read_whole(&*self.disk, &self.dir.join(reason_file(&oldest))).unwrap_or_default();
            tracing::warn!(batch = oldest, reason = %String::from_utf8_lossy(&reason), "the rejected folder is full: dropped its oldest batch");
            self.disk.remove(&self.dir.join(&oldest))?;
            self.disk.remove(&self.dir.join(reason_file(&oldest)))?;
        }
        Ok(())
    }
}

fn reason_file(name: &str) -> String {
    format!("{}.reason.txt", name.split('.').next().unwrap_or_default())
}
