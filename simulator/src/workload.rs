//! What clients want done.
//!
//! Every branch that writes also counts under a key of its transaction's own, so that the end of a run shows how often
//! each transaction took effect at each participant.

use std::collections::BTreeMap;
use std::fmt;

use handfast_common::ids::{Key, Name};
use handfast_common::operation::{Add, Check, OnKey, Operation};

use crate::dice::Dice;

/// A kind of load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Workload {
    /// Transfers between accounts at all participants, and audits that read all of them: the sum is always 0.
    Bank,
    /// Counters: whoever changes one reads the number of its change, so the order of all changes is known.
    Counters,
    /// The same on one key: everybody waits for everybody.
    HotKey,
    /// Changes of a counter at every participant at once.
    FanOut,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bank, Self::Counters, Self::HotKey, Self::FanOut];

    /// As it is called in commands and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Counters => "counters",
            Self::HotKey => "hot-key",
            Self::FanOut => "fan-out",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// How many participants it needs.
    #[must_use]
    pub const fn participants(self) -> usize {
        match self {
            Self::Bank | Self::Counters | Self::HotKey => 3,
            Self::FanOut => 16,
        }
    }

    /// One transaction: the operations of each participant.
    #[must_use]
    pub fn draw(self, dice: &mut Dice, names: &[Name], key: Key) -> BTreeMap<Name, Vec<Operation>> {
        let mut branches = match self {
            Self::Bank => bank(dice, names),
            Self::Counters => counters(dice, names, 4),
            Self::HotKey => counters(dice, names, 1),
            Self::FanOut => names.iter().map(|name| (name.clone(), changed(&counter(0)))).collect(),
        };
        mark_writers(&mut branches, key);
        branches
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lets every branch that writes count under its transaction's own key.
pub(crate) fn mark_writers(branches: &mut BTreeMap<Name, Vec<Operation>>, key: Key) {
    for operations in branches.values_mut() {
        if operations.iter().any(Operation::is_write) {
            operations.push(own_count(key));
        }
    }
}

/// Counts that a transaction took effect.
pub(crate) fn own_count(key: Key) -> Operation {
    add(&own_key(key), 1, None)
}

/// Where a transaction counts how often it took effect.
#[must_use]
pub fn own_key(key: Key) -> String {
    format!("txn/{}", key.0.simple())
}

/// What accounts begin with.
pub const ACCOUNT: &str = "account/";
/// What counters begin with.
pub const COUNTER: &str = "counter/";

/// Accounts of each participant.
const ACCOUNTS: u64 = 6;
/// How far an account may be overdrawn.
const LOWEST: i64 = -40;

fn bank(dice: &mut Dice, names: &[Name]) -> BTreeMap<Name, Vec<Operation>> {
    let account = |dice: &mut Dice| format!("{ACCOUNT}{}", dice.below(ACCOUNTS));
    let mut branches: BTreeMap<Name, Vec<Operation>> = BTreeMap::new();
    if dice.one_in(6) {
        let all = || (0..ACCOUNTS).map(|n| get(&format!("{ACCOUNT}{n}"))).collect();
        return names.iter().map(|name| (name.clone(), all())).collect();
    }
    let (from, to) = (dice.index(names.len()), dice.index(names.len()));
    let amount = i64::try_from(dice.between(1, 30)).unwrap_or(1);
    branches.entry(names[from].clone()).or_default().push(add(&account(dice), -amount, Some(LOWEST)));
    branches.entry(names[to].clone()).or_default().push(add(&account(dice), amount, None));
    if dice.one_in(4) {
        // Somebody who only looks beside those who change.
        branches.entry(names[dice.index(names.len())].clone()).or_default().push(get(&account(dice)));
    }
    if dice.one_in(10) {
        let check = Check { key: "never".to_owned(), exists: true, ..Check::default() };
        branches.entry(names[dice.index(names.len())].clone()).or_default().push(Operation::Check(check));
    }
    branches
}

fn counters(dice: &mut Dice, names: &[Name], count: u64) -> BTreeMap<Name, Vec<Operation>> {
    let mut branches: BTreeMap<Name, Vec<Operation>> = BTreeMap::new();
    for _ in 0..dice.between(1, 3) {
        let key = counter(dice.below(count));
        let operations = branches.entry(names[dice.index(names.len())].clone()).or_default();
        if operations.iter().any(|operation| operation.key() == key) {
            continue;
        }
        operations.extend(if dice.one_in(3) { vec![get(&key)] } else { changed(&key) });
    }
    branches
}

pub(crate) fn counter(n: u64) -> String {
    format!("{COUNTER}{n}")
}

/// A change, and the number of it.
pub(crate) fn changed(key: &str) -> Vec<Operation> {
    vec![add(key, 1, None), get(key)]
}

pub(crate) fn get(key: &str) -> Operation {
    Operation::Get(OnKey { key: key.to_owned() })
}

fn add(key: &str, delta: i64, min: Option<i64>) -> Operation {
    Operation::Add(Add { key: key.to_owned(), delta, min, max: None })
}
