//! Mutants: rules of the protocol that a test can undo, one at a time, to see that something notices.
//!
//! A proof that has never found anything proves little. So each rule that keeps a promise has a switch here; the feature
//! `mutants` makes the switches work, and the simulator's test runs the world with each of them. Without the feature
//! [`is`] is `false` when the code is compiled, and nothing is left of the switch. A release can't be built with it.
//!
//! A switch undoes one rule wherever it is kept, also where a second line of defence stands behind the first: the name of
//! a mutant says what the system does with it. The chosen one holds for its thread: a world runs on one.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` breaks promises on purpose: it is for tests, never for a release");

/// The list: a name, what it stands for, and the rule that it undoes.
macro_rules! mutants {
    ($($name:ident, $stands_for:literal, $rule:literal;)*) => {
        /// A rule that is undone.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Mutant {
            $(#[doc = concat!("Undoes: ", $rule)] $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is written in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The rule that it undoes.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => $rule,)*
                }
            }

            /// The timeline that the rule closes, or the mistake it keeps from being made.
            #[must_use]
            pub const fn stands_for(self) -> &'static str {
                match self {
                    $(Self::$name => $stands_for,)*
                }
            }
        }
    };
}

mutants! {
    // The coordinator's decisions.
    TellsBeforeForce, "reply before log", "a client hears Committed only when the record is on disk";
    OrdersBeforeForce, "send commit before fsync", "Commit is sent only when the record is on disk";
    DecisionIsNotSynced, "skip decision fsync", "the log's write returns when the disk has synced it";
    TimeoutUndecides, "abort after handing over", "once Commit is handed to the log no timeout makes an abort of it";
    EndsAtFirstAcknowledgement, "forget before acks", "a Commit is forgotten when all have acknowledged it";
    PresumesCommit, "presume commit", "neither a record nor a live entry means abort";
    GoesOnAfterAnError, "retry on same handle after EIO", "after an error of the log the process stops";
    UnreadableIsAbsent, "treat read error as absent", "what can't be read is never taken for absent";
    SpeaksBeforeItsEpoch, "reuse id after restore", "nothing is said in an epoch that is not on disk";
    KeyIsNotKept, "apply twice", "a key that is sent again joins its transaction";
    EnlistmentIsLost, "lose enlistment", "whoever enlisted is on the list of the commit";

    // The participant's promises.
    YesBeforeForce, "skip prepare fsync", "Yes is said when the prepare record is on disk";
    PrepareIsNotSynced, "skip prepare fsync", "the store's write returns when the disk has synced it";
    YesExpires, "wall-clock expiry", "no time ends a branch after its Yes";
    YesLetsLocksGo, "release locks on timeout after Yes", "a branch in doubt keeps its locks";
    VotesAnew, "re-vote differently", "a repeated Prepare gets the same vote";
    AcknowledgesBeforeApply, "ack before apply", "a Commit is acknowledged when its effect is on disk";
    WorkRunsAgain, "apply twice", "work that has taken effect does not run again";
    AppliesWithoutMarker, "apply without marker", "an effect and its done-marker are one write";
    LocksAreNotRebuilt, "serve before locks are rebuilt", "all locks of a branch in doubt are held again before anybody is served";
    WritesUnderSharedLocks, "read lock for a write", "who writes a key holds it alone";
    OldEpochIsObeyed, "drop epoch check", "an order of an older epoch is refused";
    InquiresOnce, "give up asking", "a branch in doubt asks for ever";
    KeepsAbandonedBranch, "leak a branch", "an open branch whose transaction is over is dropped";

    // One rule of each timeline that a machine can express.
    ReaderLetsGoEarly, "t01", "what only read in a one-shot transaction keeps its locks until it is released";
    ReleaseIsNotAwaited, "t01", "Commit is decided when each reader has held its locks until now";
    NoTraceMeansAbort, "t02a", "only the very start that is named may take no trace for not voted";
    PeerAbortIsForgotten, "t02d", "whoever told a peer abort refuses a later Prepare";
    PeerIsToldWhileItWorks, "t02e", "work that may be in the log is answered when that is known";
    TornTailIsTaken, "t03", "the last commit is verified and compared with the head hint";
    AskingDoesNotFence, "t04a", "a participant that was asked about what it does not know refuses it later";
    NoIsForgotten, "t04b", "a No in one phase is remembered";
    MarkPassesTheUnreported, "t04c", "no mark covers a one-phase commit before it is reported";
    OlderKeyIsGuessed, "t04d", "a key of an older epoch is answered when its participants have reported";
    AnswersWhileItWorks, "t04e", "a question is answered when work under way has ended";
    OnePhaseLetsGoEarly, "t04f", "locks of a one-phase commit go when it is on disk";
    LatePrepareRuns, "t05", "nothing below the mark runs";
    ForgetfulStoreIsTrusted, "t06", "a store that lost what it acknowledged is refused, and no Commit without a trace is acknowledged";
    ForgottenKeyRuns, "t07a", "a ticket below the floor is answered Forgotten";
    OlderTicketRuns, "t07c", "a key with a ticket of an older epoch begins nothing";
    FenceIsNotKept, "t07e", "a key that was asked about can't commit later";
    SecondStartIsLetIn, "t08", "a participant lets in only a start that knows of the last one seen";
    GuardIsSkipped, "t09a", "absence is presumed upon when the members have answered Hello";
    UnforcedDecisionsAreCounted, "t09b", "only forced decision numbers are sent";
    FloorForgetsDecisions, "t09c", "a trim keeps the number of decisions";
    RestartTakesOver, "t10a", "a branch belongs to the start that enlisted it, and what ran is counted";
    NoTraceVotesReadOnly, "t10b", "a branch without a trace is never taken for one that only read";
    OperationRunsAgain, "t10c", "an operation that is sent again gets its result again";
    DroppedBranchBeginsAfresh, "t10d", "a branch that was dropped stays dropped, and what ran is counted";
    CommitsPastRunningWork, "t10e", "Prepare with an operation still waiting is a No";
    SharedReaderLetsGo, "t10f", "a reader of a shared context keeps its locks until all have voted";
    AbortsWhileVoting, "t11", "while the vote is on the answer is undecided";
    FencesByTransaction, "t12a", "the fence compares the sender's epoch, never the transaction's";
    EpochStaysInMemory, "t12b", "an epoch is on disk before its Hello is answered";
    HelloDoesNotWait, "t12b", "Hello is answered when older work has ended";
    SharedLocksAreLost, "t13", "the shared locks of a branch in doubt are held again after a restart";
    MarkEndsPrepared, "t14", "a mark never ends a branch in doubt";
    WorksWithoutRoom, "t16", "below the reserve new work gets a No";
    WaitsAreJudgedOnce, "t18", "one waits only for younger ones, holders and those queued ahead, and is judged again at each grant";
    ZombieHearsVotes, "t19", "a start that was replaced is told so and counts no later vote";
}

