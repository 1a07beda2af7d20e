//! When to try again, and how long to wait before.

use std::time::Duration;

use handfast_common::outcome::ReasonKind;
use tokio::time::{Instant, sleep_until};

/// Whether an aborted transaction is run again, under a new key and with the same age.
///
/// Aborted is definite: nothing happened under the old key and nothing will. So running the work again can't run it
/// twice. A transaction whose key the caller fixed is never run again: under that key nothing will happen any more, and
/// another key would be none that the caller knows.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Most attempts after the first.
    pub most: u32,
    /// Which reasons are worth one.
    pub when: fn(ReasonKind) -> bool,
}

impl Retry {
    /// Ten retries, for every reason that may pass by itself: conflicts (the age is kept, so in the end this one is the
    /// oldest and dies no more), lock and prepare timeouts, an unreachable or restarted participant, a full disk,
    /// overload, a restarted coordinator.
    pub const DEFAULT: Self = Self { most: 10, when: ReasonKind::is_retryable };
    /// None.
    pub const NEVER: Self = Self { most: 0, when: |_| false };
}

impl Default for Retry {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Pauses that double up to a cap; the second half of each is drawn, so that clients do not march in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// First pause.
    pub(crate) const FIRST: Duration = Duration::from_millis(10);
    /// Longest one: the answer to a question is then at most a quarter of a second old.
    const CAP: Duration = Duration::from_millis(250);

    pub(crate) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// Waits, but not beyond `latest`.
    pub(crate) async fn pause(&mut self, latest: Instant) {
        let pause = jittered(self.next);
        self.next = (self.next * 2).min(Self::CAP);
        sleep_until(latest.min(Instant::now() + pause)).await;
    }
}

/// Between half of it and all of it.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
}
