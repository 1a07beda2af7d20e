//! Frames: tarpc's messages in an envelope of our own.
//!
//! tarpc's messages are not decoded as they are, because a deadline chosen by the sender reaches a timer wheel there:
//! beyond 2.2 years it panics the connection's task, and a larger one overflows `Instant` while decoding. And each is
//! sealed by a checksum: TCP's own lets one changed segment of 65,536 pass, and a vote or an amount with one bit changed
//! is as well-formed as the right one. All numbers are little endian:
//!
//! ```text
//! frame     length of the rest u32 | kind u8 | request id u64 | ... | CRC-32 of all before it u32
//! request   1 | id | microseconds left u64 | trace | body        (the body as crate::codec writes it)
//! cancel    2 | id | trace
//! answer    3 | id | body
//! error     4 | id | error kind u8 | detail length u16 | detail
//! trace     0, or 1 | trace id u128 | span id u64 | sampled u8
//! ```

use std::marker::PhantomData;
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::{Buf, BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::context::Context;
use tarpc::trace::{SamplingDecision, SpanId, TraceId};
use tarpc::{ClientMessage, Request, Response, ServerError};
use tokio_util::codec::{Decoder, Encoder};

use super::hello::cut_text;
use crate::codec::{self, CodecError, MAX_ENCODED_BYTES};
use crate::limits::MAX_FRAME_BYTES;

/// Bounds of a deadline as taken from the wire.
pub const DEADLINES: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3_600);

/// The client's end: requests and cancels go out, responses come in.
pub struct ClientFrames<Req, Resp> {
    kinds: PhantomData<fn(Req) -> Resp>,
}

/// The server's end: requests and cancels come in, responses go out.
pub struct ServerFrames<Req, Resp> {
    /// A `Context` can't be built outside tarpc, and asking for the current one costs a look at the current span.
    context: Context,
    kinds: PhantomData<fn(Req) -> Resp>,
}

/// A request's body and what it took on the wire: the server bounds what may wait by bytes, not by numbers alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weighed<Req> {
    /// Bytes of its frame.
    pub bytes: usize,
    /// The request.
    pub body: Req,
}

/// Why a frame can't be sent, or the bytes received are none. When receiving, each of these ends the connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side closed, with no frame begun: the ordinary end.
    #[error("closed by the other side")]
    Closed,
    /// The other side closed in the middle of a frame.
    #[error("closed by the other side in the middle of a frame")]
    Cut,
    /// The length in front is over the cap.
    #[error("a frame of {0} bytes, over the cap of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// The bytes are not those that were sent.
    #[error("a frame changed on its way: its checksum is wrong")]
    Changed,
    /// The envelope is not one.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// The body is none, or too large to be sent.
    #[error("body: {0}")]
    Body(#[from] CodecError),
}

/// Bytes of the length in front.
const LENGTH_BYTES: usize = 4;
/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 4;
/// Longest detail of an error on the wire.
const MAX_DETAIL_BYTES: usize = 1 << 10;
/// Set aside for a frame whose length is known and whose bytes are not there yet: a peer that only announces large
/// frames must not make us hold the memory for them.
const READ_AHEAD_BYTES: usize = 64 << 10;

const REQUEST: u8 = 1;
const CANCEL: u8 = 2;
const ANSWER: u8 = 3;
const ERROR: u8 = 4;
const CUT: FrameError = FrameError::Malformed("too short");

const AROUND_BYTES: usize = LENGTH_BYTES + CHECKSUM_BYTES;
const _: () = assert!(AROUND_BYTES + 1 + 8 + 8 + 26 + MAX_ENCODED_BYTES <= MAX_FRAME_BYTES);
const _: () = assert!(AROUND_BYTES + 1 + 8 + 3 + MAX_DETAIL_BYTES <= MAX_FRAME_BYTES);

impl<Req, Resp> ClientFrames<Req, Resp> {
    /// A fresh codec.
    #[must_use]
    pub const fn new() -> Self {
        Self { kinds: PhantomData }
    }
}

impl<Req, Resp> ServerFrames<Req, Resp> {
    /// A fresh codec.
    #[must_use]
    pub fn new() -> Self {
        Self { context: tarpc::context::current(), kinds: PhantomData }
    }
}

impl<Req, Resp> Default for ClientFrames<Req, Resp> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Req, Resp> Default for ServerFrames<Req, Resp> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Req, Resp> fmt::Debug for ClientFrames<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientFrames")
    }
}

