//! Which of several replicas works: the one that holds the `Lease` (coordination.k8s.io). The others keep their watch stores filled and
//! write nothing.
//!
//! A holder counts from the moment at which it began to renew, and stops by itself a good while before anybody else may begin, who counts
//! from the moment at which the renewal was seen. The clocks of two machines are never compared. Both clocks of the holder must agree that it
//! is still in time: the monotonic one stands still while its machine is suspended, and the wall clock can be set back. The libraries at hand compare the
//! wall clocks of two machines and cannot be asked at the moment of a write whether the lease still holds, so this is written here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// How often a release is tried where somebody else touches the lease at the same moment.
const RELEASES: u32 = 3;

/// What a write is stopped with by a process that may not write.
pub const NOT_HELD: &str = "this replica does not hold the lease any more; another one goes on";
/// Why a call was given up.
const LATE: &str = "the API server did not answer in time";

/// How a lease is held.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Namespace of the lease.
    pub namespace: String,
    /// Its name: the replicas of one installation share it.
    pub name: String,
    /// So long after its last renewal others may take it; whole seconds.
    pub duration: Duration,
    /// So long after the last renewal began its holder stops writing; shorter.
    pub renew_deadline: Duration,
    /// Time between two renewals; others look twice as often.
    pub retry_period: Duration,
}

/// A time for which the lease is held.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// When the renewal began that it follows from.
    began: Instant,
    /// The same by the wall clock.
    wall: Timestamp,
    length: Duration,
}

impl Term {
    /// One that begins now.
    fn new(length: Duration) -> Self {
        Self { began: Instant::now(), wall: clock::precise(), length }
    }

    fn until(&self) -> Instant {
        self.began + self.length
    }

    /// Whether it goes on by both clocks. A wall clock that was set back says nothing.
    fn goes_on(&self, now: Instant, wall: Timestamp) -> bool {
        let passed = Duration::try_from(wall.duration_since(self.wall).max(SignedDuration::ZERO)).unwrap_or(Duration::MAX);
        now < self.until() && passed < self.length
    }
}

/// Whether this process may write. Asked at the moment of each write; it costs a look at two clocks.
#[derive(Clone, Debug, Default)]
pub struct Leadership(Option<Arc<Mutex<Option<Term>>>>);

impl Leadership {
    /// The process is the only one, by the word of whoever started it.
    pub fn alone() -> Self {
        Self(None)
    }

    /// One of several; none of them leads yet.
    pub fn contested() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether this process may write now.
    pub fn is_held(&self) -> bool {
        self.0.is_none() || self.term().is_some_and(|term| term.goes_on(Instant::now(), clock::precise()))
    }

    fn term(&self) -> Option<Term> {
        *self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, new: Option<Term>) {
        if let Some(term) = &self.0 {
            *term.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }
}

/// A candidate for a lease.
pub struct Election {
    api: Api<Lease>,
    options: LeaseOptions,
    identity: String,
    leadership: Leadership,
}

/// What is known of a lease that somebody else holds.
struct Seen {
    /// How long a lease is held at least: as long as this process would hold it.
    own: Duration,
    version: Option<String>,
    holder: String,
    /// Nobody else may take it before.
    until: Option<Instant>,
}

impl Seen {
    fn new(own: Duration) -> Self {
        Self { own, version: None, holder: String::new(), until: None }
    }

