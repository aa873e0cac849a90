//! Several replicas and one lease: who works, who goes on, and that nothing is written twice whatever becomes of the one before.

use std::time::{Duration, Instant};

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::control_plane::OPERATOR_USER;
use crate::link::Link;
use crate::stage::{Replica, Stage, condition};

/// A lease that is short for tests, and long enough for a machine that does something else.
const SHORT: [&str; 3] = ["--lease-duration=6s", "--lease-renew-deadline=4s", "--lease-retry-period=1s"];
const SHORT_LEASE: Duration = Duration::from_secs(6);

fn replica(stage: &Stage, name: &str) -> Replica {
    stage.replica(name, &stage.plane.operator_kubeconfig(), &SHORT)
}

/// Two replicas, of which the first leads.
fn pair(stage: &Stage) -> (Replica, Replica) {
    let first = replica(stage, "first");
    stage.wait_until("the first leads", || first.is_leader());
    (first, replica(stage, "second"))
}

fn lease(stage: &Stage) -> Value {
    stage.plane.get_json(&["-n", &stage.namespace, "get", "lease", "assist-operator"])["spec"].clone()
}

fn delay(before_ms: u64, after_ms: u64, call: &str) -> Fault {
    Fault::new(FaultKind::Delay { before_ms, after_ms }).on(&[call]).times(Times::Always)
}

fn count(stage: &Stage, call: &str) -> usize {
    stage.names_since(0).iter().filter(|name| *name == call).count()
}

