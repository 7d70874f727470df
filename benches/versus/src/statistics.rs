//! Medians and percentiles. Pure.

/// Middle value; the mean of the two middle ones for an even count. None without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Nearest-rank percentile of sorted values, `percent` in 0..=100. None without values.
pub fn percentile(sorted: &[u32], percent: f64) -> Option<u32> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// How far the values lie apart: (max - min) / median, 0 for fewer than two.
pub fn spread(values: &[f64]) -> f64 {
    let (Some(middle), Some(low), Some(high)) =
        (median(values), values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max))
    else {
        return 0.0;
    };
    if middle == 0.0 { 0.0 } else { (high - low) / middle }
}

/// Latencies of one load, in nanoseconds.
#[derive(Default)]
pub struct Latencies {
    nanoseconds: Vec<u32>,
}

impl Latencies {
    pub fn add(&mut self, elapsed: std::time::Duration) {
        self.nanoseconds.push(u32::try_from(elapsed.as_nanos()).unwrap_or(u32::MAX));
    }

    pub fn len(&self) -> usize {
        self.nanoseconds.len()
    }

    /// Percentiles in microseconds, in the order asked for; zeros without a sample.
    pub fn microseconds<const N: usize>(&mut self, percents: [f64; N]) -> [f64; N] {
        self.nanoseconds.sort_unstable();
        percents.map(|percent| percentile(&self.nanoseconds, percent).map_or(0.0, |value| f64::from(value) / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn median_ignores_one_outlier() {
        assert_eq!(median(&[10.0, 11.0, 900.0]), Some(11.0));
    }

    #[test]
    fn percentile_is_nearest_rank() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&values, 50.0), Some(50));
        assert_eq!(percentile(&values, 99.0), Some(99));
        assert_eq!(percentile(&values, 100.0), Some(100));
        assert_eq!(percentile(&values, 0.0), Some(1));
        assert_eq!(percentile(&[7], 99.0), Some(7));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn spread_is_relative_to_the_median() {
        assert_eq!(spread(&[90.0, 100.0, 110.0]), 0.2);
        assert_eq!(spread(&[5.0]), 0.0);
        assert_eq!(spread(&[]), 0.0);
    }

    #[test]
    fn latencies_are_sorted_for_their_percentiles() {
        let mut latencies = Latencies::default();
        for micros in [30, 10, 20] {
            latencies.add(Duration::from_micros(micros));
        }
        assert_eq!(latencies.len(), 3);
        assert_eq!(latencies.microseconds([50.0, 100.0]), [20.0, 30.0]);
    }
}
