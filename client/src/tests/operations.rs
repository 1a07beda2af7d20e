//! Operations at participants: lost answers, moved and restarted participants, and the time they have.

use std::time::{Duration, Instant};

use handfast_common::messages::{Count, ExecuteResult};
use handfast_common::operation::{Check, Value};
use handfast_common::outcome::{Payload, ReasonKind};

use super::fake::Asked;
use super::name;
use super::system::{Do, FakeParticipant, Run, System, reason};
use crate::{CommitError, OperationError};

#[tokio::test]
async fn t10c_an_operation_is_sent_again_under_its_number_and_counts_once() {
    let lose = |before, _: &_| if before < 2 { Run::LoseAnswer } else { Run::Rightly };
    let system = System::scripted(|_, _| Do::Rightly, lose).await;
    let tx = system.begin().await;
    assert_eq!(tx.get("a", "x").await, Ok(Some(Value::Integer(7))));
    let executed = system.a.executed();
    assert_eq!(executed.len(), 3);
    assert!(executed.iter().all(|execute| execute.operation == executed[0].operation));
    assert!(executed[2].wait < executed[0].wait, "what is left of the time shrinks");
    tx.commit().await.expect("committed");
    assert_eq!(system.commits()[0].counts, [Count { participant: name("a"), operations: 1 }]);
}

#[tokio::test]
async fn a_participant_that_has_not_heard_of_the_coordinator_is_asked_again() {
    let not_yet = |before, _: &_| if before < 3 { Run::Answer(ExecuteResult::NotYet) } else { Run::Rightly };
    let system = System::scripted(|_, _| Do::Rightly, not_yet).await;
    let tx = system.begin().await;
    tx.check("a", Check { key: "x".into(), exists: true, ..Check::default() }).await.expect("done");
    let executed = system.a.executed();
    assert_eq!(executed.len(), 4);
    assert!(executed.iter().all(|execute| execute.operation == executed[0].operation));
    tx.rollback().await;
}

#[tokio::test]
async fn t10a_work_lost_by_a_restart_dooms_the_transaction() {
    let restart = |before, _: &_| if before == 1 { Run::Restarted } else { Run::Rightly };
    let system = System::scripted(|_, _| Do::Rightly, restart).await;
    let tx = system.begin().await;
    tx.delete("a", "x").await.expect("done");
    let error = tx.delete("a", "y").await.expect_err("another start");
    let OperationError::Doomed(why) = &error else { panic!("{error}") };
    assert_eq!((why.kind, why.detail.as_str()), (ReasonKind::Lost, "participant 'a' was restarted"));
    assert!(error.is_outcome_known() && error.is_retryable());
    // Nothing more is sent for it.
    assert_eq!(tx.delete("b", "z").await, Err(error));
    assert!(matches!(tx.commit().await, Err(CommitError::Aborted(why)) if why.kind == ReasonKind::Lost));
    assert_eq!((system.b.executed().len(), system.commits().len(), system.rolled_back()), (0, 0, 1));
}

#[tokio::test]
async fn a_participant_that_has_moved_is_found_again() {
    let system = System::start().await;
    let client = system.client();
    let tx = client.begin(super::SOON).await.expect("open");
    tx.add("a", "x", 1).await.expect("done");
    // Another one has taken the address.
    let moved = FakeParticipant::start("a", |_, _| Run::Rightly).await;
    system.a.call_it(name("c"));
    system.state(|state| state.move_participant(name("a"), moved.address.clone()));
    tx.add("a", "x", 1).await.expect("done");
    assert_eq!(moved.executed().len(), 1);
    // Nobody answers at the address any more.
    let again = FakeParticipant::start("a", |_, _| Run::Rightly).await;
    system.state(|state| state.move_participant(name("a"), again.address.clone()));
    drop(moved);
    tx.add("a", "x", 1).await.expect("done");
    assert_eq!(again.executed().len(), 1);
    tx.commit().await.expect("committed");
    assert_eq!(system.commits()[0].counts, [Count { participant: name("a"), operations: 3 }]);
}

