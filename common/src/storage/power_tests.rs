//! FAILURES row 2 over whole stores: power loss at any step, with any part of the unsynced writes gone. Everything that
//! was reported is there, a batch is there whole or not at all, and an honest crash is never called damage.

use super::testing::{Disk, Draw, MemoryHint};
use super::*;
use uuid::Uuid;

const OWNER: (Kind, &str) = (Kind::Coordinator, "c1");
/// Records of a batch.
const SIZE: u64 = 7;

fn open(disk: &Disk, hint: &[u8], mode: CommitMode) -> Result<Store, StorageError> {
    let memory = MemoryHint::default();
    *memory.0.lock().unwrap() = hint.to_vec();
    let options = Options { commit: mode, cache_bytes: 1 << 20, ..Options::DEFAULTS };
    Store::open_over(disk.clone(), Some(Box::new(memory)), "log", OWNER, options)
}

fn put(store: &Store, batch: u64) -> Result<(), StorageError> {
    let puts: Vec<_> = (1..=SIZE).map(|at| (batch * SIZE + at, Uuid::nil(), vec![at as u8; 300])).collect();
    store.write(|txn| {
        store.journal("j").append(txn, &puts, &[])?;
        let put =
            |table: &mut Changing<'_>| table.put(format!("{}", batch % 5).as_bytes(), Uuid::nil(), &[batch as u8]);
        store.counted("kv").change(txn, put)
    })
}

/// Whole batches in the store.
fn batches(store: &Store) -> u64 {
    let scan = |txn: &redb::ReadTransaction| Ok((store.journal("j").scan(txn)?, store.counted("kv").verify(txn)?));
    let (entries, values) = store.read(scan).unwrap();
    let whole = entries.len() as u64 / SIZE;
    assert_eq!(entries.last().map_or(0, |last| last.key), whole * SIZE);
    assert_eq!(values, whole.min(5));
    whole
}

fn f02(mode: CommitMode) {
    let (disk, mut hint) = (Disk::default(), MemoryHint::default());
    Store::create_over(disk.clone(), Some(&mut hint), "log", OWNER, Uuid::from_u128(1)).unwrap();
    let before = disk.image();
    disk.record();
    let options = Options { commit: mode, cache_bytes: 1 << 20, ..Options::DEFAULTS };
    let store = Store::open_over(disk.clone(), Some(Box::new(hint.clone())), "log", OWNER, options).unwrap();
    let hint_now = || hint.0.lock().unwrap().clone();
    // After each batch: the steps done by then, and the hint.
    let mut reported = vec![(0, hint_now())];
    for batch in 0..25 {
        put(&store, batch).unwrap();
        reported.push((disk.recorded(), hint_now()));
    }
    store.close().unwrap();

    let mut draw = Draw(0xF02);
    for _ in 0..150 {
        let steps = draw.next(disk.recorded() + 1);
        let told = reported.iter().rposition(|(by, _)| *by <= steps).unwrap();
        // Unsynced, the hint itself may be any that was ever written.
        let hint = &reported[if draw.next(2) == 0 { told } else { draw.next(told + 1) }].1;
        let left = disk.cut(&before, steps, &mut draw);
        let first = Disk::with(left.clone());
        first.record();
        let found = open(&first, hint, mode).map(|store| (batches(&store), put(&store, batches(&store)), store));
        let (found, again, store) = found.unwrap_or_else(|error| panic!("{mode:?}, cut after {steps}: {error}"));
        assert!(found >= told as u64 && found <= told as u64 + 1, "{told} reported, {found} found");
        again.unwrap();
        drop(store);
        // And the power goes once more while it recovers.
        let second = Disk::with(first.cut(&left, draw.next(first.recorded() + 1), &mut draw));
        let store =
            open(&second, hint, mode).unwrap_or_else(|error| panic!("{mode:?}, cut after {steps}, twice: {error}"));
        let later = batches(&store);
        assert!(later == found || later == found + 1, "{found} found, then {later}");
    }
}

#[test]
fn f02_power_loss_anywhere_two_phase() {
    f02(CommitMode::TwoPhase);
}

#[test]
fn f02_power_loss_anywhere_one_phase() {
    f02(CommitMode::OnePhase);
}
