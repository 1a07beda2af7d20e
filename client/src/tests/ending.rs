//! Commit, rollback, and what becomes of a transaction that nobody ends.

use std::time::Duration;

use handfast_common::messages::{Rejection, Told};
use handfast_common::outcome::ReasonKind;

use super::fake::{Act, Asked, ticket};
use super::system::{Do, Run, System, reason};
use super::{SOON, name};
use crate::{CommitError, OperationError, Outcome, TransactError};

/// Does something else with every commit.
async fn with_commits(mut act: impl FnMut(usize) -> Do + Send + 'static) -> System {
    let mut commits = 0;
    let script = move |_, asked: &Asked| match asked {
        Asked::Commit(_) => {
            commits += 1;
            act(commits)
        }
        _ => Do::Rightly,
    };
    System::scripted(script, |_, _| Run::Rightly).await
}

#[tokio::test]
async fn a_commit_without_an_answer_is_asked_about_by_key_and_ticket() {
    let system = with_commits(|_| Do::LoseAnswer).await;
    let tx = system.begin().await;
    let (key, given) = (tx.key(), tx.ticket());
    tx.add("b", "x", 1).await.expect("done");
    let committed = tx.commit().await.expect("it had arrived");
    assert_eq!((committed.key, committed.ticket), (key, given));
    let question = &system.coordinator.questions()[0];
    assert_eq!((question.key, question.ticket, &question.participants[..]), (key, Some(given), &[name("b")][..]));
    assert_eq!((system.commits().len(), given), (1, ticket(3, 100)));
}

#[tokio::test]
async fn nobody_is_named_in_the_question_when_others_had_the_context() {
    let system = with_commits(|_| Do::LoseAnswer).await;
    let tx = system.begin().await;
    tx.add("b", "x", 1).await.expect("done");
    drop(tx.context());
    tx.commit().await.expect("it had arrived");
    assert!(system.commits()[0].shared);
    assert!(system.coordinator.questions()[0].participants.is_empty());
}

#[tokio::test]
async fn a_commit_that_did_not_arrive_is_fenced_by_the_question_and_the_body_runs_again() {
    let system = with_commits(|at| if at == 1 { Do::Act(Act::HangUp) } else { Do::Rightly }).await;
    let done: Result<(), TransactError<OperationError>> =
        system.client().transact(|tx| async move { tx.add("a", "x", 1).await }).await;
    assert_eq!(done, Ok(()));
    assert_eq!(system.ended(|outcome| *outcome == super::system::aborted(ReasonKind::Fenced)), 1);
    assert_eq!((system.committed(), system.begins().len()), (1, 2));
}

#[tokio::test]
async fn an_outcome_not_known_by_the_deadline_is_an_error_that_can_be_asked_about() {
    let script = |_, asked: &Asked| match asked {
        Asked::Commit(_) => Do::Act(Act::Nothing),
        Asked::Outcome(_) => Do::Act(Act::Tell(Told::Pending { txn: None })),
        _ => Do::Rightly,
    };
    let system = System::scripted(script, |_, _| Run::Rightly).await;
    let mut runs = 0;
    let done: Result<(), TransactError<OperationError>> = system
        .client()
        .transact_within(Duration::from_millis(300), |tx| {
            runs += 1;
            async move { tx.add("a", "x", 1).await }
        })
        .await;
    let error = done.expect_err("not known");
    assert!(!error.is_outcome_known() && !error.is_retryable());
    let TransactError::Commit(CommitError::Unknown(report)) = error else { panic!("{error}") };
    assert!(matches!(report.outcome, Outcome::Unknown(_)) && report.ticket.is_some() && runs == 1);
}

#[tokio::test]
async fn what_was_rejected_is_asked_about_too() {
    let reject = |_| Do::Act(Act::Tell(Told::Rejected(Rejection::Invalid("no such transaction".into()))));
    let system = with_commits(reject).await;
    let tx = system.begin().await;
    let error = tx.commit().await.expect_err("fenced");
    assert_eq!(error, CommitError::Aborted(reason(ReasonKind::Fenced)));
}