#[tokio::test]
async fn an_unknown_participant_and_wrong_work_are_told_at_once_and_the_transaction_goes_on() {
    let system = System::start().await;
    let tx = system.begin().await;
    let error = tx.add("nobody", "x", 1).await.expect_err("not registered");
    assert_eq!(error.to_string(), "participant 'nobody' is unknown here; registered: a, b");
    assert!(error.is_outcome_known() && !error.is_retryable());
    let invalid = [
        tx.add("no such name", "x", 1).await,
        tx.add("a", "", 1).await,
        tx.add_within("a", "x", 1, 5..5).await,
        tx.operate("a", []).await.map(drop),
        tx.execute("a", Payload(vec![0; 2 << 20])).await.map(drop),
    ];
    assert!(invalid.iter().all(|result| matches!(result, Err(OperationError::Invalid(_)))), "{invalid:?}");
    assert!(system.a.executed().is_empty());
    tx.add("a", "x", 1).await.expect("it goes on");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn an_answer_that_is_none_of_an_embedded_store_is_told() {
    let odd = |_, _: &_| Run::Answer(ExecuteResult::Done(Payload(vec![255; 9])));
    let system = System::scripted(|_, _| Do::Rightly, odd).await;
    let tx = system.begin().await;
    assert!(matches!(tx.get("a", "x").await, Err(OperationError::Unreadable { .. })));
    // It was done all the same, and whoever knows its form may have it.
    assert_eq!(tx.execute("a", Payload(vec![1])).await, Ok(Payload(vec![255; 9])));
    tx.commit().await.expect("committed");
    assert_eq!(system.commits()[0].counts, [Count { participant: name("a"), operations: 2 }]);
}

#[tokio::test]
async fn an_operation_ends_by_the_deadline_and_without_its_answer_nothing_is_committed() {
    let system = System::scripted(|_, _| Do::Rightly, |_, _| Run::Nothing).await;
    let begun = Instant::now();
    let tx = system.client().begin(Duration::from_millis(300)).await.expect("open");
    let error = tx.add("a", "x", 1).await.expect_err("no answer");
    assert!(matches!(error, OperationError::NoAnswer { .. }), "{error}");
    assert!(!error.is_outcome_known() && error.is_retryable());
    assert!((300..1_300).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let left = Duration::from(system.a.executed()[0].wait);
    assert!(left <= Duration::from_millis(300), "{left:?}");
    assert_eq!(tx.commit().await, Err(CommitError::Unanswered(name("a"))));
    assert_eq!((system.commits().len(), system.rolled_back()), (0, 1));
}

#[tokio::test]
async fn an_operation_that_reached_nobody_was_not_carried_out() {
    let system = System::start().await;
    let tx = system.client().begin(Duration::from_millis(300)).await.expect("open");
    system.state(|state| state.move_participant(name("a"), "127.0.0.1:1".into()));
    let error = tx.add("a", "x", 1).await.expect_err("nobody is there");
    assert!(matches!(error, OperationError::NotSent { .. }), "{error}");
    assert!(error.is_outcome_known() && error.is_retryable());
    let aborted = tx.commit().await.expect_err("too late");
    assert!(matches!(aborted, CommitError::Aborted(why) if why.kind == ReasonKind::Expired));
}

#[tokio::test]
async fn somebody_else_at_the_address_is_told_before_the_deadline() {
    let system = System::start().await;
    let tx = system.begin().await;
    system.state(|state| state.move_participant(name("a"), system.coordinator.address.clone()));
    let begun = Instant::now();
    let error = tx.add("a", "x", 1).await.expect_err("a coordinator");
    assert!(error.to_string().contains("a coordinator answers there, not a participant"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    tx.add("b", "x", 1).await.expect("it goes on");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn operations_run_side_by_side_and_each_has_its_number() {
    let system = System::start().await;
    let tx = system.begin().await;
    let adds = (0..50).map(|at| {
        let tx = &tx;
        async move { tx.add(if at % 2 == 0 { "a" } else { "b" }, "x", at).await }
    });
    assert!(futures::future::join_all(adds).await.iter().all(Result::is_ok));
    let mut numbers: Vec<u64> =
        [system.a.executed(), system.b.executed()].concat().iter().map(|execute| execute.operation.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    tx.commit().await.expect("committed");
    let count = |text, operations| Count { participant: name(text), operations };
    assert_eq!(system.commits()[0].counts, [count("a", 25), count("b", 25)]);
    assert_eq!(system.asked(|asked| matches!(asked, Asked::Commit(_))), 1);
}

#[tokio::test]
async fn a_reason_to_doom_ends_the_work_at_all_participants() {
    let conflict = |_, _: &_| Run::Answer(ExecuteResult::Doomed(reason(ReasonKind::Conflict)));
    let system = System::scripted(|_, _| Do::Rightly, conflict).await;
    let tx = system.begin().await;
    assert!(tx.doomed().is_none());
    tx.add("a", "x", 1).await.expect_err("doomed");
    assert_eq!(tx.doomed(), Some(reason(ReasonKind::Conflict)));
    assert_eq!(tx.add("b", "x", 1).await, Err(OperationError::Doomed(reason(ReasonKind::Conflict))));
    assert_eq!(tx.commit().await, Err(CommitError::Aborted(reason(ReasonKind::Conflict))));
    assert_eq!((system.b.executed().len(), system.rolled_back()), (0, 1));
}
