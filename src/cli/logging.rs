//! The log: text or JSON on standard error, filtered by `ASSIST_OPERATOR_LOG` or `RUST_LOG`.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The libraries say every reconcile at info; the operator does that itself.
const DEFAULT_FILTER: &str = "info,kube_runtime=warn,kube_client=warn";

/// Starts the log.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(format: LogFormat) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the log filter is read here only")]
    let filter =
        std::env::var("ASSIST_OPERATOR_LOG").or_else(|_| std::env::var("RUST_LOG")).unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        anyhow::anyhow!("log filter {filter:?} cannot be read: {error}; write it as info or assist_operator=debug")
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
