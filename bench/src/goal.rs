//! The goals of docs/measurements.md, and whether a figure reaches one.

use std::fmt;

/// A bound on a figure, compared with the median over the runs.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtMost(f64, &'static str),
    AtLeast(f64, &'static str),
}

impl Goal {
    /// The goal, and `met` or `missed`.
    pub fn judge(self, figure: f64) -> String {
        let met = match self {
            Goal::AtMost(bound, _) => figure <= bound,
            Goal::AtLeast(bound, _) => figure >= bound,
        };
        format!("{self}: {}", if met { "met" } else { "missed" })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(bound, unit) => write!(f, "<= {bound}{unit}"),
            Goal::AtLeast(bound, unit) => write!(f, ">= {bound}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_exactly_is_met() {
        assert_eq!(Goal::AtMost(2.0, "x").judge(2.0), "<= 2x: met");
        assert_eq!(Goal::AtLeast(85.0, "/s").judge(84.9), ">= 85/s: missed");
        // Nothing was measured.
        assert_eq!(Goal::AtMost(2.0, "").judge(f64::NAN), "<= 2: missed");
    }
}
