//! What must hold in every state, and what must be seen in some: a model in which nothing happens keeps every promise.

use handfast_common::messages::Order;
use handfast_common::outcome::Decision;
use stateright::Property;

use super::ledger::Entry;
use super::setup::{Setup, Wish};
use super::state::{Link, PARTICIPANTS, State};

/// All properties of a model.
pub(crate) fn all(setup: &Setup) -> Vec<Property<Setup>> {
    let mut all = always();
    all.extend(sometimes(setup));
    all
}

fn always() -> Vec<Property<Setup>> {
    vec![
        Property::always("A1 no transaction has a committed and an aborted branch", |_, state: &State| {
            entries(state).all(|entry| {
                let committed = entry.branches.iter().any(|branch| branch.effects > 0);
                let aborted = entry.branches.iter().any(|branch| branch.undone || branch.no);
                !(committed && aborted)
            })
        }),
        Property::always("A2 one decision, for good", |setup: &Setup, state: &State| {
            (0..setup.transactions.len()).all(|t| {
                let Entry { told, said, durable, .. } = &state.ledger.entries[t];
                let commit = told.commit || said.commit || *durable;
                // Who only read may be told Aborted in a later epoch (t20).
                let only_read = setup.transactions[t].len() > 1 && writers(setup, t).count() == 0;
                only_read || !(commit && (told.abort || said.abort))
            })
        }),
        Property::always("A3 Yes only when it is on disk, and no way back from it", |_, state: &State| {
            !state.ledger.broken.forced_votes
                && entries(state).all(|entry| {
                    let undone = entry.branches.iter().any(|branch| branch.undone);
                    !undone || entry.said.abort
                })
        }),
        Property::always("A4 who is told Committed finds every branch committed or held", |setup, state: &State| {
            (0..setup.transactions.len()).all(|t| {
                let entry = &state.ledger.entries[t];
                !entry.told.commit || writers(setup, t).all(|n| is_kept(state, entry, n))
            })
        }),
        Property::always("A4 acknowledged only when it is on disk", |_, state: &State| {
            !state.ledger.broken.forced_acknowledgements
        }),
        Property::always("A5 each effect happens once", |_, state: &State| {
            entries(state).all(|entry| entry.branches.iter().all(|branch| branch.effects <= 1))
        }),
        Property::always("A6 no effect before the decision is on disk", |_, state: &State| {
            entries(state).all(|entry| entry.durable || entry.branches.iter().all(|branch| branch.effects == 0))
        }),
        Property::always("A10 what is stale or meant for another is refused", |_, state: &State| {
            !state.ledger.broken.fence
        }),
        Property::always("no machine stops", |_, state: &State| !state.ledger.broken.stopped),
        Property::always("L1 when all is quiet nothing is left undecided", |setup: &Setup, state: &State| {
            // An interactive transaction is open for as long as its client, or its idle limit, likes.
            let open = setup.interactive && !state.ledger.entries[0].submitted;
            open || !is_quiet(state) || state.coordinator.machine.load() == (0, 0)
        }),
    ]
}

fn sometimes(setup: &Setup) -> Vec<Property<Setup>> {
    let branches = || setup.transactions.iter().map(|branches| branches.iter());
    let mut all = vec![
        Property::sometimes("a client is told Committed", |_, state: &State| {
            entries(state).any(|entry| entry.told.commit)
        }),
        Property::sometimes("a client is told Aborted", |_, state: &State| {
            entries(state).any(|entry| entry.told.abort)
        }),
    ];
    if branches().any(|branches| branches.len() > 1) {
        all.push(Property::sometimes("a branch waits in doubt", |_, state: &State| {
            state.participants.iter().any(|node| !node.disk.prepared.is_empty())
        }));
        if setup.budget.crashes > 0 {
            all.push(Property::sometimes("a restarted participant is in doubt", |_, state: &State| {
                state.participants.iter().any(|node| node.starts > 1 && !node.disk.prepared.is_empty())
            }));
            all.push(Property::sometimes(
                "a restarted participant ends its doubt with a commit",
                |_, state: &State| {
                    (0..PARTICIPANTS).any(|n| {
                        let node = &state.participants[n];
                        // Its own memory says so: what an earlier start had committed would have no vote.
                        node.starts > 1
                            && node.machine.branches().any(|b| b.state == "committed" && b.vote == Some("yes"))
                    })
                },
            ));
            all.push(Property::sometimes("a restarted coordinator repeats its Commit", |_, state: &State| {
                state.coordinator.starts > 1
                    && state.links.iter().flat_map(|link| &link.orders).any(|message| {
                        let Order::Decide { decision, .. } = message.order else { return false };
                        decision == Decision::Commit && message.from.epoch.0 > 1
                    })
            }));
            all.push(Property::sometimes("a restarted coordinator presumes an abort", |_, state: &State| {
                state.coordinator.starts > 1 && entries(state).any(|entry| entry.said.abort)
            }));
        }
    }
    if setup.peers {
        // While the coordinator is undecided, only another participant can have said so.
        all.push(Property::sometimes(
            "a participant tells another one that it will never vote Yes",
            |_, state: &State| state.coordinator.machine.load().1 > 0 && entries(state).any(|entry| entry.said.abort),
        ));
    }
    if branches().any(|branches| branches.len() == 1) {
        all.push(Property::sometimes("a transaction commits in one phase", |_, state: &State| {
            state.participants.iter().any(|node| node.disk.done.values().any(|done| done.one_phase.is_some()))
        }));
    }
    let reads = branches().any(|branches| branches.len() > 1 && branches.clone().any(|(_, wish)| *wish == Wish::Read));
    if reads {
        all.push(Property::sometimes("a branch that only read is released", |_, state: &State| {
            state
                .participants
                .iter()
                .any(|node| node.held.is_empty() && node.machine.branches().any(|branch| branch.state == "read-only"))
        }));
    }
    all
}

fn entries(state: &State) -> impl Iterator<Item = &Entry> {
    state.ledger.entries.iter()
}

/// The participants of a transaction that change something; one alone always does.
fn writers(setup: &Setup, transaction: usize) -> impl Iterator<Item = usize> {
    let branches = setup.transactions[transaction];
    branches.iter().filter(|(_, wish)| branches.len() == 1 || *wish != Wish::Read).map(|(n, _)| *n)
}

fn is_kept(state: &State, entry: &Entry, n: usize) -> bool {
    let held = entry.xid.is_some_and(|xid| state.participants[n].disk.prepared.contains_key(&xid));
    entry.branches[n].effects > 0 || held
}

/// Whether nothing is on its way, and all are connected.
fn is_quiet(state: &State) -> bool {
    let coordinator = &state.coordinator;
    let idle = state.participants.iter().all(|node| node.queue.is_empty() && node.waiting.is_empty());
    let silent = |link: &Link| link.connected && link.orders.is_empty() && link.answers.is_empty();
    idle && !coordinator.is_awaited() && coordinator.machine.is_ready() && state.links.iter().all(silent)
}
