//! Phase 5: whether a plan may run now.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::plan::{Plan, Why};
use super::{json, pointer};
use crate::api::ManagedStatus;
use crate::api::conditions::Reason;
use crate::api::status::HistoryEntry;

/// Longest wait between two repairs of a contested path.
pub const LONGEST_REPAIR_WAIT: Duration = Duration::from_secs(6 * 3600);

/// Message of a write that waits for the change limit.
pub const LIMITED: &str = "changeLimit.perHour of the org is used up; the change is written when the hour has moved on";

/// Most repairs of drift in 24 hours where each leaves an immutable version behind.
pub const REPAIRS_A_DAY: usize = 3;

/// Message of a write that waits for room in the audit store.
pub const BACKLOG: &str = "the audit records of this org cannot be delivered and their store is full; nothing more is written until the webhook accepts records again (see AuditDelivered on the GenesysOrg)";

/// Message of a write that waits until the record of the one before it is safe.
pub const UNSAFE: &str = "the audit record of the last write could not be stored; nothing more is written until it is. Check that the operator may create AuditRecord objects; it is tried again";

/// What decides.
#[derive(Debug)]
pub struct GateInput<'a> {
    /// Whether a person must approve, by the object or its org.
    pub approval_required: bool,
    /// What a person would have to approve: [`approval_digest`].
    pub digest: &'a str,
    /// The digest in the approve annotation.
    pub approved: Option<&'a str>,
    /// The change limit of the org is used up until then.
    pub limited_until: Option<Timestamp>,
    /// The paths that the remote did not keep, where the live state is still the one that showed it.
    pub not_kept: Option<&'a str>,
    /// The plan with this digest was refused; it is tried again then.
    pub refused: Option<&'a Refusal>,
    /// Whether no more audit records can be kept.
    pub audit_full: bool,
    /// Most repairs in 24 hours, where they are limited.
    pub repairs_a_day: Option<usize>,
    /// The past writes, newest first.
    pub history: &'a [HistoryEntry],
    /// Generation of the object.
    pub generation: i64,
    /// Time between two drift checks.
    pub interval: Duration,
    /// A reconcile request: contested paths and refused plans are tried at once.
    pub requested: bool,
    /// The time.
    pub now: Timestamp,
}

/// A plan that the remote refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Digest of the plan; empty after a restart, where it is not known: any plan waits then.
    pub digest: String,
    /// Reason it was refused with.
    pub reason: Reason,
    /// Message it was refused with.
    pub message: String,
    /// When the same plan is tried again.
    pub until: Timestamp,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// There is nothing to write.
    Nothing,
    /// The steps may run.
    Run,
    /// They wait.
    Hold {
        /// Reason of the condition.
        reason: Reason,
        /// On what, and what to do.
        message: String,
        /// When to look again at the latest, where that is known.
        until: Option<Timestamp>,
    },
}

/// Decides.
pub fn decide(plan: &Plan, input: &GateInput<'_>) -> Gate {
    if plan.is_empty() {
        return Gate::Nothing;
    }
    if let (Some(message), false) = (input.not_kept, input.requested) {
        return hold(Reason::NotConverging, message, None);
    }
    if let Some(refusal) =
        input.refused.filter(|r| (r.digest.is_empty() || r.digest == plan.digest()) && r.until > input.now && !input.requested)
    {
        return hold(refusal.reason, &refusal.message, Some(refusal.until));
    }
    if let Some(until) = used_up(plan, input).filter(|_| !input.requested) {
        let most = input.repairs_a_day.unwrap_or_default();
        let message = format!(
            "it was repaired {most} times within 24 hours, and each repair makes a version that stays for ever; it is repaired next at {}. Agree with the other writer, or set spec.policy to ReportDrift",
            seconds(until)
        );
        return hold(Reason::Progressing, &message, Some(until));
    }
    if let Some((path, until)) = contested(plan, input).filter(|_| !input.requested) {
        let path = super::display::path(&path);
        let ignore = if input.repairs_a_day.is_none() { " list it in spec.ignore," } else { "" };
        let message = format!(
            "{path} is changed by somebody else again and again; it is repaired next at {}. Agree with the other writer,{ignore} or set spec.policy to ReportDrift",
            seconds(until)
        );
        return hold(Reason::Progressing, &message, Some(until));
    }
    if input.audit_full {
        return hold(Reason::AuditBacklog, BACKLOG, None);
    }
    let digest = input.digest;
    if input.approval_required && input.approved != Some(digest) {
        let message = format!("plan {digest} waits for approval: set the annotation {}={digest}", crate::api::APPROVE_PLAN);
        return hold(Reason::AwaitingApproval, &message, None);
    }
    match input.limited_until.filter(|_| plan.why() != Some(Why::Restore)) {
        Some(until) => hold(Reason::ChangeBudgetExceeded, LIMITED, Some(until)),
        None => Gate::Run,
    }
}

