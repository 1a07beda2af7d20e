//! The life of a store: made, opened, used, failed, opened again.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::testing::{Disk, MemoryHint};
use super::*;
use uuid::Uuid;

const SMALL: Options = Options { cache_bytes: 1 << 20, ..Options::DEFAULTS };
const ONE_PHASE: Options = Options { commit: CommitMode::OnePhase, ..SMALL };
const OWNER: (Kind, &str) = (Kind::Coordinator, "c1");
const TXN: Uuid = Uuid::from_u128(77);

fn folder(place: &Path) -> Folder {
    Folder::lock(place, Kind::Coordinator, "c1").unwrap()
}

fn open(place: &Path, options: Options) -> Result<Store, StorageError> {
    Store::open(&folder(place), "log", options, || Uuid::from_u128(1))
}

fn put(store: &Store, keys: std::ops::RangeInclusive<u64>) -> Result<(), StorageError> {
    let puts: Vec<_> = keys.map(|key| (key, TXN, key.to_string().into_bytes())).collect();
    store.write(|txn| store.journal("j").append(txn, &puts, &[]).map(drop))
}

fn keys(store: &Store) -> Vec<u64> {
    let entries = store.read(|txn| store.journal("j").scan(txn)).unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

fn on_disk(disk: &Disk, hint: &MemoryHint, options: Options) -> Result<Store, StorageError> {
    Store::open_over(disk.clone(), Some(Box::new(hint.clone())), "log", OWNER, options)
}

fn fresh_disk() -> (Disk, MemoryHint) {
    let (disk, mut hint) = (Disk::default(), MemoryHint::default());
    Store::create_over(disk.clone(), Some(&mut hint), "log", OWNER, Uuid::from_u128(1)).unwrap();
    (disk, hint)
}

/// Records the steps, and fails the one with this number, as a kill before it would.
struct Stopping<'a> {
    log: &'a std::cell::RefCell<Vec<&'static str>>,
    stop_before: Cell<usize>,
}

impl Stopping<'_> {
    fn step(&self, name: &'static str) -> io::Result<()> {
        if self.log.borrow().len() == self.stop_before.get() {
            return Err(io::Error::other("killed"));
        }
        self.log.borrow_mut().push(name);
        Ok(())
    }
}

impl FileSteps for Stopping<'_> {
    fn remove_stale(&mut self, tmp: &Path) -> io::Result<()> {
        self.step("remove stale")?;
        RealSteps.remove_stale(tmp)
    }
    fn create(&mut self, tmp: &Path) -> io::Result<File> {
        self.step("create tmp")?;
        RealSteps.create(tmp)
    }
    fn sync(&mut self, file: &Path) -> io::Result<()> {
        self.step("sync")?;
        RealSteps.sync(file)
    }
    fn make_hint(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step("head hint")?;
        RealSteps.make_hint(file, bytes)
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename")?;
        RealSteps.rename(from, to)
    }
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        self.step("sync folder")?;
        RealSteps.sync_folder(folder)
    }
    fn drop_cached_pages(&mut self, file: &Path) -> io::Result<()> {
        let name = file.extension().unwrap().to_str().unwrap();
        self.step(if name == "redb" { "drop pages of store" } else { "drop pages of hint" })?;
        RealSteps.drop_cached_pages(file)
    }
}

#[test]
fn f05_created_by_tmp_sync_rename_folder_sync() {
    let log = std::cell::RefCell::new(Vec::new());
    let all = ["remove stale", "create tmp", "sync", "head hint", "rename", "sync folder"];
    for stop_before in 0..=all.len() {
        let place = tempfile::tempdir().unwrap();
        log.borrow_mut().clear();
        let mut steps = Stopping { log: &log, stop_before: Cell::new(stop_before) };
        let first = Store::open_with(&folder(place.path()), "log", SMALL, || Uuid::from_u128(1), &mut steps);
        assert_eq!(first.is_ok(), stop_before == all.len());
        assert_eq!(*log.borrow(), all[..stop_before]);
        drop(first);
        // The next start works, and takes the old identity exactly when the store had its name.
        let named = stop_before > 4;
        let store = Store::open(&folder(place.path()), "log", SMALL, || Uuid::from_u128(2)).unwrap();
        assert_eq!((store.was_created(), store.identity() == Uuid::from_u128(2)), (!named, !named), "{stop_before}");
        assert!(!place.path().join("log.redb.tmp").exists());
        put(&store, 1..=3).unwrap();
        store.close().unwrap();
        assert_eq!(keys(&open(place.path(), SMALL).unwrap()), [1, 2, 3]);
    }
}

#[test]
fn f05_leftovers_of_a_kill_during_creation() {
    for left in [&b""[..], b"half of a database", &[0; 8_192]] {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("log.redb.tmp"), left).unwrap();
        fs::write(place.path().join("log.redb.head"), b"").unwrap();
        assert!(open(place.path(), SMALL).unwrap().was_created());
    }
}

