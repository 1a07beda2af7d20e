//! Looking at the store of a stopped or crashed process, without changing a byte of it.
//!
//! A redb file that a crash left can't be opened read-only: its repair writes. So the file is copied, into memory or
//! into a scratch folder, while the folder's lock is held, and the copy is opened and verified like any other store. A
//! running process holds the lock: its folder is refused, because a copy of a file that is being written proves nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::{FileBackend, InMemoryBackend};

use super::error::StorageError;
use super::folder::{Kind, parse_owner};
use super::hint::Hint;
use super::store::{Options, Store};

/// The copy of a store, and whose it is.
#[derive(Debug)]
pub struct Inspected {
    /// Opened and verified; errors name the original file.
    pub store: Store,
    /// The role of the folder.
    pub kind: Kind,
    /// The name of the folder.
    pub name: String,
}

/// Opens a copy of the store in a data folder of this kind: in memory, or as a file in `scratch`.
///
/// # Errors
/// `InUse` when a process runs on the folder, `WrongKind`, `Damaged` (also when there is no store), `Io`.
pub fn inspect(folder: &Path, kind: Kind, scratch: Option<&Path>) -> Result<Inspected, StorageError> {
    let lock_path = folder.join("lock");
    let io_error = |file: &Path, doing| {
        let file = file.to_owned();
        move |source| StorageError::Io { file, doing, source }
    };
    // Read-only: to lock it is no change. Held until the copy is made.
    let mut lock = File::open(&lock_path).map_err(io_error(&lock_path, "open the lock of a data folder"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(io_error(&lock_path, "lock")(source)),
    }
    let mut owner = Vec::new();
    lock.read_to_end(&mut owner).map_err(io_error(&lock_path, "read the lock"))?;
    let (found, name) = parse_owner(&lock_path, &owner)?;
    if found != kind {
        return Err(StorageError::WrongKind { file: lock_path, found, wanted: kind });
    }
    let file = folder.join(format!("{kind}.redb"));
    let hint_path = folder.join(format!("{kind}.redb.head"));
    let hint = read_if_there(&hint_path)?.ok_or_else(|| {
        StorageError::damaged(&hint_path, "the head hint is gone, so nothing shows where the store ended")
    })?;
    let backend = copy(&file, scratch)?;
    drop(lock);
    let hint = Box::new(CopiedHint(hint));
    let options = Options { slow_check: std::time::Duration::from_secs(3_600), ..Options::DEFAULTS };
    let store = Store::open_boxed(backend, Some(hint), &file, (kind, &name), options)?;
    Ok(Inspected { store, kind, name })
}

fn copy(file: &Path, scratch: Option<&Path>) -> Result<Box<dyn StorageBackend>, StorageError> {
    let gone = || StorageError::damaged(file, "there is no store in this folder");
    let Some(scratch) = scratch else {
        let bytes = read_if_there(file)?.ok_or_else(gone)?;
        let memory = InMemoryBackend::new();
        let filled = memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, &bytes));
        filled.map_err(|source| StorageError::from_io(file, "copy", source))?;
        return Ok(Box::new(memory));
    };
    let target = free_name(scratch);
    let at = |doing| {
        let target = target.clone();
        move |source| StorageError::from_io(&target, doing, source)
    };
    match fs::copy(file, &target) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
        Err(error) => return Err(at("copy the store to")(error)),
    }
    let copied = OpenOptions::new().read(true).write(true).open(&target).map_err(at("open"))?;
    // Its name goes at once; the copy lives as long as it is open.
    fs::remove_file(&target).map_err(at("remove the name of"))?;
    let backend = FileBackend::new(copied).map_err(|error| StorageError::from_redb(file, "open its copy", error))?;
    Ok(Box::new(backend))
}

/// A name in the scratch folder that no other copy has.
fn free_name(scratch: &Path) -> PathBuf {
    scratch.join(format!("handfast-{}.redb", uuid::Uuid::from_u128(unique())))
}

/// The process, and a count in it: two of them never draw the same.
fn unique() -> u128 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    (u128::from(std::process::id()) << 64) | u128::from(COUNT.fetch_add(1, Ordering::Relaxed))
}

fn read_if_there(file: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StorageError::from_io(file, "read", source)),
    }
}

/// The hint as it was found; what the copy's opening would write of it goes nowhere.
struct CopiedHint(Vec<u8>);

impl Hint for CopiedHint {
    fn load(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Folder;
    use uuid::Uuid;

    fn image(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
    }

    fn made(folder: &Path) {
        let folder = Folder::lock(folder, Kind::Coordinator, "c1").unwrap();
        let store = Store::open(&folder, "coordinator", Options::DEFAULTS, || Uuid::from_u128(7)).unwrap();
        store.write(|txn| store.journal("j").append(txn, &[(1, Uuid::nil(), vec![1; 100])], &[])).unwrap();
        // Killed: the file is left in need of repair.
        std::mem::forget(store);
    }

    #[test]
    fn a_copy_is_opened_and_every_file_stays_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("c");
        made(&folder);
        // A process of its own would have let go of the lock; within this one a copy of the folder does.
        let crashed = place.path().join("crashed");
        fs::create_dir(&crashed).unwrap();
        for (file, bytes) in image(&folder) {
            fs::write(crashed.join(file.file_name().unwrap()), bytes).unwrap();
        }
        let before = image(&crashed);
        for scratch in [None, Some(place.path())] {
            let inspected = inspect(&crashed, Kind::Coordinator, scratch).unwrap();
            assert_eq!((inspected.kind, inspected.name.as_str()), (Kind::Coordinator, "c1"));
            let found = inspected.store.read(|txn| inspected.store.journal("j").scan(txn)).unwrap();
            assert_eq!(found.len(), 1);
            drop(inspected);
            assert_eq!(before, image(&crashed));
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "a scratch copy is left");
    }

    #[test]
    fn a_running_folder_another_role_and_an_empty_one_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("c");
        made(&folder);
        let running = inspect(&folder, Kind::Coordinator, None).unwrap_err();
        assert!(matches!(running, StorageError::InUse { .. }), "{running}");
        let copy = place.path().join("copy");
        fs::create_dir(&copy).unwrap();
        fs::copy(folder.join("lock"), copy.join("lock")).unwrap();
        let role = inspect(&copy, Kind::Participant, None).unwrap_err();
        assert!(matches!(role, StorageError::WrongKind { .. }), "{role}");
        let gone = inspect(&copy, Kind::Coordinator, None).unwrap_err();
        assert!(matches!(gone, StorageError::Damaged { .. }), "{gone}");
        let none = inspect(&place.path().join("none"), Kind::Coordinator, None).unwrap_err();
        assert!(matches!(none, StorageError::Io { .. }), "{none}");
        assert!(!place.path().join("none").exists(), "looking made a folder");
    }
}
