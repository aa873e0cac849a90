use super::*;
use crate::api::conditions::{IN_SYNC, STALLED};
use crate::api::status::RemoteState;
use crate::controller::watch::is_propagating;
use crate::engine::kind::Blocked;
use crate::engine::{Change, Plan};
use serde_json::json;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn facts(previous: &ManagedStatus) -> Facts<'_> {
    Facts {
        generation: 2,
        policy: Policy::Enforce,
        requested: None,
        approved: None,
        previous,
        watch: None,
        traffic: None,
        now: at(0),
    }
}

fn convergence(end: End) -> Convergence {
    let remote = RemoteState { host: "h".into(), id: "c1".into(), version: Some("7".into()), etag: None };
    let plan = Some(Plan::default());
    Convergence {
        remote,
        observed: true,
        plan,
        applied: None,
        written: Vec::new(),
        conflicts: 0,
        intent: None,
        unconfirmed: None,
        taken: None,
        evaluated: None,
        resumed: false,
        retry_after: None,
        alerts: Vec::new(),
        alert_failure: None,
        digest: None,
        approved: None,
        action: None,
        keep_intent: false,
        end,
    }
}

fn failure(reason: Reason, unreadable: bool) -> Failure {
    Failure { reason, message: "m".into(), unreadable, retry: Retry::BackOff, correlation_id: None }
}

/// Ready, Reconciling, Stalled, InSync and the reason of Ready.
fn shown(status: &ManagedStatus) -> (String, bool, bool, String, String) {
    let get = |kind| conditions::find(&status.conditions, kind).map(|c| c.status.clone());
    let reason = ready_reason(status).unwrap_or_default().to_owned();
    let text = |kind| get(kind).unwrap_or_else(|| "-".into());
    (text(READY), get(RECONCILING).is_some(), get(STALLED).is_some(), text(IN_SYNC), reason)
}

#[test]
fn every_end_shows_as_the_table_of_conditions_says() {
    let held = |reason| End::Held { reason, message: "m".into(), until: None };
    let blocked = |reason| End::Blocked(Blocked::new(reason, "m"));
    let cases = [
        (End::Done, "True", false, false, "True", "Succeeded"),
        (held(Reason::AwaitingApproval), "False", true, false, "False", "AwaitingApproval"),
        (held(Reason::ChangeBudgetExceeded), "False", true, false, "False", "ChangeBudgetExceeded"),
        (blocked(Reason::NotFound), "False", false, true, "False", "NotFound"),
        (blocked(Reason::RemoteRejected), "False", false, true, "False", "RemoteRejected"),
        (End::LostGuard("m".into()), "False", true, false, "False", "ConflictDetected"),
        (End::NotKept("m".into()), "False", false, true, "False", "NotConverging"),
        (End::Failed(failure(Reason::OrgUnavailable, true)), "Unknown", true, false, "Unknown", "OrgUnavailable"),
        (End::Failed(failure(Reason::RateLimited, false)), "False", true, false, "False", "RateLimited"),
        (End::Failed(failure(Reason::AuthenticationFailed, true)), "Unknown", false, true, "Unknown", "AuthenticationFailed"),
        (End::Refused("d".into(), failure(Reason::PermissionDenied, false)), "False", false, true, "False", "PermissionDenied"),
        (End::Halted("m".into()), "False", true, false, "Unknown", "Progressing"),
    ];
    for (end, ready, reconciling, stalled, in_sync, reason) in cases {
        let previous = ManagedStatus::default();
        let convergence = convergence(end.clone());
        let outcome = outcome(&Verdict::Converged(&convergence), &facts(&previous));
        let want = (ready.to_owned(), reconciling, stalled, in_sync.to_owned(), reason.to_owned());
        assert_eq!(shown(&outcome.status), want, "{end:?}");
        assert_eq!(outcome.status.observed_generation, 2, "also on failures");
    }
}

