//! The configuration file, and what stands over it: flag over environment over file over default.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use handfast_common::storage::CommitMode;

use crate::errors::{Failure, exit};

/// A configuration file. An unknown key is an error: a misspelt one would silently do nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) coordinator: Option<OneOrMany>,
    pub(crate) prepare_timeout_ms: Option<u64>,
    pub(crate) lock_wait_ms: Option<u64>,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) max_branches: Option<usize>,
    pub(crate) max_transaction_bytes: Option<usize>,
    pub(crate) retention_count: Option<u64>,
    pub(crate) retention_days: Option<u64>,
    pub(crate) cache_mb: Option<usize>,
    pub(crate) disk_reserve_mb: Option<u64>,
    #[serde(default)]
    pub(crate) log: Log,
    pub(crate) guard: Option<Guard>,
}

/// The keys `log.*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    commit: Option<Commit>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Commit {
    TwoPhase,
    OnePhase,
}

/// How much an inquiry of an older epoch waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Guard {
    Reachable,
    Strict,
}

/// A string, or a list of them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl File {
    /// Reads a file; no path is an empty file.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let wrong =
            |why: String| Failure::new("HF0401", exit::CONFIGURATION, format!("can't use {}", path.display()), why);
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file: Self = toml::from_str(&text).map_err(|error| wrong(one_line(&error.to_string())))?;
        file.check().map_err(wrong)?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        let range = |key: &str, value: Option<u64>, least: u64, most: u64| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err(format!("{key} = {value} is not from {least} to {most}"))
            }
            Some(_) | None => Ok(()),
        };
        let count = |value: Option<usize>| value.map(|value| value as u64);
        range("prepare_timeout_ms", self.prepare_timeout_ms, 10, 60_000)?;
        range("lock_wait_ms", self.lock_wait_ms, 0, 60_000)?;
        range("max_in_flight", count(self.max_in_flight), 4, 4_096)?;
        range("max_branches", count(self.max_branches), 1, handfast_common::limits::MAX_BRANCHES as u64)?;
        let bytes = handfast_common::limits::MAX_TRANSACTION_BYTES as u64;
        range("max_transaction_bytes", count(self.max_transaction_bytes), 1_024, bytes)?;
        range("retention_count", self.retention_count, 1, 100_000_000)?;
        range("retention_days", self.retention_days, 1, 3_650)?;
        range("cache_mb", count(self.cache_mb), 1, 65_536)?;
        range("disk_reserve_mb", self.disk_reserve_mb, 17, 1 << 20)
    }

    pub(crate) fn commit_mode(&self) -> CommitMode {
        match self.log.commit {
            Some(Commit::OnePhase) => CommitMode::OnePhase,
            Some(Commit::TwoPhase) | None => CommitMode::TwoPhase,
        }
    }
}

/// Milliseconds of the file, or the default.
pub(crate) fn milliseconds(value: Option<u64>, default: Duration) -> Duration {
    value.map_or(default, Duration::from_millis)
}

/// An address that others dial.
pub(crate) fn check_address(what: &str, address: &str) -> Result<(), Failure> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => {
            let why = format!("'{address}' is not HOST:PORT");
            Err(Failure::new("HF0401", exit::CONFIGURATION, format!("wrong {what}"), why))
        }
    }
}

/// A server that listens beyond this machine needs its operator's word for it, and an address that can be dialled.
pub(crate) fn check_listen(listen: &str, advertise: Option<&str>, insecure: bool) -> Result<(), Failure> {
    let Some((host, _)) = listen.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) else {
        let why = format!("'{listen}' is not HOST:PORT");
        return Err(Failure::new("HF0401", exit::CONFIGURATION, "wrong listen address", why));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    let loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    if !loopback && !insecure {
        let why = format!("{listen} can be reached from other machines, and connections are not protected yet");
        return Err(Failure::new("HF0402", exit::CONFIGURATION, "refusing to listen beyond this machine", why));
    }
    if address.is_some_and(|address| address.is_unspecified()) && advertise.is_none() {
        let why = format!("others can't dial {listen}: say with --advertise where this server is reached");
        return Err(Failure::new("HF0401", exit::CONFIGURATION, "no address to advertise", why));
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_and_known_ones_are_read() {
        let file: File = toml::from_str("coordinator = 'a:1'\nlog.commit = 'one-phase'\nguard = 'strict'\n").unwrap();
        assert_eq!(file.commit_mode(), CommitMode::OnePhase);
        assert_eq!(file.guard, Some(Guard::Strict));
        assert!(toml::from_str::<File>("lissten = 'x'").is_err());
        assert!(toml::from_str::<File>("log.comit = 'x'").is_err());
    }

    #[test]
    fn listening_beyond_this_machine_needs_a_word() {
        assert!(check_listen("127.0.0.1:0", None, false).is_ok());
        assert!(check_listen("[::1]:7117", None, false).is_ok());
        assert_eq!(check_listen("10.0.0.1:7117", None, false).unwrap_err().exit, 10);
        assert!(check_listen("10.0.0.1:7117", None, true).is_ok());
        assert_eq!(check_listen("0.0.0.0:7117", None, true).unwrap_err().exit, 10);
        assert!(check_listen("0.0.0.0:7117", Some("h:7117"), true).is_ok());
        assert_eq!(check_listen("7117", None, false).unwrap_err().exit, 10);
        assert!(check_address("address", "host:7117").is_ok());
        for bad in ["nonsense", ":1", "host:", "host:0", "host:x"] {
            assert_eq!(check_address("address", bad).unwrap_err().exit, 10, "{bad}");
        }
    }
}
