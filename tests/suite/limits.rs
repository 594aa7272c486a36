//! Bounds: connections, memory, the log.

use crate::harness::{Answer, Daemon, Start, Ws, as_root, masked, read_answer, request, wait_for};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use ws2cgi::config::{Config, Wish};

fn answer(daemon: &Daemon, url: &str) -> Answer {
    read_answer(&mut daemon.raw(url, &[]))
}

/// Waits until so many connections are listed.
fn until_connected(daemon: &Daemon, count: usize) {
    wait_for(&format!("{count} connections"), || {
        let status = daemon.status();
        (status["connections"].as_array()?.len() == count).then_some(())
    });
}

fn assert_full(answer: &Answer) {
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.body, "503: all connections are taken\n");
}

#[test]
fn a_full_house_is_503_until_one_leaves() {
    let mut daemon = Daemon::with("--max-connections 2");
    let mut first = daemon.connect("/act");
    let mut second = daemon.connect("/act");
    for _ in 0..3 {
        assert_full(&answer(&daemon, "/act"));
    }
    daemon.expect("INFO 127.0.0.1: 503: all connections are taken");
    daemon.status_until("/refusals/full", 3);
    first.close(1000, "");
    until_connected(&daemon, 1);
    let mut third = daemon.connect("/act");
    assert_full(&answer(&daemon, "/act"));
    second.works();
    third.works();
}

#[test]
fn a_connection_that_is_opening_counts() {
    let daemon = Daemon::with("--max-connections 1 --event-timeout 60");
    let opening = daemon.raw("/act?open=until go;head X-A: b", &[]);
    daemon.event("open ");
    assert_full(&answer(&daemon, "/act"));
    daemon.let_go("go");
    let mut opened = Ws::accepted(opening);
    assert_full(&answer(&daemon, "/act"));
    opened.close(1000, "");
    until_connected(&daemon, 0);
    daemon.connect("/act").works();
}

/// Connections to `--listen` that are taken, each with so many bytes of a head.
fn unfinished_heads(daemon: &Daemon, count: usize, bytes: usize) -> Vec<TcpStream> {
    let before = daemon.descriptors().len();
    let head = format!("GET /act HTTP/1.1\r\nX: {}", "x".repeat(bytes));
    let heads = (0..count).map(|_| {
        let mut stream = daemon.unix("ws.sock");
        stream.write_all(&head.as_bytes()[..bytes]).expect("write");
        stream
    });
    let heads = heads.collect();
    wait_for("them to be taken", || {
        (daemon.descriptors().len() >= before + count).then_some(())
    });
    heads
}

const LISTEN: &str = "--listen unix:{}/ws.sock";

#[test]
fn a_connection_without_its_head_takes_nobodys_place() {
    let daemon = Daemon::with(&format!("--max-connections 1 {LISTEN}"));
    let mut halves = unfinished_heads(&daemon, 2, 5);
    let rest = &request("/act", "")[5..];
    let mut finish = || {
        let mut half = halves.pop().expect("one");
        half.write_all(rest.as_bytes()).expect("write");
        half
    };
    let mut ws = daemon.connect("/act");
    ws.works();
    assert_full(&read_answer(&mut finish()));
    ws.close(1000, "");
    daemon.until_empty();
    Ws::accepted(finish()).works();
}

#[test]
fn heads_that_are_never_finished_cost_those_who_are_in_nothing() {
    let daemon = Daemon::with(LISTEN);
    let mut all: Vec<_> = (0..5).map(|_| daemon.connect("/act")).collect();
    let before = daemon.number("/memory/used");
    let _heads = unfinished_heads(&daemon, 70, 1);
    let used = daemon.number("/memory/used") - before;
    assert!(used < 10_000, "{used} bytes");
    let message = format!("out \\nlarge;{}", " ".repeat(60_000));
    let (begin, end) = message.as_bytes().split_at(30_000);
    let fragments = [masked(0x01, begin), masked(0x80, end)].concat();
    for ws in &mut all {
        ws.send_raw(&fragments);
    }
    for ws in &mut all {
        assert_eq!(ws.text(), "large");
    }
    daemon.status_until("/closes", serde_json::json!({}));
}