impl<Req, Resp> fmt::Debug for ServerFrames<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerFrames")
    }
}

impl<Req: Serialize, Resp> Encoder<ClientMessage<Req>> for ClientFrames<Req, Resp> {
    type Error = FrameError;

    /// On an error nothing is left in `out`: the connection lives on and that one call fails.
    fn encode(&mut self, message: ClientMessage<Req>, out: &mut BytesMut) -> Result<(), FrameError> {
        whole_frame(out, |out| match message {
            ClientMessage::Request(Request { context, id, message }) => {
                let left = context.deadline.saturating_duration_since(Instant::now());
                out.put_u8(REQUEST);
                out.put_u64_le(id);
                out.put_u64_le(u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
                put_trace(out, &context.trace_context);
                codec::encode_into(&message, &mut out.writer())?;
                Ok(())
            }
            ClientMessage::Cancel { trace_context, request_id } => {
                out.put_u8(CANCEL);
                out.put_u64_le(request_id);
                put_trace(out, &trace_context);
                Ok(())
            }
            _ => Err(FrameError::Malformed("a kind of message that this build does not know")),
        })
    }
}

impl<Req, Resp: Serialize> Encoder<Response<Resp>> for ServerFrames<Req, Resp> {
    type Error = FrameError;

    /// A response that is too large goes out as an error instead: the connection and the calls of others on it must
    /// not fall with it.
    fn encode(&mut self, response: Response<Resp>, out: &mut BytesMut) -> Result<(), FrameError> {
        let Response { request_id, message } = response;
        match message {
            Ok(body) => whole_frame(out, |out| {
                out.put_u8(ANSWER);
                out.put_u64_le(request_id);
                codec::encode_into(&body, &mut out.writer())?;
                Ok(())
            })
            .or_else(|error| {
                tracing::error!(%error, "an answer can't be sent, its request was carried out all the same");
                let detail = format!("carried out, but its answer can't be sent: {error}");
                put_error(out, request_id, &ServerError::new(io::ErrorKind::InvalidData, detail))
            }),
            Err(error) => put_error(out, request_id, &error),
        }
    }
}

impl<Req, Resp: DeserializeOwned> Decoder for ClientFrames<Req, Resp> {
    type Item = Response<Resp>;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Response<Resp>>, FrameError> {
        next_frame(buffer, |mut frame| {
            let kind = frame.try_get_u8().map_err(|_| CUT)?;
            let request_id = frame.try_get_u64_le().map_err(|_| CUT)?;
            let message = match kind {
                ANSWER => Ok(codec::decode(frame)?),
                ERROR => Err(take_error(frame)?),
                _ => return Err(FrameError::Malformed("unknown kind")),
            };
            Ok(Response { request_id, message })
        })
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Response<Resp>>, FrameError> {
        self.decode(buffer)?.map_or_else(|| Err(end_of(buffer)), |response| Ok(Some(response)))
    }
}

impl<Req: DeserializeOwned, Resp> Decoder for ServerFrames<Req, Resp> {
    type Item = ClientMessage<Weighed<Req>>;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Item>, FrameError> {
        let mut context = self.context;
        next_frame(buffer, |mut frame| {
            let bytes = frame.len();
            let kind = frame.try_get_u8().map_err(|_| CUT)?;
            let id = frame.try_get_u64_le().map_err(|_| CUT)?;
            match kind {
                REQUEST => {
                    let left = Duration::from_micros(frame.try_get_u64_le().map_err(|_| CUT)?);
                    context.deadline = Instant::now() + left.clamp(*DEADLINES.start(), *DEADLINES.end());
                    context.trace_context = take_trace(&mut frame)?;
                    let message = Weighed { bytes, body: codec::decode(frame)? };
                    Ok(ClientMessage::Request(Request { context, id, message }))
                }
                CANCEL => {
                    let trace_context = take_trace(&mut frame)?;
                    match frame {
                        [] => Ok(ClientMessage::Cancel { trace_context, request_id: id }),
                        _ => Err(FrameError::Malformed("bytes behind a cancel")),
                    }
                }
                _ => Err(FrameError::Malformed("unknown kind")),
            }
        })
    }

