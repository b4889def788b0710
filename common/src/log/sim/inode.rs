//! A file's bytes: as they are seen, as they were last synced, and what was done in between.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::fault::Random;

// What disks write whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Bytes by sector; sectors that are not there are zeros.
#[derive(Clone, Default)]
struct Content {
    len: u64,
    sectors: BTreeMap<u64, Box<[u8; SECTOR_BYTES as usize]>>,
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (at % SECTOR_BYTES) as usize;
            let (part, after) = rest.split_at(rest.len().min(SECTOR_BYTES as usize - within));
            let sector = self.sectors.entry(at / SECTOR_BYTES).or_insert_with(|| Box::new([0; SECTOR_BYTES as usize]));
            sector[within..within + part.len()].copy_from_slice(part);
            at += part.len() as u64;
            rest = after;
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.sectors.split_off(&len.div_ceil(SECTOR_BYTES));
            if let Some(sector) = self.sectors.get_mut(&(len / SECTOR_BYTES)) {
                sector[(len % SECTOR_BYTES) as usize..].fill(0);
            }
        }
        self.len = len;
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let count = buf.len().min(self.len.saturating_sub(offset) as usize);
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let within = (at % SECTOR_BYTES) as usize;
            let part = (count - done).min(SECTOR_BYTES as usize - within);
            match self.sectors.get(&(at / SECTOR_BYTES)) {
                Some(sector) => buf[done..done + part].copy_from_slice(&sector[within..within + part]),
                None => buf[done..done + part].fill(0),
            }
            done += part;
        }
        count
    }
}

enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Default)]
pub(super) struct Inode {
    seen: Content,
    synced: Content,
    unsynced: Vec<Change>,
    pub(super) unreadable: Range<u64>,
    /// How often it is open.
    pub(super) handles: u32,
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.seen.len
    }

    pub(super) fn disk_bytes(&self, sparse: bool) -> u64 {
        if sparse { self.seen.sectors.len() as u64 * SECTOR_BYTES } else { self.seen.len }
    }

    /// How many of `count` bytes can be written at `offset` with `free` bytes left on the disk.
    pub(super) fn fits(&self, offset: u64, count: usize, free: u64, sparse: bool) -> usize {
        if !sparse {
            let room = (self.seen.len + free).saturating_sub(offset);
            return count.min(usize::try_from(room).unwrap_or(usize::MAX));
        }
        let mut free_sectors = free / SECTOR_BYTES;
        let mut end = offset;
        while end < offset + count as u64 {
            if !self.seen.sectors.contains_key(&(end / SECTOR_BYTES)) {
                if free_sectors == 0 {
                    break;
                }
                free_sectors -= 1;
            }
            end = (end / SECTOR_BYTES + 1) * SECTOR_BYTES;
        }
        count.min(end.saturating_sub(offset) as usize)
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        if end > self.seen.len {
            self.set_len(end);
        }
        self.seen.write(bytes, offset);
        self.unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.seen.set_len(len);
        self.unsynced.push(Change::SetLen(len));
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset + buf.len() as u64;
        if offset < self.unreadable.end && self.unreadable.start < end.min(self.seen.len) {
            return Err(Errno::IO.into());
        }
        Ok(self.seen.read(buf, offset))
    }

    pub(super) fn flip(&mut self, byte: u64, bit: u8) {
        for content in [&mut self.seen, &mut self.synced] {
            let mut value = [0];
            if content.read(&mut value, byte) == 1 {
                content.write(&[value[0] ^ (1 << (bit % 8))], byte);
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => self.synced.write(&bytes, offset),
                Change::SetLen(len) => self.synced.set_len(len),
            }
        }
    }

    /// A failed sync: the system shows the bytes on and takes them for written, but the disk never gets them. Lengths are
    /// the file system's own and do.
    pub(super) fn lose(&mut self) {
        for change in self.unsynced.drain(..) {
            if let Change::SetLen(len) = change {
                self.synced.set_len(len);
            }
        }
    }

    /// Leaves of what was not synced: the first few changes of length, and of each sector any of the states it went
    /// through.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let lengths = self.unsynced.iter().filter(|change| matches!(change, Change::SetLen(_))).count() as u64;
        let mut lengths_kept = random.below(lengths + 1);
        // How many writes to each sector there were, then how many of them are kept.
        let mut kept: BTreeMap<u64, u64> = BTreeMap::new();
        for (sector, _, _) in self.unsynced.iter().flat_map(Change::sectors) {
            *kept.entry(sector).or_default() += 1;
        }
        // Losing all, losing nothing and losing some are equally likely: each is where some mistakes show.
        let mode = random.below(3);
        for count in kept.values_mut() {
            *count = match mode {
                0 => 0,
                1 => *count,
                _ => random.below(*count + 1),
            };
        }
        for change in std::mem::take(&mut self.unsynced) {
            if let (Change::SetLen(len), 1..) = (&change, lengths_kept) {
                lengths_kept -= 1;
                self.synced.set_len(*len);
            }
            for (sector, offset, bytes) in change.sectors() {
                if let Some(left) = kept.get_mut(&sector).filter(|left| **left > 0) {
                    *left -= 1;
                    self.synced.write(bytes, offset);
                }
            }
        }
        // Bytes past the length that survived are not the file's.
        let len = self.synced.len;
        self.synced.len = u64::MAX;
        self.synced.set_len(len);
        self.seen = self.synced.clone();
    }
}

impl Change {
    /// A write by sectors: the sector, where in the file, the bytes.
    fn sectors(&self) -> Vec<(u64, u64, &[u8])> {
        let Change::Write { offset, bytes } = self else { return Vec::new() };
        let mut parts = Vec::new();
        let (mut at, mut rest) = (*offset, bytes.as_slice());
        while !rest.is_empty() {
            let room = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
            let (part, after) = rest.split_at(rest.len().min(room));
            parts.push((at / SECTOR_BYTES, at, part));
            at += part.len() as u64;
            rest = after;
        }
        parts
    }
}
