//! What is looked at: which transactions there are, what may go wrong, and which rule is broken on purpose.

use handfast_common::ids::{Age, Name, Ticket};
use handfast_common::messages::{AskOutcome, BranchWork, Micros, Submit};
use handfast_common::outcome::Payload;

use super::ledger::key;
use super::state::{Budget, name};

/// One model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// The transactions, each with its branches. The first one has been submitted when it begins.
    pub(crate) transactions: &'static [&'static [(usize, Wish)]],
    /// What may go wrong.
    pub(crate) budget: Budget,
    /// Whether answers take time. If not, what would be lost with its connection is not said before that has broken: for the
    /// other side it is the same.
    pub(crate) slow_answers: bool,
    /// Whether a greeting takes several steps, and so does a start.
    pub(crate) slow_greetings: bool,
    /// Whether the coordinator stops waiting for who can't be reached when it presumes an abort of an earlier epoch.
    pub(crate) impatient: bool,
    /// Whether the client may ask before its transaction has arrived, too.
    pub(crate) hasty: bool,
    /// Whether the first transaction is an interactive one.
    pub(crate) interactive: bool,
    /// Whether its client has given others its context, as far as it says.
    pub(crate) shared: bool,
    /// Whether participants in doubt ask each other.
    pub(crate) peers: bool,
    /// A rule that is broken on purpose.
    pub(crate) mutant: Option<Mutant>,
}

/// What a branch's work does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// It writes, and nothing is in its way: Yes.
    Write,
    /// It may have to wait for locks, and may then turn out to be impossible.
    Doubtful,
    /// It reads.
    Read,
}

impl Wish {
    /// As work of a transaction.
    pub(crate) fn payload(self, transaction: usize) -> Payload {
        let letter = match self {
            Self::Write => b'w',
            Self::Doubtful => b'd',
            Self::Read => b'r',
        };
        Payload(vec![letter, u8::try_from(transaction).expect("there are few")])
    }

    /// What work asks for.
    pub(crate) fn of(work: &Payload) -> Self {
        match work.0[0] {
            b'w' => Self::Write,
            b'd' => Self::Doubtful,
            _ => Self::Read,
        }
    }
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// The coordinator answers "abort" to whoever asks about what has no record, also while the vote is on.
    PresumesTooSoon,
    /// The coordinator takes its records for written as soon as they are handed over.
    SpeaksBeforeForce,
    /// A participant votes before its record is on disk.
    VotesBeforeForce,
    /// A participant acknowledges before the commit is on disk.
    AcknowledgesBeforeApply,
    /// A participant forgets what it has prepared when it is restarted.
    ForgetsPrepared,
    /// The coordinator forgets its Commit records when it is restarted.
    ForgetsDecisions,
    /// A participant does not look at the epoch of an order.
    NoFence,
    /// A participant does not look for which start of it an order is.
    AnyIncarnation,
    /// The coordinator takes a one-phase commit whose answer is lost for aborted.
    OnePhaseTimeoutAborts,
    /// A participant tells another one "abort" because it has no trace of the transaction.
    NoTraceIsAbort,
    /// A participant in doubt undoes its branch when it has waited for long.
    GivesUpInDoubt,
}

impl Setup {
    /// Nothing goes wrong and nothing is wrong.
    pub(crate) const fn of(transactions: &'static [&'static [(usize, Wish)]]) -> Self {
        let budget = Budget { crashes: 0, breaks: 0, copies: 0, repeats: 0 };
        Self {
            transactions,
            budget,
            slow_answers: false,
            slow_greetings: false,
            impatient: false,
            hasty: false,
            interactive: false,
            shared: false,
            peers: false,
            mutant: None,
        }
    }

    /// With so many crashes, broken connections, copies and repetitions.
    pub(crate) const fn going_wrong(self, crashes: u8, breaks: u8, copies: u8, repeats: u8) -> Self {
        Self { budget: Budget { crashes, breaks, copies, repeats }, ..self }
    }

    /// With a rule broken.
    pub(crate) const fn breaking(self, mutant: Mutant) -> Self {
        Self { mutant: Some(mutant), ..self }
    }

    /// The names of a transaction's participants.
    pub(crate) fn names(&self, transaction: usize) -> Vec<Name> {
        self.transactions[transaction].iter().map(|(n, _)| name(*n)).collect()
    }

    /// What the client sends.
    pub(crate) fn request(&self, transaction: usize, ticket: Ticket) -> Submit {
        let branches = self.transactions[transaction].iter();
        let branches =
            branches.map(|(n, wish)| BranchWork { participant: name(*n), work: wish.payload(transaction) }).collect();
        Submit { key: key(transaction), ticket, age: None, clock: Age(0), wait: Micros(1_000_000), branches }
    }

    /// What the client asks.
    pub(crate) fn question(&self, transaction: usize, ticket: Ticket) -> AskOutcome {
        AskOutcome { key: key(transaction), ticket: Some(ticket), participants: self.names(transaction) }
    }
}
