//! Repeated delays: percentiles and a histogram.

use std::time::Duration;

/// Upper bounds of the histogram's columns, in milliseconds. The last column has none.
pub const EDGES: [u64; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Delays in any order.
#[derive(Clone, Debug, Default)]
pub struct Delays(Vec<Duration>);

impl Delays {
    /// Adds a delay.
    pub fn add(&mut self, delay: Duration) {
        self.0.push(delay);
    }

    /// The number of delays.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no delays.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The percentile `p` by nearest rank, in milliseconds. Not a number if there are no delays.
    pub fn percentile(&self, p: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (p * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1e3)
    }

    /// The column heads of [`cells`](Self::cells).
    pub fn heads() -> Vec<String> {
        let edges = EDGES.iter().map(|edge| format!("<{edge}"));
        let last = EDGES.last().map(|edge| format!(">={edge}"));
        ["n", "p50", "p90", "p99", "max"].map(String::from).into_iter().chain(edges).chain(last).collect()
    }

    /// Number, percentiles and maximum in milliseconds, then the count of each histogram column.
    pub fn cells(&self) -> Vec<String> {
        let figures = [0.5, 0.9, 0.99, 1.0].map(|p| format!("{:.1}", self.percentile(p)));
        let mut columns = [0; EDGES.len() + 1];
        for delay in &self.0 {
            columns[EDGES.partition_point(|edge| Duration::from_millis(*edge) <= *delay)] += 1;
        }
        let columns = columns.map(|n: usize| n.to_string());
        [self.len().to_string()].into_iter().chain(figures).chain(columns).collect()
    }
}

impl Extend<Duration> for Delays {
    fn extend<T: IntoIterator<Item = Duration>>(&mut self, delays: T) {
        self.0.extend(delays);
    }
}

impl<'a> IntoIterator for &'a Delays {
    type Item = Duration;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, Duration>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delay_is_counted_once() {
        let mut delays = Delays::default();
        delays.extend([3, 1, 200, 0].map(Duration::from_millis));
        let cells = ["4", "1.0", "200.0", "200.0", "200.0", "1", "1", "1", "0", "0", "0", "0", "1"];
        assert_eq!(delays.cells(), cells);
        assert_eq!(delays.cells().len(), Delays::heads().len());
        assert!(Delays::default().percentile(0.5).is_nan());
    }
}