#[test]
fn a_missing_dependency_is_stalled_after_its_patience() {
    let previous = ManagedStatus::default();
    for (seconds, stalled) in [(0, false), (299, false), (300, true)] {
        let verdict =
            Verdict::Dependency { reason: Reason::DependencyNotFound, message: "m".into(), waited: Duration::from_secs(seconds) };
        let (ready, reconciling, is_stalled, ..) = shown(&outcome(&verdict, &facts(&previous)).status);
        assert_eq!((ready.as_str(), reconciling, is_stalled), ("False", !stalled, stalled), "{seconds}");
    }
}

#[test]
fn suspended_leaves_ready_as_it_was_unless_the_content_was_never_applied() {
    let done = outcome(&Verdict::Converged(&convergence(End::Done)), &facts(&ManagedStatus::default())).status;
    let suspended = |unapplied| outcome(&Verdict::Suspended { by: "spec.suspend", unapplied }, &facts(&done)).status;
    assert_eq!(shown(&suspended(false)), ("True".into(), false, false, "True".into(), "Suspended".into()));
    assert_eq!(shown(&suspended(true)).0, "Unknown");
}

#[test]
fn no_field_and_no_event_changes_when_no_fact_changed() {
    let first = outcome(&Verdict::Converged(&convergence(End::Done)), &facts(&ManagedStatus::default()));
    assert_eq!(first.event.map(|e| e.reason), Some("Succeeded"));
    let later = Facts { now: at(3600), ..facts(&first.status) };
    let again = outcome(&Verdict::Converged(&convergence(End::Done)), &later);
    assert_eq!((again.status, again.event), (first.status, None));
}

#[test]
fn reported_drift_keeps_when_it_was_first_seen() {
    let plan = Plan {
        drift: vec![Change { path: "/a".into(), from: Some(json!(2)), to: Some(json!(1)), prose: false }],
        ..Plan::default()
    };
    let drifted = Convergence { plan: Some(plan), ..convergence(End::Done) };
    let none = ManagedStatus::default();
    let report =
        |previous, now| outcome(&Verdict::Converged(&drifted), &Facts { policy: Policy::ReportDrift, now, ..facts(previous) });
    let first = report(&none, at(0));
    assert_eq!(shown(&first.status), ("True".into(), false, false, "False".into(), "DriftReported".into()));
    assert_eq!(first.event.map(|e| e.reason), Some("DriftDetected"));
    let second = report(&first.status, at(600));
    assert_eq!((second.status, second.event), (first.status, None));
}

#[test]
fn propagation_ends_verified_unverified_or_timed_out() {
    let watch = Watch { gate: true, timeout: Duration::from_secs(600) };
    let none = ManagedStatus::default();
    let begun = outcome(&Verdict::Converged(&convergence(End::Done)), &Facts { watch: Some(&watch), ..facts(&none) }).status;
    assert_eq!(shown(&begun), ("False".into(), true, false, "True".into(), "AwaitingPropagation".into()));
    assert!(is_propagating(&begun));
    let polled = |traffic, seconds| {
        outcome(&Verdict::Polled(None), &Facts { watch: Some(&watch), traffic: Some(traffic), now: at(seconds), ..facts(&begun) })
            .status
    };
    assert_eq!(shown(&polled(Traffic::Verified, 30)).4, "Verified");
    assert_eq!(shown(&polled(Traffic::Pending, 599)).4, "AwaitingPropagation");
    assert_eq!(shown(&polled(Traffic::Pending, 600)), ("False".into(), false, true, "True".into(), "PropagationTimeout".into()));
    assert_eq!(shown(&polled(Traffic::NoTraffic, 600)), ("True".into(), false, false, "True".into(), "Unverified".into()));
}

#[test]
fn a_panic_is_an_internal_error_and_stalled() {
    let previous = ManagedStatus::default();
    assert_eq!(
        shown(&outcome(&Verdict::Panicked, &facts(&previous)).status),
        ("False".into(), false, true, "Unknown".into(), "InternalError".into())
    );
}
