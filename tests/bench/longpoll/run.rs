//! One run: so many browsers by one way, for some seconds, on a server and a daemon of its own.

use super::RATE;
use super::browsers::Crowd;
use super::cost::{cpu, pss};
use super::harness::{PATIENCE, Server, Start, children, compile, kill_group};
use super::programs::Programs;
use super::way::Way;
use std::io::Write;
use std::time::{Duration, Instant};

/// What to measure.
pub struct Run<'a> {
    pub way: Way,
    pub clients: usize,
    pub time: Duration,
    /// `boa`, `lighttpd`.
    pub server: &'a str,
    pub programs: &'a Programs,
}

/// What it took.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Processor time, for each update that came to a browser, in µs.
    pub cpu: f64,
    /// Processes while all browsers wait: server, daemon, programs.
    pub processes: f64,
    /// Their memory then, in KB.
    pub memory: f64,
    /// From the update's creation until a browser has it, in ms: half of them take no longer,
    /// and 99 of 100.
    pub p50: f64,
    pub p99: f64,
    /// Updates that did not come, in percent.
    pub missed: f64,
}

/// Updates before those that count.
const WARM: usize = 5;

/// Runs it.
pub fn measure(run: &Run) -> Figures {
    // As by default, but that it keeps what those may have missed who come back.
    let start = Start::default().args("--history 65536");
    // Of its log only what says that it is ready.
    let daemon = start.log("warn").ready();
    std::fs::copy(compile("cgi-bin/board.c"), daemon.path("handlers/board")).expect("copy");
    let sensor = run.programs.install(&daemon);
    let mut outbox = daemon.writer();
    let server = match run.server {
        "boa" => Server::boa("rc21", &daemon),
        "lighttpd" => Server::lighttpd(&daemon),
        other => panic!("SERVER={other}: boa or lighttpd"),
    };
    let mut staff = vec![server.pid()];
    if !run.way.is_classic() {
        staff.push(daemon.pid());
    }
    let descriptors = daemon.descriptors().len();
    let mut crowd = Crowd::come(&server, run.way, run.clients);
    let mut board = Board {
        created: Vec::new(),
        tell: |update: &str| match run.way.is_classic() {
            true => sensor.say(update),
            false => outbox
                .write_all(format!("text @board {update}\n").as_bytes())
                .expect("write to the outbox"),
        },
    };

    // All have come, have had some updates, and wait.
    let all_wait = |crowd: &mut Crowd| {
        let since = Instant::now();
        let wait = || match run.way.is_classic() {
            true => children(server.pid()).len() == run.clients,
            false => {
                let held = daemon.descriptors().len() - descriptors;
                held >= run.clients && children(server.pid()).is_empty()
            }
        };
        let mut seen = 0;
        while seen < 3 {
            crowd.read_until(Instant::now() + Duration::from_millis(50));
            seen = if wait() { seen + 1 } else { 0 };
            assert!(since.elapsed() < PATIENCE, "{:?}: not all wait", run.way);
        }
    };
    all_wait(&mut crowd);
    board.tell(&mut crowd, WARM);
    assert!(crowd.read_to(WARM, Instant::now() + PATIENCE), "not warm");
    all_wait(&mut crowd);

    let waiting = [&staff[..], &children(server.pid())].concat();
    let memory = waiting.iter().map(|&pid| pss(pid)).sum();
    let spent = || staff.iter().map(|&pid| cpu(pid)).sum::<Duration>();
    let before = spent();
    let updates = (run.time.as_secs_f64() * f64::from(RATE)) as usize;
    board.tell(&mut crowd, updates);
    crowd.read_to(WARM + updates, Instant::now() + Duration::from_secs(10));
    // As many programs wait as before: what each has used until now cancels out. Ours end, and
    // are counted then.
    if !run.way.is_classic() {
        all_wait(&mut crowd);
    }
    let spent = spent() - before;

    let came = crowd.got(WARM + 1);
    let latencies = came.map(|(number, at)| at - board.created[number - 1]);
    let mut latencies: Vec<_> = latencies.collect();
    latencies.sort();
    let rank = |part: f64| {
        let rank = (latencies.len() as f64 * part).ceil() as usize;
        latencies[rank.max(1) - 1].as_secs_f64() * 1e3
    };
    let due = run.clients * updates;
    let figures = Figures {
        cpu: spent.as_secs_f64() * 1e6 / latencies.len() as f64,
        processes: waiting.len() as f64,
        memory,
        p50: rank(0.5),
        p99: rank(0.99),
        missed: 100.0 * (due - latencies.len()) as f64 / due as f64,
    };
    drop(crowd);
    // The programs that wait for nobody now, too.
    kill_group(server.pid());
    figures
}

/// What the updates come from.
struct Board<F> {
    /// When each came into being; the first has the number 1.
    created: Vec<Instant>,
    tell: F,
}

impl<F: FnMut(&str)> Board<F> {
    /// So many updates, [`RATE`] a second.
    fn tell(&mut self, crowd: &mut Crowd, count: usize) {
        let begin = Instant::now();
        for i in 0..count as u32 {
            crowd.read_until(begin + Duration::from_secs(1) * i / RATE);
            self.created.push(Instant::now());
            let number = self.created.len();
            (self.tell)(&format!(
                "{number} {}.{}",
                20 + number / 10 % 10,
                number % 10
            ));
        }
    }
}
