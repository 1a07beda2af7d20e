//! Envelopes: round trips, clamped deadlines, and everything that is not one.

use proptest::prelude::*;

use super::*;

type Client = ClientFrames<String, String>;
type Server = ServerFrames<String, String>;

fn request(id: u64, deadline: Instant, message: &str) -> ClientMessage<String> {
    let mut context = tarpc::context::current();
    context.deadline = deadline;
    ClientMessage::Request(Request { context, id, message: message.to_owned() })
}

fn raw(payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le((payload.len() + CHECKSUM_BYTES) as u32);
    bytes.put_slice(payload);
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes
}

fn received(bytes: &mut BytesMut) -> Request<Weighed<String>> {
    match Server::new().decode(bytes).unwrap().unwrap() {
        ClientMessage::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_goes_through_with_its_time_left() {
    let mut bytes = BytesMut::new();
    Client::new().encode(request(7, Instant::now() + Duration::from_secs(5), "hello"), &mut bytes).unwrap();
    let size = bytes.len() - AROUND_BYTES;
    let request = received(&mut bytes);
    assert_eq!((request.id, request.message), (7, Weighed { bytes: size, body: "hello".to_owned() }));
    let left = request.context.deadline - Instant::now();
    assert!(left > Duration::from_secs(4) && left <= Duration::from_secs(5), "{left:?}");
    assert!(bytes.is_empty());
}

#[test]
fn deadlines_are_clamped_on_arrival() {
    let body = codec::encode("x").unwrap();
    for (sent, most) in [(0, *DEADLINES.start()), (u64::MAX, *DEADLINES.end())] {
        let mut payload = vec![REQUEST];
        payload.put_u64_le(1);
        payload.put_u64_le(sent);
        payload.put_u8(0);
        payload.put_slice(&body);
        let before = Instant::now();
        let deadline = received(&mut raw(&payload)).context.deadline;
        assert!(deadline >= before + most && deadline <= Instant::now() + most, "{sent}");
    }
}

#[test]
fn a_trace_is_carried_only_when_there_is_one() {
    let mut context = tarpc::context::current();
    context.trace_context.trace_id = TraceId::from(5);
    context.trace_context.span_id = SpanId::from(6);
    context.trace_context.sampling_decision = SamplingDecision::Sampled;
    let sent = Request { context, id: 1, message: "x".to_owned() };
    let mut traced = BytesMut::new();
    Client::new().encode(ClientMessage::Request(sent), &mut traced).unwrap();
    let mut plain = BytesMut::new();
    Client::new().encode(request(1, Instant::now(), "x"), &mut plain).unwrap();
    assert_eq!(traced.len(), plain.len() + 25);
    assert_eq!(received(&mut traced).context.trace_context, context.trace_context);
}

#[test]
fn responses_and_errors_go_through() {
    let mut bytes = BytesMut::new();
    let answers = [
        Response { request_id: 1, message: Ok("fine".to_owned()) },
        Response { request_id: 2, message: Err(ServerError::new(io::ErrorKind::WouldBlock, "retry".into())) },
        Response { request_id: 3, message: Err(ServerError::new(io::ErrorKind::BrokenPipe, "é".repeat(2_000))) },
    ];
    for answer in answers.clone() {
        Server::new().encode(answer, &mut bytes).unwrap();
    }
    assert_eq!(Client::new().decode(&mut bytes).unwrap().as_ref(), Some(&answers[0]));
    assert_eq!(Client::new().decode(&mut bytes).unwrap().as_ref(), Some(&answers[1]));
    let cut = Client::new().decode(&mut bytes).unwrap().unwrap().message.unwrap_err();
    assert_eq!((cut.kind, cut.detail), (io::ErrorKind::Other, "é".repeat(512)));
}

#[test]
fn an_oversize_body_leaves_the_buffer_as_it_was_and_an_oversize_answer_becomes_an_error() {
    let large = "x".repeat(MAX_ENCODED_BYTES);
    let mut bytes = BytesMut::from(&b"before"[..]);
    let error = Client::new().encode(request(1, Instant::now(), &large), &mut bytes).unwrap_err();
    assert!(matches!(error, FrameError::Body(CodecError::TooLarge)));
    assert_eq!(&bytes[..], b"before");
    let mut bytes = BytesMut::new();
    Server::new().encode(Response { request_id: 9, message: Ok(large) }, &mut bytes).unwrap();
    let answer = Client::new().decode(&mut bytes).unwrap().unwrap();
    assert_eq!((answer.request_id, answer.message.unwrap_err().kind), (9, io::ErrorKind::InvalidData));
}

#[test]
fn the_largest_body_fits_a_frame() {
    let largest = "x".repeat(MAX_ENCODED_BYTES - 6);
    let mut bytes = BytesMut::new();
    Client::new().encode(request(1, Instant::now(), &largest), &mut bytes).unwrap();
    assert_eq!(received(&mut bytes).message.body.len(), largest.len());
}

#[test]
fn a_length_over_the_cap_is_refused_and_one_under_it_reserves_little() {
    let mut bytes = BytesMut::from(&(MAX_FRAME_BYTES as u32).to_le_bytes()[..]);
    assert!(matches!(Server::new().decode(&mut bytes), Err(FrameError::TooLarge(_))));
    let mut bytes = BytesMut::from(&((MAX_FRAME_BYTES - LENGTH_BYTES) as u32).to_le_bytes()[..]);
    assert!(matches!(Server::new().decode(&mut bytes), Ok(None)));
    assert!(bytes.capacity() < 2 * READ_AHEAD_BYTES, "{}", bytes.capacity());
}

#[test]
fn what_is_no_envelope_is_an_error() {
    let mut cancel = vec![CANCEL];
    cancel.put_u64_le(1);
    cancel.put_u8(0);
    assert!(matches!(Server::new().decode(&mut raw(&cancel)), Ok(Some(ClientMessage::Cancel { .. }))));
    let mut longer = cancel.clone();
    longer.push(0);
    let mut traced = cancel.clone();
    traced[9] = 2;
    let mut kind = cancel.clone();
    kind[0] = 9;
    for bad in [&[][..], &[REQUEST], &cancel[..9], &longer, &traced, &kind] {
        assert!(matches!(Server::new().decode(&mut raw(bad)), Err(FrameError::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn the_end_is_told_apart_from_a_cut() {
    let mut empty = BytesMut::new();
    assert!(matches!(Server::new().decode_eof(&mut empty), Err(FrameError::Closed)));
    let mut bytes = BytesMut::new();
    Client::new().encode(request(1, Instant::now(), "hello"), &mut bytes).unwrap();
    bytes.truncate(bytes.len() - 1);
    assert!(matches!(Server::new().decode_eof(&mut bytes), Err(FrameError::Cut)));
}

#[test]
fn a_bit_that_changed_on_the_way_is_found_wherever_it_is() {
    let mut request_bytes = BytesMut::new();
    Client::new().encode(request(1, Instant::now(), "the amount is 10"), &mut request_bytes).unwrap();
    let mut answer_bytes = BytesMut::new();
    Server::new().encode(Response { request_id: 1, message: Ok("committed".to_owned()) }, &mut answer_bytes).unwrap();
    for bit in 0..request_bytes.len() * 8 {
        let mut changed = request_bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(Server::new().decode(&mut changed), Ok(Some(_))), "bit {bit} of a request");
    }
    for bit in 0..answer_bytes.len() * 8 {
        let mut changed = answer_bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(Client::new().decode(&mut changed), Ok(Some(_))), "bit {bit} of an answer");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), framed in any::<bool>()) {
        let bytes = if framed { raw(&bytes) } else { BytesMut::from(&bytes[..]) };
        let _ = Server::new().decode(&mut bytes.clone());
        let _ = Client::new().decode(&mut { bytes });
    }

    #[test]
    fn a_cut_or_changed_frame_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = BytesMut::new();
        Client::new().encode(request(1, Instant::now(), "hello"), &mut bytes).unwrap();
        let at = at.index(bytes.len());
        let mut cut = BytesMut::from(&bytes[..at]);
        prop_assert!(matches!(Server::new().decode(&mut cut), Ok(None)));
        bytes[at] = byte;
        let _ = Server::new().decode(&mut bytes);
    }
}
