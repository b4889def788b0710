//! Which spans are exported.

use std::collections::BTreeSet;

use clew_common::ids::Tenant;
use clew_storage::block::Meta;

/// A tenant's spans, perhaps of some traces only, or of a time.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) tenant: Tenant,
    /// Spans that start then or later, in nanoseconds since 1970.
    pub(crate) from: Option<u64>,
    /// Spans that start before.
    pub(crate) to: Option<u64>,
    /// Empty: of all traces.
    pub(crate) traces: BTreeSet<[u8; 16]>,
}

/// How much of a block is selected, as far as its meta tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Nothing,
    Some,
    All,
}

impl Selection {
    /// Whether this span is.
    pub(crate) fn wants(&self, trace: &[u8; 16], start: u64) -> bool {
        let in_time = self.from.is_none_or(|from| start >= from) && self.to.is_none_or(|to| start < to);
        in_time && (self.traces.is_empty() || self.traces.contains(trace))
    }

    /// How much of this block is.
    pub(crate) fn share(&self, meta: &Meta) -> Share {
        match self.in_time(meta) {
            Share::All if !self.traces.is_empty() => Share::Some,
            share => share,
        }
    }

    fn in_time(&self, meta: &Meta) -> Share {
        if self.from.is_none() && self.to.is_none() {
            return Share::All;
        }
        // Times past 2262 are negative there, so that the least is not the earliest.
        let (Ok(first), Ok(last)) = (u64::try_from(meta.start_min), u64::try_from(meta.start_max)) else {
            return Share::Some;
        };
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(u64::MAX));
        if last < from || first >= to {
            Share::Nothing
        } else if first >= from && last < to {
            Share::All
        } else {
            Share::Some
        }
    }
}