#[test]
fn heads_that_are_never_finished_give_their_memory_up_to_others() {
    let daemon = Daemon::with(&format!(
        "--max-connections 16 --jobs 2 --max-message 4096 --max-reply 4096 --queue 8192 {LISTEN}"
    ));
    let mut bystander = daemon.connect("/act");
    // As many as find room in the memory, and more.
    let mut heads = unfinished_heads(&daemon, 22, 8000);
    let message = format!("out \\nlarge;{}", " ".repeat(4000));
    let (begin, end) = message.as_bytes().split_at(2000);
    bystander.send_raw(&[masked(0x01, begin), masked(0x80, end)].concat());
    assert_eq!(bystander.text(), "large");
    let mut all: Vec<_> = (0..14).map(|_| daemon.connect("/act")).collect();
    let mut last = daemon.unix("ws.sock");
    last.write_all(request("/act", "").as_bytes())
        .expect("write");
    all.push(Ws::accepted(last));
    all.iter_mut().for_each(Ws::works);
    daemon.status_until("/closes", serde_json::json!({}));
    // Each is told: some that their memory is wanted, some, where a daemon is slow, that their time
    // is over.
    for head in &mut heads {
        let answer = read_answer(head);
        assert!([408, 503].contains(&answer.status), "{answer:?}");
    }
}

#[test]
fn of_200_at_once_as_many_get_in_as_there_is_room() {
    let daemon = Daemon::with("--max-connections 4");
    let attempt = |_| {
        let mut client = daemon.raw("/act", &[]);
        let status = read_answer(&mut client).status;
        // Whoever is in stays.
        (status, Some(client).filter(|_| status == 101))
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let eighth = || (0..25).map(attempt).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(eighth)).collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().expect("a thread"))
            .collect()
    });
    let with = |status| all.iter().filter(|(s, _)| *s == status).count();
    assert_eq!((with(101), with(503)), (4, 196));
    drop(all);
    daemon.until_empty();
    daemon.connect("/act").works();
}

#[test]
fn ids_are_never_used_again() {
    let daemon = Daemon::start();
    let boot = daemon.status()["boot"].as_str().expect("a boot").to_owned();
    assert_eq!(boot.len(), 13);
    for number in 1..4 {
        let mut ws = daemon.connect("/act");
        assert_eq!(ws.id(), format!("{boot}-{number}"));
        ws.close(1000, "");
        daemon.until_empty();
    }
    let daemon = Start::default().again_in(daemon.end()).ready();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let again = daemon.status()["boot"].as_str().expect("a boot").to_owned();
    assert_ne!(again, boot);
    assert_eq!(id, format!("{again}-1"));
    // A line for an earlier one reaches nobody.
    daemon.outbox(format!("text {boot}-1 for another"));
    daemon.status_until("/messages/nobody", 1);
    ws.works();
}

/// Options, and the least --memory that they allow.
pub fn least_memory(args: &str) -> String {
    let (code, said) = Start::default().args(args).args("--memory 1").fails();
    assert_eq!(code, 100);
    let least = said
        .split("take ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    format!(
        "{args} --memory {}",
        least.unwrap_or_else(|| panic!("{said}"))
    )
}

#[test]
fn too_little_memory_is_a_usage_error() {
    let (_, least) = {
        let args = least_memory("--jobs 1");
        let least: usize = args
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        (args, least)
    };
    let (code, said) = Start::default()
        .args(&format!("--jobs 1 --memory {}", least - 1))
        .fails();
    assert_eq!(code, 100);
    let why = format!(
        "--memory {} is too little: 1 jobs and one message each way take {least} ",
        least - 1
    );
    assert!(said.starts_with(&format!("ws2cgi: {why}")), "{said}");
    Daemon::with(&format!("--jobs 1 --memory {least}"))
        .connect("/act")
        .works();
}

