//! Hostile bytes into servers that run: they go on serving everyone else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use handfast_common::codec;
use handfast_common::messages::{Order, ToParticipant};
use handfast_common::outcome::Decision;
use handfast_common::rpc::service::{CoordinatorServiceRequest, ParticipantServiceRequest};
use handfast_tests::processes::{System, spread_transfer};

use crate::arbitrary::{Dice, runs};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// A client's hello of protocol version 3, without its checksum, as docs/formats.md has it.
const HELLO: &[u8] = b"HFST\x03\0\x03\0\x2e\0\x01";
/// Bytes from a hello's role to its name's length, both included.
const REST: usize = 42;

#[test]
fn f2_hostile_clients_do_not_keep_others_from_being_served() {
    let mut system = System::start(PROGRAM, 2);
    let (mut connections, mut frames) = (0, 0);
    for mut dice in runs(150) {
        let coordinator = dice.one_in(2);
        let node = if coordinator { &system.coordinator } else { &system.participants[dice.below(2)] };
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        connections += 1;
        if dice.one_in(8) {
            // Something that is no hello, and goes.
            drop(stream.write_all(&dice.bytes(200)));
            continue;
        }
        greet(&mut stream, &system);
        for _ in 0..1 + dice.below(40) {
            let body = match dice.below(8) {
                0 => dice.bytes(60),
                _ if coordinator => codec::encode(&to_coordinator(&mut dice)).expect("it fits"),
                _ => codec::encode(&to_participant(&mut dice)).expect("it fits"),
            };
            frames += 1;
            // It may have been hung up on for the frame before.
            if stream.write_all(&frame(&mut dice, body)).is_err() {
                break;
            }
        }
    }
    let lines: Vec<String> = (0..100).map(|number| spread_transfer(number, "p0", "p1")).collect();
    let answers = system.submit(&lines);
    assert!(answers.iter().all(|line| line["outcome"] == "committed"), "{answers:?}\n{}", system.logs());
    let logs = system.logs();
    assert!(!logs.contains("panicked") && !logs.contains("broke down"), "{logs}");
    for node in std::iter::once(&mut system.coordinator).chain(&mut system.participants) {
        assert!(node.wait_exit(Duration::ZERO).is_err(), "{} has ended\n{logs}", node.name());
    }
    println!("{connections} connections, {frames} frames");
    assert!(frames > connections, "hardly anything was sent");
}

/// Anything but what a coordinator stops for, as it should: that a participant has seen a newer start of its log.
fn to_coordinator(dice: &mut Dice) -> CoordinatorServiceRequest {
    loop {
        match dice.value() {
            CoordinatorServiceRequest::Register { participant } if participant.seen.is_some() => {}
            request => return request,
        }
    }
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

fn greet(stream: &mut TcpStream, system: &System) {
    let mut hello = HELLO.to_vec();
    hello.resize(HELLO.len() + REST - 1, 0);
    // The checksum is of the versions and of what follows the head.
    let said = [&hello[4..8], &hello[10..]].concat();
    hello.extend(crc32fast::hash(&said).to_le_bytes());
    stream.write_all(&hello).expect("it listens");
    let mut head = [0; 10];
    stream.read_exact(&mut head).unwrap_or_else(|error| panic!("{error}\n{}", system.logs()));
    assert!(head.starts_with(b"HFST"), "{head:?}");
    let mut rest = vec![0; usize::from(u16::from_le_bytes([head[8], head[9]]))];
    stream.read_exact(&mut rest).expect("all of it");
    assert_eq!(rest[0], 0, "refused: {}", String::from_utf8_lossy(&rest));
}

/// A request with any deadline around a body; now and then something else, or with something wrong.
fn frame(dice: &mut Dice, body: Vec<u8>) -> Vec<u8> {
    let kind = if dice.one_in(12) { dice.below(256) as u8 } else { 1 };
    let mut frame = vec![0, 0, 0, 0, kind];
    frame.extend(dice.number().to_le_bytes());
    frame.extend(dice.number().to_le_bytes());
    frame.push(0);
    frame.extend(body);
    if dice.one_in(12) {
        dice.spoil(&mut frame);
    }
    frame.resize(frame.len().max(4), 0);
    // With the checksum: 4 in front do not count, 4 behind do.
    let length = if dice.one_in(30) { dice.number() as u32 } else { frame.len() as u32 };
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let checksum = if dice.one_in(30) { dice.number() as u32 } else { crc32fast::hash(&frame) };
    frame.extend(checksum.to_le_bytes());
    frame
}
