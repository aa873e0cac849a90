//! What is asked, how answers are read, and where a scan ends.

use super::super::testing::{Rig, Scripted, answer};
use super::*;

fn read(body: &str) -> Result<DetailsPage, Error> {
    page(Answer { status: 200, body: body.as_bytes().into(), etag: None, date: None, correlation_id: None, requests: 2 })
}

fn with_handle_time(json: &str) -> Option<Metric> {
    let body = format!("{{\"entities\":[{{\"entityId\":\"u\",\"metrics\":{{\"{HANDLE_TIME}\":{json}}}}}]}}");
    read(&body).unwrap().entities.remove(0).handle_time
}

fn users(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("u{index}")).collect()
}

fn asked(users: &[String]) -> UserQuery<'_> {
    UserQuery { users, date_from: "2026-11-13", date_to: "2026-11-20", interval: "P7D", page_token: "" }
}

/// A page with one agent.
fn one(user: &str, handle_time: &str, token: &str) -> Scripted {
    let body = format!(
        "{{\"entities\":[{{\"entityId\":\"{user}\",\"metrics\":{{\"{HANDLE_TIME}\":{handle_time}}}}}],\"nextPageToken\":\"{token}\"}}"
    );
    answer(200, &[], body)
}

async fn scan(pages: Vec<Scripted>) -> (Result<Details, Error>, Rig) {
    let rig = Rig::with_limit(60_000, vec![], pages).await;
    let result = all(&mut rig.session().await, &asked(&users(2))).await;
    (result, rig)
}

#[test]
fn the_request_is_the_contract_s() {
    let users = ["a".to_owned(), "b".to_owned()];
    let clause = |id: &str| json!({"type": "string", "path": "user.id", "op": "equals", "value": id});
    let expected = json!({
        "dateFrom": "2026-11-13", "dateTo": "2026-11-20", "interval": "P7D", "groupings": ["user"],
        "metrics": ["conversation/summary/avgHandleTime", "conversation/summary/avgCustomerSatisfaction"],
        "pageSize": 100, "nextPageToken": "", "filter": {"type": "or", "clauses": [clause("a"), clause("b")]},
    });
    assert_eq!(request(&asked(&users)), expected);
    assert_eq!(request(&UserQuery { page_token: "t", ..asked(&users) })["nextPageToken"], "t");
}

#[test]
fn numbers_keep_their_text() {
    for text in ["350", "350.0", "4.5", "0", "-3", "0.1", "1e300", "18446744073709551615"] {
        let Some(Metric::Number(number)) = with_handle_time(text) else { panic!("{text}") };
        assert_eq!(serde_json::from_str::<Number>(text).unwrap(), number, "{text}");
    }
    assert_eq!(with_handle_time("4.5"), Some(Metric::Number(Number::from_f64(4.5).unwrap())));
}

#[test]
fn no_data_and_bad_data_are_told_apart() {
    assert_eq!(with_handle_time("null"), None);
    for bad in ["\"350\"", "\"NaN\"", "true", "[350]", "{}", "1e999", "-1e999"] {
        assert_eq!(with_handle_time(bad), Some(Metric::Bad), "{bad}");
    }
    for body in [
        r#"{"entities":[{"entityId":"u","metrics":{"conversation/summary/avghandletime":3}}]}"#,
        r#"{"entities":[{"entityId":"u"}]}"#,
    ] {
        assert_eq!(read(body).unwrap().entities, [UserMetrics { user_id: "u".into(), handle_time: None, satisfaction: None }]);
    }
    let one_bad =
        format!("{{\"entities\":[{{\"entityId\":\"u\",\"metrics\":{{\"{HANDLE_TIME}\":1e999,\"{SATISFACTION}\":4}}}}]}}");
    let read = read(&one_bad).unwrap().entities.remove(0);
    assert_eq!((read.handle_time, read.satisfaction), (Some(Metric::Bad), Some(Metric::Number(4.into()))));
}

#[test]
fn pages_are_read_strictly() {
    for body in [
        "[]",
        "{}",
        "3",
        r#"{"entities":null}"#,
        r#"{"entities":{}}"#,
        r#"{"entities":[3]}"#,
        r#"{"entities":[{"metrics":{}}]}"#,
        r#"{"entities":[{"entityId":7}]}"#,
        r#"{"entities":[{"entityId":"u","metrics":[1]}]}"#,
        r#"{"entities":[],"nextPageToken":3}"#,
    ] {
        let error = read(body).unwrap_err();
        assert_eq!((error.kind, error.requests), (ErrorKind::BadAnswer, 2), "{body}");
    }
    for (token, expected) in [("null", None), ("\"\"", None), ("\"t\"", Some("t".to_owned()))] {
        assert_eq!(read(&format!("{{\"entities\":[],\"nextPageToken\":{token}}}")).unwrap().next_page_token, expected);
    }
    assert_eq!(read(r#"{"entities":[]}"#).unwrap().next_page_token, None);
}

#[tokio::test]
async fn no_users_and_too_many_are_no_request() {
    let rig = Rig::new(vec![], vec![]).await;
    for count in [0, 101] {
        let error = query(&mut rig.session().await, &asked(&users(count))).await.unwrap_err();
        assert_eq!((error.kind, error.requests, rig.calls().len()), (ErrorKind::Configuration, 0, 0));
    }
}

#[tokio::test]
async fn a_scan_follows_the_tokens_and_names_each_agent_once() {
    let (result, rig) =
        scan(vec![one("a", "1", "t1"), one("b", "2", "t2"), answer(500, &[], ""), one("a", "1", "t3"), one("b", "3", "")]).await;
    let found = result.unwrap();
    assert_eq!((found.requests, rig.calls().len()), (5, 5));
    let seen: Vec<_> = found.entities.into_iter().map(|entity| (entity.user_id, entity.handle_time)).collect();
    assert_eq!(seen, [("a".to_owned(), Some(Metric::Number(1.into()))), ("b".to_owned(), Some(Metric::Bad))]);
    let tokens: Vec<Value> = rig.calls().iter().map(|seen| serde_json::from_str::<Value>(&seen.body).unwrap()).collect();
    assert_eq!(tokens.iter().map(|body| body["nextPageToken"].clone()).collect::<Vec<_>>(), ["", "t1", "t2", "t2", "t3"]);
    assert!(rig.calls().iter().all(|seen| seen.line == "POST /api/v2/analytics/users/details/query"));
}

#[tokio::test]
async fn a_token_that_was_seen_and_a_page_that_fails_end_the_scan() {
    for pages in
        [vec![one("a", "1", "t1"), one("b", "2", "t1")], vec![one("a", "1", "t1"), one("b", "2", "t2"), one("a", "1", "t1")]]
    {
        let (expected, (result, rig)) = (pages.len(), scan(pages).await);
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.requests as usize, rig.calls().len()), (ErrorKind::BadAnswer, expected, expected));
        assert!(error.to_string().contains("second time"), "{error}");
    }
    let (result, _) = scan(vec![one("a", "1", "t1"), answer(400, &[], "")]).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.requests), (ErrorKind::Rejected, 2));
}

#[tokio::test]
async fn pages_without_end_end() {
    let (result, rig) = scan((0..=MAX_PAGES).map(|number| one("a", "1", &format!("t{number}"))).collect()).await;
    assert_eq!((result.unwrap_err().kind, rig.calls().len()), (ErrorKind::BadAnswer, MAX_PAGES));
}