    /// The end is an error here, the ordinary one too: tarpc's channel would otherwise wait for every open request
    /// before it notices, an hour at worst. Nobody here closes one half and goes on listening.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Item>, FrameError> {
        self.decode(buffer)?.map_or_else(|| Err(end_of(buffer)), |message| Ok(Some(message)))
    }
}

/// Writes a frame, then its length in front and its checksum behind; on an error the buffer is as before.
fn whole_frame(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.put_u32_le(0);
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    // The body is capped by the codec and the rest is small: it fits, see the assertions above.
    let length = (out.len() - start - LENGTH_BYTES + CHECKSUM_BYTES) as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&out[start..]);
    out.put_u32_le(checksum);
    Ok(())
}

/// Reads the frame in front, if all of it is there, and takes it off the buffer.
fn next_frame<T>(
    buffer: &mut BytesMut,
    read: impl FnOnce(&[u8]) -> Result<T, FrameError>,
) -> Result<Option<T>, FrameError> {
    let Some((length, behind)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_FRAME_BYTES - LENGTH_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    let Some(frame) = behind.get(..length) else {
        let missing = length - behind.len();
        buffer.reserve(missing.min(READ_AHEAD_BYTES));
        return Ok(None);
    };
    let (frame, checksum) = frame.split_last_chunk::<CHECKSUM_BYTES>().ok_or(CUT)?;
    // Before anything of it is looked at: whatever it says may not be what was sent.
    if crc32fast::hash(&buffer[..LENGTH_BYTES + frame.len()]) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Changed);
    }
    let value = read(frame)?;
    buffer.advance(LENGTH_BYTES + length);
    Ok(Some(value))
}

fn end_of(buffer: &BytesMut) -> FrameError {
    if buffer.is_empty() { FrameError::Closed } else { FrameError::Cut }
}

/// Nothing is sent unless someone traces: tarpc draws a random span id for every call, traced or not.
fn put_trace(out: &mut BytesMut, trace: &tarpc::trace::Context) {
    if trace.trace_id.is_none() {
        return out.put_u8(0);
    }
    out.put_u8(1);
    out.put_u128_le(trace.trace_id.into());
    out.put_u64_le(trace.span_id.into());
    out.put_u8(u8::from(trace.sampling_decision == SamplingDecision::Sampled));
}

fn take_trace(frame: &mut &[u8]) -> Result<tarpc::trace::Context, FrameError> {
    match frame.try_get_u8().map_err(|_| CUT)? {
        0 => Ok(tarpc::trace::Context::default()),
        1 => {
            let trace_id = TraceId::from(frame.try_get_u128_le().map_err(|_| CUT)?);
            let span_id = SpanId::from(frame.try_get_u64_le().map_err(|_| CUT)?);
            let sampling_decision = match frame.try_get_u8().map_err(|_| CUT)? {
                0 => SamplingDecision::Unsampled,
                1 => SamplingDecision::Sampled,
                _ => return Err(FrameError::Malformed("unknown sampling decision")),
            };
            Ok(tarpc::trace::Context { trace_id, span_id, sampling_decision })
        }
        _ => Err(FrameError::Malformed("unknown trace")),
    }
}

/// Error kinds as they go over the wire: their place in this list. Kinds not in it go as `Other`.
const ERROR_KINDS: [io::ErrorKind; 8] = [
    io::ErrorKind::Other,
    io::ErrorKind::WouldBlock,
    io::ErrorKind::InvalidData,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::TimedOut,
    io::ErrorKind::ConnectionAborted,
];

fn put_error(out: &mut BytesMut, request_id: u64, error: &ServerError) -> Result<(), FrameError> {
    let detail = cut_text(&error.detail, MAX_DETAIL_BYTES);
    whole_frame(out, |out| {
        out.put_u8(ERROR);
        out.put_u64_le(request_id);
        out.put_u8(ERROR_KINDS.iter().position(|kind| *kind == error.kind).unwrap_or(0) as u8);
        out.put_u16_le(detail.len() as u16);
        out.put_slice(detail.as_bytes());
        Ok(())
    })
}

fn take_error(mut frame: &[u8]) -> Result<ServerError, FrameError> {
    let kind = ERROR_KINDS.get(usize::from(frame.try_get_u8().map_err(|_| CUT)?));
    let length = usize::from(frame.try_get_u16_le().map_err(|_| CUT)?);
    if frame.len() != length || length > MAX_DETAIL_BYTES {
        return Err(FrameError::Malformed("length of an error's text"));
    }
    let detail = std::str::from_utf8(frame).map_err(|_| FrameError::Malformed("an error's text is not UTF-8"))?;
    Ok(ServerError::new(kind.copied().unwrap_or(io::ErrorKind::Other), detail.to_owned()))
}

#[cfg(test)]
mod tests;
