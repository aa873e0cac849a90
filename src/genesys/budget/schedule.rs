//! The rules of granting, without tasks and without a clock: time comes in as a value.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::super::lane::Lane;

/// Below it a limit is too small to be shared out.
const SMALL: u32 = 20;

/// Length of the sliding log.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Every so many grants one goes to a less urgent lane that waits.
const TURN: u32 = 10;

/// The log, the pace and the queues. `W` is what a waiting caller is told by.
pub(super) struct Schedule<W> {
    limit: u32,
    /// Granted and not completed.
    open: u32,
    /// When each completed call stops counting; ascending.
    log: VecDeque<Instant>,
    /// Pace of the lanes below Change. Every grant moves it, so that together they keep the rate.
    paced: Pace,
    /// Pace of Change, moved by its own grants only: a sweep never stands in the way of a user.
    change: Pace,
    paused_until: Option<Instant>,
    queues: [Queue<W>; Lane::ALL.len()],
    place: HashMap<u64, (Lane, u64)>,
    next_seat: u64,
    /// Grants since a less urgent lane had its turn.
    since_turn: u32,
    /// The lane that had the last turn.
    last_turn: usize,
}

struct Queue<W> {
    /// By seat: the first is the oldest.
    seats: BTreeMap<u64, (u64, W)>,
    /// The next grant of an alternating lane goes to the newest.
    newest_next: bool,
}

