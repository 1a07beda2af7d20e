//! Answers that do not come: then there are questions, and never a second copy.

use std::time::{Duration, Instant};

use handfast_common::ids::Key;
use handfast_common::messages::{Rejection, Told};
use handfast_common::outcome::{Outcome as Wire, ReasonKind};
use uuid::Uuid;

use super::fake::{Act, Asked, Fake, ticket, txn};
use super::{SOON, aborted, client, committed, name, told, work};
use crate::{Outcome, Transaction};

#[tokio::test]
async fn t07_after_a_lost_reply_the_client_asks_with_the_first_ticket_and_never_sends_again() {
    let fake = Fake::start(|_, asked| match asked {
        Asked::Submit(_) => Act::Restart(4),
        _ => Act::Tell(committed(101)),
    })
    .await;
    let report = client(&fake.address).submit(work(), SOON).await.expect("an answer");
    assert!(report.is_committed());
    let (sent, asked) = (fake.submits(), fake.questions());
    assert_eq!((sent.len(), asked.len()), (1, 1));
    // The coordinator is in epoch 4 by now; the key still belongs to its ticket of epoch 3.
    assert_eq!((asked[0].key, asked[0].ticket), (sent[0].key, Some(ticket(3, 100))));
    assert_eq!(asked[0].participants, [name("a"), name("b")]);
    assert_eq!((report.key, report.ticket), (sent[0].key, Some(sent[0].ticket)));
}

#[tokio::test]
async fn a_lost_reply_that_proves_to_be_an_abort_may_be_retried_under_a_new_key() {
    let fake = Fake::start(|before, asked| match asked {
        Asked::Submit(_) if before == 0 => Act::Restart(4),
        Asked::Submit(_) => Act::Tell(committed(102)),
        _ => Act::Tell(aborted(101, 8, ReasonKind::Presumed)),
    })
    .await;
    let report = client(&fake.address).submit(work(), SOON).await.expect("an answer");
    let sent = fake.submits();
    assert!(report.is_committed() && sent[0].key != sent[1].key);
    assert_eq!((sent[0].ticket.epoch.0, sent[1].ticket.epoch.0), (3, 4));
}

#[tokio::test]
async fn a_key_fenced_by_our_own_question_is_aborted_and_not_run_again() {
    let fake = Fake::start(|_, asked| match asked {
        Asked::Submit(_) => Act::HangUp,
        _ => Act::Tell(aborted(101, 8, ReasonKind::Fenced)),
    })
    .await;
    let report = client(&fake.address).submit(work(), SOON).await.expect("an answer");
    assert!(matches!(report.outcome, Outcome::Aborted(reason) if reason.kind == ReasonKind::Fenced));
    assert_eq!(fake.submits().len(), 1);
}

#[tokio::test]
async fn what_is_pending_is_asked_about_until_it_is_known() {
    let fake = Fake::start(|before, _| match before {
        0..6 => Act::Tell(Told::Pending { txn: Some(txn(101)) }),
        _ => Act::Tell(committed(101)),
    })
    .await;
    let report = client(&fake.address).submit(work(), SOON).await.expect("an answer");
    assert!(report.is_committed());
    assert_eq!((fake.submits().len(), fake.questions().len()), (1, 6));
}

#[tokio::test]
async fn without_an_answer_it_is_unknown_by_the_deadline_and_can_be_asked_again() {
    let fake = Fake::start(|before, _| if before < 2 { Act::Nothing } else { Act::Tell(committed(101)) }).await;
    let client = client(&fake.address);
    let begun = Instant::now();
    let report = client.submit(work(), Duration::from_millis(400)).await.expect("unknown is an answer");
    assert!(begun.elapsed() < Duration::from_millis(1_400), "{:?}", begun.elapsed());
    assert!(matches!(report.outcome, Outcome::Unknown(_)), "{report:?}");
    let later = client.outcome(report.key, report.ticket, vec![name("a")], SOON).await.expect("an answer");
    assert!(later.is_committed());
    assert_eq!(fake.questions()[1].ticket, report.ticket);
}

