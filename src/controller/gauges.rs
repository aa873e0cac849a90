//! What is counted when somebody asks for `/metrics`: objects by state, orgs by condition, budgets and waiting audit records. All of it is
//! read from the watch stores, so a replica that waits for the lease shows the same objects as the one that works.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::metrics::{ByCondition, ByKind, ByOrg, ByState, Metrics};
use super::org::{KIND as ORG_KIND, OrgContext};
use super::reconcile::{KindContext, Reconcilable, Shared};
use crate::api::conditions::{self, READY, Reason};

/// Brings gauges up to date.
pub type Refresh = Box<dyn Fn() + Send + Sync>;

/// One object, as far as it is counted.
struct Counted {
    ready: &'static str,
    reason: Reason,
    suspended: bool,
}

impl Counted {
    /// An object that this version of the operator cannot read.
    const UNREADABLE: Self = Self { ready: "False", reason: Reason::InvalidSpec, suspended: false };

    /// An object without `Ready` is one that was not looked at yet.
    fn of(conditions: &[Condition], suspend: Option<bool>) -> Self {
        let ready = conditions::find(conditions, READY);
        Self {
            ready: match ready.map(|ready| ready.status.as_str()) {
                Some("True") => "True",
                Some("False") => "False",
                _ => "Unknown",
            },
            reason: ready.and_then(|ready| Reason::of(&ready.reason)).unwrap_or(Reason::Progressing),
            suspended: suspend.unwrap_or(false),
        }
    }
}

/// Everything together.
pub fn all(shared: Arc<Shared>, refreshes: Vec<Refresh>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        refreshes.iter().for_each(|refresh| refresh());
        for (org, used, limit) in shared.orgs.budgets() {
            let labels = ByOrg { org };
            shared.metrics.budget_used.get_or_create(&labels).set(used.into());
            shared.metrics.budget_limit.get_or_create(&labels).set(limit.into());
        }
        for (org, records, oldest) in shared.outbox.backlog() {
            let labels = ByOrg { org };
            shared.metrics.audit_records.get_or_create(&labels).set(number(records));
            shared.metrics.audit_oldest.get_or_create(&labels).set(oldest.as_secs_f64());
        }
    })
}

/// Those of a kind.
pub fn of_kind<K: Reconcilable>(context: Arc<KindContext<K>>) -> Refresh {
    let kind = ByKind { kind: K::KIND };
    context.shared.metrics.begin_with_zero(&kind);
    Box::new(move || {
        let metrics = &context.shared.metrics;
        metrics.waiting.get_or_create(&kind).set(number(context.tickets.len()));
        metrics.since_observed.get_or_create(&kind).set(context.schedule.oldest_observation().as_secs_f64());
        let objects = context.store.state();
        let counted = objects.iter().map(|guarded| match &guarded.0 {
            Ok(object) => {
                let conditions = object.status().map_or(&[][..], |status| &status.conditions);
                Counted::of(conditions, object.managed().suspend)
            }
            Err(_) => Counted::UNREADABLE,
        });
        count(metrics, K::KIND, counted);
    })
}

