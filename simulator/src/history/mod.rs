//! Histories of transactions, and whether they could have run one after the other.
//!
//! Clients record what they did and what they saw; nothing of the system under test is believed. The check rebuilds
//! from that which transaction came before which, and looks for cycles. Its definitions are Adya's (Weak Consistency:
//! A Generalized Theory and Optimistic Implementations for Distributed Transactions, MIT 1999): G0, G1a, G1b, G1c,
//! G-single, G2. How the order of versions is found from lists that are only appended to is due to Kingsbury and
//! Alvaro (Elle: Inferring Isolation Anomalies from Experimental Observations, VLDB 2020).
//!
//! Two kinds of values. A *list* shows its whole past at every read: of lists all orders are known that anybody has
//! seen. A *register* shows one value only: its order is known where a transaction reads before it writes, so let
//! transactions do that. Every element appended and every value written is used once in the whole history
//! ([`Recorder::fresh`]). A store without lists keeps one as text ([`list_to_text`]), read and rewritten within one
//! transaction.
//!
//! What is checked is serializability and no more: nothing is concluded from the time at which things happened, save
//! that [`History::finally`] was read after all had ended.

mod anomaly;
mod cycles;
mod graph;
mod list;
mod recorder;
mod versions;
mod writers;

use std::fmt;

pub use anomaly::{Anomaly, Class};
pub use list::{list_to_text, text_to_list};
pub use recorder::{Recorder, Trace};

use versions::Versions;
use writers::Writers;

/// What came of a transaction, as far as its client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Told so.
    Committed,
    /// Told so, or never asked to commit.
    Aborted,
    /// No answer: it counts as committed exactly if something it wrote was read.
    Unknown,
}

/// One thing that a transaction did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Added an element at the end of a list. Recorded before it is asked for.
    Append {
        /// Which list.
        key: String,
        /// What; nothing else in the history is the same.
        element: u64,
    },
    /// Read a whole list.
    ReadList {
        /// Which.
        key: String,
        /// From the oldest element to the newest; empty where nothing was found.
        list: Vec<u64>,
    },
    /// Set a register. Recorded before it is asked for.
    Write {
        /// Which register.
        key: String,
        /// To what; nothing else in the history is the same.
        value: u64,
    },
    /// Read a register.
    Read {
        /// Which.
        key: String,
        /// `None` where nothing was found.
        value: Option<u64>,
    },
}

/// One transaction, in the order in which it did things.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// What people know it by.
    pub label: String,
    /// What came of it.
    pub fate: Fate,
    /// What it did.
    pub operations: Vec<Operation>,
}

/// All that clients did. The order of the transactions means nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// All of them.
    pub transactions: Vec<Transaction>,
    /// What was read, outside any of them, after all had ended: only reads.
    pub finally: Vec<Operation>,
}

/// What a history without anomalies was made of: one in which nothing happens has none either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Transactions that committed, those included whose clients don't know.
    pub committed: usize,
    /// Those of them whose clients don't know.
    pub resolved: usize,
    /// Pairs in which one wrote right after the other.
    pub ww: usize,
    /// Pairs in which one read what the other wrote.
    pub wr: usize,
    /// Pairs in which one wrote right after what the other read.
    pub rw: usize,
}

/// Everything that is wrong with a history, a few of each class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anomalies(pub Vec<Anomaly>);

impl History {
    /// Looks whether the committed transactions could have run one after the other. Time and memory grow with the size
    /// of the history; only to find the shortest cycle in one that has cycles may take longer, within a bound.
    ///
    /// # Errors
    /// With what is wrong, worst first.
    ///
    /// # Panics
    /// When the history itself is of no use: an element is written twice, or a key is a list and a register.
    pub fn check(&self) -> Result<Checked, Anomalies> {
        let writers = Writers::of(self);
        let mut anomalies = Vec::new();
        let versions = Versions::of(self, &writers, &mut anomalies);
        let graph = graph::build(self, &writers, &versions);
        cycles::find(self, &writers, &graph, &mut anomalies);
        if anomalies.is_empty() {
            let [ww, wr, rw] = graph.counts();
            return Ok(Checked { committed: writers.committed(), resolved: writers.resolved(self), ww, wr, rw });
        }
        anomalies.sort_by_key(|anomaly| anomaly.class);
        Err(Anomalies(anomalies))
    }

    /// A transaction by its number; one beyond the last stands for what was read finally.
    fn operations(&self, txn: usize) -> &[Operation] {
        self.transactions.get(txn).map_or(&self.finally, |transaction| &transaction.operations)
    }

    fn label(&self, txn: usize) -> &str {
        self.transactions.get(txn).map_or("the end", |transaction| &transaction.label)
    }
}

impl Operation {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Append { key, .. }
            | Self::ReadList { key, .. }
            | Self::Write { key, .. }
            | Self::Read { key, .. } => key,
        }
    }
}

impl Anomalies {
    /// Whether there is one of this class.
    #[must_use]
    pub fn has(&self, class: Class) -> bool {
        self.0.iter().any(|anomaly| anomaly.class == class)
    }
}

impl fmt::Display for Anomalies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|anomaly| writeln!(f, "{anomaly}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { key, element } => write!(f, "append {key} {element}"),
            Self::ReadList { key, list } => write!(f, "read {key} {}", list::shortened(list)),
            Self::Write { key, value } => write!(f, "write {key} {value}"),
            Self::Read { key, value: Some(value) } => write!(f, "read {key} {value}"),
            Self::Read { key, value: None } => write!(f, "read {key} nothing"),
        }
    }
}
