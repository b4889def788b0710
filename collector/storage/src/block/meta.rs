//! `meta.json`: what a block is.

use std::collections::BTreeMap;

use clew_common::{ids::Tenant, ranges::SeqRanges};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::merge::Attribute;

/// Version 1 has no shapes; in version 2 they do not say which columns their spans have.
const VERSION: u32 = 3;

/// What a block is going to be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// A UUIDv7.
    pub id: Uuid,
    /// Whose spans.
    pub tenant: Tenant,
    /// How often its spans were merged.
    pub level: u8,
    /// When its youngest spans came, milliseconds since 1970.
    pub created_ms: u64,
    /// Where its spans came from.
    pub wal: Vec<WalRange>,
    /// The blocks in whose place it comes.
    pub replaces: Vec<Uuid>,
    /// Whether another collector may have stored some of the spans too.
    pub may_duplicate: bool,
    /// The collector that may merge and delete it. None: whoever opens it.
    pub owner: Option<Uuid>,
}

impl Spec {
    /// Of spans that were in no block and in no WAL, that came in 1970, and that nobody else has.
    pub fn new(id: Uuid, tenant: Tenant) -> Self {
        Self {
            id,
            tenant,
            level: 0,
            created_ms: 0,
            wal: Vec::new(),
            replaces: Vec::new(),
            may_duplicate: false,
            owner: None,
        }
    }

    /// The block's folder.
    pub fn path(&self) -> String {
        let (year, month, day) = civil(self.created_ms / (24 * 60 * 60 * 1000));
        format!("{}/blocks/{year:04}-{month:02}-{day:02}/{}", self.tenant, self.id)
    }
}

/// The date of a day since 1970 (Hinnant, chrono-compatible low-level date algorithms: civil_from_days).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Of this format.
    pub version: u32,
    /// The block's.
    pub id: Uuid,
    /// Whose spans.
    pub tenant: String,
    /// How often its spans were merged.
    pub level: u8,
    /// When its youngest spans came, milliseconds since 1970.
    pub created_ms: u64,
    /// How many spans.
    pub spans: u64,
    /// How many traces have spans in it.
    pub traces: u64,
    /// Times of the spans, nanoseconds since 1970 as 64 bits with a sign; of no span, all are 0.
    pub start_min: i64,
    /// The last start.
    pub start_max: i64,
    /// The last end.
    pub end_max: i64,
    /// The blocks in whose place it comes.
    pub replaces: Vec<Uuid>,
    /// Whether another collector may have stored some of the spans too.
    pub may_duplicate: bool,
    /// The collector that may merge and delete it; the others read it. Metas of former versions have none: whoever opens the
    /// block may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
    /// Where its spans came from.
    pub wal: Vec<WalRange>,
    /// The other files of the block, by name.
    pub files: BTreeMap<String, File>,
    /// The services of the spans, by name.
    pub services: BTreeMap<String, Service>,
    /// Whether that is all of them.
    pub services_complete: bool,
    /// The most frequent attributes, in that order.
    pub attributes: Vec<Attribute>,
    /// Whether that is all of them. Attributes that are arrays, maps or bytes are never listed.
    pub attributes_complete: bool,
}

/// Records of a collector's WAL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRange {
    /// Which collector.
    pub collector: Uuid,
    /// Their numbers, from the first to before the second, in order.
    pub ranges: Vec<(u64, u64)>,
}

/// A file of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its size.
    pub bytes: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
    /// Of Parquet files: its last part, with the page index and the footer. The pages before have checksums of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
}

/// The end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Its size.
    pub bytes: u64,
    /// Its CRC-32C.
    pub crc32c: u32,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Names of its spans, sorted.
    pub operations: Vec<String>,
    /// Whether that is all of them.
    pub complete: bool,
}

/// A meta cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// It is not what was written.
    #[error("the meta is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Its bytes are not those that its checksum was made of.
    #[error("the meta is damaged: its checksum is wrong")]
    Checksum,
    /// Another program wrote it.
    #[error("the meta has format version {0}, this program knows those up to {VERSION}")]
    Version(u64),
}

impl Meta {
    /// Of a block without spans.
    pub(super) fn new(spec: &Spec) -> Self {
        Self {
            version: VERSION,
            id: spec.id,
            tenant: spec.tenant.to_string(),
            level: spec.level,
            created_ms: spec.created_ms,
            spans: 0,
            traces: 0,
            start_min: 0,
            start_max: 0,
            end_max: 0,
            replaces: spec.replaces.clone(),
            may_duplicate: spec.may_duplicate,
            owner: spec.owner,
            wal: spec.wal.clone(),
            files: BTreeMap::new(),
            services: BTreeMap::new(),
            services_complete: true,
            attributes: Vec::new(),
            attributes_complete: true,
        }
    }

