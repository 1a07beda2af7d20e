//! Notices an owner task or a log thread that stands still: because of a deadlock, a call that blocks, or a wake-up that
//! was lost. Debug builds only, which are what tests run: the process says which one it is and aborts, so that a test
//! fails with a line instead of hanging.
//!
//! Release builds have none of it: a disk may take longer than any limit, and that is no reason to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a thing under watch shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// It has moved since the last look, or has nothing to do.
    Moves,
    /// It has something to do and has not moved.
    Stands,
    /// It is gone: there is nothing more to look at.
    Ended,
}

/// The environment variable with the limit, in seconds; 60 without it.
pub const VARIABLE: &str = "HANDFAST_WATCHDOG_SECONDS";

/// Looks at something every quarter of a second, on a thread of its own, until it has ended. When it has stood for the
/// whole limit, the process aborts.
///
/// Looks are counted, not time: a process that was stopped and goes on is not taken for one that stands.
pub fn watch(name: &str, look: impl FnMut() -> Sign + Send + 'static) {
    #[cfg(debug_assertions)]
    dog::start(name, look);
    #[cfg(not(debug_assertions))]
    drop((name, look));
}

/// A question to a task, through its own queue. Taken out of it, whatever comes of it then, it is answered.
#[derive(Debug)]
pub struct Beat(Arc<AtomicBool>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Looks at a task by its queue: `send` puts a beat there, and says false when nobody takes from it any more.
pub fn beats(mut send: impl FnMut(Beat) -> bool) -> impl FnMut() -> Sign {
    let mut taken = Arc::new(AtomicBool::new(true));
    move || {
        if !taken.load(Ordering::Acquire) {
            return Sign::Stands;
        }
        taken = Arc::new(AtomicBool::new(false));
        if send(Beat(Arc::clone(&taken))) { Sign::Moves } else { Sign::Ended }
    }
}

#[cfg(debug_assertions)]
mod dog {
    use super::{Sign, VARIABLE};
    use std::time::Duration;

    const EVERY: Duration = Duration::from_millis(250);
    const LIMIT_SECONDS: u32 = 60;

    pub(super) fn start(name: &str, mut look: impl FnMut() -> Sign + Send + 'static) {
        let name = name.to_owned();
        let limit = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(LIMIT_SECONDS);
        let most = limit.saturating_mul(4);
        let watching = move || {
            let mut stood = 0;
            loop {
                std::thread::sleep(EVERY);
                stood = match look() {
                    Sign::Moves => 0,
                    Sign::Stands => stood + 1,
                    Sign::Ended => return,
                };
                if stood > most {
                    eprintln!("watchdog: {name} has stood still for {limit} s; the process ends here");
                    std::process::abort();
                }
            }
        };
        let spawned = std::thread::Builder::new().name("watchdog".to_owned()).spawn(watching);
        // Without a thread there is no watching; the tests that need it will say so.
        drop(spawned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_is_not_taken_is_a_task_that_stands() {
        let (sender, queue) = std::sync::mpsc::channel();
        let mut look = beats(move |beat| sender.send(beat).is_ok());
        assert_eq!(look(), Sign::Moves);
        assert_eq!((look(), look()), (Sign::Stands, Sign::Stands));
        drop(queue.recv());
        assert_eq!((look(), look()), (Sign::Moves, Sign::Stands));
        drop(queue);
        assert_eq!(look(), Sign::Ended);
    }
}
