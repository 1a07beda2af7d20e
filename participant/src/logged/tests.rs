//! The prepare log over stores that fail, that are slow, and that are killed in the middle; and over real files.

mod files;
mod world;

use std::sync::Arc;
use std::time::Duration;

use handfast_common::ids::Incarnation;
use handfast_common::messages::OnePhaseResult;
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_common::storage::{Folder, Kind, Options};
use tokio::time::timeout;

use super::LoggedResource;
use super::testing::{Disk, room};
use crate::protocol::Execution;
use crate::resource::{Committed, ParticipantLog, ResourceManager, Work};
use crate::server::Start;
use world::{Call, Steps, beside, key, line, open, record, try_open, work, xid};

/// Whoever waits is given this long to show that it does.
const A_WHILE: Duration = Duration::from_millis(100);

fn is_no(vote: &Vote, kind: ReasonKind) -> bool {
    matches!(vote, Vote::No(reason) if reason.kind == kind)
}

#[tokio::test]
async fn a_one_shot_branch_is_tried_prepared_confirmed_and_nothing_else() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        assert_eq!(store.prepare(work(1, "w"), record(1)).await, Vote::Yes(Payload(b"w".to_vec())));
        assert_eq!(steps.calls(), [Call::Try(1, 1)]);
        assert_eq!(store.commit(xid(1)).await, Committed::Done);
        assert_eq!(steps.calls(), [Call::Try(1, 1), Call::Confirm(1, vec![1])]);
    })
    .await;
    let written = store.counters();
    assert_eq!((written.items(), written.forces()), (3, 2), "to be tried, prepared, done");
}

#[tokio::test]
async fn f22_a_late_try_after_its_cancel_is_refused_also_after_restarts_and_only_until_the_mark_covers_it() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        store.abort(xid(1)).await;
        assert!(is_no(&store.prepare(work(1, "w"), record(1)).await, ReasonKind::Lost));
    })
    .await;
    for start in 2..5 {
        let store = open(&disk.fork(), &steps, start).await;
        beside(&store, async {
            // f24: more than once, and as an operation too.
            for _ in 0..2 {
                assert!(is_no(&store.prepare(work(1, "w"), record(1)).await, ReasonKind::Lost));
            }
            assert!(matches!(store.execute(work(1, "w")).await, Execution::Doomed(_)));
            // The marker goes with a mark that covers it, and below the mark nothing runs.
            store.force(line(start)).await;
            assert!(is_no(&store.prepare(work(1, "w"), record(1)).await, ReasonKind::Lost));
        })
        .await;
    }
    assert_eq!(steps.calls(), [], "nothing was tried, and a cancel without a try does not reach the store (f23)");
}

#[tokio::test]
async fn f23_a_kill_before_during_or_after_the_try_is_cancelled_by_the_next_start() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        steps.hang(true);
        let mut trying = Box::pin(store.prepare(work(1, "w"), record(1)));
        steps.until_called(1, &mut trying).await;
    })
    .await;
    steps.hang(false);
    let killed = disk.fork();
    assert_eq!(steps.calls(), [Call::Try(1, 1)]);
    let next = open(&killed, &steps, 2).await;
    assert_eq!(steps.calls(), [Call::Try(1, 1), Call::Cancel(1, vec![1])], "before anybody is served");
    assert_eq!(next.recovered().prepared, []);
    beside(&next, async {
        assert!(is_no(&next.prepare(work(1, "w"), record(1)).await, ReasonKind::Lost));
    })
    .await;
}

#[tokio::test]
async fn f43_confirm_and_cancel_are_called_until_they_succeed_and_nobody_else_waits() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        assert!(matches!(store.prepare(work(1, "w"), record(1)).await, Vote::Yes(_)));
        steps.fail(2);
        let mut committing = Box::pin(store.commit(xid(1)));
        assert!(timeout(A_WHILE, &mut committing).await.is_err());
        assert!(matches!(store.prepare(work(2, "w"), record(2)).await, Vote::Yes(_)), "f17: another branch");
        assert_eq!(committing.await, Committed::Done);
        let confirms = steps.calls().into_iter().filter(|call| *call == Call::Confirm(1, vec![1])).count();
        assert_eq!(confirms, 3);
        steps.fail(1);
        store.abort(xid(2)).await;
        let cancels = steps.calls().into_iter().filter(|call| *call == Call::Cancel(2, vec![1])).count();
        assert_eq!(cancels, 2);
    })
    .await;
}

