//! The operator together with the tools that bring manifests to a cluster, all of them real and built from released Go modules.
//! They are ignored by a plain `cargo test`, for the tools take minutes to build: `./test --gitops` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod argo;
mod argocd;
mod argocd_scripts;
mod chart;
#[path = "../cluster/control_plane.rs"]
mod control_plane;
mod flux;
mod monitoring;
mod recorded;
mod repository;
#[path = "../cluster/stage.rs"]
mod stage;
mod tools;
