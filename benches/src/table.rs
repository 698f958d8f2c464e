//! A table as text for people and as JSON for programs.

use std::fmt;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use serde_json::json;

/// Figures in rows; the first column is text.
#[derive(Debug, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// How the figures were got.
    pub notes: Vec<String>,
    /// Heading and unit of each column of figures.
    pub columns: Vec<Column>,
    /// In groups.
    pub rows: Vec<Row>,
}

/// One column.
#[derive(Debug, Serialize)]
pub struct Column {
    /// What is in it, with the unit.
    pub heading: &'static str,
    /// Digits after the point.
    pub digits: usize,
}

/// One row.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The heading that it stands under; may be empty.
    pub group: String,
    /// What the figures are of.
    pub name: String,
    /// One for each column; `None` where there is nothing to say.
    pub figures: Vec<Option<f64>>,
}

impl Table {
    /// Prints it, and writes it as `NAME.txt` and `NAME.json` into a directory.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn publish(&self, directory: &Path, name: &str) -> Result<(), String> {
        let about = About::read();
        let text = format!("{self}\n{about}");
        print!("{text}");
        let json = json!({ "about": about, "table": self });
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(directory.join(format!("{name}.txt")), &text))
            .and_then(|()| std::fs::write(directory.join(format!("{name}.json")), format!("{json:#}\n")))
            .map_err(|error| format!("cannot write the table into {}: {error}", directory.display()))
    }

    fn cell(&self, row: &Row, nth: usize) -> String {
        match row.figures.get(nth).copied().flatten() {
            Some(figure) => format!("{figure:.*}", self.columns[nth].digits),
            None => "-".to_owned(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rows.iter().map(|row| row.name.len() + 2).max().unwrap_or(0);
        let width = |nth: usize| {
            let cells = self.rows.iter().map(|row| self.cell(row, nth).len());
            cells.max().unwrap_or(0).max(self.columns[nth].heading.len()) + 3
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        writeln!(f, "{}\n", self.title)?;
        write!(f, "{:names$}", "")?;
        for (column, width) in self.columns.iter().zip(&widths) {
            write!(f, "{:>width$}", column.heading)?;
        }
        writeln!(f)?;
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = &row.group;
                writeln!(f, "{group}")?;
            }
            write!(f, "  {:width$}", row.name, width = names - 2)?;
            for (nth, width) in widths.iter().enumerate() {
                write!(f, "{:>width$}", self.cell(row, nth))?;
            }
            writeln!(f)?;
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// What the figures hold for.
#[derive(Debug, Serialize)]
struct About {
    processor: String,
    cores: usize,
    toolchain: String,
    command: &'static str,
}

impl About {
    fn read() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
        let toolchain = Command::new("rustc").arg("--version").output();
        Self {
            processor: model.unwrap_or("unknown processor").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            toolchain: toolchain.map_or_else(
                |_| "unknown toolchain".to_owned(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ),
            command: "cargo xtask bench",
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, toolchain, command } = self;
        writeln!(f, "{processor}, {cores} cores; {toolchain}; `{command}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_gaps_are_dashes() {
        let row = |group: &str, name: &str, figures| Row { group: group.to_owned(), name: name.to_owned(), figures };
        let table = Table {
            title: "Cost".to_owned(),
            notes: vec!["A note.".to_owned()],
            columns: vec![Column { heading: "ns", digits: 1 }, Column { heading: "ratio", digits: 0 }],
            rows: vec![row("sync", "plain", vec![Some(1.25), None]), row("sync", "b", vec![Some(123.0), Some(9.0)])],
        };
        let text =
            "Cost\n\n             ns   ratio\nsync\n  plain     1.2       -\n  b       123.0       9\n\nA note.\n";
        assert_eq!(table.to_string(), text);
    }
}
