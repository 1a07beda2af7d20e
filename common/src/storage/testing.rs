//! A disk in memory for the tests of this folder: it can be copied at any moment, and it can fail.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::hint::Hint;

/// Clones share the bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    bytes: Mutex<Vec<u8>>,
    /// All that was done since [`Disk::record`], for [`Disk::cut`].
    steps: Mutex<Option<Vec<Step>>>,
    failing_syncs: AtomicU32,
    full: AtomicU32,
}

impl Disk {
    pub(crate) fn with(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        *disk.0.bytes.lock().unwrap() = bytes;
        disk
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.0.bytes.lock().unwrap().clone()
    }

    /// Begins to record what is done.
    pub(crate) fn record(&self) {
        *self.0.steps.lock().unwrap() = Some(Vec::new());
    }

    /// How many steps were recorded.
    pub(crate) fn recorded(&self) -> usize {
        self.0.steps.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// What power loss after `steps` recorded steps may leave of `before`: all that was synced, and of the rest any
    /// part, in units of a sector.
    pub(crate) fn cut(&self, before: &[u8], steps: usize, draw: &mut Draw) -> Vec<u8> {
        let recorded = self.0.steps.lock().unwrap();
        let recorded = &recorded.as_ref().unwrap()[..steps];
        let synced = recorded.iter().rposition(|step| matches!(step, Step::Sync)).unwrap_or(0);
        let mut bytes = before.to_vec();
        for (at, step) in recorded.iter().enumerate() {
            match step {
                Step::Sync => {}
                Step::SetLen(len) => {
                    if at < synced || draw.next(2) == 0 {
                        bytes.resize(*len, 0);
                    }
                }
                Step::Write(offset, data) => {
                    for (sector, part) in data.chunks(512).enumerate() {
                        let from = offset + sector * 512;
                        if at >= synced && draw.next(2) == 0 {
                            continue;
                        }
                        if bytes.len() < from + part.len() {
                            bytes.resize(from + part.len(), 0);
                        }
                        bytes[from..from + part.len()].copy_from_slice(part);
                    }
                }
            }
        }
        bytes
    }

    fn note(&self, step: impl FnOnce() -> Step) {
        if let Some(steps) = self.0.steps.lock().unwrap().as_mut() {
            steps.push(step());
        }
    }

    /// The next `count` syncs answer EIO, although every byte is there: the ambiguous failure.
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.0.failing_syncs.store(count, Ordering::SeqCst);
    }

    /// From now on every write answers ENOSPC.
    pub(crate) fn fill(&self) {
        self.0.full.store(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
enum Step {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.bytes.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let part = bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(|| Step::SetLen(usize::try_from(len).unwrap()));
        self.0.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let left = self.0.failing_syncs.load(Ordering::SeqCst);
        if left > 0 {
            self.0.failing_syncs.store(left - 1, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        self.note(|| Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.0.full.load(Ordering::SeqCst) > 0 {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
        }
        let mut bytes = self.0.bytes.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        self.note(|| Step::Write(from, data.to_vec()));
        if bytes.len() < from + data.len() {
            bytes.resize(from + data.len(), 0);
        }
        bytes[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// A hint in memory; clones share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryHint(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Hint for MemoryHint {
    fn load(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        *self.0.lock().unwrap() = bytes.to_vec();
        Ok(())
    }
}

/// Small numbers that look random and are the same in every run (splitmix64).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    }
}
