//! From what was read to the order of versions: which follows which, and who read which.

use std::collections::{BTreeMap, BTreeSet};

use super::anomaly::{Anomaly, Class};
use super::list::shortened;
use super::writers::Writers;
use super::{History, Operation};

/// A version of a key: the last element written, or nothing yet.
pub(super) type Version = Option<u64>;

/// Of each class no more than so many are told.
pub(super) const TOLD: usize = 5;

/// What is known of the versions of all keys. Only committed transactions are in it.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// What follows a version directly. More than one: somebody wrote on top of what was out of date.
    pub(super) next: BTreeMap<(usize, Version), Vec<u64>>,
    /// Who read which version of what, written by others.
    pub(super) reads: Vec<(usize, usize, Version)>,
    /// By key, a version, and those of which only this is known: that they come after it, somewhere.
    pub(super) somewhere_after: BTreeMap<usize, (Version, Vec<u64>)>,
    known: BTreeSet<(usize, Version, u64)>,
}

/// The longest read of a list, and what is wrong in it.
#[derive(Default)]
struct Longest<'a> {
    list: &'a [u64],
    /// Position and class of elements that no read may show.
    bad: Vec<(usize, Class)>,
    /// Position of every element.
    at: BTreeMap<u64, usize>,
}

/// What a transaction has done with one key so far.
#[derive(Default)]
struct Own {
    /// The version before its own first write, once it has read it.
    seen: Option<Version>,
    wrote: Vec<u64>,
}

impl Versions {
    pub(super) fn of<'a>(history: &'a History, writers: &Writers<'a>, anomalies: &mut Vec<Anomaly>) -> Self {
        let mut versions = Self::default();
        let mut teller = Teller { history, writers, anomalies, told: BTreeMap::new() };
        let longest = longest_lists(history, writers);
        for (key, longest) in &longest {
            let mut before = None;
            for element in longest.list {
                versions.follows(*key, before, *element);
                before = Some(*element);
            }
        }
        // Those that nobody knows a place for: whoever read the longest list did not see them.
        let mut placeless: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for txn in 0..=history.transactions.len() {
            if writers.is_committed(txn) {
                versions.take_transaction(txn, &longest, &mut placeless, &mut teller);
            }
        }
        for (key, elements) in placeless {
            let last = longest.get(&key).and_then(|longest| longest.list.last().copied());
            let unseen = |element: &u64| longest.get(&key).is_none_or(|longest| !longest.at.contains_key(element));
            let elements: Vec<u64> = elements.into_iter().filter(unseen).collect();
            if !elements.is_empty() {
                versions.somewhere_after.insert(key, (last, elements));
            }
        }
        teller.look_at_the_end(&longest, &versions);
        versions
    }

    fn follows(&mut self, key: usize, before: Version, element: u64) {
        if self.known.insert((key, before, element)) {
            self.next.entry((key, before)).or_default().push(element);
        }
    }

    fn take_transaction(
        &mut self,
        txn: usize,
        longest: &BTreeMap<usize, Longest<'_>>,
        placeless: &mut BTreeMap<usize, Vec<u64>>,
        teller: &mut Teller<'_>,
    ) {
        let mut owned: BTreeMap<usize, Own> = BTreeMap::new();
        for operation in teller.history.operations(txn) {
            let key = teller.writers.keys[operation.key()];
            let own = owned.entry(key).or_default();
            match operation {
                Operation::Append { element, .. } | Operation::Write { value: element, .. } => {
                    match (own.wrote.last(), own.seen) {
                        (Some(last), _) => self.follows(key, Some(*last), *element),
                        (None, Some(seen)) => self.follows(key, seen, *element),
                        (None, None) => placeless.entry(key).or_default().push(*element),
                    }
                    teller.look_at_order(txn, key, own.wrote.last(), *element, longest.get(&key));
                    own.wrote.push(*element);
                }
                Operation::ReadList { list, .. } => {
                    let Some(foreign) = list.strip_suffix(&own.wrote[..]) else {
                        let why = format!("it wrote {} and then read {}", shortened(&own.wrote), shortened(list));
                        teller.tell(Class::Internal, key, vec![txn], why);
                        continue;
                    };
                    teller.look_at_list(txn, key, list, foreign, longest.get(&key));
                    teller.look_for_later_ones(txn, key, foreign);
                    self.reads.push((txn, key, foreign.last().copied()));
                    own.seen = Some(foreign.last().copied());
                }
                Operation::Read { value, .. } => match own.wrote.last() {
                    Some(last) if Some(*last) == *value => {}
                    Some(last) => {
                        teller.tell(
                            Class::Internal,
                            key,
                            vec![txn],
                            format!("it wrote {last} and then read {value:?}"),
                        );
                    }
                    None => {
                        teller.look_at_register(txn, key, *value);
                        teller.look_for_later_ones(txn, key, value.as_slice());
                        self.reads.push((txn, key, *value));
                        own.seen = Some(*value);
                    }
                },
            }
        }
    }
}

