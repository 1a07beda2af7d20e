//! What an application calls: submit a transaction, learn its outcome.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use handfast_client::{Client, Options, Outcome, Transaction, add};
//!
//! let client = Client::connect(Options { coordinators: vec!["127.0.0.1:7117".into()], ..Options::default() })?;
//! let transfer = Transaction::new()
//!     .branch("bank-a", vec![add("alice", -100).at_least(0)])?
//!     .branch("bank-b", vec![add("bob", 100).into()])?;
//! let report = client.submit(transfer, Duration::from_secs(5)).await?;
//! match report.outcome {
//!     Outcome::Committed(_) => println!("done"),
//!     Outcome::Aborted(reason) => println!("nothing happened: {reason}"),
//!     // No answer came in time. Ask again with the same key and ticket: never submit it anew.
//!     other => println!("{other:?}: ask again for {}", report.key),
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod link;
mod participant;
mod transaction;

pub use client::{Client, Error, Options, Outcome, Question, Report};
pub use link::DialFailure;
pub use participant::ParticipantClient;
pub use transaction::{Adding, InvalidTransaction, Transaction, add, get, put};
