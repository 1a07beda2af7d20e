//! A process ends at each of its named points, under load; it starts again, and nothing is lost.
//!
//! To be built with `--features handfast-tests/failpoints`: without it the servers have no points to end at.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use handfast::nodes::Node;
use handfast_common::failpoints::VARIABLE;
use handfast_tests::ledger::{IN_DOUBT_ENDS, Ledger, Load, Told};
use handfast_tests::processes::{System, pause, resume, terminate, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
/// SIGABRT: how a process ends at a point.
const ABORTED: i32 = 6;
/// A point that is not reached in this time never is.
const REACHED: Duration = Duration::from_secs(15);
/// In this time somebody in doubt has asked.
const ASKED: Duration = Duration::from_secs(1);
/// How often somebody is brought into doubt.
const TRIES: usize = 20;
/// Few outcomes are kept, so that trimming has something to do.
const CONFIGURATION: &str = "retention_count = 40\n";

/// What brings an armed process to its point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its start.
    Start,
    /// The load.
    Load,
    /// That `p1` comes back with branches in doubt.
    InDoubt,
    /// The same while the coordinator is gone, so that `p1` asks the other participant.
    Peer,
    /// A new epoch of the coordinator.
    Epoch,
    /// SIGTERM.
    Terminate,
}

/// Every point there is: its name, who ends there, and what brings it there.
const POINTS: &[(&str, &str, Way)] = &[
    ("co1.after_epoch", "coordinator", Way::Start),
    ("co1.before_epoch", "coordinator", Way::Start),
    ("co1.before_epoch_commit", "coordinator", Way::Start),
    ("co2.after_registration", "coordinator", Way::Load),
    ("co2.before_enlisted", "coordinator", Way::Load),
    ("co2.before_registration", "coordinator", Way::Load),
    ("co2.before_registration_commit", "coordinator", Way::Load),
    ("co3.after_first_send", "coordinator", Way::Load),
    ("co4.before_vote", "coordinator", Way::Load),
    ("co5.after_commit", "coordinator", Way::Load),
    ("co5.before_begin_write", "coordinator", Way::Load),
    ("co5.before_commit", "coordinator", Way::Load),
    ("co6.after_reply", "coordinator", Way::Load),
    ("co6.before_reply", "coordinator", Way::Load),
    ("co7.after_first_send", "coordinator", Way::Load),
    ("co7.before_send", "coordinator", Way::Load),
    ("co8.before_acknowledgement", "coordinator", Way::Load),
    ("co9.after_end", "coordinator", Way::Load),
    ("co9.after_trim", "coordinator", Way::Load),
    ("co9.before_end", "coordinator", Way::Load),
    ("co9.before_end_commit", "coordinator", Way::Load),
    ("co9.before_trim", "coordinator", Way::Load),
    ("co9.before_trim_commit", "coordinator", Way::Load),
    ("co10.after_scan", "coordinator", Way::Start),
    ("co10.before_ready", "coordinator", Way::Start),
    ("co11.before_answer", "coordinator", Way::InDoubt),
    ("co12.after_outcome", "coordinator", Way::Load),
    ("co12.after_send", "coordinator", Way::Load),
    ("co12.before_outcome", "coordinator", Way::Load),
    ("co12.before_outcome_commit", "coordinator", Way::Load),
    ("co12.before_result", "coordinator", Way::Load),
    ("kv1.before_enlist", "p1", Way::Load),
    ("kv1.before_execute", "p1", Way::Load),
    ("kv1.before_result", "p1", Way::Load),
    ("kv2.after_sync_before_vote", "p1", Way::Load),
    ("kv2.before_begin_write", "p1", Way::Load),
    ("kv2.before_commit", "p1", Way::Load),
    ("kv2.before_prepare", "p1", Way::Load),
    ("kv3.before_vote", "p1", Way::Load),
    ("kv4.after_line", "p1", Way::Epoch),
    ("kv4.before_line", "p1", Way::Epoch),
    ("kv4.before_line_commit", "p1", Way::Epoch),
    ("kv5.after_apply_before_commit", "p1", Way::Load),
    ("kv5.after_commit", "p1", Way::Load),
    ("kv5.before_apply", "p1", Way::Load),
    ("kv5.before_begin_write", "p1", Way::Load),
    ("kv6.before_acknowledgement", "p1", Way::Load),
    ("kv7.after_incarnation", "p1", Way::Start),
    ("kv7.before_incarnation", "p1", Way::Start),
    ("kv7.before_incarnation_commit", "p1", Way::Start),
    ("kv7.before_locks", "p1", Way::Start),
    ("kv8.after_answer", "p1", Way::InDoubt),
    ("kv8.before_inquiry", "p1", Way::InDoubt),
    ("kv8.before_peer_answer", "p0", Way::Peer),
    ("srv1.after_accept", "coordinator", Way::Load),
    ("srv2.before_deliver", "coordinator", Way::Load),
    ("srv3.before_drain", "coordinator", Way::Terminate),
];