/// The longest read of each list by those that committed: it shows the order that all others must agree with.
fn longest_lists<'a>(history: &'a History, writers: &Writers<'a>) -> BTreeMap<usize, Longest<'a>> {
    let mut found: BTreeMap<usize, Longest<'a>> = BTreeMap::new();
    for key in 0..writers.names.len() {
        if writers.is_list[key] {
            found.insert(key, Longest::default());
        }
    }
    for txn in (0..=history.transactions.len()).filter(|txn| writers.is_committed(*txn)) {
        for operation in history.operations(txn) {
            let Operation::ReadList { key, list } = operation else { continue };
            let longest = found.entry(writers.keys[key.as_str()]).or_default();
            if list.len() > longest.list.len() {
                longest.list = list;
            }
        }
    }
    for (key, longest) in &mut found {
        for (at, element) in longest.list.iter().enumerate() {
            let class = match writers.author(*key, *element) {
                None => Some(Class::Garbage),
                Some(author) if !writers.is_committed(author) => Some(Class::G1a),
                Some(_) if longest.at.contains_key(element) => Some(Class::Duplicate),
                Some(_) => None,
            };
            longest.bad.extend(class.map(|class| (at, class)));
            longest.at.entry(*element).or_insert(at);
        }
    }
    found
}

/// Says what is wrong with a single read.
struct Teller<'a> {
    history: &'a History,
    writers: &'a Writers<'a>,
    anomalies: &'a mut Vec<Anomaly>,
    told: BTreeMap<Class, usize>,
}

impl Teller<'_> {
    fn look_at_list(&mut self, txn: usize, key: usize, list: &[u64], foreign: &[u64], longest: Option<&Longest<'_>>) {
        let Some(longest) = longest else { return };
        if !longest.list.starts_with(list) {
            let (read, other) = (shortened(list), shortened(longest.list));
            self.tell(Class::Incompatible, key, vec![txn], format!("it read {read}, another read {other}"));
        }
        for (at, class) in longest.bad.iter().take_while(|(at, _)| *at < list.len()).take(TOLD) {
            let author = self.writers.author(key, longest.list[*at]);
            let why = format!("it read {} in {}", longest.list[*at], shortened(list));
            self.tell(*class, key, author.into_iter().chain([txn]).collect(), why);
        }
        self.look_at_last(txn, key, foreign.last().copied());
    }

    fn look_at_register(&mut self, txn: usize, key: usize, value: Version) {
        let Some(value) = value else { return };
        match self.writers.author(key, value) {
            None => self.tell(Class::Garbage, key, vec![txn], format!("it read {value}, which nobody wrote")),
            Some(author) if !self.writers.is_committed(author) => {
                let why = format!("it read {value} of {}, which aborted", self.history.label(author));
                self.tell(Class::G1a, key, vec![author, txn], why);
            }
            Some(_) => self.look_at_last(txn, key, Some(value)),
        }
    }

    fn look_at_order(
        &mut self,
        txn: usize,
        key: usize,
        before: Option<&u64>,
        element: u64,
        longest: Option<&Longest<'_>>,
    ) {
        let at = |element: &u64| longest.and_then(|longest| longest.at.get(element));
        if let (Some(before), Some(first), Some(second)) = (before, before.and_then(at), at(&element))
            && first > second
        {
            self.tell(
                Class::Internal,
                key,
                vec![txn],
                format!("it wrote {element} after {before}, others read it before"),
            );
        }
    }

    /// Nobody sees what it is only going to write.
    fn look_for_later_ones(&mut self, txn: usize, key: usize, read: &[u64]) {
        if let Some(later) = read.iter().find(|element| self.writers.author(key, **element) == Some(txn)) {
            self.tell(Class::Internal, key, vec![txn], format!("it read {later} before it wrote that"));
        }
    }

    fn look_at_last(&mut self, txn: usize, key: usize, last: Version) {
        let Some(last) = last.filter(|last| self.writers.is_intermediate(key, *last)) else { return };
        if let Some(author) = self.writers.writer(key, last).filter(|author| *author != txn) {
            let label = self.history.label(author);
            self.tell(
                Class::G1b,
                key,
                vec![author, txn],
                format!("it read {last} of {label}, which wrote there once more"),
            );
        }
    }

    /// At the end nothing may be missing.
    fn look_at_the_end(&mut self, longest: &BTreeMap<usize, Longest<'_>>, versions: &Versions) {
        let end = self.history.transactions.len();
        for operation in &self.history.finally {
            let key = self.writers.keys[operation.key()];
            match operation {
                Operation::ReadList { list, .. } => {
                    let whole = longest.get(&key).is_some_and(|longest| longest.list.len() == list.len());
                    let present: BTreeSet<u64> = list.iter().copied().collect();
                    let missing = self.writers.committed_elements(key).find(|element| !present.contains(element));
                    if let Some(missing) = missing {
                        let author = self.writers.author(key, missing).unwrap_or(end);
                        let label = self.history.label(author);
                        self.tell(Class::Lost, key, vec![author], format!("{missing} of {label} is gone at the end"));
                    } else if !whole {
                        self.tell(Class::Lost, key, vec![end], "the list was longer before the end".to_owned());
                    }
                }
                Operation::Read { value, .. } => {
                    if let Some(over) = versions.next.get(&(key, *value)).and_then(|next| next.first()) {
                        let author = self.writers.author(key, *over).unwrap_or(end);
                        let why = format!("{over} of {} is gone at the end", self.history.label(author));
                        self.tell(Class::Lost, key, vec![author], why);
                    }
                }
                Operation::Append { .. } | Operation::Write { .. } => panic!("nothing is written after the end"),
            }
        }
    }

    fn tell(&mut self, class: Class, key: usize, transactions: Vec<usize>, why: String) {
        let told = self.told.entry(class).or_default();
        *told += 1;
        if *told > TOLD {
            return;
        }
        let about = transactions.last().map_or("", |txn| self.history.label(*txn));
        let mut lines = vec![format!("{about} at {}: {why}", self.writers.names[key])];
        lines.extend(transactions.iter().map(|txn| super::cycles::told(self.history, *txn)));
        self.anomalies.push(Anomaly { class, transactions, why: lines });
    }
}
