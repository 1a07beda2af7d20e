//! Servers inside the example's own process, each on a thread of its own. A service would only hold the client; the
//! servers would be processes: `handfast coordinator` and `handfast participant`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use handfast_common::ids::Name;
use handfast_coordinator::server as coordinator;
use handfast_participant::server as participant;

/// Starts a coordinator in a folder.
///
/// # Errors
/// When it does not become ready.
pub fn start_coordinator(folder: &Path) -> anyhow::Result<SocketAddr> {
    let options = coordinator::Options::new(folder.join("coordinator"), Name::new("coordinator")?, "127.0.0.1:0");
    on_a_thread(|tell| async move {
        coordinator::run(options, |ready| tell.send(ready.address).unwrap_or(()), std::future::pending()).await?;
        Ok(())
    })
}

/// Starts a participant over the embedded store in a folder.
///
/// # Errors
/// When it does not become ready.
pub fn start_participant(folder: &Path, name: &str, coordinator: SocketAddr) -> anyhow::Result<SocketAddr> {
    let mut options = participant::Options::new(folder.join(name), Name::new(name)?, "127.0.0.1:0");
    options.coordinators = vec![coordinator.to_string()];
    on_a_thread(|tell| async move {
        participant::run(options, |ready| tell.send(ready.address).unwrap_or(()), std::future::pending()).await?;
        Ok(())
    })
}

/// Runs a server on a thread of its own and waits until it is ready.
///
/// # Errors
/// When it does not become ready.
pub fn on_a_thread<F>(serve: impl FnOnce(mpsc::Sender<SocketAddr>) -> F + Send + 'static) -> anyhow::Result<SocketAddr>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve(tell))
    });
    told.recv_timeout(Duration::from_secs(30)).context("a server did not become ready")
}
