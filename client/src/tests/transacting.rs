//! Running a body in a transaction: how often, how old, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use handfast_common::ids::Age;
use handfast_common::messages::{Count, ExecuteResult, Rejection, Told};
use handfast_common::operation::{Add, Operation, Value};
use handfast_common::outcome::ReasonKind;

use super::fake::{Act, Asked};
use super::system::{Do, Run, System, reason};
use super::{SOON, name};
use crate::{Client, CommitError, OperationError, Options, Retry, TransactError, Tx};

type Result<T, E = OperationError> = std::result::Result<T, TransactError<E>>;

async fn transfer(tx: Tx) -> std::result::Result<i64, OperationError> {
    let Some(Value::Integer(balance)) = tx.get("a", "alice").await? else { return Ok(0) };
    tx.add_within("a", "alice", -5, 0..).await?;
    tx.add("b", "bob", 5).await?;
    Ok(balance)
}

#[tokio::test]
async fn a_body_works_at_participants_and_its_commit_counts_the_operations() {
    let system = System::start().await;
    let client = system.client();
    assert_eq!(client.transact(transfer).await, Ok(7));
    assert_eq!((system.open(), system.committed()), (0, 1));
    let commit = &system.commits()[0];
    let count = |text, operations| Count { participant: name(text), operations };
    assert_eq!((commit.counts.clone(), commit.shared), (vec![count("a", 2), count("b", 1)], false));
    let executed = system.a.executed();
    assert_eq!(executed.iter().map(|execute| execute.operation.number).collect::<Vec<_>>(), [1, 2]);
    let third = &system.b.executed()[0];
    assert_eq!((third.operation.caller, third.operation.number), (executed[0].operation.caller, 3));
    assert_eq!((&third.coordinator, third.xid), (&system.coordinator.address, commit.xid));
    let add = Operation::Add(Add { key: "alice".into(), delta: -5, min: Some(0), max: None });
    assert_eq!(executed[1].work.0, handfast_common::codec::encode(&vec![add]).expect("small"));
    // Places are asked for once.
    assert_eq!(client.transact(transfer).await, Ok(7));
    assert_eq!(system.asked(|asked| matches!(asked, Asked::Locate(_))), 2);
}

#[tokio::test]
async fn the_highest_age_heard_goes_on_every_message() {
    let system = System::start().await;
    let client = system.client();
    assert!(client.transact(transfer).await.is_ok());
    assert!(client.transact(transfer).await.is_ok());
    // The transaction is of age 51, participants tell of 300.
    let clocks: Vec<Age> = system.begins().iter().map(|begin| begin.clock).collect();
    assert_eq!(clocks, [Age(0), Age(300)]);
    let clocks: Vec<Age> = system.a.executed().iter().map(|execute| execute.clock).collect();
    assert_eq!(clocks, [Age(51), Age(300), Age(300), Age(300)]);
}

#[tokio::test]
async fn a_doomed_body_runs_again_with_its_age_whatever_it_made_of_the_error() {
    let conflict = |before, _: &_| match before {
        0 | 1 => Run::Answer(ExecuteResult::Doomed(reason(ReasonKind::Conflict))),
        _ => Run::Rightly,
    };
    let system = System::scripted(|_, _| Do::Rightly, conflict).await;
    let runs = AtomicU32::new(0);
    let done: Result<&str, &str> = system
        .client()
        .transact(|tx| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                match tx.get("a", "x").await {
                    Err(_) if run == 0 => Err("the body's own words"),
                    // As if nothing had happened.
                    Err(_) => Ok("never seen"),
                    Ok(_) => Ok("done"),
                }
            }
        })
        .await;
    assert_eq!(done, Ok("done"));
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    let ages: Vec<_> = system.begins().iter().map(|begin| begin.age).collect();
    assert_eq!(ages, [None, Some(Age(51)), Some(Age(51))]);
    // The old one has let go before the next begins, or that would run into its own locks.
    let is_end = |asked: &Asked| matches!(asked, Asked::Begin(_) | Asked::Rollback(_) | Asked::Commit(_));
    let ends: Vec<_> = system.coordinator.asked().into_iter().filter(is_end).collect();
    assert!(matches!(
        ends[..],
        [Asked::Begin(_), Asked::Rollback(_), Asked::Begin(_), Asked::Rollback(_), Asked::Begin(_), Asked::Commit(_)]
    ));
}

#[tokio::test]
async fn an_error_of_the_body_rolls_back_and_comes_back() {
    let system = System::start().await;
    let done: Result<(), &str> = system
        .client()
        .transact(|tx| async move {
            tx.put("a", "x", "text").await.map_err(|_| "no")?;
            Err("not today")
        })
        .await;
    let error = done.expect_err("the body's");
    assert_eq!(error, TransactError::Body("not today"));
    assert!(error.is_outcome_known() && !error.is_retryable());
    assert_eq!((system.begins().len(), system.rolled_back(), system.open()), (1, 1, 0));
}

#[tokio::test]
async fn a_failed_operation_counts_and_the_transaction_goes_on() {
    let failed = |before, _: &_| match before {
        0 => Run::Answer(ExecuteResult::Failed(reason(ReasonKind::CheckFailed))),
        _ => Run::Rightly,
    };
    let system = System::scripted(|_, _| Do::Rightly, failed).await;
    let done: Result<()> = system
        .client()
        .transact(|tx| async move {
            assert_eq!(tx.add("a", "x", 1).await, Err(OperationError::Failed(reason(ReasonKind::CheckFailed))));
            tx.add("a", "y", 1).await
        })
        .await;
    assert_eq!(done, Ok(()));
    assert_eq!(system.commits()[0].counts, [Count { participant: name("a"), operations: 2 }]);
}

