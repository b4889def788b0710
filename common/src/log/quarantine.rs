//! Counting damage, and keeping a copy of the segment it is in for people to look at.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use super::disk::{Disk, DiskFile, read_full};
use super::scan::read_tolerant;
use super::segment::file_name;
use super::shared::{Damage, Segment, Shared};
use super::stats::add;

const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn folder(dir: &Path) -> PathBuf {
    dir.join("quarantine")
}

/// How many bytes the copies take; what cannot be looked at counts as nothing.
pub(super) fn used_bytes(disk: &dyn Disk, dir: &Path) -> u64 {
    let folder = folder(dir);
    let names = disk.list(&folder).unwrap_or_default();
    names.iter().filter_map(|name| disk.open(&folder.join(name)).ok()?.len().ok()).sum()
}

/// Counts a damaged range once, however often it is met, and copies the segment at its first.
pub(super) fn note(shared: &Shared, segment: &Segment, file: &dyn DiskFile, offset: u64, damage: Damage) {
    let (new, first) = segment.add_damage(offset, damage);
    if !new {
        return;
    }
    add(&shared.stats.damaged_ranges, 1);
    add(&shared.stats.damaged_bytes, damage.to - offset);
    tracing::error!(
        path = %segment.path.display(), offset, bytes = damage.to - offset, next_seq = damage.next_seq,
        "a damaged range was passed over"
    );
    if !first {
        return;
    }
    match keep_copy(shared, segment, file) {
        Ok(()) => {}
        // A copy was kept when an earlier process met the damage.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            add(&shared.stats.quarantine_skipped, 1);
            tracing::warn!(path = %segment.path.display(), %error, "no copy of the damaged segment was kept");
        }
    }
}

fn keep_copy(shared: &Shared, segment: &Segment, file: &dyn DiskFile) -> io::Result<()> {
    let (disk, folder) = (&*shared.disk, folder(&shared.dir));
    let path = folder.join(file_name(segment.base));
    let len = used_len(file)?;
    let before = shared.stats.quarantined_bytes.fetch_add(len, Relaxed);
    let used = shared.stats.used_bytes.load(Relaxed);
    let copied = if before + len > shared.quarantine_max_bytes || used + len > shared.max_bytes {
        Err(io::Error::other("quarantined copies may not take more of the disk budget"))
    } else {
        disk.create_dir_all(&folder).and_then(|()| disk.create(&path, len)).and_then(|to| {
            copy(file, &*to, len).and_then(|()| disk.sync_dir(&folder)).or_else(|error| {
                disk.remove(&path)?;
                Err(error)
            })
        })
    };
    match copied {
        Ok(()) => add(&shared.stats.used_bytes, len),
        Err(_) => super::stats::sub(&shared.stats.quarantined_bytes, len),
    }
    copied
}

fn copy(from: &dyn DiskFile, to: &dyn DiskFile, len: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES.min(len as usize)];
    let mut at = 0;
    while at < len {
        let want = chunk.len().min((len - at) as usize);
        let (read, _) = read_tolerant(from, &mut chunk[..want], at)?;
        if read == 0 {
            break;
        }
        to.write_all_at(&[&chunk[..read]], at)?;
        at += read as u64;
    }
    to.sync_data()
}

/// The file's length without the zeros at its end.
fn used_len(file: &dyn DiskFile) -> io::Result<u64> {
    let mut end = file.len()?;
    let mut chunk = vec![0; CHUNK_BYTES.min(end as usize)];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        // A block that cannot be read counts as used.
        match read_full(file, part, start) {
            Ok(_) => {}
            Err(_) => return Ok(end),
        }
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
