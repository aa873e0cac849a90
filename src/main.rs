//! The binary.

use std::process::ExitCode;

use assist_operator::cli::{self, Cli};
use assist_operator::engine::display;
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    // Two TLS users in one binary: without a default provider the first client would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anstream::eprintln!("error: the TLS provider was already set; this is a defect");
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Clap would end with 2, which says "changes" here.
            let is_error = error.use_stderr();
            return if error.print().is_err() || is_error { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match Box::pin(cli::main(cli)).await {
        Ok(code) => code,
        Err(error) => {
            if !cli::is_broken_pipe(&error) {
                // Its words may come from a server.
                for line in format!("error: {error:#}").lines() {
                    anstream::eprintln!("{}", display::escape(line));
                }
            }
            ExitCode::FAILURE
        }
    }
}
