//! What `handfast simulate` says and how it ends, also where a promise is broken: by stores that forget.

use handfast_common::storage::StorageError;
use handfast_simulator::disk::{Content, Disk};
use handfast_simulator::run::run_over;
use handfast_simulator::stores::{Embedded, Ground, SteppedStore, Stores};
use serde_json::Value;

use super::*;

/// Embedded stores, of which each start finds its disk as it was in the beginning.
#[derive(Default)]
struct Forgetful(Vec<(usize, Content)>);

impl Stores for Forgetful {
    fn disk(&mut self, participant: usize) -> Disk {
        let disk = Embedded.disk(participant);
        self.0.push((participant, disk.content()));
        disk
    }

    fn open(&mut self, ground: Ground) -> Result<Box<dyn SteppedStore>, StorageError> {
        let first = self.0.iter().find(|(participant, _)| *participant == ground.participant);
        ground.disk.put(first.expect("it was made before").1.clone());
        Embedded.open(ground)
    }
}

fn choice() -> Choice {
    Choice { workload: Some(Workload::Counters), nemeses: vec![Nemesis::KillAll] }
}

fn forgetful(seed: u64) -> Result<Summary, Box<Report>> {
    run_over(seed, &choice(), &|| Box::new(Forgetful::default()))
}

fn played(runs: u64, run: RunSeed<'_>, stop: bool, format: Format) -> (u8, String) {
    let mut out = Vec::new();
    let code = play((5, runs), run, &AtomicBool::new(stop), format, &mut out).expect("it can be written");
    (code, String::from_utf8(out).expect("it is text"))
}

#[test]
fn a_broken_promise_is_told_and_ends_with_nine() {
    let (code, text) = played(20, &forgetful, false, Format::Table);
    assert_eq!(code, exit::INTEGRITY, "{text}");
    for part in
        ["breaks a promise", "faults it takes these:", "the end of the story:", "BROKEN:", "broke a promise, see"]
    {
        assert!(text.contains(part), "'{part}' is not in {text}");
    }
}

#[test]
fn a_broken_promise_as_json_has_all_that_it_takes_to_run_it_again() {
    let (code, text) = played(20, &forgetful, false, Format::Json);
    assert_eq!(code, exit::INTEGRITY, "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (total, broken) = lines.split_last().expect("a line");
    assert_eq!(total["broken"], broken.len());
    assert!(!broken.is_empty() && total["ran"].as_u64() <= Some(20), "{total}");
    for line in broken {
        let seed = line["seed"].as_u64().expect("a number");
        let report = forgetful(seed).expect_err("it breaks a promise each time");
        assert_eq!(line["promise"], report.violation.oracle);
        assert_eq!(line["what"], report.violation.what.as_str());
        assert_eq!(line["faults"].as_array().map(Vec::len), Some(report.plan.len()));
        assert_eq!(line["story"].as_array().map(Vec::len), Some(report.story.len()));
        assert_eq!(line["again"], report.again.as_str());
    }
}

#[test]
fn what_is_stopped_before_its_end_is_no_success() {
    let (code, text) = played(20, &forgetful, true, Format::Table);
    assert_eq!(code, exit::OTHER, "{text}");
    assert!(text.contains("No promise was broken so far; 20 seeds were not run."), "{text}");
}

#[test]
fn the_command_that_is_printed_is_understood_and_names_the_same_world() {
    let command = choice().command(17);
    assert_eq!(command, "handfast simulate --seed 17 --workload counters --nemesis kill-all --trace");
    let all = Choice { workload: None, nemeses: Nemesis::ALL.to_vec() };
    for choice in [choice(), all, Choice::default()] {
        let command = choice.command(17);
        let cli = <crate::Cli as clap::Parser>::try_parse_from(command.split(' ')).expect("it is understood");
        let crate::Command::Simulate(args) = cli.command else { panic!("{command} is another command") };
        assert_eq!((args.choice().expect("names"), args.seed, args.trace), (choice, Some(17), true));
    }
}

#[test]
fn every_name_is_known_and_an_unknown_one_is_told_those_that_are() {
    let args = |workload: Option<&str>, nemeses: &[&str]| SimulateArgs {
        seed: None,
        runs: None,
        nemeses: nemeses.iter().map(|name| (*name).to_owned()).collect(),
        workload: workload.map(str::to_owned),
        trace: false,
    };
    for workload in Workload::ALL {
        assert_eq!(args(Some(workload.name()), &[]).choice().expect("a name").workload, Some(workload));
    }
    let all = Nemesis::ALL.map(Nemesis::name);
    assert_eq!(args(None, &all).choice().expect("names").nemeses, Nemesis::ALL);
    let failure = args(Some("banks"), &[]).choice().expect_err("there is none");
    assert_eq!((failure.code, failure.exit), ("HF0602", exit::USAGE));
    assert!(failure.what.contains("'banks'") && failure.why.contains("hot-key"), "{failure:?}");
    let failure = args(None, &["clog", "kill"]).choice().expect_err("there is none");
    assert!(failure.what.contains("'kill'") && failure.why.contains("kill-one, kill-all"), "{failure:?}");
}
