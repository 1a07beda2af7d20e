//! Flags of every command that calls a coordinator.

use std::time::Duration;

use clap::Args;

use handfast_client::{Client, Error, Options};

use crate::errors::Failure;

/// Which coordinator to call, and for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// A coordinator's address; may be repeated.
    #[arg(
        long = "coordinator",
        env = "HANDFAST_COORDINATOR",
        value_delimiter = ',',
        default_value = "127.0.0.1:7117",
        value_name = "HOST:PORT"
    )]
    pub(crate) coordinators: Vec<String>,
    /// Milliseconds after which a call ends, as unknown if need be.
    #[arg(long, default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(crate) deadline: u64,
}

impl ClientArgs {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::connect(Options::new(&self.coordinators)).map_err(|error| Failure::client(&error))
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline)
    }
}

/// Runs a call to its end.
pub(crate) fn block_on<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    runtime.block_on(call).map_err(|error| Failure::client(&error))
}
