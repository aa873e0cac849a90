//! The call budget of an account: who may make the next call, and when.
//!
//! A caller takes a [`Ticket`] for a [`Lane`] before it does anything else. The ticket carries one prepaid call; unused, it
//! is given back on drop. The rules of granting are the pure [`schedule::Schedule`]; here are the waiting, and the one task
//! that wakes for the next grant, so that a thousand waiting callers cost one timer.

mod schedule;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::lane::Lane;
use schedule::Schedule;

/// The call budget: a sliding log of 60 s with lanes. All methods are cheap and never block.
///
/// A granted call counts from its grant until 60 s after its completion, so whenever inside that span the server counted it,
/// the server's own sliding minute never holds more than the limit.
pub struct Budget {
    shared: Arc<Shared>,
}

impl Budget {
    /// A budget of `limit_per_minute` calls in any 60 s (0 is taken as 1).
    #[must_use]
    pub fn new(limit_per_minute: u32) -> Budget {
        let state =
            State { schedule: Schedule::new(limit_per_minute, Instant::now()), pumping: false, closed: false, next_id: 0 };
        let shared = Shared { state: Mutex::new(state), wake: Notify::new() };
        Budget { shared: Arc::new(shared) }
    }

    /// Changes the limit. A lower one takes effect as the log empties; calls that are granted already are not taken back.
    pub fn set_limit(&self, limit_per_minute: u32) {
        let now = Instant::now();
        self.shared.lock().schedule.set_limit(limit_per_minute, now);
        self.shared.wake.notify_one();
    }

    /// The limit, in calls per 60 s.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.shared.lock().schedule.limit()
    }

    /// Calls that count now: granted and not completed, or completed within the last 60 s.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.shared.lock().schedule.used(Instant::now())
    }

    /// Callers that wait, in all lanes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().schedule.waiting()
    }

    /// Queues for a call in `lane`. The place in the queue is taken now, not at the first poll.
    ///
    /// Must be called within a tokio runtime.
    #[must_use = "dropping it leaves the queue"]
    pub fn ticket(&self, lane: Lane) -> Waiting {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut state = self.shared.lock();
            let id = state.next_id;
            state.next_id += 1;
            state.schedule.enqueue(id, lane, sender);
            if !state.pumping {
                state.pumping = true;
                tokio::spawn(pump(Pumping(self.shared.clone())));
            }
            id
        };
        self.shared.wake.notify_one();
        Waiting { shared: self.shared.clone(), id, receiver }
    }

    /// Grants nothing before `until`; an earlier end never shortens a pause.
    pub(super) fn pause_until(&self, until: Instant) {
        self.shared.lock().schedule.pause_until(until);
        self.shared.wake.notify_one();
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("limit", &self.limit())
            .field("used", &self.used())
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// A place in the queue; resolves to the [`Ticket`]. Dropping it leaves the queue.
#[must_use = "dropping it leaves the queue"]
pub struct Waiting {
    shared: Arc<Shared>,
    id: u64,
    receiver: oneshot::Receiver<Ticket>,
}

impl Waiting {
    /// A handle by which others raise this place while its owner waits.
    #[must_use]
    pub fn handle(&self) -> RaiseHandle {
        RaiseHandle { shared: self.shared.clone(), id: self.id }
    }
}

impl Future for Waiting {
    type Output = Ticket;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ticket> {
        match Pin::new(&mut self.receiver).poll(cx) {
            Poll::Ready(Ok(ticket)) => Poll::Ready(ticket),
            // The sender goes only with the runtime: there is nobody left to wait for.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Granted meanwhile: the ticket is dropped with the receiver, and gives itself back.
        self.shared.lock().schedule.remove(self.id);
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Raises a waiting ticket. Outlives the [`Waiting`] harmlessly.
#[derive(Clone)]
pub struct RaiseHandle {
    shared: Arc<Shared>,
    id: u64,
}

impl RaiseHandle {
    /// Moves the ticket to `lane` if that is more urgent than its own; there it counts as the newest. [`Lane::Change`] on a
    /// ticket that is in that lane already (another edit) makes it the newest again.
    ///
    /// Returns whether it was moved: false also once it is granted or gone.
    pub fn raise(&self, lane: Lane) -> bool {
        let moved = self.shared.lock().schedule.raise(self.id, lane);
        if moved {
            self.shared.wake.notify_one();
        }
        moved
    }

    /// Where the ticket waits; None once it is granted or gone.
    #[must_use]
    pub fn lane(&self) -> Option<Lane> {
        self.shared.lock().schedule.lane_of(self.id)
    }
}

impl std::fmt::Debug for RaiseHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaiseHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The right to make one call. Unused, it is given back on drop: no call is counted for it.
#[must_use = "dropping it gives the call back"]
pub struct Ticket {
    shared: Arc<Shared>,
    lane: Lane,
    spent: bool,
}

impl Ticket {
    /// The lane in which it was granted.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Spends it: from here on the call counts, until 60 s after the result is dropped.
    pub(super) fn spend(mut self) -> Spent {
        self.spent = true;
        Spent { shared: self.shared.clone() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.spent {
            self.shared.lock().schedule.give_back(self.lane);
            self.shared.wake.notify_one();
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// A call under way; to be dropped when its answer is there.
pub(super) struct Spent {
    shared: Arc<Shared>,
}

impl Drop for Spent {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // Read under the lock, so that the log stays in order.
        let now = Instant::now();
        state.schedule.complete(now);
        let waiting = state.schedule.waiting() > 0;
        drop(state);
        if waiting {
            self.shared.wake.notify_one();
        }
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

struct State {
    schedule: Schedule<oneshot::Sender<Ticket>>,
    /// The task runs.
    pumping: bool,
    /// The budget is gone; the task serves who waits still, and ends.
    closed: bool,
    next_id: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task holds: however it ends (its runtime may be gone), the next ticket starts another.
struct Pumping(Arc<Shared>);

impl Drop for Pumping {
    fn drop(&mut self) {
        self.0.lock().pumping = false;
    }
}

/// Grants, sleeps until the next grant is due or something changed, and so on.
async fn pump(pumping: Pumping) {
    let shared = &pumping.0;
    loop {
        let mut granted = Vec::new();
        let (wake, done) = {
            let mut state = shared.lock();
            let now = Instant::now();
            while let Some(grant) = state.schedule.grant(now) {
                granted.push(grant);
            }
            let done = state.closed && state.schedule.waiting() == 0;
            (state.schedule.wake(now), done)
        };
        for (lane, sender) in granted {
            let ticket = Ticket { shared: shared.clone(), lane, spent: false };
            // Outside the lock: where nobody waits any more the ticket drops here, and locks to give itself back.
            drop(sender.send(ticket));
        }
        if done {
            return;
        }
        match wake {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = shared.wake.notified() => {}
            },
            None => shared.wake.notified().await,
        }
    }
}