#[tokio::test]
async fn commit_is_refused_while_an_operation_is_unanswered_and_rolled_back() {
    let silent = |_, _: &_| Run::Nothing;
    // Dropped midway.
    let system = System::scripted(|_, _| Do::Rightly, silent).await;
    let tx = system.begin().await;
    assert!(tokio::time::timeout(Duration::from_millis(50), tx.add("a", "x", 1)).await.is_err());
    let error = tx.commit().await.expect_err("its result is unknown");
    assert_eq!(error, CommitError::Unanswered(name("a")));
    assert!(error.is_outcome_known() && !error.is_retryable());
    assert_eq!((system.commits().len(), system.rolled_back()), (0, 1));
    // Under way in another task.
    let system = System::scripted(|_, _| Do::Rightly, silent).await;
    let tx = system.begin().await;
    let other = tx.clone();
    let waiting = tokio::spawn(async move { other.add("a", "x", 1).await });
    while system.a.executed().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(tx.commit().await, Err(CommitError::Unanswered(name("a"))));
    assert_eq!((system.commits().len(), system.rolled_back()), (0, 1));
    waiting.abort();
}

#[tokio::test]
async fn an_operation_that_never_left_does_not_keep_it_from_committing() {
    let system = System::start().await;
    let tx = system.begin().await;
    drop(tx.add("a", "x", 1));
    tx.commit().await.expect("committed");
    assert!(system.a.executed().is_empty());
}

#[tokio::test]
async fn after_its_end_no_other_handle_can_do_anything() {
    let system = System::start().await;
    let tx = system.begin().await;
    let (second, third) = (tx.clone(), tx.clone());
    tx.commit().await.expect("committed");
    assert_eq!(second.add("a", "x", 1).await, Err(OperationError::Ended));
    second.rollback().await;
    assert_eq!(third.commit().await, Err(CommitError::Ended));
    assert_eq!((system.committed(), system.commits().len(), system.rolled_back()), (1, 1, 0));
    assert_eq!(system.asked(|asked| matches!(asked, Asked::Rollback(_))), 0);
}

#[tokio::test]
async fn a_rollback_is_confirmed_and_the_last_handle_rolls_back_when_dropped() {
    let system = System::start().await;
    system.begin().await.rollback().await;
    assert_eq!(system.rolled_back(), 1);
    let tx = system.begin().await;
    let other = tx.clone();
    drop(tx);
    other.add("a", "x", 1).await.expect("still open");
    drop(other);
    system.until_nothing_is_open().await;
    assert_eq!(system.rolled_back(), 2);
}

#[tokio::test]
async fn a_handle_dropped_outside_of_any_runtime_is_rolled_back_too() {
    let system = System::start().await;
    let tx = system.begin().await;
    std::thread::spawn(move || drop(tx)).join().expect("no panic");
    system.until_nothing_is_open().await;
    assert_eq!(system.rolled_back(), 1);
}

#[tokio::test]
async fn a_panic_of_the_body_rolls_back() {
    let system = System::start().await;
    let client = system.client();
    let panicking = tokio::spawn(async move {
        let done: Result<(), TransactError<OperationError>> = client
            .transact(|tx| async move {
                tx.add("a", "x", 1).await?;
                panic!("a bug in the body");
            })
            .await;
        done
    });
    assert!(panicking.await.is_err_and(|error| error.is_panic()));
    system.until_nothing_is_open().await;
    assert_eq!(system.rolled_back(), 1);
}

#[tokio::test]
async fn a_begin_without_an_answer_is_sent_again_under_its_key() {
    let lose = |before, _: &_| if before == 0 { Do::LoseAnswer } else { Do::Rightly };
    let system = System::scripted(lose, |_, _| Run::Rightly).await;
    let tx = system.client().begin(SOON).await.expect("open");
    let begins = system.begins();
    assert_eq!(begins.len(), 2);
    assert_eq!((begins[0].key, begins[0].ticket), (begins[1].key, begins[1].ticket));
    assert_eq!((tx.key(), system.open()), (begins[0].key, 1));
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn a_key_that_is_used_up_is_replaced_by_a_new_one() {
    let forgotten = |before, _: &_| match before {
        0 => Do::Act(Act::Tell(super::told(0, 1, handfast_common::outcome::Outcome::Forgotten))),
        _ => Do::Rightly,
    };
    let system = System::scripted(forgotten, |_, _| Run::Rightly).await;
    system.begin().await.commit().await.expect("committed");
    let begins = system.begins();
    assert!(begins.len() == 2 && begins[0].key != begins[1].key);
}
