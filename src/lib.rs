//! GitOps for Genesys Cloud agent assist: a Kubernetes operator that makes live configuration equal to YAML, guarded by
//! ETags and versions. `ARCHITECTURE.md` has the map; a layer may use only what it says.

pub mod api;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod engine;
pub mod genesys;
pub mod kinds;
pub mod remote;
pub mod sandbox;
