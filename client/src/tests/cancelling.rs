//! Every future is polled n times and then dropped, for all n: nothing stays open, and nothing is half done.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::SOON;
use super::fake::Asked;
use super::system::{Do, Run, System};
use crate::{OperationError, TransactError};

/// Polls a future so often and no more.
struct Polls<'a, F> {
    future: Pin<&'a mut F>,
    left: usize,
}

impl<F: Future> Future for Polls<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Gives up after so many polls; what was reached by then.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    Polls { future: future.as_mut(), left: times }.await
}

/// More than any future here needs: then the loop has not ended where it should.
const MOST: usize = 200;

#[tokio::test]
async fn a_transact_dropped_at_any_await_is_committed_or_rolled_back() {
    let system = System::start().await;
    let client = system.client();
    let mut finished = None;
    for times in 0..MOST {
        let before = system.committed();
        let body = |tx: crate::Tx| async move {
            tx.get("a", "x").await?;
            tx.add("a", "x", -1).await?;
            tx.add("b", "x", 1).await
        };
        let done: Option<Result<(), TransactError<OperationError>>> = polled(client.transact(body), times).await;
        settle(&system).await;
        if let Some(done) = done {
            assert_eq!((done, system.committed()), (Ok(()), before + 1));
            finished = Some(times);
            break;
        }
    }
    let finished = finished.expect("some number of polls is enough");
    assert!(finished >= 5, "begin, three operations, commit: {finished}");
    // Every commit that went out was of the whole work.
    for commit in system.commits() {
        let counts: Vec<u64> = commit.counts.iter().map(|count| count.operations).collect();
        assert_eq!(counts, [2, 1]);
    }
    assert!(system.rolled_back() > 0);
}

#[tokio::test]
async fn a_begin_dropped_at_any_await_leaves_nothing_open_also_when_its_answer_was_lost() {
    for lost in [false, true] {
        let mut begins = 0;
        let script = move |_, asked: &Asked| {
            begins += usize::from(matches!(asked, Asked::Begin(_)));
            if lost && matches!(asked, Asked::Begin(_)) && begins % 2 == 1 { Do::LoseAnswer } else { Do::Rightly }
        };
        let system = System::scripted(script, |_, _| Run::Rightly).await;
        let client = system.client();
        let mut finished = false;
        for times in 0..MOST {
            let tx = polled(client.begin(SOON), times).await;
            finished = tx.is_some();
            drop(tx);
            settle(&system).await;
            if finished {
                break;
            }
        }
        assert!(finished && system.rolled_back() > 0 && system.committed() == 0);
    }
}

#[tokio::test]
async fn a_commit_dropped_after_its_first_poll_is_finished_and_before_it_rolled_back() {
    let system = System::start().await;
    for times in 0..3 {
        let tx = system.begin().await;
        tx.add("a", "x", 1).await.expect("done");
        drop(polled(tx.commit(), times).await);
        settle(&system).await;
        assert_eq!((system.rolled_back(), system.committed()), (1, times), "after {times} polls");
    }
}

#[tokio::test]
async fn a_rollback_dropped_at_any_await_rolls_back() {
    let system = System::start().await;
    for times in 0..3 {
        let tx = system.begin().await;
        tx.add("a", "x", 1).await.expect("done");
        let _ = polled(tx.rollback(), times).await;
        settle(&system).await;
        assert_eq!((system.rolled_back(), system.committed()), (times + 1, 0));
    }
}

#[tokio::test]
async fn an_operation_dropped_at_any_await_keeps_it_from_committing_unless_it_never_left() {
    let system = System::start().await;
    for times in 0..MOST {
        // A client of its own: its first operation finds out where the participant is, and dials.
        let tx = system.begin().await;
        let (sent, commits) = (system.a.executed().len(), system.commits().len());
        let done = polled(tx.add("a", "x", 1), times).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let left = system.a.executed().len() > sent;
        let committed = tx.commit().await.is_ok();
        settle(&system).await;
        assert_eq!(committed, system.commits().len() > commits);
        if let Some(done) = done {
            assert!(done.is_ok() && committed);
            assert!(times > 2, "locate, dial, execute: {times}");
            return;
        }
        assert!(!(left && committed), "after {times} polls: carried out, unknown, and committed");
    }
    panic!("some number of polls is enough");
}

#[tokio::test]
async fn tasks_and_connections_go_with_the_client() {
    let system = System::start().await;
    let client = system.client();
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    for _ in 0..5 {
        let tx = client.begin(SOON).await.expect("open");
        tx.add("a", "x", 1).await.expect("done");
        tx.commit().await.expect("committed");
    }
    drop(client);
    let waiting = async {
        // One that will close what is idle, and has nothing to close.
        while metrics.num_alive_tasks() > before + 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("no task stays behind");
}

async fn settle(system: &System) {
    // What was dropped may still be on its way to the coordinator.
    tokio::time::sleep(Duration::from_millis(5)).await;
    system.until_nothing_is_open().await;
}
