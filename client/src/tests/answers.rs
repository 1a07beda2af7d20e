//! Answers that come: outcomes, rejections, and what they lead to.

use std::time::Duration;

use futures::future::join_all;
use handfast_common::codec;
use handfast_common::ids::{Age, Key};
use handfast_common::messages::{Rejection, Told};
use handfast_common::operation::{Read, Value};
use handfast_common::outcome::{BranchReads, Outcome as Wire, Payload, ReasonKind};
use uuid::Uuid;

use super::fake::{Act, Asked, Fake, ticket};
use super::{SOON, aborted, client, committed, name, told, work};
use crate::{Client, Error, Options, Outcome, ReadAt, Retry, Transaction};

#[tokio::test]
async fn a_commit_comes_with_its_reads_and_the_ticket_it_was_sent_with() {
    let reads = codec::encode(&vec![Read { key: "x".into(), value: Some(Value::Integer(7)) }]).expect("small");
    let branch = BranchReads { participant: name("a"), reads: Payload(reads) };
    let answer = told(105, 1, Wire::Committed(vec![branch]));
    let fake = Fake::start(move |_, _| Act::Tell(answer.clone())).await;
    let client = client(&fake.address);
    let report = client.submit(work(), SOON).await.expect("an answer");
    assert!(report.is_committed());
    assert_eq!((report.ticket, report.attempts), (Some(ticket(3, 100)), 1));
    let expected = ReadAt { participant: name("a"), key: "x".into(), value: Some(Value::Integer(7)) };
    assert_eq!(report.reads(), Ok(vec![expected]));
    // The next key's ticket knows that 105 has been given out.
    let next = client.submit(work(), SOON).await.expect("an answer");
    assert_eq!(next.ticket, Some(ticket(3, 105)));
    let sent = fake.submits();
    assert_eq!(sent[0].key, report.key);
    assert_eq!(sent.iter().map(|submit| Some(submit.ticket)).collect::<Vec<_>>(), [report.ticket, next.ticket]);
}

#[tokio::test]
async fn hundreds_of_submits_share_one_connection() {
    let fake = Fake::start(|_, _| Act::Tell(committed(101))).await;
    let client = client(&fake.address);
    let reports = join_all((0..500).map(|_| client.submit(work(), SOON))).await;
    assert!(reports.iter().all(|report| report.as_ref().is_ok_and(super::super::Report::is_committed)));
    let mut keys: Vec<Key> = fake.submits().iter().map(|submit| submit.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 500, "each was sent once, under a key of its own");
}

#[tokio::test]
async fn a_retry_takes_a_new_key_and_keeps_the_first_age() {
    let fake = Fake::start(|before, _| {
        Act::Tell(match before {
            0 => aborted(101, 40, ReasonKind::Conflict),
            // As a coordinator that has restarted: it tells a younger age.
            1 => aborted(102, 99, ReasonKind::Presumed),
            _ => committed(103),
        })
    })
    .await;
    let report = client(&fake.address).submit(work(), SOON).await.expect("an answer");
    let sent = fake.submits();
    assert_eq!(sent.iter().map(|submit| submit.age).collect::<Vec<_>>(), [None, Some(Age(40)), Some(Age(40))]);
    assert!(sent[0].key != sent[1].key && sent[1].key != sent[2].key);
    assert!(report.is_committed());
    assert_eq!((report.key, report.attempts, report.age), (sent[2].key, 3, Some(Age(40))));
}

#[tokio::test]
async fn what_would_fail_again_a_fixed_key_and_no_policy_are_not_retried() {
    let key = Key(Uuid::from_u128(5));
    let kinds = [ReasonKind::CheckFailed, ReasonKind::Conflict, ReasonKind::Conflict];
    let fake = Fake::start(move |before, _| Act::Tell(aborted(101, 1, kinds[before]))).await;
    let never = Options { retry: Retry::NEVER, ..Options::new([fake.address.clone()]) };
    let cases = [
        (client(&fake.address), work()),
        (client(&fake.address), work().key(key)),
        (Client::connect(never).expect("ok"), work()),
    ];
    for (at, (client, transaction)) in cases.into_iter().enumerate() {
        let report = client.submit(transaction, SOON).await.expect("an answer");
        assert!(matches!(report.outcome, Outcome::Aborted(reason) if reason.kind == kinds[at]));
        assert_eq!(report.attempts, 1);
    }
    assert_eq!(fake.submits().len(), 3);
    assert_eq!(fake.submits()[1].key, key);
}

