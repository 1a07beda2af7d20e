//! FAILURES row 9 over whole stores: whatever is changed in a file that is not in use, an open and a scan give either
//! exactly what was written, or an error that ends the process with code 9. Never less, never an abort.

use super::testing::{Disk, Draw, MemoryHint};
use super::*;
use redb::{ReadableTable, TableDefinition};
use uuid::Uuid;

const SMALL: Options = Options { cache_bytes: 1 << 20, ..Options::DEFAULTS };
const OWNER: (Kind, &str) = (Kind::Participant, "stock");
const BATCHES: u64 = 12;
const MODES: [CommitMode; 2] = [CommitMode::TwoPhase, CommitMode::OnePhase];

/// A store's file and hint, as they lie there, and what is in it.
struct Image {
    bytes: Vec<u8>,
    hint: Vec<u8>,
    options: Options,
    content: Content,
}

type Content = (Vec<Entry>, Vec<(Vec<u8>, Value)>);

fn txn(key: u64) -> Uuid {
    Uuid::from_u128(u128::from(key))
}

/// Some batches of puts and deletes, in a journal and a table.
fn fill(store: &Store) -> Result<(), StorageError> {
    (0..BATCHES).try_for_each(|batch| fill_on(store, batch))
}

fn fill_on(store: &Store, batch: u64) -> Result<(), StorageError> {
    let puts: Vec<_> = (1..=8).map(|at| (batch * 8 + at, txn(at), vec![at as u8; 60])).collect();
    let deletes: Vec<_> = if batch % 3 == 2 { (batch * 8 - 7..batch * 8 - 3).collect() } else { Vec::new() };
    store.write(|write| {
        store.journal("j").append(write, &puts, &deletes)?;
        store.counted("kv").change(write, |table| {
            for at in 0..5 {
                let key = format!("account-{}", (batch * 3 + at) % 29);
                table.put(key.as_bytes(), txn(batch), &[batch as u8; 40])?;
            }
            table.remove(format!("account-{batch}").as_bytes()).map(drop)
        })
    })
}

fn content(store: &Store) -> Result<Content, StorageError> {
    store.read(|read| {
        let entries = store.journal("j").scan(read)?;
        let count = store.counted("kv").verify(read)?;
        let values = store.counted("kv").range(read, b"account-", b"", usize::MAX)?;
        assert_eq!(count, values.len() as u64);
        Ok((entries, values))
    })
}

fn image(mode: CommitMode, closed: bool) -> Image {
    let (disk, mut hint) = (Disk::default(), MemoryHint::default());
    let options = Options { commit: mode, ..SMALL };
    Store::create_over(disk.clone(), Some(&mut hint), "kv.redb", OWNER, txn(1)).unwrap();
    let store = Store::open_over(disk.clone(), Some(Box::new(hint.clone())), "kv.redb", OWNER, options).unwrap();
    fill(&store).unwrap();
    let content = content(&store).unwrap();
    let killed = disk.image();
    store.close().unwrap();
    let bytes = if closed { disk.image() } else { killed };
    let hint = hint.0.lock().unwrap().clone();
    Image { bytes, hint, options, content }
}

/// Opens a changed copy and reads all of it; true when it was found sound, and then it is what was written.
fn judge(image: &Image, bytes: Vec<u8>, what: &str) -> bool {
    let disk = Disk::with(bytes.clone());
    let hint = MemoryHint::default();
    hint.0.lock().unwrap().clone_from(&image.hint);
    let open = || Store::open_over(disk.clone(), Some(Box::new(hint.clone())), "kv.redb", OWNER, image.options);
    let opened = open();
    let refused = opened.is_err();
    match opened.and_then(|store| Ok((content(&store)?, store))) {
        Ok((found, store)) => {
            assert!(found == image.content, "{what}: other records than were written");
            // Nor does it go wrong later: a page that is live and called free would be overwritten now.
            fill_on(&store, BATCHES).unwrap();
            store.close().unwrap();
            let (entries, _) = content(&open().unwrap()).unwrap();
            assert!(entries.len() > found.0.len() && entries.starts_with(&found.0), "{what}: lost after more writes");
            true
        }
        Err(error) => {
            assert_eq!(error.exit_code(), 9, "{what}: {error}");
            if refused {
                assert!(disk.image() == bytes, "{what}: a store that is refused must stay as it was");
            }
            false
        }
    }
}

