//! C1 to C4 as the contract says.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Bench, ID, send, successor};
use crate::sandbox::{Actor, ConflictStyle, EtagStyle, MissingGuard, Normaliser, Options, Rule, Seed, check};

#[tokio::test]
async fn a_guarded_write_moves_version_and_tag() {
    let bench = Bench::start().await;
    let (tag, body) = bench.prepared("New name").await;
    assert!(tag.starts_with("\"7-") && tag.len() == 8, "{tag}");
    let written = bench.write(ID, Some(&tag), &body).await;
    assert_eq!((written.status, written.body["version"].as_i64()), (200, Some(8)));
    assert_eq!(written.body["selfUri"], "/api/v2/agentassist/configs/retail-assist");
    assert_eq!(written.header("etag"), written.body["etag"].as_str());
    assert_eq!(bench.read(ID).await.body, written.body);
    let entry = bench.last("C3");
    assert!(entry.applied && entry.delivered && entry.client.as_deref() == Some("demo-client"));
    assert_eq!((entry.version, entry.result_version, entry.if_match.as_deref()), (Some(8), Some(8), Some(tag.as_str())));
    assert_eq!(check(&bench.world().journal()), []);
}

#[tokio::test]
async fn every_answer_has_its_correlation_id_and_a_date() {
    let bench = Bench::start().await;
    let missing = bench.read("none").await;
    assert_eq!((missing.status, missing.code()), (404, "not.found"));
    assert_eq!(missing.header("inin-correlation-id"), missing.body["contextId"].as_str());
    assert_eq!(bench.last("C1").correlation_id.as_deref(), missing.header("inin-correlation-id"));
    assert!(httpdate::parse_http_date(missing.header("date").unwrap()).is_ok());
    assert_eq!(bench.get("/api/v2/none").await.status, 404);
    assert_eq!(bench.last("other").path, "/api/v2/none");
    assert_eq!(send(bench.request(Method::DELETE, "/api/v2/agentassist/configs/x")).await.unwrap().status, 405);
}

#[tokio::test]
async fn a_guard_wins_once() {
    let bench = Bench::start().await;
    let (tag, body) = bench.prepared("Mine").await;
    assert!(bench.world().edit_config(ID, |document| document["name"] = json!("Theirs")));
    let refused = bench.write(ID, Some(&tag), &body).await;
    assert_eq!((refused.status, refused.code()), (409, "general.conflict"));
    assert_eq!(bench.world().config(ID).unwrap()["name"], "Theirs");
    let foreign = bench.world().journal().into_iter().find(|entry| entry.actor == Actor::Foreign).unwrap();
    assert_eq!((foreign.result_version, foreign.applied), (Some(8), true));
    let (tag, body) = bench.prepared("Mine").await;
    assert_eq!(bench.write(ID, Some(&tag), &body).await.status, 200);
    assert_eq!(bench.write(ID, Some(&tag), &body).await.status, 409);
    assert_eq!(check(&bench.world().journal()), []);
}

