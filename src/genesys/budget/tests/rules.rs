//! The schedule alone: time is a value.

use proptest::prelude::*;

use super::super::schedule::{Schedule, WINDOW};
use super::*;

/// A schedule whose waiters are their own ids.
struct Rig {
    schedule: Schedule<u64>,
    now: Instant,
    next: u64,
}

impl Rig {
    fn new(limit: u32) -> Rig {
        let now = Instant::now() + Duration::from_secs(1000);
        Rig { schedule: Schedule::new(limit, now), now, next: 0 }
    }

    fn queue(&mut self, lane: Lane, count: u64) -> Vec<u64> {
        let ids: Vec<u64> = (self.next..self.next + count).collect();
        self.next += count;
        for id in &ids {
            self.schedule.enqueue(*id, lane, *id);
        }
        ids
    }

    /// The next grant, at whatever time it may be made.
    fn next(&mut self) -> (Lane, u64) {
        loop {
            if let Some(grant) = self.schedule.grant(self.now) {
                self.schedule.complete(self.now);
                return grant;
            }
            self.now = self.schedule.wake(self.now).expect("a time of the next grant");
        }
    }

    fn lanes(&mut self, count: usize) -> Vec<Lane> {
        (0..count).map(|_| self.next().0).collect()
    }
}

#[test]
fn the_most_urgent_lane_goes_first() {
    let mut rig = Rig::new(600);
    for lane in Lane::ALL.into_iter().rev() {
        rig.queue(lane, 1);
    }
    assert_eq!(rig.lanes(7), Lane::ALL);
}

#[test]
fn every_tenth_grant_goes_to_a_lane_below_each_in_its_turn() {
    let mut rig = Rig::new(6000);
    rig.queue(Lane::Change, 100);
    for lane in [Lane::First, Lane::Repair, Lane::Propagation] {
        rig.queue(lane, 10);
    }
    let lanes = rig.lanes(60);
    let turns: Vec<Lane> = lanes.iter().copied().skip(9).step_by(10).collect();
    let round = [Lane::Propagation, Lane::Repair, Lane::First];
    assert_eq!(turns, [round, round].concat());
    assert_eq!(lanes.iter().filter(|lane| **lane == Lane::Change).count(), 54);
}

#[test]
fn underway_gives_no_turn_away() {
    let mut rig = Rig::new(6000);
    rig.queue(Lane::Underway, 50);
    rig.queue(Lane::Check, 50);
    assert!(rig.lanes(50).iter().all(|lane| *lane == Lane::Underway));
}

#[test]
fn a_fresh_edit_is_among_the_next_two_and_the_oldest_is_not_forgotten() {
    let mut rig = Rig::new(6000);
    let old = rig.queue(Lane::Change, 1000);
    for (n, oldest) in old.iter().enumerate().take(20) {
        let fresh = rig.queue(Lane::Change, 1)[0];
        let served = [rig.next().1, rig.next().1];
        assert!(served.contains(&fresh), "{n}: {served:?}");
        assert!(served.contains(oldest), "{n}: {served:?}");
    }
}

#[test]
fn other_lanes_are_first_in_first_out() {
    let mut rig = Rig::new(600);
    let ids = rig.queue(Lane::Check, 20);
    assert_eq!((0..20).map(|_| rig.next().1).collect::<Vec<u64>>(), ids);
}

#[test]
fn a_second_edit_makes_a_waiting_change_the_newest() {
    let mut rig = Rig::new(6000);
    let ids = rig.queue(Lane::Change, 100);
    assert!(rig.schedule.raise(ids[50], Lane::Change));
    assert!([rig.next().1, rig.next().1].contains(&ids[50]));
    let checks = rig.queue(Lane::Check, 2);
    assert!(!rig.schedule.raise(checks[0], Lane::Check));
    assert!(!rig.schedule.raise(u64::MAX, Lane::Change));
}

#[test]
fn the_reserve_belongs_to_change_and_underway() {
    for (limit, reserve) in [(600, 30), (20, 1), (10, 0), (1, 0)] {
        let mut rig = Rig::new(limit);
        rig.queue(Lane::Check, 2000);
        // Calls that never complete fill the window for good.
        let mut granted = 0;
        for _ in 0..1000 {
            while rig.schedule.grant(rig.now).is_some() {
                granted += 1;
            }
            rig.now += Duration::from_millis(100);
        }
        assert_eq!(granted, limit - reserve, "{limit}");
        rig.queue(Lane::Change, 2000);
        while rig.schedule.grant(rig.now).is_some() {
            granted += 1;
        }
        assert_eq!(granted, limit, "{limit}");
        assert_eq!(rig.schedule.wake(rig.now), None);
    }
}

