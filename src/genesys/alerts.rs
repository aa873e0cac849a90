//! S4: the supervisor alert about a changed skill (contract section 5).

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::call::{Answer, Call, Gate};
use super::client::Session;
use super::error::{Error, ErrorKind};
use super::retry::RetryClass;

/// A change that a supervisor is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert<'a> {
    /// The agent.
    pub user_id: &'a str,
    /// The skill.
    pub skill_id: &'a str,
    /// Proficiency before the change, with two decimals: `0.10`.
    pub from: &'a str,
    /// Proficiency after it, with two decimals.
    pub to: &'a str,
}

/// An alert that was taken.
#[derive(Debug, Clone)]
pub struct Sent {
    /// 200 or 201.
    pub status: u16,
    /// The server's clock at this answer.
    pub date: Option<Timestamp>,
    /// The platform's correlation id.
    pub correlation_id: Option<String>,
    /// Requests that it took (T1 not counted).
    pub requests: u32,
}

impl Alert<'_> {
    /// The body of S4. The same alert has the same body.
    #[must_use]
    pub fn body(&self) -> Value {
        let Alert { user_id, skill_id, from, to } = self;
        json!({
            "title": format!("Automated Skill Adjustment: {user_id}"),
            "type": "routing",
            "category": "skillLevel",
            "subCategory": "proficiencyChange",
            "body": format!("Skill {skill_id} proficiency adjusted from {from} to {to}. Change exceeds threshold."),
            "severity": "warning",
            "links": [{"type": "user", "id": user_id}],
        })
    }
}

/// S4: sends an alert. The gate is asked before each request.
///
/// There is no way to look an alert up, so it is repeated after an unknown outcome: it is sent at least once. What the answer's body
/// holds does not matter.
///
/// # Errors
/// [`ErrorKind::LostAnswer`] where it may have been taken, also where the status is another 2xx; [`ErrorKind::Configuration`] where a
/// proficiency is not written with two decimals.
pub async fn send(session: &mut Session, alert: &Alert<'_>, gate: Gate) -> Result<Sent, Error> {
    if ![alert.from, alert.to].into_iter().all(has_two_decimals) {
        return Err(Error::new("S4", ErrorKind::Configuration).because("a proficiency is not written with two decimals"));
    }
    let call = Call::new("S4", Method::POST, RetryClass::Repeatable, &["api", "v2", "alerts"]);
    sent(session.send(call.json(&alert.body()).gate(gate)).await?)
}

fn sent(answer: Answer) -> Result<Sent, Error> {
    if !matches!(answer.status, 200 | 201) {
        let detail = format!("the status {} does not say that the alert was taken", answer.status);
        let mut lost = Error::new("S4", ErrorKind::LostAnswer).because(detail);
        lost.requests = answer.requests;
        return Err(lost);
    }
    Ok(Sent { status: answer.status, date: answer.date, correlation_id: answer.correlation_id, requests: answer.requests })
}

fn has_two_decimals(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(whole, fraction)| digits(whole) && digits(fraction) && fraction.len() == 2)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::call::Halted;
    use super::super::testing::{Rig, Scripted, answer};
    use super::*;

    const ALERT: Alert<'_> = Alert { user_id: "u/1", skill_id: "s-1", from: "0.10", to: "0.72" };

    async fn against(calls: Vec<Scripted>) -> (Result<Sent, Error>, Rig) {
        let rig = Rig::new(vec![], calls).await;
        let result = send(&mut rig.session().await, &ALERT, Arc::new(|| Ok(()))).await;
        (result, rig)
    }

    #[test]
    fn the_body_is_the_contract_s() {
        let expected = json!({
            "title": "Automated Skill Adjustment: u/1", "type": "routing", "category": "skillLevel", "subCategory": "proficiencyChange",
            "body": "Skill s-1 proficiency adjusted from 0.10 to 0.72. Change exceeds threshold.", "severity": "warning",
            "links": [{"type": "user", "id": "u/1"}],
        });
        assert_eq!(ALERT.body(), expected);
    }

    #[tokio::test]
    async fn it_is_repeated_until_it_is_taken_whatever_the_body() {
        for (status, body) in [(200, ""), (201, "<html>"), (201, "{}")] {
            let (result, rig) = against(vec![Scripted::Reset, answer(502, &[], ""), answer(status, &[], body)]).await;
            let sent = result.unwrap();
            assert_eq!((sent.status, sent.requests), (status, 3));
            for seen in rig.calls() {
                assert_eq!((seen.line.as_str(), seen.body), ("POST /api/v2/alerts", ALERT.body().to_string()));
            }
        }
    }

    #[tokio::test]
    async fn what_does_not_say_that_it_was_taken_is_lost() {
        for calls in [vec![answer(202, &[], "{}")], vec![answer(204, &[], "")], vec![Scripted::Reset, answer(400, &[], "")]] {
            let (requests, (result, _)) = (calls.len(), against(calls).await);
            let error = result.unwrap_err();
            assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::LostAnswer, true, requests as u32));
        }
        let (result, _) = against(vec![answer(403, &[], "")]).await;
        assert_eq!(result.unwrap_err().kind, ErrorKind::Forbidden);
    }

    #[tokio::test]
    async fn nothing_is_sent_through_a_shut_gate_or_without_two_decimals() {
        let rig = Rig::new(vec![], vec![]).await;
        let shut: Gate = Arc::new(|| Err(Halted("suspended".to_owned())));
        let halted = send(&mut rig.session().await, &ALERT, shut).await.unwrap_err();
        assert_eq!((halted.kind, halted.uncertain), (ErrorKind::Halted, false));
        for wrong in ["0.1", "0.100", "1", ".10", "-0.10", "0,10", "1e2", "0.1x", ""] {
            let alert = Alert { to: wrong, ..ALERT };
            let error = send(&mut rig.session().await, &alert, Arc::new(|| Ok(()))).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration, "{wrong}");
        }
        assert_eq!(rig.calls().len(), 0);
    }
}
