//! P1 and P2: the versions of a prompt template (contract section 4).

use std::collections::HashSet;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::HeaderName;
use serde_json::Value;

use super::call::{Answer, Call, Gate};
use super::client::Session;
use super::document::Document;
use super::error::{Error, ErrorKind};
use super::retry::RetryClass;

/// Versions on a page of P1: the most that the contract allows.
pub const PAGE_SIZE: u32 = 25;

/// A message that has so many characters in a row of a prompt quotes it.
const QUOTE: usize = 16;
/// A shorter text than that is no secret of its own: it is in every message.
const SHORTEST_QUOTE: usize = 4;

/// Says which test a promotion starts; only there where its body starts one.
const AB_TEST: HeaderName = HeaderName::from_static("x-genesys-ab-test");

/// Longest id of a variant.
const MAX_VARIANT: usize = 64;

/// A page of P1, newest version first.
#[derive(Debug, Clone)]
pub struct VersionPage {
    /// The whole page as it came; its `entities` is an array of objects.
    pub document: Document,
    /// How many pages there are; 1 where the answer does not say.
    pub page_count: u32,
    /// The server's clock at this answer.
    pub date: Option<Timestamp>,
    /// The platform's correlation id.
    pub correlation_id: Option<String>,
    /// Requests that it took (T1 not counted).
    pub requests: u32,
}

/// The version that a promotion made.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// The whole version as it came: it names the version that was asked for and has a content, which need not be the one sent.
    pub document: Document,
    /// The server's clock at this answer.
    pub date: Option<Timestamp>,
    /// The platform's correlation id.
    pub correlation_id: Option<String>,
    /// Requests that it took (T1 not counted).
    pub requests: u32,
}

/// The test that a promotion starts, as its header says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbHeader<'a> {
    /// `[A-Za-z0-9._-]{1,64}`.
    pub variant_id: &'a str,
    /// Share of the traffic, 0 to 100.
    pub percent: u8,
}

impl AbHeader<'_> {
    fn value(&self) -> Result<String, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        // A comma in the id would make another traffic of it.
        if self.percent > 100 || !(1..=MAX_VARIANT).contains(&self.variant_id.len()) || !self.variant_id.chars().all(allowed) {
            return Err(Error::new("P2", ErrorKind::Configuration).because("the variant or the traffic of the test is not valid"));
        }
        Ok(format!("variant={},traffic={}", self.variant_id, self.percent))
    }
}

/// P1: one page of the versions that exist; pages count from 1. The first entity of the first page is the live version.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is no such template; [`ErrorKind::BadAnswer`] where the answer has no list of objects;
/// [`ErrorKind::Unsupported`] where it holds a number or text that cannot be kept.
pub async fn versions(session: &mut Session, template_id: &str, page: u32) -> Result<VersionPage, Error> {
    let call = Call::get("P1", &path(template_id)).query("pageSize", PAGE_SIZE).query("pageNumber", page);
    version_page(session.send(call).await?)
}

/// P2: creates a version and makes it the live one. `body` is the whole request; `ab_test` is there exactly where the body starts
/// a test. The gate is asked before each request.
///
/// P2 has no guard, so it follows a P1, and nothing is repeated after an unknown outcome.
///
/// # Errors
/// [`ErrorKind::Conflict`]: the version exists, or a rollback flag is on, as the message of [`Error::problem`] may say.
/// [`ErrorKind::LostAnswer`]: look with P1 before anything else; also where the answer is no object, about another template or
/// another version, or without content.
pub async fn promote(
    session: &mut Session,
    template_id: &str,
    body: &Value,
    ab_test: Option<AbHeader<'_>>,
    gate: Gate,
) -> Result<Promoted, Error> {
    let mut call = Call::new("P2", Method::POST, RetryClass::UnguardedWrite, &path(template_id)).json(body).gate(gate);
    if let Some(test) = ab_test {
        call = call.header(AB_TEST, &test.value()?)?;
    }
    let answer = session.send(call).await.map_err(|error| without_text(error, body))?;
    promoted(template_id, body.get("version").and_then(Value::as_str), answer)
}

/// A refusal may quote the prompt, whose text belongs into no condition, event or log: such a message is dropped; code and fields stay.
fn without_text(mut error: Error, body: &Value) -> Error {
    let content = body.get("content").and_then(Value::as_str).unwrap_or_default();
    if let Some(problem) = &mut error.problem
        && problem.message.as_deref().is_some_and(|message| quotes(message, content))
    {
        problem.message = Some("(a message that quotes the prompt)".to_owned());
    }
    error
}

/// Whether a message shares a run of [`QUOTE`] characters with a text, or holds the whole of a shorter one. White space does not count.
fn quotes(message: &str, text: &str) -> bool {
    let dense = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
    let (message, text) = (dense(message), dense(text));
    let run = QUOTE.min(text.len());
    if run < SHORTEST_QUOTE {
        return false;
    }
    let runs: HashSet<&[char]> = text.windows(run).collect();
    message.windows(run).any(|window| runs.contains(window))
}

