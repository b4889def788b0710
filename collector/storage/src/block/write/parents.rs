//! Parents as positions within their traces.

/// Finds parents, a window at a time. A trace may begin in one window and end in another.
#[derive(Default)]
pub struct Parents {
    trace: Option<[u8; 16]>,
    /// The spans of that trace in the windows before.
    earlier: Vec<[u8; 8]>,
    sorted: Vec<([u8; 8], u32)>,
}

/// Up to so many spans, looking at all of them is faster than sorting first.
const SMALL: usize = 32;

impl Parents {
    /// The rows of a window, sorted by trace: for each the position of its parent among the rows of its trace. None
    /// without a parent and when it is not there, in this window or those before.
    ///
    /// Of several spans with the parent's id, the first is the parent.
    pub fn find(&mut self, traces: &[[u8; 16]], spans: &[[u8; 8]], parents: &[Option<[u8; 8]>]) -> Vec<Option<u32>> {
        let mut found = vec![None; traces.len()];
        let mut first = 0;
        while first < traces.len() {
            let trace = &traces[first];
            let rows = traces[first..].iter().position(|other| other != trace).unwrap_or(traces.len() - first);
            let end = first + rows;
            if self.trace.as_ref() != Some(trace) {
                self.earlier.clear();
                self.trace = Some(*trace);
            }
            let (parents, found) = (&parents[first..end], &mut found[first..end]);
            if self.earlier.is_empty() {
                self.within(&spans[first..end], parents, found);
            } else {
                let mut all = std::mem::take(&mut self.earlier);
                all.extend_from_slice(&spans[first..end]);
                self.within(&all, parents, found);
                self.earlier = all;
            }
            if end == traces.len() && self.earlier.is_empty() {
                self.earlier.extend_from_slice(&spans[first..end]);
            }
            first = end;
        }
        found
    }

    fn within(&mut self, spans: &[[u8; 8]], parents: &[Option<[u8; 8]>], found: &mut [Option<u32>]) {
        let wanted = parents.iter().zip(found).filter_map(|(parent, found)| Some((parent.as_ref()?, found)));
        if spans.len() <= SMALL {
            for (parent, found) in wanted {
                *found = spans.iter().position(|span| span == parent).map(|at| at as u32);
            }
            return;
        }
        self.sorted.clear();
        self.sorted.extend(spans.iter().copied().zip(0..));
        self.sorted.sort_unstable();
        for (parent, found) in wanted {
            let at = self.sorted.partition_point(|(span, _)| span < parent);
            *found = self.sorted.get(at).filter(|(span, _)| span == parent).map(|(_, row)| *row);
        }
    }
}
