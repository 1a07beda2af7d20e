//! The clients of the demo's bank, and their ledger: what each was told, kept outside the system that is tested.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::bail;

use handfast_client::{Client, Outcome, Transaction};
use handfast_common::ids::{Key, Name, Ticket};

use super::Ledger;
use super::bank::{Bank, BranchOf, Transfer, Transfers, Verdict};

/// Deadline of a transfer: longer than any recovery, so that few outcomes stay unknown.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long an unknown outcome is asked for at the end.
const SETTLE: Duration = Duration::from_secs(30);

/// All clients together; they run on one thread.
pub(super) struct Load {
    client: Client,
    transfers: RefCell<Transfers>,
    bank: Bank,
    stopping: Cell<bool>,
    ran: Cell<u64>,
    committed: Cell<u64>,
    resolved: Cell<u64>,
    ledger: RefCell<Ledger>,
    /// Transfers whose outcome is not known, with the ticket to ask by.
    open: RefCell<Vec<(Transfer, Option<Ticket>)>>,
}

impl Load {
    pub(super) fn new(client: Client, transfers: Transfers) -> Self {
        Self {
            client,
            bank: transfers.bank().clone(),
            transfers: RefCell::new(transfers),
            stopping: Cell::new(false),
            ran: Cell::new(0),
            committed: Cell::new(0),
            resolved: Cell::new(0),
            ledger: RefCell::new(Ledger::new()),
            open: RefCell::new(Vec::new()),
        }
    }

    /// Opens all accounts; nothing has been killed yet, so every one must commit.
    pub(super) async fn open(&self, bank: &Bank) -> anyhow::Result<()> {
        for branches in bank.openings() {
            let report = self.client.submit(transaction(branches), DEADLINE).await?;
            if !matches!(report.outcome, Outcome::Committed(_)) {
                bail!("accounts could not be opened: {:?}", report.outcome);
            }
        }
        Ok(())
    }

    /// One client: a transfer after the other until told to stop.
    pub(super) async fn work(&self) {
        while !self.stopping.get() {
            let transfer = self.transfers.borrow_mut().draw();
            self.run(transfer).await;
        }
    }

    async fn run(&self, transfer: Transfer) {
        // The transfer's own key, so that its rows can be told from those of a retry.
        let key = Key(transfer.key);
        let transaction = transaction(self.bank.branches(&transfer)).key(key);
        let Ok(report) = self.client.submit(transaction, DEADLINE).await else {
            // Never begun, and never will be: it must not be in the books.
            return self.note(transfer, Verdict::Aborted);
        };
        self.ran.set(self.ran.get() + 1);
        match verdict(&report.outcome) {
            Verdict::Unknown => self.open.borrow_mut().push((transfer, report.ticket)),
            known => self.note(transfer, known),
        }
    }

    /// Asks for every outcome that is still open.
    pub(super) async fn settle(&self) {
        let open = std::mem::take(&mut *self.open.borrow_mut());
        for (transfer, ticket) in open {
            let participants: Vec<Name> =
                self.bank.branches(&transfer).into_iter().map(|(participant, _)| participant).collect();
            let asked = self.client.outcome(Key(transfer.key), ticket, participants, SETTLE).await;
            let told = asked.map(|report| verdict(&report.outcome));
            let told = told.unwrap_or(Verdict::Unknown);
            if told != Verdict::Unknown {
                self.resolved.set(self.resolved.get() + 1);
            }
            self.note(transfer, told);
        }
    }

    fn note(&self, transfer: Transfer, verdict: Verdict) {
        self.committed.set(self.committed.get() + u64::from(verdict == Verdict::Committed));
        self.ledger.borrow_mut().insert(transfer.key, (transfer, verdict));
    }

    pub(super) fn stop(&self) {
        self.stopping.set(true);
    }

    pub(super) fn ran(&self) -> u64 {
        self.ran.get()
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed.get()
    }

    pub(super) fn resolved(&self) -> u64 {
        self.resolved.get()
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.ledger.borrow().clone()
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Committed(_) => Verdict::Committed,
        Outcome::Aborted(_) => Verdict::Aborted,
        Outcome::Unknown(_) | Outcome::Forgotten | Outcome::NotFound | Outcome::HeuristicMixed => Verdict::Unknown,
    }
}

fn transaction(branches: Vec<BranchOf>) -> Transaction {
    branches.into_iter().fold(Transaction::new(), |transaction, (participant, operations)| {
        transaction.branch(participant.as_str(), operations)
    })
}
