//! Opening a connection: TCP, then the hello.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::frame::ClientFrames;
use super::handshake::{HANDSHAKE_TIMEOUT, HandshakeError, introduce};
use super::hello::Hello;

/// What tarpc's client runs over.
pub type ClientTransport<Req, Resp> = Framed<TcpStream, ClientFrames<Req, Resp>>;

/// Why no connection was opened. In every case no request was sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No name, no route, nobody listening.
    #[error("can't connect to {address}: {source}")]
    Unreachable {
        /// Where to.
        address: String,
        /// The system's word.
        source: io::Error,
    },
    /// No connection within the time given.
    #[error("can't connect to {address} within {after:?}")]
    Timeout {
        /// Where to.
        address: String,
        /// The time given.
        after: Duration,
    },
    /// A connection was made, and the two do not go together.
    #[error("{address}: {source}")]
    Handshake {
        /// Where to.
        address: String,
        /// Why not.
        source: HandshakeError,
    },
}

/// Bytes buffered before writing: answers and requests of one wake-up leave in one write.
pub(super) const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Connects to `address` (`host:port`) within `within` and exchanges hellos within [`HANDSHAKE_TIMEOUT`]; returns the
/// transport and who answered.
///
/// # Errors
/// See [`DialError`].
pub async fn dial<Req, Resp>(
    address: &str,
    own: &Hello,
    within: Duration,
) -> Result<(ClientTransport<Req, Resp>, Hello), DialError> {
    let mut stream = match timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(DialError::Unreachable { address: address.to_owned(), source }),
        Err(_) => return Err(DialError::Timeout { address: address.to_owned(), after: within }),
    };
    let at_hello = |source| DialError::Handshake { address: address.to_owned(), source };
    // Small messages, each waited for: Nagle's algorithm would hold them back for up to 40 ms.
    stream.set_nodelay(true).map_err(|source| DialError::Unreachable { address: address.to_owned(), source })?;
    let peer = timeout(HANDSHAKE_TIMEOUT, introduce(&mut stream, own))
        .await
        .unwrap_or(Err(HandshakeError::Timeout))
        .map_err(at_hello)?;
    let mut transport = Framed::new(stream, ClientFrames::new());
    transport.set_backpressure_boundary(WRITE_BUFFER_BYTES);
    Ok((transport, peer))
}
