//! S1 to S4 as contract 5 says, and what goes wrong with them.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::{Answer, Bench, send};
use crate::sandbox::{Actor, ConflictStyle, Fault, FaultKind, MissingScope, Normaliser, Rule, check};

/// A user of the default seed.
const ID: &str = "agent-ana";

fn path(id: &str) -> String {
    format!("/api/v2/users/{id}/routing/profile")
}

/// S1.
async fn read(bench: &Bench) -> Value {
    let answer = bench.get(&path(ID)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn put(bench: &Bench, body: &Value) -> RequestBuilder {
    bench.request(Method::PUT, &path(ID)).header("content-type", "application/json").body(body.to_string())
}

/// S2.
async fn write(bench: &Bench, body: &Value) -> Answer {
    send(put(bench, body)).await.unwrap()
}

/// The body of a correct S2 after a read: the first skill at another level.
fn successor(mut profile: Value, proficiency: f64) -> Value {
    profile["version"] = json!(profile["version"].as_i64().unwrap() + 1);
    profile["skills"][0]["proficiency"] = json!(proficiency);
    profile
}

async fn post(bench: &Bench, path: &str, body: &Value) -> Answer {
    send(bench.request(Method::POST, path).header("content-type", "application/json").body(body.to_string())).await.unwrap()
}

/// S3.
async fn query(bench: &Bench, body: &Value) -> Answer {
    post(bench, "/api/v2/analytics/users/details/query", body).await
}

fn asked(users: &[&str]) -> Value {
    let clause = |user: &&str| json!({"type": "string", "path": "user.id", "op": "equals", "value": user});
    json!({
        "dateFrom": "2026-02-25", "dateTo": "2026-03-04", "interval": "P7D", "groupings": ["user"],
        "metrics": ["conversation/summary/avgHandleTime", "conversation/summary/avgCustomerSatisfaction"],
        "pageSize": 100, "nextPageToken": "",
        "filter": {"type": "or", "clauses": users.iter().map(clause).collect::<Vec<_>>()},
    })
}

fn alert(to: &str) -> Value {
    json!({
        "title": "Automated Skill Adjustment: agent-ana", "type": "routing", "category": "skillLevel",
        "subCategory": "proficiencyChange", "severity": "warning", "links": [{"type": "user", "id": "agent-ana"}],
        "body": format!("Skill retail-returns proficiency adjusted from 0.10 to {to}. Change exceeds threshold."),
    })
}

fn rules(bench: &Bench) -> Vec<Rule> {
    check(&bench.world().journal()).into_iter().map(|violation| violation.rule).collect()
}

#[tokio::test]
async fn a_profile_is_read_and_replaced_under_its_version() {
    let bench = Bench::start().await;
    let before = read(&bench).await;
    assert_eq!((&before["id"], &before["version"], &before["name"]), (&json!(ID), &json!(12), &json!("Ana Ruiz")));
    let mut next = successor(before, 0.72);
    next["name"] = json!("Somebody");
    let after = write(&bench, &next).await;
    next["name"] = json!("Ana Ruiz");
    assert_eq!((after.status, &after.body), (200, &next));
    assert_eq!((read(&bench).await, bench.world().skill(ID, "retail-returns")), (next.clone(), Some(json!(0.72))));
    let entry = bench.last("S2");
    assert_eq!((entry.target.as_deref(), entry.version, entry.result_version), (Some(ID), Some(13), Some(13)));
    assert_eq!(entry.before.unwrap()["skills"][0]["proficiency"], 0.1);
    assert_eq!((&entry.after.unwrap()["skills"], entry.shown.unwrap().guard.as_deref()), (&next["skills"], Some("13")));
    let refused = write(&bench, &next).await;
    assert_eq!((refused.status, refused.code()), (409, "general.conflict"));
    bench.world().set_conflict_style(ConflictStyle::BadRequest);
    let refused = write(&bench, &next).await;
    assert!(refused.status == 400 && refused.body["message"].as_str().unwrap().contains("does not match the current version"));
    assert_eq!(bench.get(&path("none")).await.status, 404);
    let (mut gone, missing) = (next, path("none"));
    gone["id"] = json!("none");
    let request = bench.request(Method::PUT, &missing).header("content-type", "application/json").body(gone.to_string());
    assert_eq!(send(request).await.unwrap().body["entityId"], "none");
}

#[tokio::test]
async fn only_the_first_of_several_writers_succeeds() {
    let bench = Bench::start().await;
    let next = successor(read(&bench).await, 0.5);
    let statuses = futures::future::join_all((0..10).map(|_| async { write(&bench, &next).await.status })).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 9);
}

#[tokio::test]
async fn the_schema_of_a_profile_is_strict() {
    let bench = Bench::start().await;
    let good = successor(read(&bench).await, 0.5);
    let skill = |proficiency: Value| json!([{"skillId": "s", "proficiency": proficiency}]);
    for (key, value, code) in [
        ("id", json!("other"), "invalid.value"),
        ("name", json!(3), "invalid.value"),
        ("version", Value::Null, "invalid.value"),
        ("version", json!("13"), "invalid.value"),
        ("version", json!(-1), "invalid.value"),
        ("version", json!(13.0), "invalid.value"),
        ("skills", Value::Null, "invalid.value"),
        ("skills", json!({}), "invalid.value"),
        ("skills", json!(["s"]), "invalid.value"),
        ("skills", json!([{"skillId": "s"}]), "invalid.value"),
        ("skills", json!([{"proficiency": 0.5}]), "invalid.value"),
        ("skills", json!([{"skillId": "", "proficiency": 0.5}]), "invalid.value"),
        ("skills", json!([{"skillId": "s", "proficiency": 0.5, "x": 1}]), "invalid.property"),
        ("skills", json!([{"skillId": "s", "proficiency": 0.5}, {"skillId": "s", "proficiency": 0.5}]), "invalid.value"),
        ("skills", skill(json!(1.01)), "invalid.value"),
        ("skills", skill(json!(-0.01)), "invalid.value"),
        ("skills", skill(json!("0.5")), "invalid.value"),
        ("skills", skill(Value::Null), "invalid.value"),
        ("selfUri", json!("/x"), "invalid.property"),
        ("x", json!(1), "invalid.property"),
    ] {
        let mut wrong = good.clone();
        wrong[key] = value;
        let refused = write(&bench, &wrong).await;
        assert_eq!((refused.status, refused.code()), (400, code), "{wrong}");
    }
    for key in ["id", "version", "skills"] {
        let mut lacking = good.clone();
        lacking.as_object_mut().unwrap().remove(key);
        assert_eq!(write(&bench, &lacking).await.status, 400, "{key}");
    }
    assert_eq!(bench.world().user(ID).unwrap()["version"], 12);
    let mut unnamed = good;
    unnamed.as_object_mut().unwrap().remove("name");
    unnamed["skills"] = json!([{"skillId": "s", "proficiency": 0}, {"skillId": "t", "proficiency": 1}]);
    assert_eq!(write(&bench, &unnamed).await.body["name"], "Ana Ruiz");
}

#[tokio::test]
async fn what_a_profile_has_beyond_the_schema_may_come_back_and_is_lost_otherwise() {
    let bench = Bench::start().await;
    let more = json!({"team": "red", "skills": [{"skillId": "s", "proficiency": 0.5, "note": "x"}]});
    bench.world().put_user(ID, more);
    let profile = read(&bench).await;
    assert_eq!((&profile["version"], &profile["name"]), (&json!(1), &json!("Agent agent-ana")));
    let kept = write(&bench, &successor(profile, 0.6)).await;
    assert_eq!((kept.status, &kept.body["team"], &kept.body["skills"][0]["note"]), (200, &json!("red"), &json!("x")));
    let mut dropped = successor(kept.body, 0.7);
    dropped.as_object_mut().unwrap().remove("team");
    assert_eq!(write(&bench, &dropped).await.body.get("team"), None);
}

#[tokio::test]
async fn somebody_else_changes_skills() {
    let bench = Bench::start().await;
    let world = bench.world();
    assert!(
        world.set_skill(ID, "new", Some(0.4)) && world.set_skill(ID, "spanish", None) && world.set_skill(ID, "new", Some(0.5))
    );
    assert!(!world.set_skill("none", "new", Some(0.5)));
    assert_eq!((world.skill(ID, "new"), world.skill(ID, "spanish")), (Some(json!(0.5)), None));
    assert_eq!(world.user(ID).unwrap()["version"], 15);
    assert!(!world.edit_user(ID, |profile| *profile = json!([])));
    let foreign =
        world.journal().into_iter().filter(|entry| entry.actor == Actor::Foreign && entry.target.as_deref() == Some(ID));
    assert_eq!(foreign.map(|entry| entry.result_version).collect::<Vec<_>>(), [Some(13), Some(14), Some(15)]);
    assert_eq!(world.user_ids(), [ID, "agent-ben"]);
    assert!(world.remove_user(ID) && !world.remove_user(ID));
    assert_eq!((bench.get(&path(ID)).await.status, check(&world.journal())), (404, vec![]));
}

#[tokio::test]
async fn faults_reach_profiles() {
    let bench = Bench::start().await;
    let faults = bench.world().faults();
    let next = successor(read(&bench).await, 0.5);
    faults.push(Fault::new(FaultKind::ForeignEditBefore { patch: None }).on(&["S2"]));
    assert_eq!(write(&bench, &next).await.status, 409);
    assert_eq!(bench.world().skill(ID, "foreign-skill"), Some(json!(0.12)));
    faults.push(Fault::new(FaultKind::StaleRead));
    assert_eq!((read(&bench).await["version"].clone(), read(&bench).await["version"].clone()), (json!(12), json!(13)));
    let next = successor(read(&bench).await, 0.5);
    faults.push(Fault::new(FaultKind::SilentDrop));
    let dropped = write(&bench, &next).await;
    assert_eq!(
        (dropped.status, &dropped.body["version"], &dropped.body["skills"][0]["proficiency"]),
        (200, &json!(13), &json!(0.1))
    );
    faults.push(Fault::new(FaultKind::ResetAfter).on(&["S2"]).target(ID));
    assert!(send(put(&bench, &next)).await.is_err());
    assert_eq!(bench.world().user(ID).unwrap()["version"], 14);
    faults.push(Fault::new(FaultKind::WrongDocument).on(&["S1"]));
    assert_eq!(read(&bench).await["id"], "other-agent-ana");
    faults.push(Fault::new(FaultKind::CommitLate { after_ms: 1 }));
    assert!(send(put(&bench, &successor(read(&bench).await, 0.6))).await.is_err());
    while bench.world().in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.world().user(ID).unwrap()["version"], 15);
    faults.push(Fault::new(FaultKind::ForeignEditBefore { patch: Some(json!({"skills": []})) }));
    assert_eq!(write(&bench, &successor(read(&bench).await, 0.7)).await.status, 409);
    assert_eq!(bench.world().user(ID).unwrap()["skills"], json!([]));
    bench.world().set_skill(ID, "s", Some(0.5));
    bench.world().set_normaliser([Normaliser::Remove { path: "/skills/*/proficiency".to_owned() }]);
    assert_eq!(write(&bench, &successor(read(&bench).await, 0.7)).await.body["skills"], json!([{"skillId": "s"}]));
    assert_eq!(check(&bench.world().journal()), []);
}

