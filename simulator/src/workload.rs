//! What clients want done.
//!
//! Every branch that writes also counts under a key of its transaction's own, so that the end of a run shows how often
//! each transaction took effect at each participant.

use std::collections::BTreeMap;
use std::fmt;

use handfast_common::ids::{Key, Name};
use handfast_common::operation::{Add, Check, OnKey, Operation, Put, Read, Value};

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
    /// Lists that are read, and appended to by whoever has read them: every read shows a whole past.
    Lists,
    /// Registers that are read and set: each value is set once.
    Registers,
    /// Elements that are put into sets at several participants, and looked for by others: there at all of them, or at none.
    Sets,
    /// All of these but the wide one beside each other, and of a hundred clients thirty give up.
    Mixed,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Bank, Self::Counters, Self::HotKey, Self::FanOut, Self::Lists, Self::Registers, Self::Sets, Self::Mixed];

    /// As it is called in commands and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Counters => "counters",
            Self::HotKey => "hot-key",
            Self::FanOut => "fan-out",
            Self::Lists => "lists",
            Self::Registers => "registers",
            Self::Sets => "sets",
            Self::Mixed => "mixed",
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
            Self::FanOut => 16,
            Self::Bank | Self::Counters | Self::HotKey | Self::Lists | Self::Registers | Self::Sets | Self::Mixed => 3,
        }
    }

    /// Whether what it reads and writes is put together to a history.
    #[must_use]
    pub const fn has_a_history(self) -> bool {
        match self {
            Self::Lists | Self::Registers | Self::Sets | Self::Mixed => true,
            Self::Bank | Self::Counters | Self::HotKey | Self::FanOut => false,
        }
    }

    /// Whether money moves, so that the sum of all accounts is 0.
    #[must_use]
    pub const fn moves_money(self) -> bool {
        match self {
            Self::Bank | Self::Mixed => true,
            Self::Counters | Self::HotKey | Self::FanOut | Self::Lists | Self::Registers | Self::Sets => false,
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
            Self::Lists => read_and_written(dice, names, key, LIST),
            Self::Registers => read_and_written(dice, names, key, REGISTER),
            Self::Sets => sets(dice, names, key),
            Self::Mixed => {
                let parts = [Self::Bank, Self::Counters, Self::HotKey, Self::Lists, Self::Registers, Self::Sets];
                return parts[dice.index(parts.len())].draw(dice, names, key);
            }
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

/// What lists begin with.
pub const LIST: &str = "list/";
/// What registers begin with.
pub const REGISTER: &str = "register/";
/// What elements of sets begin with.
pub const SET: &str = "set/";

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

/// A number that no other transaction writes, nor this one elsewhere.
fn unique(key: Key, written: u64) -> Value {
    Value::Integer(i64::try_from(number_of(key) * 64 + written).unwrap_or(i64::MAX))
}

fn number_of(key: Key) -> u64 {
    u64::try_from(key.0.as_u128()).unwrap_or(u64::MAX / 128)
}

/// Keys that are read, half of them set then. Of a list only the element to be appended is named: see [`appended`].
fn read_and_written(dice: &mut Dice, names: &[Name], key: Key, prefix: &str) -> BTreeMap<Name, Vec<Operation>> {
    let mut branches: BTreeMap<Name, Vec<Operation>> = BTreeMap::new();
    let only_reads = dice.one_in(4);
    for written in 0..dice.between(1, 4) {
        let place = format!("{prefix}{}", dice.below(3));
        let operations = branches.entry(names[dice.index(names.len())].clone()).or_default();
        operations.push(get(&place));
        if !only_reads && dice.one_in(2) {
            operations.push(Operation::Put(Put { key: place, value: unique(key, written) }));
        }
    }
    branches
}

/// Whether what is written depends on what was read before, so that it takes an interactive transaction.
pub(crate) fn appends(branches: &BTreeMap<Name, Vec<Operation>>) -> bool {
    branches.values().flatten().any(|operation| operation.is_write() && operation.key().starts_with(LIST))
}

/// What an operation that names an element to be appended really sets: the list that was read last, with it.
pub(crate) fn appended(operation: &Operation, reads: &[Read]) -> Option<Operation> {
    let Operation::Put(Put { key, value: Value::Integer(element) }) = operation else { return None };
    if !key.starts_with(LIST) {
        return None;
    }
    let before = reads.iter().rev().find(|read| read.key == *key).and_then(|read| read.value.clone());
    let text = match before {
        Some(Value::Text(text)) if !text.is_empty() => format!("{text},{element}"),
        Some(_) | None => element.to_string(),
    };
    Some(Operation::Put(Put { key: key.clone(), value: Value::Text(text) }))
}

/// Puts an element into the sets of some participants, or looks for a few at all of them.
fn sets(dice: &mut Dice, names: &[Name], key: Key) -> BTreeMap<Name, Vec<Operation>> {
    let element = |number: u64| format!("{SET}{number}");
    if dice.one_in(2) {
        let earlier: Vec<u64> = (0..3).map(|_| number_of(key).saturating_sub(dice.below(12))).collect();
        let looks = || earlier.iter().map(|number| get(&element(*number))).collect();
        return names.iter().map(|name| (name.clone(), looks())).collect();
    }
    let first = dice.index(names.len());
    let count = dice.index(names.len()) + 1;
    let place = |n: usize| names[(first + n) % names.len()].clone();
    let put = |n: usize| Operation::Put(Put { key: element(number_of(key)), value: unique(key, n as u64) });
    (0..count).map(|n| (place(n), vec![put(n)])).collect()
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
