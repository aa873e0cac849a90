//! S1 to S4 through a session, against the sandbox: what the caller gets, and what went over the wire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use assist_operator::genesys::alerts::{self, Alert};
use assist_operator::genesys::profiles::{self, ProfileState};
use assist_operator::genesys::user_details::{self, Details, MAX_USERS, UserQuery};
use assist_operator::genesys::{Endpoints, Error, ErrorKind, Gate, Halted, Lane, Metric, Session, Timing};
use assist_operator::sandbox::{FaultKind, MissingScope, Rule, check};
use serde_json::{Value, json};

use super::stage::{CLIENT, Stage, client, leaks, quick};
use super::wire::{Scripted, answer};

/// The agent of every test; its id must be encoded.
const USER: &str = "agent/1";

const ALERT: Alert<'_> = Alert { user_id: USER, skill_id: "returns", from: "0.10", to: "0.72" };

async fn stage() -> Stage {
    stage_with(quick()).await
}

async fn stage_with(timing: Timing) -> Stage {
    let stage = Stage::with_timing(timing).await;
    let skills = json!([{"skillId": "returns", "proficiency": 0.1}, {"skillId": "spanish", "proficiency": 1.0}]);
    stage.world.put_user(USER, json!({"version": 12, "name": "Ana", "team": "red", "skills": skills}));
    stage.world.clear_journal();
    stage
}

fn open() -> Gate {
    Arc::new(|| Ok(()))
}

/// The profile as read, with its first skill at another level, at the next version.
fn merged(read: &ProfileState, proficiency: f64) -> Value {
    let mut body = read.document.parse();
    body["version"] = json!(read.version.unwrap() + 1);
    body["skills"][0]["proficiency"] = json!(proficiency);
    body
}

/// S1, then S2.
async fn read_and_write(session: &mut Session, proficiency: f64) -> Result<ProfileState, Error> {
    let read = profiles::get(session, USER).await?;
    profiles::put(session, USER, &merged(&read, proficiency), open()).await
}

fn level(stage: &Stage) -> f64 {
    stage.world.skill(USER, "returns").unwrap().as_f64().unwrap()
}

fn users(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("u{index:03}")).collect()
}

async fn scan(stage: &Stage, users: &[String]) -> Result<Details, Error> {
    let query = UserQuery { users, date_from: "2026-11-13", date_to: "2026-11-20", interval: "P7D", page_token: "" };
    user_details::all(&mut stage.session().await, &query).await
}

async fn alert(stage: &Stage) -> Result<alerts::Sent, Error> {
    alerts::send(&mut stage.session().await, &ALERT, open()).await
}

/// A session with a server that answers every call so.
async fn against(status: u16, reply: &'static str) -> (Session, Scripted) {
    let server = Scripted::start(move |request| {
        if request.head.starts_with("POST /oauth") {
            return answer(200, "", r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#);
        }
        answer(status, "", reply)
    })
    .await;
    let (account, client) = client(&Endpoints::custom(&server.url, &server.url, None).unwrap(), quick());
    (client.session(account.budget().ticket(Lane::Change).await), server)
}

#[tokio::test]
async fn a_write_is_shown_by_its_answer_and_by_the_next_read() {
    let stage = stage().await;
    let mut session = stage.session().await;
    let read = profiles::get(&mut session, USER).await.unwrap();
    assert_eq!((read.version, read.requests), (Some(12), 1));
    let body = merged(&read, 0.72);
    let written = profiles::put(&mut session, USER, &body, open()).await.unwrap();
    assert!(written.date.is_some() && written.correlation_id.is_some() && written.requests == 1);
    assert_eq!((written.version, written.document.parse()), (Some(13), body.clone()));
    assert_eq!(profiles::get(&mut session, USER).await.unwrap().document.parse(), body);
    assert_eq!(stage.calls().await, ["S1 200", "S2 200", "S1 200"]);
    let entry = stage.entries("S2").await.remove(0);
    assert_eq!((entry.target.as_deref(), entry.version, entry.if_match), (Some(USER), Some(13), None));
    assert_eq!(stage.world.user(USER).unwrap()["team"], "red");
}

#[tokio::test]
async fn a_lost_guard_is_a_conflict_and_one_request() {
    let stage = stage().await;
    stage.fault("S2", 1, FaultKind::ForeignEditBefore { patch: None });
    let mut session = stage.session().await;
    let error = read_and_write(&mut session, 0.72).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::Conflict, false, 1));
    assert_eq!(read_and_write(&mut session, 0.72).await.unwrap().version, Some(14));
    assert_eq!(stage.calls().await, ["S1 200", "S2 409", "S1 200", "S2 200"]);
    assert!(stage.world.skill(USER, "foreign-skill").is_some());
}

