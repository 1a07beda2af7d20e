//! The language in which timelines are written: what is done, one thing after the other, and what is waited for.
//!
//! A script reads like its text: `Hold(Prepare.of(T1, P1))`, then `Until(Told(T1, Word::Committed))`, then
//! `Deliver(Prepare.of(T1, P1))`. Everything before a wait is done at once; a wait that does not end within
//! [`PATIENCE`] fails the run, because then the moment that the timeline is about has not come.

use handfast_common::operation::{Check, Operation};

use crate::disk::Loss;
use crate::plan::{Host, MS};
use crate::workload::{changed, counter, get};

/// How long the moment of a wait may take to come, in virtual microseconds.
pub const PATIENCE: u64 = 30_000 * MS;

/// The coordinator.
pub const C: Host = Host::Coordinator;
/// The participants.
pub const P0: Host = Host::Participant(0);
/// See [`P0`].
pub const P1: Host = Host::Participant(1);
/// See [`P0`].
pub const P2: Host = Host::Participant(2);
/// The clients.
pub const CLIENT: Host = Host::Clients;

/// A transaction of a script.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Txn(pub u8);

/// The first one.
pub const T1: Txn = Txn(1);
/// The second one.
pub const T2: Txn = Txn(2);
/// The third one.
pub const T3: Txn = Txn(3);
/// The fourth one.
pub const T4: Txn = Txn(4);

/// Kinds of messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "they are named like the messages that they stand for")]
pub enum Kind {
    Hello,
    Welcome,
    Refused,
    Prepare,
    Vote,
    Release,
    Released,
    Commit,
    Abort,
    Acknowledged,
    OnePhase,
    AskOnePhase,
    OnePhaseEnded,
    Register,
    Registered,
    Inquiry,
    InquiryAnswer,
    PeerInquiry,
    PeerTold,
    Enlist,
    Enlisted,
    Submit,
    Ask,
    Told,
    Begin,
    Begun,
    Execute,
    Executed,
    CommitRequest,
    Rollback,
    /// An answer that nobody waits for.
    Received,
}

impl Kind {
    /// Of a transaction, to or from this host; where two participants talk to each other, the one that is asked.
    #[must_use]
    pub const fn of(self, txn: Txn, with: Host) -> Message {
        Message { kind: self, with, of: Some(txn) }
    }

    /// Whatever it is about, to or from this host.
    #[must_use]
    pub const fn with(self, with: Host) -> Message {
        Message { kind: self, with, of: None }
    }
}

/// Which message is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Message {
    /// What it says.
    pub kind: Kind,
    /// To or from whom; the coordinator is at the other end.
    pub with: Host,
    /// About which transaction; `None`: about any, or none.
    pub of: Option<Txn>,
}

/// The operations of each participant.
pub type Work = Vec<(Host, Vec<Operation>)>;

/// Something that is done.
#[derive(Clone, PartialEq, Debug)]
pub enum Act {
    /// A client sends a one-shot transaction.
    Submit(Txn, Work),
    /// The same once more, under the same key and ticket.
    SubmitAgain(Txn),
    /// A client asks for the outcome, with the ticket.
    Ask(Txn),
    /// Somebody asks for the outcome who has only the key.
    Look(Txn),
    /// A client begins an interactive transaction, of which these are going to be the operations.
    Begin(Txn, Work),
    /// Its operation with this number, counted from 1, is sent, or sent again.
    Execute(Txn, usize),
    /// Its client commits: so many operations it knows to have run; whether others had the context too.
    CommitOpen(Txn, Vec<(Host, u64)>, bool),
    /// Its client gives it up.
    RollBack(Txn),

    /// The next such message waits until it is delivered.
    Hold(Message),
    /// All such messages wait.
    HoldAll(Message),
    /// The next such message comes, and a copy of it waits.
    Copy(Message),
    /// The next such message is lost.
    Lose(Message),
    /// All such messages are lost.
    LoseAll(Message),
    /// What waits under this description comes now; the first of them if there are more.
    Deliver(Message),
    /// The same, and somebody else gets it.
    DeliverTo(Message, Host),
    /// Rules about it end, and what waits is lost.
    Forget(Message),
    /// From now on nothing gets from one to the other, both ways.
    Cut(Host, Host),
    /// Everything gets through again.
    Join,
    /// The connection between coordinator and participant breaks.
    Break(Host),