#[tokio::test]
async fn retries_end_with_their_number_and_with_the_deadline() {
    let fake = Fake::start(|_, _| Act::Tell(aborted(101, 1, ReasonKind::Conflict))).await;
    let few = Options { retry: Retry { most: 2, ..Retry::DEFAULT }, ..Options::new([fake.address.clone()]) };
    let report = Client::connect(few).expect("ok").submit(work(), SOON).await.expect("an answer");
    assert_eq!(report.attempts, 3);
    let many = Options { retry: Retry { most: 9_999, ..Retry::DEFAULT }, ..Options::new([fake.address.clone()]) };
    let begun = std::time::Instant::now();
    let report =
        Client::connect(many).expect("ok").submit(work(), Duration::from_millis(300)).await.expect("an answer");
    assert!(matches!(report.outcome, Outcome::Aborted(_)) && report.attempts > 3);
    assert!(begun.elapsed() < Duration::from_millis(1_300));
}

#[tokio::test]
async fn keys_of_the_callers_making_are_taken_in_order() {
    let of = |attempt: u32| Key(Uuid::from_u128(1_000 + u128::from(attempt)));
    let fake = Fake::start(|before, _| {
        Act::Tell(if before == 0 { aborted(101, 1, ReasonKind::Conflict) } else { committed(102) })
    })
    .await;
    let transaction = work().keys(of).ticket(ticket(3, 7));
    let report = client(&fake.address).submit(transaction, SOON).await.expect("an answer");
    let sent: Vec<_> = fake.submits().iter().map(|submit| (submit.key, submit.ticket)).collect();
    // The ticket given is the first key's; the second key has its own.
    assert_eq!(sent, [(of(0), ticket(3, 7)), (of(1), ticket(3, 101))]);
    assert_eq!(report.key, of(1));
}

#[tokio::test]
async fn a_rejection_for_now_sends_the_same_key_and_ticket_again_even_to_a_later_epoch() {
    let fake = Fake::start(|before, _| match before {
        0 => Act::Tell(Told::Rejected(Rejection::Overloaded("full".into()))),
        1 => Act::Tell(Told::Rejected(Rejection::DiskFull)),
        _ => Act::Tell(committed(101)),
    })
    .await;
    let client = client(&fake.address);
    let report = client.submit(work(), SOON).await.expect("an answer");
    assert!(report.is_committed());
    let sent = fake.submits();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|submit| submit.key == sent[0].key && submit.ticket == sent[0].ticket));
}

#[tokio::test]
async fn a_rejection_for_good_is_an_error_that_says_why() {
    let rejection = Rejection::UnknownParticipant { name: name("b"), known: vec![name("a")] };
    let told = Told::Rejected(rejection.clone());
    let fake = Fake::start(move |_, _| Act::Tell(told.clone())).await;
    let error = client(&fake.address).submit(work(), SOON).await.expect_err("not begun");
    assert!(error.nothing_happened() && !error.is_retryable());
    assert_eq!(error.to_string(), "participant 'b' is unknown here; registered: a");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_rejection_until_the_deadline_is_an_error_worth_a_retry() {
    let told = Told::Rejected(Rejection::Overloaded("full".into()));
    let fake = Fake::start(move |_, _| Act::Tell(told.clone())).await;
    let error = client(&fake.address).submit(work(), Duration::from_millis(200)).await.expect_err("not begun");
    assert!(matches!(error, Error::Rejected { .. }) && error.is_retryable());
    assert!(fake.submits().len() > 2);
}

#[tokio::test]
async fn a_new_key_with_a_ticket_from_too_long_ago_is_replaced_and_a_callers_key_is_not() {
    let forgotten = |ticket: u64| {
        move |_: usize, asked: &Asked| match asked {
            Asked::Submit(submit) if submit.ticket.sequence < ticket => Act::Tell(told(0, 1, Wire::Forgotten)),
            _ => Act::Tell(committed(201)),
        }
    };
    let fake = Fake::start(forgotten(200)).await;
    let client = client(&fake.address);
    client.standing(None, SOON).await.expect("connected");
    fake.change_hello(|hello| hello.sequence = 200);
    let report = client.submit(work(), SOON).await.expect("an answer");
    let sent = fake.submits();
    assert!(report.is_committed() && sent[0].key != sent[1].key);
    assert_eq!((sent[0].ticket, sent[1].ticket), (ticket(3, 100), ticket(3, 200)));
    // A key that the caller sent before may well have committed.
    let old = work().key(Key(Uuid::from_u128(9))).ticket(ticket(3, 50));
    assert_eq!(client.submit(old, SOON).await.expect("an answer").outcome, Outcome::Forgotten);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_before_anything_is_sent() {
    let fake = Fake::start(|_, _| Act::Nothing).await;
    let client = client(&fake.address);
    let cases: [(Transaction, &str); 4] = [
        (Transaction::new(), "a transaction without branches"),
        (work().branch("a", []), "participant 'a': a branch without operations"),
        (work().branch("a b", []), "participant 'a b': a name has 1 to 64 letters, digits, '-', '_' or '.'"),
        (work().work(name("a"), Payload(vec![1])), "participant 'a' is named twice; put its operations together"),
    ];
    for (transaction, why) in cases {
        let error = client.submit(transaction, SOON).await.expect_err("invalid");
        assert_eq!(error, Error::Invalid(why.into()));
    }
    assert!(fake.asked().is_empty());
}
