//! Figures and how they spread.

use std::fmt;

use sluice_e2e::stats::quantile;

/// One row.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// All rows so far; printed as Markdown.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds one measured value to the row of this name.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.values.push(value),
            None => self.rows.push(Row { name: name.to_owned(), unit, values: vec![value] }),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | unit | times | min | median | p99 | max |\n|---|---|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            let mut values = row.values.clone();
            values.sort_by(f64::total_cmp);
            let (min, max) = (values.first().copied().unwrap_or_default(), values.last().copied().unwrap_or_default());
            let times = values.len();
            writeln!(
                f,
                "| {} | {} | {times} | {min:.3} | {:.3} | {:.3} | {max:.3} |",
                row.name,
                row.unit,
                quantile(&values, 0.5),
                quantile(&values, 0.99)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_row_says_how_often_it_was_measured() {
        let mut table = Table::default();
        table.add("a", "s", 2.0);
        table.add("a", "s", 1.0);
        assert!(table.to_string().contains("| a | s | 2 | 1.000 | 1.500 | 1.990 | 2.000 |"), "{table}");
    }
}
