//! The sandbox's journal as a figure reads it: grown entry by entry, with arrivals on this process's own monotonic clock.

use std::time::{Duration, Instant};

use assist_operator::sandbox::{Actor, Entry, World};
use serde_json::json;

/// The journal from some moment on.
pub struct Watch {
    world: World,
    start: Instant,
    seen: u64,
    /// Requests of the operator so far, in the order in which their answers were ready.
    pub entries: Vec<Entry>,
}

impl Watch {
    /// From now on.
    pub fn new(world: &World) -> Self {
        let (start, seen) = calibrate(world);
        Self { world: world.clone(), start, seen, entries: Vec::new() }
    }

    /// Takes over what is new.
    pub fn refresh(&mut self) -> &[Entry] {
        let new = self.world.journal_since(self.seen);
        self.seen = new.last().map_or(self.seen, |entry| entry.seq);
        self.entries.extend(new.into_iter().filter(|entry| entry.actor == Actor::Client));
        &self.entries
    }

    /// Calls of the API, without those for a token.
    pub fn calls(&mut self) -> Vec<&Entry> {
        self.refresh().iter().filter(|entry| is_api(entry)).collect()
    }

    /// The first accepted PUT for a config whose body holds this revision.
    pub fn put(&mut self, target: &str, revision: u64) -> Option<Entry> {
        let wanted = |entry: &&Entry| {
            let body = entry.body.as_ref().and_then(|body| body.get("revision"));
            is_write(entry) && entry.applied && entry.target.as_deref() == Some(target) && body == Some(&json!(revision))
        };
        self.refresh().iter().find(wanted).cloned()
    }

    /// When a request arrived.
    pub fn arrival(&self, entry: &Entry) -> Instant {
        self.start + Duration::from_micros(entry.at_us)
    }

    /// Milliseconds from `moment` to the arrival; negative where it arrived before.
    pub fn millis_after(&self, moment: Instant, entry: &Entry) -> f64 {
        let arrival = self.arrival(entry);
        let late = arrival.saturating_duration_since(moment).as_secs_f64();
        (late - moment.saturating_duration_since(arrival).as_secs_f64()) * 1e3
    }

    /// Waits until no request has arrived for `quiet`; how many came meanwhile.
    pub fn settle(&mut self, quiet: Duration) -> usize {
        let before = self.refresh().len();
        let (mut last, mut count) = (Instant::now(), before);
        while last.elapsed() < quiet {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.refresh().len();
            if now != count {
                (last, count) = (Instant::now(), now);
            }
        }
        count - before
    }
}

/// A call that counts against the limit of the API.
pub fn is_api(entry: &Entry) -> bool {
    !matches!(entry.call.as_str(), "T1" | "A1")
}

/// A write.
pub fn is_write(entry: &Entry) -> bool {
    entry.call == "C3"
}

/// The moment at which the sandbox's clock began, and the journal's last position: an administrative change is journaled at once.
fn calibrate(world: &World) -> (Instant, u64) {
    let mark = world.journal_since(0).last().map_or(0, |entry| entry.seq);
    let before = Instant::now();
    world.put_config("calibration", json!({}));
    let entries = world.journal_since(mark);
    let entry = entries.iter().find(|entry| entry.target.as_deref() == Some("calibration")).expect("the change is journaled");
    let start = before.checked_sub(Duration::from_micros(entry.at_us)).expect("the sandbox is younger than the machine");
    (start, entry.seq)
}
