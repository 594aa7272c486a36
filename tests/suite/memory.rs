//! `--memory`: what it bounds, who is refused or closed where it is used up, that it comes back.

use crate::harness::{Daemon, Start, Ws, masked, read_answer, wait_for};
use crate::places::until_connected;
use std::ffi::OsString;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use ws2cgi::config::{Config, Wish};

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
