//! What a restart finds, from each prefix of what was written, and what it refuses to read.

use handfast_common::storage::BatchWriter;

use super::engine::View;
use super::record::{Found, Held, Item, PrepareRecord, Write, encode_done, encode_line};
use super::*;
use crate::kv::locks::Mode;
use crate::kv::testing::text;
use crate::protocol::{Done, OnePhaseDone};
use handfast_common::ids::Age;
use handfast_common::outcome::Payload;

fn held(n: u64) -> Arc<[Held]> {
    let write = |key: String| Held { key, mode: Mode::Exclusive, write: Some(Write::Put(int(1))) };
    [write(format!("{n}a")), write(format!("{n}b"))].into()
}

fn prepare(n: u64) -> Item {
    let record = PrepareRecord { prepared: record(n), age: Age(n), held: held(n) };
    Item::Prepare { xid: xid(n), record: record.encode().unwrap() }
}

fn apply(n: u64) -> Item {
    let done = encode_done(&Done { xid: xid(n), one_phase: None }).unwrap();
    Item::Apply { xid: xid(n), held: held(n), done, prepared: true }
}

fn one_phase(n: u64) -> Item {
    let marker = OnePhaseDone { key: key(n), hash: HASH, reads: Payload(vec![1]) };
    let done = encode_done(&Done { xid: xid(n), one_phase: Some(marker) }).unwrap();
    Item::Apply { xid: xid(n), held: held(n), done, prepared: false }
}

fn forget(n: u64) -> Item {
    Item::Forget { xid: xid(n) }
}

fn batches() -> Vec<Vec<Item>> {
    vec![
        vec![prepare(1), prepare(2), one_phase(3)],
        vec![apply(1), prepare(4), forget(2)],
        vec![Item::Line(line(1, &[])), prepare(5), forget(5), Item::Line(line(3, &[]))],
        vec![apply(4), one_phase(6)],
        vec![Item::Line(line(5, &[3]))],
        vec![Item::Line(line(7, &[3])), prepare(8)],
    ]
}

fn start(disk: &Disk) -> (Writer, Found, Receipt) {
    let (mut writer, found) = Writer::open(disk.store().unwrap(), room()).unwrap();
    let first = writer.begin(INCARNATION).unwrap();
    (writer, found, first)
}

fn write(writer: &mut Writer, batch: &[Item]) -> Receipt {
    writer.write((1..).zip(batch.iter().cloned()).collect()).unwrap()
}

/// What stands in an image: branches in doubt, done, and the highest mark; atomic for each branch.
fn look(image: Image) -> (Vec<u64>, Vec<u64>, Option<u64>) {
    let (writer, found, _) = start(&Disk::over(image));
    let number = |xid: Xid| xid.txn.sequence();
    let in_doubt: Vec<u64> = found.prepared.iter().map(|record| number(record.prepared.xid)).collect();
    let done: Vec<u64> = found.done.iter().map(|done| number(done.xid)).collect();
    let mark = found.lines.first().and_then(|line| line.mark.clone());
    let snapshot = Snapshot::take(writer.file().clone(), room()).unwrap();
    for n in 1..9 {
        let values = [format!("{n}a"), format!("{n}b")].map(|key| snapshot.value(&key).unwrap());
        let covered = mark.as_ref().is_some_and(|mark| mark.covers(txn(n)));
        match values {
            [Some(_), Some(_)] => assert!(done.contains(&n) || covered, "an effect without its marker: {n}"),
            [None, None] => assert!(!done.contains(&n), "a marker without its effect: {n}"),
            _ => panic!("half of branch {n}"),
        }
    }
    (in_doubt, done, mark.map(|mark| mark.low.sequence()))
}

#[test]
fn f05_every_prefix_of_the_batches_recovers_whole_branches_and_trims_exactly_what_the_mark_covers() {
    let disk = Disk::new();
    let (mut writer, _, first) = start(&disk);
    let mut sequence = first.sequence;
    let mut after = vec![look(disk.image())];
    for batch in batches() {
        let receipt = write(&mut writer, &batch);
        let works = batch.iter().any(|item| !matches!(item, Item::Line(_)));
        assert_eq!((receipt.through, receipt.sequence), (batch.len() as u64, sequence + u64::from(works)));
        sequence = receipt.sequence;
        after.push(look(disk.image()));
    }
    let wanted: [(&[u64], &[u64], Option<u64>); 7] = [
        (&[], &[], None),
        (&[1, 2], &[3], None),
        (&[4], &[3, 1], None),
        (&[4], &[3], Some(3)),
        (&[], &[3, 4, 6], Some(3)),
        (&[], &[3, 6], Some(5)),
        (&[8], &[3], Some(7)),
    ];
    let wanted = wanted.map(|(in_doubt, done, mark)| (in_doubt.to_vec(), done.to_vec(), mark));
    assert_eq!(after, wanted);
}

