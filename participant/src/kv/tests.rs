//! The store on a real file, and on a disk in memory that can be copied at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use handfast_common::ids::Incarnation;
use handfast_common::messages::{OnePhaseResult, Select};
use handfast_common::operation::Operation;
use handfast_common::outcome::ReasonKind;
use handfast_common::storage::{Kind, SpaceOptions};
use tokio::task::LocalSet;

use super::testing::{HASH, add, get, int, key, line, put, record, txn, work, xid};
use super::*;

mod disk;
mod open;
mod recovery;
mod starts;

use disk::{Disk, Image};

const INCARNATION: Incarnation = Incarnation(77);

fn room() -> Arc<Space> {
    free(Arc::new(AtomicU64::new(u64::MAX)))
}

/// A gauge that finds so many bytes free.
fn free(bytes: Arc<AtomicU64>) -> Arc<Space> {
    let options = SpaceOptions { ballast: 0, every: Duration::ZERO, ..SpaceOptions::DEFAULTS };
    let probe = Box::new(move || Ok(bytes.load(Ordering::SeqCst)));
    Arc::new(Space::with_probe(std::path::Path::new("/nowhere"), options, probe).unwrap())
}

fn never(error: StorageError) {
    panic!("the store failed: {error}");
}

fn open(folder: &Folder) -> KvStore {
    KvStore::open(folder, Options::DEFAULTS, room(), INCARNATION, || Uuid::from_u128(5), never).unwrap()
}

/// Runs a test beside the store's own background work.
fn beside<T>(store: &KvStore, test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let background = store.clone();
    let running = local.spawn_local(async move { background.run().await });
    let value = local.block_on(&runtime, test);
    running.abort();
    value
}

fn value(store: &KvStore, key: &str) -> Option<handfast_common::operation::Value> {
    let question = AskValues { select: Select::Key(key.into()), after: None };
    store.values(&question).unwrap().lines.remove(0).value
}

fn is_yes(vote: &Vote) -> bool {
    matches!(vote, Vote::Yes(_))
}

fn no(vote: Vote) -> ReasonKind {
    match vote {
        Vote::No(reason) => reason.kind,
        other => panic!("not No: {other:?}"),
    }
}

#[test]
fn prepare_commit_and_restart_on_a_file() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::lock(place.path(), Kind::Participant, "p").unwrap();
    let store = open(&folder);
    assert!(store.was_created() && store.sequence() == 0);
    let before = store.sequence();
    beside(&store, async {
        for n in 1..=3 {
            assert!(is_yes(&store.prepare(work(n, &[add("a", 1), put(&n.to_string(), int(7))]), record(n)).await));
            assert_eq!(store.commit(xid(n)).await, Committed::Done);
        }
        assert!(is_yes(&store.prepare(work(4, &[get("a"), put("b", int(1))]), record(4)).await));
        let done = store.commit_one_phase(work(5, &[add("c", 1)]), key(5), HASH).await;
        assert!(matches!(done, OnePhaseResult::Committed(_)));
        store.force(line(2, &[])).await;
    });
    assert!(store.sequence() >= before + 5, "it grows with every batch that a branch has a part in");
    let (identity, sequence) = (store.identity(), store.sequence());
    drop(store);

    let store = open(&folder);
    assert!(!store.was_created() && store.sequence() == sequence, "a start does not count");
    assert_eq!(store.identity(), identity);
    assert_eq!((value(&store, "a"), value(&store, "c")), (Some(int(3)), Some(int(1))));
    let found = store.recovered();
    assert_eq!(found.lines, [line(2, &[])]);
    assert_eq!(found.prepared.iter().map(|record| record.xid).collect::<Vec<_>>(), [xid(4)]);
    assert_eq!(found.done.iter().map(|done| done.xid).collect::<Vec<_>>(), [2, 3, 5].map(xid));
    beside(&store, async {
        assert_eq!(no(store.prepare(work(6, &[put("a", int(0))]), record(6)).await), ReasonKind::Conflict);
        assert_eq!(store.commit(xid(4)).await, Committed::Done);
        assert_eq!(store.commit(xid(4)).await, Committed::Done);
        assert_eq!(store.commit(xid(9)).await, Committed::LostBranch);
    });
    assert_eq!(value(&store, "b"), Some(int(1)));
}