#[tokio::test]
async fn the_end_of_one_callers_time_leaves_the_others_their_connection() {
    let slow = Key(Uuid::from_u128(1));
    let mut held = 0;
    let fake = Fake::start(move |_, asked| match asked {
        Asked::Submit(submit) if submit.key == slow => Act::Nothing,
        Asked::Submit(_) => Act::Tell(committed(101)),
        _ => {
            held += 1;
            if held < 3 { Act::Tell(Told::Pending { txn: None }) } else { Act::Tell(committed(102)) }
        }
    })
    .await;
    let client = client(&fake.address);
    let short = client.submit(work().key(Key(Uuid::from_u128(2))).key(slow), Duration::from_millis(200));
    let (short, other) = tokio::join!(short, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.submit(work(), SOON).await
    });
    assert!(short.expect("an answer").is_committed());
    assert!(other.expect("an answer").is_committed());
    assert_eq!(fake.submits().len(), 2);
}

#[tokio::test]
async fn a_coordinator_that_comes_back_in_another_epoch_between_two_tries_of_one_key_gets_the_first_ticket() {
    let fake = Fake::start(|before, _| match before {
        0 => Act::Tell(Told::Rejected(Rejection::DiskFull)),
        1 => Act::Restart(9),
        _ => Act::Tell(aborted(101, 8, ReasonKind::Presumed)),
    })
    .await;
    let transaction = work().key(Key(Uuid::from_u128(3)));
    let report = client(&fake.address).submit(transaction, SOON).await.expect("an answer");
    assert!(matches!(report.outcome, Outcome::Aborted(_)));
    let tickets: Vec<_> = fake.submits().iter().map(|submit| submit.ticket).collect();
    assert_eq!(tickets, [ticket(3, 100), ticket(3, 100)]);
    assert_eq!(fake.questions()[0].ticket, Some(ticket(3, 100)));
}

#[tokio::test]
async fn a_question_without_a_ticket_only_looks() {
    let fake = Fake::start(|_, _| Act::Tell(told(0, 1, Wire::NotFound))).await;
    let key = Key(Uuid::from_u128(5));
    let report = client(&fake.address).outcome(key, None, Vec::new(), SOON).await.expect("an answer");
    assert_eq!((report.outcome, report.ticket), (Outcome::NotFound, None));
    assert_eq!(fake.questions()[0].ticket, None);
}

#[tokio::test]
async fn an_outcome_not_known_by_the_deadline_is_unknown_and_not_an_error() {
    let fake = Fake::start(|_, _| Act::Tell(Told::Pending { txn: Some(txn(4)) })).await;
    let key = Key(Uuid::from_u128(5));
    let client = client(&fake.address);
    let asking = client.outcome(key, Some(ticket(3, 1)), Vec::new(), Duration::from_millis(300));
    let report = asking.await.expect("an answer");
    assert!(matches!(report.outcome, Outcome::Unknown(_)));
    assert_eq!(report.txn, Some(txn(4)));
    assert!(fake.questions().len() > 3);
}

#[tokio::test]
async fn a_key_without_an_answer_is_never_taken_to_another_coordinator() {
    let first = Fake::start(|_, _| Act::HangUp).await;
    let mut other = super::fake::hello();
    other.identity = Uuid::from_u128(78);
    let second = Fake::with(other, handfast_common::rpc::Caps::DEFAULTS, |_, _| Act::Tell(committed(1))).await;
    let addresses = [first.address.clone(), second.address.clone()];
    let client = crate::Client::connect(crate::Options::new(addresses)).expect("addresses");
    let report = client.submit(work(), Duration::from_millis(500)).await.expect("unknown is an answer");
    assert!(matches!(report.outcome, Outcome::Unknown(_)));
    assert!(second.asked().is_empty());
    // New keys may go there once the first is gone.
    drop(first);
    let report = client.submit(Transaction::clone(&work()), SOON).await;
    assert!(report.is_ok_and(|report| report.is_committed() || matches!(report.outcome, Outcome::Unknown(_))));
}
