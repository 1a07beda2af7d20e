//! `handfast simulate` as a process: what it prints, and how it ends.

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use handfast_tests::processes::json_lines;
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");

fn simulate(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("simulate").args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_few_worlds_are_run_and_summed_up_the_same_each_time() {
    let summary = || {
        let output = simulate(&["--seed", "7", "--runs", "12", "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "a progress bar, and no terminal: {}", text(&output.stderr));
        let mut lines = json_lines(&output.stdout);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let mut summary = lines.remove(0);
        assert!(summary["seconds"].as_f64() > Some(0.0), "{summary}");
        summary["seconds"] = 0.into();
        summary
    };
    let once = summary();
    assert_eq!((&once["ran"], &once["broken"], &once["seed"]), (&12.into(), &0.into(), &7.into()));
    for figure in ["transactions", "committed", "aborted", "faults", "restarts", "cells_hit"] {
        assert!(once[figure].as_u64() > Some(0), "{figure}: {once}");
    }
    assert_eq!(once["hits"].as_object().map(serde_json::Map::len), Some(12), "{once}");
    assert_eq!(once, summary());
    let table = simulate(&["--seed", "7", "--runs", "2", "--workload", "bank", "--nemesis", "kill-one,clog"]);
    assert_eq!(table.status.code(), Some(0), "{table:?}");
    let table = text(&table.stdout);
    assert!(table.contains("2 of 2, from 7 on") && table.contains("No promise was broken."), "{table}");
}

#[test]
fn a_trace_tells_one_world_line_by_line() {
    let arguments = ["--seed", "3", "--workload", "bank", "--nemesis", "kill-all", "--trace"];
    let told = simulate(&arguments);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let told = text(&told.stdout);
    for part in ["Start(Coordinator)", "Prepare", "Fault", "1 of 1, from 3 on", "No promise was broken."] {
        assert!(told.contains(part), "'{part}' is not told");
    }
    let json = json_lines(&simulate(&[&arguments[..], &["-o", "json"]].concat()).stdout);
    let (summary, lines) = json.split_last().expect("lines");
    assert!(summary["ran"] == 1 && lines.len() > 500, "{summary}, {} lines", lines.len());
    assert!(lines.iter().all(|line| told.contains(line["line"].as_str().expect("a line"))));
}

#[test]
fn an_unknown_name_is_told_which_there_are() {
    for (flag, name, known) in [("--nemesis", "kill-some", "kill-one"), ("--workload", "shop", "hot-key")] {
        let output = simulate(&[flag, name]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = text(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 3 && lines[0].contains("HF0602") && lines[0].contains(name), "{said}");
        assert!(lines[1].contains(known) && lines[2].contains("next:"), "{said}");
    }
}

#[test]
fn an_interrupt_ends_it_with_the_summary_so_far() {
    let mut child = Command::new(PROGRAM)
        .args(["simulate", "--seed", "1", "--runs", "1000000", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    std::thread::sleep(Duration::from_secs(1));
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let told = Instant::now();
    let mut out = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut out).expect("it can be read");
    let status = child.wait().expect("it ends");
    assert!(told.elapsed() < Duration::from_secs(20), "it went on for {:?}", told.elapsed());
    // Not all that was asked for was run: no success.
    assert_eq!(status.code(), Some(1));
    let summary = json_lines(&out).pop().expect("a summary");
    let ran = summary["ran"].as_u64().expect("a number");
    assert!(ran > 0 && ran < 1_000_000 && summary["broken"] == 0, "{summary}");
}
