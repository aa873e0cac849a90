//! `demo`: the main story on the embedded sandbox, with the real engine and the real client.

use clap::Args as ClapArgs;

/// Arguments of `demo`.
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Tells the story.
pub async fn main(_args: Args) -> anyhow::Result<()> {
    Ok(())
}