#[test]
fn a_follower_is_ready_and_idle_and_goes_on_when_the_leader_is_killed() {
    let stage = Stage::replicated("killed");
    stage.world().put_config("c1", json!({"name": "old"}));
    let (first, second) = pair(&stage);
    stage.apply_config("c1", json!({"config": {"name": "one"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.wait_until("the follower's caches are warm", || {
        second
            .get("/metrics")
            .contains("assist_operator_objects{kind=\"AgentAssistConfig\",ready=\"True\",reason=\"Succeeded\"} 1")
    });
    assert!(!second.is_leader() && !second.log_text().contains("reconciled"), "{}", second.log_text());
    assert_eq!(lease(&stage)["leaseTransitions"], 0);
    let tokens = stage.world().journal().iter().filter(|e| e.call == "T1").count();
    assert_eq!((tokens, stage.writes().len()), (1, 1), "the follower asks for nothing");
    drop(first);
    let killed = Instant::now();
    stage.apply_config("c1", json!({"config": {"name": "two"}}));
    stage.wait_until("the other writes", || stage.writes().len() == 2);
    assert!(killed.elapsed() <= SHORT_LEASE + Duration::from_secs(2), "{:?}", killed.elapsed());
    stage.wait_ready("c1", "True", "Succeeded");
    assert!(second.is_leader());
    assert_eq!(lease(&stage)["leaseTransitions"], 1);
    assert_eq!((stage.world().config("c1").unwrap()["version"].clone(), stage.writes().len()), (json!(3), 2));
    stage.assert_invariants();
}

#[test]
fn a_leader_that_is_stopped_gives_its_lease_back() {
    let stage = Stage::replicated("released");
    stage.world().put_config("c1", json!({"name": "old"}));
    // Nobody could wait for the end of such a lease.
    let long = ["--lease-duration=10m", "--lease-renew-deadline=9m", "--lease-retry-period=1s"];
    let start = |name| stage.replica(name, &stage.plane.operator_kubeconfig(), &long);
    let mut first = start("first");
    stage.wait_until("the first leads", || first.is_leader());
    let second = start("second");
    // A write is under way: it is finished and recorded before.
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 0, after_ms: 1_500 }).on(&["C3"]));
    stage.apply_config("c1", json!({"config": {"name": "one"}}));
    stage.wait_until("the write took effect", || stage.world().config("c1").unwrap()["version"] == 2);
    first.signal("TERM");
    stage.wait_until("the first ends", || !first.is_alive());
    let object = stage.get("c1");
    assert_eq!((&object["status"]["history"][0]["version"], object["status"].get("intent")), (&json!("2"), None));
    let ended = Instant::now();
    stage.apply_config("c1", json!({"config": {"name": "two"}}));
    stage.wait_until("the other writes", || stage.writes().len() == 2);
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    assert!(second.is_leader() && first.log_text().contains("the lease is released"), "{}", first.log_text());
    stage.assert_invariants();
}

#[test]
fn a_leader_that_was_paused_writes_nothing_when_it_resumes() {
    let stage = Stage::replicated("paused");
    let users: Vec<String> = (0..6).map(|n| format!("u{n}")).collect();
    for id in &users {
        stage.world().put_user(id, json!({"version": 1, "name": id, "skills": [{"skillId": "billing", "proficiency": 0.1}]}));
        stage.world().set_metrics(id, Some(json!(350)), Some(json!(4.5)));
    }
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().put_prompt("p1", &[]);
    let (mut first, second) = pair(&stage);
    // A config whose answer has not come, a promotion on its way, and an evaluation in its midst.
    stage.fault(delay(0, 4_000, "C3"));
    stage.fault(delay(1_000, 0, "P2"));
    stage.fault(delay(1_000, 0, "S2"));
    stage.apply_ok(&stage.object(
        "SkillPolicy",
        "billing",
        json!({"skillId": "billing", "userIds": users, "mode": "Enforce", "alertThreshold": 0.1}),
    ));
    stage.wait_until("two supervisors were told", || count(&stage, "S4") == 2);
    stage.apply_config("c1", json!({"config": {"name": "one"}}));
    stage.apply_prompt("p1", json!({"content": "Ask the customer why."}));
    stage.wait_until("the config was written", || stage.world().config("c1").unwrap()["version"] == 2);
    first.signal("STOP");
    stage.wait_until("the other leads", || second.is_leader());
    stage.world().faults().clear();
    stage.wait_ready("c1", "True", "Succeeded");
    stage.wait_ready("pt/p1", "True", "Succeeded");
    stage.wait_ready("skpol/billing", "True", "Succeeded");
    stage.apply_config("c1", json!({"config": {"name": "two"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let objects = ["aac/c1", "pt/p1", "skpol/billing", "gorg/org"];
    let versions = || objects.map(|name| stage.get(name)["metadata"]["resourceVersion"].clone());
    let (before, mark) = (versions(), stage.mark());
    first.signal("CONT");
    stage.wait_until("the first ends by itself", || !first.is_alive());
    assert!(first.log_text().contains("the lease is lost"), "{}", first.log_text());
    // Whatever it did it has done by now; a request proves that the other one still works.
    stage.request_check("c1", "after");
    assert_eq!(stage.names_since(mark), ["C1"]);
    assert_eq!(versions()[1..], before[1..], "the status of no object was touched");
    assert_eq!(stage.get("c1")["status"]["history"][0]["version"], "3");
    assert_eq!((count(&stage, "C3"), count(&stage, "P2"), count(&stage, "S2"), count(&stage, "S4")), (2, 1, 6, 6));
    stage.assert_invariants();
}

#[test]
fn a_leader_that_cannot_renew_stops_and_nobody_writes_until_one_can() {
    let stage = Stage::replicated("unrenewed");
    stage.world().put_config("c1", json!({"name": "old"}));
    let (mut first, second) = pair(&stage);
    stage.apply_config("c1", json!({"config": {"name": "one"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    // An evaluation is in its midst when the access to the lease goes.
    let users: Vec<String> = (0..12).map(|n| format!("u{n}")).collect();
    for id in &users {
        stage.world().put_user(id, json!({"version": 1, "name": id, "skills": [{"skillId": "billing", "proficiency": 0.1}]}));
        stage.world().set_metrics(id, Some(json!(350)), Some(json!(4.5)));
    }
    stage.fault(delay(1_000, 0, "S2"));
    stage.apply_ok(&stage.object("SkillPolicy", "billing", json!({"skillId": "billing", "userIds": users, "mode": "Enforce"})));
    stage.wait_until("it writes", || count(&stage, "S2") >= 1);
    stage.kubectl(&["delete", "rolebinding", "assist-operator-lease"]);
    stage.wait_until("the leader ends", || !first.is_alive());
    stage.wait_until("nothing is in flight", || stage.world().in_flight() == 0);
    let mark = stage.mark();
    assert!(count(&stage, "S2") < users.len(), "it ended in the midst");
    stage.apply_config("c1", json!({"config": {"name": "two"}}));
    stage.wait_until("the other may not lead either", || second.log_text().contains("the lease could not be"));
    assert_eq!((stage.names_since(mark), second.is_leader()), (Vec::new(), false));
    stage.world().faults().clear();
    stage.allow_lease();
    stage.wait_ready("c1", "True", "Succeeded");
    stage.wait_ready("skpol/billing", "True", "Succeeded");
    assert_eq!((count(&stage, "C3"), count(&stage, "S2")), (2, users.len()));
    stage.assert_invariants();
}

#[test]
fn a_status_that_was_held_up_on_its_way_never_replaces_that_of_the_next_leader() {
    let stage = Stage::replicated("late");
    stage.world().put_config("c1", json!({"name": "old"}));
    let link = Link::to(&stage.plane.url());
    let mut first = stage.replica("first", &link.kubeconfig(&stage), &SHORT);
    stage.wait_until("the first leads", || first.is_leader());
    let second = replica(&stage, "second");
    stage.wait_until("the org is ready", || condition(&stage.get("gorg/org"), "Ready")["status"] == "True");
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 0, after_ms: 1_000 }).on(&["C3"]));
    stage.apply_config("c1", json!({"config": {"name": "one"}}));
    stage.wait_until("the write took effect", || stage.world().config("c1").unwrap()["version"] == 2);
    // The answer comes while the lease is still good, and the status that says so gets no farther than here.
    link.freeze(true);
    stage.wait_until("the first ends", || !first.is_alive());
    stage.wait_until("the other leads", || second.is_leader());
    stage.wait_ready("c1", "True", "Succeeded");
    stage.apply_config("c1", json!({"config": {"name": "two"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let before = stage.get("c1");
    assert_eq!(before["status"]["history"][0]["version"], "3");
    let refused = || {
        let requests = stage.plane.requests_of(OPERATOR_USER);
        let patches = requests.iter().filter(|event| {
            let of = &event["objectRef"];
            event["verb"] == "patch" && of["namespace"] == stage.namespace.as_str() && of["name"] == "c1"
        });
        patches.filter(|event| event["responseStatus"]["code"] == 409).count()
    };
    assert_eq!(refused(), 0);
    link.freeze(false);
    stage.wait_until("the late status arrives, and is refused", || refused() == 1);
    assert_eq!(stage.get("c1"), before);
    assert_eq!(count(&stage, "C3"), 2);
    stage.assert_invariants();
}

#[test]
fn a_replica_is_alive_and_not_ready_while_the_api_server_hangs() {
    let stage = Stage::replicated("hanging");
    let link = Link::to(&stage.plane.url());
    link.freeze(true);
    let replica = stage.cold_replica("first", &link.kubeconfig(&stage), &SHORT);
    stage.wait_until("it is alive", || replica.get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(replica.get("/readyz").starts_with("HTTP/1.1 503"));
    link.freeze(false);
    stage.wait_until("it is ready", || replica.get("/readyz").starts_with("HTTP/1.1 200"));
}

/// A history entry that this operator did not make, in front of those that are there.
fn foreign_write(stage: &Stage, name: &str) {
    let mut history = stage.get(name)["status"]["history"].as_array().cloned().unwrap_or_default();
    let entry = json!({
        "version": "7", "generation": 1, "digest": "feedfeedfeedfeed", "time": "2026-01-01T00:00:00Z", "why": "SpecChange"
    });
    history.insert(0, entry);
    let patch = json!({"status": {"history": history}}).to_string();
    stage.kubectl(&["patch", name, "--subresource=status", "--type=merge", "-p", &patch]);
}

#[test]
fn a_status_that_another_process_wrote_is_never_replaced_by_one_that_did_not_know_it() {
    let stage = Stage::new("foreign-status");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "one"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    // It is loaded and being read when another process writes its status.
    let mark = stage.mark();
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 2_000, after_ms: 0 }).on(&["C1"]));
    stage.world().edit_config("c1", |document| document["name"] = json!("drifted"));
    stage.kubectl(&["annotate", "aac/c1", "assist-operator.dev/reconcile-requested-at=now"]);
    stage.wait_until("it reads", || stage.world().in_flight() > 0);
    foreign_write(&stage, "aac/c1");
    assert_eq!(stage.names_since(mark), Vec::<String>::new(), "the read is not answered yet");
    stage.wait_until("it is repaired", || stage.world().config("c1").unwrap()["name"] == "one");
    stage.wait_until("the write is recorded", || stage.get("c1")["status"]["history"].as_array().unwrap().len() == 3);
    let object = stage.get("c1");
    let versions: Vec<&Value> = object["status"]["history"].as_array().unwrap().iter().map(|entry| &entry["version"]).collect();
    assert_eq!(versions, [&json!("4"), &json!("7"), &json!("2")], "nothing is lost");
    let calls = stage.names_since(mark);
    assert_eq!(calls.iter().filter(|call| *call == "C3").count(), 1);
    let first = calls.iter().position(|call| call == "C3").unwrap();
    assert!(calls[..first].iter().filter(|call| *call == "C1").count() >= 2, "it was planned anew before the write: {calls:?}");
    assert!(stage.log_text().contains("another process wrote the status"), "{}", stage.log_text());
    stage.assert_invariants();
}

#[test]
fn a_label_that_is_set_meanwhile_holds_up_nothing() {
    let stage = Stage::new("label-meanwhile");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 2_000, after_ms: 0 }).on(&["C1"]));
    stage.apply_config("c1", json!({"config": {"name": "one"}}));
    stage.wait_until("it reads", || stage.world().in_flight() > 0);
    stage.kubectl(&["label", "aac/c1", "team=a"]);
    assert_eq!(stage.names_since(0).iter().filter(|call| call.starts_with('C')).count(), 0, "the read is not answered yet");
    stage.wait_ready("c1", "True", "Succeeded");
    let calls: Vec<String> = stage.names_since(0).into_iter().filter(|call| call.starts_with('C')).collect();
    assert_eq!(calls, ["C1", "C3"], "it is not planned twice");
    assert!(!stage.log_text().contains("another process wrote the status"), "{}", stage.log_text());
    stage.assert_invariants();
}
