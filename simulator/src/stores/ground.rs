//! What a store stands on: its disk, its name, this start of it, and when the disk takes up what it wants to write.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use handfast_common::ids::{Incarnation, Name, StoreId};
use handfast_common::storage::{Space, SpaceOptions, StorageError};

use crate::disk::Disk;

/// One start of one participant's store. Clones are of the same start.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The participant's number, from 0.
    pub participant: usize,
    /// Its name.
    pub name: Name,
    /// What a store that is made now is to be known by.
    pub fresh_identity: StoreId,
    /// This start.
    pub incarnation: Incarnation,
    /// Its disk: bytes that are written, synced and read. It loses power, fails, and is full.
    pub disk: Disk,
    pub(super) free: Arc<AtomicU64>,
    pub(super) pace: Rc<Pace>,
}

/// Free bytes of a disk with room.
pub(crate) const ROOM: u64 = 1 << 30;
/// Below this new work is refused.
pub(crate) const RESERVE: u64 = 1 << 20;

/// Who waits for the disk, and whether the store has given up.
#[derive(Default, Debug)]
pub(super) struct Pace {
    asked: Cell<u64>,
    granted: Cell<u64>,
    failed: RefCell<Option<StorageError>>,
}

impl Ground {
    pub(crate) fn new(
        (participant, name): (usize, Name),
        fresh_identity: StoreId,
        incarnation: Incarnation,
        disk: Disk,
        free: Arc<AtomicU64>,
    ) -> Self {
        Self { participant, name, fresh_identity, incarnation, disk, free, pace: Rc::default() }
    }

    /// Whether there is room for new work on its disk.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.free.load(Ordering::Relaxed) >= RESERVE
    }

    /// The same for stores that are built on [`Space`].
    ///
    /// # Errors
    /// None that can be.
    pub fn space(&self) -> Result<Arc<Space>, StorageError> {
        let levels = SpaceOptions { reserve: RESERVE, critical: 0, ballast: 0, every: Duration::ZERO };
        let free = Arc::clone(&self.free);
        let probe = Box::new(move || Ok(free.load(Ordering::Relaxed)));
        // A folder that is not there: without a ballast nothing is looked for in it.
        Space::with_probe(Path::new("/nowhere/at/all"), levels, probe).map(Arc::new)
    }

    /// Ends when the disk takes up the next batch: a store awaits it before it writes, in [`polled`](super::polled) ones.
    /// Without it all is written the moment it is asked for, and no crash comes before.
    pub fn turn(&self) -> Turn {
        Turn { pace: Rc::clone(&self.pace), number: None }
    }

    /// The store can't go on: its process ends, and what has not been answered never is.
    pub fn fail(&self, error: StorageError) {
        self.pace.failed.borrow_mut().get_or_insert(error);
    }

    /// The same, after an I/O error.
    pub fn fail_io(&self, doing: &'static str, error: std::io::Error) {
        self.fail(StorageError::from_io(&self.file(), doing, error));
    }

    /// As its disk is called in errors.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        PathBuf::from(format!("disk-of-{}", self.name))
    }
}

impl Pace {
    pub(super) fn waiting(&self) -> u64 {
        self.asked.get() - self.granted.get()
    }

    /// Everybody who waits now goes on.
    pub(super) fn grant(&self) {
        self.granted.set(self.asked.get());
    }

    pub(super) fn take_failure(&self) -> Option<StorageError> {
        self.failed.borrow_mut().take()
    }
}

/// See [`Ground::turn`].
#[derive(Debug)]
pub struct Turn {
    pace: Rc<Pace>,
    number: Option<u64>,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let number = match self.number {
            Some(number) => number,
            None => {
                let number = self.pace.asked.get() + 1;
                self.pace.asked.set(number);
                self.number = Some(number);
                number
            }
        };
        // No waker is kept: whoever grants it polls everybody.
        if number <= self.pace.granted.get() { Poll::Ready(()) } else { Poll::Pending }
    }
}
