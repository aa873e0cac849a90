//! The operator binary against a real kube-apiserver and etcd, with `kubectl` as the hand that applies, and the sandbox as Genesys.
//! What happened is read from the sandbox's journal and from the API server, never from the operator's claims.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod control_plane;
mod stage;

mod admission;
mod approval;
mod audit;
mod convergence;
mod credentials;
mod deletion;
mod docs;
mod drift;
mod examples;
mod failover;
mod faults;
mod fleet;
mod link;
mod meanwhile;
mod operations;
mod orgs;
mod ownership;
mod policies;
mod prompt_admission;
mod prompts;
mod restart;
mod skill_admission;
mod skills;
mod validate;
mod workflow;