#[tokio::test]
async fn the_scopes_are_those_of_the_contract() {
    let bench = Bench::start().await;
    let next = successor(read(&bench).await, 0.5);
    let statuses = || async {
        let details = query(&bench, &asked(&[ID])).await.status;
        let alert = post(&bench, "/api/v2/alerts", &alert("0.72")).await.status;
        [bench.get(&path(ID)).await.status, write(&bench, &next).await.status, details, alert]
    };
    for (scopes, expected) in [
        (vec![], [403, 403, 403, 403]),
        (vec!["routing:read", "routing:manage"], [403, 403, 403, 403]),
        (vec!["routing:read", "user:read"], [200, 403, 403, 403]),
        (vec!["analytics:read"], [403, 403, 200, 403]),
        (vec!["alert:write"], [403, 403, 403, 201]),
        (vec!["routing:write"], [403, 200, 403, 403]),
    ] {
        bench.world().set_scopes("demo-client", &scopes);
        assert_eq!(statuses().await, expected, "{scopes:?}");
    }
    bench.world().set(|settings| settings.missing_scope = MissingScope::SilentDrop);
    bench.world().set_scopes("demo-client", &[]);
    bench.world().clear_alerts();
    assert_eq!(statuses().await, [403, 200, 403, 201]);
    assert_eq!((bench.world().user(ID).unwrap()["version"].clone(), bench.world().alerts().len()), (json!(13), 0));
}

