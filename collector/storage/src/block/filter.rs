//! `filter.bin`: tells which traces a block does not hold, in nine to ten bits a trace.
//!
//! A BinaryFuse8 (Graf and Lemire, Binary Fuse Filters, 2022) of the XXH3-64 hashes of trace ids. One of 256 traces that
//! are not in the block passes. Little-endian:
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `CLEWFILT` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | CRC-32C of all that follows |
//! | 16 | 8 | seed |
//! | 24 | 4 | length of a segment, a power of two |
//! | 28 | 4 | that less one |
//! | 32 | 4 | length of all segments in which a first fingerprint may lie |
//! | 36 | 4 | number of traces; 0: the filter ends here and nothing passes |
//! | 40 | | fingerprints, a byte each: those segments and two more |

use bytes::Bytes;
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter as _, FilterRef};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 8] = *b"CLEWFILT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 40;
/// Where that begins which the checksum covers, and the fuse's description.
const CHECKED: usize = 16;
const DESCRIPTION_END: usize = 36;

/// Knows which traces a block does not hold.
#[derive(Clone, Debug)]
pub struct Filter {
    /// As in the file.
    bytes: Bytes,
}

/// A filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The bytes are not those that were written.
    #[error("the filter is damaged: {0}")]
    Damaged(&'static str),
    /// Another program wrote it.
    #[error("the filter has format version {0}, this program knows {VERSION}")]
    Version(u32),
    /// Hashes that fit no seed: not to be expected before the sun goes out.
    #[error("no filter can be made of {0} traces")]
    Impossible(usize),
}

impl Filter {
    /// Of the hashes of traces ([`Filter::hash`]), each any number of times.
    ///
    /// # Errors
    /// When there are too many.
    pub fn of(mut hashes: Vec<u64>) -> Result<Self, FilterError> {
        hashes.sort_unstable();
        hashes.dedup();
        let impossible = |_| FilterError::Impossible(hashes.len());
        let traces = u32::try_from(hashes.len()).map_err(|_| impossible(""))?;
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.resize(DESCRIPTION_END, 0);
        bytes.extend_from_slice(&traces.to_le_bytes());
        if traces > 0 {
            let fuse = BinaryFuse8::try_from(&hashes).map_err(impossible)?;
            fuse.dma_copy_descriptor_to(&mut bytes[CHECKED..DESCRIPTION_END]);
            bytes.extend_from_slice(fuse.dma_fingerprints());
        }
        let checksum = crc32c::crc32c(&bytes[CHECKED..]);
        bytes[12..CHECKED].copy_from_slice(&checksum.to_le_bytes());
        Ok(Self { bytes: bytes.into() })
    }

    /// What stands for a trace.
    pub fn hash(trace: &[u8; 16]) -> u64 {
        xxh3_64(trace)
    }

    /// False: the block does not hold the trace. True: it does, or (one time in 256) it does not.
    pub fn may_hold(&self, trace: &[u8; 16]) -> bool {
        let description = &self.bytes[CHECKED..DESCRIPTION_END];
        let fingerprints = &self.bytes[HEADER_BYTES..];
        !fingerprints.is_empty() && BinaryFuse8Ref::from_dma(description, fingerprints).contains(&Self::hash(trace))
    }

    /// How many traces the block holds.
    pub fn traces(&self) -> u64 {
        self.word(DESCRIPTION_END).into()
    }

    /// The bytes of the file.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// When they are not those of a filter, or damaged.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, FilterError> {
        if bytes.len() < HEADER_BYTES {
            return Err(FilterError::Damaged("it is too short"));
        }
        if bytes[..8] != MAGIC {
            return Err(FilterError::Damaged("it does not begin like one"));
        }
        let filter = Self { bytes };
        if filter.word(8) != VERSION {
            return Err(FilterError::Version(filter.word(8)));
        }
        if filter.word(12) != crc32c::crc32c(&filter.bytes[CHECKED..]) {
            return Err(FilterError::Damaged("its checksum is wrong"));
        }
        // What the checksum lets pass was written so; this keeps a look-up within the fingerprints whatever it is.
        let (segment, mask, firsts) = (filter.word(24), filter.word(28), filter.word(32));
        let needed = if filter.traces() == 0 { 0 } else { u64::from(firsts) + 2 * u64::from(segment) };
        if (filter.bytes.len() - HEADER_BYTES) as u64 != needed || needed > 0 && mask != segment.wrapping_sub(1) {
            return Err(FilterError::Damaged("its lengths do not fit together"));
        }
        Ok(filter)
    }

    /// Reads four bytes of the header.
    fn word(&self, at: usize) -> u32 {
        self.bytes[at..HEADER_BYTES].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(traces: &[[u8; 16]]) -> Filter {
        Filter::of(traces.iter().map(Filter::hash).collect()).unwrap()
    }

    fn reread(filter: &Filter) -> Filter {
        Filter::from_bytes(filter.as_bytes().clone()).unwrap()
    }

    #[test]
    fn an_empty_filter_lets_nothing_pass() {
        let filter = reread(&of(&[]));
        assert!(!filter.may_hold(&[0; 16]));
        assert!(!filter.may_hold(&[1; 16]));
        assert_eq!(filter.as_bytes().len(), HEADER_BYTES);
    }

    #[test]
    fn few_other_traces_pass_and_ten_bits_a_trace_are_enough() {
        let id = |n: u64| [n.to_le_bytes(), [7; 8]].concat().try_into().unwrap();
        let traces: Vec<[u8; 16]> = (0..100_000).map(id).collect();
        let filter = of(&traces);
        let passed = (100_000..200_000).filter(|n| filter.may_hold(&id(*n))).count();
        assert!(passed < 600, "{passed} of 100,000");
        assert!(filter.as_bytes().len() < 120_000, "{}", filter.as_bytes().len());
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let mut bytes = of(&[[1; 16]]).as_bytes().to_vec();
        bytes[8] = 9;
        assert_eq!(Filter::from_bytes(bytes.into()).unwrap_err(), FilterError::Version(9));
    }

    #[test]
    fn flipped_bits_and_missing_bytes_are_refused() {
        let bytes = of(&[[1; 16], [2; 16], [3; 16]]).as_bytes().clone();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Filter::from_bytes(damaged.into()).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Filter::from_bytes(bytes.slice(..length)).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn every_trace_that_is_in_passes_however_often_it_was_put_in(
            traces in prop::collection::vec(any::<[u8; 16]>(), 0..300),
            again in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        ) {
            let mut all = traces.clone();
            if !traces.is_empty() {
                all.extend(again.iter().map(|at| *at.get(&traces)));
            }
            let filter = reread(&of(&all));
            prop_assert!(traces.iter().all(|trace| filter.may_hold(trace)));
        }
    }
}