/// What a person approves: this plan for this organisation, `{API host, client id}`. An approval lets a plan run once: where the same changes
/// were written before, because somebody changed them back since, the digest is another one, and the annotation that is still there does
/// not count. Nor does one that was given for a plan which was withdrawn before it ran ([`ManagedStatus::voided_approval`]).
pub fn approval_digest(plan: &Plan, connection: &str, status: &ManagedStatus) -> String {
    let digest = plan.digest();
    let hashed = |text: String| {
        let mut hashed = json::hex(&Sha256::digest(text));
        hashed.truncate(digest.len());
        hashed
    };
    let mut runs = status.history.iter().filter(|entry| entry.digest == digest);
    // Times have seconds only, and a plan for several remote objects has no version.
    let run = runs.next().map(|last| format!(" {} {} {}", last.time.0, last.version, runs.count())).unwrap_or_default();
    let bound = hashed(format!("{digest} {connection}{run}"));
    if status.voided_approval.as_ref() == Some(&bound) { hashed(format!("{bound} again")) } else { bound }
}

fn hold(reason: Reason, message: &str, until: Option<Timestamp>) -> Gate {
    Gate::Hold { reason, message: message.to_owned(), until }
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// A path that had to be repaired again and again, and when its next repair is due: the wait doubles with each repair
/// in a row, from the interval up to [`LONGEST_REPAIR_WAIT`]. The first two repairs do not wait.
fn contested(plan: &Plan, input: &GateInput<'_>) -> Option<(String, Timestamp)> {
    if plan.why() != Some(Why::DriftRepair) {
        return None;
    }
    plan.changes()
        .filter_map(|change| Some((change.path.clone(), next_repair(&change.path, input)?)))
        .max_by_key(|(_, at)| *at)
        .filter(|(_, at)| *at > input.now)
}

/// When the next repair is allowed, where those of a day are used up.
fn used_up(plan: &Plan, input: &GateInput<'_>) -> Option<Timestamp> {
    let most = input.repairs_a_day.filter(|_| plan.why() == Some(Why::DriftRepair))?;
    let mut repairs = input.history.iter().filter(|entry| entry.why == Why::DriftRepair.as_str()).map(|entry| entry.time.0);
    let until = repairs.nth(most.checked_sub(1)?)?.checked_add(jiff::SignedDuration::from_hours(24)).ok()?;
    (until > input.now).then_some(until)
}

fn next_repair(path: &str, input: &GateInput<'_>) -> Option<Timestamp> {
    let mut repairs = 0_u32;
    let mut newest: Option<Timestamp> = None;
    let mut later = input.now;
    for entry in input.history.iter().take_while(|e| e.generation == input.generation) {
        let touches = entry.why == Why::DriftRepair.as_str()
            && entry.paths.iter().any(|p| pointer::covers(p, path) || pointer::covers(path, p));
        if !touches {
            continue;
        }
        let gap = Duration::try_from(later.duration_since(entry.time.0)).unwrap_or_default();
        if gap > wait(repairs + 2, input.interval).saturating_mul(2) {
            break;
        }
        repairs += 1;
        newest = newest.or(Some(entry.time.0));
        later = entry.time.0;
    }
    if repairs < 2 {
        return None;
    }
    let wait = jiff::SignedDuration::try_from(wait(repairs, input.interval)).ok()?;
    newest?.checked_add(wait).ok()
}

fn wait(repairs: u32, interval: Duration) -> Duration {
    let factor = 1_u32.checked_shl(repairs.saturating_sub(1)).unwrap_or(u32::MAX);
    interval.saturating_mul(factor).min(LONGEST_REPAIR_WAIT).max(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::{Action, Change, Guard, Step, Target};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn plan(why: Why) -> Plan {
        let change = Change { path: "/a".into(), from: Some(json!(1)), to: Some(json!(2)), prose: false };
        let step = Step {
            target: Target::new("config", "c1"),
            guard: Guard::None,
            action: Action::ConfigUpdate,
            why,
            version: "2".into(),
            changes: vec![change],
            body: Value::Null,
            before_hash: None,
            after_hash: None,
            tokens: None,
            level: None,
        };
        Plan { steps: vec![step], ..Plan::default() }
    }

    fn input(history: &[HistoryEntry]) -> GateInput<'_> {
        GateInput {
            approval_required: false,
            digest: "",
            approved: None,
            limited_until: None,
            not_kept: None,
            refused: None,
            audit_full: false,
            repairs_a_day: None,
            history,
            generation: 1,
            interval: Duration::from_secs(600),
            requested: false,
            now: at(0),
        }
    }

    fn repair(seconds: i64) -> HistoryEntry {
        HistoryEntry {
            version: "1".into(),
            writes: None,
            generation: 1,
            digest: String::new(),
            time: Time(at(seconds)),
            why: "DriftRepair".into(),
            paths: vec!["/a".into()],
        }
    }

    #[test]
    fn an_empty_plan_needs_no_gate() {
        assert_eq!(decide(&Plan::default(), &input(&[])), Gate::Nothing);
    }

    #[test]
    fn an_approval_is_bound_to_the_digest() {
        let plan = plan(Why::SpecChange);
        let digest = approval_digest(&plan, "api.example.com client", &ManagedStatus::default());
        let mut gate = input(&[]);
        (gate.approval_required, gate.digest) = (true, &digest);
        gate.approved = Some("0000");
        assert!(matches!(decide(&plan, &gate), Gate::Hold { reason: Reason::AwaitingApproval, .. }));
        gate.approved = Some(&digest);
        assert_eq!(decide(&plan, &gate), Gate::Run);
    }

    #[test]
    fn an_approval_is_for_one_organisation_and_one_occasion() {
        let (plan, mut status) = (plan(Why::SpecChange), ManagedStatus::default());
        let first = approval_digest(&plan, "api.example.com client", &status);
        assert_eq!(first, approval_digest(&plan, "api.example.com client", &status));
        for other in ["api.example.org client", "api.example.com other"] {
            assert_ne!(first, approval_digest(&plan, other, &status));
        }
        status.voided_approval = Some(first.clone());
        let second = approval_digest(&plan, "api.example.com client", &status);
        assert_ne!(first, second);
        status.history = vec![HistoryEntry { digest: plan.digest(), ..repair(0) }];
        let third = approval_digest(&plan, "api.example.com client", &status);
        assert!(![first, second].contains(&third));
    }

    #[test]
    fn a_restore_is_exempt_from_the_change_limit() {
        let mut gate = input(&[]);
        gate.limited_until = Some(at(60));
        assert!(matches!(decide(&plan(Why::SpecChange), &gate), Gate::Hold { reason: Reason::ChangeBudgetExceeded, .. }));
        assert_eq!(decide(&plan(Why::Restore), &gate), Gate::Run);
    }

    #[test]
    fn a_contested_path_waits_longer_each_time_unless_a_person_asks() {
        let history = [repair(-600), repair(-1200), repair(-2400)];
        assert_eq!(decide(&plan(Why::DriftRepair), &input(&history[2..])), Gate::Run);
        let Gate::Hold { until: Some(until), .. } = decide(&plan(Why::DriftRepair), &input(&history)) else { panic!("held") };
        assert_eq!(until, at(-600 + 2400));
        let mut asked = input(&history);
        asked.requested = true;
        assert_eq!(decide(&plan(Why::DriftRepair), &asked), Gate::Run);
        assert_eq!(decide(&plan(Why::SpecChange), &input(&history)), Gate::Run);
    }

    #[test]
    fn immutable_versions_are_repaired_a_few_times_a_day_only() {
        let history = [repair(-3_600), repair(-40_000), repair(-80_000), repair(-90_000)];
        let mut gate = input(&history);
        assert_eq!(decide(&plan(Why::DriftRepair), &gate), Gate::Run);
        gate.repairs_a_day = Some(3);
        let Gate::Hold { until: Some(until), .. } = decide(&plan(Why::DriftRepair), &gate) else { panic!("held") };
        assert_eq!(until, at(-80_000 + 86_400));
        assert_eq!(decide(&plan(Why::SpecChange), &gate), Gate::Run);
        gate.now = until;
        assert_eq!(decide(&plan(Why::DriftRepair), &gate), Gate::Run);
        (gate.now, gate.requested) = (at(0), true);
        assert_eq!(decide(&plan(Why::DriftRepair), &gate), Gate::Run);
    }

    #[test]
    fn nothing_is_written_without_room_for_its_audit_record() {
        let mut gate = input(&[]);
        gate.audit_full = true;
        assert!(matches!(decide(&plan(Why::Restore), &gate), Gate::Hold { reason: Reason::AuditBacklog, .. }));
    }

    #[test]
    fn repairs_that_lie_far_apart_are_not_contested() {
        let history = [repair(-86_400), repair(-2 * 86_400), repair(-3 * 86_400)];
        assert_eq!(decide(&plan(Why::DriftRepair), &input(&history)), Gate::Run);
    }

    #[test]
    fn a_refused_plan_is_not_sent_again_until_its_time_or_another_plan() {
        let refusal = Refusal {
            digest: plan(Why::SpecChange).digest(),
            reason: Reason::RemoteRejected,
            message: "no".into(),
            until: at(3600),
        };
        let mut gate = input(&[]);
        gate.refused = Some(&refusal);
        assert!(matches!(decide(&plan(Why::SpecChange), &gate), Gate::Hold { reason: Reason::RemoteRejected, .. }));
        gate.now = at(3600);
        assert_eq!(decide(&plan(Why::SpecChange), &gate), Gate::Run);
    }
}
