//! The client layer and the loop around it (`remote::converge`) against the project's sandbox over loopback, with faults. What happened is
//! read from the sandbox's journal; the status is the one that the controller would write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod held;
mod prompt_stage;
mod skill_profiles;
mod skill_stage;
mod stage;
mod wire;

mod audit;
mod audit_wire;
mod bodies;
mod conflicts;
mod credentials;
mod documents;
mod failures;
mod gates;
mod guards;
mod hostile_text;
mod intents;
mod lost_answers;
mod memory;
mod not_kept;
mod prompt_conflicts;
mod prompt_guards;
mod prompt_intents;
mod prompt_lost_answers;
mod prompt_promotions;
mod prompt_texts;
mod prompt_wire;
mod propagation;
mod redirects;
mod refusals;
mod restore;
mod skill_policies;
mod skill_policy_alerts;
mod skill_policy_failures;
mod skill_policy_intents;
mod skills_wire;
mod throttling;
mod tls;
