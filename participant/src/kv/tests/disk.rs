//! A disk in memory: copied at any moment it is what a killed process leaves.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use handfast_common::storage::Hint;
use redb::StorageBackend;

use super::*;

/// File and head hint of a store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Image {
    pub(super) file: Vec<u8>,
    pub(super) hint: Vec<u8>,
}

/// Clones share the bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    image: Mutex<Image>,
    failing: AtomicBool,
    /// Milliseconds that a sync takes.
    slow: AtomicU64,
    /// The image after each write, while it is recorded.
    recorded: Mutex<Option<Vec<Image>>>,
}

const OWNER: (Kind, &str) = (Kind::Participant, "p");

impl Disk {
    pub(super) fn new() -> Self {
        let disk = Self::default();
        Store::create_over(disk.clone(), Some(&mut disk.clone()), "memory", OWNER, Uuid::from_u128(5)).unwrap();
        disk
    }

    pub(super) fn over(image: Image) -> Self {
        let disk = Self::default();
        *disk.0.image.lock().unwrap() = image;
        disk
    }

    pub(super) fn image(&self) -> Image {
        self.0.image.lock().unwrap().clone()
    }

    pub(super) fn fail(&self) {
        self.0.failing.store(true, Ordering::SeqCst);
    }

    pub(super) fn slow(&self, sync: Duration) {
        self.0.slow.store(u64::try_from(sync.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Keeps an image after each write from now on; gives those kept so far.
    pub(super) fn record(&self) -> Vec<Image> {
        self.0.recorded.lock().unwrap().replace(Vec::new()).unwrap_or_default()
    }

    pub(super) fn store(&self) -> Result<Store, StorageError> {
        let options = storage::Options { cache_bytes: 1 << 20, ..storage::Options::DEFAULTS };
        Store::open_over(self.clone(), Some(Box::new(self.clone())), "memory", OWNER, options)
    }

    pub(super) fn open(&self) -> KvStore {
        self.open_with(Options::DEFAULTS.caps, room(), never)
    }

    pub(super) fn open_with(
        &self,
        caps: Caps,
        space: Arc<Space>,
        on_fatal: impl FnOnce(StorageError) + Send + 'static,
    ) -> KvStore {
        KvStore::over(self.store().unwrap(), caps, space, INCARNATION, on_fatal).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Image)) -> io::Result<()> {
        if self.0.failing.load(Ordering::SeqCst) {
            return Err(io::Error::other("the test says so"));
        }
        let mut image = self.0.image.lock().unwrap();
        change(&mut image);
        if let Some(recorded) = self.0.recorded.lock().unwrap().as_mut() {
            recorded.push(image.clone());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.image.lock().unwrap().file.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.0.image.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        out.copy_from_slice(image.file.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|image| image.file.resize(usize::try_from(len).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.0.slow.load(Ordering::SeqCst)));
        self.change(|_| ())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.change(|image| image.file[from..from + data.len()].copy_from_slice(data))
    }
}

impl Hint for Disk {
    fn load(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.image().hint)
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|image| image.hint = bytes.to_vec())
    }
}
