//! Throttling and the budget.

use super::*;

const S: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_429_pauses_the_whole_account_and_nothing_is_sent_before_its_end() {
    let rig = Rig::new(vec![], vec![answer(429, &["Retry-After: 1"], ""), ok(), ok(), ok()]).await;
    let mut first = rig.session().await;
    let other = async {
        tokio::time::sleep(S / 5).await;
        assert!(rig.account.paused_for().is_some());
        rig.session().await.send(read()).await
    };
    // Its ticket was granted before the pause.
    let mut early = rig.session().await;
    let prepaid = async {
        tokio::time::sleep(S / 5).await;
        early.send(read()).await
    };
    let (one, two, three) = tokio::join!(first.send(read()), other, prepaid);
    assert_eq!((one.unwrap().requests, two.unwrap().requests, three.unwrap().requests), (2, 1, 1));
    let calls = rig.calls();
    assert!(calls[1..].iter().all(|call| call.at - calls[0].at >= S));
}

#[tokio::test]
async fn a_call_makes_at_most_3_requests_in_a_throttled_account() {
    let busy = || answer(429, &[], "");
    for class in [Read, UnguardedWrite] {
        let rig = Rig::new(vec![], vec![answer(429, &["Retry-After: 1"], ""), busy(), busy()]).await;
        let error = rig.session().await.send(write(class)).await.unwrap_err();
        assert_eq!((error.kind, error.requests, error.uncertain), (Throttled, 3, false));
        let calls = rig.calls();
        assert!(calls[1].at - calls[0].at >= S);
        assert!(calls[2].at - calls[1].at >= S);
        let left = rig.account.paused_for().unwrap();
        assert!(left > S && left <= 3 * S, "{left:?}");
        assert!(error.retry_after.unwrap() <= 3 * S);
    }
}

#[tokio::test]
async fn a_long_pause_ends_calls_at_once_and_says_how_long() {
    let headers = ["Date: Fri, 20 Nov 2026 10:00:00 GMT", "Retry-After: Fri, 20 Nov 2026 10:02:00 GMT"];
    let rig = Rig::new(vec![], vec![answer(429, &headers, ""), ok()]).await;
    let mut waits = rig.session().await;
    let error = rig.session().await.send(read()).await.unwrap_err();
    assert_eq!((error.kind, error.requests), (Throttled, 1));
    assert!(error.retry_after.unwrap() >= 119 * S);
    let next = waits.send(read()).await.unwrap_err();
    assert_eq!((next.kind, next.requests, rig.calls().len()), (Throttled, 0, 1));
    assert_eq!(waits.authenticate().await.unwrap_err().kind, Throttled);
}

#[tokio::test]
async fn a_pause_that_begins_while_a_call_waits_for_the_budget_ends_it() {
    let rig = Rig::with_limit(2, vec![], vec![ok(), ok()]).await;
    let mut session = rig.session().await;
    session.send(read()).await.unwrap();
    let account = rig.account.clone();
    let pause = async {
        tokio::time::sleep(S / 5).await;
        account.pause(60 * S);
    };
    let (result, ()) = tokio::join!(session.send(read()), pause);
    assert_eq!(result.unwrap_err().kind, Throttled);
}

#[tokio::test]
async fn the_first_call_is_prepaid_and_all_others_and_t1_count() {
    let rig = Rig::new(vec![], vec![ok(), status(503), ok()]).await;
    let mut session = rig.session().await;
    assert_eq!(rig.account.budget().used(), 1);
    session.send(read()).await.unwrap();
    assert_eq!(rig.account.budget().used(), 2);
    session.send(read()).await.unwrap();
    assert_eq!(rig.account.budget().used(), 4);
    drop(rig.session().await);
    assert_eq!(rig.account.budget().used(), 4);
}

#[tokio::test]
async fn granted_calls_that_wait_for_a_token_do_not_starve_t1() {
    let rig = Rig::with_limit(10, vec![], (0..10).map(|_| ok()).collect()).await;
    let mut tickets = Vec::new();
    for _ in 0..10 {
        tickets.push(rig.account.budget().ticket(Lane::Underway).await);
    }
    let sessions = tickets.into_iter().map(|ticket| {
        let client = rig.client.clone();
        async move { client.session(ticket).send(read()).await }
    });
    let calls = tokio::time::timeout(5 * S, futures::future::join_all(sessions)).await;
    // One gave its call to T1, and waits for the next minute.
    assert!(calls.is_err());
    assert_eq!((rig.logins(), rig.calls().len()), (1, 9));
}

