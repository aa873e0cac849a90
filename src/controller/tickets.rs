//! Objects that wait for their lane, so that a change of spec can raise a waiting ticket.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::genesys::{Budget, Lane, RaiseHandle, Ticket};

struct Wait {
    generation: i64,
    handle: RaiseHandle,
}

/// The waiting objects of one kind, by UID.
#[derive(Default)]
pub struct Tickets(Mutex<HashMap<String, Wait>>);

impl Tickets {
    /// Waits for a ticket in `lane` on behalf of an object.
    pub async fn wait(&self, budget: &Budget, uid: &str, generation: i64, lane: Lane) -> Ticket {
        let waiting = budget.ticket(lane);
        self.lock().insert(uid.to_owned(), Wait { generation, handle: waiting.handle() });
        let _leave = Leave { tickets: self, uid };
        waiting.await
    }

    /// The object has a newer generation, or a person asks for it: its waiting ticket is a user's change now.
    pub fn changed(&self, uid: &str, generation: i64, asked: bool) {
        if let Some(wait) = self.lock().get(uid).filter(|wait| asked || wait.generation < generation) {
            wait.handle.raise(Lane::Change);
        }
    }

    /// Objects that wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Leave<'a> {
    tickets: &'a Tickets,
    uid: &'a str,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.tickets.lock().remove(self.uid);
    }
}