impl Mutant {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }

    /// The timeline whose rule it undoes, with its letter, as in `t04b`; the others stand for mistakes.
    #[must_use]
    pub fn timeline(self) -> Option<&'static str> {
        let number = self.stands_for().strip_prefix('t')?;
        number.starts_with(|first: char| first.is_ascii_digit()).then_some(self.stands_for())
    }
}

/// Whether the rule is undone now: never, in this build.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{is, with};

#[cfg(feature = "mutants")]
mod chosen {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether the rule is undone now, on this thread.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }

    /// Runs something with a rule undone, or with none; what held before holds again after it, also when it panics.
    pub fn with<T>(mutant: impl Into<Option<Mutant>>, run: impl FnOnce() -> T) -> T {
        struct Before(Option<Mutant>);
        impl Drop for Before {
            fn drop(&mut self) {
                CHOSEN.set(self.0);
            }
        }
        let _before = Before(CHOSEN.replace(mutant.into()));
        run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::named(mutant.name()), Some(*mutant));
        }
        assert!(Mutant::ALL.len() >= 25);
    }

    #[test]
    fn only_timelines_are_timelines() {
        assert_eq!(Mutant::LatePrepareRuns.timeline(), Some("t05"));
        assert_eq!(Mutant::UnreadableIsAbsent.timeline(), None);
    }

    #[test]
    fn none_is_chosen_unless_a_test_chooses_one() {
        assert!(!Mutant::ALL.iter().any(|mutant| is(*mutant)));
    }
}
