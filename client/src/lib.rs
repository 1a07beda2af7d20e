//! What an application calls: submit transactions over any participants, and learn what became of them.
//!
//! ```no_run
//! use std::time::Duration;
//! use handfast_client::{Client, Options, Transaction};
//! use handfast_common::operation::{Add, Operation};
//!
//! # async fn transfer() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Options::new(["127.0.0.1:7117"]))?;
//! let add = |key: &str, delta, min| Operation::Add(Add { key: key.into(), delta, min, max: None });
//! let transfer = Transaction::new()
//!     .branch("bank-a", [add("alice", -100, Some(0))])
//!     .branch("bank-b", [add("bob", 100, None)]);
//! let report = client.submit(transfer, Duration::from_secs(10)).await?;
//! println!("{}@{:?}: {}", report.key, report.ticket, report.outcome);
//! # Ok(())
//! # }
//! ```
//!
//! # What an answer means
//! [`Client::submit`] ends by its deadline and one second, as one of three:
//! - `Ok` with an [`Outcome`] that is final: committed, aborted, and the rarer ones;
//! - `Ok` with [`Outcome::Unknown`]: no answer came. It may have committed, or may still. Key and ticket of the report
//!   ask again, at any later time: [`Client::outcome`];
//! - `Err`: nothing was begun by this call, and [`Error::is_retryable`] says whether calling again makes sense.
//!
//! # Keys and tickets
//! A key belongs for ever to the ticket it was first sent with, and to the coordinator that the ticket names: every
//! later word about it carries that one, to that one. A coordinator can then tell a key it never saw from one it has
//! forgotten. After a lost connection the client therefore *asks*, it does not send again: a question with a ticket
//! also keeps the transaction from committing later, so the answer is definite.

mod client;
mod error;
mod links;
mod participant;
mod report;
mod retry;
mod submitting;
#[cfg(test)]
mod tests;
mod transaction;

pub use client::{Client, Filter, Options};
pub use error::{Error, NoCoordinator, Obstacle, Unreached};
pub use participant::ParticipantClient;
pub use report::{Outcome, ReadAt, Report};
pub use retry::Retry;
pub use transaction::Transaction;
