//! The line of starts: what a store knows of itself that an older copy of it does not.

use handfast_common::limits::MAX_STARTS;
use handfast_common::messages::KnownStart;
use handfast_common::storage::BatchWriter;

use super::record::{Held, Item, PrepareRecord, Start, encode_start};
use super::*;
use handfast_common::ids::Age;

fn open_as(disk: &Disk, incarnation: u64) -> KvStore {
    let incarnation = Incarnation(incarnation);
    KvStore::over(disk.store().unwrap(), Options::DEFAULTS.caps, room(), incarnation, never).unwrap()
}

fn start(incarnation: u64, sequence: u64) -> KnownStart {
    KnownStart { incarnation: Incarnation(incarnation), sequence }
}

/// One write that a branch has a part in.
fn prepare(writer: &mut Writer, n: u64) {
    let held: Arc<[Held]> = Arc::new([]);
    let record = PrepareRecord { prepared: record(n), age: Age(n), held }.encode().unwrap();
    writer.write(vec![(1, Item::Prepare { xid: xid(n), record })]).unwrap();
}

fn starts_in(image: Image) -> Vec<KnownStart> {
    Writer::open(Disk::over(image).store().unwrap(), room()).unwrap().1.starts
}

#[test]
fn t06_a_store_remembers_its_starts_and_how_far_each_came() {
    let disk = Disk::new();
    let store = open_as(&disk, 7);
    assert_eq!(store.recovered().starts, [], "the first one: none came before");
    let first = beside(&store, async {
        store.prepare(work(1, &[put("a", int(1))]), record(1)).await;
        store.commit(xid(1)).await;
        store.force(line(0, &[])).await;
        store.sequence()
    });
    drop(store);
    assert!(first > 0);
    let copy = disk.image();
    drop(open_as(&disk, 8));
    let store = open_as(&disk, 9);
    assert_eq!(store.recovered().starts, [start(7, first), start(8, first)], "it did nothing, and was there");
    beside(&store, async {
        store.prepare(work(2, &[put("a", int(2))]), record(2)).await;
    });
    let last = store.sequence();
    drop(store);
    let wanted = [start(7, first), start(8, first), start(9, last)];
    assert_eq!(open_as(&disk, 10).recovered().starts, wanted);
    // A copy of the time before does not know what came since, however far it gets.
    let copy = Disk::over(copy);
    drop(open_as(&copy, 11));
    assert_eq!(open_as(&copy, 12).recovered().starts, [start(7, first), start(11, first)]);
}

#[test]
fn a08_a_start_is_on_disk_before_open_returns() {
    let disk = Disk::new();
    for incarnation in 1..4 {
        let _store = open_as(&disk, incarnation);
        let wanted: Vec<_> = (1..=incarnation).map(|n| start(n, 0)).collect();
        assert_eq!(starts_in(disk.image()), wanted);
    }
}

#[test]
fn f05_a_kill_at_any_write_of_a_start_leaves_the_line_with_it_or_without() {
    let disk = Disk::new();
    let (mut writer, _) = Writer::open(disk.store().unwrap(), room()).unwrap();
    let mut wanted: Vec<KnownStart> = Vec::new();
    for n in 1..5 {
        disk.record();
        writer.begin(Incarnation(n)).unwrap();
        let before = wanted.clone();
        wanted.push(start(n, n - 1));
        for image in disk.record() {
            let found = starts_in(image);
            assert!(found == before || found == wanted, "{found:?}");
        }
        assert_eq!(starts_in(disk.image()), wanted);
        prepare(&mut writer, n);
        wanted.last_mut().unwrap().sequence = n;
    }
    assert_eq!(starts_in(disk.image()), wanted);
}

#[test]
fn f11_only_the_newest_starts_are_kept() {
    let disk = Disk::new();
    let (mut writer, _) = Writer::open(disk.store().unwrap(), room()).unwrap();
    let most = u64::try_from(MAX_STARTS).unwrap();
    // As many were there before: written at once, for that many forces take long.
    let puts =
        (1..=most).map(|n| (n, Uuid::nil(), encode_start(&Start { incarnation: Incarnation(n), from: 0 }).unwrap()));
    let (store, journal) = (&writer.file().store, writer.file().store.journal("log"));
    store.write(|txn| journal.append(txn, &puts.collect::<Vec<_>>(), &[])).unwrap();
    drop(writer);
    (writer, _) = Writer::open(disk.store().unwrap(), room()).unwrap();
    for n in 1..=3 {
        prepare(&mut writer, n);
        writer.begin(Incarnation(most + n)).unwrap();
    }
    let found = starts_in(disk.image());
    assert_eq!(found.len(), MAX_STARTS);
    assert_eq!((found[0], found[MAX_STARTS - 4]), (start(4, 0), start(most, 1)));
    assert_eq!(found[MAX_STARTS - 3..], [start(most + 1, 2), start(most + 2, 3), start(most + 3, 3)]);
}

#[test]
fn a09_starts_whose_sequence_runs_backwards_are_damage() {
    let disk = Disk::new();
    let store = disk.store().unwrap();
    let journal = store.journal("log");
    let record = |n, from| (n, Uuid::nil(), encode_start(&Start { incarnation: Incarnation(n), from }).unwrap());
    store.write(|txn| journal.append(txn, &[record(1, 5), record(2, 4)], &[])).unwrap();
    store.close().unwrap();
    let error = Writer::open(disk.store().unwrap(), room()).err().unwrap();
    assert!(error.exit_code() == 9 && error.to_string().contains("record log #2: damaged"), "{error}");

    // The last one began beyond where the store is.
    let disk = Disk::new();
    let store = disk.store().unwrap();
    let journal = store.journal("log");
    store.write(|txn| journal.append(txn, &[record(1, 5)], &[])).unwrap();
    store.close().unwrap();
    let error = Writer::open(disk.store().unwrap(), room()).err().unwrap();
    assert!(error.exit_code() == 9 && error.to_string().contains("sequence 0 comes after 5"), "{error}");
}