#[tokio::test]
async fn a_write_after_a_lost_answer_meets_itself() {
    let applied = |status| FaultKind::Status { status, retry_after: None, body: None, applied: true };
    for fault in [FaultKind::ResetAfter, applied(502), applied(408)] {
        let stage = stage().await;
        stage.fault("S2", 1, fault.clone());
        let error = read_and_write(&mut stage.session().await, 0.72).await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::Conflict, true, 2), "{fault:?}");
        assert_eq!((level(&stage), stage.calls().await.len()), (0.72, 3), "{fault:?}");
    }
    for fault in [FaultKind::ResetBefore, FaultKind::status(500), FaultKind::retry_after(503, "1")] {
        let stage = stage().await;
        stage.fault("S2", 1, fault.clone());
        let written = read_and_write(&mut stage.session().await, 0.72).await.unwrap();
        assert_eq!((written.version, written.requests), (Some(13), 2), "{fault:?}");
        stage.calls().await;
    }
}

#[tokio::test]
async fn an_unusable_answer_of_a_write_is_lost() {
    let faults = [
        (FaultKind::TruncatedBody, 0.72),
        (FaultKind::EmptyBody, 0.72),
        (FaultKind::Html { status: 200 }, 0.72),
        (FaultKind::Oversized { gzip: true }, 0.72),
        (FaultKind::DeepNesting { depth: 1000 }, 0.72),
        (FaultKind::WrongDocument, 0.72),
    ];
    for (fault, expected) in faults {
        let stage = stage().await;
        stage.fault("S2", 1, fault.clone());
        let error = read_and_write(&mut stage.session().await, 0.72).await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::LostAnswer, true, 1), "{fault:?}");
        assert_eq!((level(&stage), stage.calls().await.len()), (expected, 2), "{fault:?}");
    }
    let stage = stage().await;
    stage.fault("S2", 1, FaultKind::SilentDrop);
    let dropped = read_and_write(&mut stage.session().await, 0.72).await.unwrap();
    assert_eq!((dropped.version, level(&stage)), (Some(12), 0.1), "the caller sees it by the version");
}

#[tokio::test]
async fn a_timeout_and_a_late_commit_end_in_one_write() {
    let stage = stage_with(Timing { total: Duration::from_millis(200), ..quick() }).await;
    stage.fault("S2", 1, FaultKind::Delay { before_ms: 0, after_ms: 400 });
    let error = read_and_write(&mut stage.session().await, 0.72).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain), (ErrorKind::Conflict, true));
    stage.fault("S2", 1, FaultKind::CommitLate { after_ms: 50 });
    read_and_write(&mut stage.session().await, 0.5).await.unwrap();
    stage.calls().await;
    assert_eq!((level(&stage), stage.world.user(USER).unwrap()["version"].clone()), (0.5, json!(14)));
}

#[tokio::test]
async fn a_429_pauses_before_the_same_request_goes_out_again() {
    let stage = stage().await;
    let began = Instant::now();
    stage.fault("S2", 1, FaultKind::retry_after(429, "1"));
    assert_eq!(read_and_write(&mut stage.session().await, 0.72).await.unwrap().requests, 2);
    stage.fault("S3", 1, FaultKind::retry_after(429, "1"));
    assert_eq!(scan(&stage, &users(1)).await.unwrap().requests, 2);
    stage.fault("S4", 1, FaultKind::retry_after(429, "1"));
    assert_eq!(alert(&stage).await.unwrap().requests, 2);
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert_eq!(stage.calls().await, ["S1 200", "S2 429", "S2 200", "S3 429", "S3 200", "S4 429", "S4 201"]);
    stage.fault("S1", 1, FaultKind::retry_after(429, "60"));
    let error = profiles::get(&mut stage.session().await, USER).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Throttled);
    assert!(error.retry_after.unwrap() >= Duration::from_secs(60));
}

