//! More than there is room for, and those who come to hold it up.

use crate::harness::{Daemon, Start, Ws, as_many_as, read_answer, record, request, wait_for};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A daemon whose log is short.
fn start(args: &str) -> Daemon {
    let start = Start::default().log("warn");
    start.args(&format!("--listen 127.0.0.1:0 {args}")).ready()
}

/// A connection to `--listen`. The kernel drops some where very many come at once.
fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("timeout");
    stream
}

/// Kilobytes of the daemon's own memory.
fn resident(daemon: &Daemon) -> u64 {
    daemon.process("RssAnon")[0].parse().expect("a number")
}

#[test]
fn of_ten_thousand_attempts_each_is_answered_and_64_get_in() {
    let daemon = start("--max-connections 64 --ping 0");
    let mut bystander = daemon.connect("/act");
    let (port, descriptors) = (daemon.port("tcp"), daemon.descriptors().len());
    let attempt = |_| {
        let mut stream = connect(port);
        let head = request("/act", "");
        stream.write_all(head.as_bytes()).expect("write");
        let answer = read_answer(&mut stream);
        match answer.status {
            101 => Some(Ws::open(stream, answer)),
            503 => None,
            status => panic!("{status}"),
        }
    };
    // The first of them take what memory it takes.
    let mut inside: Vec<_> = (0..100).filter_map(attempt).collect();
    assert_eq!(inside.len(), 63);
    let before = resident(&daemon);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| (0..495).filter_map(attempt).count()))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("a thread"), 0);
        }
    });
    println!("9900 refused in {:?}", begin.elapsed());
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown <= 64, "{grown} KB");
    daemon.status_until("/refusals/full", 9937);
    wait_for("their descriptors to go", || {
        (daemon.descriptors().len() == descriptors + 63).then_some(())
    });
    inside.iter_mut().for_each(Ws::works);
    bystander.works();
    drop(inside.pop());
    wait_for("room for one", || {
        (daemon.status()["connections"].as_array()?.len() == 63).then_some(())
    });
    assert!(attempt(0).is_some());
}

#[test]
fn who_sends_a_head_byte_by_byte_holds_a_place_for_ten_seconds() {
    let daemon = start("--max-connections 16");
    let mut bystander = daemon.connect("/act");
    let port = daemon.port("tcp");
    let mut slow: Vec<_> = (0..40).map(|_| connect(port)).collect();
    let begin = Instant::now();
    for stream in &mut slow {
        stream.write_all(b"GET /act HTTP/1.1\r\n").expect("write");
        let soon = Some(Duration::from_millis(1));
        stream.set_read_timeout(soon).expect("timeout");
    }
    // All places are theirs, but no one's who is in.
    let mut waiting: BTreeMap<usize, TcpStream> = slow.into_iter().enumerate().collect();
    let (mut answers, mut first) = (BTreeMap::new(), None);
    while !waiting.is_empty() {
        bystander.works();
        waiting.retain(|_, stream| {
            let mut answer = String::new();
            let _ = stream.write_all(b"X: y\r\n");
            // Whoever is answered is answered at once, and to the end.
            match stream.read(&mut [0; 1]) {
                Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => {
                    return true;
                }
                Ok(1) => {
                    let patience = Some(Duration::from_secs(60));
                    stream.set_read_timeout(patience).expect("timeout");
                    let _ = stream.read_to_string(&mut answer);
                }
                _ => {}
            }
            first.get_or_insert_with(|| begin.elapsed());
            *answers
                .entry(answer.get(8..11).unwrap_or("none").to_owned())
                .or_insert(0) += 1;
            false
        });
    }
    println!(
        "{answers:?}, the first after {first:?}, the last after {:?}",
        begin.elapsed()
    );
    assert_eq!(answers, BTreeMap::from([("408".to_owned(), 40)]));
    daemon.status_until("/refusals", serde_json::json!({"slow": 40}));
    daemon.connect("/act").works();
}

#[test]
fn of_thousands_of_hand_offs_a_second_none_is_lost() {
    // Who has got in says nothing more.
    let daemon = start("--max-connections 64 --ping 0");
    let mut bystander = daemon.connect("/act");
    let record = record(&[("PATH_INFO", "/act")]);
    let each = as_many_as(250);
    // Whoever gets in stays; whoever is refused leaves at once, as browsers do.
    let hand_off = |_| {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        daemon.hand_in(&record, &[&theirs]);
        drop(theirs);
        let status = read_answer(&mut ours).status;
        (status, Some(ours).filter(|_| status == 101))
    };
    let begin = Instant::now();
    let answered: Vec<_> = std::thread::scope(|scope| {
        let part = || (0..each).map(hand_off).collect::<Vec<_>>();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(part)).collect();
        let threads = threads.into_iter();
        threads
            .flat_map(|thread| thread.join().expect("a thread"))
            .collect()
    });
    let rate = answered.len() as f64 / begin.elapsed().as_secs_f64();
    println!("{} hand-offs, {rate:.0} a second", answered.len());
    let with = |status| answered.iter().filter(|(s, _)| *s == status).count();
    assert_eq!((with(101), with(503)), (63, 20 * each - 63));
    bystander.works();
    drop(answered);
    wait_for("the others to be gone", || {
        (daemon.status()["connections"].as_array()?.len() == 1).then_some(())
    });
    // Each that got in had its open and its close.
    let events = daemon.events();
    let count = |begins: &str| {
        events
            .iter()
            .filter(|line| line.starts_with(begins))
            .count()
    };
    assert_eq!((count("open "), count("close ")), (64, 63));
}
