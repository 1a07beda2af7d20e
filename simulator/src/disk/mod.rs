//! A disk that can lose power: what was written and what is really there are two images, and at any operation it can go
//! off, fail or be full.
//!
//! It holds one redb file and the head hint beside it. Clones share it. [`Disk::power_off`] comes before a store is
//! dropped: redb writes when it is dropped, and a crash that leaves a tidy file tests no recovery.

mod image;
mod loss;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use handfast_common::storage::Hint;
use redb::StorageBackend;

pub use image::Image;
pub use loss::Loss;
use loss::Step;

/// Clones are the same disk.
#[derive(Clone, Default, Debug)]
pub struct Disk(Arc<Mutex<Inner>>);

/// What is to happen at one operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trouble {
    /// The process dies; what it wrote is in the system's cache and survives.
    Kill,
    /// The power goes; of what was not synced only this survives.
    PowerLoss(Loss),
    /// EIO. The process has to end; the system drops the pages, so that only this is found afterwards.
    Error(Loss),
    /// ENOSPC. The process has to end.
    Full,
    /// The next sync says that all is well, and nothing is synced: no store can survive this, and a run in which it
    /// happens shows whether anybody would notice.
    Lie,
}

/// What a disk holds, to be copied and put into another one.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Content {
    /// The redb file.
    pub file: Image,
    /// The head hint.
    pub hint: Vec<u8>,
}

#[derive(Default, Debug)]
struct Inner {
    live: Image,
    durable: Image,
    unsynced: Vec<Step>,
    hint: Vec<u8>,
    durable_hint: Vec<u8>,
    /// What the hint was before each save since the last power loss, and now.
    saved_hints: Vec<Vec<u8>>,
    /// Operations that change something, since this disk was made.
    operations: u64,
    plan: Vec<(u64, Trouble)>,
    /// Of each loss of [`Disk::foresee`], the first one that would have left the same when trouble first struck.
    foreseen: Vec<usize>,
    foresee: Vec<Loss>,
    /// The plan's trouble has come and is not dealt with.
    struck: Option<Trouble>,
    /// How often it has.
    strikes: u64,
    off: bool,
    /// The next sync does nothing and says that it did.
    lies: bool,
    /// Digest of all operations, for tests of repeatability.
    digest: u64,
}

impl Disk {
    /// A disk that holds this, all of it synced.
    #[must_use]
    pub fn with(content: Content) -> Self {
        let disk = Self::default();
        disk.put(content);
        disk
    }

    /// What a process would find now.
    #[must_use]
    pub fn content(&self) -> Content {
        let inner = self.lock();
        Content { file: inner.live.clone(), hint: inner.hint.clone() }
    }

    /// Replaces all of it. Nothing may be using it.
    pub fn put(&self, content: Content) {
        let mut inner = self.lock();
        inner.durable = content.file.clone();
        inner.live = content.file;
        inner.unsynced.clear();
        inner.durable_hint.clone_from(&content.hint);
        inner.hint = content.hint;
        inner.saved_hints.clear();
    }