#[tokio::test]
async fn a_401_renews_the_token_once() {
    let stage = stage().await;
    stage.fault("S2", 1, FaultKind::Unauthorized);
    assert_eq!(read_and_write(&mut stage.session().await, 0.72).await.unwrap().requests, 2);
    assert_eq!(stage.count("T1").await, 2);
    stage.fault("S4", 2, FaultKind::Unauthorized);
    let error = alert(&stage).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::Unauthorized, false, 2));
}

#[tokio::test]
async fn a_missing_scope_is_forbidden_and_named() {
    let stage = stage().await;
    stage.world.set_scopes(CLIENT, &["routing:read", "user:read"]);
    let write = read_and_write(&mut stage.session().await, 0.72).await.unwrap_err();
    let details = scan(&stage, &users(1)).await.unwrap_err();
    let alerted = alert(&stage).await.unwrap_err();
    for (error, scope) in [(&write, "routing:write"), (&details, "analytics:read"), (&alerted, "alert:write")] {
        assert_eq!((error.kind, error.requests), (ErrorKind::Forbidden, 1));
        assert!(error.to_string().contains(scope), "{error}");
    }
    stage.world.set_scopes(CLIENT, &["routing:read", "routing:write"]);
    let read = profiles::get(&mut stage.session().await, USER).await.unwrap_err();
    assert!(read.kind == ErrorKind::Forbidden && read.to_string().contains("user:read"), "{read}");
    stage.world.set(|settings| settings.missing_scope = MissingScope::SilentDrop);
    stage.world.set_scopes(CLIENT, &["routing:read", "user:read"]);
    let dropped = read_and_write(&mut stage.session().await, 0.72).await.unwrap();
    assert_eq!((dropped.version, level(&stage)), (Some(12), 0.1));
}

#[tokio::test]
async fn what_does_not_exist_or_is_halted_is_said_so() {
    let stage = stage().await;
    let mut session = stage.session().await;
    let read = profiles::get(&mut session, USER).await.unwrap();
    let shut: Gate = Arc::new(|| Err(Halted("suspended".to_owned())));
    let halted = profiles::put(&mut session, USER, &merged(&read, 0.72), shut.clone()).await.unwrap_err();
    assert_eq!((halted.kind, halted.uncertain), (ErrorKind::Halted, false));
    assert_eq!(alerts::send(&mut session, &ALERT, shut).await.unwrap_err().kind, ErrorKind::Halted);
    let mut wrong = merged(&read, 0.72);
    wrong["skills"][0]["proficiency"] = json!(72);
    assert_eq!(profiles::put(&mut session, USER, &wrong, open()).await.unwrap_err().kind, ErrorKind::Rejected);
    stage.world.remove_user(USER);
    let gone = profiles::get(&mut session, USER).await.unwrap_err();
    let write = profiles::put(&mut session, USER, &merged(&read, 0.72), open()).await.unwrap_err();
    assert_eq!((gone.kind, write.kind), (ErrorKind::NotFound, ErrorKind::NotFound));
    assert_eq!(stage.calls().await, ["S1 200", "S2 400", "S1 404", "S2 404"]);
}

