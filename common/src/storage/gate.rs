//! What stands between redb and the file.
//!
//! redb writes to a file as soon as it opens it, and its integrity check "repairs" a damaged one by going back to the
//! commit before: the check answers `false` once, and at the second start all is well, without the last records. So a
//! [`Gate`] *holds* every write in memory until the store was verified, then lets them through in their order, or
//! drops them, leaving a damaged file as it was found, however often it is started.
//!
//! After an error the gate is *shut*: nothing is written any more, not even by destructors. And it remembers the first
//! error of the device, because redb answers later ones with "previous I/O error".

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use crate::locks::{Lock, Mutex, MutexGuard, ReadGuard, RwLock, WriteGuard};

/// A backend around another one. Clones share it: redb owns one, the store keeps one.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    /// Empty once shut. Reads go on side by side; only the change of state is exclusive.
    state: RwLock<State>,
    failure: Mutex<Option<Failure>>,
}

enum State {
    Holding(Box<dyn StorageBackend>, Box<Mutex<Held>>),
    Open(Box<dyn StorageBackend>),
    Shut,
}

/// The first error of the device.
pub(crate) struct Failure {
    /// What was tried.
    pub(crate) doing: &'static str,
    /// What the system said.
    pub(crate) source: io::Error,
}

impl Gate {
    /// A gate that lets everything through: for a file that is being made.
    pub(crate) fn open(backend: Box<dyn StorageBackend>) -> Self {
        Self::new(State::Open(backend))
    }

    /// A gate that keeps all writes until [`Gate::release`].
    pub(crate) fn holding(backend: Box<dyn StorageBackend>) -> io::Result<Self> {
        let there = backend.len()?;
        let held = Held { there, len: there, pages: BTreeMap::new(), steps: Vec::new() };
        Ok(Self::new(State::Holding(backend, Box::new(Mutex::new(Lock::GateHeld, held)))))
    }

    fn new(state: State) -> Self {
        Self(Arc::new(Inner { state: RwLock::new(Lock::Gate, state), failure: Mutex::new(Lock::GateFailure, None) }))
    }

    /// Writes what was held, in the order and with the syncs that redb asked for, and lets all through from now on.
    pub(crate) fn release(&self) -> io::Result<()> {
        let mut state = self.change();
        match std::mem::replace(&mut *state, State::Shut) {
            State::Holding(backend, held) => {
                let held = held.into_inner();
                for step in held.steps {
                    match step {
                        Step::Write(offset, bytes) => backend.write(offset, &bytes)?,
                        Step::SetLen(len) => backend.set_len(len)?,
                        Step::Sync => backend.sync_data()?,
                    }
                }
                *state = State::Open(backend);
            }
            other => *state = other,
        }
        Ok(())
    }

    /// Lets nothing through any more, and gives the file back. What was held is dropped.
    pub(crate) fn shut(&self) {
        if let State::Holding(backend, _) | State::Open(backend) = std::mem::replace(&mut *self.change(), State::Shut) {
            let _ = backend.close();
        }
    }

    /// Takes the first error of the device, if there was one.
    pub(crate) fn take_failure(&self) -> Option<Failure> {
        self.failure().take()
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.0.failure.lock()
    }