#[test]
fn f09_an_emptied_store_and_a_store_that_is_gone_are_damage_not_new() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path(), SMALL).unwrap();
    put(&store, 1..=1).unwrap();
    drop(store);
    let path = place.path().join("log.redb");
    File::create(&path).unwrap();
    for _ in 0..2 {
        let error = open(place.path(), SMALL).unwrap_err();
        assert!(matches!(&error, StorageError::Damaged { why, .. } if why == "it is empty"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let error = open(place.path(), SMALL).unwrap_err();
    assert!(matches!(&error, StorageError::Damaged { why, .. } if why.contains("gone")), "{error}");
}

#[test]
fn identity_is_drawn_once_and_owner_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path(), SMALL).unwrap();
    assert!(store.was_created());
    let second = Folder::lock(place.path(), Kind::Coordinator, "c1");
    assert!(matches!(second, Err(StorageError::InUse { .. })), "the store holds its folder");
    drop(store);
    let again = Store::open(&folder(place.path()), "log", SMALL, || panic!("drawn twice")).unwrap();
    assert!(!again.was_created());
    assert_eq!(again.identity(), Uuid::from_u128(1));
    let (disk, hint) = fresh_disk();
    let as_other = |owner| Store::open_over(disk.clone(), Some(Box::new(hint.clone())), "log", owner, SMALL);
    assert!(matches!(as_other((Kind::Participant, "c1")), Err(StorageError::WrongKind { .. })));
    assert!(matches!(as_other((Kind::Coordinator, "c")), Err(StorageError::WrongName { .. })));
    assert!(as_other(OWNER).is_ok());
}

#[test]
fn records_survive_a_kill_and_a_close_in_both_modes() {
    for options in [SMALL, ONE_PHASE] {
        let (disk, hint) = fresh_disk();
        let store = on_disk(&disk, &hint, options).unwrap();
        put(&store, 1..=5).unwrap();
        store.write(|txn| store.journal("j").append(txn, &[(9, TXN, vec![])], &[2, 3]).map(drop)).unwrap();
        let killed = Disk::with(disk.image());
        assert_eq!(keys(&on_disk(&killed, &hint, options).unwrap()), [1, 4, 5, 9]);
        store.close().unwrap();
        assert_eq!(keys(&on_disk(&disk, &hint, options).unwrap()), [1, 4, 5, 9]);
    }
}

#[test]
fn f03_after_a_failed_sync_nothing_is_written_again_and_the_mark_is_left() {
    let (disk, hint) = fresh_disk();
    let store = on_disk(&disk, &hint, SMALL).unwrap();
    put(&store, 1..=1).unwrap();
    disk.fail_syncs(1);
    let error = put(&store, 2..=2).unwrap_err();
    assert!(matches!(&error, StorageError::Io { doing: "sync", .. }), "{error}");
    assert_eq!(error.exit_code(), 9);
    let after = disk.image();
    assert!(put(&store, 3..=3).is_err() && store.read(|_| Ok(())).is_err() && store.is_shut());
    drop(store);
    assert!(disk.image() == after, "neither a later write nor the drop touches the file");
    // The failed commit is there or not; the reported one is there.
    let again = keys(&on_disk(&disk, &hint, SMALL).unwrap());
    assert!(again == [1] || again == [1, 2], "{again:?}");
}

#[test]
fn f04_a_commit_that_is_durable_but_answered_an_error_reports_nothing() {
    let (disk, hint) = fresh_disk();
    let store = on_disk(&disk, &hint, ONE_PHASE).unwrap();
    let before = hint.0.lock().unwrap().clone();
    disk.fail_syncs(1);
    assert!(put(&store, 1..=1).is_err());
    assert_eq!(*hint.0.lock().unwrap(), before, "the hint speaks of reported commits only");
    drop(store);
    assert_eq!(keys(&on_disk(&disk, &hint, ONE_PHASE).unwrap()), [1], "it was durable all the same");
}

#[test]
fn a_full_disk_is_its_own_error() {
    let (disk, hint) = fresh_disk();
    let store = on_disk(&disk, &hint, SMALL).unwrap();
    disk.fill();
    assert!(matches!(put(&store, 1..=1), Err(StorageError::DiskFull { .. })));
}

#[test]
fn the_mark_makes_the_next_open_read_from_the_disk_first() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path(), SMALL).unwrap();
    put(&store, 1..=2).unwrap();
    drop(store);
    let mark = Mark::at(place.path().join("log.redb.io-error"));
    mark.set(&StorageError::DiskFull { file: "log.redb".into() });
    let log = std::cell::RefCell::new(Vec::new());
    let reopen = |stop_before| {
        log.borrow_mut().clear();
        let mut steps = Stopping { log: &log, stop_before: Cell::new(stop_before) };
        Store::open_with(&folder(place.path()), "log", SMALL, Uuid::nil, &mut steps)
    };
    assert!(reopen(2).is_err());
    assert!(mark.is_set().unwrap(), "it stays until an open went well");
    let store = reopen(9).unwrap();
    assert_eq!(*log.borrow(), ["remove stale", "drop pages of store", "drop pages of hint"]);
    assert!(!mark.is_set().unwrap());
    assert_eq!(keys(&store), [1, 2]);
    drop(store);
    drop(reopen(9).unwrap());
    assert_eq!(*log.borrow(), ["remove stale"]);
}