#[tokio::test]
async fn profiles_that_are_none_are_refused() {
    let stage = stage().await;
    for (raw, kind) in [
        ("[]", ErrorKind::BadAnswer),
        ("3", ErrorKind::BadAnswer),
        (r#"{"id":"agent/2","version":12}"#, ErrorKind::BadAnswer),
        (r#"{"id":12}"#, ErrorKind::BadAnswer),
        (r#"{"id":"agent/1","version":12,"skills":[{"proficiency":1e999}]}"#, ErrorKind::Unsupported),
    ] {
        stage.world.set_raw_profile(USER, Some(raw.as_bytes().to_vec()));
        let error = profiles::get(&mut stage.session().await, USER).await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, error.requests), (kind, false, 1), "{raw}");
    }
    let odd = br#"{"version":"12","skills":null}"#;
    stage.world.set_raw_profile(USER, Some(odd.to_vec()));
    let read = profiles::get(&mut stage.session().await, USER).await.unwrap();
    assert_eq!((read.version, read.document.bytes()), (None, &odd[..]));
    for status in [200, 201, 202] {
        let (mut session, server) = against(status, r#"{"id":"agent/2","version":13,"note":"secretword"}"#).await;
        let error = profiles::put(&mut session, USER, &json!({"id": USER, "version": 13}), open()).await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, server.seen().len()), (ErrorKind::LostAnswer, true, 2));
        assert!(!leaks(&format!("{error} {error:?}")) && !error.to_string().contains("secretword"), "{error}");
    }
}

#[tokio::test]
async fn metrics_of_100_agents_come_in_pages() {
    let stage = stage().await;
    let users = users(MAX_USERS);
    for (index, user) in users.iter().enumerate().skip(10) {
        stage.world.set_metrics(user, Some(json!(index)), Some(json!(4.25)));
    }
    assert_eq!(scan(&stage, &users).await.unwrap().requests, 1);
    stage.world.set(|settings| settings.details_page_size = Some(20));
    let found = scan(&stage, &users).await.unwrap();
    assert_eq!((found.requests, found.entities.len()), (5, 90));
    assert!(found.date.is_some() && found.correlation_id.is_some());
    let last = found.entities.last().unwrap();
    assert_eq!((last.user_id.as_str(), last.handle_time.clone()), ("u099", Some(Metric::Number(99.into()))));
    let Some(Metric::Number(satisfaction)) = &last.satisfaction else { panic!("{last:?}") };
    assert_eq!(satisfaction.to_string(), "4.25");
    // A page in between may fail and be read again, and the 101st agent is another request.
    stage.fault_after("S3", 2, 1, FaultKind::status(502));
    assert_eq!(scan(&stage, &users).await.unwrap().requests, 6);
    let mut more = users.clone();
    more.push("u100".to_owned());
    let refused = scan(&stage, &more).await.unwrap_err();
    assert_eq!((refused.kind, refused.requests), (ErrorKind::Configuration, 0));
    stage.calls().await;
}

#[tokio::test]
async fn a_token_that_comes_again_ends_the_scan() {
    let stage = stage().await;
    let users = users(5);
    users.iter().for_each(|user| stage.world.set_metrics(user, Some(json!(1)), None));
    stage.world.set(|settings| {
        settings.details_page_size = Some(2);
        settings.repeat_page_token = true;
    });
    let error = scan(&stage, &users).await.unwrap_err();
    assert_eq!((error.kind, error.requests), (ErrorKind::BadAnswer, 2));
    assert!(error.to_string().contains("token"), "{error}");
    assert_eq!(stage.calls().await, ["S3 200", "S3 200"]);
}

#[tokio::test]
async fn no_data_and_bad_data_are_told_apart() {
    let stage = stage().await;
    let number = |value: Value| Some(Metric::Number(value.as_number().unwrap().clone()));
    for (set, expected) in [
        (Some(json!(0)), number(json!(0))),
        (Some(json!(-1.5)), number(json!(-1.5))),
        (Some(json!(1e300)), number(json!(1e300))),
        (Some(Value::Null), None),
        (None, None),
        (Some(json!("NaN")), Some(Metric::Bad)),
        (Some(json!("350")), Some(Metric::Bad)),
        (Some(json!(false)), Some(Metric::Bad)),
        (Some(json!([350])), Some(Metric::Bad)),
    ] {
        stage.world.set_metrics("u000", set.clone(), Some(json!(4)));
        let found = scan(&stage, &users(2)).await.unwrap();
        assert_eq!(found.entities.len(), 1, "an unknown agent is absent");
        assert_eq!((&found.entities[0].handle_time, &found.entities[0].satisfaction), (&expected, &number(json!(4))), "{set:?}");
    }
}

