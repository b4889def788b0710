//! Counts numbers by their logarithm: what quantiles are taken from. Two such counts are added without loss.
//!
//! A bucket is a power of two cut into 128 parts of the same width (as in HdrHistogram, Tene), so that its middle is within
//! 0.4 % of each of its numbers. Negative numbers have buckets of their own.

/// How often numbers came.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// The bucket of the first count.
    first: u32,
    counts: Vec<u32>,
    total: u64,
    /// Buckets that are not counted yet. Thousands of histograms grow side by side: this way one cache line of each is hot,
    /// and not all of its counts.
    pending: Vec<u32>,
}

/// So many are counted at once.
const PENDING: usize = 256;

/// Parts of a power of two: their bits, of the 52 that a float has behind its point.
const PART_BITS: u32 = 7;

/// The bucket of a number: in their order.
#[inline]
fn bucket(number: f64) -> u32 {
    let bits = number.to_bits();
    // The bits of positive floats are in their order; those of negative ones in the opposite.
    let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
    (ordered >> (52 - PART_BITS)) as u32
}

/// The middle of a bucket.
fn middle(bucket: u32) -> f64 {
    let low = u64::from(bucket) << (52 - PART_BITS);
    let bits = |ordered: u64| if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered };
    let (low, high) = (f64::from_bits(bits(low)), f64::from_bits(bits(low | ((1 << (52 - PART_BITS)) - 1))));
    if low == 0.0 || high == 0.0 { 0.0 } else { low + (high - low) / 2.0 }
}

impl Histogram {
    /// Counts a number; one that is not a number is left out.
    #[inline]
    pub fn add(&mut self, number: f64) {
        if number.is_nan() {
            return;
        }
        self.pending.push(bucket(number));
        if self.pending.len() == PENDING {
            self.settle();
        }
    }

    /// Counts what was added. Quantiles are of what is counted.
    pub fn settle(&mut self) {
        let (Some(low), Some(high)) = (self.pending.iter().min(), self.pending.iter().max()) else { return };
        self.cover(*low, *high);
        for bucket in self.pending.drain(..) {
            let count = &mut self.counts[(bucket - self.first) as usize];
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// Makes room for buckets from one to another.
    fn cover(&mut self, low: u32, high: u32) {
        const ROUND: u32 = 1 << (PART_BITS - 1);
        let low = low / ROUND * ROUND;
        if self.counts.is_empty() {
            self.first = low;
        }
        if low < self.first {
            let more = (self.first - low) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = low;
        }
        let end = (high / ROUND + 1) * ROUND;
        let counts = (end - self.first) as usize;
        if counts > self.counts.len() {
            self.counts.resize(counts, 0);
        }
    }

    /// Counts what another one has counted too.
    pub fn merge(&mut self, other: &Self) {
        self.pending.extend_from_slice(&other.pending);
        self.settle();
        if other.total == 0 {
            return;
        }
        self.cover(other.first, other.first + other.counts.len() as u32 - 1);
        let at = (other.first - self.first) as usize;
        for (count, more) in self.counts[at..].iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.total += other.total;
    }

    /// The number below which a share of those that are counted are: linear between the two closest ranks. None without numbers.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.total.checked_sub(1)?;
        let rank = share.clamp(0.0, 1.0) * last as f64;
        let (below, above) = (self.ranked(rank.floor() as u64)?, self.ranked(rank.ceil() as u64)?);
        Some(below + (above - below) * rank.fract())
    }

    /// The number of a rank, from 0.
    fn ranked(&self, rank: u64) -> Option<f64> {
        let mut seen = 0;
        let passed = |count: &u32| {
            seen += u64::from(*count);
            seen > rank
        };
        let at = self.counts.iter().position(passed)?;
        Some(middle(self.first + at as u32))
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * (self.counts.capacity() + self.pending.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_half_a_percent() {
        let mut histogram = Histogram::default();
        let numbers: Vec<f64> = (1..=10_000).map(|number| f64::from(number).powi(2) / 1000.0).collect();
        numbers.iter().for_each(|number| histogram.add(*number));
        histogram.settle();
        for share in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
            let exact = numbers[(share * 9999.0) as usize];
            let found = histogram.quantile(share).unwrap();
            assert!((found - exact).abs() <= 0.005 * exact, "{share}: {found} for {exact}");
        }
    }

    #[test]
    fn negative_numbers_and_zero_have_their_place() {
        let mut histogram = Histogram::default();
        [5.0, -3.0, 0.0, -1e300, f64::NAN].iter().for_each(|number| histogram.add(*number));
        histogram.settle();
        let found: Vec<f64> = (0..4).map(|rank| histogram.ranked(rank).unwrap()).collect();
        assert!(found.is_sorted(), "{found:?}");
        assert!((found[1] + 3.0).abs() < 0.02 && found[2].abs() < 1e-300 && (found[3] - 5.0).abs() < 0.03, "{found:?}");
    }

    #[test]
    fn what_is_merged_is_as_if_counted_together() {
        let (mut one, mut other, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for number in 1..1000 {
            let number = f64::from(number) * 1.7;
            if number < 300.0 {
                one.add(number)
            } else {
                other.add(number)
            }
            both.add(number);
        }
        one.merge(&other);
        other.merge(&Histogram::default());
        for share in [0.0, 0.3, 0.5, 1.0] {
            assert_eq!(one.quantile(share), both.quantile(share));
        }
    }
}