#[test]
fn a_real_store_leaves_the_mark_when_its_device_fails() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path(), SMALL).unwrap();
    let file = store.file().to_owned();
    let source = io::Error::other("EIO");
    let failed = store.write(|_| -> Result<(), _> { Err(StorageError::Io { file, doing: "write", source }) });
    assert!(failed.is_err());
    drop(store);
    assert!(place.path().join("log.redb.io-error").exists());
    drop(open(place.path(), SMALL).unwrap());
    assert!(!place.path().join("log.redb.io-error").exists());
}

#[test]
fn f09_a_missing_hint_is_damage_unless_an_operator_restores() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path(), SMALL).unwrap();
    put(&store, 1..=2).unwrap();
    drop(store);
    fs::remove_file(place.path().join("log.redb.head")).unwrap();
    assert!(matches!(open(place.path(), SMALL), Err(StorageError::Damaged { .. })));
    let restored = open(place.path(), Options { accept_missing_hint: true, ..SMALL }).unwrap();
    assert_eq!(keys(&restored), [1, 2]);
    drop(restored);
    assert_eq!(keys(&open(place.path(), SMALL).unwrap()), [1, 2]);
}

#[test]
fn f09_an_older_file_than_what_was_reported_is_damage() {
    for options in [SMALL, ONE_PHASE] {
        let (disk, hint) = fresh_disk();
        let store = on_disk(&disk, &hint, options).unwrap();
        put(&store, 1..=1).unwrap();
        let older = Disk::with(disk.image());
        put(&store, 2..=2).unwrap();
        let error = on_disk(&older, &hint, options).unwrap_err();
        assert!(error.to_string().contains("the store ends at commit 2"), "{error}");
    }
}

#[test]
fn a_panic_in_a_write_shuts_the_store_and_aborts_nothing() {
    let (disk, hint) = fresh_disk();
    let store = on_disk(&disk, &hint, SMALL).unwrap();
    put(&store, 1..=1).unwrap();
    let error = put(&store, 1..=1).unwrap_err();
    assert!(error.to_string().contains("record 1 of journal.j comes after 1"), "{error}");
    assert!(store.is_shut());
    drop(store);
    assert_eq!(keys(&on_disk(&disk, &hint, SMALL).unwrap()), [1]);
}

#[test]
fn an_unfinished_write_never_happened() {
    let (disk, hint) = fresh_disk();
    let store = on_disk(&disk, &hint, SMALL).unwrap();
    let writing = store.begin_write().unwrap();
    store.journal("j").append(&writing, &[(1, TXN, vec![1])], &[]).unwrap();
    drop(writing);
    put(&store, 4..=4).unwrap();
    assert_eq!(keys(&store), [4]);
}

#[test]
fn a_commit_past_the_store_is_found_out() {
    let (disk, hint) = fresh_disk();
    let store = on_disk(&disk, &hint, SMALL).unwrap();
    let txn = store.database().begin_write().unwrap();
    store.journal("j").append(&txn, &[(1, TXN, vec![1])], &[]).unwrap();
    txn.commit().unwrap();
    store.close().unwrap();
    assert!(matches!(on_disk(&disk, &hint, SMALL), Err(StorageError::Damaged { .. })));
}

#[test]
fn the_worker_writes_through_a_store() {
    struct Log(std::sync::Arc<Store>);
    impl BatchWriter for Log {
        type Item = u64;
        type Receipt = u64;
        fn write(&mut self, items: Vec<u64>) -> Result<u64, StorageError> {
            let puts: Vec<_> = items.into_iter().map(|key| (key, TXN, vec![0; 20])).collect();
            let head = self.0.write(|txn| self.0.journal("j").append(txn, &puts, &[]))?;
            Ok(head.last_key)
        }
        fn bytes(_: &u64) -> usize {
            41
        }
    }
    let place = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(place.path(), SMALL).unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let writer = Log(store.clone());
    let on_done = move |last| tell.send(last).unwrap();
    let worker = Worker::spawn("log", writer, Caps::DEFAULTS, on_done, |error| panic!("{error}")).unwrap();
    for key in 1..=200 {
        worker.submit(key, Urgency::Force).unwrap();
    }
    assert!(worker.shutdown().is_some());
    assert_eq!(told.iter().last(), Some(200));
    drop(store);
    assert_eq!(keys(&open(place.path(), SMALL).unwrap()), (1..=200).collect::<Vec<_>>());
}
