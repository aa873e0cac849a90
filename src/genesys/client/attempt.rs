//! One request of a call, and what its outcome means for the call.

use std::time::Duration;

use reqwest::Request;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG};
use tokio::time::Instant;
use url::Url;

use super::super::budget::Ticket;
use super::super::call::{Answer, Call};
use super::super::document::{is_json, is_too_deep};
use super::super::error::{Error, ErrorKind, Problem};
use super::super::retry::{self, Decision, MAX_REQUESTS, Outcome};
use super::super::timing::{doubled, jittered, jittered_up};
use super::super::token::Token;
use super::super::wire::{FaultKind, Reply};
use super::{Client, Next};

/// A call under way: what its requests have come to so far.
pub(super) struct Run<'a> {
    client: Client,
    call: &'a Call,
    requests: u32,
    /// The one repeat after a 401 is spent.
    renewed: bool,
    /// A request may have taken effect.
    uncertain: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(client: &Client, call: &'a Call) -> Run<'a> {
        Run { client: client.clone(), call, requests: 0, renewed: false, uncertain: false }
    }

    /// Puts one request on the wire.
    ///
    /// # Errors
    /// The end of the call; to be passed through [`Run::ended`].
    pub(super) async fn request(&mut self, url: &Url, token: &Token, ticket: Ticket) -> Result<Next, Error> {
        let request = self.build(url, token)?;
        let sent_at = Instant::now();
        let spent = ticket.spend();
        self.requests += 1;
        let result = self.client.wire.exchange(self.call.endpoint, request).await;
        drop(spent);
        match result {
            Ok(reply) => self.answered(reply, token, sent_at),
            Err(fault) => {
                let outcome = match fault.kind {
                    FaultKind::Connect => Outcome::NotSent,
                    FaultKind::Timeout | FaultKind::Reset | FaultKind::TooLarge | FaultKind::Broken => Outcome::Lost,
                };
                self.uncertain |= retry::is_ambiguous(self.call.class, outcome);
                self.settle(outcome, None, Some(&fault.text), None)
            }
        }
    }

    /// The error as the caller sees it. A write that may have taken effect is a lost answer, whatever came after: only a read
    /// can tell. A conflict leads to that read anyway, and a halt must stay a halt.
    pub(super) fn ended(&self, mut error: Error) -> Error {
        error.requests = self.requests;
        error.uncertain |= self.uncertain;
        if self.uncertain && !matches!(error.kind, ErrorKind::Conflict | ErrorKind::Halted) {
            error.kind = ErrorKind::LostAnswer;
            error.endpoint = self.call.endpoint;
        }
        error
    }

    fn build(&self, url: &Url, token: &Token) -> Result<Request, Error> {
        let http = &self.client.wire.http;
        let mut request = http
            .request(self.call.method.clone(), url.clone())
            .header(AUTHORIZATION, token.header()?)
            .header(ACCEPT, "application/json");
        for (name, value) in &self.call.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &self.call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        request.build().map_err(|_| self.error(ErrorKind::Configuration).because("the request cannot be built"))
    }

    fn answered(&mut self, reply: Reply, token: &Token, sent_at: Instant) -> Result<Next, Error> {
        if reply.status != 429 && reply.status < 500 {
            self.client.account.unthrottled(sent_at);
        }
        if (200..300).contains(&reply.status) {
            return self.accepted(reply, token);
        }
        let problem = Problem::parse(reply.status, reply.text(), reply.correlation_id(&[token.expose()]), &[token.expose()]);
        let outcome = Outcome::Status { status: reply.status, mismatch: problem.is_version_mismatch() };
        self.uncertain |= retry::is_ambiguous(self.call.class, outcome);
        let wait = reply.retry_after();
        match retry::decide(self.call.class, outcome, self.renewed) {
            Decision::Renew => {
                self.client.account.tokens.drop_token(token.serial());
                self.renewed = true;
                Ok(Next::Again)
            }
            Decision::Throttle => {
                let wait = self.client.account.throttled(sent_at, wait);
                if self.requests < MAX_REQUESTS && wait <= self.client.wire.timing.hold {
                    return Ok(Next::Again);
                }
                let mut error = self.error(ErrorKind::Throttled).after(Some(wait));
                error.problem = Some(Box::new(problem));
                Err(error)
            }
            Decision::Accept | Decision::Repeat(_) | Decision::Fail(_) => {
                // Only a 503 and a 429 say when to come back.
                let wait = wait.filter(|_| reply.status == 503);
                self.settle(outcome, Some(problem), None, wait)
            }
        }
    }

    /// A 2xx: an answer if its body can be used.
    fn accepted(&mut self, reply: Reply, token: &Token) -> Result<Next, Error> {
        let class = self.call.class;
        let unusable = match &reply.body {
            // A read that ran out of time says nothing about the body. A write was accepted: there is nothing to repeat.
            Err(fault) if fault.kind == FaultKind::Timeout && !class.is_write() => Some((Outcome::Lost, fault.text.as_str())),
            Err(fault) => Some((Outcome::BadBody, fault.text.as_str())),
            Ok(body) if !is_json(body) || is_too_deep(body) => Some((Outcome::BadBody, "the body is not JSON")),
            Ok(_) => None,
        };
        if let Some((outcome, why)) = unusable.filter(|_| class.expects_json()) {
            let problem = Problem::parse(reply.status, b"", reply.correlation_id(&[token.expose()]), &[]);
            self.uncertain |= retry::is_ambiguous(class, outcome);
            return self.settle(outcome, Some(problem), Some(why), None);
        }
        Ok(Next::Done(Answer {
            status: reply.status,
            etag: reply.headers.get(ETAG).map(|tag| tag.as_bytes().to_vec()),
            date: reply.date(),
            correlation_id: reply.correlation_id(&[token.expose()]),
            requests: self.requests,
            body: reply.body.unwrap_or_default(),
        }))
    }

    /// Repeats after a back-off where the table allows it and requests are left, else ends.
    fn settle(
        &self,
        outcome: Outcome,
        problem: Option<Problem>,
        detail: Option<&str>,
        retry_after: Option<Duration>,
    ) -> Result<Next, Error> {
        let (kind, may_repeat) = match retry::decide(self.call.class, outcome, self.renewed) {
            Decision::Repeat(kind) => (kind, true),
            Decision::Fail(kind) => (kind, false),
            // Settled before; an answer that comes here is none.
            Decision::Accept | Decision::Renew | Decision::Throttle => (ErrorKind::BadAnswer, false),
        };
        let timing = self.client.wire.timing;
        let asked = retry_after.map(jittered_up);
        let wait = asked.unwrap_or_else(|| jittered(doubled(timing.backoff, self.requests - 1, timing.backoff_cap)));
        if may_repeat && self.requests < MAX_REQUESTS && wait <= timing.hold {
            return Ok(Next::Wait(wait));
        }
        let mut error = self.error(kind).after(asked);
        error.problem = problem.map(Box::new);
        error.detail = detail.map(str::to_owned);
        Err(error)
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(self.call.endpoint, kind)
    }
}