/// Two megabytes in some kilobytes: one literal, then runs of 258 that repeat it, in fixed Huffman codes (RFC 1951, 3.2.6).
fn gzip_bomb() -> Vec<u8> {
    let mut bits = String::from("110");
    bits.push_str("10101000");
    bits.push_str(&"1100010100000".repeat(8200));
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bytes.extend(bits.as_bytes().chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | (bit - b'0'))));
    bytes
}

#[tokio::test]
async fn the_size_limit_counts_after_decompression() {
    let bomb = gzip_bomb();
    assert!(bomb.len() < quick().max_body / 50);
    let bombs = (0..3).map(|_| answer(200, &["Content-Encoding: gzip"], bomb.clone())).collect();
    let rig = Rig::new(vec![], bombs).await;
    let error = rig.session().await.send(read()).await.unwrap_err();
    assert_eq!(error.kind, BadAnswer);
    assert!(error.to_string().contains("larger than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn a_body_that_stalls_is_a_timeout_for_reads() {
    let stalled = || {
        let silence = stream::once(async {
            tokio::time::sleep(2 * S).await;
            Ok::<_, std::io::Error>("{}")
        });
        answer(200, &[], axum::body::Body::from_stream(stream::iter([Ok("{")]).chain(silence)))
    };
    assert_eq!(outcome(read(), vec![stalled(), stalled(), stalled()]).await, (Some(Unavailable), 3));
    assert_eq!(outcome(write(GuardedWrite), vec![stalled(), ok()]).await, (Some(LostAnswer), 1));
}

#[tokio::test]
async fn a_config_is_read_and_replaced_with_its_guard() {
    let config = |headers: &[&str], body: &str| answer(200, headers, body.to_owned());
    let replies = vec![
        config(&["ETag: 7-a"], r#"{"id":"cfg-1","version":7,"rules":[]}"#),
        config(&[], r#"{"id":"cfg-1","version":3,"etag":"old"}"#),
        config(&["ETag: \"8-b\""], r#"{"id":"cfg-1","version":8,"rules":[]}"#),
        config(&[], r#"{"id":"cfg-2"}"#),
    ];
    let rig = Rig::new(vec![], replies).await;
    let mut session = rig.session().await;
    let live = configs::get(&mut session, "cfg-1").await.unwrap();
    assert_eq!((live.version, live.etag.as_ref().unwrap().as_str()), (Some(7), "\"7-a\""));
    let old = configs::get_version(&mut session, "cfg-1", 3).await.unwrap();
    assert_eq!(old.document.parse()["version"], 3);
    let body = json!({"version": 8, "rules": []});
    let tag = live.etag.unwrap();
    let gate: Gate = Arc::new(|| Ok(()));
    let written = configs::put(&mut session, "cfg-1", &body, &tag, gate.clone()).await.unwrap();
    assert_eq!(written.version, Some(8));
    let lost = configs::put(&mut session, "cfg-1", &body, &tag, gate).await.unwrap_err();
    assert_eq!((lost.kind, lost.uncertain), (LostAnswer, true));
    let lines: Vec<String> = rig.calls().into_iter().map(|seen| seen.line).collect();
    let path = "/api/v2/agentassist/configs/cfg-1";
    assert_eq!(lines[..3], [format!("GET {path}"), format!("GET {path}/versions/3"), format!("PUT {path}")]);
    assert_eq!(rig.calls()[2].header("if-match"), "\"7-a\"");
}

#[tokio::test]
async fn conversations_are_read_page_by_page_and_each_counts_once() {
    let page = |from: usize, to: usize, total: usize| {
        let rows: Vec<_> = (from..to).map(|n| json!({"conversationId": n.to_string(), "configVersionId": "8"})).collect();
        answer(200, &[], json!({"conversations": rows, "total": total}).to_string())
    };
    let (from, to) = ("2026-11-20T10:00:00Z".parse().unwrap(), "2026-11-20T10:05:00Z".parse().unwrap());
    let rig = Rig::new(vec![], vec![page(0, 100, 150), page(99, 149, 150)]).await;
    let rows = conversations::query(&mut rig.session().await, "cfg-1", Some(8), from, to).await.unwrap();
    assert_eq!((rows.len(), rig.calls().len()), (149, 2));
    let rig = Rig::new(vec![], (0..9).map(|n| page(n * 100, n * 100 + 100, 9000)).collect()).await;
    let rows = conversations::query(&mut rig.session().await, "cfg-1", None, from, to).await.unwrap();
    assert_eq!((rows.len(), rig.calls().len()), (500, 5));
}
