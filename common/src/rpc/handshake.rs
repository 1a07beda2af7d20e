//! The exchange of hellos on a fresh connection, from both ends.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::hello::{
    Answer, HEAD_BYTES, Hello, HelloError, MAX_REST_BYTES, Refusal, RefusalReason, Versions, could_be_head, read_head,
};

/// How long the whole exchange may take. A connection that says nothing holds a file handle and a place under the cap.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why no connection came of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// No version in common: one side has to be updated, trying again is useless.
    #[error("protocol version mismatch: this side speaks {own}, the peer {peer} ({text})")]
    VersionMismatch {
        /// What this side speaks.
        own: Versions,
        /// What the peer speaks.
        peer: Versions,
        /// The listening side's words.
        text: String,
    },
    /// The listening side refused for another reason.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Something else answers there.
    #[error("not Handfast: the other side begins with {first:?}")]
    NotHandfast {
        /// Its first bytes, what is printable of them.
        first: String,
    },
    /// It begins like Handfast and goes on otherwise.
    #[error("malformed hello: {0}")]
    Malformed(&'static str),
    /// The connection ended in between.
    #[error("closed before the handshake was over")]
    Closed,
    /// It was not over within [`HANDSHAKE_TIMEOUT`].
    #[error("no handshake within {HANDSHAKE_TIMEOUT:?}")]
    Timeout,
}

/// The dialing end: says who it is and takes the answer.
///
/// # Errors
/// Every [`HandshakeError`] but the timeout, which is the caller's.
pub(super) async fn introduce<S>(stream: &mut S, own: &Hello) -> Result<Hello, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&own.to_bytes()).await.map_err(|_| HandshakeError::Closed)?;
    let (peer, rest) = receive(stream).await?;
    match Answer::read(peer, &rest).map_err(malformed)? {
        Answer::Accepted { version, hello } if own.versions.common(peer) == Some(version) => Ok(hello),
        Answer::Accepted { .. } => {
            Err(HandshakeError::Malformed("accepts a version that is not the highest in common"))
        }
        Answer::Refused(Refusal { reason: RefusalReason::Version, text }) => {
            Err(HandshakeError::VersionMismatch { own: own.versions, peer, text })
        }
        Answer::Refused(refusal) => Err(HandshakeError::Refused(refusal)),
    }
}

/// The listening end: hears who it is and answers. `welcome` gives this side's own hello of this moment, or refuses.
///
/// # Errors
/// Every [`HandshakeError`] but the timeout; `Refused` is what this side told the peer.
pub(super) async fn receive_and_answer<S>(
    stream: &mut S,
    versions: Versions,
    welcome: impl FnOnce(&Hello) -> Result<Hello, Refusal>,
) -> Result<Hello, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (peer, rest) = receive(stream).await?;
    // Before anything else is read: another version may lay out the rest in another way.
    let Some(version) = versions.common(peer) else {
        let refusal = versions.refusal(peer);
        let text = refusal.text.clone();
        answer(stream, versions, &Answer::Refused(refusal)).await?;
        return Err(HandshakeError::VersionMismatch { own: versions, peer, text });
    };
    let hello = Hello::read(peer, &rest).map_err(malformed)?;
    match welcome(&hello) {
        Ok(own) => {
            answer(stream, versions, &Answer::Accepted { version, hello: own }).await?;
            Ok(hello)
        }
        Err(refusal) => {
            answer(stream, versions, &Answer::Refused(refusal.clone())).await?;
            Err(HandshakeError::Refused(refusal))
        }
    }
}

async fn answer<S>(stream: &mut S, own: Versions, answer: &Answer) -> Result<(), HandshakeError>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(&answer.to_bytes(own)).await.map_err(|_| HandshakeError::Closed)
}

/// Reads head and rest, and not one byte more: what follows belongs to the frames.
async fn receive<S>(stream: &mut S) -> Result<(Versions, Vec<u8>), HandshakeError>
where
    S: AsyncRead + Unpin,
{
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < HEAD_BYTES {
        let read = stream.read(&mut head[filled..]).await.map_err(|_| HandshakeError::Closed)?;
        filled += read;
        // Looked at byte by byte: something else may send three bytes and then wait for us.
        if !could_be_head(&head[..filled]) {
            return Err(not_handfast(&head[..filled]));
        }
        if read == 0 {
            return Err(HandshakeError::Closed);
        }
    }
    let (versions, length) = read_head(&head).map_err(|error| match error {
        HelloError::NotHandfast => not_handfast(&head),
        HelloError::Malformed(why) => HandshakeError::Malformed(why),
    })?;
    let mut rest = [0; MAX_REST_BYTES];
    let rest = &mut rest[..length];
    stream.read_exact(rest).await.map_err(|_| HandshakeError::Closed)?;
    Ok((versions, rest.to_vec()))
}

fn not_handfast(first: &[u8]) -> HandshakeError {
    let printable = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
    HandshakeError::NotHandfast { first: first.iter().map(printable).collect() }
}

fn malformed(error: HelloError) -> HandshakeError {
    match error {
        HelloError::NotHandfast => HandshakeError::Malformed("no magic"),
        HelloError::Malformed(why) => HandshakeError::Malformed(why),
    }
}