#[test]
fn bursts_are_a_fiftieth_for_sweeps_and_a_quarter_for_changes() {
    let burst = |limit: u32, lane: Lane| {
        let mut rig = Rig::new(limit);
        rig.queue(lane, 1000);
        std::iter::from_fn(|| rig.schedule.grant(rig.now)).count()
    };
    // One more than the tolerance: the call that is due goes as well.
    assert_eq!(burst(600, Lane::Check), 13);
    assert_eq!(burst(600, Lane::Change), 151);
    assert_eq!(burst(600, Lane::Underway), 600);
    assert_eq!(burst(10, Lane::Check), 2);
    assert_eq!(burst(1, Lane::Change), 1);
}

#[test]
fn late_timers_do_not_add_up() {
    let mut rig = Rig::new(600);
    rig.queue(Lane::Check, 500);
    let began = rig.now;
    for _ in 0..500 {
        while rig.schedule.grant(rig.now).is_none() {
            rig.now = rig.schedule.wake(rig.now).unwrap() + Duration::from_millis(30);
        }
    }
    let took = (rig.now - began).as_secs_f64();
    // 13 at once, the others at 10/s, and only the last timer's own lateness.
    assert!((48.7..48.8).contains(&took), "{took}");
}

#[test]
fn a_sweep_does_not_slow_changes_down() {
    let mut rig = Rig::new(600);
    rig.queue(Lane::Check, 60);
    rig.lanes(60);
    rig.queue(Lane::Change, 100);
    let now = rig.now;
    assert!(rig.lanes(100).iter().all(|lane| *lane == Lane::Change));
    assert_eq!(rig.now, now);
}

/// What happens in a random run.
#[derive(Debug, Clone)]
enum Event {
    Queue(usize),
    Pass(u64),
    Complete(usize),
    GiveBack(usize),
    Remove(u64),
    Raise(u64, usize),
    Pause(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..7_usize).prop_map(Event::Queue),
        4 => (1..4000_u64).prop_map(Event::Pass),
        4 => any::<usize>().prop_map(Event::Complete),
        1 => any::<usize>().prop_map(Event::GiveBack),
        1 => (0..100_u64).prop_map(Event::Remove),
        1 => (0..100_u64, 0..7_usize).prop_map(|(id, lane)| Event::Raise(id, lane)),
        1 => (0..3000_u64).prop_map(Event::Pause),
    ]
}

proptest! {
    /// Wherever between grant and completion the server counts a call, no 60 s of its clock hold more than the limit.
    #[test]
    fn no_sliding_minute_ever_holds_more_than_the_limit(
        limit in 1..25_u32,
        events in proptest::collection::vec(event(), 1..400),
    ) {
        let mut rig = Rig::new(limit);
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        let (mut queued, mut left, mut paused) = (0_usize, 0_usize, rig.now);
        for event in events {
            match event {
                Event::Queue(lane) => { rig.queue(Lane::ALL[lane], 1); queued += 1; }
                Event::Pass(ms) => rig.now += Duration::from_millis(ms),
                Event::Complete(n) if !open.is_empty() => {
                    let (granted, _) = open.swap_remove(n % open.len());
                    rig.schedule.complete(rig.now);
                    closed.push((granted, rig.now));
                }
                Event::GiveBack(n) if !open.is_empty() => {
                    let (_, lane) = open.swap_remove(n % open.len());
                    rig.schedule.give_back(lane);
                    left += 1;
                }
                Event::Complete(_) | Event::GiveBack(_) => {}
                Event::Remove(id) => left += usize::from(rig.schedule.remove(id).is_some()),
                Event::Raise(id, lane) => { rig.schedule.raise(id, Lane::ALL[lane]); }
                Event::Pause(ms) => {
                    paused = paused.max(rig.now + Duration::from_millis(ms));
                    rig.schedule.pause_until(paused);
                }
            }
            while let Some((lane, _)) = rig.schedule.grant(rig.now) {
                prop_assert!(rig.now >= paused);
                open.push((rig.now, lane));
                // All that the server may count in the 60 s that end now.
                let recent = closed.iter().filter(|(_, end)| rig.now < *end + WINDOW).count();
                prop_assert!(recent + open.len() <= limit as usize);
            }
            // Nobody waits without a time or an open call to wait for.
            let stuck = rig.schedule.waiting() > 0 && open.is_empty() && rig.schedule.wake(rig.now).is_none();
            prop_assert!(!stuck);
            if let Some(at) = rig.schedule.wake(rig.now) {
                prop_assert!(at > rig.now, "a wake-up that grants nothing would spin");
            }
        }
        prop_assert_eq!(queued, left + open.len() + closed.len() + rig.schedule.waiting());
    }
}