#[tokio::test]
async fn an_aborted_commit_runs_the_body_again_if_its_reason_may_pass() {
    for (kind, runs) in [(ReasonKind::Lost, 2), (ReasonKind::Expired, 1)] {
        let mut aborts = 0;
        let abort = move |_, asked: &Asked| match asked {
            Asked::Commit(_) if aborts == 0 => {
                aborts += 1;
                Do::Act(Act::Tell(super::aborted(101, 51, kind)))
            }
            _ => Do::Rightly,
        };
        let system = System::scripted(abort, |_, _| Run::Rightly).await;
        let done = system.client().transact(transfer).await;
        assert_eq!(done.is_ok(), runs == 2, "{done:?}");
        assert_eq!(system.begins().len(), runs);
        if let Err(error) = done {
            assert_eq!(error, TransactError::Commit(CommitError::Aborted(reason(kind))));
            assert!(error.is_outcome_known() && !error.is_retryable());
        }
    }
}

#[tokio::test]
async fn retries_end_with_their_number_and_with_the_deadline() {
    let doom = |_, _: &_| Run::Answer(ExecuteResult::Doomed(reason(ReasonKind::LockTimeout)));
    let system = System::scripted(|_, _| Do::Rightly, doom).await;
    let client = |most| {
        let retry = Retry { most, ..Retry::DEFAULT };
        Client::connect(Options { retry, ..Options::new([system.coordinator.address.clone()]) }).expect("ok")
    };
    let error = client(2).transact(transfer).await.expect_err("doomed every time");
    assert_eq!(error, TransactError::Commit(CommitError::Aborted(reason(ReasonKind::LockTimeout))));
    assert!(error.is_retryable());
    assert_eq!(system.begins().len(), 3);
    let begun = Instant::now();
    let done = client(9_999).transact_within(Duration::from_millis(300), transfer).await;
    assert!(matches!(done, Err(TransactError::Commit(CommitError::Aborted(_)))), "{done:?}");
    assert!(begun.elapsed() < Duration::from_millis(1_300));
    // Without a policy the body's own error stands.
    let error = client(0).transact(transfer).await.expect_err("doomed");
    assert!(matches!(error, TransactError::Commit(CommitError::Aborted(_))));
    let never = Options { retry: Retry::NEVER, ..Options::new([system.coordinator.address.clone()]) };
    let error = Client::connect(never).expect("ok").transact(transfer).await.expect_err("doomed");
    assert_eq!(error, TransactError::Body(OperationError::Doomed(reason(ReasonKind::LockTimeout))));
}

#[tokio::test]
async fn a_body_that_runs_beyond_the_deadline_is_dropped_and_rolled_back() {
    let system = System::start().await;
    let alive = Arc::new(());
    let begun = Instant::now();
    let done: Result<()> = system
        .client()
        .transact_within(Duration::from_millis(200), |tx| {
            let alive = Arc::clone(&alive);
            async move {
                tx.add("a", "x", 1).await?;
                std::future::pending::<()>().await;
                drop(alive);
                Ok(())
            }
        })
        .await;
    assert!(begun.elapsed() < Duration::from_millis(1_200));
    let Err(TransactError::Commit(CommitError::Aborted(why))) = done else { panic!("{done:?}") };
    assert_eq!(why.kind, ReasonKind::Expired);
    assert_eq!((system.rolled_back(), Arc::strong_count(&alive)), (1, 1));
}

#[tokio::test]
async fn what_can_not_be_begun_is_told_with_its_reason() {
    let reject = |_, asked: &Asked| match asked {
        Asked::Begin(_) => Do::Act(Act::Tell(Told::Rejected(Rejection::Overloaded("4096 are open".into())))),
        _ => Do::Rightly,
    };
    let system = System::scripted(reject, |_, _| Run::Rightly).await;
    let done = system.client().transact_within(Duration::from_millis(200), transfer).await;
    let error = done.expect_err("not begun");
    assert!(error.is_outcome_known() && error.is_retryable(), "{error}");
    assert!(error.to_string().contains("4096 are open"), "{error}");
    assert!(system.begins().len() > 2, "it was tried until the deadline");
}

#[test]
fn the_future_is_send_when_the_bodys_is() {
    fn is_send<T: Send>(_: &T) {}
    let client = Client::connect(Options::new(["127.0.0.1:1"])).expect("an address");
    is_send(&client.transact(transfer));
    is_send(&client.begin(SOON));
    fn parts(tx: Tx) {
        is_send(&tx.get("a", "x"));
        is_send(&tx.clone().rollback());
        is_send(&tx.commit());
    }
    let _ = parts;
}

#[tokio::test]
async fn it_ends_by_its_deadline_and_one_second_when_the_coordinator_falls_silent() {
    let silent = |_, asked: &Asked| match asked {
        Asked::Begin(_) | Asked::Locate(_) => Do::Rightly,
        _ => Do::Act(Act::Nothing),
    };
    let system = System::scripted(silent, |_, _| Run::Rightly).await;
    for commit in [false, true] {
        let begun = Instant::now();
        let done: Result<(), &str> = system
            .client()
            .transact_within(Duration::from_millis(300), |tx| async move {
                tx.add("a", "x", 1).await.map_err(|_| "no")?;
                if commit { Ok(()) } else { Err("not today") }
            })
            .await;
        let error = done.expect_err("nobody answers");
        assert_eq!(error.is_outcome_known(), !commit, "{error}");
        assert!(begun.elapsed() < Duration::from_millis(1_300), "{:?}", begun.elapsed());
    }
}