#[test]
fn f05_a_kill_at_any_write_inside_a_batch_leaves_all_of_it_or_nothing() {
    let disk = Disk::new();
    let (mut writer, ..) = start(&disk);
    let mut before = look(disk.image());
    let mut kills = 0;
    for batch in batches() {
        disk.record();
        write(&mut writer, &batch);
        let images = disk.record();
        let after = look(disk.image());
        for image in images {
            let found = look(image);
            assert!(found == before || found == after, "{found:?} is neither {before:?} nor {after:?}");
            kills += 1;
        }
        before = after;
    }
    assert!(kills > 50, "{kills}");
}

#[test]
fn t05_only_the_last_line_of_a_batch_is_kept_and_a_branch_in_doubt_stays_below_its_mark() {
    let disk = Disk::new();
    let (mut writer, ..) = start(&disk);
    write(&mut writer, &[prepare(1), one_phase(2), one_phase(3)]);
    let lines = [line(1, &[]), line(2, &[]), line(3, &[])].map(Item::Line);
    write(&mut writer, &lines);
    let (in_doubt, done, mark) = look(disk.image());
    assert_eq!((in_doubt, done, mark), (vec![1], vec![3], Some(3)));
    let store = Disk::over(disk.image()).store().unwrap();
    let journal = store.journal("log");
    // Start, sequence, prepare record, marker and line, under numbers that were given out once.
    let keys: Vec<u64> = store.read(|txn| journal.scan(txn)).unwrap().iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [1, 2, 3, 5, 6]);
}

#[test]
fn a09_a_record_that_is_none_is_damage_and_is_named() {
    let line = |low| encoded(Item::Line(line(low, &[])));
    type Puts = Vec<(u64, Uuid, Vec<u8>)>;
    let cases: [(&str, Puts); 6] = [
        ("log #1", vec![(1, Uuid::nil(), vec![])]),
        ("log #1", vec![(1, Uuid::nil(), vec![9, 1, 1])]),
        ("log #2", vec![(1, xid(1).txn.0, encoded(prepare(1))), (2, xid(2).txn.0, encoded(prepare(2))[..40].to_vec())]),
        ("log #1", vec![(1, xid(2).txn.0, encoded(prepare(1)))]),
        ("log #2", vec![(1, xid(1).txn.0, encoded(prepare(1))), (2, xid(1).txn.0, encoded(apply(1)))]),
        ("log #3", vec![(2, Uuid::nil(), line(1)), (3, Uuid::nil(), line(2))]),
    ];
    for (record, puts) in cases {
        let disk = Disk::new();
        let store = disk.store().unwrap();
        let journal = store.journal("log");
        store.write(|txn| journal.append(txn, &puts, &[])).unwrap();
        store.close().unwrap();
        let error = Writer::open(disk.store().unwrap(), room()).err().unwrap();
        assert_eq!(error.exit_code(), 9);
        assert!(error.to_string().contains(&format!("record {record}: damaged")), "{error}");
    }
}

#[test]
fn a09_branches_in_doubt_that_contradict_each_other_are_damage_and_the_file_stays_as_it_is() {
    let disk = Disk::new();
    let (mut writer, ..) = start(&disk);
    write(&mut writer, &[prepare(1)]);
    let record = PrepareRecord { prepared: record(2), age: Age(2), held: held(1) };
    write(&mut writer, &[Item::Prepare { xid: xid(2), record: record.encode().unwrap() }]);
    drop(writer);
    let store = disk.store().unwrap();
    let before = disk.image();
    let error = KvStore::over(store, Options::DEFAULTS.caps, room(), INCARNATION, never).err().unwrap();
    assert!(error.exit_code() == 9 && error.to_string().contains("'1a'"), "{error}");
    assert!(disk.image() == before);
}