#[tokio::test]
async fn metrics_are_answered_as_they_are() {
    let bench = Bench::start().await;
    let world = bench.world();
    world.set_metrics("a", Some(json!(0)), Some(Value::Null));
    world.set_metrics("b", Some(json!("NaN")), None);
    world.set_metrics("c", None, None);
    let answer = query(&bench, &asked(&["c", ID, "b", "nobody", "a", "a"])).await;
    let (time, satisfaction) = ("conversation/summary/avgHandleTime", "conversation/summary/avgCustomerSatisfaction");
    let expected = json!({"entities": [
        {"entityId": "a", "metrics": {time: 0, satisfaction: null}},
        {"entityId": ID, "metrics": {time: 350, satisfaction: 4.5}},
        {"entityId": "b", "metrics": {time: "NaN"}},
        {"entityId": "c", "metrics": {}},
    ], "nextPageToken": ""});
    assert_eq!((answer.status, answer.body), (200, expected));
    let mut one = asked(&["a"]);
    one["metrics"] = json!([time]);
    assert_eq!(query(&bench, &one).await.body["entities"][0]["metrics"], json!({time: 0}));
    assert!(world.remove_metrics("a") && !world.remove_metrics("a"));
    assert_eq!((world.metrics("a"), world.metrics("b")), (None, Some(json!({"handleTime": "NaN"}))));
    assert_eq!(query(&bench, &asked(&["a"])).await.body["entities"], json!([]));
    world.set_raw_details(Some(b"{\"entities\": 3}".to_vec()));
    assert_eq!(query(&bench, &asked(&["a"])).await.body, json!({"entities": 3}));
}

