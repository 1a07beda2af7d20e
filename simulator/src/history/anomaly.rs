//! What can be wrong with a history, told so that a person sees why.

use std::fmt;

/// The classes, worst first: what comes later is worth a look only where nothing comes before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Something was read that nobody wrote.
    Garbage,
    /// An element is in a list twice: something was done twice.
    Duplicate,
    /// A committed element or value is gone at the end.
    Lost,
    /// Two reads of one list of which neither continues the other.
    Incompatible,
    /// A transaction does not see what it has written itself, or sees what it is only going to write.
    Internal,
    /// Aborted read.
    G1a,
    /// Intermediate read.
    G1b,
    /// A cycle of writes.
    G0,
    /// A cycle of writes and reads, none of them out of date.
    G1c,
    /// A cycle with exactly one read that is out of date: lost update, fractured read.
    GSingle,
    /// A cycle with several: write skew, long fork.
    G2,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anomaly {
    /// What kind of thing.
    pub class: Class,
    /// Who takes part: numbers in the history, for a cycle in its order.
    pub transactions: Vec<usize>,
    /// Why, in lines.
    pub why: Vec<String>,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Garbage => "garbage read",
            Self::Duplicate => "duplicate element",
            Self::Lost => "lost write",
            Self::Incompatible => "incompatible reads",
            Self::Internal => "own writes not seen",
            Self::G1a => "G1a (aborted read)",
            Self::G1b => "G1b (intermediate read)",
            Self::G0 => "G0 (write cycle)",
            Self::G1c => "G1c (circular information flow)",
            Self::GSingle => "G-single (one anti-dependency)",
            Self::G2 => "G2 (anti-dependency cycle)",
        })
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.class)?;
        self.why.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
