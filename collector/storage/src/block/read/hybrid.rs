//! Parquet's hybrid of run lengths and packed bits, read.

use std::ops::Range;

/// A run: how many values, and which.
enum Run<'a> {
    Same(usize, u32),
    /// A multiple of eight.
    Packed(usize, &'a [u8]),
}

/// The runs of some values of `bits` bits (at most 32), as far as they can be read.
fn runs(mut bytes: &[u8], bits: u32) -> impl Iterator<Item = Run<'_>> {
    std::iter::from_fn(move || {
        let header = clew_common::otlp::wire::varint(&mut bytes)?;
        let count = usize::try_from(header >> 1).ok()?;
        if header & 1 == 0 {
            let (value, rest) = bytes.split_at_checked(bits.div_ceil(8) as usize)?;
            bytes = rest;
            let value = value.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
            return Some(Run::Same(count, value));
        }
        let (packed, rest) = bytes.split_at_checked(count.checked_mul(bits as usize)?)?;
        bytes = rest;
        Some(Run::Packed(8 * count, packed))
    })
}

/// The values at some places; fewer when the bytes end before.
pub fn values(bytes: &[u8], bits: u32, places: Range<usize>) -> Vec<u32> {
    let mut found = Vec::with_capacity(places.len());
    let mut first = 0usize;
    for run in runs(bytes, bits) {
        if first >= places.end {
            break;
        }
        let (Run::Same(count, _) | Run::Packed(count, _)) = run;
        let end = first.saturating_add(count);
        let (from, to) = (places.start.max(first), places.end.min(end));
        if from < to {
            match run {
                Run::Same(_, value) => found.resize(found.len() + (to - from), value),
                Run::Packed(_, packed) => found.extend((from..to).map(|at| unpack(packed, bits, at - first))),
            }
        }
        first = end;
    }
    found
}

fn unpack(packed: &[u8], bits: u32, at: usize) -> u32 {
    let bit = at * bits as usize;
    let mut word = [0; 8];
    let bytes = &packed[bit / 8..packed.len().min(bit / 8 + 8)];
    word[..bytes.len()].copy_from_slice(bytes);
    (u64::from_le_bytes(word) >> (bit % 8) & ((1 << bits) - 1)) as u32
}

/// How many of the first `count` values are `value`.
pub fn count(bytes: &[u8], bits: u32, count: usize, value: u32) -> usize {
    if bits == 1 && value == 1 {
        return ones(bytes, count);
    }
    let (mut first, mut found) = (0usize, 0);
    for run in runs(bytes, bits) {
        if first >= count {
            break;
        }
        first = match run {
            Run::Same(run, same) => {
                found += if same == value { run.min(count - first) } else { 0 };
                first.saturating_add(run)
            }
            Run::Packed(run, packed) => {
                let here = run.min(count - first);
                // Eight values at a time.
                let eights = here / 8;
                found += packed
                    .chunks_exact(bits as usize)
                    .take(eights)
                    .map(|eight| alike(eight, bits, value))
                    .sum::<usize>();
                found += (8 * eights..here).filter(|at| unpack(packed, bits, *at) == value).count();
                first + run
            }
        };
    }
    found
}

/// How many of eight values are `value`, which is of no more bits than they.
fn alike(eight: &[u8], bits: u32, value: u32) -> usize {
    debug_assert!(u64::from(value) < 1 << bits, "it would be looked for in other values too");
    if bits > 8 {
        return (0..8).filter(|at| unpack(eight, bits, *at) == value).count();
    }
    let mut word = [0; 8];
    word[..eight.len()].copy_from_slice(eight);
    // The lowest bit of each value, and the same with the value in it.
    let lowest = (0..8).fold(0u64, |lowest, at| lowest | 1 << (at * bits));
    let mut other = u64::from_le_bytes(word) ^ lowest.wrapping_mul(value.into());
    // All bits of a value into its lowest.
    other = (1..bits).fold(other, |all, bit| all | other >> bit);
    8 - (other & lowest).count_ones() as usize
}

