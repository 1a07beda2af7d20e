//! The demo's bank: accounts spread over participants, transfers between them, and the check that no money was made
//! or lost.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use handfast_common::ids::Name;
use handfast_common::operation::{Add, Operation, Put, Value};

/// What each account begins with.
pub(super) const OPENING: i64 = 1_000;
/// Most accounts opened in one transaction, well below the limit of operations.
const OPENED_AT_ONCE: usize = 300;
/// Prefix of account keys, and of the rows that transfers leave.
pub(super) const ACCOUNT: &str = "account/";
pub(super) const TRANSFER: &str = "transfer/";

/// Work for one participant.
pub(super) type BranchOf = (Name, Vec<Operation>);

/// Where the money is.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    pub(super) participants: Vec<Name>,
    pub(super) accounts: usize,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) key: Uuid,
    from: usize,
    to: usize,
    amount: i64,
}

/// What was found at the end, summed over all participants.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) total: i64,
    pub(super) accounts: usize,
    /// How many rows each transfer left, by key.
    pub(super) rows: BTreeMap<Uuid, Vec<(Name, i64)>>,
}

/// What a client was told of a transfer, in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Committed,
    Aborted,
    /// No answer could be had: either may be true.
    Unknown,
}

impl Bank {
    pub(super) fn total(&self) -> i64 {
        OPENING * i64::try_from(self.accounts).unwrap_or(i64::MAX / OPENING)
    }

    fn home(&self, account: usize) -> &Name {
        &self.participants[account % self.participants.len()]
    }

    /// The transactions that open all accounts.
    pub(super) fn openings(&self) -> Vec<Vec<BranchOf>> {
        let accounts: Vec<usize> = (0..self.accounts).collect();
        accounts.chunks(OPENED_AT_ONCE).map(|chunk| self.opening(chunk)).collect()
    }

    fn opening(&self, accounts: &[usize]) -> Vec<BranchOf> {
        let mut branches: BTreeMap<Name, Vec<Operation>> = BTreeMap::new();
        for account in accounts {
            let put = Put { key: account_key(*account), value: Value::Integer(OPENING) };
            branches.entry(self.home(*account).clone()).or_default().push(Operation::Put(put));
        }
        branches.into_iter().collect()
    }

    /// A debit and a credit on different participants; both write the transfer's key as a row.
    pub(super) fn branches(&self, transfer: &Transfer) -> Vec<BranchOf> {
        let part = |account: usize, delta: i64, min: Option<i64>| {
            let add = Add { key: account_key(account), delta, min, max: None };
            let row = Put { key: format!("{TRANSFER}{}", transfer.key), value: Value::Integer(delta) };
            (self.home(account).clone(), vec![Operation::Add(add), Operation::Put(row)])
        };
        vec![part(transfer.from, -transfer.amount, Some(0)), part(transfer.to, transfer.amount, None)]
    }

    /// Compares what is there with what clients were told. `Err`: the first line of what is wrong.
    pub(super) fn check(&self, found: &Found, ledger: &BTreeMap<Uuid, (Transfer, Verdict)>) -> Result<(), String> {
        if found.accounts != self.accounts || found.total != self.total() {
            return Err(format!(
                "{} accounts hold {} where {} accounts held {}",
                found.accounts,
                found.total,
                self.accounts,
                self.total()
            ));
        }
        if let Some(key) = found.rows.keys().find(|key| !ledger.contains_key(*key)) {
            return Err(format!("transfer {key} was never asked for"));
        }
        for (transfer, verdict) in ledger.values() {
            let rows = found.rows.get(&transfer.key).map(Vec::as_slice).unwrap_or_default();
            self.check_one(transfer, *verdict, rows)?;
        }
        Ok(())
    }

