//! `handfast coordinator` and `handfast participant`.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use handfast_common::ids::Name;
use handfast_common::limits;
use handfast_common::storage::StorageError;
use handfast_coordinator::protocol::Guard;
use handfast_coordinator::server as coordinator_server;
use handfast_participant::server as participant_server;

use crate::config::{File, Guard as GuardKey, OneOrMany, check_address, check_listen, milliseconds};
use crate::errors::{Failure, exit};

/// Where a coordinator listens if nobody says otherwise.
const COORDINATOR_PORT: &str = "127.0.0.1:7117";

/// Flags of both servers.
#[derive(Args, Clone, Debug)]
struct ServerArgs {
    /// Data folder; made if it does not exist.
    #[arg(long, env = "HANDFAST_DATA")]
    data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "HANDFAST_LISTEN")]
    listen: Option<String>,
    /// Address that others are told to dial.
    #[arg(long, env = "HANDFAST_ADVERTISE")]
    advertise: Option<String>,
    /// Name of this server.
    #[arg(long, env = "HANDFAST_NAME")]
    name: Option<String>,
    /// Configuration file (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Allows listening beyond this machine without encryption and authentication.
    #[arg(long)]
    insecure: bool,
}

/// Runs a coordinator.
#[derive(Args, Clone, Debug)]
pub(crate) struct CoordinatorArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A participant's address, given by hand; may be repeated.
    #[arg(long = "participant", value_name = "NAME=HOST:PORT")]
    participants: Vec<String>,
}

/// Runs a participant.
#[derive(Args, Clone, Debug)]
pub(crate) struct ParticipantArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A coordinator to register with; may be repeated.
    #[arg(long = "coordinator", env = "HANDFAST_COORDINATOR", value_delimiter = ',', value_name = "HOST:PORT")]
    coordinators: Vec<String>,
}

pub(crate) fn coordinator(args: &CoordinatorArgs) -> Result<u8, Failure> {
    let file = File::read(args.server.config.as_deref())?;
    let common = Common::settle(&args.server, &file, "coordinator", COORDINATOR_PORT)?;
    let mut options = coordinator_server::Options::new(&args.server.data, common.name.clone(), common.listen);
    options.advertise = common.advertise;
    options.participants = args.participants.iter().map(|text| by_hand(text)).collect::<Result<_, _>>()?;
    options.log.commit = file.commit_mode();
    options.log.cache_bytes = file.cache_mb.map_or(options.log.cache_bytes, |mb| mb << 20);
    options.disk_reserve = file.disk_reserve_mb.map_or(limits::DISK_RESERVE, |mb| mb << 20);
    let machine = &mut options.machine;
    machine.prepare_timeout = milliseconds(file.prepare_timeout_ms, machine.prepare_timeout);
    machine.max_in_flight = file.max_in_flight.unwrap_or(machine.max_in_flight);
    machine.max_branches = file.max_branches.unwrap_or(machine.max_branches);
    machine.max_transaction_bytes = file.max_transaction_bytes.unwrap_or(machine.max_transaction_bytes);
    machine.retention_count = file.retention_count.unwrap_or(machine.retention_count);
    if let Some(days) = file.retention_days {
        machine.retention_ticks = days * 24 * 3_600 / machine.retention_tick.as_secs();
    }
    if file.guard == Some(GuardKey::Strict) {
        machine.guard = Guard::Strict;
    }
    let name = common.name;
    let ready = move |ready: coordinator_server::Ready| {
        say_ready(&format!("ready coordinator {name} {} epoch={}", ready.address, ready.epoch.0));
    };
    run(
        |shutdown| coordinator_server::run(options, ready, shutdown),
        |error| {
            use coordinator_server::ServeError as E;
            match error {
                E::Storage(error) => storage(&error),
                E::Listen { .. } => Failure::new("HF0403", exit::CONFIGURATION, error.to_string(), ""),
                E::Log { .. } | E::Integrity(_) => Failure::new("HF0201", exit::INTEGRITY, error.to_string(), ""),
            }
        },
    )
}

