//! Statistics: means and percentiles of one run's times, then median and spread over the runs.
//!
//! A median of five runs survives one disturbed run, and the spread shows how far the others may be trusted. A mean
//! over all runs together would do neither.

/// The times of one run, or other numbers.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Takes the numbers in any order.
    pub fn new(mut numbers: Vec<f64>) -> Sample {
        numbers.sort_by(f64::total_cmp);
        Sample(numbers)
    }

    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The percentile `p` by nearest rank, so it is a measured number.
    pub fn percentile(&self, p: f64) -> f64 {
        let rank = (p * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.percentile(0.5)
    }

    pub fn max(&self) -> f64 {
        self.percentile(1.0)
    }
}

/// One figure, with its runs.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// One number for each run.
    pub fn over(runs: impl IntoIterator<Item = f64>) -> Spread {
        let runs = Sample::new(runs.into_iter().collect());
        Spread { min: runs.percentile(0.0), median: runs.median(), max: runs.max() }
    }

    /// `median (min..max)`, with this number of decimals.
    pub fn show(&self, decimals: usize) -> String {
        let Spread { min, median, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}..{max:.decimals$})")
    }

    /// The same with a sign before the median: a difference.
    pub fn show_difference(&self, decimals: usize) -> String {
        let Spread { min, median, max } = self;
        format!("{median:+.decimals$} ({min:.decimals$}..{max:.decimals$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_numbers() {
        let sample = Sample::new((1..=100).rev().map(f64::from).collect());
        assert_eq!((sample.percentile(0.0), sample.median(), sample.percentile(0.99)), (1.0, 50.0, 99.0));
        assert_eq!((sample.max(), sample.mean()), (100.0, 50.5));
        assert_eq!(Sample::new(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert!(Sample::default().median().is_nan());
    }

    #[test]
    fn a_spread_shows_the_middle_first() {
        let spread = Spread::over([3.0, 1.0, 2.0]);
        assert_eq!((spread.show(0), spread.show_difference(1)), ("2 (1..3)".into(), "+2.0 (1.0..3.0)".into()));
    }
}
