//! The sandbox over its own wire, with a plain HTTP client.

mod admin;
mod contract;
mod faults;
mod oauth;
mod support;
