//! The examples are the `.rs` files beside this folder; run one with `cargo run -p handfast-examples --example NAME`. Here is
//! what they share.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use handfast_common::ids::Name;
use handfast_coordinator::server as coordinator;

/// Starts a coordinator on a thread of its own, in a folder below this one; its address, once it is ready. It ends with the
/// program, as by a kill.
///
/// # Errors
/// When it does not become ready.
pub fn start_coordinator(folder: &Path) -> anyhow::Result<String> {
    let options = coordinator::Options::new(folder.join("coordinator"), Name::new("coordinator")?, "127.0.0.1:0");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ready = move |ready: coordinator::Ready| drop(tell.send(ready.address.to_string()));
        Ok(runtime.block_on(coordinator::run(options, ready, std::future::pending()))?)
    });
    told.recv_timeout(Duration::from_secs(30)).context("the coordinator did not become ready")
}