    /// Operations so far: writes, changes of the length, syncs, and saves of the hint.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Digest of all operations so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.lock().digest
    }

    /// Lets something happen at the operation with this number, the first being 1.
    pub fn plan(&self, at: u64, trouble: Trouble) {
        self.lock().plan.push((at, trouble));
    }

    /// When trouble first strikes, tells what each of these losses would leave: [`Self::foreseen`].
    pub fn foresee(&self, losses: &[Loss]) {
        self.lock().foresee = losses.to_vec();
    }

    /// For each of them, the number of the first one that leaves the same.
    #[must_use]
    pub fn foreseen(&self) -> Vec<usize> {
        self.lock().foreseen.clone()
    }

    /// Nothing happens any more.
    pub fn unplan(&self) {
        self.lock().plan.clear();
    }

    /// How often something has happened.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.lock().strikes
    }

    /// What has happened since the last [`Self::power_on`], if it has.
    #[must_use]
    pub fn struck(&self) -> Option<Trouble> {
        self.lock().struck
    }

    /// From now on every operation fails.
    pub fn power_off(&self) {
        self.lock().off = true;
    }

    /// The power goes: only this survives of what was not synced.
    pub fn lose(&self, loss: Loss) {
        let left = self.lock().left(loss);
        self.put(left);
        self.power_off();
    }

    /// A process may use it again.
    pub fn power_on(&self) {
        let mut inner = self.lock();
        inner.off = false;
        inner.struck = None;
    }

    /// The head hint beside the file.
    #[must_use]
    pub fn hint(&self) -> Box<dyn Hint> {
        Box::new(DiskHint(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What this loss leaves.
    fn left(&self, loss: Loss) -> Content {
        let file = loss.apply(&self.durable, &self.unsynced);
        let hint = match loss.version(self.saved_hints.len()) {
            0 => &self.durable_hint,
            version => &self.saved_hints[version - 1],
        };
        Content { file, hint: hint.clone() }
    }

    /// Counts an operation; fails where the plan says so. `step` is what a power loss may still leave of it.
    fn operate(&mut self, step: Option<Step>) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        let Some(at) = self.plan.iter().position(|(at, _)| *at == self.operations) else { return Ok(()) };
        let (_, trouble) = self.plan.swap_remove(at);
        self.struck = Some(trouble);
        self.strikes += 1;
        match trouble {
            Trouble::Kill => {
                self.off = true;
                Err(io::Error::other("the process was killed"))
            }
            Trouble::PowerLoss(_) => {
                self.unsynced.extend(step);
                // Pages that were not touched are shared, so most of this compares pointers.
                let left: Vec<Content> = self.foresee.iter().map(|loss| self.left(*loss)).collect();
                let first = |content| left.iter().position(|other| other == content).unwrap_or_default();
                self.foreseen.extend(left.iter().map(first));
                self.foresee.clear();
                self.off = true;
                Err(io::Error::other("the power went"))
            }
            Trouble::Error(_) => {
                self.unsynced.extend(step);
                Err(io::Error::from_raw_os_error(EIO))
            }
            Trouble::Full => Err(io::Error::from_raw_os_error(ENOSPC)),
            Trouble::Lie => {
                self.struck = None;
                self.lies = true;
                Ok(())
            }
        }
    }

    fn digest(&mut self, kind: u64, offset: u64, data: &[u8]) {
        // FNV-1a (Fowler, Noll, Vo), eight bytes at a time where it can be.
        let mut mix = |value: u64| self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01B3);
        mix(kind);
        mix(offset);
        mix(data.len() as u64);
        let (words, rest) = data.as_chunks::<8>();
        words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| mix(u64::from(*byte)));
    }
}

/// Numbers that every Unix has for them.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().live.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.lock();
        if inner.off {
            return Err(io::Error::other("the power is off"));
        }
        inner.live.read(offset, out).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(Some(Step::SetLen(len)))?;
        inner.digest(1, len, &[]);
        inner.live.set_len(len);
        inner.unsynced.push(Step::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(None)?;
        inner.digest(2, 0, &[]);
        if std::mem::take(&mut inner.lies) {
            inner.unsynced.clear();
            return Ok(());
        }
        // Only what is not thought to be there already: after a lie that is not all that is live.
        for step in std::mem::take(&mut inner.unsynced) {
            match step {
                Step::Write(offset, data) => inner.durable.write(offset, &data),
                Step::SetLen(len) => inner.durable.set_len(len),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(Some(Step::Write(offset, data.to_vec())))?;
        inner.digest(3, offset, data);
        inner.live.write(offset, data);
        inner.unsynced.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

struct DiskHint(Disk);

impl Hint for DiskHint {
    fn load(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().hint.clone())
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.operate(None)?;
        inner.digest(4, 0, bytes);
        inner.hint = bytes.to_vec();
        inner.saved_hints.push(bytes.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
