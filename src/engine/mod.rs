//! The decisions, without IO: rules, the generic field diff, plans and what may run of them, scores.
//!
//! No async, no clock, no client: time comes in as a value, and everything that goes out is a value.

pub mod agent_assist_config;
pub mod decimal;
pub mod declared;
pub mod diff;
pub mod display;
pub mod finding;
pub mod gate;
pub mod genesys_org;
pub mod json;
pub mod kind;
pub mod memory;
pub mod offline;
pub mod plan;
pub mod pointer;
pub mod prompt_template;
pub mod prompt_text;
pub mod propagation;
pub mod routing_profile;
pub mod scoring;
pub mod skill_policy;
pub mod skill_profile;
pub mod words;

pub use finding::Finding;
pub use kind::{Kind, Observed, PlanInput, State};
pub use plan::{Action, Change, Guard, Plan, Step, Target, Why};
