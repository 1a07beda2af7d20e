//! The group-commit worker: one thread per file, which takes all that is queued, writes it as one batch, and reports
//! the whole batch. There is no added delay: a batch is what arrived while the one before was on its way.
//!
//! After any error it never writes again. The error may have come after the bytes were durable, so nothing is reported
//! for that batch: nobody learns an outcome that the next start might contradict.

use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::StorageError;
use super::guard::protect;
use crate::locks::{Lock, Mutex, MutexGuard};
use crate::watchdog::{Sign, watch};

/// What writes a batch. It lives on the worker's thread.
pub trait BatchWriter: Send + 'static {
    /// One thing to write.
    type Item: Send + 'static;
    /// What is reported of a batch that is durable.
    type Receipt: Send + 'static;

    /// Writes all items, in order, in one commit. `Ok` means that they are on disk.
    ///
    /// # Errors
    /// Any: nothing is known of the items then, and this is never called again.
    fn write(&mut self, items: Vec<Self::Item>) -> Result<Self::Receipt, StorageError>;

    /// Bytes that an item adds to a batch, roughly.
    fn bytes(item: &Self::Item) -> usize;
}

/// Whether somebody waits for an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// Somebody waits: the worker begins at once.
    Force,
    /// Goes with the next batch; by itself when none comes within [`Caps::ride_delay`].
    Ride,
}

/// Limits of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Most items of a batch: bounds how long one commit takes, hence how long the next item waits.
    pub batch_items: usize,
    /// Most bytes of a batch, likewise. An item that is larger by itself goes alone.
    pub batch_bytes: usize,
    /// Most items that wait: beyond it a caller submits faster than the disk takes, and must hold back.
    pub queued_items: usize,
    /// How long a riding item waits for company.
    pub ride_delay: Duration,
}

impl Caps {
    /// 4,096 items, 8 MiB, 65,536 waiting, 5 ms.
    pub const DEFAULTS: Self =
        Self { batch_items: 4_096, batch_bytes: 8 << 20, queued_items: 65_536, ride_delay: Duration::from_millis(5) };
}

impl Default for Caps {
    fn default() -> Self {
        Self::DEFAULTS
    }
}

const _: () = assert!(Caps::DEFAULTS.batch_items < Caps::DEFAULTS.queued_items);

/// Why an item was not taken. It comes back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused<Item> {
    /// The worker ended, after an error or a shutdown.
    #[error("the log worker has ended")]
    Ended(Item),
    /// [`Caps::queued_items`] wait already.
    #[error("too many items wait for the log")]
    Full(Item),
}

/// What a worker has done so far; read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    batches: AtomicU64,
    items: AtomicU64,
    forces: AtomicU64,
}

impl Counters {
    /// Batches that are durable.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Items in them.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    /// Batches in which somebody waited for at least one item.
    #[must_use]
    pub fn forces(&self) -> u64 {
        self.forces.load(Ordering::Relaxed)
    }
}

/// A running worker. Dropping it drains and joins, like [`Worker::shutdown`].
pub struct Worker<W: BatchWriter> {
    submitter: Submitter<W::Item>,
    thread: Option<JoinHandle<Option<W>>>,
}

impl<W: BatchWriter> Worker<W> {
    /// Starts the thread called `name`.
    ///
    /// `on_done` gets the receipt of each batch, in order; `on_fatal` gets the first error, once, and is the last thing
    /// that happens. Both run on the worker's thread. After an error the writer is forgotten, not dropped: its
    /// destructors could touch the file.
    ///
    /// # Errors
    /// `Io` when the system gives no thread.
    pub fn spawn(
        name: &str,
        writer: W,
        caps: Caps,
        on_done: impl FnMut(W::Receipt) + Send + 'static,
        on_fatal: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<Self, StorageError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Lock::LogQueue, Queue::new()),
            wake: Condvar::new(),
            caps,
            counters: Counters::default(),
            steps: AtomicU64::new(0),
            weigh: W::bytes,
        });
        let label = PathBuf::from(name);
        let of_thread = shared.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn({
                let label = label.clone();
                move || run(&of_thread, &label, writer, on_done, on_fatal)
            })
            .map_err(|source| StorageError::from_io(&label, "start a thread", source))?;
        watch(&format!("the thread {name}"), signs(Arc::downgrade(&shared)));
        Ok(Self { submitter: Submitter(shared), thread: Some(thread) })
    }

    /// Queues an item; items are written in the order of submission.
    ///
    /// # Errors
    /// [`Refused`]: nothing was queued.
    pub fn submit(&self, item: W::Item, urgency: Urgency) -> Result<(), Refused<W::Item>> {
        self.submitter.submit(item, urgency)
    }

    /// A handle for others to submit with.
    #[must_use]
    pub fn submitter(&self) -> Submitter<W::Item> {
        self.submitter.clone()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.submitter.0.counters
    }

    /// Takes no more, writes what is queued, and ends the thread. Gives the writer back; `None` after an error.
    pub fn shutdown(mut self) -> Option<W> {
        self.drain()
    }

    fn drain(&mut self) -> Option<W> {
        let thread = self.thread.take()?;
        self.submitter.0.queue().ended = true;
        self.submitter.0.wake.notify_all();
        if thread.thread().id() == thread::current().id() {
            // Dropped by its own callback: the thread ends when that returns.
            return None;
        }
        thread.join().ok().flatten()
    }
}