#[test]
fn beyond_the_memory_newcomers_get_503_and_messages_1013() {
    let large = format!("out \\nlarge;{}", " ".repeat(59_000));
    let mut daemon = Daemon::with(&least_memory(
        "--jobs 1 --max-message 60000 --max-reply 1000 --queue 1000",
    ));
    let unused = daemon.status()["memory"]["used"].clone();
    let mut all = Vec::new();
    let refused = loop {
        let mut client = daemon.raw("/act", &[]);
        let answer = read_answer(&mut client);
        if answer.status != 101 {
            break answer;
        }
        assert!(all.len() < 60, "they all fit");
        all.push(Ws::open(client, answer));
    };
    assert_eq!(
        (refused.status, refused.field("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(refused.body, "503: --memory is used up\n");
    daemon.expect("INFO 127.0.0.1: 503: --memory is used up");
    daemon.status_until("/refusals/memory", 1);

    let mut greedy = all.pop().expect("a connection");
    greedy.send(&large);
    assert_eq!(
        greedy.closed(),
        (1013, "no memory for this message".to_owned())
    );
    daemon.expect(": closed with 1013: no memory for this message");
    daemon.status_until("/closes/1013", 1);
    for ws in &mut all {
        ws.works();
    }
    // With the others gone there is room for it.
    let mut last = all.pop().expect("a connection");
    drop(all);
    until_connected(&daemon, 1);
    assert_eq!(last.ask(&large), "large");
    last.close(1000, "");
    daemon.until_empty();
    daemon.status_until("/memory/used", unused);
}

#[test]
fn who_never_finishes_a_message_shuts_nobody_out() {
    let daemon = Daemon::start();
    let usual = ["--handlers", "/"].map(OsString::from);
    let Ok(Wish::Serve(usual)) = Config::parse(usual) else {
        panic!("no usual configuration");
    };
    let bounds = usual.bounds();
    let left = || bounds.all - bounds.for_outbound - daemon.number("/memory/used") as usize;
    let mut bystander = daemon.connect("/act2");
    let mut tricklers: Vec<_> = (0..30).map(|_| daemon.connect("/act")).collect();
    // All memory is claimed, down to less than a small message needs.
    let mut claimed = 0;
    while left() >= 1500 {
        let size = (left() - 600).min(65_000);
        let before = left();
        tricklers[claimed].send_raw(&masked(0x82, &vec![0; size])[..16]);
        claimed += 1;
        wait_for("the claim", || (left() == before - size).then_some(()));
    }
    assert!(claimed > 20);
    // Longer than a moment, and they are not silent.
    assert_eq!(bystander.ask("sleep 1500;head X-A: b;out slept"), "slept");
    for trickler in &mut tricklers[..claimed] {
        trickler.send_raw(b"x");
    }
    let message = format!("head X-A: b;out here;{}", " ".repeat(2000));
    for _ in 0..20 {
        assert_eq!(bystander.ask(&message), "here");
    }
    // The first had to go, and no more of them than was needed.
    let why = || (1013, "no memory for this message".to_owned());
    assert_eq!(tricklers[0].closed(), why());
    daemon.status_until("/closes/1013", 1);
    // Nor are newcomers told that there is no memory.
    let mut newcomers: Vec<_> = (0..12).map(|_| daemon.connect("/act")).collect();
    newcomers.iter_mut().for_each(Ws::works);
    assert_eq!(tricklers[1].closed(), why());
    daemon.status_until("/closes/1013", 2);
    daemon.status_until("/refusals", serde_json::json!({}));
}

#[test]
fn memory_that_slow_readers_hold_comes_back() {
    let args = "--jobs 1 --max-message 30000 --max-reply 60000 --queue 10000000 --slow-timeout 3";
    let mut daemon = Daemon::with(&least_memory(args));
    let mut slow: Vec<_> = (0..6).map(|_| daemon.narrow("/act")).collect();
    let slow_ids: Vec<_> = slow.iter_mut().map(Ws::id).collect();
    let mut reader = daemon.connect("/act");
    let lines = 100;
    let begin = Instant::now();
    let line = |n: usize| format!("{n} {}", "x".repeat(14_000));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..lines).for_each(|n| daemon.outbox(format!("text @all {}", line(n)))));
        for n in 0..lines {
            assert_eq!(reader.text(), line(n));
        }
    });
    // They spend their time together: each on its own would add up to 18 seconds.
    assert!(begin.elapsed() < Duration::from_secs(12));
    for id in slow_ids {
        daemon.expect(&format!("WARN {id}: too slow a reader, closed with 1013"));
    }
    daemon.status_until("/closes/1013", slow.len());
    let status = daemon.status();
    assert_eq!(status["outbox"]["lines"], lines);
    assert_ne!(status["messages"]["dropped"], 0);
    reader.works();
}

#[test]
fn short_messages_to_many_who_do_not_read_stay_within_the_memory() {
    let daemon = Daemon::with("--slow-timeout 100 --event-timeout 101");
    let unused = daemon.number("/memory/used");
    let url = "/act?open=head WS-Join: @r";
    let mut idle: Vec<_> = (0..60).map(|_| daemon.narrow(url)).collect();
    let (before, used) = (daemon.anonymous(), daemon.number("/memory/used"));
    let mut fifo = daemon.writer();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The last of them are read when the members have gone.
            for _ in 0..100 {
                let lines = "text @r \n".repeat(400);
                fifo.write_all(lines.as_bytes()).expect("write");
            }
            done.store(true, Relaxed);
        });
        let lines = || daemon.number("/outbox/lines");
        let mut seen = 0;
        wait_for("the outbox to stand", || {
            let stands = lines() == seen && seen > 0;
            seen = lines();
            stands.then_some(())
        });
        assert!(!done.load(Relaxed), "it never stood");
        let charged = (daemon.number("/memory/used") - used) / 1024;
        let grown = daemon.anonymous() - before;
        // The rest is what an allocator has at hand.
        assert!(grown < charged + 512, "{grown} KB for {charged} KB charged");
        idle.clear();
    });
    daemon.status_until("/memory/used", unused);
}

