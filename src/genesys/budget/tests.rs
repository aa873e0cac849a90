//! Tests of the budget on a paused clock. [`rules`]: the schedule alone.

mod rules;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Makes one call that takes `latency`; returns when it was granted.
async fn call(budget: &Budget, lane: Lane, latency: Duration) -> Instant {
    let ticket = budget.ticket(lane).await;
    let granted = Instant::now();
    let spent = ticket.spend();
    sleep(latency).await;
    drop(spent);
    granted
}

/// The most grants in any 60 s.
fn busiest_minute(mut grants: Vec<Instant>) -> usize {
    grants.sort();
    let within = |from: &Instant| grants.iter().filter(|at| *at >= from && **at - *from < 60 * S).count();
    grants.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_sweep_of_2001_calls_keeps_the_rate_and_lets_a_change_through_at_once() {
    for lane in [Lane::First, Lane::Check] {
        let budget = Arc::new(Budget::new(600));
        let began = Instant::now();
        let mut sweep = JoinSet::new();
        for _ in 0..2001 {
            let budget = budget.clone();
            sweep.spawn(async move { call(&budget, lane, 100 * MS).await });
        }
        for at in [1, 30, 55, 59, 90, 118, 150] {
            tokio::time::sleep_until(began + at * S).await;
            let asked = Instant::now();
            let granted = call(&budget, Lane::Change, 100 * MS).await;
            assert!(granted - asked < S, "{lane} at {at} s: {:?}", granted - asked);
        }
        let grants = sweep.join_all().await;
        let took = began.elapsed();
        assert!(took <= 230 * S, "{lane}: {took:?}");
        assert!(busiest_minute(grants) <= 600);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_convergence_with_follow_up_calls_keeps_the_rate() {
    for (objects, follow_ups) in [(1000, 1), (500, 3)] {
        converge(objects, follow_ups).await;
    }
}

/// 2,000 calls in all: `objects` with a first call and so many that follow it.
async fn converge(objects: u32, follow_ups: u32) {
    let budget = Arc::new(Budget::new(600));
    let began = Instant::now();
    let mut fleet = JoinSet::new();
    for _ in 0..objects {
        let budget = budget.clone();
        fleet.spawn(async move {
            let mut grants = vec![call(&budget, Lane::First, 100 * MS).await];
            for _ in 0..follow_ups {
                grants.push(call(&budget, Lane::Underway, 100 * MS).await);
            }
            grants
        });
    }
    for at in [2, 40, 61, 100] {
        tokio::time::sleep_until(began + at * S).await;
        let asked = Instant::now();
        let granted = call(&budget, Lane::Change, 100 * MS).await;
        assert!(granted - asked < S, "{at} s: {:?}", granted - asked);
    }
    let grants = fleet.join_all().await;
    assert!(began.elapsed() <= 230 * S, "{:?}", began.elapsed());
    let waits = grants.iter().flat_map(|grants| grants.windows(2).map(|pair| pair[1] - pair[0]));
    let slowest = waits.max().unwrap();
    assert!(slowest < S, "a follow-up call waited {slowest:?}");
    assert!(busiest_minute(grants.into_iter().flatten().collect()) <= 600);
}

#[tokio::test(start_paused = true)]
async fn a_small_limit_is_kept_and_spent() {
    let budget = Arc::new(Budget::new(10));
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..30 {
        let budget = budget.clone();
        calls.spawn(async move { call(&budget, Lane::Check, 50 * MS).await });
    }
    let grants = calls.join_all().await;
    assert!(began.elapsed() <= 180 * S, "{:?}", began.elapsed());
    assert!(busiest_minute(grants) <= 10);
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_until_60_s_after_its_completion() {
    let budget = Arc::new(Budget::new(1));
    let spent = budget.ticket(Lane::Underway).await.spend();
    sleep(40 * S).await;
    drop(spent);
    assert_eq!(budget.used(), 1);
    let asked = Instant::now();
    let ticket = budget.ticket(Lane::Underway).await;
    assert_eq!(asked.elapsed(), 60 * S);
    drop(ticket);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unused_ticket_is_given_back_at_once() {
    let budget = Budget::new(1);
    let held = budget.ticket(Lane::Check).await;
    let mut next = budget.ticket(Lane::Check);
    assert!((&mut next).now_or_never().is_none());
    sleep(120 * S).await;
    assert!((&mut next).now_or_never().is_none(), "a held ticket counts for as long as it is held");
    drop(held);
    let asked = Instant::now();
    drop(next.await);
    assert!(asked.elapsed() <= S);
    assert_eq!((budget.used(), budget.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_place_leaves_the_queue_before_and_after_the_grant() {
    let budget = Budget::new(1);
    let granted = budget.ticket(Lane::Change);
    sleep(MS).await;
    // The ticket waits in the channel, unpolled.
    assert_eq!(budget.used(), 1);
    let waiting = budget.ticket(Lane::Change);
    assert_eq!(budget.waiting(), 1);
    drop(waiting);
    assert_eq!(budget.waiting(), 0);
    drop(granted);
    assert_eq!(budget.used(), 0);
    drop(budget.ticket(Lane::Change).await);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_in_a_pause() {
    let budget = Budget::new(600);
    let end = Instant::now() + 20 * S;
    budget.pause_until(end);
    budget.pause_until(end - 10 * S);
    let places: Vec<Waiting> = Lane::ALL.iter().map(|lane| budget.ticket(*lane)).collect();
    for place in places {
        drop(place.await);
        assert!(Instant::now() >= end);
    }
    assert!(end.elapsed() < S);
}

#[tokio::test(start_paused = true)]
async fn a_raised_ticket_overtakes() {
    let budget = Budget::new(1);
    let full = budget.ticket(Lane::Underway).await;
    let mut first = budget.ticket(Lane::Check);
    let second = budget.ticket(Lane::Check);
    let handle = second.handle();
    assert_eq!(handle.lane(), Some(Lane::Check));
    assert!(!handle.raise(Lane::Propagation));
    assert!(!handle.raise(Lane::Check));
    assert!(handle.raise(Lane::Change));
    drop(full);
    let ticket = second.await;
    assert_eq!(ticket.lane(), Lane::Change);
    assert!((&mut first).now_or_never().is_none());
    assert_eq!((handle.lane(), handle.raise(Lane::Underway)), (None, false));
}

#[tokio::test(start_paused = true)]
async fn a_higher_limit_takes_effect_at_once() {
    let budget = Budget::new(10);
    let held: Vec<Ticket> = futures::future::join_all((0..10).map(|_| budget.ticket(Lane::Underway))).await;
    let next = budget.ticket(Lane::Check);
    advance(S).await;
    budget.set_limit(3000);
    let asked = Instant::now();
    drop(next.await);
    assert!(asked.elapsed() <= S, "{:?}", asked.elapsed());
    assert_eq!(budget.limit(), 3000);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_budget_after_serving_who_waits() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let budget = Budget::new(600);
    drop(budget.ticket(Lane::Check).await);
    let waiting = budget.ticket(Lane::Check);
    drop(budget);
    drop(waiting.await);
    sleep(S).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn no_ticket_is_lost_among_random_drops_and_raises() {
    for seed in 0..20 {
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let budget = Arc::new(Budget::new(300));
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..400 {
            let (budget, random) = (budget.clone(), random.clone());
            callers.spawn(async move {
                let pick = |n: usize| random.lock().unwrap().usize(..n);
                sleep(pick(30_000) as u32 * MS).await;
                let waiting = budget.ticket(Lane::ALL[pick(7)]);
                let handle = waiting.handle();
                if pick(3) == 0 {
                    handle.raise(Lane::ALL[pick(7)]);
                }
                if pick(4) == 0 {
                    // Leaves the queue after a while, or drops the ticket that it got.
                    let _ = tokio::time::timeout(pick(2000) as u32 * MS, waiting).await;
                    return None;
                }
                let ticket = waiting.await;
                if pick(4) == 0 {
                    sleep(pick(3000) as u32 * MS).await;
                    return None;
                }
                let spent = ticket.spend();
                let granted = Instant::now();
                sleep(pick(5000) as u32 * MS).await;
                drop(spent);
                Some(granted)
            });
        }
        let grants: Vec<Instant> = callers.join_all().await.into_iter().flatten().collect();
        assert!(grants.len() > 150);
        assert!(began.elapsed() < 200 * S, "{:?}", began.elapsed());
        assert!(busiest_minute(grants) <= 300);
        assert_eq!(budget.waiting(), 0);
        sleep(61 * S).await;
        assert_eq!(budget.used(), 0, "seed {seed}");
    }
}