/// Those of the orgs.
pub fn of_orgs(context: Arc<OrgContext>) -> Refresh {
    context.shared.metrics.begin_with_zero(&ByKind { kind: ORG_KIND });
    Box::new(move || {
        let metrics = &context.shared.metrics;
        let orgs = context.store.state();
        let mut shown = HashMap::new();
        let counted = orgs.iter().map(|guarded| match &guarded.0 {
            Ok(org) => {
                let conditions = org.status.as_ref().map_or(&[][..], |status| &status.conditions);
                let name = format!("{}/{}", org.namespace().unwrap_or_default(), org.name_any());
                let values = conditions.iter().map(|c| (ByCondition { org: name.clone(), r#type: c.type_.clone() }, value(c)));
                shown.extend(values);
                Counted::of(conditions, org.spec.suspend)
            }
            Err(_) => Counted::UNREADABLE,
        });
        count(metrics, ORG_KIND, counted);
        metrics.org_condition.set(|_| true, shown);
    })
}

/// A condition as a number.
fn value(condition: &Condition) -> i64 {
    match condition.status.as_str() {
        "True" => 1,
        "False" => 0,
        _ => -1,
    }
}

/// Sets the gauges of a kind. That of its ready objects is there in any case, so that a kind without objects shows as one.
fn count(metrics: &Metrics, kind: &'static str, objects: impl Iterator<Item = Counted>) {
    let state = |ready, reason: Reason| ByState { kind, ready, reason: reason.as_str() };
    let (mut states, mut suspended) = (HashMap::from([(state("True", Reason::Succeeded), 0)]), 0);
    for object in objects {
        *states.entry(state(object.ready, object.reason)).or_default() += 1;
        suspended += i64::from(object.suspended);
    }
    metrics.objects.set(|labels| labels.kind == kind, states);
    metrics.suspended.get_or_create(&ByKind { kind }).set(suspended);
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::{Stamp, set};

    fn counted(status: &str, reason: &str, suspend: Option<bool>) -> Counted {
        let at = Stamp { now: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH), generation: 1 };
        let mut conditions = Vec::new();
        set(&mut conditions, READY, status, reason, "", &at);
        Counted::of(&conditions, suspend)
    }

    fn series(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render();
        let of_objects =
            |line: &&str| line.starts_with("assist_operator_objects{") || line.starts_with("assist_operator_suspended");
        let mut lines: Vec<String> =
            text.lines().filter(of_objects).map(|line| line["assist_operator_".len()..].to_owned()).collect();
        lines.sort();
        lines
    }

    #[test]
    fn objects_are_counted_by_state_and_states_that_are_over_are_not_shown() {
        let metrics = Metrics::new();
        let all = vec![
            counted("False", "NotConverging", None),
            counted("False", "NotConverging", Some(false)),
            counted("True", "Suspended", Some(true)),
            counted("True", "a reason of a later version", None),
            Counted::of(&[], None),
            Counted::UNREADABLE,
        ];
        count(&metrics, "A", all.into_iter());
        count(&metrics, "B", std::iter::empty());
        let expected = [
            r#"objects{kind="A",ready="False",reason="InvalidSpec"} 1"#,
            r#"objects{kind="A",ready="False",reason="NotConverging"} 2"#,
            r#"objects{kind="A",ready="True",reason="Progressing"} 1"#,
            r#"objects{kind="A",ready="True",reason="Succeeded"} 0"#,
            r#"objects{kind="A",ready="True",reason="Suspended"} 1"#,
            r#"objects{kind="A",ready="Unknown",reason="Progressing"} 1"#,
            r#"objects{kind="B",ready="True",reason="Succeeded"} 0"#,
            r#"suspended_objects{kind="A"} 1"#,
            r#"suspended_objects{kind="B"} 0"#,
        ];
        assert_eq!(series(&metrics), expected);
        count(&metrics, "A", std::iter::once(counted("True", "Succeeded", None)));
        let expected = [
            r#"objects{kind="A",ready="True",reason="Succeeded"} 1"#,
            r#"objects{kind="B",ready="True",reason="Succeeded"} 0"#,
            r#"suspended_objects{kind="A"} 0"#,
            r#"suspended_objects{kind="B"} 0"#,
        ];
        assert_eq!(series(&metrics), expected);
    }

    #[test]
    fn a_condition_is_a_number() {
        let at = Stamp { now: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH), generation: 1 };
        let mut conditions = Vec::new();
        for status in ["True", "False", "Unknown"] {
            set(&mut conditions, status, status, "", "", &at);
        }
        assert_eq!(conditions.iter().map(value).collect::<Vec<_>>(), [1, 0, -1]);
    }
}