    fn state(&self) -> ReadGuard<'_, State> {
        self.0.state.read()
    }

    fn change(&self) -> WriteGuard<'_, State> {
        self.0.state.write()
    }

    fn noted<T>(&self, doing: &'static str, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let told = copy_of(&error);
            self.failure().get_or_insert(Failure { doing, source: error });
            told
        })
    }

    fn backend<T>(&self, work: impl FnOnce(&dyn StorageBackend) -> Result<T, BackendError>) -> Result<T, BackendError> {
        match &*self.state() {
            State::Holding(backend, _) | State::Open(backend) => work(backend.as_ref()),
            State::Shut => Err(BackendError::Io(shut())),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl StorageBackend for Gate {
    fn len(&self) -> io::Result<u64> {
        match &*self.state() {
            State::Holding(_, held) => Ok(held.lock().len),
            State::Open(backend) => self.noted("ask for the length", backend.len()),
            State::Shut => Err(shut()),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.state() {
            State::Holding(backend, held) => self.noted("read", held.lock().read(backend.as_ref(), offset, out)),
            State::Open(backend) => self.noted("read", backend.read(offset, out)),
            State::Shut => Err(shut()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &*self.state() {
            State::Holding(_, held) => {
                held.lock().set_len(len);
                Ok(())
            }
            State::Open(backend) => self.noted("set the length", backend.set_len(len)),
            State::Shut => Err(shut()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match &*self.state() {
            State::Holding(_, held) => {
                held.lock().steps.push(Step::Sync);
                Ok(())
            }
            State::Open(backend) => self.noted("sync", backend.sync_data()),
            State::Shut => Err(shut()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match &*self.state() {
            State::Holding(backend, held) => self.noted("read", held.lock().write(backend.as_ref(), offset, data)),
            State::Open(backend) => self.noted("write", backend.write(offset, data)),
            State::Shut => Err(shut()),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.shut();
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend(|backend| backend.try_lock_range(start, end))
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend(|backend| backend.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend(|backend| backend.lock_range(start, end))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend(|backend| backend.lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend(|backend| backend.unlock_range(start, end))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend(|backend| backend.query_lock_range(start, end))
    }
}

const PAGE: u64 = 4096;

/// The writes that wait, as redb sees them (pages) and as they will be done (steps).
struct Held {
    /// Bytes that the file has; nothing changes that meanwhile.
    there: u64,
    /// Bytes that redb must believe it has.
    len: u64,
    /// Whole pages by number; a page that is here hides the one of the file.
    pages: BTreeMap<u64, Vec<u8>>,
    steps: Vec<Step>,
}

enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Held {
    fn read(&self, backend: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let first = offset / PAGE;
        if self.pages.range(first..end.div_ceil(PAGE)).next().is_none() && end <= self.there {
            return backend.read(offset, out);
        }
        for number in first..end.div_ceil(PAGE) {
            let page = self.page(backend, number)?;
            let (from, to) = (offset.max(number * PAGE), end.min((number + 1) * PAGE));
            let part = &page[(from - number * PAGE) as usize..(to - number * PAGE) as usize];
            out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
        Ok(())
    }

    fn write(&mut self, backend: &dyn StorageBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        for number in offset / PAGE..end.div_ceil(PAGE) {
            let mut page = self.page(backend, number)?;
            let (from, to) = (offset.max(number * PAGE), end.min((number + 1) * PAGE));
            let part = &data[(from - offset) as usize..(to - offset) as usize];
            page[(from - number * PAGE) as usize..(to - number * PAGE) as usize].copy_from_slice(part);
            self.pages.insert(number, page);
        }
        self.len = self.len.max(end);
        self.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        // What was cut off reads as zeros when the file grows again.
        for number in len.div_ceil(PAGE)..self.len.div_ceil(PAGE) {
            self.pages.insert(number, vec![0; PAGE as usize]);
        }
        self.len = len;
        self.steps.push(Step::SetLen(len));
    }

    /// A page as redb must see it: held, or from the file, or zeros beyond its end.
    fn page(&self, backend: &dyn StorageBackend, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize];
        let there = self.there.saturating_sub(number * PAGE).min(PAGE) as usize;
        if there > 0 {
            backend.read(number * PAGE, &mut page[..there])?;
        }
        Ok(page)
    }
}

fn shut() -> io::Error {
    io::Error::other("the store was shut after an earlier error")
}

/// `io::Error` is not `Clone`; the number of the system is what is worth keeping twice.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Disk;
    use super::*;

    #[test]
    fn held_writes_are_seen_but_not_done_until_released() {
        let disk = Disk::with(vec![1; 5_000]);
        let gate = Gate::holding(Box::new(disk.clone())).unwrap();
        gate.write(4_090, &[2; 20]).unwrap();
        gate.set_len(9_000).unwrap();
        gate.sync_data().unwrap();
        let mut seen = vec![9; 1_000];
        gate.read(4_080, &mut seen).unwrap();
        assert_eq!((&seen[..10], &seen[10..30], &seen[30..920]), (&[1; 10][..], &[2; 20][..], &[1; 890][..]));
        assert_eq!(&seen[920..], &[0; 80]);
        assert!(gate.read(8_500, &mut seen).is_err(), "beyond the end");
        assert_eq!(disk.image(), vec![1; 5_000]);
        gate.release().unwrap();
        let mut after = vec![1; 5_000];
        after.resize(9_000, 0);
        after[4_090..4_110].fill(2);
        assert_eq!(disk.image(), after);
    }

    #[test]
    fn what_was_cut_off_is_zero_when_it_grows_again() {
        let disk = Disk::with(vec![1; 20_000]);
        let gate = Gate::holding(Box::new(disk.clone())).unwrap();
        gate.set_len(8_192).unwrap();
        gate.set_len(20_000).unwrap();
        let mut seen = vec![9; 20_000];
        gate.read(0, &mut seen).unwrap();
        gate.release().unwrap();
        assert_eq!(seen, disk.image());
    }

    #[test]
    fn a_shut_gate_touches_nothing_and_the_first_failure_is_kept() {
        let disk = Disk::with(vec![1; 100]);
        let gate = Gate::open(Box::new(disk.clone()));
        disk.fail_syncs(1);
        assert!(gate.sync_data().is_err());
        assert_eq!(gate.take_failure().unwrap().doing, "sync");
        gate.shut();
        assert!(gate.write(0, &[5]).is_err() && gate.read(0, &mut [0]).is_err() && gate.set_len(0).is_err());
        assert_eq!(disk.image(), vec![1; 100]);
    }
}
