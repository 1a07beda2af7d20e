//! Files of a system that were changed in coarser ways than by a bit: a start finds what was there, or refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handfast_client::Transaction;
use handfast_common::ids::{Incarnation, Name, Nonce, RecordNumber};
use handfast_common::operation::{Add, Operation};
use handfast_common::storage::{Folder, Kind, Options, StorageError, Store};
use handfast_coordinator::log::{DecisionLog, RedbLog};
use handfast_coordinator::protocol::{Config, Coordinator};
use handfast_participant::kv;
use handfast_participant::protocol::{Config as Patience, Participant, Recovered};
use handfast_tests::processes::copy_folder;
use handfast_tests::servers::Servers;

use crate::arbitrary::{Counts, Dice, runs};

const RUNS: u64 = 60;
const SECTOR: usize = 512;
const PAGE: usize = 4_096;
/// The cache of redb by default is more than all these stores together.
const STORE: Options = Options { cache_bytes: 1 << 20, ..Options::DEFAULTS };

/// What a start finds, and says of it.
type Found = Result<String, StorageError>;

#[test]
fn f4_a_changed_file_is_found_out_or_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut counts = Counts::default();
    fill(folder.path());
    for (name, look) in [("coordinator", coordinator as fn(&Path) -> Found), ("p0", participant)] {
        let sound = folder.path().join(name);
        let original = look(&copied(&sound, folder.path())).expect("it is sound");
        for mut dice in runs(RUNS) {
            let copy = copied(&sound, folder.path());
            let file = store_file(&copy);
            let mut bytes = fs::read(&file).expect("a file");
            let how = damage(&mut dice, &mut bytes);
            fs::write(&file, &bytes).expect("a file");
            match look(&copy) {
                Ok(found) => {
                    assert_eq!(found, original, "{name}: {how} passes, and changes what is found");
                    counts.add("harmless", 1);
                }
                Err(error) => {
                    assert_eq!(error.exit_code(), 9, "{name}: {how}: {error}");
                    counts.add("refused", 1);
                }
            }
        }
    }
    counts.check(RUNS, &[("refused", 40), ("harmless", 10)]);
}

/// Makes a log and a store with something in them. Their servers go on running, on files of their own.
fn fill(folder: &Path) {
    let servers = Servers::start(1, Duration::from_secs(10));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = servers.client();
        let mut committed = 0;
        for number in 0..400 {
            let add = Operation::Add(Add { key: format!("k/{}", number % 40), delta: 1, min: None, max: None });
            let done = client.submit(Transaction::new().branch("p0", vec![add]), Duration::from_secs(5)).await;
            committed += usize::from(done.is_ok_and(|report| report.is_committed()));
        }
        assert!(committed > 100, "hardly anything commits: {committed}");
    });
    // What was to be written lazily is written: nothing changes while it is copied.
    std::thread::sleep(Duration::from_millis(500));
    for name in ["coordinator", "p0"] {
        copy_folder(&servers.folder().join(name), &folder.join(name));
        // Nothing is read from it, and it is the most of what would be copied each time.
        fs::remove_file(folder.join(name).join("ballast")).expect("a ballast");
    }
}

fn copied(from: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("copy");
    drop(fs::remove_dir_all(&copy));
    copy_folder(from, &copy);
    copy
}

/// The largest file of a folder is its store.
fn store_file(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let redb = files.filter(|path| path.extension().is_some_and(|extension| extension == "redb"));
    redb.max_by_key(|path| path.metadata().expect("a file").len()).expect("a store")
}

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) -> String {
    let at = dice.below(bytes.len());
    match dice.below(7) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            bytes.extend(dice.bytes(2 * PAGE));
            format!("{} bytes long", bytes.len())
        }
        2 => {
            let from = at / SECTOR * SECTOR;
            let end = (from + SECTOR).min(bytes.len());
            bytes[from..end].fill(0);
            format!("a sector of zeros at {from}")
        }
        3 => {
            let noise = dice.bytes(PAGE);
            let end = (at + noise.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            format!("noise from {at} to {end}")
        }
        4 => {
            let pages = bytes.len() / PAGE;
            let (one, other) = (dice.below(pages) * PAGE, dice.below(pages) * PAGE);
            for byte in 0..PAGE {
                bytes.swap(one + byte, other + byte);
            }
            format!("pages at {one} and {other} swapped")
        }
        5 => {
            let pages = bytes.len() / PAGE;
            let (from, to) = (dice.below(pages) * PAGE, dice.below(pages) * PAGE);
            bytes.copy_within(from..from + PAGE, to);
            format!("the page at {to} is that at {from}")
        }
        _ => {
            // The header, which says where everything is.
            let at = dice.below(320.min(bytes.len()));
            bytes[at] ^= 1 << dice.below(8);
            format!("a bit of byte {at}")
        }
    }
}

fn coordinator(folder: &Path) -> Found {
    let folder = Folder::lock(folder, Kind::Coordinator, "coordinator")?;
    let store = Store::open(&folder, "coordinator", STORE, || panic!("it is there"))?;
    let found = RedbLog::over(store).read_all()?;
    let text = format!("{found:?}");
    // Whatever reads back is a history that the machine begins with.
    Coordinator::recover(Config::default(), found.log, Nonce(1), found.records, RecordNumber(u64::MAX >> 1))
        .unwrap_or_else(|error| panic!("{error}"));
    Ok(text)
}

fn participant(folder: &Path) -> Found {
    let folder = Folder::lock(folder, Kind::Participant, "p0")?;
    let store = Store::open(&folder, "participant", STORE, || panic!("it is there"))?;
    let found = kv::inspect(store)?;
    let text = format!("{found:?}");
    let config = Patience::new(Name::new("p0").expect("a name"), found.store, Incarnation(1));
    let kv::record::Found { starts, lines, prepared, done } = found.found;
    let prepared = prepared.into_iter().map(|record| record.prepared).collect();
    Participant::recover(config, Recovered { lines, prepared, done, starts }).unwrap_or_else(|error| panic!("{error}"));
    Ok(text)
}
