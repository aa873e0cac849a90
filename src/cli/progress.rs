//! How far a command is, on standard error: a line that moves on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal, as in the log of a pipeline.
const QUIET: Duration = Duration::from_secs(15);
/// Between two changes of the line of a terminal.
const SMOOTH: Duration = Duration::from_millis(100);

/// See the module.
pub struct Progress {
    doing: &'static str,
    total: usize,
    done: usize,
    began: Instant,
    told: Instant,
    terminal: bool,
}

impl Progress {
    /// Of `total` objects.
    pub fn new(doing: &'static str, total: usize) -> Self {
        let now = Instant::now();
        Self { doing, total, done: 0, began: now, told: now, terminal: std::io::stderr().is_terminal() }
    }

    /// One more is done.
    pub fn step(&mut self) {
        self.done += 1;
        let every = if self.terminal { SMOOTH } else { QUIET };
        if self.told.elapsed() < every || self.done == self.total {
            return;
        }
        self.told = Instant::now();
        let line = line(self.doing, self.done, self.total, self.began.elapsed());
        // Whoever closed standard error does not want to know.
        let _ = match self.terminal {
            true => write!(std::io::stderr(), "\r\x1b[2K{line}"),
            false => writeln!(std::io::stderr(), "{line}"),
        };
    }

    /// Takes the line off a terminal.
    pub fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// What is left follows from what was done: the call budget makes it steady.
fn line(doing: &str, done: usize, total: usize, took: Duration) -> String {
    let left = took.mul_f64(total.saturating_sub(done) as f64 / done.max(1) as f64).as_secs();
    format!("{doing}: {done} of {total} objects, about {left} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_done() {
        assert_eq!(line("reading", 25, 100, Duration::from_secs(10)), "reading: 25 of 100 objects, about 30 s left");
        assert_eq!(line("reading", 0, 100, Duration::ZERO), "reading: 0 of 100 objects, about 0 s left");
    }
}