fn encoded(item: Item) -> Vec<u8> {
    match item {
        Item::Prepare { record, .. } => record,
        Item::Apply { done, .. } => done,
        Item::Line(line) => encode_line(&line).unwrap(),
        Item::Forget { .. } => Vec::new(),
    }
}

#[test]
fn a09_a_value_that_is_none_is_damage_and_is_named() {
    let disk = Disk::new();
    let store = disk.store().unwrap();
    let values = store.counted("values");
    store.write(|txn| values.change(txn, |table| table.put(b"a", Uuid::nil(), b"junk"))).unwrap();
    store.close().unwrap();
    let (writer, ..) = start(&disk);
    let error = Snapshot::take(writer.file().clone(), room()).unwrap().value("a").unwrap_err();
    assert!(error.to_string().contains("record value 'a': damaged"), "{error}");
}

#[test]
fn the_largest_work_fits_its_record() {
    let operations: Vec<Operation> = (0..15).map(|n| put(&format!("{n:01024}"), big())).collect();
    let disk = Disk::new();
    let store = disk.open();
    beside(&store, async {
        assert!(is_yes(&store.prepare(work(1, &operations), record(1)).await));
        store.commit(xid(1)).await;
        let gets: Vec<Operation> = (0..15).map(|n| get(&format!("{n:01024}"))).chain([put("x", big())]).collect();
        assert!(is_yes(&store.prepare(work(2, &gets), record(2)).await), "as much read, and written");
    });
    let found = Disk::over(disk.image()).open().recovered();
    assert_eq!(found.prepared.len(), 1);
    assert!(found.prepared[0].reads.0.len() > 900_000);
}

fn big() -> handfast_common::operation::Value {
    text(&"x".repeat(64 << 10))
}

#[test]
fn values_are_read_in_portions_without_a_gap() {
    let disk = Disk::new();
    let store = disk.open();
    beside(&store, async {
        let operations: Vec<Operation> = (0..300).map(|n| put(&format!("k{n:03}"), int(n))).collect();
        store.prepare(work(1, &operations), record(1)).await;
        store.commit(xid(1)).await;
        let page = store.values(&AskValues { select: Select::Prefix("k".into()), after: Some("k009".into()) }).unwrap();
        let seen: BTreeMap<_, _> = page.lines.into_iter().map(|line| (line.key, line.value)).collect();
        assert_eq!(seen, (10..300).map(|n| (format!("k{n:03}"), Some(int(n)))).collect());
    });
}

#[test]
fn f08_a_trim_at_every_step_of_a_branch_brings_nothing_back_and_takes_nothing_that_is_in_doubt() {
    // The branch's own steps; a mark below it, on it and above it may come between any two of them, or with one.
    let steps = || vec![vec![prepare(4)], vec![apply(4)], vec![prepare(5)], vec![forget(5)]];
    let mut looked = 0;
    for low in [3, 5, 6, 9] {
        for at in 0..=steps().len() {
            for together in [false, true] {
                let disk = Disk::new();
                let (mut writer, ..) = start(&disk);
                let mut batches = steps();
                let mark = Item::Line(line(low, &[]));
                match batches.get_mut(at) {
                    Some(batch) if together => batch.push(mark),
                    Some(_) | None => batches.insert(at, vec![mark]),
                }
                let (mut committed, mut prepared) = (false, false);
                for batch in &batches {
                    let (applies, prepares) = (batch.contains(&apply(4)), batch.contains(&prepare(4)));
                    disk.record();
                    write(&mut writer, batch);
                    for image in disk.record().into_iter().chain([disk.image()]) {
                        let (in_doubt, done, found_mark) = look(image);
                        let trimmed = found_mark.is_some_and(|mark| mark > 4);
                        assert!(!(committed && in_doubt.contains(&4)), "committed, and in doubt again");
                        assert!(
                            !committed || done.contains(&4) || trimmed,
                            "committed, and its marker is gone too soon"
                        );
                        // A mark never ends a branch in doubt.
                        let open = prepared && !committed && !applies;
                        assert!(!open || in_doubt.contains(&4), "prepared, and gone without a decision");
                        looked += 1;
                    }
                    committed |= applies;
                    prepared |= prepares;
                }
            }
        }
    }
    assert!(looked > 200, "{looked} images");
}
