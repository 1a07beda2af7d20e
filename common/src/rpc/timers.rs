//! Timers of an owner task: set in any number, never cancelled. One that has lost its point fires all the same, and
//! the machine that set it takes it for nothing. Set again while it runs, a timer starts anew: two chains of one retry
//! would double its rate.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep_until};

/// What is to fire, in order of time.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    /// The entry of each running timer that counts.
    running: HashMap<T, u64>,
    /// Keeps timers of the same instant in the order they were set.
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    number: u64,
    timer: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), running: HashMap::new(), next: 0 }
    }
}

impl<T: Clone + Eq + Hash> Timers<T> {
    /// None set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a timer. With `jitter` it may fire up to a quarter early: retries of many must not march in step.
    pub fn set(&mut self, timer: T, after: Duration, jitter: bool) {
        let after = if jitter { after.mul_f64(rand::rng().random_range(0.75..=1.0)) } else { after };
        self.running.insert(timer.clone(), self.next);
        self.heap.push(Reverse(Entry { at: Instant::now() + after, number: self.next, timer }));
        self.next += 1;
    }

    /// Waits until the first timer is due; for ever if there is none. Nothing is taken: ask [`Timers::due`] then.
    pub async fn wait(&self) {
        match self.heap.peek() {
            Some(Reverse(first)) => sleep_until(first.at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes the first timer that is due at `now`.
    pub fn due(&mut self, now: Instant) -> Option<T> {
        while self.heap.peek().is_some_and(|Reverse(first)| first.at <= now) {
            let Reverse(first) = self.heap.pop()?;
            if self.running.get(&first.timer) == Some(&first.number) {
                self.running.remove(&first.timer);
                return Some(first.timer);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timers_fire_in_order_and_never_late_by_jitter() {
        let mut timers = Timers::new();
        timers.set("late", Duration::from_secs(2), false);
        timers.set("soon", Duration::from_secs(1), true);
        timers.set("sooner", Duration::from_millis(500), false);
        let mut fired = Vec::new();
        while fired.len() < 3 {
            timers.wait().await;
            while let Some(timer) = timers.due(Instant::now()) {
                fired.push(timer);
            }
        }
        assert_eq!(fired, ["sooner", "soon", "late"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_set_again_fires_once_at_the_later_time() {
        let mut timers = Timers::new();
        timers.set("retry", Duration::from_secs(1), false);
        timers.set("retry", Duration::from_secs(3), false);
        let began = Instant::now();
        let fired = loop {
            timers.wait().await;
            if let Some(timer) = timers.due(Instant::now()) {
                break timer;
            }
        };
        assert_eq!((fired, began.elapsed().as_secs()), ("retry", 3));
        assert_eq!(timers.due(Instant::now() + Duration::from_secs(9)), None);
    }
}
