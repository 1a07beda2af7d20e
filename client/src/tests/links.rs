//! Connections that do not come about, and what the user is told.

use std::time::{Duration, Instant};

use handfast_common::ids::Key;
use handfast_common::rpc::{Caps, Role, Versions};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::fake::{Act, Fake, hello, ticket};
use super::{SOON, client, committed, work};
use crate::{Client, Error, Obstacle, Options, ParticipantClient};

async fn dead_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn obstacle(error: &Error) -> Obstacle {
    match error {
        Error::NotSent { why, .. } | Error::NoAnswer(why) => why.0[0].obstacle,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_dead_port_is_dialled_until_the_deadline_and_named() {
    let address = dead_port().await;
    let begun = Instant::now();
    let error = client(&address).submit(work(), Duration::from_millis(300)).await.expect_err("nobody is there");
    assert!((300..1_300).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert!(error.nothing_happened() && error.is_retryable());
    assert_eq!(obstacle(&error), Obstacle::Down);
    let text = error.to_string();
    let expected = format!("nothing was sent: can't connect to {address}: Connection refused");
    assert!(text.starts_with(&expected), "{text}");
}

#[tokio::test]
async fn a_coordinator_that_starts_late_is_found() {
    let address = dead_port().await;
    let client = client(&address);
    let submitting = tokio::spawn(async move { client.submit(work(), SOON).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    let front = TcpListener::bind(&address).await.expect("the port is free");
    let fake = Fake::start(|_, _| Act::Tell(committed(101))).await;
    let behind = fake.address.clone();
    tokio::spawn(async move {
        let (mut near, _) = front.accept().await.expect("a connection");
        let mut far = tokio::net::TcpStream::connect(behind).await.expect("the fake");
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    assert!(submitting.await.expect("no panic").expect("an answer").is_committed());
}

#[tokio::test]
async fn another_version_is_told_at_once() {
    let versions = Versions { lowest: 9, highest: 9 };
    let caps = Caps { versions, ..Caps::DEFAULTS };
    let mut own = hello();
    own.versions = versions;
    let fake = Fake::with(own, caps, |_, _| Act::Nothing).await;
    let begun = Instant::now();
    let error = client(&fake.address).submit(work(), SOON).await.expect_err("no version in common");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(obstacle(&error), Obstacle::Version);
    assert!(error.nothing_happened() && !error.is_retryable());
    assert!(error.to_string().contains("protocol version mismatch: this side speaks 3..=3, the peer 9..=9"), "{error}");
}

#[tokio::test]
async fn something_else_behind_the_port_and_a_participant_are_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = client(&address).submit(work(), SOON).await.expect_err("no coordinator");
    assert_eq!(obstacle(&error), Obstacle::NotHandfast);

    let mut own = hello();
    own.role = Role::Participant;
    let fake = Fake::with(own, Caps::DEFAULTS, |_, _| Act::Nothing).await;
    let error = client(&fake.address).submit(work(), SOON).await.expect_err("no coordinator");
    assert_eq!(obstacle(&error), Obstacle::OtherRole);
    let expected = format!("nothing was sent: {}: a participant answers there, not a coordinator", fake.address);
    assert_eq!(error.to_string(), expected);
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn many_callers_of_a_hopeless_address_do_not_wait_for_each_other() {
    let mut own = hello();
    own.role = Role::Participant;
    let fake = Fake::with(own, Caps::DEFAULTS, |_, _| Act::Nothing).await;
    let client = client(&fake.address);
    let begun = Instant::now();
    let all = futures::future::join_all((0..200).map(|_| client.submit(work(), SOON))).await;
    assert!(all.iter().all(Result::is_err));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_ticket_of_another_log_is_not_taken_there() {
    let fake = Fake::start(|_, _| Act::Tell(committed(101))).await;
    let client = client(&fake.address);
    let mut foreign = ticket(3, 5);
    foreign.log.0 = Uuid::from_u128(1);
    let key = Key(Uuid::from_u128(2));
    let error = client.outcome(key, Some(foreign), Vec::new(), SOON).await.expect_err("not its coordinator");
    assert_eq!(obstacle(&error), Obstacle::OtherLog);
    let error = client.submit(work().key(key).ticket(foreign), SOON).await.expect_err("not its coordinator");
    assert_eq!(obstacle(&error), Obstacle::OtherLog);
    let error = client.submit(work().only_by(foreign.log), SOON).await.expect_err("not its coordinator");
    assert_eq!(obstacle(&error), Obstacle::OtherLog);
    assert!(fake.asked().is_empty());
}

#[test]
fn slips_in_addresses_are_told_before_dialling() {
    for bad in ["", "localhost", ":7117", "host:port", "host:70000"] {
        assert!(matches!(Client::connect(Options::new([bad])), Err(Error::Invalid(_))), "{bad}");
        assert!(matches!(ParticipantClient::connect(bad), Err(Error::Invalid(_))), "{bad}");
    }
    assert!(matches!(Client::connect(Options::new(Vec::<String>::new())), Err(Error::Invalid(_))));
    assert!(Client::connect(Options::new(["[::1]:7117", "localhost:1"])).is_ok());
}
