//! Going through a whole segment by its records' heads, and passing over damage on the way.

use std::io;

use super::disk::DiskFile;
use super::quarantine;
use super::scan::{Believed, Walk, look_past};
use super::segment::{SEAL_BYTES, Seal};
use super::shared::{Damage, Segment, Shared};

/// What a segment holds.
pub(super) struct Survey {
    /// Where its last record ends.
    pub(super) end: u64,
    pub(super) records: u64,
    pub(super) weight: u64,
}

/// Goes through the records in `file` up to `len`, with `weigh` for each of them. No payload is read, no checksum is
/// looked at, unless there is damage. `last_seq` is the highest number that can be in this segment.
pub(super) fn survey(
    shared: &Shared,
    segment: &Segment,
    file: &dyn DiskFile,
    len: u64,
    last_seq: u64,
    mut weigh: impl FnMut(u64, u8, &[u8]) -> u64,
) -> io::Result<Survey> {
    let mut walk = Walk::new(file, segment.base, len, false);
    let (mut records, mut weight, mut last_weight) = (0, 0, 0);
    loop {
        if let Some((head, _, start)) = walk.step()? {
            last_weight = weigh(head.seq, head.kind, start);
            records += 1;
            weight += last_weight;
            continue;
        }
        let mut end = walk.offset;
        if end >= len || Seal::parse(walk.bytes(end, SEAL_BYTES)?).is_some() {
            return Ok(Survey { end, records, weight });
        }
        if let Some((offset, seq)) = led_astray(file, walk.believed)? {
            records -= 1;
            weight -= last_weight;
            walk.jump(offset, seq);
            end = offset;
        }
        if let Some(known) = segment.damage_at(end) {
            walk.jump(known.to, known.next_seq);
            continue;
        }
        let past = look_past(file, end, len, walk.seq..=last_seq)?;
        if let Some((offset, seq)) = past.next {
            quarantine::note(shared, segment, file, end, Damage { seq: walk.seq, to: offset, next_seq: seq });
            walk.jump(offset, seq);
            continue;
        }
        if past.nonzero_end > end || past.unreadable {
            let (to, next_seq) = (past.nonzero_end.max(end), last_seq.saturating_add(1));
            let damage = Damage { seq: walk.seq, to, next_seq };
            quarantine::note(shared, segment, file, end, damage);
        }
        return Ok(Survey { end, records, weight });
    }
}

/// Where no record is and one should be.
pub(super) struct Missing {
    pub(super) offset: u64,
    pub(super) seq: u64,
    /// The record before, if its checksum was not looked at.
    pub(super) believed: Option<Believed>,
}

/// Passes over damage: counts it once, and gives where the next record is, or the segment's end.
pub(super) fn pass(
    shared: &Shared,
    segment: &Segment,
    file: &dyn DiskFile,
    missing: Missing,
    end: u64,
    last_seq: u64,
) -> io::Result<Damage> {
    let Missing { offset, seq, believed } = missing;
    let (offset, seq) = led_astray(file, believed)?.unwrap_or((offset, seq));
    if let Some(known) = segment.damage_at(offset) {
        return Ok(known);
    }
    let past = look_past(file, offset, end, seq..=last_seq)?;
    let damage = match past.next {
        Some((to, next_seq)) => Damage { seq, to, next_seq },
        None => Damage { seq, to: end, next_seq: last_seq.saturating_add(1) },
    };
    quarantine::note(shared, segment, file, offset, damage);
    Ok(damage)
}

/// Where the damage starts if the record before is damaged too: then its length said wrongly where it ends.
fn led_astray(file: &dyn DiskFile, believed: Option<Believed>) -> io::Result<Option<(u64, u64)>> {
    match believed {
        Some(believed) if !believed.holds(file)? => Ok(Some((believed.offset, believed.seq))),
        _ => Ok(None),
    }
}
