//! What every managed kind has: the org it belongs to, how it is enforced, and access to both for the
//! generic reconcile.

use std::time::Duration;

use kube::{KubeSchema, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::durations;
use super::status::ManagedStatus;

/// A reference to the connection that an object uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrgRef {
    /// Name of the GenesysOrg.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the GenesysOrg; the object's own namespace when unset. Another namespace must be granted there
    /// by `allowedNamespaces`, and needs an operator that watches all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

/// A duration as Go writes it: `90s`, `10m`, `1h30m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GoDuration(#[schemars(length(max = 32))] pub String);

impl GoDuration {
    /// The duration, or `None` where the text is not of the form `GO_DURATION` or overflows.
    pub fn get(&self) -> Option<Duration> {
        let mut total: u64 = 0;
        let mut digits = String::new();
        for c in self.0.chars() {
            let unit = match c {
                '0'..='9' => {
                    digits.push(c);
                    continue;
                }
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return None,
            };
            let count: u64 = std::mem::take(&mut digits).parse().ok()?;
            total = total.checked_add(count.checked_mul(unit)?)?;
        }
        (digits.is_empty() && !self.0.is_empty()).then(|| Duration::from_secs(total))
    }
}

/// What to do about a difference: `Enforce` (when unset) writes it; `ReportDrift` writes a change of this spec and only reports what
/// others changed; `Observe` never writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Policy {
    /// Write every difference, whoever made it.
    #[default]
    Enforce,
    /// Write a change of the spec; only report what others changed.
    ReportDrift,
    /// Never write; report every difference.
    Observe,
}

/// Whether a person must approve a plan before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// With `true`, a plan that would write waits in `status.pendingPlan` until the annotation
    /// `assist-operator.dev/approve-plan` holds its digest. Not required when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

/// Fields that every managed kind has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedSpec {
    /// The GenesysOrg that holds the connection. Immutable: create another object instead; deleting this one leaves Genesys as it is.
    #[x_kube(validation = ("self == oldSelf", "orgRef is immutable: create a new object and delete this one; deletion leaves Genesys as it is"))]
    pub org_ref: OrgRef,
    /// With `true`, nothing is read or written for this object until it is `false` or removed. Not suspended when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Whether a person approves each plan before it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// How drift is found and what is done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enforcement {
    /// What to do about a difference: `Enforce` (when unset) writes it; `ReportDrift` writes a change of this spec and
    /// only reports what others changed; `Observe` never writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Time between two drift checks, for example `10m`, which is also the value when unset; at least `30s`. A check may
    /// come up to a tenth earlier, never later unless the org's call budget is too small (`BudgetSufficient` on the org).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = durations::form("interval must be a duration such as 90s, 10m or 1h30m"))]
    #[x_kube(validation = durations::range("30s", "interval must be at least 30s, since the API allows few calls a minute, and at most 8760h"))]
    pub interval: Option<GoDuration>,
}

/// Drift check interval where `spec.interval` is unset.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);
/// Longest duration of a spec: a year.
pub const MAX_DURATION: Duration = Duration::from_secs(8760 * 3600);
/// Smallest drift check interval.
pub const MIN_INTERVAL: Duration = Duration::from_secs(30);

/// A managed custom resource, seen by the generic reconcile.
pub trait Managed: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The parts of [`ManagedStatus`] that not every kind has, and this one does: its CRD knows no others.
    const PARTS: &'static [&'static str] = &[];

    /// The fields that every kind has.
    fn managed(&self) -> &ManagedSpec;
    /// The status, where one was ever written.
    fn status(&self) -> Option<&ManagedStatus>;
    /// Time between drift checks; never below [`MIN_INTERVAL`].
    fn interval(&self) -> Duration;
    /// What may be done about a difference.
    fn policy(&self) -> Policy;
    /// Id of the remote object that this object claims.
    fn remote_id(&self) -> &str;
    /// Reads that one check of the remote takes.
    fn reads_a_check(&self) -> usize {
        1
    }
}

/// The effective time between two checks: `unset` where the text is unset or unreadable.
pub fn interval(text: Option<&GoDuration>, unset: Duration) -> Duration {
    text.and_then(GoDuration::get).unwrap_or(unset).clamp(MIN_INTERVAL, MAX_DURATION)
}

impl Enforcement {
    /// The effective interval: unset or unreadable is [`DEFAULT_INTERVAL`].
    pub fn effective_interval(&self) -> Duration {
        interval(self.interval.as_ref(), DEFAULT_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_read_as_go_reads_them() {
        let get = |text: &str| GoDuration(text.into()).get();
        assert_eq!(get("90s"), Some(Duration::from_secs(90)));
        assert_eq!(get("1h30m"), Some(Duration::from_secs(5400)));
        for bad in ["", "10", "m", "10 m", "-1s", "1d", "99999999999999999999h"] {
            assert_eq!(get(bad), None, "{bad}");
        }
    }
}