#[tokio::test]
async fn f17_a_branch_that_cannot_be_confirmed_does_not_keep_the_participant_from_starting() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        steps.fail(1_000_000);
        let mut committing = Box::pin(store.commit_one_phase(work(1, "w"), key(1), record(1).work));
        // Tried, decided, and not confirmed.
        steps.until_called(2, &mut committing).await;
    })
    .await;
    let killed = disk.fork();
    steps.forget();
    let next = open(&killed, &steps, 2).await;
    assert_eq!(steps.calls(), [Call::Hold(1, vec![1]), Call::Confirm(1, vec![1])]);
    assert_eq!(next.recovered().done.len(), 1, "what is decided is done");
    beside(&next, async {
        assert!(matches!(next.prepare(work(2, "w"), record(2)).await, Vote::Yes(_)));
        let again = next.commit_one_phase(work(1, "w"), key(1), record(1).work);
        let mut again = Box::pin(again);
        assert!(timeout(A_WHILE, &mut again).await.is_err(), "not before it is confirmed");
        steps.fail(0);
        assert_eq!(again.await, OnePhaseResult::Committed(Payload(b"w".to_vec())));
    })
    .await;
}

#[tokio::test]
async fn f28_a_cancel_answers_at_once_and_waits_for_the_try_before_it_takes_it_back() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        steps.hang(true);
        let mut trying = Box::pin(store.execute(work(1, "w")));
        steps.until_called(1, &mut trying).await;
        store.cancel(xid(1), Reason::new(ReasonKind::LockTimeout, "enough"));
        let ended = timeout(A_WHILE, trying).await;
        assert!(matches!(ended, Ok(Execution::Doomed(reason)) if reason.detail == "enough"));
        assert_eq!(steps.calls(), [Call::Try(1, 1)], "a try that still runs would come after its cancel");
        let mut aborting = Box::pin(store.abort(xid(1)));
        assert!(timeout(A_WHILE, &mut aborting).await.is_err());
        steps.hang(false);
        aborting.await;
        assert_eq!(steps.calls(), [Call::Try(1, 1), Call::Cancel(1, vec![1])]);
    })
    .await;
}

#[tokio::test]
async fn t10c_a_refused_operation_is_cancelled_alone_and_a_conflict_ends_the_branch() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        for (text, done) in [("w", true), ("refuse", false), ("w", true)] {
            assert_eq!(matches!(store.execute(work(1, text)).await, Execution::Done(_)), done);
        }
        let tried = [Call::Try(1, 1), Call::Try(1, 2), Call::Cancel(1, vec![2]), Call::Try(1, 3)];
        assert_eq!(steps.calls(), tried);
        let ended = store.execute(work(1, "conflict")).await;
        assert!(matches!(ended, Execution::Doomed(reason) if reason.kind == ReasonKind::Conflict));
        assert_eq!(steps.calls()[4..], [Call::Try(1, 4), Call::Cancel(1, vec![1, 3, 4])]);
        assert!(matches!(store.execute(work(1, "w")).await, Execution::Doomed(_)));
    })
    .await;
}

#[tokio::test]
async fn a08_what_is_in_doubt_is_held_again_before_anybody_is_served_or_the_start_fails() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let store = open(&disk, &steps, 1).await;
    beside(&store, async {
        store.execute(work(1, "w")).await;
        store.execute(work(1, "w")).await;
        let prepared = Work { payload: None, ..work(1, "") };
        assert!(matches!(store.prepare(prepared, record(1)).await, Vote::Yes(_)));
    })
    .await;
    let killed = disk.fork();
    steps.forget();
    let _next = open(&killed, &steps, 2).await;
    assert_eq!(steps.calls(), [Call::Hold(1, vec![1, 2])]);
    steps.refuse_to_hold();
    let refused = try_open(&killed.fork(), &steps, 3).await.err().expect("it can't hold").to_string();
    assert!(refused.contains(&xid(1).txn.to_string()) && refused.contains("hold again"), "{refused}");
}

#[tokio::test]
async fn f01_after_an_error_of_the_log_nobody_is_answered() {
    let (disk, steps) = (Disk::new(), Steps::default());
    let told = Arc::clone(steps.fatal());
    let store = open(&disk, &steps, 1).await;
    disk.fail();
    beside(&store, async {
        assert!(timeout(A_WHILE, store.prepare(work(1, "w"), record(1))).await.is_err());
        assert!(timeout(A_WHILE, store.force(line(1))).await.is_err());
    })
    .await;
    assert_eq!(steps.calls(), [], "what is not on disk is not tried");
    assert!(told.lock().unwrap().is_some());
}

#[tokio::test]
async fn a_folder_of_an_embedded_store_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::lock(place.path(), Kind::Participant, "p").unwrap();
    std::fs::write(folder.store("participant").file, b"").unwrap();
    let (store, incarnation, on_fatal) = (Options::DEFAULTS, Incarnation(1), Box::new(|error| panic!("{error}")));
    let start = Start { folder, store, space: room(), incarnation, on_fatal };
    let error = LoggedResource::open(start, Steps::default()).await.err().unwrap();
    assert!(error.to_string().contains("another kind of participant"), "{error}");
}