impl<W: BatchWriter> Drop for Worker<W> {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

/// Submits to a worker. Clones share its queue.
pub struct Submitter<Item>(Arc<Shared<Item>>);

impl<Item> Clone for Submitter<Item> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Item> Submitter<Item> {
    /// Queues an item; items are written in the order of submission.
    ///
    /// # Errors
    /// [`Refused`]: nothing was queued.
    pub fn submit(&self, item: Item, urgency: Urgency) -> Result<(), Refused<Item>> {
        let mut queue = self.0.queue();
        if queue.ended {
            return Err(Refused::Ended(item));
        }
        if queue.items.len() >= self.0.caps.queued_items {
            return Err(Refused::Full(item));
        }
        let first = queue.items.is_empty();
        let forced_before = queue.last_forced.is_some();
        if first {
            queue.since = Instant::now();
        }
        queue.items.push((item, urgency));
        if urgency == Urgency::Force {
            queue.last_forced = Some(queue.items.len() - 1);
        }
        drop(queue);
        // A worker that sleeps must hear of the first item (to begin its delay) and of the first force.
        if first || (urgency == Urgency::Force && !forced_before) {
            self.0.wake.notify_one();
        }
        Ok(())
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

struct Shared<Item> {
    /// Held for a push or for taking the whole vector, never while writing.
    queue: Mutex<Queue<Item>>,
    wake: Condvar,
    caps: Caps,
    counters: Counters,
    /// Counts the beginning and the end of each batch: odd while one is written.
    steps: AtomicU64,
    weigh: fn(&Item) -> usize,
}

struct Queue<Item> {
    items: Vec<(Item, Urgency)>,
    /// Index of the last item that somebody waits for: all up to it go without a delay.
    last_forced: Option<usize>,
    /// When the oldest item came.
    since: Instant,
    /// No more is taken.
    ended: bool,
}

impl<Item> Queue<Item> {
    fn new() -> Self {
        Self { items: Vec::new(), last_forced: None, since: Instant::now(), ended: false }
    }
}

impl<Item> Shared<Item> {
    fn queue(&self) -> MutexGuard<'_, Queue<Item>> {
        self.queue.lock()
    }

    /// Waits for a batch; `None` when all is written and no more comes.
    fn next_batch(&self) -> Option<Vec<(Item, Urgency)>> {
        let mut queue = self.queue();
        loop {
            if queue.items.is_empty() {
                if queue.ended {
                    return None;
                }
                queue = queue.wait(&self.wake);
                continue;
            }
            let waited = queue.since.elapsed();
            let full = queue.items.len() >= self.caps.batch_items;
            if queue.last_forced.is_some() || queue.ended || full || waited >= self.caps.ride_delay {
                return Some(self.take(&mut queue));
            }
            let left = self.caps.ride_delay - waited;
            queue = queue.wait_timeout(&self.wake, left);
        }
    }

    /// Everything that is queued, or as much of its beginning as the caps allow.
    fn take(&self, queue: &mut Queue<Item>) -> Vec<(Item, Urgency)> {
        let mut bytes = 0;
        let mut fits = 0;
        for (item, _) in queue.items.iter().take(self.caps.batch_items.max(1)) {
            bytes += (self.weigh)(item);
            if bytes > self.caps.batch_bytes && fits > 0 {
                break;
            }
            fits += 1;
        }
        queue.last_forced = queue.last_forced.and_then(|last| last.checked_sub(fits));
        if fits == queue.items.len() {
            // The next batch is likely as large.
            return mem::replace(&mut queue.items, Vec::with_capacity(fits));
        }
        let rest = queue.items.split_off(fits);
        mem::replace(&mut queue.items, rest)
    }
}

/// How a watchdog sees that the thread gets on with what is queued.
fn signs<Item: Send + 'static>(shared: Weak<Shared<Item>>) -> impl FnMut() -> Sign {
    let mut last = None;
    move || {
        let Some(shared) = shared.upgrade() else { return Sign::Ended };
        let steps = shared.steps.load(Ordering::Relaxed);
        let moved = last.replace(steps) != Some(steps);
        // Whoever has the queue now is at it; should it be for ever, nothing moves.
        let is_idle = steps.is_multiple_of(2) && shared.queue.try_lock().is_some_and(|queue| queue.items.is_empty());
        if moved || is_idle { Sign::Moves } else { Sign::Stands }
    }
}

fn run<W: BatchWriter>(
    shared: &Shared<W::Item>,
    label: &std::path::Path,
    mut writer: W,
    mut on_done: impl FnMut(W::Receipt),
    on_fatal: impl FnOnce(StorageError),
) -> Option<W> {
    while let Some(batch) = shared.next_batch() {
        let count = batch.len() as u64;
        let forced = batch.iter().any(|(_, urgency)| *urgency == Urgency::Force);
        let items = batch.into_iter().map(|(item, _)| item).collect();
        // A panic of the writer or the callback is an unknown outcome as well.
        shared.steps.fetch_add(1, Ordering::Relaxed);
        let written = protect(label, || {
            let receipt = writer.write(items)?;
            shared.counters.batches.fetch_add(1, Ordering::Relaxed);
            shared.counters.items.fetch_add(count, Ordering::Relaxed);
            shared.counters.forces.fetch_add(u64::from(forced), Ordering::Relaxed);
            on_done(receipt);
            Ok(())
        });
        shared.steps.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = written {
            mem::forget(writer);
            let left = {
                let mut queue = shared.queue();
                queue.ended = true;
                mem::take(&mut queue.items)
            };
            drop(left);
            on_fatal(error);
            return None;
        }
    }
    Some(writer)
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
