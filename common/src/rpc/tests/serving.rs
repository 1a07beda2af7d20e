//! Calls, hostile frames, caps and fairness.

use std::io;

use bytes::BufMut;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;
use tokio_util::codec::Framed;

use super::*;
use crate::codec;

/// A request frame with any deadline.
fn frame(id: u64, microseconds: u64, body: &[u8]) -> Vec<u8> {
    let mut payload = vec![1];
    payload.put_u64_le(id);
    payload.put_u64_le(microseconds);
    payload.put_u8(0);
    payload.put_slice(body);
    sealed(&payload)
}

/// A frame with its length and its checksum, whatever is in it.
fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_u32_le(payload.len() as u32 + 4);
    frame.put_slice(payload);
    frame.put_u32_le(crc32fast::hash(&frame));
    frame
}

fn echo(number: u64) -> Vec<u8> {
    codec::encode(&Ask::Echo(number)).unwrap()
}

fn raw_answers(stream: TcpStream) -> Framed<TcpStream, ClientFrames<Ask, String>> {
    Framed::new(stream, ClientFrames::new())
}

#[tokio::test]
async fn ten_thousand_calls_in_flight_are_all_answered_in_few_wakeups() {
    let caps = Caps { requests_per_connection: 20_000, requests: 20_000, ..Caps::DEFAULTS };
    let node = Node::with("127.0.0.1:0", caps).await;
    let connection = node.connect().await;
    let mut calls: FuturesUnordered<_> = (0..10_000)
        .map(|number| {
            let connection = connection.clone();
            async move { (number, connection.call(Ask::Echo(number), SOON).await) }
        })
        .collect();
    let mut answered = 0;
    while let Some((number, answer)) = calls.next().await {
        assert_eq!(answer, Ok(number.to_string()));
        answered += 1;
    }
    assert_eq!(answered, 10_000);
    let wakeups = node.wakeups.load(Ordering::Relaxed);
    assert!(wakeups < 1_000, "{wakeups} wake-ups");
}

