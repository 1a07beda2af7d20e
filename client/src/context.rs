//! A transaction's context that travels from service to service, as the value of one header.
//!
//! ```text
//! 1;LOG;TRANSACTION;NONCE;MILLISECONDS;HOST:PORT[;TRACEPARENT]
//! │  │       │        │        │           │           └ W3C trace context, as it came
//! │  │       │        │        │           └ where the coordinator listens: a hint, the log identity decides
//! │  │       │        │        └ what is left of its time when the header is made; never a date
//! │  └ 32 ────┴ 32 ────┴ 16 lower-case hex digits; the epoch is part of the transaction's id
//! └ version of this form
//! ```
//!
//! Whoever holds it can work in the transaction until it is decided. It is taken like any other header that steers
//! what a service does: from callers one trusts, because this process will dial the address in it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use handfast_common::ids::{LogId, Nonce, TxnId, Xid};
use handfast_common::limits::MAX_CONTEXT_BYTES;
use handfast_common::rpc::MAX_CALL_TIMEOUT;
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::check_address;

/// Name of the header.
pub const HEADER: &str = "handfast-context";

/// What another service needs to work in a transaction. Made by [`Work::context`](crate::Work::context), taken by
/// [`Client::join`](crate::Client::join).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    xid: Xid,
    coordinator: String,
    /// On this process's own clock: only what is left of it travels.
    deadline: Instant,
    trace: Option<String>,
}

/// Why a context can't be written or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContextError {
    /// The coordinator's address is too long for the rest.
    #[error("the context does not fit into {MAX_CONTEXT_BYTES} characters")]
    TooLong,
    /// Of a form that this build does not know.
    #[error("the context is of another version")]
    Version,
    /// No context at all, or one that was changed on the way.
    #[error("malformed context: {0}")]
    Malformed(&'static str),
}

/// The version of the form.
const VERSION: &str = "1";

impl ContextError {
    /// Whether the same header may be understood another time: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }

    /// Nothing was done under a context that is not understood.
    #[must_use]
    pub const fn is_outcome_known(&self) -> bool {
        true
    }
}

impl Context {
    pub(crate) const fn new(xid: Xid, coordinator: String, deadline: Instant, trace: Option<String>) -> Self {
        Self { xid, coordinator, deadline, trace }
    }

    /// The transaction.
    #[must_use]
    pub const fn xid(&self) -> Xid {
        self.xid
    }

    /// Where its coordinator listens, as whoever began it has reached it.
    #[must_use]
    pub fn coordinator(&self) -> &str {
        &self.coordinator
    }

    /// What is left of its time; it shrinks as it travels.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The `traceparent` that goes along.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// The same with the caller's span: a W3C `traceparent`.
    ///
    /// # Errors
    /// [`ContextError::Malformed`] when it is none.
    pub fn with_trace(self, traceparent: &str) -> Result<Self, ContextError> {
        check_trace(traceparent)?;
        Ok(Self { trace: Some(traceparent.to_owned()), ..self })
    }

    /// The header's value: at most 256 visible ASCII characters. With the time that is left now.
    ///
    /// # Errors
    /// [`ContextError::TooLong`].
    pub fn to_header(&self) -> Result<String, ContextError> {
        let Xid { log, txn, nonce } = self.xid;
        let left = self.time_left().as_millis();
        let (log, txn, nonce) = (log.0.simple(), txn.0.simple(), nonce.0);
        let mut text = format!("{VERSION};{log};{txn};{nonce:016x};{left};{}", self.coordinator);
        if let Some(trace) = &self.trace {
            text.push(';');
            text.push_str(trace);
        }
        if text.len() > MAX_CONTEXT_BYTES { Err(ContextError::TooLong) } else { Ok(text) }
    }
}

/// Takes exactly what [`Context::to_header`] makes: a header comes from the network.
impl FromStr for Context {
    type Err = ContextError;

    fn from_str(text: &str) -> Result<Self, ContextError> {
        let malformed = |why| Err(ContextError::Malformed(why));
        if text.len() > MAX_CONTEXT_BYTES {
            return Err(ContextError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return malformed("a character that is not visible ASCII");
        }
        let mut fields = text.split(';');
        if fields.next() != Some(VERSION) {
            return Err(ContextError::Version);
        }
        let mut next = || fields.next().ok_or(ContextError::Malformed("a field is missing"));
        let log = LogId(Uuid::from_u128(hex(next()?, 32)?));
        let txn = TxnId(Uuid::from_u128(hex(next()?, 32)?));
        let nonce = Nonce(u64::try_from(hex(next()?, 16)?).map_err(|_| ContextError::Malformed("the nonce"))?);
        let left = milliseconds(next()?)?;
        let coordinator = next()?;
        let trace = fields.next();
        if fields.next().is_some() {
            return malformed("a field too many");
        }
        // The id repeats parts of the others: what does not fit together was changed, or never was one.
        if TxnId::new(log, txn.epoch(), txn.sequence(), nonce) != txn {
            return malformed("log, transaction and nonce do not belong together");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte);
        if !coordinator.bytes().all(plain) || check_address(coordinator).is_err() {
            return malformed("the coordinator's address");
        }
        trace.map_or(Ok(()), check_trace)?;
        let deadline = Instant::now() + left;
        Ok(Self {
            xid: Xid { log, txn, nonce },
            coordinator: coordinator.to_owned(),
            deadline,
            trace: trace.map(str::to_owned),
        })
    }
}

impl fmt::Display for Context {
    /// For people; the header is [`Context::to_header`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {} at {}, {:?} left", self.xid.txn, self.coordinator, self.time_left())
    }
}

