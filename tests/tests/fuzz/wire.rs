//! Messages and records: any value comes back as it went, and changed bytes are another value or none.

use bytes::BytesMut;
use handfast_common::codec;
use handfast_common::rpc::service::{
    CoordinatorServiceRequest, CoordinatorServiceResponse, ParticipantServiceRequest, ParticipantServiceResponse,
};
use handfast_common::rpc::{ClientFrames, ServerFrames};
use handfast_coordinator::protocol::Record;
use handfast_participant::kv::record::{Held, PrepareRecord, Stored, encode_done};
use handfast_participant::protocol::{Done, Line, Prepared};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::{ClientMessage, Request, Response};
use tokio_util::codec::{Decoder, Encoder};

use crate::arbitrary::{Counts, Dice, runs};

const RUNS: u64 = 20_000;
/// Of spoilt bytes some decode, and some do not.
const BOTH: [(&str, u64); 2] = [("accepted", 1_000), ("refused", 1_000)];

/// Decode, encode, decode: the bytes of both encodings are the same, whatever was decoded first.
fn there_and_back<T: Serialize + DeserializeOwned>(dice: &mut Dice, counts: &mut Counts) {
    let value: T = dice.value();
    let bytes = codec::encode(&value).expect("small values fit");
    let back: T = codec::decode(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
    assert_eq!(codec::encode(&back).expect("it fitted before"), bytes);
    let mut spoilt = bytes;
    for _ in 0..4 {
        dice.spoil(&mut spoilt);
        let read = codec::decode::<T>(&spoilt);
        counts.add(if read.is_ok() { "accepted" } else { "refused" }, 1);
        if let Ok(other) = read {
            let own = codec::encode(&other).expect("it came from as many bytes");
            let again: T = codec::decode(&own).unwrap_or_else(|error| panic!("{error}: {own:?}"));
            assert_eq!(codec::encode(&again).expect("it fitted before"), own);
        }
    }
}

#[test]
fn f1_every_message_comes_back_as_it_went_and_no_bytes_panic() {
    let mut counts = Counts::default();
    for mut dice in runs(RUNS) {
        there_and_back::<CoordinatorServiceRequest>(&mut dice, &mut counts);
        there_and_back::<CoordinatorServiceResponse>(&mut dice, &mut counts);
        there_and_back::<ParticipantServiceRequest>(&mut dice, &mut counts);
        there_and_back::<ParticipantServiceResponse>(&mut dice, &mut counts);
    }
    counts.check(RUNS, &BOTH);
}

#[test]
fn f1_every_frame_comes_back_as_it_went_and_a_changed_one_never_as_another() {
    type Client = ClientFrames<CoordinatorServiceRequest, CoordinatorServiceResponse>;
    type Server = ServerFrames<CoordinatorServiceRequest, CoordinatorServiceResponse>;
    let mut counts = Counts::default();
    for mut dice in runs(RUNS) {
        let (message, answer): (CoordinatorServiceRequest, CoordinatorServiceResponse) = (dice.value(), dice.value());
        let (id, body) = (dice.number(), codec::encode(&message).expect("it fits"));
        let mut bytes = BytesMut::new();
        let request = ClientMessage::Request(Request { context: tarpc::context::current(), id, message });
        Client::new().encode(request, &mut bytes).expect("it fits");
        match Server::new().decode(&mut bytes.clone()) {
            Ok(Some(ClientMessage::Request(back))) => {
                assert_eq!((back.id, codec::encode(&back.message.body).expect("it fitted")), (id, body));
            }
            other => panic!("{other:?}"),
        }
        let mut spoilt = bytes.to_vec();
        dice.spoil(&mut spoilt);
        if spoilt != bytes {
            let read = Server::new().decode(&mut BytesMut::from(&spoilt[..]));
            counts.add(if read.is_err() { "refused" } else { "not whole" }, 1);
            // Bytes behind the frame are the beginning of the next one.
            let more = spoilt.starts_with(&bytes);
            assert!(more || !matches!(read, Ok(Some(_))), "{spoilt:?} from {bytes:?}");
        }
        let body = codec::encode(&answer).expect("it fits");
        let mut bytes = BytesMut::new();
        Server::new().encode(Response { request_id: id, message: Ok(answer) }, &mut bytes).expect("it fits");
        let back = Client::new().decode(&mut bytes).expect("a frame").expect("a whole one");
        let back = back.message.expect("an answer");
        assert_eq!(codec::encode(&back).expect("it fitted"), body);
        counts.add("accepted", 2);
        drop(Client::new().decode(&mut BytesMut::from(&dice.bytes(80)[..])));
    }
    counts.check(RUNS, &[BOTH[0], BOTH[1], ("not whole", 1_000)]);
}

#[test]
fn f3_every_record_comes_back_as_it_was_written_and_no_bytes_panic() {
    let mut counts = Counts::default();
    for mut dice in runs(RUNS) {
        there_and_back::<Record>(&mut dice, &mut counts);
        there_and_back::<Line>(&mut dice, &mut counts);
        let held: Vec<Held> = dice.value();
        let prepared: Prepared = dice.value();
        let record = PrepareRecord { prepared, age: dice.value(), held: held.into() };
        let done: Done = dice.value();
        for (bytes, stored) in [
            (record.encode().expect("it fits"), Stored::Prepare(record)),
            (encode_done(&done).expect("it fits"), Stored::Done(done)),
        ] {
            assert_eq!(Stored::decode(&bytes), Ok(stored));
            let mut spoilt = bytes;
            for _ in 0..4 {
                dice.spoil(&mut spoilt);
                counts.add(if Stored::decode(&spoilt).is_ok() { "accepted" } else { "refused" }, 1);
            }
        }
        drop(Stored::decode(&dice.bytes(60)));
    }
    counts.check(RUNS, &BOTH);
}
