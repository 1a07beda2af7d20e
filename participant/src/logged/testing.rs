//! A disk in memory, with every state that a kill could leave of it.
//!
//! It holds a file of redb and its head hint, and rows for a store of another kind. A fork is what the next process
//! finds: whoever still writes to the disk that was forked writes to nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_common::storage::{self, Hint, Kind, Space, SpaceOptions, Store};
use redb::StorageBackend;
use uuid::Uuid;

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

#[derive(Clone, Debug, Default)]
struct Inner {
    now: Image,
    /// The state after each sync.
    moments: Vec<Arc<Image>>,
    failing: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Image {
    file: Vec<u8>,
    hint: Vec<u8>,
    rows: BTreeMap<String, Vec<u8>>,
}

const OWNER: (Kind, &str) = (Kind::Participant, "p");

/// A gauge that always finds room.
pub(crate) fn room() -> Arc<Space> {
    let options = SpaceOptions { ballast: 0, every: Duration::ZERO, ..SpaceOptions::DEFAULTS };
    Arc::new(Space::with_probe(Path::new("/nowhere"), options, Box::new(|| Ok(u64::MAX))).unwrap())
}

impl Disk {
    /// One with an empty store on it.
    pub(crate) fn new() -> Self {
        let disk = Self::default();
        Store::create_over(disk.clone(), Some(&mut disk.clone()), "memory", OWNER, Uuid::from_u128(5)).unwrap();
        let mut inner = disk.0.lock().unwrap();
        inner.moments = vec![Arc::new(inner.now.clone())];
        drop(inner);
        disk
    }

    pub(crate) fn store(&self) -> Store {
        let options = storage::Options { cache_bytes: 1 << 20, ..storage::Options::DEFAULTS };
        Store::open_over(self.clone(), Some(Box::new(self.clone())), "memory", OWNER, options).unwrap()
    }

    pub(crate) fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }

    pub(crate) fn moments(&self) -> usize {
        self.0.lock().unwrap().moments.len()
    }

    pub(crate) fn stop_at(&self, moment: usize) {
        let mut inner = self.0.lock().unwrap();
        inner.now = Image::clone(&inner.moments[moment - 1]);
    }

    pub(crate) fn rows(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().now.rows.clone()
    }

    /// Changes the rows, all at once and durably.
    pub(crate) fn change_rows(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
        self.change(|image| change(&mut image.rows)).unwrap();
        self.note();
    }

    /// From now on nothing can be written.
    pub(crate) fn fail(&self) {
        self.0.lock().unwrap().failing = true;
    }

    fn change(&self, change: impl FnOnce(&mut Image)) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        if inner.failing {
            return Err(io::Error::other("the test says so"));
        }
        change(&mut inner.now);
        Ok(())
    }

    fn note(&self) {
        let mut inner = self.0.lock().unwrap();
        if inner.moments.last().is_none_or(|last| **last != inner.now) {
            let now = Arc::new(inner.now.clone());
            inner.moments.push(now);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.file.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        out.copy_from_slice(inner.now.file.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|image| image.file.resize(usize::try_from(len).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|_| ())?;
        self.note();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.change(|image| image.file[from..from + data.len()].copy_from_slice(data))
    }
}

impl Hint for Disk {
    fn load(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().unwrap().now.hint.clone())
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|image| image.hint = bytes.to_vec())?;
        self.note();
        Ok(())
    }
}