#[test]
fn an_apply_does_not_force_by_itself_and_is_durable_within_the_ride_delay() {
    let disk = Disk::new();
    let caps = Caps { ride_delay: Duration::from_millis(300), ..Options::DEFAULTS.caps };
    let store = disk.open_with(caps, room(), never);
    beside(&store, async {
        store.prepare(work(1, &[put("a", int(1))]), record(1)).await;
        let forces = store.counters().forces();
        let begun = Instant::now();
        assert_eq!(store.commit(xid(1)).await, Committed::Done);
        assert!(begun.elapsed() >= Duration::from_millis(300), "it waits for company");
        assert_eq!(store.counters().forces(), forces);

        store.prepare(work(2, &[put("a", int(2))]), record(2)).await;
        let (begun, batches) = (Instant::now(), store.counters().batches());
        let commit = store.commit(xid(2));
        assert!(is_yes(&store.prepare(work(3, &[put("b", int(2))]), record(3)).await));
        assert_eq!(commit.await, Committed::Done);
        assert!(begun.elapsed() < Duration::from_millis(300), "company came");
        assert_eq!(store.counters().batches(), batches + 1);
    });
}

#[test]
fn many_branches_are_forced_in_few_batches() {
    let disk = Disk::new();
    let store = disk.open();
    disk.slow(Duration::from_millis(10));
    beside(&store, async {
        let before = store.counters().batches();
        let one = |n: u64| store.prepare(work(n, &[put(&n.to_string(), int(1))]), record(n));
        let votes = futures::future::join_all((1..=200).map(one)).await;
        assert!(votes.iter().all(is_yes));
        assert!(store.counters().batches() < before + 20);
    });
}

#[test]
fn what_waits_for_a_lock_goes_on_when_it_is_free_and_cancel_ends_it() {
    let disk = Disk::new();
    let store = disk.open();
    beside(&store, async {
        store.prepare(work(9, &[put("a", int(1))]), record(9)).await;
        let waits = store.prepare(work(5, &[add("a", 1)]), record(5));
        let cancelled = store.commit_one_phase(work(3, &[add("a", 1)]), key(3), HASH);
        store.cancel(xid(3), Reason::new(ReasonKind::LockTimeout, "waited"));
        assert!(matches!(cancelled.await, OnePhaseResult::Aborted(reason) if reason.kind == ReasonKind::LockTimeout));
        store.commit(xid(9)).await;
        assert!(is_yes(&waits.await));
        store.abort(xid(5)).await;
        assert_eq!(value(&store, "a"), Some(int(1)));
    });
}

#[test]
fn f13_disk_full_by_the_gauge_refuses_new_work_and_phase_two_goes_on() {
    let disk = Disk::new();
    let bytes = Arc::new(AtomicU64::new(u64::MAX));
    let store = disk.open_with(Options::DEFAULTS.caps, free(Arc::clone(&bytes)), never);
    beside(&store, async {
        store.prepare(work(1, &[put("a", int(1))]), record(1)).await;
        store.prepare(work(2, &[put("b", int(1))]), record(2)).await;
        bytes.store(1 << 20, Ordering::SeqCst);
        assert_eq!(no(store.prepare(work(3, &[put("c", int(1))]), record(3)).await), ReasonKind::DiskFull);
        assert_eq!(store.commit(xid(1)).await, Committed::Done);
        store.abort(xid(2)).await;
        bytes.store(u64::MAX, Ordering::SeqCst);
        assert!(is_yes(&store.prepare(work(4, &[put("c", int(1))]), record(4)).await));
    });
}

