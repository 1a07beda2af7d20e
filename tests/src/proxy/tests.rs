//! Each fault does what it says, over a server that echoes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::*;

const SHORT: Duration = Duration::from_millis(150);

/// A proxy to a server that sends everything back.
fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = Proxy::start().expect("a proxy");
    proxy.lead_to(&listener.local_addr().expect("an address").to_string());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut back = stream.try_clone().expect("a handle");
                drop(io::copy(&mut stream, &mut back));
            });
        }
    });
    proxy
}

fn dial(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).expect("a connection");
    stream.set_read_timeout(Some(SHORT)).expect("a timeout");
    stream
}

/// Sends and reads what comes back, as much of it as comes.
fn say(stream: &mut TcpStream, words: &[u8]) -> (Vec<u8>, Option<ErrorKind>) {
    stream.write_all(words).expect("it is sent");
    hear(stream, words.len())
}

fn hear(stream: &mut TcpStream, count: usize) -> (Vec<u8>, Option<ErrorKind>) {
    let (mut heard, mut buffer) = (Vec::new(), [0; 64]);
    while heard.len() < count {
        match stream.read(&mut buffer) {
            Ok(0) => return (heard, None),
            Ok(count) => heard.extend(&buffer[..count]),
            Err(error) => return (heard, Some(error.kind())),
        }
    }
    (heard, None)
}

#[test]
fn without_a_fault_everything_passes_and_without_a_target_nothing() {
    let proxy = echo();
    assert_eq!(say(&mut dial(&proxy), b"hello"), (b"hello".to_vec(), None));
    assert!(proxy.hits().is_empty());
    let nowhere = Proxy::start().expect("a proxy");
    let end = dial(&nowhere).read(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_cut_passes_so_many_bytes_and_a_reset_is_one() {
    let proxy = echo();
    let mut cut = dial(&proxy);
    assert_eq!(say(&mut cut, b"ab").0, b"ab");
    proxy.inject(Fault::Cut { way: Way::Back, after: 3 });
    assert_eq!(say(&mut cut, b"hello"), (b"hel".to_vec(), None));
    assert_eq!(say(&mut dial(&proxy), b"again").0, b"again", "once only");
    proxy.inject(Fault::Reset { way: Way::Forth, after: 0 });
    assert_eq!(say(&mut dial(&proxy), b"hello"), (Vec::new(), Some(ErrorKind::ConnectionReset)));
    assert_eq!(proxy.hits(), BTreeMap::from([("cut", 1), ("reset", 1)]));
}

#[test]
fn one_bit_of_one_byte_changes() {
    let proxy = echo();
    let mut stream = dial(&proxy);
    proxy.inject(Fault::Corrupt { way: Way::Forth, after: 6, bit: 1 });
    assert_eq!(say(&mut stream, b"hello").0, b"hello");
    assert_eq!(say(&mut stream, b"hello").0, b"hgllo");
    assert_eq!(say(&mut stream, b"hello").0, b"hello");
    assert_eq!(proxy.hits(), BTreeMap::from([("corrupt", 1)]));
}

#[test]
fn a_black_hole_holds_back_until_it_is_healed_and_a_one_way_half_of_it() {
    let proxy = echo();
    let mut stream = dial(&proxy);
    assert_eq!(say(&mut stream, b"a").0, b"a");
    proxy.inject(Fault::BlackHole);
    assert_eq!(say(&mut stream, b"b"), (Vec::new(), Some(ErrorKind::WouldBlock)));
    let mut new = dial(&proxy);
    assert_eq!(say(&mut new, b"c"), (Vec::new(), Some(ErrorKind::WouldBlock)));
    proxy.heal();
    assert_eq!(hear(&mut stream, 1).0, b"b", "what was held back");
    assert_eq!(hear(&mut new, 1).0, b"c");
    proxy.inject(Fault::OneWay { way: Way::Back });
    assert_eq!(say(&mut stream, b"d"), (Vec::new(), Some(ErrorKind::WouldBlock)));
    proxy.inject(Fault::OneWay { way: Way::Forth });
    assert_eq!(hear(&mut stream, 1).0, b"d", "it had passed the way that is closed now");
    assert_eq!(say(&mut stream, b"e"), (Vec::new(), Some(ErrorKind::WouldBlock)));
    assert_eq!(proxy.hits(), BTreeMap::from([("black-hole", 1), ("one-way", 2)]));
}

#[test]
fn a_half_open_connection_stays_so_and_new_ones_work() {
    let proxy = echo();
    let mut old = dial(&proxy);
    assert_eq!(say(&mut old, b"a").0, b"a");
    proxy.inject(Fault::HalfOpen);
    assert_eq!(say(&mut old, b"b"), (Vec::new(), Some(ErrorKind::WouldBlock)));
    assert_eq!(say(&mut dial(&proxy), b"new").0, b"new");
    proxy.inject(Fault::Delay(Duration::ZERO));
    assert_eq!(say(&mut old, b"c"), (Vec::new(), Some(ErrorKind::WouldBlock)), "whatever comes next");
    proxy.heal();
    old.set_read_timeout(None).expect("a timeout");
    let end = old.read(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[test]
fn delay_and_rate_take_their_time() {
    let proxy = echo();
    let mut stream = dial(&proxy);
    stream.set_read_timeout(None).expect("a timeout");
    let mut takes = |fault| {
        proxy.inject(fault);
        let began = Instant::now();
        assert_eq!(say(&mut stream, &[7; 50]).0, [7; 50]);
        began.elapsed()
    };
    assert!(takes(Fault::Delay(Duration::from_millis(60))) >= Duration::from_millis(120), "once each way");
    assert!(takes(Fault::Rate(500)) >= Duration::from_millis(200));
    assert_eq!(proxy.hits(), BTreeMap::from([("delay", 1), ("rate", 1)]));
}
