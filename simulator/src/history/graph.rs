//! Who must come before whom, as a graph, and its strongly connected parts.

use super::History;
use super::versions::{Version, Versions};
use super::writers::Writers;

/// Why one comes before another (Adya's dependencies).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// It wrote the version right before the other's.
    Ww,
    /// The other read what it wrote.
    Wr,
    /// It read the version that the other's replaced: an anti-dependency.
    Rw,
    /// From a junction on: of what kind it is, the edge that leads there says.
    On,
}

/// One reason.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: Kind,
    pub(super) key: usize,
    /// The version that the first wrote or read.
    pub(super) before: Version,
    /// The version that the second wrote; of a read the same as `before`.
    pub(super) after: Version,
}

/// All reasons. Nodes are transactions, then *junctions*: where all of many come before all of many others, each side
/// is joined to the junction and not to each of the other side, or edges would grow with the square.
#[derive(Debug)]
pub(super) struct Graph {
    /// By `from`.
    pub(super) edges: Vec<Edge>,
    /// Where each node's edges begin; one more than there are nodes.
    starts: Vec<usize>,
    /// Transactions; a node from here on is a junction.
    pub(super) transactions: usize,
}

/// Puts all reasons together.
pub(super) fn build(history: &History, writers: &Writers<'_>, versions: &Versions) -> Graph {
    let transactions = history.transactions.len() + 1;
    let mut edges = Vec::new();
    let mut add = |from: Option<usize>, to: Option<usize>, kind, key, before, after| {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            edges.push(Edge { from, to, kind, key, before, after });
        }
    };
    let writer = |key, version: Version| version.and_then(|element| writers.writer(key, element));
    for ((key, before), next) in &versions.next {
        add(writer(*key, *before), writers.writer(*key, next[0]), Kind::Ww, *key, *before, Some(next[0]));
        // Both wrote on top of the same version: whichever was first, the other had not seen it.
        for pair in next.windows(2) {
            let [first, second] = pair else { continue };
            let (one, other) = (writers.writer(*key, *first), writers.writer(*key, *second));
            add(one, other, Kind::Ww, *key, Some(*first), Some(*second));
        }
    }
    let mut junctions = transactions;
    let mut junction_of = std::collections::BTreeMap::new();
    for (key, (after, elements)) in &versions.somewhere_after {
        let junction = junctions;
        junctions += 1;
        junction_of.insert(*key, (*after, junction));
        add(writer(*key, *after), Some(junction), Kind::Ww, *key, *after, None);
        for element in elements {
            add(Some(junction), writers.writer(*key, *element), Kind::On, *key, *after, Some(*element));
        }
    }
    for (txn, key, version) in &versions.reads {
        add(writer(*key, *version), Some(*txn), Kind::Wr, *key, *version, *version);
        if let Some(next) = versions.next.get(&(*key, *version)) {
            add(Some(*txn), writers.writer(*key, next[0]), Kind::Rw, *key, *version, Some(next[0]));
        }
        if let Some((_, junction)) = junction_of.get(key).filter(|(after, _)| after == version) {
            add(Some(*txn), Some(*junction), Kind::Rw, *key, *version, None);
        }
    }
    Graph::new(edges, transactions, junctions)
}

impl Graph {
    fn new(mut edges: Vec<Edge>, transactions: usize, nodes: usize) -> Self {
        edges.sort_unstable();
        edges.dedup();
        let starts = (0..=nodes).map(|node| edges.partition_point(|edge| edge.from < node)).collect();
        Self { edges, starts, transactions }
    }

    /// Edges of each kind between transactions: ww, wr, rw.
    pub(super) fn counts(&self) -> [usize; 3] {
        let between = |edge: &&Edge| edge.from < self.transactions && edge.to < self.transactions;
        let count = |kind| self.edges.iter().filter(between).filter(|edge| edge.kind == kind).count();
        [Kind::Ww, Kind::Wr, Kind::Rw].map(count)
    }

    pub(super) fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// A node's edges, with the number of the first.
    pub(super) fn out(&self, node: usize) -> &[Edge] {
        &self.edges[self.starts[node]..self.starts[node + 1]]
    }

    /// The strongly connected part of each node, going by edges of `kinds` only (Tarjan 1972, without recursion: a
    /// chain of a hundred thousand transactions would overflow the stack).
    pub(super) fn parts(&self, kinds: &[Kind]) -> Vec<usize> {
        const UNSEEN: usize = usize::MAX;
        let n = self.nodes();
        let (mut index, mut low, mut part) = (vec![UNSEEN; n], vec![0; n], vec![UNSEEN; n]);
        let (mut open, mut path): (Vec<usize>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
        let (mut seen, mut parts) = (0, 0);
        for root in 0..n {
            if index[root] != UNSEEN {
                continue;
            }
            path.push((root, 0));
            while let Some((node, at)) = path.last_mut() {
                let node = *node;
                if *at == 0 && index[node] == UNSEEN {
                    (index[node], low[node]) = (seen, seen);
                    seen += 1;
                    open.push(node);
                }
                if let Some(edge) = self.out(node).get(*at) {
                    *at += 1;
                    if !kinds.contains(&edge.kind) {
                        continue;
                    }
                    if index[edge.to] == UNSEEN {
                        path.push((edge.to, 0));
                    } else if part[edge.to] == UNSEEN {
                        low[node] = low[node].min(index[edge.to]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    low[*parent] = low[*parent].min(low[node]);
                }
                if low[node] == index[node] {
                    while let Some(member) = open.pop() {
                        part[member] = parts;
                        if member == node {
                            break;
                        }
                    }
                    parts += 1;
                }
            }
        }
        part
    }
}