    fn check_one(&self, transfer: &Transfer, verdict: Verdict, rows: &[(Name, i64)]) -> Result<(), String> {
        let key = transfer.key;
        let mut expected = vec![
            (self.home(transfer.from).clone(), -transfer.amount),
            (self.home(transfer.to).clone(), transfer.amount),
        ];
        expected.sort();
        let mut rows = rows.to_vec();
        rows.sort();
        match (verdict, rows.as_slice()) {
            (Verdict::Aborted | Verdict::Unknown, []) => Ok(()),
            (Verdict::Committed | Verdict::Unknown, rows) if rows == expected => Ok(()),
            (_, rows) => Err(format!("transfer {key} was told {verdict:?} and left {} of 2 rows", rows.len())),
        }
    }
}

/// Draws transfers; the same seed draws the same ones.
pub(super) struct Transfers {
    bank: Bank,
    random: StdRng,
}

impl Transfers {
    pub(super) fn new(bank: Bank, seed: u64) -> Self {
        Self { bank, random: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn bank(&self) -> &Bank {
        &self.bank
    }

    pub(super) fn draw(&mut self) -> Transfer {
        let accounts = self.bank.accounts;
        let from = self.random.random_range(0..accounts);
        let to = loop {
            let to = self.random.random_range(0..accounts);
            if self.bank.home(to) != self.bank.home(from) {
                break to;
            }
        };
        let key = uuid::Builder::from_random_bytes(self.random.random()).into_uuid();
        Transfer { key, from, to, amount: self.random.random_range(1..=20) }
    }
}

fn account_key(account: usize) -> String {
    format!("{ACCOUNT}{account:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank() -> Bank {
        let participants = ["a", "b", "c"].map(|name| Name::new(name).expect("a name")).to_vec();
        Bank { participants, accounts: 30 }
    }

    fn found(bank: &Bank, transfers: &[&Transfer]) -> Found {
        let mut found = Found { total: bank.total(), accounts: bank.accounts, ..Found::default() };
        for transfer in transfers {
            let rows = vec![
                (bank.home(transfer.from).clone(), -transfer.amount),
                (bank.home(transfer.to).clone(), transfer.amount),
            ];
            found.rows.insert(transfer.key, rows);
        }
        found
    }

    #[test]
    fn the_same_seed_draws_the_same_transfers_between_different_participants() {
        let draw = |seed| {
            let mut transfers = Transfers::new(bank(), seed);
            (0..50).map(|_| transfers.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let bank = bank();
        assert!(draw(7).iter().all(|transfer| bank.home(transfer.from) != bank.home(transfer.to)));
    }

    #[test]
    fn the_check_finds_every_kind_of_wrong() {
        let bank = bank();
        let mut transfers = Transfers::new(bank.clone(), 1);
        let (one, two) = (transfers.draw(), transfers.draw());
        let ledger = |verdict| BTreeMap::from([(one.key, (one.clone(), verdict))]);

        assert_eq!(bank.check(&found(&bank, &[&one]), &ledger(Verdict::Committed)), Ok(()));
        assert_eq!(bank.check(&found(&bank, &[]), &ledger(Verdict::Aborted)), Ok(()));
        assert_eq!(bank.check(&found(&bank, &[]), &ledger(Verdict::Unknown)), Ok(()));
        // Lost, resurrected, never asked for, half done, money made.
        assert!(bank.check(&found(&bank, &[]), &ledger(Verdict::Committed)).is_err());
        assert!(bank.check(&found(&bank, &[&one]), &ledger(Verdict::Aborted)).is_err());
        assert!(bank.check(&found(&bank, &[&one, &two]), &ledger(Verdict::Committed)).is_err());
        let mut half = found(&bank, &[&one]);
        half.rows.values_mut().for_each(|rows| rows.truncate(1));
        assert!(bank.check(&half, &ledger(Verdict::Unknown)).is_err());
        let mut rich = found(&bank, &[&one]);
        rich.total += 1;
        assert!(bank.check(&rich, &ledger(Verdict::Committed)).is_err());
    }
}
