//! Whatever arrives, in whatever order and however often: no second verdict, no bug of our own found (f26).

use handfast_common::messages::{Begun, Enlist, OnePhaseResult, Refusal, RegistryAct, RegistryOrder, Seen};

use super::prefixes::Dice;
use super::*;
use crate::protocol::table::Phase;

/// What a client, a service or an operator may say of interactive transactions and participants.
fn any_interactive(dice: &mut Dice, bench: &Bench, xid: Xid, n: u64) -> Input {
    match dice.below(10) {
        0 | 1 => {
            let k = 1 + dice.below(60);
            Input::BeginRequested { reply: ReplyTo(k), begin: bench.begin_of(k) }
        }
        2..=5 => {
            let enlist = Enlist { from: bench.identity(n), xid, active: dice.one_in(2) };
            Input::BranchEnlisted { reply: ReplyTo(503), enlist }
        }
        6 | 7 => {
            let counted: Vec<u64> = (1..=3).filter(|_| dice.one_in(6)).collect();
            let counts: Vec<(u64, u64)> = counted.into_iter().map(|n| (n, dice.below(3))).collect();
            let commit = bench.commit_of(1, &counts, dice.one_in(2));
            let commit = handfast_common::messages::Commit { xid, ..commit };
            Input::CommitRequested { reply: ReplyTo(504), commit }
        }
        8 if dice.one_in(3) => Input::RollbackRequested { reply: ReplyTo(505), xid },
        8 => Input::TimerFired(if dice.one_in(2) { Timer::Idle(xid.txn) } else { Timer::Total(xid.txn) }),
        _ => {
            let act = if dice.one_in(4) { RegistryAct::Remove } else { RegistryAct::Release };
            let order = RegistryOrder { act, name: name(n), reason: "gone".into(), force: dice.one_in(4) };
            Input::RegistryOrdered { reply: ReplyTo(506), order }
        }
    }
}

fn any_input(dice: &mut Dice, bench: &Bench) -> Input {
    let n = 1 + dice.below(3);
    // Nobody can speak of a transaction that has not been drawn.
    let drawn = bench.machine.standing().3;
    if drawn == 0 {
        let request = bench.request(1, &[n]);
        return Input::TransactionSubmitted { reply: ReplyTo(1), request, hash: hash(1) };
    }
    let t = 1 + dice.below(drawn);
    let xid = xid_of(1 + dice.below(bench.epoch), t);
    let participants: Vec<u64> = (1..=3).filter(|_| dice.one_in(2)).collect();
    let answer = match dice.below(10) {
        0 => Answer::Welcome(Welcome {
            seen: Vec::new(),
            unconfirmed: Vec::new(),
            complete: dice.one_in(2),
            remembers: true,
        }),
        1..=3 => Answer::Voted { xid, vote: yes() },
        4 => Answer::Voted { xid, vote: if dice.one_in(3) { no(ReasonKind::Conflict) } else { read("r") } },
        5 => Answer::Released { xid, held: !dice.one_in(4) },
        6 | 7 => Answer::Acknowledged { xid },
        8 => Answer::OnePhaseEnded {
            xid,
            result: if dice.one_in(2) {
                OnePhaseResult::Committed(Payload::default())
            } else {
                OnePhaseResult::Aborted(Reason::new(ReasonKind::Conflict, ""))
            },
        },
        _ if dice.one_in(2) => {
            Answer::Welcome(Welcome { seen: Vec::new(), unconfirmed: Vec::new(), complete: true, remembers: true })
        }
        _ if !dice.one_in(8) => Answer::Voted { xid, vote: yes() },
        _ => Answer::Refused(Refusal::Fenced(Seen { epoch: Epoch(1), nonce: Nonce(101), decisions: 0 })),
    };
    match dice.below(20) {
        16..=19 => any_interactive(dice, bench, xid, n),
        0..=2 => {
            let k = 1 + dice.below(60);
            Input::TransactionSubmitted { reply: ReplyTo(k), request: bench.request(k, &participants), hash: hash(k) }
        }
        3 => Input::OutcomeAsked {
            reply: ReplyTo(500),
            question: AskOutcome {
                key: key(1 + dice.below(60)),
                ticket: dice.one_in(2).then(|| ticket(1 + dice.below(bench.epoch), 0)),
                participants: participants.iter().map(|n| name(*n)).collect(),
            },
        },
        4 => Input::DecisionInquired {
            reply: ReplyTo(501),
            inquiry: Inquiry { from: bench.identity(n), xid, members: participants.iter().map(|n| name(*n)).collect() },
        },
        5 if dice.one_in(4) => Input::PeerConnected { name: name(n) },
        6 if dice.one_in(6) => Input::PeerDisconnected { name: name(n) },
        7 => Input::TimerFired(match dice.below(5) {
            0 => Timer::Prepare(xid.txn),
            1 => Timer::Resend(xid.txn),
            2 => Timer::Guard(name(n)),
            3 => Timer::Silence,
            _ => Timer::Retention,
        }),
        8 => Input::RecordsForced { upto: bench.forced },
        9 => Input::SpaceChanged { room: !dice.one_in(3) },
        10 => Input::ParticipantRegistered {
            reply: ReplyTo(502),
            register: Register { from: bench.identity(n), address: format!("host:{n}"), seen: None },
        },
        _ => Input::AnswerReceived { name: name(n), message: FromParticipant { from: bench.identity(n), answer } },
    }
}

#[test]
fn f26_any_order_of_anything_any_number_of_times_gives_one_verdict_each() {
    let mut committed = 0;
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut bench = Bench::with_config(3, Config { retention_count: 1_000, ..Config::default() });
        let mut verdicts: BTreeMap<TxnId, bool> = BTreeMap::new();
        for _ in 0..400 {
            let effects = match dice.below(24) {
                0 => bench.force(),
                1 if dice.one_in(8) => {
                    bench.players.get_mut(&name(1 + dice.below(3))).expect("joined").incarnation += 1;
                    continue;
                }
                2 if dice.one_in(6) => bench.restart(false),
                _ => {
                    let input = any_input(&mut dice, &bench);
                    bench.give(input)
                }
            };
            assert!(!is_stop(&effects), "seed {seed}: {effects:?}");
            for effect in effects {
                let (txn, commits) = match effect {
                    Effect::Reply { told: Told::Outcome { txn: Some(txn), outcome, .. }, .. } => {
                        (txn, matches!(outcome, Outcome::Committed(_)))
                    }
                    Effect::ReplyBegun {
                        begun: Begun::Told(Told::Outcome { txn: Some(txn), outcome, .. }), ..
                    } => (txn, matches!(outcome, Outcome::Committed(_))),
                    Effect::Send {
                        message: ToParticipant { order: Order::Decide { xid, decision, .. }, .. }, ..
                    } => (xid.txn, decision == Decision::Commit),
                    _ => continue,
                };
                committed += u64::from(commits);
                assert_eq!(*verdicts.entry(txn).or_insert(commits), commits, "seed {seed}: two verdicts on {txn}");
            }
            let machine = &bench.machine;
            let undecided = machine.live.values().filter(|live| live.phase.is_undecided()).count();
            assert_eq!(machine.undecided, undecided, "seed {seed}");
            let open = machine.live.values().filter(|live| live.phase == Phase::Active).count();
            assert_eq!(machine.open, open, "seed {seed}");
            let known = |txn| machine.live.contains_key(txn) || machine.history.ended.contains_key(txn);
            assert!(machine.keys.values().all(known), "seed {seed}: a key of nothing");
        }
    }
    assert!(committed > 500, "hardly anything commits: {committed}");
}