#[test]
fn f03_after_an_error_of_the_disk_nobody_is_answered_and_it_is_told_once() {
    let disk = Disk::new();
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let store = disk.open_with(Options::DEFAULTS.caps, room(), move |error| {
        assert_eq!(error.exit_code(), 9);
        count.fetch_add(1, Ordering::SeqCst);
    });
    beside(&store, async {
        assert!(is_yes(&store.prepare(work(1, &[put("a", int(1))]), record(1)).await));
        disk.fail();
        let soon = |answer| tokio::time::timeout(Duration::from_millis(100), answer);
        assert!(soon(store.prepare(work(2, &[put("b", int(1))]), record(2))).await.is_err());
        assert_eq!(told.load(Ordering::SeqCst), 1);
        // Not even what would need no disk.
        assert!(soon(store.prepare(work(1, &[put("a", int(1))]), record(1))).await.is_err());
        assert!(soon(store.prepare(work(3, &[]), record(3))).await.is_err());
        let question = AskValues { select: Select::Key("a".into()), after: None };
        assert!(store.values(&question).is_err());
        store.note(line(1, &[]));
        assert_eq!(told.load(Ordering::SeqCst), 1);
    });
}

/// What a test was told while a store ran: all of it must be true of every later image.
#[derive(Clone, Default)]
struct Told {
    yes: BTreeSet<u64>,
    committed: BTreeSet<u64>,
    one_phase: BTreeSet<u64>,
    aborted: BTreeSet<u64>,
}

impl Told {
    fn check(&self, image: Image) {
        let disk = Disk::over(image);
        let store = disk.open();
        let found = store.recovered();
        let in_doubt: BTreeSet<u64> = found.prepared.iter().map(|record| record.xid.txn.sequence()).collect();
        let done: BTreeSet<u64> = found.done.iter().map(|done| done.xid.txn.sequence()).collect();
        assert!(in_doubt.is_disjoint(&done));
        for n in 0..200 {
            let writes = [format!("{n}a"), format!("{n}b")].map(|key| value(&store, &key));
            let whole = if done.contains(&n) { [Some(int(1)), Some(int(1))] } else { [None, None] };
            assert_eq!(writes, whole, "branch {n} took effect exactly if it is marked as done");
        }
        assert!(self.committed.union(&self.one_phase).all(|n| done.contains(n)), "an acknowledged effect is there");
        assert!(self.aborted.iter().all(|n| !in_doubt.contains(n) && !done.contains(n)), "an abort does not come back");
        // An abort that was begun and not answered may be there or not.
        let voted: Vec<u64> = self.yes.iter().copied().filter(|n| !self.aborted.contains(n)).collect();
        assert!(voted.iter().all(|n| in_doubt.contains(n) || done.contains(n) || n % 3 == 2), "a Yes is kept");
        // Held before anybody asked.
        for n in in_doubt {
            let question = AskValues { select: Select::Key(format!("{n}a")), after: None };
            assert_eq!(store.values(&question).unwrap().lines[0].locked_by, Some(txn(n)));
        }
    }
}

#[test]
fn f05_whatever_was_told_holds_in_every_image_of_a_killed_store() {
    let disk = Disk::new();
    let store = disk.open();
    let (mut told, mut images) = (Told::default(), Vec::new());
    beside(&store, async {
        for n in 0..40u64 {
            let operations: [Operation; 3] =
                [put(&format!("{n}a"), int(1)), get("shared"), put(&format!("{n}b"), int(1))];
            // Some are told at once, others overlap with what comes after them.
            match n % 4 {
                3 => {
                    store.commit_one_phase(work(n, &operations), key(n), HASH).await;
                    told.one_phase.insert(n);
                }
                _ => {
                    assert!(is_yes(&store.prepare(work(n, &operations), record(n)).await));
                    told.yes.insert(n);
                }
            }
            images.push((told.clone(), disk.image()));
            let voted = told.yes.contains(&n);
            match n % 3 {
                0 if voted => {
                    store.commit(xid(n)).await;
                    told.committed.insert(n);
                }
                2 if voted && n % 2 == 0 => {
                    store.abort(xid(n)).await;
                    told.aborted.insert(n);
                }
                2 if voted => drop(store.abort(xid(n))),
                _ => {}
            }
            images.push((told.clone(), disk.image()));
        }
    });
    for (told, image) in images {
        told.check(image);
    }
}
