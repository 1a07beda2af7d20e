//! Several coordinators: what is new is spread, what has begun stays where it is.

use std::time::Duration;

use uuid::Uuid;

use super::SOON;
use super::fake::{Asked, hello};
use super::system::{Do, Run, System};
use crate::{Balance, Client, Options, Tx};

async fn two() -> [System; 2] {
    let mut other = hello();
    other.identity = Uuid::from_u128(78 << 64 | 78);
    [System::start().await, System::with(other, |_, _| Do::Rightly, |_, _| Run::Rightly).await]
}

fn client(systems: &[System], balance: Balance) -> Client {
    let addresses = systems.iter().map(|system| system.coordinator.address.clone());
    Client::connect(Options { balance, ..Options::new(addresses) }).expect("addresses")
}

/// Both are connected from here on: the first begin dials one, and its successors the others in the background.
async fn warm(client: &Client, systems: &[System]) {
    let waiting = async {
        while systems.iter().any(|system| system.begins().is_empty()) {
            client.begin(SOON).await.expect("open").rollback().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("both are found");
}

#[tokio::test]
async fn what_begins_goes_round_and_ends_where_it_began() {
    let systems = two().await;
    let client = client(&systems, Balance::RoundRobin);
    warm(&client, &systems).await;
    let before: Vec<usize> = systems.iter().map(|system| system.begins().len()).collect();
    for _ in 0..10 {
        let tx = client.begin(SOON).await.expect("open");
        tx.add("a", "x", 1).await.expect("done");
        tx.commit().await.expect("committed where it was begun");
    }
    for (system, before) in systems.iter().zip(before) {
        assert_eq!((system.begins().len() - before, system.committed()), (5, 5));
        // Names are each coordinator's own.
        assert_eq!(system.a.executed().len(), 5);
    }
}

#[tokio::test]
async fn the_first_is_preferred_by_default_and_the_least_busy_if_so_wished() {
    let systems = two().await;
    let plain = client(&systems, Balance::default());
    for _ in 0..5 {
        plain.begin(SOON).await.expect("open").rollback().await;
    }
    assert_eq!((systems[0].begins().len(), systems[1].begins().len()), (5, 0));
    let busy = client(&systems, Balance::LeastInFlight);
    warm(&busy, &systems).await;
    let before: Vec<usize> = systems.iter().map(|system| system.begins().len()).collect();
    let mut open: Vec<Tx> = Vec::new();
    for _ in 0..6 {
        open.push(busy.begin(SOON).await.expect("open"));
    }
    let more = |at: usize| systems[at].begins().len() - before[at];
    assert_eq!((more(0), more(1)), (3, 3));
    // Those of the first one end: the next three go there.
    let log = systems[0].begins()[0].ticket.log;
    let (ended, kept): (Vec<Tx>, Vec<Tx>) = open.into_iter().partition(|tx| tx.ticket().log == log);
    for tx in ended {
        tx.rollback().await;
    }
    // The last to go is the task that told the coordinator.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut next = Vec::new();
    for _ in 0..3 {
        next.push(busy.begin(SOON).await.expect("open"));
    }
    assert!(next.iter().all(|tx| tx.ticket().log == log));
    drop((kept, next));
}

#[tokio::test]
async fn one_that_is_gone_is_passed_over_and_found_again() {
    let [first, second] = two().await;
    let systems = [first, second];
    let client = client(&systems, Balance::RoundRobin);
    warm(&client, &systems).await;
    let [first, second] = systems;
    let address = first.coordinator.address.clone();
    drop(first);
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        client.begin(SOON).await.expect("the other one").rollback().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // It comes back behind the same address.
    let back = System::start().await;
    let front = tokio::net::TcpListener::bind(&address).await.expect("the port is free");
    let behind = back.coordinator.address.clone();
    let relaying = tokio::spawn(async move {
        let (mut near, _) = front.accept().await.expect("a connection");
        let mut far = tokio::net::TcpStream::connect(behind).await.expect("the fake");
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let waiting = async {
        while back.begins().is_empty() {
            client.begin(SOON).await.expect("one of them").rollback().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it is used again");
    assert!(second.asked(|asked| matches!(asked, Asked::Begin(_))) > 0);
    relaying.abort();
}
