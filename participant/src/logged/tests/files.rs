//! The prepare log on a real disk: what a start finds there, and what it refuses to read.

use std::path::Path;

use handfast_common::ids::Incarnation;
use handfast_common::messages::KnownStart;
use handfast_common::outcome::Vote;
use handfast_common::storage::{Folder, Kind, Options, Store};
use uuid::Uuid;

use super::world::{Call, Steps, beside, key, line, record, work, xid};
use crate::logged::record::Stored;
use crate::logged::testing::room;
use crate::logged::{FILE, LoggedResource};
use crate::resource::{Committed, ParticipantLog, ResourceManager};
use crate::server::Start;

async fn start(place: &Path, steps: &Steps, incarnation: u64) -> Result<LoggedResource<Steps>, String> {
    let folder = Folder::lock(place, Kind::Participant, "p").unwrap();
    let (store, space, incarnation) = (Options::DEFAULTS, room(), Incarnation(incarnation));
    let start = Start { folder, store, space, incarnation, on_fatal: Box::new(|error| panic!("{error}")) };
    LoggedResource::open(start, steps.clone()).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_restart_finds_what_was_promised_and_the_starts_before_it() {
    let place = tempfile::tempdir().unwrap();
    let steps = Steps::default();
    let first = start(place.path(), &steps, 1).await.unwrap();
    beside(&first, async {
        for n in [1, 2] {
            assert!(matches!(first.prepare(work(n, "w"), record(n)).await, Vote::Yes(_)));
        }
        first.commit_one_phase(work(3, "w"), key(3), record(3).work).await;
        first.force(line(2)).await;
    })
    .await;
    let (identity, sequence) = (first.identity(), first.sequence());
    drop(first);
    steps.forget();

    let second = start(place.path(), &steps, 2).await.unwrap();
    assert_eq!(steps.calls(), [Call::Hold(1, vec![1]), Call::Hold(2, vec![1])]);
    assert_eq!((second.identity(), second.sequence()), (identity, sequence));
    let found = second.recovered();
    let in_doubt: Vec<u64> = found.prepared.iter().map(|record| record.xid.txn.sequence()).collect();
    let done: Vec<u64> = found.done.iter().map(|done| done.xid.txn.sequence()).collect();
    assert_eq!((in_doubt, done), (vec![1, 2], vec![3]));
    assert_eq!(found.starts, [KnownStart { incarnation: Incarnation(1), sequence }]);
    beside(&second, async {
        assert_eq!(second.commit(xid(1)).await, Committed::Done);
        second.abort(xid(2)).await;
    })
    .await;
    assert_eq!(steps.calls()[2..], [Call::Confirm(1, vec![1]), Call::Cancel(2, vec![1])]);
}

#[tokio::test]
async fn a09_a_record_that_is_none_or_contradicts_another_is_damage_and_is_named() {
    let marker = |n: u64| Stored::Cancelled(xid(n)).encode().unwrap();
    let prepared = |n: u64| Stored::Prepared(record(n)).encode().unwrap();
    let txn = |n: u64| xid(n).txn.0;
    type Puts = Vec<(u64, Uuid, Vec<u8>)>;
    let cases: [(&str, Puts); 5] = [
        ("branches #1", vec![(1, Uuid::nil(), vec![])]),
        ("branches #1", vec![(1, Uuid::nil(), vec![99, 1])]),
        ("branches #1", vec![(1, txn(2), marker(1))]),
        ("branches #2", vec![(1, txn(1), marker(1)), (2, txn(1), marker(1))]),
        ("branches #1", vec![(1, txn(1), prepared(1)), (2, txn(1), marker(1))]),
    ];
    for (named, puts) in cases {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::lock(place.path(), Kind::Participant, "p").unwrap();
        let store = Store::open(&folder, FILE, Options::DEFAULTS, Uuid::new_v4).unwrap();
        let journal = store.journal("branches");
        store.write(|txn| journal.append(txn, &puts, &[])).unwrap();
        store.close().unwrap();
        drop(folder);
        let error = start(place.path(), &Steps::default(), 1).await.err().expect("damage");
        assert!(error.contains(&format!("record {named}: damaged")), "{error}");
    }
}
