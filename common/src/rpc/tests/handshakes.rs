//! Hellos of other versions, of nothing at all, and of things that are no Handfast.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

fn speaking(lowest: u16, highest: u16) -> Versions {
    Versions { lowest, highest }
}

async fn refusal_of(address: &str, own: &Hello) -> HandshakeError {
    match dial::<Ask, String>(address, own, SOON).await {
        Err(DialError::Handshake { source, .. }) => source,
        Err(other) => panic!("{other}"),
        Ok((_, hello)) => panic!("connected to {hello}"),
    }
}

/// A server that takes one connection, says something and waits for the other side to close.
async fn saying(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(words).await.unwrap();
        closed(&mut stream).await;
    });
    address
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let node = Node::start().await;
    let (_, hello) = dial::<Ask, String>(&node.address.to_string(), &Hello::client(), SOON).await.unwrap();
    assert_eq!(hello, coordinator());
    assert_eq!(hello.to_string(), "coordinator c-1");
}

#[tokio::test]
async fn a_newer_dialer_is_told_what_this_side_speaks() {
    let node = Node::start().await;
    let newer = Hello { versions: speaking(4, 4), ..Hello::client() };
    let error = refusal_of(&node.address.to_string(), &newer).await;
    let text = "speaks version 4, this side 3..=3".to_owned();
    assert_eq!(error, HandshakeError::VersionMismatch { own: newer.versions, peer: Versions::OWN, text });
}

#[tokio::test]
async fn a_newer_listener_refuses_us_by_its_range() {
    let node = Node::with("127.0.0.1:0", Caps { versions: speaking(4, 5), ..Caps::DEFAULTS }).await;
    let error = refusal_of(&node.address.to_string(), &Hello::client()).await;
    let text = "speaks version 3, this side 4..=5".to_owned();
    assert_eq!(error, HandshakeError::VersionMismatch { own: Versions::OWN, peer: speaking(4, 5), text });
    let both = Hello { versions: speaking(3, 4), ..Hello::client() };
    assert!(dial::<Ask, String>(&node.address.to_string(), &both, SOON).await.is_ok(), "4 is common");
}

#[tokio::test]
async fn a_later_hello_of_another_shape_still_reads_its_refusal() {
    let node = Node::start().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let mut hello = b"HFST\x04\0\x09\0\xF4\x01".to_vec();
    hello.extend([0xEE; 500]);
    stream.write_all(&hello).await.unwrap();
    let answer = closed(&mut stream).await;
    assert!(String::from_utf8_lossy(&answer).contains("speaks version 4..=9, this side 3..=3"));
}

#[tokio::test]
async fn a_refusal_by_the_owner_arrives_with_its_reason() {
    let node = Node::start().await;
    let unlucky = Hello { epoch: 13, ..Hello::client() };
    let refusal = Refusal { reason: RefusalReason::Unwelcome, text: "no thirteenth epoch".into() };
    assert_eq!(refusal_of(&node.address.to_string(), &unlucky).await, HandshakeError::Refused(refusal));
}

#[tokio::test]
async fn what_is_no_handfast_is_called_so() {
    let first = |error| match error {
        HandshakeError::NotHandfast { first } => first,
        other => panic!("{other}"),
    };
    let http = saying(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!("HTTP/1.1 4".starts_with(&first(refusal_of(&http, &Hello::client()).await)));
    // Three bytes and then silence: known at the first of them, without waiting.
    let banner = saying(b"\x00\xFF!").await;
    assert_eq!(first(refusal_of(&banner, &Hello::client()).await), "..!");
    let malformed = saying(b"HFST\x01\0\x01\0\x05\0\x07\0\0\0\0").await;
    assert_eq!(refusal_of(&malformed, &Hello::client()).await, HandshakeError::Malformed("unknown answer"));
    let huge = saying(b"HFST\x01\0\x01\0\xFF\xFF").await;
    assert_eq!(refusal_of(&huge, &Hello::client()).await, HandshakeError::Malformed("length out of bounds"));
}

#[tokio::test]
async fn a_listener_that_says_nothing_times_out_and_one_that_closes_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let closing = tokio::spawn(async move {
        drop(listener.accept().await);
        listener
    });
    assert_eq!(refusal_of(&address, &Hello::client()).await, HandshakeError::Closed);
    let listener = closing.await.unwrap();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        closed(&mut stream).await;
    });
    assert_eq!(refusal_of(&address, &Hello::client()).await, HandshakeError::Timeout);
    silent.await.unwrap();
    assert!(matches!(
        dial::<Ask, String>(&address, &Hello::client(), SOON).await,
        Err(DialError::Unreachable { source, .. }) if source.kind() == std::io::ErrorKind::ConnectionRefused
    ));
}

#[tokio::test]
async fn garbage_and_silent_dialers_go_while_others_are_served() {
    let node = Node::start().await;
    let mut silent = TcpStream::connect(node.address).await.unwrap();
    let mut half = TcpStream::connect(node.address).await.unwrap();
    half.write_all(b"HFST\x01\0").await.unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 4_000], b"HFST\x02\0\x01\0\x01\0\0"] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        assert_eq!(closed(&mut stream).await, b"");
    }
    let connection = node.connect().await;
    assert_eq!(connection.call(Ask::Echo(1), SOON).await.as_deref(), Ok("1"));
    closed(&mut silent).await;
    closed(&mut half).await;
    assert_eq!(node.open.load(Ordering::Relaxed), 1, "nothing else was ever opened");
}

#[tokio::test]
async fn connections_over_the_cap_are_told_so_and_places_come_free() {
    let caps = Caps { connections_per_address: 2, ..Caps::DEFAULTS };
    let node = Node::with("127.0.0.1:0", caps).await;
    let first = node.connect().await;
    let _second = node.connect().await;
    match refusal_of(&node.address.to_string(), &Hello::client()).await {
        HandshakeError::Refused(refusal) => assert_eq!(refusal.reason, RefusalReason::Busy),
        // The refusal is sent without waiting for the hello, which may then reset it.
        other => assert_eq!(other, HandshakeError::Closed),
    }
    drop(first);
    // The owner hears of the end a moment before the place is free.
    for _ in 0..100 {
        let again = Connection::<Ask, String>::connect(&node.address.to_string(), &Hello::client(), SOON).await;
        if let Ok((third, _)) = again {
            assert_eq!(third.call(Ask::Echo(3), SOON).await.as_deref(), Ok("3"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no place came free");
}
