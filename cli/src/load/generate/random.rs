//! A seeded source of randomness whose numbers stay the same on every machine and in every version of this program.
//!
//! It is xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64. A library would be free to change its numbers.

/// Size of the table of normal quantiles: fine enough for durations, small enough for the first-level cache.
const QUANTILES: usize = 1024;

/// Draws numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The same seed draws the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// Any 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// At least 0 and below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// One of `range`, which must not be empty.
    pub(crate) fn below_range(&mut self, range: &std::ops::Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    /// At least 0, below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Between `low` and `high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.fraction() * (high - low)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// One of `from`, which must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One of `from`, those at the front more often: half of the draws fall on the first fifth.
    pub(crate) fn pick_early<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let skewed = self.fraction() * self.fraction();
        &from[(skewed * from.len() as f64) as usize]
    }

    /// Exponentially distributed around `mean`.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.fraction()).ln() * mean
    }
}

/// Log-normal numbers from a table, which costs a few nanoseconds instead of the fifty of `ln` and `cos` and `exp`.
#[derive(Debug)]
pub(crate) struct LogNormal {
    factors: Box<[f64]>,
}

impl LogNormal {
    /// Median 1, with this standard deviation of the logarithm.
    pub(crate) fn new(sigma: f64) -> Self {
        let factor = |i: usize| (sigma * normal_quantile((i as f64 + 0.5) / QUANTILES as f64)).exp();
        Self { factors: (0..QUANTILES).map(factor).collect() }
    }

    /// Draws one.
    pub(crate) fn draw(&self, random: &mut Random) -> f64 {
        *random.pick(&self.factors)
    }
}

/// The inverse of the normal distribution, by Acklam's rational approximation (relative error below 1.2e-9).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |q: f64| polynomial(&C, q) / (polynomial(&D, q) * q + 1.0);
    if p < 0.02425 {
        tail((-2.0 * p.ln()).sqrt())
    } else if p > 1.0 - 0.02425 {
        -tail((-2.0 * (1.0 - p).ln()).sqrt())
    } else {
        let q = p - 0.5;
        let r = q * q;
        polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
    }
}