impl<W> Schedule<W> {
    pub(super) fn new(limit: u32, now: Instant) -> Schedule<W> {
        Schedule {
            limit: limit.max(1),
            open: 0,
            log: VecDeque::new(),
            paced: Pace { free_at: now },
            change: Pace { free_at: now },
            paused_until: None,
            queues: std::array::from_fn(|_| Queue { seats: BTreeMap::new(), newest_next: true }),
            place: HashMap::new(),
            next_seat: 0,
            since_turn: 0,
            last_turn: Lane::First.index(),
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn set_limit(&mut self, limit: u32, now: Instant) {
        let before = self.spacing();
        self.limit = limit.max(1);
        // What is ahead was reckoned at the old rate.
        let scale = self.spacing().as_secs_f64() / before.as_secs_f64();
        self.paced.rescale(now, scale);
        self.change.rescale(now, scale);
    }

    pub(super) fn pause_until(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    pub(super) fn used(&mut self, now: Instant) -> u32 {
        while self.log.front().is_some_and(|end| *end <= now) {
            self.log.pop_front();
        }
        self.counted()
    }

    pub(super) fn waiting(&self) -> usize {
        self.place.len()
    }

    pub(super) fn lane_of(&self, id: u64) -> Option<Lane> {
        self.place.get(&id).map(|(lane, _)| *lane)
    }

    pub(super) fn enqueue(&mut self, id: u64, lane: Lane, waiter: W) {
        let seat = self.next_seat;
        self.next_seat += 1;
        self.place.insert(id, (lane, seat));
        self.queues[lane.index()].seats.insert(seat, (id, waiter));
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<W> {
        let (lane, seat) = self.place.remove(&id)?;
        let (_, waiter) = self.queues[lane.index()].seats.remove(&seat)?;
        Some(waiter)
    }

    pub(super) fn raise(&mut self, id: u64, lane: Lane) -> bool {
        let Some(at) = self.lane_of(id) else {
            return false;
        };
        let again = lane == Lane::Change && at == Lane::Change;
        if lane >= at && !again {
            return false;
        }
        let Some(waiter) = self.remove(id) else {
            return false;
        };
        self.enqueue(id, lane, waiter);
        true
    }

    /// A call that was granted is complete: it counts for another [`WINDOW`]. `now` never goes back from call to call.
    pub(super) fn complete(&mut self, now: Instant) {
        self.open = self.open.saturating_sub(1);
        self.log.push_back(now + WINDOW);
    }

    /// A call that was granted will not be made.
    pub(super) fn give_back(&mut self, lane: Lane) {
        self.open = self.open.saturating_sub(1);
        let spacing = self.spacing();
        self.paced.back(spacing);
        if lane == Lane::Change {
            self.change.back(spacing);
        }
    }

    /// The next grant that may be made at `now`, if any.
    pub(super) fn grant(&mut self, now: Instant) -> Option<(Lane, W)> {
        self.used(now);
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let rightful =
            Lane::ALL.into_iter().find(|lane| !self.is_empty(*lane) && self.ready_at(*lane, now).is_some_and(|at| at <= now))?;
        let lane = self.turn(rightful);
        let waiter = self.take(lane)?;
        let (spacing, even) = (self.spacing(), self.even(lane, now));
        self.open += 1;
        self.paced.advance(now, even);
        if lane == Lane::Change {
            self.change.advance(now, spacing);
        }
        Some((lane, waiter))
    }

    /// How long the next sweep waits after a grant: the room that is left lasts until the oldest call leaves the window. Room that
    /// is spent at once has an echo, as long a silence in which a new object would wait.
    fn even(&self, lane: Lane, now: Instant) -> Duration {
        let spacing = self.spacing();
        if lane <= Lane::Change || self.limit < SMALL {
            return spacing;
        }
        let room = (self.limit - self.reserve()).saturating_sub(self.counted()).max(1);
        let left = self.log.front().map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        (left / room).clamp(spacing, spacing * 4)
    }

    /// Calls that sweeps leave to changes and to what is under way.
    fn reserve(&self) -> u32 {
        if self.limit < SMALL { 0 } else { (self.limit / 20).max(1) }
    }

    /// When [`Self::grant`] may have something, if nothing else happens before; None: not before something happens.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let waiting = Lane::ALL.into_iter().filter(|lane| !self.is_empty(*lane));
        let at = waiting.filter_map(|lane| self.ready_at(lane, now)).min()?;
        Some(self.paused_until.map_or(at, |until| at.max(until)))
    }

    /// When `lane` may have its next grant by log and pace.
    fn ready_at(&self, lane: Lane, now: Instant) -> Option<Instant> {
        let (cap, pace) = match lane {
            Lane::Underway => (self.limit, now),
            Lane::Change => (self.limit, self.change.ready(self.burst(4))),
            Lane::First | Lane::Retry | Lane::Repair | Lane::Check | Lane::Propagation => {
                // A burst has an echo: as long a silence at the end of its minute, in which a new object would wait. A fiftieth
                // of the limit is 1.2 s of it.
                (self.limit - self.reserve(), self.paced.ready(self.burst(50)))
            }
        };
        Some(self.room_at(cap, now)?.max(pace))
    }

    /// When fewer than `cap` calls count. None: it depends on calls that are under way.
    fn room_at(&self, cap: u32, now: Instant) -> Option<Instant> {
        match self.counted().checked_sub(cap) {
            None => Some(now),
            Some(over) => self.log.get(over as usize).copied(),
        }
    }

    /// Who goes, where `rightful` is the most urgent lane that may. Every [`TURN`]th grant goes to a less urgent lane that
    /// waits, each in its turn, from the least urgent up: it goes in the place of the other, so that log and pace hold.
    fn turn(&mut self, rightful: Lane) -> Lane {
        let below = rightful.index() + 1..Lane::ALL.len();
        let others = below.clone().any(|i| !self.queues[i].seats.is_empty());
        if rightful == Lane::Underway || !others {
            return rightful;
        }
        self.since_turn += 1;
        if self.since_turn < TURN {
            return rightful;
        }
        self.since_turn = 0;
        let before_last = (0..self.last_turn).rev();
        let from_bottom = (self.last_turn..Lane::ALL.len()).rev();
        let next = before_last.chain(from_bottom).find(|i| below.contains(i) && !self.queues[*i].seats.is_empty());
        let Some(next) = next else { return rightful };
        self.last_turn = next;
        Lane::ALL[next]
    }

    fn take(&mut self, lane: Lane) -> Option<W> {
        let queue = &mut self.queues[lane.index()];
        let newest = lane.alternates() && queue.newest_next;
        queue.newest_next = !queue.newest_next;
        let (_, (id, waiter)) = if newest { queue.seats.pop_last() } else { queue.seats.pop_first() }?;
        self.place.remove(&id);
        Some(waiter)
    }

    fn is_empty(&self, lane: Lane) -> bool {
        self.queues[lane.index()].seats.is_empty()
    }

    fn counted(&self) -> u32 {
        // The log holds at most as many as were granted, which the limit bounds; saturating for a limit that was cut.
        self.open.saturating_add(u32::try_from(self.log.len()).unwrap_or(u32::MAX))
    }

    fn spacing(&self) -> Duration {
        WINDOW / self.limit
    }

    /// The time by which a lane may be ahead of its pace: a `part` of the limit, at least one call.
    fn burst(&self, part: u32) -> Duration {
        self.spacing() * (self.limit / part).max(1)
    }
}

/// An even pace after GCRA: a schedule of due times on which a late timer leaves no trace.
struct Pace {
    /// When a call would be due if all so far had been spaced evenly.
    free_at: Instant,
}

impl Pace {
    /// From when on a call may go that is ahead of the pace by at most `burst`.
    fn ready(&self, burst: Duration) -> Instant {
        // A clock that is younger than the burst cannot go back that far; then nothing is ahead of it.
        self.free_at.checked_sub(burst).unwrap_or(self.free_at)
    }

    fn advance(&mut self, now: Instant, spacing: Duration) {
        self.free_at = self.free_at.max(now) + spacing;
    }

    fn back(&mut self, spacing: Duration) {
        self.free_at = self.free_at.checked_sub(spacing).unwrap_or(self.free_at);
    }

    fn rescale(&mut self, now: Instant, scale: f64) {
        let ahead = self.free_at.saturating_duration_since(now);
        self.free_at = now + ahead.mul_f64(scale);
    }
}
