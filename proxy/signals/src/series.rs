//! What a series is.

/// What kind of series it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rises only, and starts again at 0 with the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by upper bound.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One family of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// The name in an expression. A histogram's series add `_bucket`, `_sum` and `_count` to it.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Names of its labels, apart from a histogram's `le`.
    pub labels: &'static [&'static str],
    /// What it says, without a full stop at the end.
    pub help: &'static str,
}

impl Series {
    /// The name of the family: a counter's without the suffix that the encoder adds.
    pub fn family(&self) -> &'static str {
        self.name.trim_end_matches("_total")
    }
}