#[tokio::test]
async fn deadlines_of_zero_and_for_ever_are_harmless() {
    let node = Node::start().await;
    let mut stream = node.raw().await;
    for (id, microseconds) in [(1, 0), (2, u64::MAX), (3, u64::MAX / 2), (4, 1)] {
        stream.write_all(&frame(id, microseconds, &echo(id))).await.unwrap();
    }
    let mut answers = raw_answers(stream);
    // The short ones may run out before their answer; the endless ones may not.
    let mut seen = Vec::new();
    while !(seen.contains(&2) && seen.contains(&3)) {
        let answer = timeout(SOON, answers.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.message, Ok(answer.request_id.to_string()));
        seen.push(answer.request_id);
    }
    assert_eq!(node.requests.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn hostile_frames_close_their_connection_and_no_other() {
    let node = Node::start().await;
    let good = node.connect().await;
    let mut unknown_tag = echo(1);
    unknown_tag[1] = 99;
    let mut trailing = echo(1);
    trailing.push(0);
    for bad in [
        frame(1, 1_000_000, &unknown_tag),
        frame(1, 1_000_000, &trailing),
        frame(1, 1_000_000, &[]),
        vec![0; 4],
        u32::MAX.to_le_bytes().to_vec(),
        vec![5, 0, 0, 0, 1, 2, 3, 4, 5],
        sealed(&[1, 2, 3, 4, 5]),
    ] {
        let mut stream = node.raw().await;
        stream.write_all(&bad).await.unwrap();
        assert_eq!(closed(&mut stream).await, b"", "{bad:?}");
        assert_eq!(good.call(Ask::Echo(7), SOON).await.as_deref(), Ok("7"));
    }
    eventually("only the good one is left", || node.open.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn a_number_used_again_while_open_closes_the_connection() {
    let node = Node::start().await;
    let mut stream = node.raw().await;
    let never = codec::encode(&Ask::Never).unwrap();
    let mut cancel = vec![2];
    cancel.put_u64_le(1);
    cancel.put_u8(0);
    let cancel = sealed(&cancel);
    // Cancelled, it is forgotten by tarpc, and still with the owner.
    stream.write_all(&[frame(1, 1_000_000, &never), cancel, frame(1, 1_000_000, &never)].concat()).await.unwrap();
    assert_eq!(closed(&mut stream).await, b"");
    assert_eq!(node.requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_frame_cut_or_held_back_ends_its_connection() {
    let caps = Caps { stall: Duration::from_millis(100), ..Caps::DEFAULTS };
    let node = Node::with("127.0.0.1:0", caps).await;
    let whole = frame(1, 1_000_000, &echo(1));
    let mut cut = node.raw().await;
    cut.write_all(&whole[..whole.len() - 1]).await.unwrap();
    cut.shutdown().await.unwrap();
    assert_eq!(closed(&mut cut).await, b"");
    let mut held = node.raw().await;
    let idle = node.connect().await;
    held.write_all(&whole[..9]).await.unwrap();
    assert_eq!(closed(&mut held).await, b"", "ended by the listener");
    assert_eq!(idle.call(Ask::Echo(1), SOON).await.as_deref(), Ok("1"), "an idle one stays");
}

#[tokio::test]
async fn an_idle_connection_goes_and_a_waiting_one_stays() {
    let [stall, idle] = [10, 100].map(Duration::from_millis);
    let node = Node::with("127.0.0.1:0", Caps { stall, idle, ..Caps::DEFAULTS }).await;
    let waiting = node.connect().await;
    let call = tokio::spawn(async move { waiting.call(Ask::Never, SOON).await });
    let mut silent = node.raw().await;
    assert_eq!(closed(&mut silent).await, b"");
    eventually("the waiting one is left", || node.open.load(Ordering::Relaxed) == 1).await;
    tokio::time::sleep(2 * idle).await;
    assert!(!call.is_finished());
}

#[tokio::test]
async fn a_peer_that_does_not_take_its_answers_is_let_go() {
    let caps = Caps { stall: Duration::from_millis(100), ..Caps::DEFAULTS };
    let node = Node::with("127.0.0.1:0", caps).await;
    let mut stream = node.raw().await;
    let large = codec::encode(&Ask::Bytes(1 << 20)).unwrap();
    for id in 0..64 {
        stream.write_all(&frame(id, 60_000_000, &large)).await.unwrap();
    }
    eventually("opened", || node.requests.load(Ordering::Relaxed) == 64).await;
    eventually("closed", || node.open.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn oversize_bodies_fail_their_call_alone() {
    let node = Node::start().await;
    let connection = node.connect().await;
    let too_large = "x".repeat(codec::MAX_ENCODED_BYTES);
    match connection.call(Ask::Take(too_large), SOON).await {
        Err(error @ CallError::NotSent(_)) => assert!(error.to_string().contains("larger than"), "{error}"),
        other => panic!("{other:?}"),
    }
    match connection.call(Ask::Bytes(codec::MAX_ENCODED_BYTES), SOON).await {
        Err(CallError::Refused(error)) => assert_eq!(error.kind, io::ErrorKind::InvalidData, "{error}"),
        other => panic!("{other:?}"),
    }
    let largest = codec::MAX_ENCODED_BYTES - 7;
    assert_eq!(connection.call(Ask::Take("x".repeat(largest)), SOON).await, Ok(largest.to_string()));
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn above_the_cap_a_request_is_refused_as_not_executed() {
    let caps = Caps { requests_per_connection: 2, ..Caps::DEFAULTS };
    let node = Node::with("127.0.0.1:0", caps).await;
    let connection = node.connect().await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.call(Ask::Never, SOON).await })
        })
        .collect();
    eventually("both are with the owner", || node.requests.load(Ordering::Relaxed) == 2).await;
    for _ in 0..200 {
        let error = connection.call(Ask::Echo(3), SOON).await.unwrap_err();
        assert!(error.not_carried_out(), "{error}");
    }
    assert_eq!(node.requests.load(Ordering::Relaxed), 2);
    // Cancelling frees no place: the owner still has the request.
    waiting[0].abort();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(connection.call(Ask::Echo(3), SOON).await.is_err());
    let bytes = Caps { bytes_per_connection: 1_000, ..Caps::DEFAULTS };
    let node = Node::with("127.0.0.1:0", bytes).await;
    let connection = node.connect().await;
    assert!(connection.call(Ask::Take("x".repeat(2_000)), SOON).await.unwrap_err().not_carried_out());
    assert_eq!(connection.call(Ask::Take("x".repeat(900)), SOON).await.as_deref(), Ok("900"));
}

#[tokio::test]
async fn a_flood_on_one_connection_leaves_the_others_their_turn() {
    let listener = Listener::bind("127.0.0.1:0", Caps::DEFAULTS).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (events, mut inbox) = mpsc::unbounded_channel();
    let deliver = move |event: Event<Ask, String>| events.send(event).is_ok();
    let serving = tokio::spawn(listener.serve(|_, _| Ok(coordinator()), deliver));
    let mut streams = Vec::new();
    let mut responders = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        handshake::introduce(&mut stream, &Hello::client()).await.unwrap();
        streams.push(stream);
        match inbox.recv().await.unwrap() {
            Event::Opened { responder, .. } => responders.push(responder),
            other => panic!("{other:?}"),
        }
    }
    // Both write before the listener's tasks have a turn: one thread, and the sockets take it all at once.
    let flood: Vec<u8> = (0..3_000).flat_map(|id| frame(id, 60_000_000, &echo(id))).collect();
    streams[0].write_all(&flood).await.unwrap();
    streams[1].write_all(&frame(1, 60_000_000, &echo(1))).await.unwrap();
    let mut before = 0;
    loop {
        match timeout(SOON, inbox.recv()).await.unwrap().unwrap() {
            Event::Request { connection: ConnectionId(1), .. } => before += 1,
            Event::Request { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(before < 1_000, "{before} requests of the flood came first");
    serving.abort();
}

#[tokio::test]
async fn an_answer_to_a_vanished_connection_is_dropped() {
    let node = Node::start().await;
    let mut stream = node.raw().await;
    stream.write_all(&frame(1, 1_000_000, &echo(1))).await.unwrap();
    drop(stream);
    eventually("it was asked", || node.requests.load(Ordering::Relaxed) == 1).await;
    eventually("it is gone", || node.open.load(Ordering::Relaxed) == 0).await;
    assert_eq!(node.connect().await.call(Ask::Echo(2), SOON).await.as_deref(), Ok("2"));
}

#[tokio::test]
async fn the_listener_ends_with_its_owner() {
    let mut node = Node::start().await;
    let connection = node.connect().await;
    node.tasks[1].abort();
    let _ = connection.call(Ask::Echo(1), SOON).await;
    let _ = Connection::<Ask, String>::connect(&node.address.to_string(), &Hello::client(), SOON).await;
    timeout(SOON, &mut node.tasks[0]).await.expect("serve returned").unwrap();
}
