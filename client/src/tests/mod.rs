//! The client against a coordinator that says what the test wants.

mod answers;
mod balancing;
mod cancelling;
mod doubt;
mod ending;
mod fake;
mod joining;
mod links;
mod operations;
mod registry;
mod system;
mod transacting;

use std::time::Duration;

use handfast_common::ids::Name;
use handfast_common::messages::Told;
use handfast_common::operation::{OnKey, Operation};
use handfast_common::outcome::{Outcome as Wire, Reason, ReasonKind};

use crate::{Client, Options, Transaction};
use fake::txn;

const SOON: Duration = Duration::from_secs(5);

fn client(address: &str) -> Client {
    Client::connect(Options::new([address])).expect("an address")
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn work() -> Transaction {
    let get = |key: &str| Operation::Get(OnKey { key: key.into() });
    Transaction::new().branch("a", [get("x")]).branch("b", [get("y")])
}

fn told(number: u64, age: u64, outcome: Wire) -> Told {
    Told::Outcome { txn: Some(txn(number)), age: handfast_common::ids::Age(age), outcome }
}

fn committed(number: u64) -> Told {
    told(number, 1, Wire::Committed(Vec::new()))
}

fn aborted(number: u64, age: u64, kind: ReasonKind) -> Told {
    told(number, age, Wire::Aborted(Reason::new(kind, "")))
}