pub(crate) fn participant(args: &ParticipantArgs) -> Result<u8, Failure> {
    let file = File::read(args.server.config.as_deref())?;
    let common = Common::settle(&args.server, &file, "", "127.0.0.1:0")?;
    let mut options = participant_server::Options::new(&args.server.data, common.name.clone(), common.listen);
    options.advertise = common.advertise;
    options.coordinators = args.coordinators.clone();
    if options.coordinators.is_empty() {
        options.coordinators =
            file.coordinator.clone().map_or_else(|| vec![COORDINATOR_PORT.to_owned()], OneOrMany::into_vec);
    }
    options.coordinators.iter().try_for_each(|address| check_address("coordinator's address", address))?;
    options.lock_wait = milliseconds(file.lock_wait_ms, options.lock_wait);
    options.commit = file.commit_mode();
    options.cache_bytes = file.cache_mb.map_or(options.cache_bytes, |mb| mb << 20);
    options.disk_reserve = file.disk_reserve_mb.map_or(limits::DISK_RESERVE, |mb| mb << 20);
    let name = common.name;
    let ready = move |ready: participant_server::Ready| {
        say_ready(&format!("ready participant {name} {}", ready.address));
    };
    run(
        |shutdown| participant_server::run(options, ready, shutdown),
        |error| {
            use participant_server::ServeError as E;
            match error {
                E::Storage(error) => storage(&error),
                E::Listen { .. } => Failure::new("HF0403", exit::CONFIGURATION, error.to_string(), ""),
                E::Records { .. } | E::Integrity(_) => Failure::new("HF0201", exit::INTEGRITY, error.to_string(), ""),
            }
        },
    )
}

/// What both servers settle alike.
struct Common {
    name: Name,
    listen: String,
    advertise: Option<String>,
}

impl Common {
    fn settle(args: &ServerArgs, file: &File, name: &str, listen: &str) -> Result<Self, Failure> {
        let wrong = |what: &str, why: String| Failure::new("HF0401", exit::CONFIGURATION, what, why);
        let name = args.name.clone().or_else(|| file.name.clone()).unwrap_or_else(|| name.to_owned());
        if name.is_empty() {
            return Err(wrong("a participant needs a name", "give it with --name: transactions say it".to_owned()));
        }
        let name = Name::new(name).map_err(|error| wrong("wrong name", error.to_string()))?;
        let listen = args.listen.clone().or_else(|| file.listen.clone()).unwrap_or_else(|| listen.to_owned());
        let advertise = args.advertise.clone().or_else(|| file.advertise.clone());
        check_listen(&listen, advertise.as_deref(), args.insecure)?;
        advertise.iter().try_for_each(|address| check_address("address to advertise", address))?;
        Ok(Self { name, listen, advertise })
    }
}

fn by_hand(text: &str) -> Result<(Name, String), Failure> {
    let wrong = |why: String| Failure::new("HF0401", exit::CONFIGURATION, format!("wrong --participant '{text}'"), why);
    let Some((name, address)) = text.split_once('=') else { return Err(wrong("it is NAME=HOST:PORT".to_owned())) };
    let name = Name::new(name).map_err(|error| wrong(error.to_string()))?;
    check_address("participant's address", address)?;
    Ok((name, address.to_owned()))
}

/// Runs a server on this thread until a signal asks it to end.
fn run<F, E>(
    serve: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()>>>) -> F,
    failed: impl FnOnce(E) -> Failure,
) -> Result<u8, Failure>
where
    F: Future<Output = Result<(), E>>,
{
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
        let shutdown = Box::pin(async move {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        Ok(serve(shutdown).await)
    });
    // Connections end with the runtime; a task that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    served?.map(|()| 0).map_err(failed)
}

fn storage(error: &StorageError) -> Failure {
    if let StorageError::Io { file, doing, source } = error
        && is_operators(source.kind())
    {
        let what = format!("can't use {}", file.display());
        return Failure::new("HF0401", exit::CONFIGURATION, what, format!("could not {doing}: {source}"));
    }
    let exit = u8::try_from(error.exit_code()).unwrap_or(exit::OTHER);
    Failure { code: error.code(), what: error.to_string(), why: String::new(), next: String::new(), exit }
}

/// Errors that a wrong path or missing rights make, and no failing disk.
fn is_operators(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::AlreadyExists
    )
}

/// The one line on stdout.
fn say_ready(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started us may have closed the pipe; that is no reason to stop serving.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Lines for people on a terminal, JSON lines elsewhere; `HANDFAST_LOG` says how much.
fn log_to_stderr() {
    let filter = std::env::var("HANDFAST_LOG").unwrap_or_else(|_| "info".to_owned());
    // tarpc opens a span per call: two fifths of the throughput.
    let filter = EnvFilter::new(format!("{filter},tarpc=off"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
    // Set already when a test runs two servers in one process.
    drop(set);
}
