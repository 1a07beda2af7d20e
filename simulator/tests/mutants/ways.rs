//! Where each mutant is looked for first: in which worlds, and whose oracle answers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use handfast_common::mutants::Mutant;
use handfast_simulator::dice::Dice;
use handfast_simulator::plan::{Fault, Host, MS, Nemesis, Planned};
use handfast_simulator::rot::rot;
use handfast_simulator::run::{Choice, attempt, options};
use handfast_simulator::workload::Workload;
use handfast_simulator::world::{Options, World};

use crate::directed::directed;
use crate::drills::drill;

/// A way to find a mutant out; what the seed draws is left open.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// Seeded worlds of a workload under these nemeses.
    Seeds(Workload, &'static [Nemesis]),
    /// The same, with a coordinator that keeps few outcomes.
    Trimmed(Workload, &'static [Nemesis]),
    /// The same, and somebody's folder is replaced by an older copy.
    Restored(Workload, Host),
    /// Damage to files of a seeded world.
    Rot(Workload),
    /// A small world by its name.
    Directed(&'static str),
    /// A machine that is told by hand what happens.
    Drill(&'static str),
}

/// What an oracle found.
pub(crate) struct Caught {
    pub(crate) oracle: String,
    pub(crate) what: String,
}

/// Outcomes that a coordinator keeps where that matters.
const FEW: u64 = 5;
/// Damages to each file.
const DAMAGES: u64 = 60;

impl Way {
    /// As the table has it.
    pub(crate) fn label(self) -> String {
        let under = |nemeses: &[Nemesis]| match nemeses {
            [] => "no faults".to_owned(),
            some => some.iter().map(|nemesis| nemesis.name()).collect::<Vec<_>>().join(" + "),
        };
        match self {
            Self::Seeds(workload, nemeses) => format!("{workload} under {}", under(nemeses)),
            Self::Trimmed(workload, nemeses) => format!("{workload} under {}, {FEW} outcomes kept", under(nemeses)),
            Self::Restored(workload, Host::Participant(n)) => format!("{workload}, an old copy of p{n}"),
            Self::Restored(workload, _) => format!("{workload}, an old copy of the coordinator"),
            Self::Rot(workload) => format!("rot after {workload}"),
            Self::Directed(name) => format!("world: {name}"),
            Self::Drill(name) => format!("machine: {name}"),
        }
    }

    /// How many seeds are tried.
    pub(crate) fn seeds(self) -> u64 {
        match self {
            Self::Seeds(..) | Self::Trimmed(..) | Self::Restored(..) => 400,
            Self::Directed(_) => 200,
            Self::Rot(_) => 5,
            Self::Drill(_) => 1,
        }
    }

    /// Runs one seed of it.
    pub(crate) fn run(self, seed: u64) -> Result<(), Caught> {
        match self {
            Self::Rot(_) => {
                let rotted = catch_unwind(AssertUnwindSafe(|| rot(World::new(self.options(seed)), seed, DAMAGES)));
                let rotted = rotted.unwrap_or_else(|_| Err("a panic".to_owned()));
                rotted.map(drop).map_err(|what| Caught { oracle: "rot".to_owned(), what })
            }
            Self::Drill(name) => drill(name).map_err(|what| Caught { oracle: "effects".to_owned(), what }),
            Self::Seeds(..) | Self::Trimmed(..) | Self::Restored(..) | Self::Directed(_) => {
                let run = attempt(World::new(self.options(seed)));
                run.map(drop).map_err(|failed| {
                    let what = failed.violation.to_string();
                    Caught { oracle: failed.violation.oracle.to_owned(), what }
                })
            }
        }
    }

    fn options(self, seed: u64) -> Options {
        let drawn = |workload, nemeses: &[Nemesis]| {
            let choice = Choice { workload: Some(workload), nemeses: nemeses.to_vec() };
            let drawn = options(seed, &choice);
            // Without a nemesis two are drawn; none is meant.
            if nemeses.is_empty() { Options { plan: Vec::new(), ..drawn } } else { drawn }
        };
        match self {
            Self::Seeds(workload, nemeses) => drawn(workload, nemeses),
            Self::Trimmed(workload, nemeses) => Options { retention: FEW, ..drawn(workload, nemeses) },
            Self::Restored(workload, host) => put_back(drawn(workload, &[Nemesis::KillOne]), host),
            Self::Rot(workload) => drawn(workload, &[]),
            Self::Directed(name) => directed(name, seed),
            Self::Drill(name) => unreachable!("'{name}' is no world"),
        }
    }
}

/// Somebody's folder is copied, and takes the place of the newer one a little later.
fn put_back(mut options: Options, host: Host) -> Options {
    let mut dice = Dice::apart(options.seed, 0x0000_C091);
    let copied = dice.between(options.chaos / 4, options.chaos * 2 / 3);
    let restored = copied + dice.between(20, 400) * MS;
    let down = dice.between(5, 200) * MS;
    options.plan.push(Planned { at: copied, fault: Fault::Copy { host } });
    options.plan.push(Planned { at: restored, fault: Fault::Restore { host, down } });
    options
}

/// Where a mutant is looked for, and which promise it has to break.
pub(crate) fn way(mutant: Mutant) -> (Way, &'static str) {
    use Nemesis as N;
    use Way::{Directed, Drill, Restored, Rot, Seeds, Trimmed};
    use Workload::{Bank, Counters, HotKey};
    match mutant {
        Mutant::TellsBeforeForce | Mutant::OrdersBeforeForce => (Seeds(Bank, &[]), "durability"),
        Mutant::DecisionIsNotSynced => (Seeds(Bank, &[N::PowerLoss]), "durability"),
        Mutant::TimeoutUndecides => (Seeds(Counters, &[N::Pause, N::Leap]), "durability"),
        Mutant::EndsAtFirstAcknowledgement => (Trimmed(Counters, &[N::IsolateParticipant]), "stable decision"),
        Mutant::PresumesCommit => (Seeds(Counters, &[N::KillOne, N::IsolateParticipant]), "stable decision"),
        Mutant::GoesOnAfterAnError => (Seeds(Counters, &[N::DiskError, N::KillOne]), "durability"),
        Mutant::UnreadableIsAbsent | Mutant::TornTailIsTaken => (Rot(Bank), "rot"),
        Mutant::SpeaksBeforeItsEpoch => (Directed("the epoch is lost"), "integrity"),
        Mutant::KeyIsNotKept => (Seeds(Counters, &[]), "stable decision"),
        Mutant::EnlistmentIsLost => (Seeds(Bank, &[N::Clog]), "atomicity"),

        Mutant::YesBeforeForce | Mutant::PrepareIsNotSynced => (Seeds(Bank, &[N::PowerLoss]), "binding votes"),
        Mutant::YesExpires => (Seeds(Bank, &[N::IsolateCoordinator, N::Pause]), "binding votes"),
        Mutant::YesLetsLocksGo => (Seeds(Bank, &[N::IsolateCoordinator, N::Pause]), "bank sum"),
        Mutant::VotesAnew => (Seeds(Counters, &[N::Duplicates]), "binding votes"),
        Mutant::AcknowledgesBeforeApply => (Seeds(Bank, &[N::PowerLoss]), "binding votes"),
        Mutant::WorkRunsAgain | Mutant::OperationRunsAgain => (Seeds(Counters, &[N::Duplicates]), "exactly once"),
        Mutant::AppliesWithoutMarker => (Seeds(Bank, &[N::Rolling]), "binding votes"),
        Mutant::LocksAreNotRebuilt => (Seeds(Counters, &[N::KillOne, N::IsolateCoordinator]), "serializability"),
        Mutant::WritesUnderSharedLocks => (Seeds(HotKey, &[]), "serializability"),
        Mutant::OldEpochIsObeyed => (Seeds(Counters, &[N::Rolling, N::Duplicates]), "fencing"),
        Mutant::InquiresOnce => (Seeds(Counters, &[N::Duplicates, N::KillOne]), "liveness"),
        Mutant::KeepsAbandonedBranch => (Seeds(HotKey, &[N::Clog, N::Duplicates]), "resource baseline"),

        Mutant::ReaderLetsGoEarly => (Seeds(Counters, &[N::Clog]), "serializability"),
        Mutant::ReleaseIsNotAwaited => (Directed("a reader restarts"), "serializability"),
        Mutant::NoTraceMeansAbort => (Directed("whoever only read is asked"), "stable decision"),
        Mutant::PeerAbortIsForgotten => (Directed("a Prepare is slower than a peer"), "stable decision"),
        Mutant::PeerIsToldWhileItWorks => (Directed("a peer asks while the disk is slow"), "stable decision"),
        Mutant::AskingDoesNotFence => (Seeds(Counters, &[N::Duplicates, N::KillOne]), "no dirty effects"),
        Mutant::NoIsForgotten => (Seeds(Counters, &[N::Duplicates, N::KillOne]), "no dirty effects"),
        Mutant::MarkPassesTheUnreported => (Seeds(HotKey, &[N::Clog, N::Rolling]), "no dirty effects"),
        Mutant::OlderKeyIsGuessed => (Seeds(Counters, &[N::KillAll]), "no dirty effects"),
        Mutant::AnswersWhileItWorks => (Seeds(Counters, &[N::Pause, N::Leap]), "no dirty effects"),
        Mutant::OnePhaseLetsGoEarly => (Seeds(HotKey, &[]), "serializability"),
        Mutant::LatePrepareRuns => (Seeds(Counters, &[N::Duplicates]), "exactly once"),
        Mutant::ForgetfulStoreIsTrusted => (Restored(Counters, Host::Participant(0)), "atomicity"),
        Mutant::ForgottenKeyRuns => (Trimmed(Counters, &[]), "stable decision"),
        Mutant::OlderTicketRuns => (Seeds(Counters, &[N::KillAll]), "stable decision"),
        Mutant::FenceIsNotKept => (Seeds(Bank, &[N::Duplicates]), "stable decision"),
        Mutant::SecondStartIsLetIn => (Restored(Counters, Host::Coordinator), "stable decision"),
        Mutant::GuardIsSkipped => (Directed("an old copy is asked first"), "stable decision"),
        Mutant::UnforcedDecisionsAreCounted => (Directed("a decision is lost"), "integrity"),
        Mutant::FloorForgetsDecisions => (Trimmed(Counters, &[N::KillOne]), "recovery"),
        Mutant::RestartTakesOver => (Seeds(Bank, &[N::Rolling]), "bank sum"),
        Mutant::NoTraceVotesReadOnly => (Drill("Prepare finds no trace"), "effects"),
        Mutant::DroppedBranchBeginsAfresh => (Drill("an operation after a conflict"), "effects"),
        Mutant::CommitsPastRunningWork => (Seeds(HotKey, &[N::Clog, N::Duplicates]), "integrity"),
        Mutant::SharedReaderLetsGo => (Drill("a shared reader votes"), "effects"),
        Mutant::AbortsWhileVoting => (Seeds(Bank, &[N::Duplicates, N::Pause]), "stable decision"),
        Mutant::FencesByTransaction => (Seeds(Counters, &[N::KillAll]), "resource baseline"),
        Mutant::EpochStaysInMemory => (Directed("the line is lost"), "fencing"),
        Mutant::HelloDoesNotWait => (Drill("Hello finds work under way"), "effects"),
        Mutant::SharedLocksAreLost => (Directed("a branch that also read restarts"), "serializability"),
        Mutant::MarkEndsPrepared => (Seeds(Bank, &[N::Clog]), "integrity"),
        Mutant::WorksWithoutRoom => (Seeds(Bank, &[N::DiskError]), "room"),
        Mutant::WaitsAreJudgedOnce => (Seeds(HotKey, &[]), "wait-die"),
        Mutant::ZombieHearsVotes => (Drill("a vote for a start that was replaced"), "effects"),
    }
}