/// The place of the zero that has `before` zeros before it, among the first `all` values; `all` if there are fewer.
pub fn nth_zero(bytes: &[u8], bits: u32, all: usize, before: usize) -> usize {
    let (mut first, mut left) = (0usize, before);
    for run in runs(bytes, bits) {
        match run {
            Run::Same(run, 0) if left < run => return (first + left).min(all),
            Run::Same(run, 0) => {
                left -= run;
                first = first.saturating_add(run);
            }
            Run::Same(run, _) => first = first.saturating_add(run),
            Run::Packed(run, packed) => {
                // Eight values at a time.
                for (eight, at) in packed.chunks_exact(bits as usize).zip((0..run).step_by(8)) {
                    let zeros = alike(eight, bits, 0);
                    if left < zeros {
                        let place = (at..at + 8).filter(|at| unpack(packed, bits, *at) == 0).nth(left);
                        return place.map_or(all, |place| (first + place).min(all));
                    }
                    left -= zeros;
                }
                first += run;
            }
        }
        if first >= all {
            break;
        }
    }
    all
}

/// How many of the first `count` values of one bit are set.
fn ones(bytes: &[u8], count: usize) -> usize {
    let (mut first, mut ones) = (0usize, 0);
    for run in runs(bytes, 1) {
        if first >= count {
            break;
        }
        match run {
            Run::Same(run, value) => {
                ones += run.min(count - first) * value as usize;
                first = first.saturating_add(run);
            }
            Run::Packed(run, packed) => {
                let here = run.min(count - first);
                let (words, bytes) = packed[..here / 8].as_chunks::<8>();
                ones += words.iter().map(|word| u64::from_le_bytes(*word).count_ones() as usize).sum::<usize>();
                ones += bytes.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
                if !here.is_multiple_of(8) {
                    ones += (packed[here / 8] & ((1 << (here % 8)) - 1)).count_ones() as usize;
                }
                first += run;
            }
        }
    }
    ones
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::write::hybrid;

    #[test]
    fn levels_of_both_kinds_of_runs_are_found() {
        // Five zeros, eight packed bits, three ones.
        let bytes = [5 << 1, 0, 1 << 1 | 1, 0b0010_0000, 3 << 1, 1];
        assert_eq!(values(&bytes, 1, 0..16), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1]);
        assert_eq!([4, 10, 11, 14, 16, 99].map(|all| count(&bytes, 1, all, 1)), [0, 0, 1, 2, 4, 4]);
        // Eight levels of three bits.
        let packed = [1 << 1 | 1, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(values(&packed, 3, 2..7), [2, 3, 4, 5, 6]);
        assert!(values(&[9], 3, 0..8).is_empty());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            (bits, written) in (2u8..18).prop_flat_map(|bits| {
                let value = prop_oneof![0u32..4, 0..1u32 << bits];
                (Just(bits), prop::collection::vec((value, 1usize..40), 0..30))
            }),
            (from, to) in (0usize..200, 0usize..400),
        ) {
            let all: Vec<u32> = written.iter().flat_map(|(value, run)| std::iter::repeat_n(*value, *run)).collect();
            let mut bytes = Vec::new();
            hybrid(&all, bits, &mut bytes);
            let places = from.min(all.len())..to.min(all.len()).max(from.min(all.len()));
            prop_assert_eq!(values(&bytes, bits.into(), places.clone()), &all[places.clone()]);
            for value in [2, (1 << bits) - 1] {
                let alike = all[..places.end].iter().filter(|other| **other == value).count();
                prop_assert_eq!(count(&bytes, bits.into(), places.end, value), alike);
            }
            let zeros: Vec<usize> = (0..all.len()).filter(|at| all[*at] == 0).collect();
            for before in [0, 1, 2, 40, places.start] {
                let place = zeros.get(before).copied().unwrap_or(all.len());
                prop_assert_eq!(nth_zero(&bytes, bits.into(), all.len(), before), place);
            }
            let one_bit: Vec<u32> = all.iter().map(|value| value & 1).collect();
            bytes.clear();
            hybrid(&one_bit, 1, &mut bytes);
            prop_assert_eq!(count(&bytes, 1, places.end, 1), one_bit[..places.end].iter().sum::<u32>() as usize);
            let zero = one_bit.iter().position(|bit| *bit == 0).unwrap_or(all.len());
            prop_assert_eq!(nth_zero(&bytes, 1, all.len(), 0), zero);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), bits in 1u32..=32) {
            values(&bytes, bits, 3..100);
            count(&bytes, bits, 100, 1);
            nth_zero(&bytes, bits, 100, 7);
        }
    }
}