fn path(template_id: &str) -> [&str; 6] {
    ["api", "v2", "ai", "prompt-templates", template_id, "versions"]
}

fn version_page(answer: Answer) -> Result<VersionPage, Error> {
    let document = answer.document("P1", ErrorKind::BadAnswer, "the page")?;
    let fields = document.parse();
    let entities = fields.get("entities").and_then(Value::as_array);
    if !entities.is_some_and(|entities| entities.iter().all(Value::is_object)) {
        return Err(answer.refused("P1", ErrorKind::BadAnswer, "the page has no list of versions"));
    }
    let page_count = fields.get("pageCount").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
    Ok(VersionPage {
        page_count: page_count.unwrap_or(1),
        date: answer.date,
        correlation_id: answer.correlation_id,
        requests: answer.requests,
        document,
    })
}

/// Reads the answer of P2. It was accepted, whatever it says: what cannot be used is a lost answer.
fn promoted(template_id: &str, version: Option<&str>, answer: Answer) -> Result<Promoted, Error> {
    let lost = |detail: &str| answer.refused("P2", ErrorKind::LostAnswer, detail);
    let document = answer.document("P2", ErrorKind::LostAnswer, "the version")?;
    let fields = document.parse();
    match fields.get("templateId") {
        None | Some(Value::Null) => {}
        Some(Value::String(found)) if found == template_id => {}
        Some(_) => return Err(lost("the answer is about another template")),
    }
    let found = fields.get("version").and_then(Value::as_str);
    if found.is_none() || found != version {
        let error = lost("the answer does not show the version that was asked for");
        return Err(Error { unshown: true, ..error });
    }
    if !fields.get("content").is_some_and(Value::is_string) {
        return Err(lost("the answer shows no content"));
    }
    Ok(Promoted { date: answer.date, correlation_id: answer.correlation_id, requests: answer.requests, document })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::super::call::Halted;
    use super::super::testing::{Rig, Scripted, answer};
    use super::*;

    #[test]
    fn a_message_that_quotes_the_prompt_is_known() {
        let text = "You are a patient assistant.\nHelp with {{issue}}.";
        assert!(quotes("content 'a patient  assistant. Help' is not allowed", text));
        assert!(quotes("the text abcd is refused", "abcd"));
        assert!(!quotes("version 2.1.0 exists already for the template", text));
        assert!(!quotes("anything", ""));
    }

    const SHOWN: &str = r#"{"templateId":"t/1","version":"2.1.0","content":"Hi","x":1}"#;

    fn from(body: &str) -> Answer {
        Answer { status: 200, body: body.as_bytes().into(), etag: None, date: None, correlation_id: None, requests: 2 }
    }

    fn body() -> Value {
        json!({"templateId": "t/1", "version": "2.1.0", "content": "Hi", "variables": {}, "rollbackDirective": false})
    }

    fn open() -> Gate {
        Arc::new(|| Ok(()))
    }

    /// P2 against a server that answers so.
    async fn send(calls: Vec<Scripted>) -> (Result<Promoted, Error>, Rig) {
        let rig = Rig::new(vec![], calls).await;
        let result = promote(&mut rig.session().await, "t/1", &body(), None, open()).await;
        (result, rig)
    }

    #[test]
    fn a_page_is_an_object_with_a_list_of_objects() {
        for body in ["[]", "{}", r#"{"entities":{}}"#, r#"{"entities":[{},3]}"#, r#"{"entities":null}"#, "\"x\""] {
            let error = version_page(from(body)).unwrap_err();
            assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::BadAnswer, false, 2), "{body}");
        }
        let error = version_page(from(r#"{"entities":[{"metadata":1e999}]}"#)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(version_page(from(r#"{"entities":[]}"#)).is_ok());
    }

    #[test]
    fn pages_are_counted_leniently() {
        for (text, expected) in [("3", 3), ("0", 0), ("-1", 1), ("\"3\"", 1), ("null", 1), ("2.5", 1), ("99999999999", 1)] {
            let page = version_page(from(&format!("{{\"entities\":[],\"pageCount\":{text}}}"))).unwrap();
            assert_eq!((page.page_count, page.requests), (expected, 2), "{text}");
        }
        assert_eq!(version_page(from(r#"{"entities":[]}"#)).unwrap().page_count, 1);
    }

    #[test]
    fn an_accepted_promotion_that_does_not_show_its_version_is_a_lost_answer() {
        for body in [
            "[]",
            "{}",
            r#"{"version":"2.1.0"}"#,
            r#"{"version":"2.1.0","content":1}"#,
            r#"{"version":"2.0.0","content":"Hi"}"#,
            r#"{"content":"Hi"}"#,
            r#"{"version":2,"content":"Hi"}"#,
            r#"{"templateId":"t/2","version":"2.1.0","content":"Hi"}"#,
            r#"{"templateId":1,"version":"2.1.0","content":"Hi"}"#,
            r#"{"version":"2.1.0","content":"Hi","x":1e999}"#,
        ] {
            let error = promoted("t/1", Some("2.1.0"), from(body)).unwrap_err();
            assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::LostAnswer, true, 2), "{body}");
        }
        let other = r#"{"version":"2.1.0","content":"Other"}"#;
        assert_eq!(promoted("t/1", Some("2.1.0"), from(other)).unwrap().document.bytes(), other.as_bytes());
        assert_eq!(promoted("t/1", None, from(other)).unwrap_err().kind, ErrorKind::LostAnswer);
    }

    #[tokio::test]
    async fn the_header_names_the_test_and_only_a_test() {
        let rig = Rig::new(vec![], vec![answer(201, &[], SHOWN), answer(200, &[], SHOWN)]).await;
        let mut session = rig.session().await;
        let test = Some(AbHeader { variant_id: "v2_1.0-b", percent: 20 });
        promote(&mut session, "t/1", &body(), test, open()).await.unwrap();
        promote(&mut session, "t/1", &body(), None, open()).await.unwrap();
        let calls = rig.calls();
        assert_eq!(calls[0].line, "POST /api/v2/ai/prompt-templates/t%2F1/versions");
        assert_eq!(calls[0].header("x-genesys-ab-test"), "variant=v2_1.0-b,traffic=20");
        assert!(!calls[1].headers.contains_key("x-genesys-ab-test"));
        assert_eq!(serde_json::from_str::<Value>(&calls[1].body).unwrap(), body());
        let long = "a".repeat(65);
        for (variant_id, percent) in [("", 1), ("a,traffic=99", 1), ("a\r\nb", 1), ("é", 1), (long.as_str(), 1), ("a", 101)] {
            let test = Some(AbHeader { variant_id, percent });
            let refused = promote(&mut session, "t/1", &body(), test, open()).await.unwrap_err();
            assert_eq!((refused.kind, refused.requests), (ErrorKind::Configuration, 0), "{variant_id}");
        }
    }

    #[tokio::test]
    async fn a_page_is_asked_for_by_number() {
        let rig = Rig::new(vec![], vec![answer(200, &[], r#"{"entities":[],"pageCount":4}"#), answer(404, &[], "{}")]).await;
        let mut session = rig.session().await;
        assert_eq!(versions(&mut session, "t/1", 3).await.unwrap().page_count, 4);
        assert_eq!(rig.calls()[0].line, "GET /api/v2/ai/prompt-templates/t%2F1/versions?pageSize=25&pageNumber=3");
        assert_eq!(versions(&mut session, "t/1", 1).await.unwrap_err().kind, ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_never_repeated_in_place() {
        let html = || answer(200, &[], "<html>");
        for scripted in
            [answer(500, &[], ""), answer(503, &["Retry-After: 1"], ""), answer(408, &[], ""), html(), Scripted::Reset]
        {
            let (result, rig) = send(vec![scripted, answer(201, &[], SHOWN)]).await;
            let error = result.unwrap_err();
            assert_eq!((error.kind, error.uncertain, rig.calls().len()), (ErrorKind::LostAnswer, true, 1));
        }
    }

    #[tokio::test]
    async fn a_conflict_carries_the_words_of_the_platform() {
        let message = r#"{"code":"request.conflict","message":"the rollback flag is on"}"#;
        let (result, rig) = send(vec![answer(409, &[], message), answer(201, &[], SHOWN)]).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.uncertain, rig.calls().len()), (ErrorKind::Conflict, false, 1));
        assert_eq!(error.problem.as_ref().unwrap().message.as_deref(), Some("the rollback flag is on"));
        assert!(error.to_string().contains("the rollback flag is on") && !error.to_string().contains("guard"), "{error}");
    }

    #[tokio::test]
    async fn what_was_not_taken_is_repeated_and_the_gate_asked_each_time() {
        let rig =
            Rig::new(vec![], vec![answer(401, &[], ""), answer(429, &["Retry-After: 1"], ""), answer(201, &[], SHOWN)]).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let gate: Gate = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let done = promote(&mut rig.session().await, "t/1", &body(), None, gate).await.unwrap();
        assert_eq!((done.requests, asked.load(Ordering::SeqCst), rig.logins()), (3, 3, 2));
        let shut: Gate = Arc::new(|| Err(Halted("suspended".to_owned())));
        let halted = promote(&mut rig.session().await, "t/1", &body(), None, shut).await.unwrap_err();
        assert_eq!((halted.kind, halted.uncertain, rig.calls().len()), (ErrorKind::Halted, false, 3));
    }
}