#[tokio::test]
async fn pages_end_and_tokens_belong_to_their_query() {
    let bench = Bench::start().await;
    let users: Vec<String> = (0..7).map(|index| format!("u{index}")).collect();
    users.iter().for_each(|user| bench.world().set_metrics(user, Some(json!(1)), None));
    let mut request = asked(&users.iter().map(String::as_str).collect::<Vec<_>>());
    request["pageSize"] = json!(5);
    bench.world().set(|settings| settings.details_page_size = Some(3));
    let (mut seen, mut tokens) = (Vec::new(), Vec::new());
    loop {
        let page = query(&bench, &request).await.body;
        seen.extend(page["entities"].as_array().unwrap().iter().map(|entity| entity["entityId"].as_str().unwrap().to_owned()));
        if page["nextPageToken"] == "" {
            break;
        }
        tokens.push(page["nextPageToken"].clone());
        request["nextPageToken"] = page["nextPageToken"].clone();
    }
    assert_eq!((seen, tokens.len()), (users, 2));
    for wrong in [json!("x"), json!("00000000-3"), json!(format!("{}1", tokens[0].as_str().unwrap())), Value::Null] {
        request["nextPageToken"] = wrong;
        assert_eq!(query(&bench, &request).await.code(), "invalid.value");
    }
    let mut other = asked(&["u1"]);
    other["nextPageToken"] = tokens[0].clone();
    assert_eq!(query(&bench, &other).await.status, 400);
    bench.world().set(|settings| settings.repeat_page_token = true);
    request["nextPageToken"] = json!("");
    for _ in 0..3 {
        let page = query(&bench, &request).await.body;
        assert_eq!(page["nextPageToken"], tokens[0]);
        request["nextPageToken"] = page["nextPageToken"].clone();
    }
}