/// Exactly so many lower-case digits: one value has one form.
fn hex(text: &str, digits: usize) -> Result<u128, ContextError> {
    let fits = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let value = fits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    value.ok_or(ContextError::Malformed("an identity"))
}

fn milliseconds(text: &str) -> Result<Duration, ContextError> {
    let plain = (text == "0" || !text.starts_with('0')) && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = plain.then(|| text.parse().ok()).flatten().map(Duration::from_millis);
    parsed.filter(|left| *left <= MAX_CALL_TIMEOUT).ok_or(ContextError::Malformed("the time left"))
}

/// Version, trace, parent and flags, as the W3C recommendation "Trace Context" has them.
fn check_trace(text: &str) -> Result<(), ContextError> {
    const BAD: ContextError = ContextError::Malformed("the trace");
    let fields: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = fields[..] else { return Err(BAD) };
    let bad = |_| BAD;
    let (version, _) = (hex(version, 2).map_err(bad)?, hex(flags, 2).map_err(bad)?);
    let (trace, parent) = (hex(trace, 32).map_err(bad)?, hex(parent, 16).map_err(bad)?);
    if version == 0xff || trace == 0 || parent == 0 { Err(BAD) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handfast_common::ids::Epoch;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context(address: &str) -> Context {
        let (log, nonce) = (LogId(Uuid::from_u128(77)), Nonce(u64::MAX - 3));
        let xid = Xid { log, txn: TxnId::new(log, Epoch(3), 1 << 40, nonce), nonce };
        Context::new(xid, address.into(), Instant::now() + Duration::from_secs(5), None)
    }

    #[test]
    fn it_reads_back_what_it_writes() {
        for address in ["127.0.0.1:7117", "[::1]:7117", "coordinator-0.bank.svc.cluster.local:7117"] {
            for context in [context(address), context(address).with_trace(TRACE).expect("a trace")] {
                let header = context.to_header().expect("it fits");
                assert!(header.len() <= MAX_CONTEXT_BYTES && header.bytes().all(|byte| byte.is_ascii_graphic()));
                let back: Context = header.parse().expect("its own form");
                assert_eq!(
                    (back.xid(), back.coordinator(), back.trace()),
                    (context.xid(), context.coordinator(), context.trace())
                );
            }
        }
    }

    #[test]
    fn its_time_is_what_is_left_and_never_a_date() {
        let of = |deadline: Instant| {
            let Context { xid, coordinator, trace, .. } = context("a:1");
            let header = Context::new(xid, coordinator, deadline, trace).to_header().expect("it fits");
            header.split(';').nth(4).expect("there").parse::<u64>().expect("a number")
        };
        let now = Instant::now();
        let left = of(now + Duration::from_millis(3_500));
        assert!((2_500..=3_500).contains(&left), "{left}");
        assert_eq!(of(now), 0);
        // It goes on shrinking on the other side.
        let header = context("a:1").to_header().expect("it fits");
        let back: Context = header.parse().expect("its own form");
        std::thread::sleep(Duration::from_millis(30));
        assert!(back.time_left() <= Duration::from_millis(4_970), "{:?}", back.time_left());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let host = |length: usize| format!("{}:7117", "h".repeat(length));
        assert_eq!(context(&host(300)).to_header(), Err(ContextError::TooLong));
        assert!(context(&host(90)).with_trace(TRACE).expect("a trace").to_header().is_ok());
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        let header = context("host:7117").with_trace(TRACE).expect("a trace").to_header().expect("it fits");
        let fields: Vec<&str> = header.split(';').collect();
        let with = |at: usize, field: &str| {
            let mut fields = fields.clone();
            fields[at] = field;
            fields.join(";")
        };
        let (upper, long_log) = (fields[1].replace('4', "A") + "F", format!("{}0", fields[1]));
        let bad = [
            (0, "2"),
            (0, ""),
            (1, upper.as_str()),
            (1, long_log.as_str()),
            (1, "0"),
            (1, "00000000000000000000000000000001"),
            (2, "ffffffffffffffffffffffffffffffff"),
            (3, "0000000000000000"),
            (3, "+00000000000000f"),
            (4, ""),
            (4, "-1"),
            (4, "+1"),
            (4, "01"),
            (4, "1e3"),
            (4, "1800001"),
            (4, "99999999999999999999999"),
            (5, ""),
            (5, "host"),
            (5, "host:"),
            (5, ":7117"),
            (5, "host:70000"),
            (5, "user@host:1"),
            (5, "a/b:1"),
            (6, ""),
            (6, "00-0-0-01"),
            (6, "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            (6, "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
            (6, "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        for (at, field) in bad {
            assert!(with(at, field).parse::<Context>().is_err(), "{at}: {field}");
        }
        for text in [
            "",
            ";",
            "1",
            ";;;;;;",
            &format!("{header};x"),
            &format!("{header} "),
            &format!(" {header}"),
            &header.replace('h', "ä"),
            &"1;".repeat(200),
        ] {
            assert!(text.parse::<Context>().is_err(), "{text}");
        }
        assert!(header.parse::<Context>().is_ok());
    }

    #[test]
    fn no_prefix_of_a_context_and_no_single_changed_character_panics() {
        let header = context("host:7117").with_trace(TRACE).expect("a trace").to_header().expect("it fits");
        for at in 0..header.len() {
            let _ = header[..at].parse::<Context>();
            for byte in [0u8, b';', b' ', b'-', b'0', b'f', b'G', 0x7f] {
                let mut bytes = header.clone().into_bytes();
                bytes[at] = byte;
                let _ = String::from_utf8(bytes).expect("ASCII").parse::<Context>();
            }
        }
    }
}
