//! A wire that is slow and can be cut: everything that goes through it arrives a little later, or not at all.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// One way to a server.
#[derive(Clone, Debug)]
pub struct Wire {
    address: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
    cut: Arc<AtomicBool>,
}

impl Wire {
    /// Lays a wire that takes `delay` in each direction. Where it leads to is said later.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn lay(delay: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let wire = Self { address, to: Arc::default(), cut: Arc::default() };
        let laid = wire.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(laid.clone().carry(stream, delay));
            }
        });
        Ok(wire)
    }

    /// The end to dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads it to a server.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    /// Cuts it: what is on its way is lost, and so is what comes later.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Mends it, for new connections.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }

    async fn carry(self, near: TcpStream, delay: Duration) {
        let to = *self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(to) = to else { return };
        let Ok(far) = TcpStream::connect(to).await else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = self.pass(near_in, far_out, delay) => {}
            () = self.pass(far_in, near_out, delay) => {}
        }
    }

    async fn pass(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            tokio::time::sleep(delay).await;
            if self.cut.load(Ordering::SeqCst) || to.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    }
}