#[tokio::test]
async fn the_schema_of_a_query_is_strict() {
    let bench = Bench::start().await;
    let good = asked(&[ID]);
    let clause = good["filter"]["clauses"][0].clone();
    let filter = |clauses: Vec<Value>| json!({"type": "or", "clauses": clauses});
    let with = |key: &str, value: Value| {
        let mut clause = clause.clone();
        clause[key] = value;
        filter(vec![clause])
    };
    for (key, value, code) in [
        ("dateFrom", json!("2026-2-25"), "invalid.date"),
        ("dateFrom", json!("2026-02-30"), "invalid.date"),
        ("dateFrom", json!("2026-02-25T00:00:00Z"), "invalid.date"),
        ("dateFrom", json!("20260225"), "invalid.date"),
        ("dateFrom", json!("2026-03-04"), "invalid.date"),
        ("dateTo", Value::Null, "invalid.date"),
        ("interval", json!("P6D"), "invalid.value"),
        ("interval", json!("PT168H"), "invalid.value"),
        ("groupings", json!([]), "invalid.value"),
        ("metrics", json!([]), "invalid.value"),
        ("metrics", json!(["conversation/summary/avghandletime"]), "invalid.value"),
        ("metrics", json!(["avgHandleTime"]), "invalid.value"),
        ("pageSize", json!(101), "invalid.value"),
        ("pageSize", json!(0), "invalid.value"),
        ("filter", json!({"type": "and", "clauses": [clause]}), "invalid.value"),
        ("filter", json!({"type": "or", "clauses": [clause], "x": 1}), "invalid.property"),
        ("filter", filter(vec![]), "invalid.value"),
        ("filter", filter(vec![clause.clone(); 101]), "invalid.value"),
        ("filter", with("op", json!("matches")), "invalid.value"),
        ("filter", with("value", json!("")), "invalid.value"),
        ("filter", with("x", json!(1)), "invalid.value"),
        ("filter", Value::Null, "invalid.value"),
        ("x", json!(1), "invalid.property"),
    ] {
        let mut wrong = good.clone();
        wrong[key] = value;
        let refused = query(&bench, &wrong).await;
        assert_eq!((refused.status, refused.code()), (400, code), "{wrong}");
    }
    for key in good.as_object().unwrap().keys() {
        let mut lacking = good.clone();
        lacking.as_object_mut().unwrap().remove(key);
        assert_eq!(query(&bench, &lacking).await.status, 400, "{key}");
    }
    let mut full = good;
    full["filter"] = filter(vec![clause; 100]);
    assert_eq!(query(&bench, &full).await.status, 200);
}

#[tokio::test]
async fn alerts_are_kept_and_their_schema_is_strict() {
    let bench = Bench::start().await;
    let good = alert("0.72");
    let taken = post(&bench, "/api/v2/alerts", &good).await;
    assert_eq!((taken.status, &taken.body["title"]), (201, &good["title"]));
    for (key, value, code) in [
        ("title", json!("Automated Skill Adjustment: agent-ben"), "invalid.value"),
        ("type", json!("other"), "invalid.value"),
        ("category", Value::Null, "invalid.value"),
        ("subCategory", json!(3), "invalid.value"),
        ("severity", json!("info"), "invalid.value"),
        ("links", json!([]), "invalid.value"),
        ("links", json!([{"type": "user", "id": ID, "x": 1}]), "invalid.value"),
        ("links", json!([{"type": "user", "id": ID}, {"type": "user", "id": ID}]), "invalid.value"),
        ("body", json!("Skill s proficiency adjusted from 0.1 to 0.72. Change exceeds threshold."), "invalid.value"),
        ("id", json!("x"), "invalid.property"),
    ] {
        let mut wrong = good.clone();
        wrong[key] = value;
        let refused = post(&bench, "/api/v2/alerts", &wrong).await;
        assert_eq!((refused.status, refused.code()), (400, code), "{wrong}");
    }
    let alerts = bench.world().alerts();
    assert_eq!((alerts.len(), &alerts[0].alert, alerts[0].client.as_deref()), (1, &good, Some("demo-client")));
    bench.world().faults().push(Fault::new(FaultKind::ResetAfter).on(&["S4"]));
    let lost = bench.request(Method::POST, "/api/v2/alerts").header("content-type", "application/json");
    assert!(send(lost.body(alert("0.90").to_string())).await.is_err());
    post(&bench, "/api/v2/alerts", &alert("0.90")).await;
    assert_eq!((bench.world().alerts().len(), rules(&bench)), (3, vec![]));
    post(&bench, "/api/v2/alerts", &alert("0.90")).await;
    assert_eq!(rules(&bench), [Rule::DuplicateAlert]);
}

