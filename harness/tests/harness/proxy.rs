//! The proxy does the requested harm, at the requested byte, and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sequin_harness::proxy::{Direction, Fault, Harm};
use sequin_harness::{Proxy, RawServer, Sandbox, raw};

use crate::leftovers::eventually;

use Direction::{ToApi, ToClient};

const PATIENCE: Duration = Duration::from_secs(20);

const PING: &[u8] = b"0123456789";

/// Echoes its input. Closes a connection when the client does, and sends nothing after a reset.
fn echo() -> RawServer {
    RawServer::start(|stream| {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    })
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends [`PING`] and reads to the end of the connection, or the given number of bytes.
fn ping(stream: &mut TcpStream, bytes: usize) -> (Vec<u8>, Option<ErrorKind>) {
    stream.write_all(PING).unwrap();
    read(stream, bytes)
}

fn read(stream: &mut TcpStream, bytes: usize) -> (Vec<u8>, Option<ErrorKind>) {
    let (mut got, mut buffer) = (Vec::new(), [0; 1]);
    while got.len() < bytes {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => got.push(buffer[0]),
            Err(error) => return (got, Some(error.kind())),
        }
    }
    (got, None)
}

fn arm(proxy: &Proxy, direction: Direction, at: usize, harm: Harm) {
    proxy.arm(Fault { direction, at, harm });
}

#[test]
fn passes_everything_and_counts_it() {
    let (api, clients) = (echo(), 3);
    let proxy = Proxy::to(api.address());
    for _ in 0..clients {
        assert_eq!(ping(&mut connect(&proxy), 10), (PING.to_vec(), None));
    }
    for direction in Direction::ALL {
        assert_eq!(proxy.bytes(direction), 30);
        assert_eq!(proxy.came(direction), PING.repeat(clients));
        assert_eq!(proxy.went(direction), PING.repeat(clients));
    }
    assert_eq!((proxy.connections(), api.accepted()), (clients, clients));
    proxy.watch();
    assert!(proxy.came(ToApi).is_empty() && !proxy.has_struck());
    assert_eq!(proxy.bytes(ToApi), 30);
}

#[test]
fn passes_an_end_on_and_what_comes_after_the_clients_own() {
    let api = RawServer::start(|stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let proxy = Proxy::to(api.address());
    let mut stream = connect(&proxy);
    stream.write_all(PING).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read(&mut stream, usize::MAX), (PING.to_vec(), None));
}

/// The bytes that come back of an echo of ten, for a harm at each byte in each direction.
#[test]
fn each_harm_is_done_at_its_byte() {
    let api = echo();
    let proxy = Proxy::to(api.address());
    for direction in Direction::ALL {
        for at in 0..PING.len() {
            let (before, rest) = PING.split_at(at);
            let mut corrupt = PING.to_vec();
            corrupt[at] ^= 0x41;
            for (harm, expected) in [
                (Harm::Cut, before.to_vec()),
                (Harm::Drip, PING.to_vec()),
                (Harm::DuplicateByte, [&PING[..=at], rest].concat()),
                (Harm::DuplicateRest, [PING, rest].concat()),
                (Harm::Corrupt(0x41), corrupt),
            ] {
                arm(&proxy, direction, at, harm);
                let mut stream = connect(&proxy);
                // Cut connections end by themselves; of the others the expected bytes are read.
                let length = if harm == Harm::Cut { usize::MAX } else { expected.len() };
                let (got, error) = ping(&mut stream, length);
                let what = format!("{harm:?} at {at}, {direction:?}");
                // The echo of a part may come too late to be passed on.
                if harm != Harm::Cut || direction == ToClient {
                    assert_eq!((&got, error), (&expected, None), "{what}");
                }
                assert!(proxy.has_struck(), "{what}");
                assert_eq!(proxy.came(ToApi), PING, "{what}");
                assert_eq!(proxy.went(direction), expected, "{what}");
                proxy.relent();
            }
        }
    }
}

/// The client sees it as a reset, and the API sees one as well.
#[test]
fn a_reset_is_a_reset_on_both_sides() {
    for direction in Direction::ALL {
        for at in [0, 5, 9] {
            let (tell, told) = std::sync::mpsc::channel();
            let api = RawServer::start(move |stream| {
                let mut buffer = [0; 1024];
                let mut ended = stream.read(&mut buffer);
                while let Ok(read @ 1..) = ended {
                    ended = stream.write_all(&buffer[..read]).and_then(|()| stream.read(&mut buffer));
                }
                tell.send(ended.map_err(|error| error.kind())).unwrap();
            });
            let proxy = Proxy::to(api.address());
            arm(&proxy, direction, at, Harm::Reset);
            let (got, error) = ping(&mut connect(&proxy), usize::MAX);
            let what = format!("at {at}, {direction:?}");
            assert_eq!(error, Some(ErrorKind::ConnectionReset), "{what}");
            assert!(PING[..at].starts_with(&got), "{what}: {got:?}");
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset), "{what}");
        }
    }
}

