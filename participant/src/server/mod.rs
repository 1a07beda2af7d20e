//! The participant's process: one owner task that feeds the machine and carries out what it says.
//!
//! ```text
//! listener ── orders ──────────┐                        ┌── Prepare, Commit ... ──> resource manager
//! resource manager ── done ────┼──> owner task: step() ─┼── Reply ────────────────> listener's connections
//! coordinators ── answers ─────┤                        ├── Inquire ──────────────> links to coordinators
//! timers ──────────────────────┘                        └── SetTimer ─────────────> timers
//! ```
//!
//! Nothing here looks at a branch's state or decides anything.

mod fail_points;
mod links;
mod listing;
mod owner;
mod peers;
mod several;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use uuid::Uuid;

use handfast_common::ids::{Incarnation, Name};
use handfast_common::limits;
use handfast_common::rpc::{Caps, Listener};
use handfast_common::storage::{self, CommitMode, Folder, Kind, Space, SpaceOptions, StorageError};

use crate::kv::{self, KvStore};
use crate::protocol::{Config, Participant, RecoveryError};
use crate::resource::{ParticipantLog, ResourceManager};

pub use several::Participants;

/// What a participant's server is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its data folder; made if absent.
    pub data: PathBuf,
    /// Its name.
    pub name: Name,
    /// Where it listens, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where others reach it, if that differs.
    pub advertise: Option<String>,
    /// Coordinators it registers with.
    pub coordinators: Vec<String>,
    /// How long work waits for locks.
    pub lock_wait: Duration,
    /// How commits reach the disk.
    pub commit: CommitMode,
    /// Bytes of redb's page cache.
    pub cache_bytes: usize,
    /// Free space that is left alone.
    pub disk_reserve: u64,
}

impl Options {
    /// A participant on this folder, everything else by default.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, name: Name, listen: impl Into<String>) -> Self {
        Self {
            data: data.into(),
            name,
            listen: listen.into(),
            advertise: None,
            coordinators: Vec::new(),
            lock_wait: limits::LOCK_WAIT,
            commit: CommitMode::TwoPhase,
            cache_bytes: kv::Options::DEFAULTS.store.cache_bytes,
            disk_reserve: limits::DISK_RESERVE,
        }
    }
}

/// What is told once the store is recovered, its locks are held and the port is open.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Which participant: a process may run several.
    pub name: Name,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Why a participant's server ended, other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its folder, its file or its disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store's records contradict each other.
    #[error("{}: {error}; keep the file, restore the newest backup or ask for help", file.display())]
    Records {
        /// The file.
        file: PathBuf,
        /// The record and what is wrong.
        error: RecoveryError,
    },
    /// Going on would have broken a promise.
    #[error("{0}")]
    Integrity(String),
    /// The port.
    #[error("can't listen on {address}: {source}; is it taken, or not an address of this machine?")]
    Listen {
        /// What was asked for.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What a resource manager is opened with, once its folder is locked.
pub struct Start {
    /// The participant's data folder.
    pub folder: Folder,
    /// How to open a [`storage::Store`] in it.
    pub store: storage::Options,
    /// Room on its disk; made before any store is opened.
    pub space: Arc<Space>,
    /// This start: to be forced before the resource manager is handed back.
    pub incarnation: Incarnation,
    /// Gets the first error of the store after that, from whatever thread; it ends the process.
    pub on_fatal: Box<dyn FnOnce(StorageError) + Send>,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Runs a participant over the embedded store until `shutdown` completes or something forces it to stop.
///
/// To be run on a current-thread runtime: one thread per node is what it is fastest on.
///
/// # Errors
/// See [`ServeError`]. All but `Listen` mean that the process should end: nothing more must be said by it.
pub async fn run(
    options: Options,
    ready: impl FnOnce(Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let opened = OnceCell::new();
    let open = async |start: Start| {
        let Start { folder, store, space, incarnation, on_fatal } = start;
        let options = kv::Options { store, ..kv::Options::DEFAULTS };
        let store = KvStore::open(&folder, options, space, incarnation, Uuid::new_v4, on_fatal)?;
        Ok(opened.get_or_init(|| store).clone())
    };
    let served = serve(options, open, ready, shutdown).await;
    if let Some(written) = opened.get().map(KvStore::counters) {
        let (commits, forces, records) = (written.batches(), written.forces(), written.items());
        tracing::info!(commits, forces, records, "ended");
    }
    served
}

/// Runs a participant over any store: `open` opens it in the folder that is locked by then.
///
/// To be run on a current-thread runtime, like [`run`]; several run side by side on one: [`Participants`].
///
/// # Errors
/// See [`ServeError`]. All but `Listen` mean that the process should end: nothing more must be said by it.
pub async fn serve<R: ResourceManager + ParticipantLog>(
    options: Options,
    open: impl AsyncFnOnce(Start) -> Result<R, StorageError>,
    ready: impl FnOnce(Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let failed = |source| ServeError::Listen { address: options.listen.clone(), source };
    let folder = Folder::lock(&options.data, Kind::Participant, options.name.as_str())?;
    let space_options = SpaceOptions { reserve: options.disk_reserve, ..SpaceOptions::DEFAULTS };
    let space = Arc::new(Space::new(&folder, space_options)?);
    let incarnation = Incarnation(rand::random());
    let (inbox, events) = unbounded_channel();
    let fatal = inbox.clone();
    let on_fatal = Box::new(move |error| drop(fatal.send(owner::Event::Fatal(error))));
    let store =
        storage::Options { commit: options.commit, cache_bytes: options.cache_bytes, ..storage::Options::DEFAULTS };
    let store = open(Start { folder, store, space, incarnation, on_fatal }).await?;

    let mut config = Config::new(options.name.clone(), store.identity(), incarnation);
    config.lock_wait = options.lock_wait;
    let recovered = Participant::recover(config.clone(), store.recovered());
    let (machine, effects) = recovered.map_err(|error| ServeError::Records { file: store.file(), error })?;
    let listener = Listener::bind(options.listen.as_str(), Caps::DEFAULTS).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let advertised = options.advertise.clone().unwrap_or_else(|| address.to_string());
    let mut owner = owner::Owner::new(machine, store, config, advertised, (inbox, events));
    for coordinator in &options.coordinators {
        owner.keep_link(coordinator);
    }
    owner.carry_out(effects);
    ready(Ready { name: options.name.clone(), address });
    owner.serve(listener, shutdown).await
}