#[tokio::test]
async fn only_the_first_of_many_concurrent_writers_succeeds() {
    let bench = Bench::start().await;
    let (tag, body) = bench.prepared("x").await;
    let answers = futures::future::join_all((0..20).map(|_| bench.write(ID, Some(&tag), &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 19);
    assert_eq!(bench.world().config(ID).unwrap()["version"], 8);
    assert!(!check(&bench.world().journal()).iter().any(|violation| violation.rule == Rule::GuardReused));
}

#[tokio::test]
async fn the_tag_is_checked_before_the_version() {
    let bench = Bench::start().await;
    let (tag, mut body) = bench.prepared("x").await;
    body["version"] = json!(9);
    let by_tag = bench.write(ID, Some("\"7-0000\""), &body).await;
    assert!(by_tag.body["message"].as_str().unwrap().contains("entity tag"));
    let by_version = bench.write(ID, Some(&tag), &body).await;
    assert!(by_version.body["message"].as_str().unwrap().contains("version 9"));
    assert_eq!((by_tag.status, by_version.status), (409, 409));
    for (style, status) in [(ConflictStyle::PreconditionFailed, 412), (ConflictStyle::BadRequest, 400)] {
        bench.world().set_conflict_style(style);
        let lost = bench.write(ID, Some(&tag), &body).await;
        assert_eq!(lost.status, status);
        assert!(lost.body["message"].as_str().unwrap().contains("does not match the current version"));
    }
}

#[tokio::test]
async fn a_write_without_a_guard_is_refused() {
    let bench = Bench::start().await;
    let (_, body) = bench.prepared("x").await;
    assert_eq!(bench.write(ID, None, &body).await.status, 428);
    bench.world().set(|settings| settings.missing_guard = MissingGuard::BadRequest);
    assert_eq!(bench.write(ID, None, &body).await.status, 400);
    assert_eq!(check(&bench.world().journal()).len(), 2);
}

#[tokio::test]
async fn the_schema_refuses_what_it_does_not_have() {
    let bench = Bench::start().await;
    let (tag, body) = bench.prepared("x").await;
    for key in ["versionRevert", "trafficShift", "id", "etag", "selfUri"] {
        let mut body = body.clone();
        body[key] = json!("x");
        let refused = bench.write(ID, Some(&tag), &body).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid.property"), "{key}");
        assert_eq!(refused.body["details"][0]["fieldName"], key);
    }
    for version in [json!(2_147_483_648_i64), json!("8"), json!(8.5), Value::Null] {
        let mut body = body.clone();
        body["version"] = version;
        assert_eq!(bench.write(ID, Some(&tag), &body).await.code(), "invalid.value");
    }
    assert!(bench.world().set_allowed_keys(ID, Some(&["name", "rules"])));
    assert_eq!(bench.write(ID, Some(&tag), &body).await.code(), "invalid.property");
    assert_eq!(bench.write(ID, Some(&tag), &json!({"name": "n", "version": 8})).await.status, 200);
    assert_eq!(bench.write(ID, Some(&tag), &json!([1])).await.code(), "bad.request");
    let text = bench.put(ID, Some(&tag), &body).header("content-type", "text/plain");
    assert!(matches!(send(text).await.unwrap().status, 400 | 415));
}

#[tokio::test]
async fn the_greatest_version_has_no_successor() {
    let bench = Bench::start().await;
    bench.world().put_config("last", json!({"name": "x", "version": i32::MAX}));
    let read = bench.read("last").await;
    let body = json!({"name": "y", "version": i64::from(i32::MAX) + 1});
    assert_eq!(bench.write("last", read.header("etag"), &body).await.code(), "invalid.value");
    assert!(!bench.world().edit_config("last", |document| document["name"] = json!("z")));
}

#[tokio::test]
async fn the_server_keeps_its_own_members() {
    let bench = Bench::start().await;
    let (tag, mut body) = bench.prepared("x").await;
    body["dateModified"] = json!("1999-01-01T00:00:00Z");
    body["createdBy"] = json!("nobody");
    let written = bench.write(ID, Some(&tag), &body).await;
    let stamp: Timestamp = written.body["dateModified"].as_str().unwrap().parse().unwrap();
    assert!(stamp > "2026-06-02T09:30:00Z".parse().unwrap());
    assert_eq!(written.body.get("createdBy"), None);
}

#[tokio::test]
async fn a_snapshot_can_be_rolled_back_to_but_is_no_guard() {
    let bench = Bench::start().await;
    let path = format!("/api/v2/agentassist/configs/{ID}/versions");
    let past = bench.get(&format!("{path}/6")).await;
    assert_eq!(past.body["parameters"]["confidenceThreshold"], 0.6);
    assert_eq!(bench.get(&format!("{path}/5")).await.status, 404);
    assert_eq!(bench.get(&format!("{path}/x")).await.status, 400);
    let body = successor(past.body.clone(), "back");
    assert_eq!(bench.write(ID, past.header("etag"), &body).await.status, 409);
    let (tag, live) = bench.prepared("x").await;
    let mut body = body;
    body["version"] = live["version"].clone();
    let restored = bench.write(ID, Some(&tag), &body).await;
    assert_eq!((restored.status, restored.body["version"].as_i64()), (200, Some(8)));
    assert_eq!(bench.world().history(ID).iter().map(|(version, _)| *version).collect::<Vec<_>>(), [6, 7, 8]);
}

#[tokio::test]
async fn tags_come_in_every_style() {
    let bench = Bench::start().await;
    let strong = bench.world().config(ID).unwrap()["etag"].as_str().unwrap().to_owned();
    let bare = strong.trim_matches('"').to_owned();
    let (weak, unquoted_weak) = (format!("W/{strong}"), format!("W/{bare}"));
    let cases = [
        (EtagStyle::HeaderOnly, Some(&strong), None, Some(&strong)),
        (EtagStyle::BodyOnly, None, Some(&strong), Some(&strong)),
        (EtagStyle::Unquoted, Some(&bare), Some(&bare), Some(&strong)),
        (EtagStyle::BodyUnquoted, None, Some(&bare), Some(&strong)),
        (EtagStyle::Weak, Some(&weak), Some(&weak), Some(&weak)),
        (EtagStyle::UnquotedWeak, Some(&unquoted_weak), Some(&unquoted_weak), None),
        (EtagStyle::Absent, None, None, None),
    ];
    for (style, header, body, guard) in cases {
        bench.world().set_etag_style(style);
        let read = bench.read(ID).await;
        assert_eq!(read.header("etag"), header.map(String::as_str), "{style:?}");
        assert_eq!(read.body["etag"].as_str(), body.map(String::as_str), "{style:?}");
        assert_eq!(bench.last("C1").shown.unwrap().guard.as_ref(), guard, "{style:?}");
    }
    bench.world().set_etag_style(EtagStyle::Weak);
    let body = successor(bench.read(ID).await.body, "x");
    assert_eq!(bench.write(ID, Some(&strong), &body).await.status, 409);
    assert_eq!(bench.write(ID, Some(&weak), &body).await.status, 200);
}

#[tokio::test]
async fn a_normaliser_rewrites_what_is_written() {
    let bench = Bench::start().await;
    bench.world().set_normaliser([Normaliser::UpperCase { path: "/name".to_owned() }]);
    let (tag, body) = bench.prepared("quiet").await;
    assert_eq!(bench.write(ID, Some(&tag), &body).await.body["name"], "QUIET");
}

#[tokio::test]
async fn raw_bytes_replace_the_document() {
    let bench = Bench::start().await;
    bench.world().set_raw_body(ID, Some(b"{\"version\":7,\"name\":\"a\",\"name\":\"b\"".to_vec()));
    assert_eq!(bench.read(ID).await.body, Value::Null);
    assert_eq!(bench.last("C1").shown, None);
    bench.world().set_raw_body(ID, None);
    assert_eq!(bench.read(ID).await.body["version"], 7);
}

#[tokio::test]
async fn ids_are_one_segment() {
    let bench = Bench::start().await;
    bench.world().put_config("a/b c", json!({"name": "odd"}));
    let read = bench.read("a%2Fb%20c").await;
    assert_eq!((read.status, &read.body["id"], &read.body["version"]), (200, &json!("a/b c"), &json!(1)));
    assert_eq!(read.body["selfUri"], "/api/v2/agentassist/configs/a%2Fb%20c");
    assert_eq!(bench.last("C1").target.as_deref(), Some("a/b c"));
}

#[tokio::test]
async fn conversations_are_filtered_and_paged() {
    let bench = Bench::start().await;
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    for second in 0..5 {
        bench.world().add_conversation(ID, if second < 2 { 7 } else { 8 }, at(second));
    }
    let query = |change: Value| {
        let mut body = json!({
            "configId": ID, "interval": format!("{}/{}", at(0), at(100)), "pageSize": 2, "pageNumber": 1,
            "filter": {"type": "and", "predicates": [{"dimension": "configVersionId", "operator": "matches", "value": "8"}]},
        });
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let request = bench.request(Method::POST, "/api/v2/analytics/agentassist/conversations/query");
        send(request.header("content-type", "application/json").body(body.to_string()))
    };
    let first = query(json!({})).await.unwrap();
    assert_eq!((first.body["total"].as_u64(), first.body["conversations"].as_array().unwrap().len()), (Some(3), 2));
    assert_eq!(first.body["conversations"][0]["configVersionId"], "8");
    assert_eq!(first.body["conversations"][0]["startTime"], at(2).to_string());
    let second = query(json!({"pageNumber": 2})).await.unwrap();
    assert_eq!(second.body["conversations"].as_array().unwrap().len(), 1);
    let all = query(json!({"filter": {"type": "and", "predicates": []}, "pageSize": 100})).await.unwrap();
    assert_eq!(all.body["total"], 5);
    let narrow = query(json!({"interval": format!("{}/{}", at(3), at(4))})).await.unwrap();
    assert_eq!(narrow.body["total"], 1);
    for wrong in [json!({"interval": "yesterday"}), json!({"pageSize": 101}), json!({"pageNumber": 0}), json!({"configID": 1})] {
        assert_eq!(query(wrong).await.unwrap().status, 400);
    }
}

#[tokio::test]
async fn traffic_follows_a_write_where_the_seed_says_so() {
    let mut seed = Seed::default();
    seed.settings.traffic_delay_ms = Some(0);
    let bench = Bench::with(Options { seed, ..Options::default() }).await;
    let (tag, body) = bench.prepared("x").await;
    bench.write(ID, Some(&tag), &body).await;
    let body = json!({"configId": ID, "interval": "2020-01-01T00:00:00Z/2100-01-01T00:00:00Z", "pageSize": 100, "pageNumber": 1});
    let request = bench.request(Method::POST, "/api/v2/analytics/agentassist/conversations/query");
    let rows = send(request.header("content-type", "application/json").body(body.to_string())).await.unwrap();
    assert_eq!(rows.body["conversations"].as_array().unwrap().last().unwrap()["configVersionId"], "8");
}