fn flipped(image: &Image, bit: usize) -> Vec<u8> {
    let mut bytes = image.bytes.clone();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Bits worth flipping: anywhere in the file, and, as most of it is unused, once more among the bytes that are not zero.
fn sample(image: &Image, count: usize, seed: u64) -> Vec<usize> {
    let used: Vec<_> = image.bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    let mut draw = Draw(seed);
    let anywhere = image.bytes.len() * 8;
    (0..count)
        .map(|at| if at % 4 == 0 { draw.next(anywhere) } else { used[draw.next(used.len())] * 8 + draw.next(8) })
        .collect()
}

#[test]
fn f09_one_flipped_bit_anywhere() {
    let mut sound = 0;
    let mut all = 0;
    for mode in MODES {
        for closed in [true, false] {
            let image = image(mode, closed);
            assert!(judge(&image, image.bytes.clone(), "as written"));
            for bit in sample(&image, 300, 0x0F09) {
                sound += usize::from(judge(&image, flipped(&image, bit), &format!("{mode:?} {closed} bit {bit}")));
                all += 1;
            }
        }
    }
    // Bytes that nothing refers to any more may change; those of live pages were drawn too, and must have been missed.
    assert!(sound > 0 && all - sound > 50, "{sound} of {all} were found sound");
}

#[test]
fn f09_one_flipped_bit_in_the_header() {
    // 64 bytes of header and two commit slots of 128. The first is small enough to try every bit of what it uses.
    for mode in MODES {
        for closed in [true, false] {
            let image = image(mode, closed);
            let mut draw = Draw(0x5107);
            let bits = (0..32 * 8).chain((0..150).map(|_| (64 + draw.next(256)) * 8 + draw.next(8)));
            for bit in bits {
                judge(&image, flipped(&image, bit), &format!("{mode:?} {closed} header bit {bit}"));
            }
        }
    }
}

#[test]
fn f09_the_hint_is_what_finds_a_header_that_selects_the_older_commit() {
    // The first byte after redb's magic number says which slot is current.
    let image = image(CommitMode::TwoPhase, false);
    let bytes = flipped(&image, 9 * 8);
    assert!(!judge(&image, bytes.clone(), "with its hint"));
    let store = Store::open_over(Disk::with(bytes), None, "kv.redb", OWNER, SMALL).unwrap();
    assert!(content(&store).unwrap() != image.content, "without one the last batch is silently gone");
}

#[test]
fn f09_cut_off_anywhere() {
    for mode in MODES {
        for closed in [true, false] {
            let image = image(mode, closed);
            let mut draw = Draw(7);
            let drawn = (0..40).map(|_| draw.next(image.bytes.len()));
            let pages = (0..40).map(|at| at * 4_096).filter(|len| *len < image.bytes.len());
            for len in [0, 1, 8, 9, 319, 320, 512].into_iter().chain(drawn).chain(pages) {
                judge(&image, image.bytes[..len].to_vec(), &format!("{mode:?} {closed} length {len}"));
            }
        }
    }
}

#[test]
fn f09_zeroed_or_exchanged_pages() {
    for mode in MODES {
        let image = image(mode, true);
        let pages: Vec<_> = (0..image.bytes.len() / 4_096)
            .filter(|at| image.bytes[at * 4_096..][..4_096].iter().any(|b| *b != 0))
            .collect();
        let mut draw = Draw(3);
        for page in &pages {
            let mut bytes = image.bytes.clone();
            bytes[page * 4_096..][..4_096].fill(0);
            judge(&image, bytes, &format!("{mode:?} page {page} zeroed"));
            let other = pages[draw.next(pages.len())];
            let mut bytes = image.bytes.clone();
            bytes.copy_within(other * 4_096..(other + 1) * 4_096, page * 4_096);
            judge(&image, bytes, &format!("{mode:?} page {other} over {page}"));
        }
    }
}

/// A store of which redb finds nothing wrong, because the change was made through redb, with its seals in order.
fn tampered(change: impl FnOnce(&redb::WriteTransaction)) -> StorageError {
    let disk = Disk::default();
    Store::create_over(disk.clone(), None, "kv.redb", OWNER, txn(1)).unwrap();
    let store = Store::open_over(disk, None, "kv.redb", OWNER, SMALL).unwrap();
    fill(&store).unwrap();
    store
        .write(|txn| {
            change(txn);
            Ok(())
        })
        .unwrap();
    let error = content(&store).unwrap_err();
    assert!(store.is_shut());
    error
}

const JOURNAL: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("journal.j");
const DATA: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("data.kv");

#[test]
fn f09_a_record_that_is_missing_moved_repeated_or_changed_is_damage_with_its_name() {
    let missing = tampered(|txn| drop(txn.open_table(JOURNAL).unwrap().remove(40).unwrap().unwrap()));
    assert!(missing.to_string().contains("record journal.j: damaged: "), "{missing}");
    let moved = tampered(|txn| {
        let mut table = txn.open_table(JOURNAL).unwrap();
        let bytes = table.remove(40).unwrap().unwrap().value().to_vec();
        table.insert(41, bytes.as_slice()).unwrap();
        table.insert(40, bytes.as_slice()).unwrap();
    });
    assert!(moved.to_string().contains("record journal.j #41: damaged: checksum"), "{moved}");
    let beyond = tampered(|txn| {
        let mut table = txn.open_table(JOURNAL).unwrap();
        drop(table.remove(40).unwrap());
        let bytes = frame("journal.j", &5_000u64.to_be_bytes(), Uuid::nil(), b"x");
        table.insert(5_000, bytes.as_slice()).unwrap();
    });
    assert!(beyond.to_string().contains("journal.j #5000: damaged: it lies beyond"), "{beyond}");
    let exchanged = tampered(|txn| {
        let bytes = frame("journal.j", &40u64.to_be_bytes(), Uuid::nil(), b"another sound record");
        txn.open_table(JOURNAL).unwrap().insert(40, bytes.as_slice()).unwrap();
    });
    assert!(exchanged.to_string().contains("with sum"), "{exchanged}");
    let table = tampered(|txn| assert!(txn.delete_table(JOURNAL).unwrap()));
    assert!(table.to_string().contains("0 are there"), "{table}");
}

#[test]
fn f09_the_data_table_is_protected_likewise() {
    let changed = tampered(|txn| {
        let mut table = txn.open_table(DATA).unwrap();
        let mut bytes = table.get(&b"account-17"[..]).unwrap().unwrap().value().to_vec();
        bytes[30] ^= 1;
        table.insert(&b"account-17"[..], bytes.as_slice()).unwrap();
    });
    assert!(changed.to_string().contains("record data.kv 'account-17': damaged: checksum"), "{changed}");
    let missing = tampered(|txn| drop(txn.open_table(DATA).unwrap().remove(&b"account-17"[..]).unwrap().unwrap()));
    assert!(missing.to_string().contains("record data.kv: damaged"), "{missing}");
    let table = tampered(|txn| assert!(txn.delete_table(DATA).unwrap()));
    assert!(table.to_string().contains("record data.kv: damaged"), "{table}");
}

#[test]
fn f09_deleting_what_is_not_there_is_damage() {
    let disk = Disk::default();
    Store::create_over(disk.clone(), None, "kv.redb", OWNER, txn(1)).unwrap();
    let store = Store::open_over(disk, None, "kv.redb", OWNER, SMALL).unwrap();
    fill(&store).unwrap();
    let error = store.write(|txn| store.journal("j").append(txn, &[], &[7_000])).unwrap_err();
    assert!(error.to_string().contains("journal.j #7000: damaged: it was to be deleted"), "{error}");
}

#[test]
fn the_data_table_counts_gets_and_pages() {
    let disk = Disk::default();
    Store::create_over(disk.clone(), None, "kv.redb", OWNER, txn(1)).unwrap();
    let store = Store::open_over(disk, None, "kv.redb", OWNER, SMALL).unwrap();
    let kv = store.counted("kv");
    assert_eq!(store.read(|read| Ok((kv.get(read, b"a")?, kv.verify(read)?))).unwrap(), (None, 0));
    store
        .write(|write| {
            kv.change(write, |table| {
                for key in ["a/1", "a/2", "a/3", "b/1"] {
                    table.put(key.as_bytes(), txn(1), key.as_bytes())?;
                }
                table.put(b"a/2", txn(2), b"new")?;
                assert_eq!(table.get(b"a/2")?.unwrap().bytes, b"new");
                assert!(table.remove(b"a/3")? && !table.remove(b"a/3")?);
                Ok(())
            })
        })
        .unwrap();
    store
        .read(|read| {
            assert_eq!(kv.verify(read)?, 3);
            assert_eq!(kv.get(read, b"a/2")?, Some(Value { txn: txn(2), bytes: b"new".to_vec() }));
            assert_eq!(kv.get(read, b"a/3")?, None);
            let keys = |prefix: &[u8], from: &[u8], limit| -> Result<Vec<Vec<u8>>, StorageError> {
                Ok(kv.range(read, prefix, from, limit)?.into_iter().map(|(key, _)| key).collect())
            };
            assert_eq!(keys(b"a/", b"", 10)?, [b"a/1", b"a/2"]);
            assert_eq!(keys(b"a/", b"", 1)?, [b"a/1"]);
            assert_eq!(keys(b"a/", b"a/1\0", 10)?, [b"a/2"]);
            assert_eq!(keys(b"", b"", 10)?.len(), 3);
            Ok(())
        })
        .unwrap();
}

#[test]
fn journals_of_one_file_are_apart_and_keep_their_last_key() {
    let disk = Disk::default();
    Store::create_over(disk.clone(), None, "kv.redb", OWNER, txn(1)).unwrap();
    let store = Store::open_over(disk, None, "kv.redb", OWNER, SMALL).unwrap();
    let (one, two) = (store.journal("one"), store.journal("two"));
    store
        .write(|write| {
            one.append(write, &[(1, txn(1), vec![]), (5, txn(2), vec![7])], &[])?;
            two.append(write, &[(2, txn(3), vec![8])], &[]).map(drop)
        })
        .unwrap();
    store.write(|write| one.append(write, &[], &[5]).map(drop)).unwrap();
    store
        .read(|read| {
            let head = one.head(read)?;
            assert_eq!((head.batch, head.last_key, head.count), (2, 5, 1), "the key stays used");
            assert_eq!(one.get(read, 5)?, None);
            assert_eq!(two.get(read, 2)?, Some(Entry { key: 2, txn: txn(3), payload: vec![8] }));
            assert_eq!(two.scan(read)?.len(), 1);
            Ok(())
        })
        .unwrap();
}
