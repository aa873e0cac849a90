//! Which cluster a command talks to.

use std::path::{Path, PathBuf};

use clap::Args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::project::cluster::Cluster;

/// The cluster of a command that needs one.
#[derive(Clone, Debug, Args)]
pub struct Access {
    /// Kubeconfig to use; otherwise what kubectl would use
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Access {
    /// Connects.
    ///
    /// # Errors
    /// See [`config`].
    pub async fn connect(&self) -> anyhow::Result<Cluster> {
        Cluster::connect(config(self.kubeconfig.as_deref(), self.context.as_deref()).await?)
    }
}

/// The configuration of a file and a context; without them what `kubectl` would use, then the service account of the pod.
///
/// # Errors
/// What is missing, and how to name a cluster.
pub async fn config(path: Option<&Path>, context: Option<&str>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
    Ok(match path {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| anyhow::anyhow!("kubeconfig {}: {error}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options).await?
        }
        None if context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await.map_err(|error| {
            anyhow::anyhow!("no cluster to connect to: {error}; give --kubeconfig, set KUBECONFIG, or run in a pod")
        })?,
    })
}
