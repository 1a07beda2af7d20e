//! Cooperative termination with real processes: the coordinator is killed for good, and what one participant knows all
//! others learn; where nobody knows, everybody waits and says so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use handfast_examples::wire::Wire;
use handfast_tests::processes::{System, json_lines, spread_transfer, stop, transfer, wait_until};
use serde_json::Value;
use tokio::sync::oneshot;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// From the lost connection to the end, where somebody knows.
const LEARNED: Duration = Duration::from_secs(2);
/// How long a message takes on a slow wire.
const SLOW: Duration = Duration::from_millis(250);

fn in_doubt(system: &System, participant: usize) -> BTreeSet<String> {
    let lines = system.in_doubt(&system.participants[participant]);
    lines.iter().map(|line| line["txn"].as_str().expect("an id").to_owned()).collect()
}

/// Lays wires, which carry as long as the sender lives.
fn lay(count: usize) -> (Vec<Wire>, oneshot::Sender<()>) {
    let (tell, told) = mpsc::channel();
    let (alive, over) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for _ in 0..count {
                tell.send(Wire::lay(SLOW).await.expect("a port")).expect("somebody waits");
            }
            drop(over.await);
        });
    });
    (told.iter().take(count).collect(), alive)
}

/// Puts a wire that can be cut in front of some participants, and tells the coordinator.
fn behind_wires(system: &mut System, slow: &[usize]) -> (Vec<Wire>, oneshot::Sender<()>) {
    let (wires, alive) = lay(slow.len());
    for (number, wire) in slow.iter().zip(&wires) {
        let node = &mut system.participants[*number];
        wire.lead_to(node.address().parse::<SocketAddr>().expect("an address"));
        stop(node);
        node.add_arguments(&["--advertise", &wire.address().to_string()]);
        node.start().expect("it starts again");
    }
    wait_until("all are reached through the wires", Duration::from_secs(10), || {
        let registered = |number: &usize, wire: &Wire| {
            let line = &system.registered(&format!("p{number}"))[0];
            line["state"] == "ready" && line["address"] == wire.address().to_string()
        };
        slow.iter().zip(&wires).all(|(number, wire)| registered(number, wire))
    });
    (wires, alive)
}

fn commit_and_kill(system: &mut System, wires: &[Wire], line: String) {
    let submitting = system.begin_submit(&[line], &[]);
    let answers = json_lines(&submitting.wait_with_output().expect("it ends").stdout);
    assert_eq!(answers[0]["outcome"], "committed", "{answers:?}\n{}", system.logs());
    // Those without a wire hear of it at once, the others never.
    wires.iter().for_each(Wire::cut);
    system.coordinator.kill().expect("killed");
}

#[test]
fn t02_what_one_participant_has_learned_the_others_learn_from_it_when_the_coordinator_is_gone() {
    for _ in 0..3 {
        let mut system = System::start(PROGRAM, 3);
        let (wires, _alive) = behind_wires(&mut system, &[1, 2]);
        let branch =
            |name: &str| format!(r#"{{"participant":"{name}","ops":[{{"put":{{"key":"row/1","value":1}}}}]}}"#);
        let line = format!(r#"{{"branches":[{},{},{}]}}"#, branch("p0"), branch("p1"), branch("p2"));
        commit_and_kill(&mut system, &wires, line);
        let lost = Instant::now();
        assert_eq!(in_doubt(&system, 0).len(), 0, "p0 was to hear of it");
        let (p1, p2) = (in_doubt(&system, 1).len(), in_doubt(&system, 2).len());
        // Over slow wires they are found in doubt, unless they have asked already.
        wait_until("the others have learned it from p0", LEARNED, || {
            in_doubt(&system, 1).is_empty() && in_doubt(&system, 2).is_empty()
        });
        assert!(lost.elapsed() < LEARNED, "{:?}", lost.elapsed());
        assert!(p1 + p2 > 0, "they knew before the coordinator was gone: the wires were not cut in time");
        for participant in &system.participants {
            assert_eq!(system.scan(participant, "row/").len(), 1, "{}", system.logs());
        }
        // It comes back to what it had decided, and finds it done.
        wires.iter().for_each(Wire::mend);
        system.coordinator.start().expect("it starts again");
        wait_until("nothing is left to be told", Duration::from_secs(10), || {
            json_lines(&system.run(&["txn", "list", "-o", "json"]).stdout).is_empty()
        });
    }
}

#[test]
fn t02_all_in_doubt_wait_and_say_so_and_nobody_guesses() {
    let mut system = System::start(PROGRAM, 2);
    let (wires, _alive) = behind_wires(&mut system, &[0, 1]);
    commit_and_kill(&mut system, &wires, transfer(7, "p0", "p1"));
    // What was on its way is lost by now; the wires are whole again, the coordinator is not.
    std::thread::sleep(2 * SLOW);
    wires.iter().for_each(Wire::mend);
    let peer_says = |of: usize, other: &str| {
        let lines = system.in_doubt(&system.participants[of]);
        let branches = lines[0]["branches"].as_array().expect("branches").clone();
        branches.into_iter().find(|branch| branch["participant"] == other).expect("the other branch")["state"].clone()
    };
    wait_until("each shows what the other has said", Duration::from_secs(8), || {
        peer_says(0, "p1") == "in-doubt" && peer_says(1, "p0") == "in-doubt"
    });
    std::thread::sleep(Duration::from_secs(2));
    for (number, node) in system.participants.iter().enumerate() {
        assert_eq!(in_doubt(&system, number).len(), 1, "p{number} decided by itself");
        assert!(node.log().contains("in doubt"), "p{number} does not say that it waits: {}", node.log());
    }
    system.coordinator.start().expect("it starts again");
    wait_until("nothing in doubt", Duration::from_secs(5), || !system.is_in_doubt());
    let rows: Vec<Value> = system.participants.iter().flat_map(|node| system.scan(node, "row/")).collect();
    assert_eq!(rows.len(), 2, "{}", system.logs());
}

#[test]
fn t02_after_kills_under_load_no_branch_stays_in_doubt_that_another_participant_knows_of() {
    let mut system = System::start(PROGRAM, 2);
    let mut told = 0;
    for round in 0..6usize {
        let lines: Vec<String> = (0..3_000).map(|line| spread_transfer(round * 3_000 + line, "p0", "p1")).collect();
        let mut load = system.begin_submit(&lines, &["--concurrency", "64"]);
        std::thread::sleep(Duration::from_millis(150 + 40 * round as u64));
        system.coordinator.kill().expect("killed");
        let lost = Instant::now();
        load.kill().expect("the client ends");
        load.wait().expect("the client ends");
        // A branch of a transaction that the other one has not voted on is refused there: it ends too.
        wait_until("who is in doubt is in doubt with the other", LEARNED, || {
            in_doubt(&system, 0) == in_doubt(&system, 1)
        });
        assert!(lost.elapsed() < LEARNED, "{:?}", lost.elapsed());
        told += usize::from(in_doubt(&system, 0).is_empty());
        system.coordinator.start().expect("it starts again");
        wait_until("nothing in doubt", Duration::from_secs(5), || !system.is_in_doubt());
        let rows = |number: usize| system.scan(&system.participants[number], "row/").len();
        assert_eq!(rows(0), rows(1), "half a transaction\n{}", system.logs());
    }
    println!("{told} of 6 rounds ended without the coordinator");
}