    /// The lease was looked at: how long it is still held. Only a change tells that its holder lives.
    fn note(&mut self, lease: Option<&Lease>, identity: &str) -> Duration {
        let now = Instant::now();
        // It may be its own: the answer to an earlier try was lost.
        let holder = lease.and_then(holder).filter(|holder| *holder != identity).unwrap_or_default();
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if holder != self.holder && !holder.is_empty() {
            tracing::info!(holder, identity, "another replica leads; this one keeps its caches warm and writes nothing");
        }
        if version != self.version {
            let seconds = lease.and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds).unwrap_or_default();
            // It may say nothing, or too little.
            self.until = Some(now + Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).max(self.own));
        }
        (self.version, self.holder) = (version, holder.to_owned());
        if holder.is_empty() {
            Duration::ZERO
        } else {
            self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// How a renewal ended that was answered.
enum Renewed {
    Held(Box<Lease>),
    TakenBy(String),
}

impl Election {
    /// For a client of its own: renewals must not wait behind other calls. `instance` names the process; what is added tells it from the one
    /// that ran in the same pod before.
    pub fn new(client: Client, options: LeaseOptions, instance: &str, leadership: Leadership) -> Self {
        let identity = format!("{instance}_{}", uuid::Uuid::new_v4());
        Self { api: Api::namespaced(client, &options.namespace), options, identity, leadership }
    }

    /// Takes part once `warm`, tells `elected` when the lease is held, and renews it. Ends only when it is lost: why.
    pub async fn run(&self, warm: &CancellationToken, elected: &CancellationToken) -> String {
        warm.cancelled().await;
        let lease = self.acquire().await;
        tracing::info!(holder = self.identity, lease = self.label(), "this replica leads");
        elected.cancel();
        let why = self.keep(lease).await;
        self.leadership.hold(None);
        tracing::error!(holder = self.identity, lease = self.label(), why, "the lease is lost; nothing more is written");
        format!(
            "the lease {} is lost: {why}. The process ends, and starts again as a follower; writes under way are looked up by the next leader",
            self.label()
        )
    }

    fn label(&self) -> String {
        format!("{}/{}", self.options.namespace, self.options.name)
    }

    /// Waits until the lease is free, and takes it.
    async fn acquire(&self) -> Box<Lease> {
        let (mut seen, look_every) = (Seen::new(self.options.duration), self.options.retry_period / 2);
        loop {
            let mut wait = look_every;
            match self.in_time(self.api.get_opt(&self.options.name)).await {
                Ok(lease) => {
                    let left = seen.note(lease.as_ref(), &self.identity);
                    if left.is_zero() {
                        match timeout(self.options.renew_deadline / 2, self.take(lease)).await {
                            Ok(Ok(lease)) => return lease,
                            Ok(Err(error)) if is(&error, 409) => tracing::debug!(%error, "another replica was faster"),
                            Ok(Err(error)) => self.warn("taken", &error.to_string()),
                            Err(_) => self.warn("taken", LATE),
                        }
                    } else {
                        wait = wait.min(left);
                    }
                }
                Err(why) => self.warn("read", &why),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a lease that is free, or was when it was looked at: where somebody else was faster, the API server refuses.
    async fn take(&self, lease: Option<Lease>) -> kube::Result<Box<Lease>> {
        let term = Term::new(self.options.renew_deadline);
        let lease = self.write(lease, self.spec()).await?;
        self.leadership.hold(Some(term));
        Ok(Box::new(lease))
    }

    /// The spec of a lease that this process holds from now on.
    fn spec(&self) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.options.duration.as_secs()).unwrap_or(i32::MAX)),
            ..LeaseSpec::default()
        }
    }

    /// Writes a lease on top of the one that was looked at; refused with 409 where it is another one by now.
    async fn write(&self, before: Option<Lease>, spec: LeaseSpec) -> kube::Result<Lease> {
        let now = MicroTime(clock::precise());
        let Some(before) = before else {
            let metadata = ObjectMeta { name: Some(self.options.name.clone()), ..ObjectMeta::default() };
            let spec = LeaseSpec { acquire_time: Some(now.clone()), renew_time: Some(now), lease_transitions: Some(0), ..spec };
            return self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await;
        };
        let old = before.spec.unwrap_or_default();
        let same = old.holder_identity == spec.holder_identity;
        let transitions = old.lease_transitions.unwrap_or_default();
        let spec = LeaseSpec {
            acquire_time: if same { old.acquire_time } else { Some(now.clone()) },
            lease_transitions: Some(transitions.saturating_add(i32::from(!same && spec.holder_identity.is_some()))),
            renew_time: Some(now),
            ..spec
        };
        let lease = Lease { metadata: before.metadata, spec: Some(spec) };
        self.api.replace(&self.options.name, &PostParams::default(), &lease).await
    }

    /// Renews until the lease is lost.
    async fn keep(&self, mut lease: Box<Lease>) -> String {
        let (mut last, mut next) = ("no renewal was answered".to_owned(), Instant::now() + self.options.retry_period);
        loop {
            let until = self.leadership.term().map_or_else(Instant::now, |term| term.until());
            sleep_until(next.min(until)).await;
            let term = Term::new(self.options.renew_deadline);
            if !self.leadership.is_held() {
                return format!("it could not be renewed within {:?}: {last}", self.options.renew_deadline);
            }
            let began = term.began;
            next = began + self.options.retry_period;
            // Two tries at least, also where a connection hangs; none of them outlives the deadline.
            let patience = (self.options.renew_deadline / 2).min(until.saturating_duration_since(began));
            last = match timeout(patience, self.renew(&lease)).await {
                Ok(Ok(Renewed::Held(renewed))) => {
                    self.leadership.hold(Some(term));
                    lease = renewed;
                    continue;
                }
                Ok(Ok(Renewed::TakenBy(holder))) => return format!("{holder} holds it"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => LATE.to_owned(),
            };
            self.warn("renewed", &last);
        }
    }

    async fn renew(&self, lease: &Lease) -> kube::Result<Renewed> {
        match self.write(Some(lease.clone()), self.spec()).await {
            Ok(lease) => return Ok(Renewed::Held(Box::new(lease))),
            // Somebody touched it, or an earlier renewal was answered too late.
            Err(error) if is(&error, 409) || is(&error, 404) => {}
            Err(error) => return Err(error),
        }
        let now = self.api.get_opt(&self.options.name).await?;
        match now.as_ref().and_then(holder) {
            Some(other) if other != self.identity => Ok(Renewed::TakenBy(other.to_owned())),
            _ => self.write(now, self.spec()).await.map(|lease| Renewed::Held(Box::new(lease))),
        }
    }

    /// Gives the lease back, so that another replica starts at once. Nothing may be written any more, whatever the answer.
    pub async fn release(&self) {
        if self.leadership.term().is_none() {
            return;
        }
        self.leadership.hold(None);
        for _ in 0..RELEASES {
            match self.in_time(self.give_back()).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(why) => return self.warn("released", &why),
            }
        }
    }

    /// `false`: somebody else touched it at the same moment.
    async fn give_back(&self) -> kube::Result<bool> {
        let lease = self.api.get_opt(&self.options.name).await?;
        if lease.as_ref().and_then(holder) != Some(self.identity.as_str()) {
            return Ok(true);
        }
        let free = LeaseSpec { lease_duration_seconds: Some(1), ..LeaseSpec::default() };
        match self.write(lease, free).await {
            Ok(_) => {
                tracing::info!(holder = self.identity, lease = self.label(), "the lease is released");
                Ok(true)
            }
            Err(error) if is(&error, 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A call that is given up where no renewal could wait for it.
    async fn in_time<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        match timeout(self.options.renew_deadline / 2, call).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(LATE.to_owned()),
        }
    }

    fn warn(&self, what: &str, why: &str) {
        let lease = self.label();
        tracing::warn!(
            lease,
            why,
            "the lease could not be {what}; it is tried again. The role of the operator must allow get and update on it, and create of leases"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: Option<&str>) -> Lease {
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        let spec =
            LeaseSpec { holder_identity: holder.map(str::to_owned), lease_duration_seconds: Some(15), ..LeaseSpec::default() };
        Lease { metadata, spec: Some(spec) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_itself() {
        assert!(Leadership::alone().is_held());
        let leadership = Leadership::contested();
        assert!(!leadership.is_held());
        leadership.hold(Some(Term::new(Duration::from_secs(10))));
        let copy = leadership.clone();
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(copy.is_held());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!copy.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_lease_that_nobody_renewed_for_its_duration_is_free() {
        let seconds = Duration::from_secs;
        let mut seen = Seen::new(seconds(10));
        assert_eq!(seen.note(Some(&lease("1", Some("a"))), "me"), seconds(15));
        tokio::time::advance(seconds(10)).await;
        assert_eq!(seen.note(Some(&lease("1", Some("a"))), "me"), seconds(5));
        // It was renewed, whatever the clocks of its holder say.
        assert_eq!(seen.note(Some(&lease("2", Some("a"))), "me"), seconds(15));
        tokio::time::advance(seconds(15)).await;
        assert_eq!(seen.note(Some(&lease("2", Some("a"))), "me"), Duration::ZERO);
        assert_eq!(seen.note(Some(&lease("3", Some("b"))), "me"), seconds(15));
        // Released, its own, or deleted.
        for free in [Some(lease("4", None)), Some(lease("5", Some(""))), Some(lease("6", Some("me"))), None] {
            assert_eq!(seen.note(free.as_ref(), "me"), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_held_for_ones_own_length_at_least_whatever_it_says() {
        let published = |seconds: Option<i32>, version: &str| {
            let mut lease = lease(version, Some("a"));
            lease.spec.as_mut().unwrap().lease_duration_seconds = seconds;
            lease
        };
        let mut seen = Seen::new(Duration::from_secs(15));
        for (version, seconds, held) in [("1", None, 15), ("2", Some(0), 15), ("3", Some(-1), 15), ("4", Some(60), 60)] {
            let left = seen.note(Some(&published(seconds, version)), "me");
            assert_eq!(left, Duration::from_secs(held), "{seconds:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn both_clocks_must_agree_that_the_lease_is_held() {
        let term = Term::new(Duration::from_secs(10));
        let at = |monotonic, wall| {
            term.goes_on(term.began + Duration::from_millis(monotonic), term.wall + SignedDuration::from_millis(wall))
        };
        assert!(at(0, 0) && at(9_999, 9_999));
        assert!(!at(10_000, 10_000));
        // The machine was suspended, or the wall clock set forward.
        assert!(!at(1, 10_000));
        // The wall clock was set back: it neither ends a term nor prolongs one.
        assert!(at(9_999, -3_600_000) && !at(10_000, -3_600_000));
    }
}
