//! The points in time at which series have values.

/// The points in time of an answer. A point at `t` counts the spans that start after `t - step` and not after `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    first_ns: u64,
    last_ns: u64,
    step_ns: u64,
}

impl Steps {
    /// The points of a range. Its start is moved back and its end forth to multiples of the step, so that the same span falls
    /// into the same step however often the range moves on. There is at least one point. A step of 0 counts as 1.
    #[must_use]
    pub fn aligned(start_ns: u64, end_ns: u64, step_ns: u64) -> Self {
        let step_ns = step_ns.max(1);
        let first_ns = (start_ns / step_ns).saturating_add(1).saturating_mul(step_ns);
        let last_ns = end_ns.div_ceil(step_ns).saturating_mul(step_ns).max(first_ns);
        Self { first_ns, last_ns, step_ns }
    }

    /// One point for the whole range, at its end.
    #[must_use]
    pub fn instant(start_ns: u64, end_ns: u64) -> Self {
        Self { first_ns: end_ns, last_ns: end_ns, step_ns: end_ns.saturating_sub(start_ns).max(1) }
    }

    /// When the points are, nanoseconds since 1970.
    pub fn times_ns(&self) -> impl Iterator<Item = u64> {
        (0..self.count()).map(|step| self.first_ns + step as u64 * self.step_ns)
    }

    /// How many seconds of spans a point counts.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.step_ns as f64 / 1e9
    }

    /// The first and the last time that a point counts.
    #[must_use]
    pub fn counted_ns(&self) -> (u64, u64) {
        (self.first_ns.saturating_sub(self.step_ns) + 1, self.last_ns)
    }

    /// Nanoseconds from point to point.
    #[must_use]
    pub fn step_ns(&self) -> u64 {
        self.step_ns
    }

    /// How many points there are.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::try_from((self.last_ns - self.first_ns) / self.step_ns).unwrap_or(usize::MAX - 1) + 1
    }

    /// The point that counts what happens at this time, if one does.
    #[must_use]
    pub fn of(&self, time_ns: u64) -> Option<usize> {
        let (first, last) = self.counted_ns();
        let after_first = time_ns.saturating_sub(self.first_ns).div_ceil(self.step_ns);
        (first..=last).contains(&time_ns).then(|| usize::try_from(after_first).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_widened_to_multiples_of_the_step() {
        let steps = Steps::aligned(25, 41, 10);
        assert_eq!(steps.times_ns().collect::<Vec<_>>(), [30, 40, 50]);
        assert_eq!(Steps::aligned(20, 40, 10).times_ns().collect::<Vec<_>>(), [30, 40]);
        assert_eq!(Steps::aligned(20, 20, 10).count(), 1);
        assert_eq!(Steps::aligned(7, 9, 0).times_ns().collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn a_point_counts_what_comes_after_the_point_before_it() {
        let steps = Steps::aligned(20, 40, 10);
        let points: Vec<_> = [20, 21, 30, 31, 40, 41].into_iter().map(|time| steps.of(time)).collect();
        assert_eq!(points, [None, Some(0), Some(0), Some(1), Some(1), None]);
    }

    #[test]
    fn an_instant_counts_the_whole_range() {
        let steps = Steps::instant(20, 45);
        assert_eq!((steps.count(), steps.times_ns().next()), (1, Some(45)));
        assert_eq!([20, 21, 45, 46].map(|time| steps.of(time)), [None, Some(0), Some(0), None]);
    }
}