#[tokio::test]
async fn the_checker_sees_what_a_careless_client_does() {
    let bench = Bench::start().await;
    let first = successor(bench.world().user(ID).unwrap(), 0.5);
    write(&bench, &first).await;
    assert_eq!(rules(&bench), [Rule::LostUpdate], "never read");
    bench.world().clear_journal();
    let stale = successor(read(&bench).await, 0.6);
    bench.world().set_skill(ID, "theirs", Some(1.0));
    write(&bench, &stale).await;
    let mut guessed = stale.clone();
    guessed["version"] = json!(15);
    write(&bench, &guessed).await;
    write(&bench, &stale).await;
    assert_eq!(rules(&bench), [Rule::UnguardedWrite, Rule::LostUpdate, Rule::ResentAfterRefusal]);
}

#[tokio::test]
async fn skills_can_be_steered() {
    let bench = Bench::start().await;
    let call = |method: Method, path: &str, body: Value| {
        send(bench.http.request(method, format!("{}/sandbox/{path}", bench.sandbox.url())).body(body.to_string()))
    };
    let profile = json!({"version": 3, "skills": [{"skillId": "s", "proficiency": 0.5}]});
    let put = call(Method::PUT, "users/new", profile).await.unwrap();
    assert_eq!((put.status, &put.body["version"], &put.body["name"]), (200, &json!(3), &json!("Agent new")));
    assert_eq!(call(Method::GET, "users", Value::Null).await.unwrap().body, json!([ID, "agent-ben", "new"]));
    assert_eq!(call(Method::PUT, "users/new/skills/t%2F1", json!(0.25)).await.unwrap().status, 204);
    assert_eq!(call(Method::DELETE, "users/new/skills/s", Value::Null).await.unwrap().status, 204);
    assert_eq!(call(Method::DELETE, "users/new/skills/s", Value::Null).await.unwrap().status, 404);
    assert_eq!(call(Method::PUT, "users/new/skills/s", json!(1.5)).await.unwrap().status, 400);
    let patched = call(Method::PATCH, "users/new", json!({"team": "red"})).await.unwrap().body;
    assert_eq!((&patched["version"], &patched["skills"]), (&json!(6), &json!([{"skillId": "t/1", "proficiency": 0.25}])));
    for wrong in [json!({"skills": 3}), json!({"version": -1}), json!([])] {
        assert_eq!(call(Method::PUT, "users/new", wrong.clone()).await.unwrap().status, 400);
        assert_eq!(call(Method::PATCH, "users/new", wrong).await.unwrap().status, 400);
    }
    assert_eq!(call(Method::PATCH, "users/none", json!({})).await.unwrap().status, 404);
    assert_eq!(call(Method::PUT, "users/new/raw", json!("raw")).await.unwrap().status, 204);
    assert_eq!(bench.get(&path("new")).await.body, json!("raw"));
    assert_eq!(call(Method::DELETE, "users/new/raw", Value::Null).await.unwrap().status, 204);

    let metrics = json!({"handleTime": 1, "satisfaction": null});
    assert_eq!(call(Method::PUT, "users/new/metrics", metrics.clone()).await.unwrap().status, 204);
    assert_eq!(call(Method::GET, "users/new/metrics", Value::Null).await.unwrap().body, metrics);
    assert_eq!(call(Method::PUT, "users/new/metrics", json!({"aht": 1})).await.unwrap().status, 400);
    assert_eq!(call(Method::DELETE, "users/new/metrics", Value::Null).await.unwrap().status, 204);
    assert_eq!(call(Method::PUT, "analytics/raw", json!(7)).await.unwrap().status, 204);
    assert_eq!(query(&bench, &asked(&[ID])).await.body, json!(7));
    assert_eq!(call(Method::DELETE, "analytics/raw", Value::Null).await.unwrap().status, 204);

    post(&bench, "/api/v2/alerts", &alert("0.72")).await;
    let state = send(bench.http.get(format!("{}/sandbox/state", bench.sandbox.url()))).await.unwrap().body;
    assert_eq!((&state["users"]["new"], &state["alerts"]), (&json!(6), &json!(1)));
    let alerts = call(Method::GET, "alerts", Value::Null).await.unwrap().body;
    assert_eq!((&alerts["count"], &alerts["alerts"][0]["alert"]), (&json!(1), &alert("0.72")));
    assert_eq!(call(Method::DELETE, "alerts", Value::Null).await.unwrap().status, 204);
    assert_eq!(call(Method::DELETE, "users/new", Value::Null).await.unwrap().status, 204);
    assert_eq!(call(Method::GET, "users/new", Value::Null).await.unwrap().status, 404);
}
