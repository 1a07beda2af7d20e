//! Hostile bytes into servers that run: what is well formed is answered, what is not ends its own connection, and
//! everyone else goes on being served.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use handfast::nodes::Node;
use handfast_common::codec;
use handfast_common::messages::{Order, ToParticipant};
use handfast_common::outcome::Decision;
use handfast_common::rpc::ClientFrames;
use handfast_common::rpc::service::{
    CoordinatorServiceRequest, CoordinatorServiceResponse, ParticipantServiceRequest, ParticipantServiceResponse,
};
use handfast_tests::processes::{System, spread_transfer};
use serde::de::DeserializeOwned;
use tokio_util::codec::Decoder;

use crate::arbitrary::{Counts, Dice, runs};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// A client's hello of protocol version 3, without its checksum, as docs/formats.md has it.
const HELLO: &[u8] = b"HFST\x03\0\x03\0\x2e\0\x01";
/// Bytes from a hello's role to its name's length, both included.
const REST: usize = 42;
const RUNS: u64 = 150;
/// The request that ends a connection's frames: when it is answered, all that was before it has been read.
const LAST: u64 = 0x1a57;
/// Such a deadline as a client in good order sends, in microseconds.
const PATIENT: u64 = 5_000_000;
/// Longer than a server takes to answer, and short, for a length that announces too much makes it wait.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn f2_hostile_clients_do_not_keep_others_from_being_served() {
    let mut system = System::start(PROGRAM, 2);
    let (mut counts, mut read) = (Counts::default(), [0; 3]);
    for mut dice in runs(RUNS) {
        let coordinator = dice.one_in(2);
        let node = if coordinator { &system.coordinator } else { &system.participants[dice.below(2)] };
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.set_read_timeout(Some(QUIET)).expect("a timeout");
        if dice.one_in(8) {
            // Something that is no hello, and goes.
            counts.add("not greeted", 1);
            drop(stream.write_all(&dice.bytes(200)));
        } else {
            greet(&mut stream, node);
            speak(&mut dice, &mut stream, coordinator, &mut counts);
        }
        // While the seed is at hand: what it has broken shows now, or a seed or two later.
        drop(TcpStream::connect(node.address()).unwrap_or_else(|error| panic!("{error}\n{}", system.logs())));
        look_at_logs(&system, &mut read);
    }
    let lines: Vec<String> = (0..100).map(|number| spread_transfer(number, "p0", "p1")).collect();
    let answers = system.submit(&lines);
    assert!(answers.iter().all(|line| line["outcome"] == "committed"), "{answers:?}\n{}", system.logs());
    look_at_logs(&system, &mut read);
    let logs = system.logs();
    for node in std::iter::once(&mut system.coordinator).chain(&mut system.participants) {
        assert!(node.wait_exit(Duration::ZERO).is_err(), "{} has ended\n{logs}", node.name());
    }
    let deadlines = [("over at once", 100), ("in ages", 500)];
    let ends = [("not greeted", 5), ("answered", 200), ("hung up", 20), ("served to the end", 20)];
    counts.check(RUNS, &[&deadlines[..], &ends].concat());
}

/// That no task of a server has panicked, in what was written since the last look.
fn look_at_logs(system: &System, read: &mut [u64; 3]) {
    for (name, read) in ["coordinator", "p0", "p1"].iter().zip(read) {
        let mut file = File::open(system.folder().join(format!("{name}.log"))).expect("a log");
        file.seek(SeekFrom::Start(*read)).expect("a place in it");
        let mut new = Vec::new();
        *read += file.read_to_end(&mut new).expect("a log") as u64;
        let new = String::from_utf8_lossy(&new);
        assert!(!new.contains("panicked") && !new.contains("broke down"), "{name}:\n{new}");
    }
}

/// Frames of every kind, and what comes of them.
fn speak(dice: &mut Dice, stream: &mut TcpStream, coordinator: bool, counts: &mut Counts) {
    for _ in 0..1 + dice.below(40) {
        let body = match dice.below(60) {
            0 => dice.bytes(60),
            _ if coordinator => codec::encode(&to_coordinator(dice)).expect("it fits"),
            _ => codec::encode(&to_participant(dice)).expect("it fits"),
        };
        let deadline = [u64::MAX - dice.below(3) as u64, dice.number(), PATIENT][dice.below(3)];
        counts.add("over at once", u64::from(deadline < 1_000));
        // Neither a timer wheel of 2.2 years nor an `Instant` takes them.
        counts.add("in ages", u64::from(deadline > u64::MAX >> 2));
        counts.add("frames", 1);
        // It may have been hung up on for the frame before.
        if stream.write_all(&frame(dice, deadline, body)).is_err() {
            break;
        }
    }
    let last = if coordinator {
        codec::encode(&CoordinatorServiceRequest::Registry {})
    } else {
        codec::encode(&ParticipantServiceRequest::List { page: dice.value() })
    };
    drop(stream.write_all(&sealed(request(LAST, PATIENT, &last.expect("it fits")))));
    if coordinator {
        read_answers::<CoordinatorServiceRequest, CoordinatorServiceResponse>(stream, counts);
    } else {
        read_answers::<ParticipantServiceRequest, ParticipantServiceResponse>(stream, counts);
    }
}