    /// What a block like this one would be; `tenant` is its own.
    pub fn spec(&self, tenant: Tenant) -> Spec {
        Spec {
            id: self.id,
            tenant,
            level: self.level,
            created_ms: self.created_ms,
            wal: self.wal.clone(),
            replaces: self.replaces.clone(),
            may_duplicate: self.may_duplicate,
            owner: self.owner,
        }
    }

    /// Bytes of all files but this one.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// The file: `{"crc32c":"<of the meta, in hexadecimal>","meta":{...}}`.
    ///
    /// # Errors
    /// None that are known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MetaError> {
        Ok(seal(&serde_json::to_vec(self)?))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is damaged or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MetaError> {
        let meta = bytes.get(SEAL_BYTES..bytes.len().saturating_sub(1)).ok_or(MetaError::Checksum)?;
        if seal(meta) != bytes {
            return Err(MetaError::Checksum);
        }
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let Version { version } = serde_json::from_slice(meta)?;
        if !(1..=u64::from(VERSION)).contains(&version) {
            return Err(MetaError::Version(version));
        }
        Ok(serde_json::from_slice(meta)?)
    }
}

/// Bytes of a file before the meta.
const SEAL_BYTES: usize = r#"{"crc32c":"00000000","meta":"#.len();

fn seal(meta: &[u8]) -> Vec<u8> {
    let mut file = format!(r#"{{"crc32c":"{:08x}","meta":"#, crc32c::crc32c(meta)).into_bytes();
    file.extend_from_slice(meta);
    file.push(b'}');
    file
}

impl WalRange {
    /// Of one collector's records.
    pub fn of(collector: Uuid, seqs: &SeqRanges) -> Self {
        let below = (seqs.upto() > 0).then_some((0, seqs.upto()));
        let ranges = below.into_iter().chain(seqs.above().map(|range| (range.start, range.end)));
        Self { collector, ranges: ranges.collect() }
    }

    /// Those of several blocks, one for each collector.
    pub fn union<'a>(all: impl IntoIterator<Item = &'a Self>) -> Vec<Self> {
        let mut collectors: BTreeMap<Uuid, SeqRanges> = BTreeMap::new();
        for wal in all {
            let seqs = collectors.entry(wal.collector).or_default();
            wal.ranges.iter().for_each(|(first, end)| seqs.insert_range(*first..*end));
        }
        collectors.iter().map(|(collector, seqs)| Self::of(*collector, seqs)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            id: Uuid::from_bytes([7; 16]),
            tenant: Tenant::default(),
            level: 1,
            created_ms: 1_795_392_000_000,
            wal: vec![WalRange { collector: Uuid::from_bytes([1; 16]), ranges: vec![(3, 9)] }],
            replaces: vec![Uuid::from_bytes([2; 16])],
            may_duplicate: false,
            owner: Some(Uuid::from_bytes([3; 16])),
        }
    }

    #[test]
    fn a_block_lies_in_the_folder_of_its_day() {
        let at = |created_ms| Spec { created_ms, ..spec() }.path();
        let id = "07070707-0707-0707-0707-070707070707";
        assert_eq!(at(0), format!("default/blocks/1970-01-01/{id}"));
        assert_eq!(at(951_782_400_000), format!("default/blocks/2000-02-29/{id}"));
        assert_eq!(at(1_795_392_000_000 - 1), format!("default/blocks/2026-11-22/{id}"));
        assert_eq!(at(1_795_392_000_000), format!("default/blocks/2026-11-23/{id}"));
    }

    #[test]
    fn a_meta_reads_back_and_any_flipped_bit_is_noticed() {
        let mut meta = Meta::new(&spec());
        meta.services.insert("cart".into(), Service { operations: vec!["GET /".into()], complete: true });
        meta.files
            .insert("spans.parquet".into(), File { bytes: 7, crc32c: 8, tail: Some(Tail { bytes: 1, crc32c: 2 }) });
        let bytes = meta.to_bytes().unwrap();
        assert_eq!(Meta::from_bytes(&bytes).unwrap(), meta);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::from_bytes(&damaged).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&damaged));
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let meta = Meta { version: VERSION + 1, ..Meta::new(&spec()) };
        let error = Meta::from_bytes(&meta.to_bytes().unwrap()).unwrap_err();
        assert!(matches!(error, MetaError::Version(version) if version == u64::from(VERSION) + 1), "{error}");
    }

    #[test]
    fn ranges_of_a_collector_are_put_together() {
        let (one, two) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
        let all = [
            WalRange { collector: two, ranges: vec![(5, 6)] },
            WalRange { collector: one, ranges: vec![(3, 9)] },
            WalRange { collector: one, ranges: vec![(9, 11), (20, 21)] },
        ];
        let union = WalRange::union(&all);
        assert_eq!(
            union,
            [
                WalRange { collector: one, ranges: vec![(3, 11), (20, 21)] },
                WalRange { collector: two, ranges: vec![(5, 6)] },
            ]
        );
    }
}
