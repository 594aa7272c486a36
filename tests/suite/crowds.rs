//! More than there is room for, and those who come to hold it up.

use crate::harness::{
    Answer, Daemon, Events, Poller, Start, Ws, as_many_as, read_answer, read_head, record, request,
    wait_for,
};
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

/// Who has got in.
enum Guest {
    Socket(Ws),
    Stream(Events),
}

impl Guest {
    fn text(&mut self) -> String {
        match self {
            Guest::Socket(ws) => ws.text(),
            Guest::Stream(events) => events.text(),
        }
    }
}

/// Asks for a WebSocket, an event stream, an answer to a poll or to a POST. None: told 503.
fn attempt(port: u16, n: usize) -> Option<Guest> {
    let mut stream = connect(port);
    let plain = "HTTP/1.1\r\nHost: board.test\r\n";
    let head = match n % 4 {
        0 => request("/act", ""),
        1 => format!("GET /act?via=sse {plain}\r\n"),
        2 => format!("GET /act?via=poll {plain}\r\n"),
        _ => format!("POST /act {plain}Content-Length: 4\r\n\r\nbody"),
    };
    stream.write_all(head.as_bytes()).expect("write");
    let answer = read_head(&mut stream).expect("a head");
    match (answer.status, n % 4) {
        (101, 0) => Some(Guest::Socket(Ws::open(stream, answer))),
        (200, 1) => Some(Guest::Stream(Events::after(answer, stream))),
        (503, _) => {
            let mut body = String::new();
            stream.read_to_string(&mut body).expect("a body");
            assert_eq!(body, "503: all connections are taken\n");
            None
        }
        _ => panic!("{answer:?}"),
    }
}

#[test]
fn of_ten_thousand_attempts_each_is_answered_and_64_get_in() {
    let daemon = start("--max-connections 64 --ping 0");
    let mut bystander = daemon.connect("/act");
    let (port, descriptors) = (daemon.port("tcp"), daemon.descriptors().len());
    // The first of them take what memory it takes.
    let inside = (0..100).filter_map(|n| attempt(port, n % 2));
    let mut inside: Vec<_> = inside.collect();
    assert_eq!(inside.len(), 63);
    let before = daemon.anonymous();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let all = || (0..495).filter_map(|n| attempt(port, n)).count();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(all)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("a thread"), 0);
        }
    });
    println!("9900 refused in {:?}", begin.elapsed());
    let grown = daemon.anonymous().saturating_sub(before);
    assert!(grown <= 64, "{grown} KB");
    daemon.status_until("/refusals/full", 9937);
    wait_for("their descriptors to go", || {
        (daemon.descriptors().len() == descriptors + 63).then_some(())
    });
    daemon.outbox("text @all still");
    for guest in &mut inside {
        assert_eq!(guest.text(), "still");
    }
    bystander.works_after(Some("still"));
    drop(inside.pop());
    // A stream that has gone is noticed as a socket is.
    wait_for("room for one", || {
        (daemon.status()["connections"].as_array()?.len() == 63).then_some(())
    });
    assert!(attempt(port, 0).is_some());
}

#[test]
fn heads_that_come_byte_by_byte_end_and_take_nobodys_place() {
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
    // They are more than there are places, and some wait in the kernel's queue.
    daemon.connect("/act").works();
    assert!(attempt(port, 0).is_some());
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

/// Hands a request over on a socket of its own, one that asks for no upgrade.
fn ask(daemon: &Daemon, variables: &[(&str, &str)], body: &str) -> Answer {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let record = record(&[variables, &[("PATH_INFO", "/act")]].concat());
    let record = String::from_utf8(record).expect("text");
    let upgrades = |field: &&str| field.contains("UPGRADE=") || field.contains("WEBSOCKET");
    let fields = record.split_terminator('\0');
    let plain: Vec<_> = fields.filter(|field| !upgrades(field)).collect();
    ours.write_all(body.as_bytes()).expect("write");
    daemon.hand_in(format!("{}\0", plain.join("\0")).as_bytes(), &[&theirs]);
    drop(theirs);
    read_answer(&mut ours)
}

#[test]
fn of_a_thousand_polls_and_posts_a_second_none_is_lost() {
    const PAGES: usize = 16;
    let (messages, posts) = (as_many_as(100), as_many_as(25));
    let daemon = start("--max-connections 64 --jobs 8 --ping 0");
    let joined = "via=poll&wait=0&open=head%20WS-Join:%20@a";
    let pages = (0..PAGES).map(|_| {
        let answer = ask(&daemon, &[("QUERY_STRING", joined)], "");
        assert_eq!(answer.status, 204);
        let mut page = Poller::default();
        page.note(&answer);
        format!("id={}&key={}", page.id, page.key)
    });
    let pages: Vec<_> = pages.collect();
    let begin = Instant::now();
    let answered: usize = std::thread::scope(|scope| {
        let daemon = &daemon;
        let mut threads = Vec::new();
        for page in &pages {
            threads.push(scope.spawn(move || {
                let (mut got, mut polls) = (0, 0);
                while got < messages {
                    let query = format!("via=poll&{page}");
                    let answer = ask(daemon, &[("QUERY_STRING", &query)], "");
                    polls += 1;
                    match answer.status {
                        204 => continue,
                        _ => assert_eq!((answer.status, answer.body), (200, got.to_string())),
                    }
                    got += 1;
                }
                polls
            }));
            threads.push(scope.spawn(move || {
                for n in 1..=posts {
                    let (query, script) = (format!("{page}&n={n}"), format!("note {page}.{n}"));
                    let length = script.len().to_string();
                    let post = [
                        ("REQUEST_METHOD", "POST"),
                        ("QUERY_STRING", &*query),
                        ("CONTENT_LENGTH", &*length),
                    ];
                    assert_eq!(ask(daemon, &post, &script).status, 204);
                }
                posts
            }));
        }
        (0..messages).for_each(|n| daemon.outbox(format!("text @a {n}")));
        let threads = threads.into_iter();
        threads.map(|thread| thread.join().expect("a thread")).sum()
    });
    let rate = answered as f64 / begin.elapsed().as_secs_f64();
    println!("{answered} polls and POSTs, {rate:.0} a second");
    // Each POST was one event.
    let mut noted = daemon.events();
    noted.retain(|line| line.starts_with("note "));
    noted.sort();
    let mut posted: Vec<_> = pages
        .iter()
        .flat_map(|page| (1..=posts).map(move |n| format!("note {page}.{n}")))
        .collect();
    posted.sort();
    assert_eq!(noted, posted);
}
