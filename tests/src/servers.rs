//! Servers inside the test's own process, each on a thread of its own, with limits of the test's choice.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use handfast_client::{Client, Options, ParticipantClient};
use handfast_common::ids::Name;
use handfast_coordinator::server as coordinator;
use handfast_examples::servers::{on_a_thread, start_participant};
use tempfile::TempDir;

/// A coordinator and its participants.
#[derive(Debug)]
pub struct Servers {
    folder: TempDir,
    /// Where the coordinator is.
    pub coordinator: SocketAddr,
    /// Where the participants `p0`, `p1` and so on are.
    pub participants: Vec<SocketAddr>,
}

impl Servers {
    /// Starts them, with an idle limit for interactive transactions.
    ///
    /// # Panics
    /// When one of them does not come up.
    #[must_use]
    pub fn start(participants: usize, idle: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let coordinator = start_coordinator(folder.path(), idle);
        let start = |number| start_participant(folder.path(), &format!("p{number}"), coordinator).expect("it starts");
        let participants = (0..participants).map(start).collect();
        Self { folder, coordinator, participants }
    }

    /// Where their files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client.
    ///
    /// # Panics
    /// Never: the address is one.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(Options::new([self.coordinator.to_string()])).expect("an address")
    }

    /// A client of a participant.
    ///
    /// # Panics
    /// Never: the address is one.
    #[must_use]
    pub fn at(&self, participant: usize) -> ParticipantClient {
        ParticipantClient::connect(self.participants[participant].to_string()).expect("an address")
    }
}

fn start_coordinator(folder: &Path, idle: Duration) -> SocketAddr {
    let name = Name::new("coordinator").expect("a name");
    let mut options = coordinator::Options::new(folder.join("coordinator"), name, "127.0.0.1:0");
    options.machine.idle_limit = idle;
    on_a_thread(|tell| async move {
        coordinator::run(options, |ready| tell.send(ready.address).unwrap_or(()), std::future::pending()).await?;
        Ok(())
    })
    .expect("the coordinator starts")
}