#[test]
fn a_process_ends_at_each_of_its_points_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = folder.path().join("coordinator.toml");
    fs::write(&configuration, CONFIGURATION).expect("a file");
    let arguments = ["--config".to_owned(), configuration.display().to_string()];
    let mut system = System::start_with(folder, PROGRAM, 2, &arguments);
    let only = std::env::var("HANDFAST_POINT").ok();
    let (began, mut ledger, mut missed) = (Instant::now(), Ledger::default(), Vec::new());
    for (point, who, way) in POINTS.iter().filter(|(point, ..)| only.as_deref().is_none_or(|only| only == *point)) {
        let load = Load::after(&ledger, system.coordinator.address(), 8);
        // Branches of the load are under way at both by then.
        std::thread::sleep(Duration::from_millis(60));
        if !ends_at(&mut system, point, who, *way) {
            missed.push(*point);
        }
        let last_ready = Instant::now();
        ledger.extend(load.stop());
        wait_until(point, IN_DOUBT_ENDS.saturating_sub(last_ready.elapsed()), || !system.is_in_doubt());
    }
    ledger.check(&system, IN_DOUBT_ENDS);
    let told = [Told::Committed, Told::Nothing, Told::Unknown].map(|told| (told, ledger.count(told)));
    println!("{} points in {:?}; told {told:?}", POINTS.len() - missed.len(), began.elapsed());
    assert!(missed.is_empty(), "never reached: {missed:?}\n{}", system.logs());
}

/// Arms a process, brings it to its point, looks that it ended there, and starts everything again that does not run.
fn ends_at(system: &mut System, point: &str, who: &str, way: Way) -> bool {
    let node = node(system, who);
    node.set_environment(&[(VARIABLE, point)]);
    // What ends it is not this kill: it starts anew because only a start takes the environment.
    let mut reached = match way {
        // It is killed and started below, with branches in doubt.
        Way::InDoubt if who == "p1" => false,
        Way::Start | Way::Load | Way::InDoubt | Way::Peer | Way::Epoch | Way::Terminate => {
            node.kill().expect("killed");
            !starts(node, point)
        }
    };
    match way {
        Way::Start | Way::Load => {}
        Way::Terminate => terminate(node),
        Way::InDoubt | Way::Peer => {
            // A kill may leave nothing in doubt, or a decision comes before anybody asks for it.
            for _ in 0..TRIES {
                reached = come_back_in_doubt(system, point, way) || ended_by(self::node(system, who), point, ASKED);
                if reached {
                    break;
                }
            }
        }
        Way::Epoch => {
            system.coordinator.kill().expect("killed");
            system.coordinator.start().expect("it starts again");
        }
    }
    let node = self::node(system, who);
    let in_doubt = matches!(way, Way::InDoubt | Way::Peer);
    reached = reached || !in_doubt && ended_by(node, point, REACHED);
    assert!(!reached || node.log().contains(&format!("fail point {point}\n")), "{point}\n{}", node.log());
    node.set_environment(&[]);
    if !reached {
        node.kill().expect("killed");
    }
    let System { coordinator, participants, .. } = system;
    for node in std::iter::once(coordinator).chain(participants).filter(|node| node.pid().is_none()) {
        node.start().expect("it starts again");
    }
    reached
}

/// Whether it ends within this time, as a point ends it.
fn ended_by(node: &mut Node, point: &str, within: Duration) -> bool {
    let Ok(status) = node.wait_exit(within) else { return false };
    assert_eq!(status.signal(), Some(ABORTED), "{point}: {status}\n{}", node.log());
    true
}

fn node<'a>(system: &'a mut System, who: &str) -> &'a mut Node {
    match who {
        "p0" => &mut system.participants[0],
        "p1" => &mut system.participants[1],
        _ => &mut system.coordinator,
    }
}

/// Starts it; false when it ended at the point instead.
fn starts(node: &mut Node, point: &str) -> bool {
    match node.start() {
        Ok(()) => true,
        Err(error) => {
            assert!(error.to_string().contains("signal: 6"), "{point}: {error}\n{}", node.log());
            false
        }
    }
}

/// Kills `p1` while it has branches that no decision has reached, and starts it again. Whether it ended at a point of its
/// own before it was ready.
fn come_back_in_doubt(system: &mut System, point: &str, way: Way) -> bool {
    if system.coordinator.pid().is_none() {
        system.coordinator.start().expect("it starts again");
    }
    // All have found each other by then, and the load is at work; if not, there is another try. Whoever was armed may have
    // ended already.
    std::thread::sleep(Duration::from_millis(500));
    // Stopped, the coordinator hears no vote any more; participants go on preparing what has reached them.
    pause(&system.coordinator);
    std::thread::sleep(Duration::from_millis(150));
    if system.participants[1].pid().is_some() {
        system.participants[1].kill().expect("killed");
    }
    if way == Way::Peer {
        system.coordinator.kill().expect("killed");
        return !starts(&mut system.participants[1], point);
    }
    // It asks before the coordinator runs again and decides on the votes that it finds.
    let ended = !starts(&mut system.participants[1], point);
    std::thread::sleep(Duration::from_millis(150));
    resume(&system.coordinator);
    ended
}

#[test]
fn every_point_of_the_sources_is_ended_at() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = BTreeSet::new();
    for room in ["common/src", "coordinator/src", "participant/src"] {
        collect(&sources.join(room), &mut named);
    }
    let ended_at: BTreeSet<String> = POINTS.iter().map(|(point, ..)| (*point).to_owned()).collect();
    assert_eq!(named, ended_at, "points of the sources, and points of this test");
}

/// The names in quotes that look like a point's: a step, a number, a dot.
fn collect(folder: &Path, named: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, named);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            named.extend(text.split('"').filter(|word| is_point(word)).map(str::to_owned));
        }
    }
}

fn is_point(word: &str) -> bool {
    let Some((step, place)) = word.split_once('.') else { return false };
    let number = ["co", "kv", "srv"].iter().find_map(|side| step.strip_prefix(side));
    let named = place.chars().all(|c| c == '_' || c.is_ascii_lowercase()) && !place.is_empty();
    named && number.is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}