#[test]
fn a_stall_holds_back_until_it_is_released() {
    let api = echo();
    let proxy = Proxy::to(api.address());
    for direction in Direction::ALL {
        for at in [0, 5, 9] {
            arm(&proxy, direction, at, Harm::Stall);
            let mut stream = connect(&proxy);
            assert_eq!(ping(&mut stream, at), (PING[..at].to_vec(), None));
            assert!(proxy.await_strike(PATIENCE));
            stream.write_all(b"more").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert_eq!(read(&mut stream, 1), (Vec::new(), Some(ErrorKind::WouldBlock)), "at {at}, {direction:?}");
            assert_eq!(proxy.went(direction), PING[..at]);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            proxy.relent();
            assert_eq!(read(&mut stream, 14 - at), ([&PING[at..], b"more"].concat(), None));
        }
    }
}

/// If the client of a stalled connection closes, the API sees only the end.
#[test]
fn a_stall_ends_with_its_client() {
    for direction in Direction::ALL {
        let (tell, told) = std::sync::mpsc::channel();
        let api = RawServer::start(move |stream| {
            let mut all = [0; 1024];
            let (mut heard, mut ended) = (0, stream.read(&mut all));
            while let Ok(read @ 1..) = ended {
                heard += read;
                ended = stream.write_all(&all[..read]).and_then(|()| stream.read(&mut all));
            }
            tell.send(heard).unwrap();
        });
        let proxy = Proxy::to(api.address());
        arm(&proxy, direction, 4, Harm::Stall);
        let mut stream = connect(&proxy);
        assert_eq!(ping(&mut stream, 4).0, PING[..4]);
        assert!(proxy.await_strike(PATIENCE));
        drop(stream);
        let heard = told.recv_timeout(PATIENCE).expect("the API was not told of the end");
        assert_eq!(heard, if direction == ToApi { 4 } else { 10 });
    }
}

/// A fault happens once, on whichever connection its byte comes.
#[test]
fn a_fault_is_done_once() {
    let api = echo();
    let proxy = Proxy::to(api.address());
    let mut kept = connect(&proxy);
    assert_eq!(ping(&mut kept, 10).0, PING);
    arm(&proxy, ToClient, 13, Harm::Cut);
    assert_eq!(ping(&mut kept, 10).0, PING);
    assert!(!proxy.has_struck());
    let mut other = connect(&proxy);
    assert_eq!(ping(&mut other, usize::MAX), (PING[..3].to_vec(), None));
    assert!(proxy.has_struck());
    assert_eq!(ping(&mut kept, 10).0, PING);
    assert_eq!(ping(&mut connect(&proxy), 10).0, PING);
}

#[test]
fn ends_everything_when_it_is_dropped() {
    let (tell, told) = std::sync::mpsc::channel();
    let api = RawServer::start(move |stream| {
        raw::hold(stream);
        tell.send(()).unwrap();
    });
    let proxy = Proxy::to(api.address());
    arm(&proxy, ToApi, 5, Harm::Stall);
    let mut stalled = connect(&proxy);
    stalled.write_all(PING).unwrap();
    let mut silent = connect(&proxy);
    silent.write_all(PING).unwrap();
    assert!(proxy.await_strike(PATIENCE));
    // Only one of the two was needed for that.
    eventually("the other one", || api.accepted() == 2);
    let address = proxy.address();
    drop(proxy);
    for stream in [&mut stalled, &mut silent] {
        assert_eq!(read(stream, 1).0, b"");
        told.recv_timeout(PATIENCE).expect("the API was not told of the end");
    }
    // Another test's child has the listener too, between its fork and its exec.
    eventually("the end of the listener", || TcpStream::connect(address).is_err());
}

#[test]
fn hangs_up_in_good_order() {
    let api = echo();
    let proxy = Proxy::to(api.address());
    let mut stream = connect(&proxy);
    assert_eq!(ping(&mut stream, 10).0, PING);
    proxy.hang_up();
    assert_eq!(read(&mut stream, 1), (Vec::new(), None));
    assert_eq!(ping(&mut connect(&proxy), 10).0, PING);
}

/// Late bytes of a client on an ended connection do not trigger a fault that is meant for the next one.
#[test]
fn counts_nothing_after_the_end() {
    let api = echo();
    let proxy = Proxy::to(api.address());
    let mut ended = connect(&proxy);
    assert_eq!(ping(&mut ended, 10).0, PING);
    proxy.hang_up();
    assert_eq!(read(&mut ended, 1), (Vec::new(), None));
    arm(&proxy, ToApi, 0, Harm::DuplicateRest);
    ended.write_all(b"late").unwrap();
    assert_eq!(ping(&mut connect(&proxy), 20).0, PING.repeat(2));
    assert_eq!(proxy.came(ToApi), PING);
}

#[test]
fn stands_before_a_sandbox() {
    let sandbox = Sandbox::start();
    let proxy = Proxy::before(&sandbox);
    let status = ureq::get(format!("{}/nowhere", proxy.url())).call().unwrap_err();
    assert!(matches!(status, ureq::Error::StatusCode(_)), "{status}");
    assert!(proxy.went(ToClient).starts_with(b"HTTP/1.1 4"));
}
