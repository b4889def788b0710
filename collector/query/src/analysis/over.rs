//! Which values spans in question have more often than others.

/// A value, and how many spans have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted<T> {
    pub value: T,
    /// Among the spans in question; no more than there are.
    pub selection: u64,
    /// Among the spans that they are compared with; no more than there are.
    pub baseline: u64,
}

/// How many spans there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub selection: u64,
    pub baseline: u64,
}

/// A value that the spans in question have more often.
#[derive(Debug, Clone, PartialEq)]
pub struct Over<T> {
    pub counted: Counted<T>,
    /// How much larger its share of the selection is than that of the baseline, at least: above 0, at most 1.
    pub score: f64,
}

/// Standard errors by which a share may be off by chance, to be certain. One value of some millions exceeds five of them by
/// chance alone, and so many are compared.
pub const CERTAIN: f64 = 5.0;

/// The same, to be likely.
pub const LIKELY: f64 = 2.0;

/// The values that are over-represented, as sure as `errors` standard errors make it, by how much.
///
/// The score is the lower bound of the difference of the two shares: method 10 of Newcombe, "Interval estimation for the
/// difference between independent proportions" (Statistics in Medicine 17, 1998), from Wilson's bounds of each share. So a
/// value that all of few spans have says less than one that most of many have. Values whose difference may be chance, or
/// that a single span has, are left out. Values with the same score keep their order.
#[must_use]
pub fn over<T>(values: impl IntoIterator<Item = Counted<T>>, totals: Totals, errors: f64) -> Vec<Over<T>> {
    let scored = values.into_iter().filter_map(|counted| {
        let score = score(&counted, totals, errors);
        (score > 0.0).then_some(Over { counted, score })
    });
    let mut scored: Vec<_> = scored.collect();
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    scored
}

fn score<T>(counted: &Counted<T>, totals: Totals, errors: f64) -> f64 {
    if counted.selection < 2 || totals.baseline == 0 {
        return 0.0;
    }
    let (selection, selection_low, _) = wilson(counted.selection, totals.selection, errors);
    let (baseline, _, baseline_high) = wilson(counted.baseline, totals.baseline, errors);
    selection - baseline - (selection - selection_low).hypot(baseline_high - baseline)
}

/// A share, and the bounds that chance leaves it (Wilson, 1927).
fn wilson(count: u64, total: u64, errors: f64) -> (f64, f64, f64) {
    let (count, total) = (count.min(total) as f64, total as f64);
    let share = count / total;
    let z2 = errors * errors;
    let middle = (share + z2 / (2.0 * total)) / (1.0 + z2 / total);
    let around = errors / (1.0 + z2 / total) * (share * (1.0 - share) / total + z2 / (4.0 * total * total)).sqrt();
    (share, (middle - around).max(0.0), (middle + around).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of values that are over-represented, best first.
    fn ranked(values: &[(&'static str, u64, u64)], selection: u64, baseline: u64) -> Vec<&'static str> {
        let counted = |(value, selection, baseline): &(&'static str, u64, u64)| Counted {
            value: *value,
            selection: *selection,
            baseline: *baseline,
        };
        let over = over(values.iter().map(counted), Totals { selection, baseline }, CERTAIN);
        assert!(over.iter().all(|value| value.score > 0.0 && value.score <= 1.0), "{over:?}");
        over.into_iter().map(|value| value.counted.value).collect()
    }

    #[test]
    fn the_larger_difference_of_shares_comes_first() {
        let values = [("common", 900, 8_000), ("some", 500, 100), ("most", 950, 100), ("rarer", 100, 5_000)];
        assert_eq!(ranked(&values, 1_000, 10_000), ["most", "some", "common"]);
    }

    #[test]
    fn what_few_spans_have_says_little() {
        let values = [("once", 1, 0), ("twice", 2, 0), ("less", 290, 300_000), ("often", 300, 1_000)];
        assert_eq!(ranked(&values, 1_000, 1_000_000), ["often", "twice"]);
        assert_eq!(ranked(&[("of few", 60, 55)], 100, 100), [""; 0]);
        assert_eq!(ranked(&[("all", 100, 0), ("half", 50, 0)], 100, 100), ["all", "half"]);
    }

    #[test]
    fn without_spans_on_both_sides_nothing_is_said() {
        assert_eq!(ranked(&[("x", 10, 0)], 10, 0), [""; 0]);
        assert_eq!(ranked(&[("x", 0, 10)], 0, 10), [""; 0]);
        assert_eq!(ranked(&[("more than all", u64::MAX, 0)], u64::MAX, u64::MAX), ["more than all"]);
    }
}
