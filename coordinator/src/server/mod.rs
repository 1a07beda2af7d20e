//! The coordinator's process: one owner task that feeds the machine and carries out what it says.
//!
//! ```text
//! listener ── requests ──┐                        ┌── Append ──> log worker (a thread)
//! peers ──── answers ────┤                        ├── Send ────> peers
//! log ────── forced ─────┼──> owner task: step() ─┼── Reply ───> listener's connections
//! timers ────────────────┘                        └── SetTimer > timers
//! ```
//!
//! Everything happens on one thread save the log's writing. Nothing here looks at a phase or decides anything.

mod fail_points;
mod owner;
mod peers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use handfast_common::failpoints;
use handfast_common::ids::{Epoch, Name};
use handfast_common::limits;
use handfast_common::storage::{Folder, Kind, Space, SpaceOptions, StorageError};
use uuid::Uuid;

use crate::log::{DecisionLog, LogOptions, RedbLog};
use crate::protocol::{Config, Coordinator, Input, RecoveryError};

/// What a coordinator's server is told.
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
    /// Participants whose addresses were given by hand.
    pub participants: Vec<(Name, String)>,
    /// What the machine is told; its address is filled in.
    pub machine: Config,
    /// How the log is kept.
    pub log: LogOptions,
    /// Free space that is left alone.
    pub disk_reserve: u64,
}

impl Options {
    /// A coordinator on this folder, everything else by default.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, name: Name, listen: impl Into<String>) -> Self {
        Self {
            data: data.into(),
            name,
            listen: listen.into(),
            advertise: None,
            participants: Vec::new(),
            machine: Config::default(),
            log: LogOptions::default(),
            disk_reserve: limits::DISK_RESERVE,
        }
    }
}

/// What is told once the epoch is on disk and the port is open.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its epoch.
    pub epoch: Epoch,
}

/// Why a coordinator's server ended, other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its folder, its file or its disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log's records contradict each other.
    #[error("{}: {error}; keep the file, restore the newest backup or ask for help", file.display())]
    Log {
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

/// Runs a coordinator until `shutdown` completes (then it drains and returns Ok) or something forces it to stop.
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
    let folder = Folder::lock(&options.data, Kind::Coordinator, options.name.as_str())?;
    let space_options = SpaceOptions { reserve: options.disk_reserve, ..SpaceOptions::DEFAULTS };
    let space = Space::new(&folder, space_options)?;
    let mut log = RedbLog::open(&folder, options.log, Uuid::new_v4)?;
    let found = log.read_all()?;
    let identity = found.log;

    let listening = owner::Listening::bind(&options).await?;
    let mut config = options.machine.clone();
    config.name = options.name.clone();
    config.address = listening.advertised.clone();
    let nonce = handfast_common::ids::Nonce(rand::random());
    let (machine, effects) = Coordinator::recover(config, identity, nonce, found.records, found.last_number)
        .map_err(|error| ServeError::Log { file: folder.store("coordinator").file, error })?;

    failpoints::reach("co10.after_scan");
    let mut owner = owner::Owner::new(machine, log, space, options.name.clone())?;
    owner.carry_out(effects);
    owner.until_ready().await?;
    failpoints::reach("co10.before_ready");
    for (name, address) in &options.participants {
        owner.take_in(Input::AddressGiven { name: name.clone(), address: address.clone() });
    }
    ready(Ready { address: listening.address, epoch: owner.epoch() });
    owner.serve(listening, shutdown).await
}

/// How long a drain waits for transactions that are undecided. A kill would do: this only spares clients a retry.
/// Interactive ones that are still open are left alone: a participant drops its branch when the next start greets it, or
/// when its reports stay unanswered for the idle limit.
const DRAIN: Duration = Duration::from_secs(2);
