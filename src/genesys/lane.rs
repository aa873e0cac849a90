//! The lanes in which calls wait for the budget, in order of priority (`design.md`, Lanes).

/// Why a call is made; decides who goes first. Declared in order of priority, so `Underway < Change < …` by [`Ord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A further call of an object that already holds a ticket. It is finished before anything new is begun.
    Underway,
    /// A user changed the spec.
    Change,
    /// An object that has never converged.
    First,
    /// A lost guard, or an error that is tried again.
    Retry,
    /// A foreign change is undone.
    Repair,
    /// The periodic drift check.
    Check,
    /// Which version handles live conversations (C4).
    Propagation,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Lane; 7] =
        [Lane::Underway, Lane::Change, Lane::First, Lane::Retry, Lane::Repair, Lane::Check, Lane::Propagation];

    /// A bounded name for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Underway => "underway",
            Lane::Change => "change",
            Lane::First => "first",
            Lane::Retry => "retry",
            Lane::Repair => "repair",
            Lane::Check => "check",
            Lane::Propagation => "propagation",
        }
    }

    /// The position in [`Lane::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Inside these lanes the newest and the oldest ticket take turns: a fresh edit must not wait behind a thousand others.
    pub(super) fn alternates(self) -> bool {
        matches!(self, Lane::Change | Lane::First)
    }
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_ordered_by_priority_and_index() {
        assert!(Lane::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Lane::ALL.iter().enumerate().all(|(i, lane)| lane.index() == i));
    }
}
