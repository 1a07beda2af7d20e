//! Several services in one transaction: what its context carries, and what a joined one can and can't do.

use std::time::Duration;

use handfast_common::messages::Told;
use handfast_common::outcome::ReasonKind;

use super::fake::{Act, Asked};
use super::system::{Do, Run, System, reason};
use super::{SOON, committed, name};
use crate::{Client, CommitError, Context, DoomError, OperationError, Options};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Another service: its own client, which knows no coordinator but by the context.
fn service() -> Client {
    Client::connect(Options::new(["127.0.0.1:1"])).expect("an address")
}

fn travel(context: &Context) -> Context {
    context.to_header().expect("it fits").parse().expect("its own form")
}

#[tokio::test]
async fn a_service_works_in_the_transaction_of_its_caller() {
    let system = System::start().await;
    let tx = system.begin().await;
    tx.add("a", "x", 1).await.expect("done");
    let context = travel(&tx.context().with_trace(TRACE).expect("a trace"));
    let joined = service().join(&context);
    assert_eq!(joined.xid(), tx.xid());
    joined.add("a", "x", 1).await.expect("done");
    joined.add("b", "x", 1).await.expect("done");
    // It calls another one in turn.
    let further = travel(&joined.context());
    assert_eq!((further.xid(), further.trace(), further.coordinator()), (tx.xid(), Some(TRACE), context.coordinator()));
    service().join(&further).add("b", "y", 1).await.expect("done");
    let callers: Vec<_> =
        [system.a.executed(), system.b.executed()].concat().iter().map(|execute| execute.operation).collect();
    assert!(callers[0].caller != callers[1].caller && callers[1].caller == callers[2].caller);
    assert!(callers[3].caller != callers[2].caller);
    assert_eq!(callers.iter().map(|operation| operation.number).collect::<Vec<_>>(), [1, 1, 2, 1]);
    tx.commit().await.expect("committed");
    let commit = &system.commits()[0];
    assert!(commit.shared);
    assert_eq!(
        commit.counts.iter().map(|count| (&count.participant, count.operations)).collect::<Vec<_>>(),
        [(&name("a"), 1)]
    );
}

#[tokio::test]
async fn dropping_what_is_joined_does_nothing() {
    let system = System::start().await;
    let tx = system.begin().await;
    let joined = service().join(&travel(&tx.context()));
    joined.add("a", "x", 1).await.expect("done");
    drop(joined);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(system.open(), 1);
    tx.commit().await.expect("committed");
    assert_eq!(system.asked(|asked| matches!(asked, Asked::Rollback(_))), 0);
}

#[tokio::test]
async fn a_service_can_doom_the_transaction() {
    let system = System::start().await;
    let tx = system.begin().await;
    let joined = service().join(&travel(&tx.context()));
    joined.doom().await.expect("aborted");
    assert!(matches!(joined.add("a", "x", 1).await, Err(OperationError::Doomed(_))));
    assert_eq!((system.open(), system.rolled_back()), (0, 1));
    assert_eq!(tx.commit().await, Err(CommitError::Aborted(reason(ReasonKind::RolledBack))));
}

#[tokio::test]
async fn dooming_too_late_or_in_vain_is_told() {
    let decided = |_, asked: &Asked| match asked {
        Asked::Rollback(_) => Do::Act(Act::Tell(committed(101))),
        _ => Do::Rightly,
    };
    let system = System::scripted(decided, |_, _| Run::Rightly).await;
    let tx = system.begin().await;
    let joined = service().join(&travel(&tx.context()));
    let error = joined.doom().await.expect_err("it has committed");
    assert!(matches!(&error, DoomError::TooLate(told) if matches!(**told, Told::Outcome { .. })), "{error}");
    assert!(error.is_outcome_known() && !error.is_retryable());
    tx.commit().await.expect("committed");
    drop(system);
    let error = joined.doom().await.expect_err("nobody is there");
    assert!(matches!(error, DoomError::NoAnswer(_)) && !error.is_outcome_known() && error.is_retryable());
}

#[tokio::test]
async fn the_time_left_shrinks_from_service_to_service() {
    let system = System::start().await;
    let tx = system.client().begin(Duration::from_millis(800)).await.expect("open");
    let header = tx.context().to_header().expect("it fits");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let header_later = tx.context().to_header().expect("it fits");
    let left = |header: &str| header.split(';').nth(4).expect("there").parse::<u64>().expect("a number");
    assert!(left(&header) <= 800 && left(&header_later) + 90 <= left(&header));
    let joined = service().join(&header_later.parse().expect("its own form"));
    joined.add("a", "x", 1).await.expect("done");
    let wait = Duration::from(system.a.executed()[0].wait);
    assert!(wait <= Duration::from_millis(left(&header_later)), "{wait:?}");
    tokio::time::sleep(Duration::from_millis(800)).await;
    let error = joined.add("a", "x", 1).await.expect_err("its time is over");
    assert!(matches!(error, OperationError::NotSent { .. }), "{error}");
    assert_eq!(system.a.executed().len(), 1);
}

#[tokio::test]
async fn a_context_of_another_log_than_answers_there_gets_nowhere() {
    let system = System::start().await;
    let tx = system.begin().await;
    let header = tx.context().to_header().expect("it fits");
    let mut fields: Vec<&str> = header.split(';').collect();
    let dead = "127.0.0.1:1";
    fields[5] = dead;
    let joined = service().join(&fields.join(";").parse().expect("a context"));
    let done = tokio::time::timeout(Duration::from_millis(300), joined.add("a", "x", 1)).await;
    assert!(done.is_err(), "it is dialled until its time is over");
    system.coordinator.change_hello(|hello| hello.identity = uuid::Uuid::from_u128(5));
    let stranger = service().join(&header.parse().expect("its own form"));
    let error = tokio::time::timeout(SOON, stranger.add("a", "x", 1)).await.expect("told").expect_err("another log");
    assert!(matches!(&error, OperationError::NotSent { why, .. } if why.contains("log")), "{error}");
    assert!(system.a.executed().is_empty());
}
