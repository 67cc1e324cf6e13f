//! Tables for a terminal: words to the left, figures to the right.

/// Lines of cells under column heads.
#[derive(Debug)]
pub struct Table {
    title: String,
    lines: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, heads: &[&str]) -> Table {
        Table { title: title.into(), lines: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a line; missing cells stay empty.
    pub fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    pub fn print(&self) {
        print!("{self}");
    }

    fn columns(&self) -> usize {
        self.lines.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(move |line| line.get(column)).map(String::as_str)
    }

    /// Whether all cells under the head begin like a number. The last column explains the others.
    fn holds_figures(&self, column: usize) -> bool {
        let inner = column > 0 && column + 1 < self.columns();
        inner && self.cells(column).skip(1).all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '+'))
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns: Vec<(usize, bool)> = (0..self.columns())
            .map(|column| {
                let width = self.cells(column).map(|cell| cell.chars().count()).max();
                (width.unwrap_or(0), self.holds_figures(column))
            })
            .collect();
        writeln!(f, "\n{}", self.title)?;
        for line in &self.lines {
            let mut text = String::new();
            for (column, (cell, (width, figures))) in line.iter().zip(&columns).enumerate() {
                text.push_str(if column == 0 { "  " } else { "   " });
                text.push_str(&if *figures { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let mut table = Table::new("times", &["verb", "us", "goal"]);
        table.line(["create".into(), "9.5".into(), "met".into()]);
        table.line(["all".into(), "10.5".into()]);
        assert_eq!(table.to_string(), "\ntimes\n  verb       us   goal\n  create    9.5   met\n  all      10.5\n");
    }
}