    /// The process dies and stays away.
    Crash(Host),
    /// Its machine loses power, and of what was not synced only this survives; it stays away.
    LosePower(Host, Loss),
    /// The process starts.
    Start(Host),
    /// It stands still.
    Pause(Host),
    /// It goes on as if nothing had been.
    Resume(Host),
    /// Its disk takes up nothing.
    Stall(Host),
    /// It takes up what waits.
    Unstall(Host),
    /// Its operation with this number from now on fails with EIO: the process dies, and this is left of what was not synced.
    Fail(Host, u64, Loss),
    /// It has no room for new work.
    Fill(Host),
    /// Its folder is copied under this name.
    Save(Host, &'static str),
    /// The process dies, and a copy takes the folder's place.
    PutBack(Host, &'static str),
    /// The process dies, and its data file is again what it was in the copy, but not the hint beside it.
    Rewind(Host, &'static str),
    /// The process dies, and a new, empty store takes the folder's place.
    Wipe(Host),
    /// The coordinator stands still, and a copy of its folder is started elsewhere.
    Twin,
    /// The coordinator stands still, and another one, with a log of its own, is started.
    Stranger,
    /// The present coordinator stands still, and the one that stood still goes on.
    Swap,

    /// Waits for it.
    Until(Fact),
    /// It is so now.
    Now(Fact),
    /// It is so in the end, when all has healed and every promise was looked at.
    Finally(Fact),
    /// Nothing is done for so many virtual microseconds.
    Wait(u64),
}

/// Something that is so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// At least so many such messages have come to somebody who was there.
    Came(Message, usize),
    /// Such a message waits to be delivered.
    Waits(Message),
    /// All participants have been greeted.
    Greeted,
    /// This one has been greeted.
    GreetedBy(Host),
    /// What a participant's listing says of its branch.
    Branch(Host, Txn, &'static str),
    /// What the coordinator's listing says.
    Phase(Txn, &'static str),
    /// It has ended, and the coordinator keeps its outcome.
    Ended(Txn),
    /// The mark of a participant covers it.
    Covered(Host, Txn),
    /// A participant has seen this epoch, or the coordinator is in it.
    Epoch(Host, u64),
    /// What the client was told last.
    Told(Txn, Word),
    /// What an operation was answered last.
    Answered(Txn, usize, Reply),
    /// Last committed value of an integer key; 0 if it is not there.
    Value(Host, String, i64),
    /// So many records wait for its disk.
    Queued(Host, usize),
    /// Whether a branch in doubt holds a key.
    Locked(Host, String),
    /// A process has stopped for good, with these words in its last line.
    Stopped(Host, &'static str),
    /// The coordinator has hung up on a participant, with these words in the reason.
    Refused(Host, &'static str),
    /// It is not so.
    Not(Box<Self>),
}

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "they are named like the outcomes that they stand for")]
pub enum Word {
    Committed,
    Aborted,
    Pending,
    Forgotten,
    NotFound,
    Rejected,
}

/// What an operation is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "they are named like the results that they stand for")]
pub enum Reply {
    Done,
    Failed,
    Doomed,
    NotYet,
}

/// It is not so.
#[must_use]
pub fn not(fact: Fact) -> Fact {
    Fact::Not(Box::new(fact))
}

/// The value of a counter.
#[must_use]
pub fn counts(host: Host, n: u64, value: i64) -> Fact {
    Fact::Value(host, counter(n), value)
}

/// Whether a counter is held by a branch in doubt.
#[must_use]
pub fn locked(host: Host, n: u64) -> Fact {
    Fact::Locked(host, counter(n))
}

/// Changes a counter, and reads the number of the change.
#[must_use]
pub fn change(n: u64) -> Vec<Operation> {
    changed(&counter(n))
}

/// Reads a counter.
#[must_use]
pub fn look(n: u64) -> Vec<Operation> {
    vec![get(&counter(n))]
}

/// Changes a counter only if another one is at least so high.
#[must_use]
pub fn change_if(n: u64, other: u64, least: i64) -> Vec<Operation> {
    let check = Check { key: counter(other), exists: true, min: Some(least), ..Check::default() };
    [vec![Operation::Check(check)], change(n)].concat()
}
