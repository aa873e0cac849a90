//! The sandbox over its own wire, with a plain HTTP client.

mod admin;
mod audit_sink;
mod contract;
mod faults;
mod oauth;
mod prompts;
mod skills;
mod support;
