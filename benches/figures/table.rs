//! The table: figure, what must be, what was measured, and whether it holds.

/// One line.
#[derive(Clone, Debug)]
pub struct Row {
    figure: String,
    goal: String,
    measured: String,
    ok: Option<bool>,
}

impl Row {
    /// A figure with a goal.
    pub fn new(figure: impl Into<String>, goal: impl Into<String>, measured: impl Into<String>, ok: bool) -> Self {
        Self { figure: figure.into(), goal: goal.into(), measured: measured.into(), ok: Some(ok) }
    }

    /// A number without a goal.
    pub fn info(figure: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { figure: figure.into(), goal: String::new(), measured: measured.into(), ok: None }
    }

    /// A count that has to be exactly so.
    pub fn exactly(figure: impl Into<String>, goal: usize, measured: usize, detail: &str) -> Self {
        Self::new(figure, goal.to_string(), with(measured, detail), measured == goal)
    }

    /// A count that may be at most so.
    pub fn at_most(figure: impl Into<String>, goal: usize, measured: usize, detail: &str) -> Self {
        Self::new(figure, format!("≤ {goal}"), with(measured, detail), measured <= goal)
    }

    fn cells(&self) -> [&str; 4] {
        let ok = match self.ok {
            Some(true) => "yes",
            Some(false) => "MISSED",
            None => "",
        };
        [&self.figure, &self.goal, &self.measured, ok]
    }
}

fn with(count: usize, detail: &str) -> String {
    if detail.is_empty() { count.to_string() } else { format!("{count} ({detail})") }
}

/// Prints a table that reads as text and as Markdown.
pub fn print(rows: &[Row]) {
    let head = ["figure", "must be", "measured", "ok"];
    let lines: Vec<[&str; 4]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let row = |line: &[&str; 4]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!(" {cell:width$} "));
        format!("|{}|", cells.collect::<Vec<_>>().join("|"))
    };
    let rule = format!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
    anstream::println!("{}\n{rule}", row(&head));
    lines.iter().skip(1).for_each(|line| anstream::println!("{}", row(line)));
}

/// Median and greatest of a list; zero of an empty one.
pub fn spread(samples: &[f64]) -> (f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted.get(sorted.len() / 2).copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0))
}
