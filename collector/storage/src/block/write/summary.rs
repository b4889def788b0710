//! What a block's meta says of its spans, gathered while they are written.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};

use super::strings::{FlatStrings, NULL};
use crate::block::{Filter, Meta, Service};

/// So many services are named, and so many operations of each.
const MAX_SERVICES: usize = 1000;
const MAX_OPERATIONS: usize = 1000;

/// So far.
#[derive(Default)]
pub struct Summary {
    spans: u64,
    /// Start min, start max, end max.
    times: Option<(i64, i64, i64)>,
    last_trace: Option<[u8; 16]>,
    /// What the filter is made of: one for each trace.
    pub hashes: Vec<u64>,
    services: HashMap<String, HashSet<String>>,
    more_services: bool,
    more_operations: HashSet<String>,
    /// The resources that spans name.
    pub resources: HashSet<u64>,
}

impl Summary {
    /// Adds the traces of a window.
    pub fn traces(&mut self, traces: &[[u8; 16]]) {
        self.spans += traces.len() as u64;
        for run in traces.chunk_by(|a, b| a == b) {
            if self.last_trace != Some(run[0]) {
                self.hashes.push(Filter::hash(&run[0]));
                self.last_trace = Some(run[0]);
            }
        }
    }

    /// Adds the times of a window.
    pub fn times(&mut self, starts: &[i64], durations: &[i64]) {
        let (Some(first), Some(last)) = (starts.iter().min(), starts.iter().max()) else { return };
        let end =
            starts.iter().zip(durations).map(|(start, duration)| start.wrapping_add(*duration)).max().unwrap_or(*last);
        let (start_min, start_max, end_max) = self.times.unwrap_or((*first, *last, end));
        self.times = Some((start_min.min(*first), start_max.max(*last), end_max.max(end)));
    }

    /// Adds the resources of a window.
    pub fn resources(&mut self, ids: &[u64]) {
        for run in ids.chunk_by(|a, b| a == b) {
            self.resources.insert(run[0]);
        }
    }

    /// Adds the names of spans and their services.
    pub fn operations(&mut self, names: &FlatStrings<'_>, services: &FlatStrings<'_>, rows: &[u32]) {
        let (names_count, services_count) = (names.table.values().len(), services.table.values().len());
        // A bit for each pair, unless the names or services run wild.
        const MAX_BITS: usize = 1 << 26;
        let mut pairs = Vec::new();
        if names_count.saturating_mul(services_count) <= MAX_BITS {
            let mut seen = vec![0u64; (names_count * services_count).div_ceil(64)];
            for row in rows {
                let (name, service) = (names.keys[*row as usize], services.keys[*row as usize]);
                if service != NULL && name != NULL {
                    let pair = service as usize * names_count + name as usize;
                    if seen[pair / 64] >> (pair % 64) & 1 == 0 {
                        seen[pair / 64] |= 1 << (pair % 64);
                        pairs.push((service, name));
                    }
                }
            }
        } else {
            let mut seen = HashSet::new();
            for row in rows {
                let pair = (services.keys[*row as usize], names.keys[*row as usize]);
                if pair.0 != NULL && pair.1 != NULL && seen.insert(pair) {
                    pairs.push(pair);
                }
            }
        }
        for (service, name) in pairs {
            self.operation(services.table.values()[service as usize], names.table.values()[name as usize]);
        }
    }

    fn operation(&mut self, service: &[u8], name: &[u8]) {
        let service = String::from_utf8_lossy(service);
        let name = String::from_utf8_lossy(name);
        if !self.services.contains_key(&*service) {
            if self.services.len() == MAX_SERVICES {
                self.more_services = true;
                return;
            }
            self.services.insert(service.clone().into_owned(), HashSet::new());
        }
        let Some(operations) = self.services.get_mut(&*service) else { return };
        if operations.contains(&*name) {
            return;
        }
        if operations.len() == MAX_OPERATIONS {
            self.more_operations.insert(service.into_owned());
        } else {
            operations.insert(name.into_owned());
        }
    }

    /// Tells the meta.
    pub fn tell(&self, meta: &mut Meta) {
        meta.spans = self.spans;
        meta.traces = self.hashes.len() as u64;
        (meta.start_min, meta.start_max, meta.end_max) = self.times.unwrap_or_default();
        meta.services_complete = !self.more_services;
        meta.services = self
            .services
            .iter()
            .map(|(service, operations)| {
                let mut operations: Vec<_> = operations.iter().cloned().collect();
                operations.sort_unstable();
                (service.clone(), Service { operations, complete: !self.more_operations.contains(service) })
            })
            .collect::<BTreeMap<_, _>>();
    }
}
