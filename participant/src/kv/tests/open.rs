//! Interactive branches on the store itself.

use super::*;
use crate::kv::testing::reads;
use crate::resource::{Execution, Work};
use handfast_common::ids::Age;
use handfast_common::operation::Value;

fn ran(n: u64) -> Work {
    Work { xid: xid(n), age: Age(n), payload: None }
}

fn read(execution: &Execution) -> Vec<(String, Option<Value>)> {
    match execution {
        Execution::Done(payload) => reads(payload),
        other => panic!("not done: {other:?}"),
    }
}

fn doomed(execution: Execution) -> ReasonKind {
    match execution {
        Execution::Doomed(reason) => reason.kind,
        other => panic!("not doomed: {other:?}"),
    }
}

/// A transfer as a client does it: two reads, two writes.
async fn transfer(store: &KvStore, n: u64, from: &str, to: &str) {
    for key in [from, to] {
        assert_eq!(read(&store.execute(work(n, &[get(key)])).await).len(), 1);
    }
    assert_eq!(read(&store.execute(work(n, &[add(from, -1)])).await), []);
    assert_eq!(read(&store.execute(work(n, &[add(to, 1)])).await), []);
}

#[test]
fn interactive_branches_on_a_file_end_as_they_were_told_also_over_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::lock(place.path(), Kind::Participant, "p").unwrap();
    let store = open(&folder);
    let batches = store.counters().batches();
    beside(&store, async {
        transfer(&store, 1, "a", "b").await;
        assert_eq!(store.counters().batches(), batches, "nothing is written before the vote");
        assert!(is_yes(&store.prepare(ran(1), record(1)).await));
        assert_eq!(store.commit(xid(1)).await, Committed::Done);
        transfer(&store, 2, "a", "b").await;
        store.abort(xid(2)).await;
        assert_eq!(doomed(store.execute(work(2, &[get("a")])).await), ReasonKind::Lost);
        transfer(&store, 3, "a", "b").await;
        assert!(matches!(store.commit_one_phase(ran(3), key(3), HASH).await, OnePhaseResult::Committed(_)));
        transfer(&store, 4, "a", "c").await;
        assert!(is_yes(&store.prepare(ran(4), record(4)).await));
        transfer(&store, 5, "d", "e").await;
        assert_eq!(read(&store.execute(work(6, &[get("b")])).await), [("b".to_owned(), Some(int(2)))]);
        assert_eq!(store.prepare(ran(6), record(6)).await, Vote::ReadOnly(Default::default()));
        store.release(xid(6));
    });
    drop(store);
    let store = open(&folder);
    assert_eq!(["a", "b", "c", "d"].map(|key| value(&store, key)), [Some(int(-2)), Some(int(2)), None, None]);
    beside(&store, async {
        assert_eq!(no(store.prepare(ran(5), record(5)).await), ReasonKind::Lost);
        assert_eq!(doomed(store.execute(work(7, &[get("c")])).await), ReasonKind::Conflict);
        assert_eq!(store.commit(xid(4)).await, Committed::Done);
        assert_eq!(read(&store.execute(work(8, &[get("a"), get("c")])).await)[1], ("c".to_owned(), Some(int(1))));
    });
}

#[test]
fn f25_an_operation_that_waits_goes_on_or_ends_with_its_branch() {
    let store = Disk::new().open();
    beside(&store, async {
        store.execute(work(9, &[put("a", int(1))])).await;
        let gets = store.execute(work(5, &[get("a")]));
        let aborted = store.execute(work(4, &[get("a")]));
        let cancelled = store.execute(work(3, &[get("a")]));
        store.cancel(xid(3), Reason::new(ReasonKind::LockTimeout, "waited"));
        assert_eq!(doomed(cancelled.await), ReasonKind::LockTimeout);
        store.abort(xid(4)).await;
        assert_eq!(doomed(aborted.await), ReasonKind::Lost);
        store.abort(xid(9)).await;
        assert_eq!(read(&gets.await), [("a".to_owned(), None)]);
    });
}

#[test]
fn t13_every_image_of_a_killed_store_holds_all_locks_of_every_interactive_yes_and_nothing_of_open_branches() {
    let disk = Disk::new();
    let store = disk.open();
    let mut images = Vec::new();
    beside(&store, async {
        for n in 0..12 {
            store.execute(work(n, &[get(&format!("{n}r"))])).await;
            store.execute(work(n, &[put(&format!("{n}w"), int(1)), get("shared")])).await;
            images.push((n, disk.image()));
            assert!(is_yes(&store.prepare(ran(n), record(n)).await));
            images.push((n + 1, disk.image()));
        }
    });
    for (voted, image) in images {
        let store = Disk::over(image).open();
        let found: Vec<_> = store.recovered().prepared.iter().map(|record| record.xid).collect();
        assert_eq!(found, (0..voted).map(xid).collect::<Vec<_>>());
        beside(&store, async {
            // Younger than all of them.
            let mut n = 100;
            for branch in 0..voted {
                for operation in [put(&format!("{branch}r"), int(9)), get(&format!("{branch}w")), put("shared", int(9))]
                {
                    n += 1;
                    assert_eq!(doomed(store.execute(work(n, &[operation])).await), ReasonKind::Conflict);
                }
            }
            assert_eq!(read(&store.execute(work(99, &[get(&format!("{voted}w"))])).await)[0].1, None);
        });
    }
}
