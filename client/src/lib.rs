//! What an application calls: run transactions over any participants, and learn what became of them.
//!
//! A service reads, thinks, writes, and all of it takes effect or none of it:
//!
//! ```no_run
//! use handfast_client::{Client, OperationError, Options, TransactError};
//!
//! # async fn transfer() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Options::new(["127.0.0.1:7117"]))?;
//! let moved: Result<(), TransactError<OperationError>> = client
//!     .transact(|tx| async move {
//!         tx.add_within("bank-a", "alice", -100, 0..).await?;
//!         tx.add("bank-b", "bob", 100).await
//!     })
//!     .await;
//! moved?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::transact`] runs its body again when it lost a conflict or a participant was restarted. [`Client::begin`]
//! gives the same transaction by hand: [`Tx::commit`], [`Tx::rollback`]; one that is dropped is rolled back.
//!
//! # Several services in one transaction
//! The caller sends [`Work::context`] along, as the value of one header; the service that is called joins it and does
//! its own work in the same transaction. What it answers is for the caller to act on: only who began it commits.
//!
//! ```no_run
//! # use handfast_client::{Client, Context, ContextError, HEADER, OperationError, Tx};
//! # fn call(_: &str, _: String) {}
//! # async fn order(tx: Tx) -> Result<(), ContextError> {
//! call(HEADER, tx.context().to_header()?);
//! # Ok(())
//! # }
//! # async fn stock(client: Client, header: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let context: Context = header.parse()?;
//! client.join(&context).add_within("stock", "apples", -3, 0..).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Everything known beforehand
//! Where no value that was read decides what is written, [`Client::submit`] sends all work at once, in one message:
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
//! Every call ends by its deadline and one second. Every error says whether the outcome is known
//! (`is_outcome_known`) and whether doing the same again is safe and may succeed (`is_retryable`).
//! - `submit` and `outcome`: `Ok` with an [`Outcome`] that is final; `Ok` with [`Outcome::Unknown`] when no answer came:
//!   it may have committed, or may still; `Err` when nothing was begun by this call.
//! - `commit` and `transact`: `Ok` is committed. Of the errors only [`CommitError::Unknown`] leaves it open. Key and
//!   ticket of its report ask again, at any later time: [`Client::outcome`].
//!
//! # Futures that are dropped
//! A call may be dropped at any await. A `submit` may have its effect all the same. A transaction that was begun is rolled back with its last
//! handle; a commit that was called is finished. An operation whose answer nobody waited for may have been carried out
//! or not: its transaction is not committed any more.
//!
//! # Keys and tickets
//! A key belongs for ever to the ticket it was first sent with, and to the coordinator that the ticket names: every
//! later word about it carries that one, to that one. A coordinator can then tell a key it never saw from one it has
//! forgotten. After a lost connection the client therefore *asks*, it does not send again: a question with a ticket
//! also keeps the transaction from committing later, so the answer is definite.
//!
//! # Several coordinators
//! New keys and new transactions are spread over them by [`Balance`]; what has begun stays where it is. Each client
//! tells all of them the highest transaction age it has heard of, so that no coordinator's transactions always lose.

mod ages;
mod balance;
mod client;
mod context;
mod error;
mod links;
mod network;
mod participant;
mod pool;
mod registry;
mod report;
mod retry;
mod submitting;
#[cfg(test)]
mod tests;
mod transaction;
mod tx;

pub use balance::Balance;
pub use client::{Client, Filter, Options};
pub use context::{Context, ContextError, HEADER};
pub use error::{Error, NoCoordinator, Obstacle, Unreached};
pub use participant::ParticipantClient;
pub use registry::OrderError;
pub use report::{Outcome, ReadAt, Report};
pub use retry::Retry;
pub use transaction::Transaction;
pub use tx::{BeginError, CommitError, Committed, DoomError, Joined, OperationError, TransactError, Tx, Work};