/// Until the last request is answered, the connection ends, or nothing comes.
fn read_answers<Req, Resp: DeserializeOwned>(stream: &mut TcpStream, counts: &mut Counts) {
    let (mut frames, mut buffer) = (ClientFrames::<Req, Resp>::new(), BytesMut::new());
    loop {
        while let Some(answer) = frames.decode(&mut buffer).expect("a server's frames are sound") {
            counts.add(if answer.message.is_ok() { "answered" } else { "answered by an error" }, 1);
            if answer.request_id == LAST {
                return counts.add("served to the end", 1);
            }
        }
        let mut bytes = [0; 4_096];
        match stream.read(&mut bytes) {
            Ok(0) => return counts.add("hung up", 1),
            Ok(count) => buffer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return counts.add("kept waiting", 1),
            Err(_) => return counts.add("hung up", 1),
        }
    }
}

/// Anything but what a coordinator takes from an operator or a participant, as long as nobody has to prove who they are:
/// that a participant's place goes to another one, or that its own log has a newer start, for which it stops.
fn to_coordinator(dice: &mut Dice) -> CoordinatorServiceRequest {
    loop {
        match dice.value() {
            CoordinatorServiceRequest::Register { participant } if participant.seen.is_some() => {}
            CoordinatorServiceRequest::Register { participant } if is_of_system(participant.from.name.as_str()) => {}
            CoordinatorServiceRequest::OrderRegistry { order } if is_of_system(order.name.as_str()) => {}
            request => return request,
        }
    }
}

fn is_of_system(name: &str) -> bool {
    ["p0", "p1"].contains(&name)
}

/// Anything but what a participant stops for, as it should: a Commit of which it has no trace.
fn to_participant(dice: &mut Dice) -> ParticipantServiceRequest {
    loop {
        match dice.value() {
            ParticipantServiceRequest::Deliver {
                message: ToParticipant { order: Order::Decide { decision: Decision::Commit, .. }, .. },
            } => {}
            request => return request,
        }
    }
}

fn greet(stream: &mut TcpStream, node: &Node) {
    let mut hello = HELLO.to_vec();
    hello.resize(HELLO.len() + REST - 1, 0);
    // The checksum is of the versions and of what follows the head.
    let said = [&hello[4..8], &hello[10..]].concat();
    hello.extend(crc32fast::hash(&said).to_le_bytes());
    stream.write_all(&hello).expect("it listens");
    let mut head = [0; 10];
    stream.read_exact(&mut head).unwrap_or_else(|error| panic!("{error}\n{}", node.log()));
    assert!(head.starts_with(b"HFST"), "{head:?}");
    let mut rest = vec![0; usize::from(u16::from_le_bytes([head[8], head[9]]))];
    stream.read_exact(&mut rest).expect("all of it");
    assert_eq!(rest[0], 0, "refused: {}", String::from_utf8_lossy(&rest));
}

/// A request around a body; now and then something else, or with something wrong.
fn frame(dice: &mut Dice, deadline: u64, body: Vec<u8>) -> Vec<u8> {
    let mut frame = request(dice.number(), deadline, &body);
    match dice.below(100) {
        0 => frame[4] = dice.below(256) as u8,
        1 => dice.spoil(&mut frame),
        _ => {}
    }
    frame.resize(frame.len().max(4), 0);
    let mut frame = sealed(frame);
    if dice.one_in(200) {
        frame[..4].copy_from_slice(&(dice.number() as u32).to_le_bytes());
    }
    if dice.one_in(200) {
        dice.spoil(&mut frame);
    }
    frame
}

/// A request without its length and its checksum.
fn request(id: u64, deadline: u64, body: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 1][..], &id.to_le_bytes(), &deadline.to_le_bytes(), &[0], body].concat()
}

/// Its length, of which 4 bytes in front do not count and 4 behind do, and its checksum.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let length = frame.len() as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame.extend(crc32fast::hash(&frame).to_le_bytes());
    frame
}
