//! Cycles in the graph: which class each is of, and the shortest one to show.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::anomaly::{Anomaly, Class};
use super::graph::{Edge, Graph, Kind};
use super::versions::{TOLD, Version};
use super::writers::Writers;
use super::{Fate, History};

/// Steps that the search for the cycle to show may take, all together. Beyond it one that is longer than it need be, or a
/// G2 where there is a G-single as well, is shown: that there is a cycle is known by then.
const MAX_STEPS: usize = 20_000_000;
/// Cycles to choose the shortest from.
const TRIES: usize = 64;

/// A class of cycles: each has at least one edge of `needed`, and comes back by edges of `back` only.
struct Search {
    class: Class,
    /// What connects the parts that are looked at.
    within: &'static [Kind],
    needed: Kind,
    back: &'static [Kind],
}

const WRITES: &[Kind] = &[Kind::Ww, Kind::On];
const CURRENT: &[Kind] = &[Kind::Ww, Kind::Wr, Kind::On];
const ALL: &[Kind] = &[Kind::Ww, Kind::Wr, Kind::Rw, Kind::On];

/// Finds a few cycles of each class. A part of the graph that has a G-single is not searched for a G2.
pub(super) fn find(history: &History, writers: &Writers<'_>, graph: &Graph, anomalies: &mut Vec<Anomaly>) {
    let mut steps = MAX_STEPS;
    let searches = [
        Search { class: Class::G0, within: WRITES, needed: Kind::Ww, back: WRITES },
        Search { class: Class::G1c, within: CURRENT, needed: Kind::Wr, back: CURRENT },
        Search { class: Class::GSingle, within: ALL, needed: Kind::Rw, back: CURRENT },
        Search { class: Class::G2, within: ALL, needed: Kind::Rw, back: ALL },
    ];
    let mut single = BTreeSet::new();
    for search in searches {
        let part = graph.parts(search.within);
        let mut cycles = search.run(graph, &part, &mut steps);
        if search.class == Class::GSingle {
            single = cycles.keys().copied().collect();
        }
        if search.class == Class::G2 {
            cycles.retain(|part, _| !single.contains(part));
        }
        for cycle in cycles.values().take(TOLD) {
            anomalies.push(show(history, writers, search.class, cycle));
        }
    }
}

impl Search {
    /// The shortest cycle that is found in each part.
    fn run(&self, graph: &Graph, part: &[usize], steps: &mut usize) -> BTreeMap<usize, Vec<Edge>> {
        let mut found: BTreeMap<usize, Vec<Edge>> = BTreeMap::new();
        let mut tries: BTreeMap<usize, usize> = BTreeMap::new();
        for edge in graph.edges.iter().filter(|edge| edge.kind == self.needed && part[edge.from] == part[edge.to]) {
            let tried = tries.entry(part[edge.from]).or_default();
            let enough = *tried >= TRIES && found.contains_key(&part[edge.from]);
            // One cycle of each part is looked for even when the steps are used up, where there must be one.
            let certain = self.back == self.within && *tried == 0;
            if enough || (*steps == 0 && !certain) {
                continue;
            }
            *tried += 1;
            let mut unbounded = usize::MAX;
            let budget = if certain { &mut unbounded } else { &mut *steps };
            let Some(way) = self.way_back(graph, part, edge, budget) else { continue };
            let mut cycle = vec![*edge];
            cycle.extend(way);
            let cycle = without_junctions(graph, cycle);
            if cycle.len() < 2 {
                continue;
            }
            let known = found.entry(part[edge.from]).or_insert_with(|| cycle.clone());
            if cycle.len() < known.len() {
                *known = cycle;
            }
        }
        found
    }

    /// Breadth first, from where the edge leads to where it comes from.
    fn way_back(&self, graph: &Graph, part: &[usize], edge: &Edge, steps: &mut usize) -> Option<Vec<Edge>> {
        let mut came: BTreeMap<usize, Edge> = BTreeMap::new();
        let mut queue = VecDeque::from([edge.to]);
        while let Some(node) = queue.pop_front() {
            for next in graph.out(node) {
                *steps = steps.checked_sub(1)?;
                let inside = self.back.contains(&next.kind) && part[next.to] == part[edge.from];
                if !inside || next.to == edge.to || came.contains_key(&next.to) {
                    continue;
                }
                came.insert(next.to, *next);
                if next.to == edge.from {
                    let mut way = Vec::new();
                    let mut at = edge.from;
                    while at != edge.to {
                        way.push(came[&at]);
                        at = came[&at].from;
                    }
                    way.reverse();
                    return Some(way);
                }
                queue.push_back(next.to);
            }
        }
        None
    }
}

/// Joins what leads to a junction with what leads on from it. The first edge is a needed one: it begins at a transaction.
fn without_junctions(graph: &Graph, cycle: Vec<Edge>) -> Vec<Edge> {
    let mut joined: Vec<Edge> = Vec::new();
    for edge in cycle {
        match joined.last_mut() {
            Some(last) if edge.from >= graph.transactions => *last = Edge { to: edge.to, after: edge.after, ..*last },
            _ => joined.push(edge),
        }
    }
    joined.retain(|edge| edge.from != edge.to);
    joined
}

fn show(history: &History, writers: &Writers<'_>, class: Class, cycle: &[Edge]) -> Anomaly {
    let transactions: Vec<usize> = cycle.iter().map(|edge| edge.from).collect();
    let mut why: Vec<String> = transactions.iter().map(|txn| told(history, *txn)).collect();
    why.extend(cycle.iter().map(|edge| {
        let (one, other) = (history.label(edge.from), history.label(edge.to));
        let (key, before, after) = (writers.names[edge.key], version(edge.before), version(edge.after));
        match edge.kind {
            Kind::Ww => format!("{one} -ww-> {other}: at {key} {other} wrote {after} after {before} of {one}"),
            Kind::Wr => format!("{one} -wr-> {other}: at {key} {other} read {before} of {one}"),
            Kind::Rw => format!("{one} -rw-> {other}: at {key} {one} read {before}, {other} wrote {after} after it"),
            Kind::On => format!("{one} -> {other}: at {key} {other} wrote {after} after {before}"),
        }
    }));
    Anomaly { class, transactions, why }
}

/// All that a transaction did, in one line.
pub(super) fn told(history: &History, txn: usize) -> String {
    let fate = match history.transactions.get(txn).map(|transaction| transaction.fate) {
        Some(Fate::Committed) => "committed",
        Some(Fate::Aborted) => "aborted",
        Some(Fate::Unknown) => "unknown",
        None => "read last",
    };
    let did: Vec<String> = history.operations(txn).iter().map(ToString::to_string).collect();
    format!("{} ({fate}): {}", history.label(txn), did.join("; "))
}

fn version(version: Version) -> String {
    version.map_or_else(|| "nothing".to_owned(), |element| element.to_string())
}
