//! The binary.

use std::process::ExitCode;

use assist_operator::cli::{self, Cli};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    // Two TLS users in one binary: without a default provider the first client would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anstream::eprintln!("error: the TLS provider was already set; this is a defect");
        return ExitCode::FAILURE;
    }
    match Box::pin(cli::main(Cli::parse())).await {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
