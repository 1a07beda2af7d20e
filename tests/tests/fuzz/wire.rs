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

use crate::arbitrary::{Dice, runs};

/// Decode, encode, decode: the bytes of both encodings are the same, whatever was decoded first.
fn there_and_back<T: Serialize + DeserializeOwned>(dice: &mut Dice) {
    let value: T = dice.value();
    let bytes = codec::encode(&value).expect("small values fit");
    let back: T = codec::decode(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
    assert_eq!(codec::encode(&back).expect("it fitted before"), bytes);
    let mut spoilt = bytes;
    for _ in 0..4 {
        dice.spoil(&mut spoilt);
        if let Ok(other) = codec::decode::<T>(&spoilt) {
            let own = codec::encode(&other).expect("it came from as many bytes");
            let again: T = codec::decode(&own).unwrap_or_else(|error| panic!("{error}: {own:?}"));
            assert_eq!(codec::encode(&again).expect("it fitted before"), own);
        }
    }
}

#[test]
fn f1_every_message_comes_back_as_it_went_and_no_bytes_panic() {
    for mut dice in runs(20_000) {
        there_and_back::<CoordinatorServiceRequest>(&mut dice);
        there_and_back::<CoordinatorServiceResponse>(&mut dice);
        there_and_back::<ParticipantServiceRequest>(&mut dice);
        there_and_back::<ParticipantServiceResponse>(&mut dice);
    }
}

#[test]
fn f1_every_frame_comes_back_as_it_went_and_a_changed_one_never_as_another() {
    type Client = ClientFrames<CoordinatorServiceRequest, CoordinatorServiceResponse>;
    type Server = ServerFrames<CoordinatorServiceRequest, CoordinatorServiceResponse>;
    for mut dice in runs(20_000) {
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
        drop(Client::new().decode(&mut BytesMut::from(&dice.bytes(80)[..])));
    }
}

#[test]
fn f3_every_record_comes_back_as_it_was_written_and_no_bytes_panic() {
    for mut dice in runs(20_000) {
        there_and_back::<Record>(&mut dice);
        there_and_back::<Line>(&mut dice);
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
                drop(Stored::decode(&spoilt));
            }
        }
        drop(Stored::decode(&dice.bytes(60)));
    }
}
