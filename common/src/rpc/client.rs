//! One connection for whoever calls now and then: the client library, the command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;
use tarpc::client::NewClient;
use tokio::task::AbortHandle;

use super::call::{CallError, MAX_CALL_TIMEOUT, client_config, with_deadline};
use super::dial::{DialError, dial};
use super::hello::Hello;

/// A connection that any number of tasks call over. It never redials: once closed, it stays so. Clones share it; when
/// the last one goes, it is closed.
#[derive(Debug)]
pub struct Connection<Req, Resp> {
    channel: tarpc::client::Channel<Req, Resp>,
    driver: Arc<Driver>,
}

/// The task that reads and writes.
#[derive(Debug)]
struct Driver {
    task: AbortHandle,
    /// Set before the task has really ended, so that no call starts in between.
    closed: AtomicBool,
}

impl<Req, Resp> Clone for Connection<Req, Resp> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), driver: Arc::clone(&self.driver) }
    }
}

impl<Req, Resp> Connection<Req, Resp>
where
    Req: RequestName + Serialize + Send + 'static,
    Resp: DeserializeOwned + Send + 'static,
{
    /// Connects to `address` (`host:port`) within `within`; also returns who answered.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn connect(address: &str, own: &Hello, within: Duration) -> Result<(Self, Hello), DialError> {
        let (transport, peer) = dial(address, own, within).await?;
        let NewClient { client: channel, dispatch } = tarpc::client::new(client_config(), transport);
        let task = tokio::spawn(async move {
            if let Err(error) = dispatch.await {
                tracing::debug!(error = super::call::chain(&error), "connection lost");
            }
        });
        let driver = Driver { task: task.abort_handle(), closed: AtomicBool::new(false) };
        Ok((Self { channel, driver: Arc::new(driver) }, peer))
    }

    /// Calls and waits for the answer, `within` at the most (and [`MAX_CALL_TIMEOUT`]). When that passes, the
    /// connection is closed, with all calls on it: a peer that does not answer one may answer none, and a connection
    /// that lost bytes never recovers.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, request: Req, within: Duration) -> Result<Resp, CallError> {
        if self.is_closed() {
            return Err(CallError::NotSent("the connection is closed".into()));
        }
        let within = within.min(MAX_CALL_TIMEOUT);
        let context = with_deadline(tarpc::context::current());
        match tokio::time::timeout(within, self.channel.call(context, request)).await {
            Ok(done) => done.map_err(CallError::from),
            Err(_) => {
                self.driver.close();
                Err(CallError::MayHaveArrived(format!("none within {within:?}")))
            }
        }
    }

    /// Whether the connection is gone: every call from here on fails as not sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.driver.closed.load(Ordering::Relaxed) || self.driver.task.is_finished()
    }
}

impl Driver {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.close();
    }
}
