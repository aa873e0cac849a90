//! Approval: what waits, what one approval covers, and what it does not.