#[test]
fn a_terminal_that_takes_no_more_stops_nobody_whoever_we_are() {
    if !as_root("a_terminal_that_takes_no_more_stops_nobody_whoever_we_are") {
        return;
    }
    let mut terminal = Command::new("/usr/bin/python3");
    terminal.args(["-c", TERMINAL]);
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().expect("python3");
    let mut name = String::new();
    let stdout = terminal.stdout.take().expect("its stdout");
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut name).expect("a name");
    let start = Start::default().args("--ready-fd 9 --user nobody");
    let daemon = start
        .again_in(Start::folder_for_anyone())
        .shell(&format!("exec 9>ready 2>{}", name.trim()))
        .ready_when(|daemon| std::fs::read(daemon.path("ready")).is_ok_and(|text| text == b"\n"));
    let mut ws = daemon.connect("/act");
    for length in 1..100 {
        ws.send(&format!(
            "err {};head X-A: b;out on",
            "x".repeat(10 * length)
        ));
        assert_eq!(ws.text(), "on");
    }
    assert_ne!(daemon.number("/log_lines_dropped"), 0);
    drop(terminal.stdin.take());
    terminal.wait().expect("its end");
}

/// A terminal whose other end nobody reads, until stdin ends. Root's, as a board's console is.
const TERMINAL: &str = "\
import os, sys
master, terminal = os.openpty()
print(os.ttyname(terminal), flush=True)
sys.stdin.read()
";

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let folder = Start::folder();
    let stderr = folder.path().join("stderr");
    mkfifo(&stderr, Mode::S_IRWXU).expect("mkfifo");
    let start = Start::default().again_in(folder).args("--ready-fd 9");
    let daemon = start
        .shell("exec 9>ready 2<>stderr")
        .ready_when(|daemon| std::fs::read(daemon.path("ready")).is_ok_and(|text| text == b"\n"));
    let mut pipe = OpenOptions::new();
    let pipe = pipe
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK);
    let mut pipe = pipe.open(&stderr).expect("open");
    for size in [4096, 1] {
        while pipe.write(&[b'x'; 4096][..size]).is_ok() {}
    }
    let mut ws = daemon.connect("/act");
    ws.works();
    daemon.status_until("/log_lines_dropped", 1);
    ws.close(1000, "");

    // Once it is read, lines come again, and whole.
    let mut block = [0; 4096];
    while pipe.read(&mut block).is_ok() {}
    let id = daemon.connect("/act").id();
    let mut log = String::new();
    let line = format!("INFO {id}: open, /act\n");
    wait_for(&line, || {
        let count = pipe.read(&mut block).unwrap_or(0);
        log.push_str(&String::from_utf8_lossy(&block[..count]));
        log.contains(&line).then_some(())
    });
}

#[test]
fn memory_is_lowered_to_what_the_process_can_take() {
    let start = |kb: usize| Start::default().shell(&format!("ulimit -v {kb}"));
    let mut daemon = start(9000).args("--memory 9000000").ready();
    daemon.expect("--memory lowered to ");
    assert!(daemon.number("/memory/bound") < 9_000_000);
    daemon.connect("/act").works();
    let (code, said) = start(7000).args("--max-message 3000000").fails();
    assert_eq!(code, 111);
    assert!(said.contains("bytes of memory is too low: "), "{said}");
}

#[test]
fn thirty_two_clients_echo_in_half_a_megabyte() {
    let daemon = Daemon::start();
    let mut clients: Vec<Ws> = (0..32).map(|_| daemon.connect("/act")).collect();
    let said = "x".repeat(64);
    for _ in 0..10 {
        for client in &mut clients {
            client.send(&format!("out \\n{said}"));
        }
        for client in &mut clients {
            assert_eq!(client.text(), said);
        }
    }
    // All that is written to: heap, stack, data; of the C that comes of WebAssembly, its memory.
    let kb = daemon.anonymous();
    assert!(kb <= 512, "{kb} KB");
}

#[test]
fn memory_that_a_burst_took_goes_back_to_the_system() {
    let daemon =
        Daemon::with("--slow-timeout 100 --event-timeout 101 --queue 200000 --memory 6000000");
    let unused = daemon.number("/memory/used");
    let come_and_go = |bytes: usize, replies: usize| {
        let mut all: Vec<_> = (0..20).map(|_| daemon.narrow("/act")).collect();
        for ws in &mut all {
            for _ in 0..5 {
                ws.send(&format!("head Content-Type: a/b;flood {bytes}"));
            }
        }
        daemon.status_until("/messages/queued", replies);
        let most = daemon.anonymous();
        drop(all);
        daemon.status_until("/memory/used", unused);
        most
    };
    // What is allocated once is allocated now.
    come_and_go(100, 100);
    let least = daemon.anonymous();
    let most = come_and_go(30_000, 200);
    assert!(most > least + 200, "{most} KB, {least} KB before");
    let kept = daemon.anonymous().saturating_sub(least);
    // What falls by less than EBB stays, and pages that something small is in.
    assert!(kept < 128, "{kept} KB kept of {most}");
}
