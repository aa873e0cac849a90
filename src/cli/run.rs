//! `run`: the controller.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use url::Url;

use super::kubernetes;
use super::logging::{self, LogFormat};
use crate::controller::lease::LeaseOptions;
use crate::controller::{self, Options, Replica};
use crate::engine::genesys_org::AllowedEndpoints;

/// Most calls to the API server that wait for their answer at once. Each takes a connection of its own, which holds its buffers until
/// the server closes it: with a slow server there were 700 of them, and 80 MiB more resident.
const MAX_CALLS: usize = 32;
/// What every pod has that may talk to the API server.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The API server gives up a call after a minute. Calls to one that is lost must not hold their places for ever.
const LONGEST_CALL: Duration = Duration::from_secs(65);

/// A holder has stopped so long before anybody else may begin.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// Arguments of `run`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Kubeconfig to use; otherwise KUBECONFIG, then the service account of the pod
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Watch this namespace only
    #[arg(long)]
    namespace: Option<String>,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// A custom endpoint that a GenesysOrg may name (repeatable)
    #[arg(long = "allow-endpoint", value_name = "URL")]
    allow_endpoints: Vec<Url>,
    /// Allow every custom endpoint: for tests, since whoever writes a GenesysOrg then chooses where credentials are sent
    #[arg(long)]
    allow_custom_endpoints: bool,
    /// Work only while holding a Lease, so that several replicas may run; on in a pod, off elsewhere
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leader_elect: Option<bool>,
    /// Name of the Lease; replicas of one installation share it
    #[arg(long, default_value = "assist-operator", value_name = "NAME")]
    lease_name: String,
    /// Namespace of the Lease; the pod's own when unset
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// So long after its last renewal another replica may take the Lease
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = super::duration)]
    lease_duration: Duration,
    /// So long after the last renewal its holder stops writing; at least a second shorter than the duration; two thirds of it when unset
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    lease_renew_deadline: Option<Duration>,
    /// Time between two renewals; at most half the deadline; two fifteenths of the duration when unset
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    lease_retry_period: Option<Duration>,
    /// Format of the log; its filter is taken from ASSIST_OPERATOR_LOG or RUST_LOG
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// Runs until SIGTERM or SIGINT.
pub async fn main(args: Args) -> anyhow::Result<()> {
    logging::start(args.log_format)?;
    let mut config = kubernetes::config(args.kubeconfig.as_deref(), None).await?;
    config.headers.clear();
    let replica = args.replica(&config)?;
    let client = client(config)?;
    let shutdown = CancellationToken::new();
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = shutdown.clone();
    let signals = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new write starts, those under way are finished and recorded");
        stop.cancel();
        // A second signal does not wait.
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let allowed = AllowedEndpoints { all: args.allow_custom_endpoints, urls: args.allow_endpoints };
    if allowed.all {
        tracing::warn!("--allow-custom-endpoints: whoever writes a GenesysOrg chooses where credentials are sent");
    }
    let options = Options { namespace: args.namespace, listen: args.listen, allowed };
    tokio::select! {
        result = controller::run(client, options, replica, shutdown) => result,
        () = signals => anyhow::bail!("stopped by a second signal before the work under way was finished"),
    }
}

impl Args {
    /// The lease and a client for it: renewals must not wait behind the calls that the other client limits.
    fn replica(&self, config: &Config) -> anyhow::Result<Option<Replica>> {
        if !self.leader_elect.unwrap_or_else(|| Path::new(POD).exists()) {
            return Ok(None);
        }
        let (duration, renew_deadline, retry_period) = self.times()?;
        let namespace = self.lease_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let options = LeaseOptions { namespace, name: self.lease_name.clone(), duration, renew_deadline, retry_period };
        Ok(Some((Client::try_from(config.clone())?, options)))
    }

    /// The three times of a lease. Those that are unset stand to the duration as client-go's: 15, 10 and 2 seconds.
    fn times(&self) -> anyhow::Result<(Duration, Duration, Duration)> {
        let duration = self.lease_duration;
        let renew_deadline = self.lease_renew_deadline.unwrap_or(duration * 2 / 3);
        let retry_period = self.lease_retry_period.unwrap_or(duration * 2 / 15);
        if renew_deadline + LEASE_MARGIN > duration {
            anyhow::bail!(
                "--lease-renew-deadline {renew_deadline:?} must be at least {LEASE_MARGIN:?} shorter than --lease-duration {duration:?}, which takes 3s when the deadline is unset"
            );
        }
        if retry_period.is_zero() || retry_period * 2 > renew_deadline {
            anyhow::bail!(
                "--lease-retry-period {retry_period:?} must be more than nothing, and at most half of --lease-renew-deadline {renew_deadline:?}"
            );
        }
        Ok((duration, renew_deadline, retry_period))
    }
}

/// A client that keeps the limits. What a watch takes is its place until it begins; the stream is not limited.
fn client(config: Config) -> kube::Result<Client> {
    let limits = ServiceBuilder::new().concurrency_limit(MAX_CALLS).timeout(LONGEST_CALL).into_inner();
    Ok(ClientBuilder::try_from(config)?.with_layer(&limits).build())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn times(args: &[&str]) -> Result<(f64, f64, f64), String> {
        let line = Line::try_parse_from([&["run"], args].concat()).map_err(|error| error.to_string())?;
        let (duration, deadline, period) = line.args.times().map_err(|error| error.to_string())?;
        Ok((duration.as_secs_f64(), deadline.as_secs_f64(), period.as_secs_f64()))
    }

    #[test]
    fn the_times_of_a_lease_follow_from_its_duration() {
        assert_eq!(times(&[]), Ok((15.0, 10.0, 2.0)));
        assert_eq!(times(&["--lease-duration=60s"]), Ok((60.0, 40.0, 8.0)));
        assert_eq!(times(&["--lease-duration=60s", "--lease-retry-period=1s"]), Ok((60.0, 40.0, 1.0)));
        assert!(times(&["--lease-duration=3s"]).is_ok());
    }

    #[test]
    fn times_that_leave_no_margin_are_refused() {
        for (args, part) in [
            (&["--lease-duration=2s"][..], "at least 1s shorter"),
            (&["--lease-duration=15s", "--lease-renew-deadline=15s"], "at least 1s shorter"),
            (&["--lease-renew-deadline=3s"][..], "at most half"),
        ] {
            let why = times(args).unwrap_err();
            assert!(why.contains(part), "{args:?}: {why}");
        }
    }
}