#[tokio::test]
async fn details_that_are_none_are_refused() {
    let stage = stage().await;
    for raw in [
        &b"[]"[..],
        b"{}",
        b"{\"entities\":null}",
        b"{\"entities\":[{\"metrics\":{}}]}",
        b"{\"entities\":[],\"nextPageToken\":3}",
    ] {
        stage.world.set_raw_details(Some(raw.to_vec()));
        let error = scan(&stage, &users(1)).await.unwrap_err();
        assert_eq!((error.kind, error.requests), (ErrorKind::BadAnswer, 1), "{}", String::from_utf8_lossy(raw));
    }
    let hostile = br#"{"entities":[{"entityId":"u000","metrics":{"conversation/summary/avgHandleTime":1e999}}]}"#;
    stage.world.set_raw_details(Some(hostile.to_vec()));
    assert_eq!(scan(&stage, &users(1)).await.unwrap().entities[0].handle_time, Some(Metric::Bad));
    stage.world.set_raw_details(None);
    for (fault, kind) in [
        (FaultKind::Html { status: 200 }, ErrorKind::BadAnswer),
        (FaultKind::TruncatedBody, ErrorKind::BadAnswer),
        (FaultKind::Oversized { gzip: true }, ErrorKind::BadAnswer),
        (FaultKind::ResetAfter, ErrorKind::Unavailable),
        (FaultKind::status(500), ErrorKind::Unavailable),
    ] {
        stage.fault("S3", 2, fault.clone());
        assert_eq!(scan(&stage, &users(1)).await.unwrap().requests, 3, "{fault:?}");
        stage.fault("S3", 3, fault.clone());
        let error = scan(&stage, &users(1)).await.unwrap_err();
        assert_eq!((error.kind, error.requests), (kind, 3), "{fault:?}");
    }
}

#[tokio::test]
async fn an_alert_is_sent_until_it_is_taken_and_not_again() {
    let applied = |status| FaultKind::Status { status, retry_after: None, body: None, applied: true };
    for (fault, kept) in [
        (FaultKind::ResetBefore, 1),
        (FaultKind::ResetAfter, 2),
        (applied(503), 2),
        (FaultKind::status(500), 1),
        (FaultKind::CommitLate { after_ms: 1 }, 2),
    ] {
        let stage = stage().await;
        stage.fault("S4", 1, fault.clone());
        let sent = alert(&stage).await.unwrap();
        assert_eq!((sent.status, sent.requests), (201, 2), "{fault:?}");
        stage.calls().await;
        assert_eq!(stage.world.alerts().len(), kept, "{fault:?}");
        assert!(stage.world.alerts().iter().all(|record| record.alert == ALERT.body()));
    }
    let stage = stage().await;
    stage.fault("S4", 3, FaultKind::ResetAfter);
    let error = alert(&stage).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::LostAnswer, true, 3));
    for fault in [FaultKind::EmptyBody, FaultKind::Html { status: 200 }, FaultKind::TruncatedBody] {
        stage.fault("S4", 1, fault.clone());
        assert_eq!(alert(&stage).await.unwrap().requests, 1, "{fault:?}");
        stage.world.clear_journal();
    }
    alert(&stage).await.unwrap();
    alert(&stage).await.unwrap();
    let rules: Vec<Rule> = check(&stage.journal().await).into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::DuplicateAlert]);
}

#[tokio::test]
async fn an_alert_that_nobody_says_to_have_taken_is_lost() {
    for status in [202, 204] {
        let (mut session, server) = against(status, "").await;
        let error = alerts::send(&mut session, &ALERT, open()).await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, server.seen().len()), (ErrorKind::LostAnswer, true, 2));
        assert!(!leaks(&format!("{error} {error:?}")));
    }
    for (status, kind) in [(400, ErrorKind::Rejected), (404, ErrorKind::NotFound), (307, ErrorKind::BadAnswer)] {
        let (mut session, server) = against(status, "{}").await;
        let error = alerts::send(&mut session, &ALERT, open()).await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, server.seen().len()), (kind, false, 2));
    }
}
