//! Assist Operator.
pub mod api;
pub mod engine;
