//! exploring
#![cfg(feature = "mutants")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use handfast_common::mutants::{Mutant, with};
use handfast_simulator::dice::Dice;
use handfast_simulator::plan::{Fault, Host, MS, Nemesis, Planned};
use handfast_simulator::rot::rot;
use handfast_simulator::run::{Choice, attempt, options};
use handfast_simulator::workload::Workload;
use handfast_simulator::world::{Options, World};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Plain,
    Trims,
    Back(Option<usize>),
    Rot,
}

fn opts(way: Way, workload: &str, nemeses: &str, seed: u64) -> Options {
    let choice = Choice {
        workload: Workload::named(workload),
        nemeses: nemeses.split(',').filter_map(Nemesis::named).collect(),
    };
    let mut o = options(seed, &choice);
    if nemeses == "none" {
        o.plan.clear();
    }
    match way {
        Way::Plain | Way::Rot => {}
        Way::Trims => o.retention = 5,
        Way::Back(p) => {
            let host = p.map_or(Host::Coordinator, Host::Participant);
            let mut dice = Dice::apart(seed, 77);
            let at = dice.between(o.chaos / 4, o.chaos * 2 / 3);
            let back = at + dice.between(20, 400) * MS;
            o.plan.push(Planned { at, fault: Fault::Copy { host } });
            o.plan.push(Planned { at: back, fault: Fault::Restore { host, down: dice.between(5, 200) * MS } });
        }
    }
    o
}

fn judge(way: Way, o: Options, seed: u64) -> Result<String, String> {
    if way == Way::Rot {
        return match catch_unwind(AssertUnwindSafe(|| rot(World::new(Options { plan: vec![], ..o }), seed, 60))) {
            Ok(Ok(r)) => Ok(format!("{} refused", r.refused)),
            Ok(Err(e)) => Err(format!("rot: {e}")),
            Err(_) => Err("panic".into()),
        };
    }
    match attempt(World::new(o)) {
        Ok(s) => Ok(format!("found out: {:?}", s.found_out)),
        Err(f) => Err(format!("{}", f.violation)),
    }
}

#[test]
fn explore() {
    std::panic::set_hook(Box::new(|_| {}));
    let n: u64 = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let only = std::env::var("ONLY").unwrap_or_default();
    let spec = std::env::var("WAYS").unwrap_or_default();
    let specs: Vec<(Way, String, String)> = spec
        .split(';')
        .map(|one| {
            let parts: Vec<&str> = one.split(':').collect();
            let way = match parts[0] {
                "trims" => Way::Trims,
                "back" => Way::Back(None),
                "back0" => Way::Back(Some(0)),
                "rot" => Way::Rot,
                _ => Way::Plain,
            };
            (way, parts[1].to_owned(), parts[2].to_owned())
        })
        .collect();
    let ways: Vec<(Way, &str, &str)> = specs.iter().map(|(w, a, b)| (*w, a.as_str(), b.as_str())).collect();
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    let all: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|m| only.is_empty() || only.split(',').any(|o| o == m.name())).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(&mutant) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let mut line = format!("{mutant:?} NOT CAUGHT");
                    'hunt: for (way, workload, nemeses) in &ways {
                        let n = if *way == Way::Rot { 10 } else { n };
                        for seed in 0..n {
                            let o = opts(*way, workload, nemeses, seed);
                            if let Err(v) = with(mutant, || judge(*way, o.clone(), seed)) {
                                if let Err(clean) = judge(*way, o, seed) {
                                    lines
                                        .lock()
                                        .unwrap()
                                        .push(format!("  CLEAN {way:?} {workload} {nemeses} {seed}: {clean}"));
                                    continue;
                                }
                                line = format!(
                                    "{mutant:?} {way:?} {workload:?} {nemeses:?} seed {seed}: {}",
                                    v.chars().take(150).collect::<String>()
                                );
                                break 'hunt;
                            }
                        }
                    }
                    eprintln!("{line} ({:.1}s)", begun.elapsed().as_secs_f64());
                }
            });
        }
    });
    for l in lines.into_inner().unwrap() {
        eprintln!("{l}");
    }
}
