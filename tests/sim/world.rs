//! The world around the daemon: the operating system, those who act in it, and the model that
//! watches. It moves while the daemon waits.

use crate::browser::{Browser, Ways};
use crate::child::{Kind, Life, Pipes, Process};
use crate::lines::Names;
use crate::model::{Connection, Environment, Life as Connected, Model, Rules, Watched};
use crate::options::{HANDLERS, arguments, config};
use crate::os::fault::Faults;
use crate::os::file::Node;
use crate::os::{End, Listener, MS, Os, SECOND, Time};
use crate::page::Page;
use crate::plan::{Act, Come, Order, Plan, Setting, via, way};
use crate::request::Asks;
use crate::rng::Rng;
use crate::trace::{Trace, note};
use crate::writer::Writer;
use std::collections::{BTreeMap, VecDeque};
use ws2cgi::config::Config;
use ws2cgi::limits;
use ws2cgi::sys::{Exit, Interest, Kill, Ready, Signals};

/// Wake-ups in a row that change nothing.
const IDLE_TURNS: u32 = 40;
/// Calls in one turn of the loop.
const CALLS: u32 = 200_000;
const TURNS: u64 = 400_000;
/// How long all that was begun may take to end, faults and hung programs among it.
const REST: Time = 900 * SECOND;

/// What a program does that cannot be executed.
const BROKEN: [Act; 2] = [Act::Complain { size: 20 }, Act::Exit { code: 127 }];

/// Whose a pipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Fifo,
    Ready,
    Up(usize),
    Down(usize),
    Child(u32),
}

/// Whose things are: what only the world knows.
#[derive(Default)]
pub struct Owners {
    pub pipes: Vec<Option<Owner>>,
    pub streams: Vec<usize>,
}

impl Owners {
    fn pipe(&mut self, pipe: usize, owner: Owner) {
        self.pipes.resize(self.pipes.len().max(pipe + 1), None);
        self.pipes[pipe] = Some(owner);
    }

    /// The browser at a descriptor's other end.
    pub fn browser(&self, end: &End) -> Option<usize> {
        match *end {
            End::Stream(s, _) => self.streams.get(s).copied(),
            End::Reader(p) | End::Writer(p) => match self.pipes.get(p) {
                Some(Some(Owner::Up(b) | Owner::Down(b))) => Some(*b),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Ways for Owners {
    fn stream_made(&mut self, stream: usize, browser: usize) {
        self.streams
            .resize(self.streams.len().max(stream + 1), usize::MAX);
        self.streams[stream] = browser;
    }

    fn pipe_made(&mut self, pipe: usize, browser: usize, to_daemon: bool) {
        let owner = if to_daemon { Owner::Up } else { Owner::Down };
        self.pipe(pipe, owner(browser));
    }
}

/// What a run has shown, for the table of all runs.
#[derive(Default, Clone, Debug)]
pub struct Seen(pub BTreeMap<String, u64>);

impl Seen {
    pub fn add(&mut self, what: impl Into<String>, count: u64) {
        if count > 0 {
            *self.0.entry(what.into()).or_default() += count;
        }
    }
}

pub struct World {
    pub os: Os,
    pub model: Model,
    /// A plan's browsers, and behind them what else their pages ask.
    pub browsers: Vec<Browser>,
    pub pages: Vec<Page>,
    pub writers: Vec<Writer>,
    pub processes: BTreeMap<u32, Process>,
    pub names: Names,
    pub owners: Owners,
    acts: Vec<Vec<Act>>,
    orders: VecDeque<Order>,
    order_at: Time,
    resting_since: Option<Time>,
    /// Nothing of those who left is seen any more.
    left_since: Option<Time>,
    checking: bool,
    pub fifo: Option<usize>,
    pub config: Config,
    pub watched: Vec<(usize, usize, Interest)>,
    pub calls: u32,
    /// Time that jumps have taken since the shutdown began.
    jumped: Time,
    idle_turns: u32,
    progress: u64,
    pub excused: bool,
    pub log_lines: u64,
    pub seen: Seen,
}

fn micros(duration: core::time::Duration) -> Time {
    duration.as_micros() as Time
}

impl World {
    pub fn new(plan: &Plan, trace: bool) -> World {
        let config = config(arguments(&plan.settings));
        let more = plan.settings.iter().find_map(|s| match s {
            Setting::Descriptors { more } => Some(*more as usize),
            _ => None,
        });
        let fixed = limits::FIXED_DESCRIPTORS
            + config.listen.len()
            + config.jobs * limits::DESCRIPTORS_PER_JOB
            + (limits::REFUSALS + 1) * limits::DESCRIPTORS_PER_CONNECTION;
        let limit = more.map_or(1024, |more| fixed + more);
        let trace = Trace {
            wanted: trace,
            ..Trace::default()
        };
        let faults = Faults::new(&plan.faults, Rng::new(plan.noise ^ 0xfa17));
        let bad_disk = faults.rates.bad_disk > 0 || faults.rates.no_descriptors > 0;
        let mut os = Os::new(Rng::new(plan.noise), faults, trace, limit);
        for folder in ["/run", HANDLERS, "/srv/ws/folder"] {
            let _ = os.files.make(folder, Node::Folder);
        }
        for (program, executable) in [
            ("a", true),
            ("b", true),
            ("broken", true),
            ("noexec", false),
        ] {
            let bytes = Vec::new();
            let node = Node::Regular { bytes, executable };
            let _ = os.files.make(&format!("{HANDLERS}/{program}"), node);
        }
        let rules = Rules {
            max_reply: config.max_reply,
            queue: config.queue,
            ping: config.ping.map(micros),
            max_message: config.max_message,
            poll_wait: micros(config.poll_wait),
            history: config.history,
            memory: config.memory,
            set_aside: config.bounds().set_aside,
            for_outbound: config.bounds().for_outbound,
            slow: micros(config.slow_timeout),
            close_on_error: config.close_on_error,
            bad_disk,
        };
        let max_message = config.max_message;
        let mut pages = Vec::new();
        let mut browsers = Vec::new();
        for (i, plan) in plan.browsers.iter().enumerate() {
            let Come::Browser { via, .. } = plan.come;
            browsers.push(match via % via::KINDS {
                via @ (via::WEBSOCKET | via::MARKED) => {
                    let mut browser = Browser::new(i, plan, max_message);
                    browser.ask.offers = via == via::MARKED;
                    browser
                }
                _ => {
                    let mut plan = plan.clone();
                    let Come::Browser { way, .. } = &mut plan.come;
                    if config.ping.is_none() && *way == way::HANDOFF_UNIX {
                        // Nothing would ever show that the reader of such a stream has gone.
                        *way = way::HANDOFF_TCP;
                    }
                    let (page, first) = Page::new(i, &plan, max_message);
                    pages.push(page);
                    first
                }
            });
        }
        let writers = plan.writers.iter().enumerate();
        let mut orders: VecDeque<Order> = plan.orders.iter().cloned().collect();
        if orders.back() != Some(&Order::Stop {}) {
            orders.push_back(Order::Stop {});
        }
        World {
            model: Model::new(rules, &browsers),
            names: Names {
                ids: vec![None; browsers.len()],
                last: 0,
            },
            browsers,
            pages,
            writers: writers.map(|(i, steps)| Writer::new(i, steps)).collect(),
            processes: BTreeMap::new(),
            owners: Owners::default(),
            acts: plan.acts.clone(),
            orders,
            order_at: SECOND,
            resting_since: None,
            left_since: None,
            checking: false,
            fifo: None,
            config,
            watched: Vec::new(),
            calls: 0,
            jumped: 0,
            idle_turns: 0,
            progress: 0,
            excused: false,
            log_lines: 0,
            seen: Seen::default(),
            os,
        }
    }

    /// Something is wrong: the run ends here.
    pub fn fail(&mut self, why: impl Into<String>) -> ! {
        self.model.fail(why);
        self.stop_if_wrong();
        unreachable!("something is wrong");
    }

    pub fn stop_if_wrong(&mut self) {
        if self.model.wrong.is_some() {
            std::panic::resume_unwind(Box::new(Stopped));
        }
    }

    // ---- Waiting

    pub fn wait(&mut self, deadline: Option<Time>, ready: &mut Vec<Ready>) -> Signals {
        self.turn_ends(deadline);
        self.os.now += 1 + self.os.noise.below(60);
        if self.os.faults.strikes(self.os.faults.rates.jump) {
            let jump = self.os.faults.below(60 * SECOND);
            note!(self.os, "time", "jumps by {} ms", jump / MS);
            self.os.now += jump;
            if self.model.stopping.is_some() {
                self.jumped += jump;
            }
        }
        let empty = self.os.faults.strikes(self.os.faults.rates.empty_turn);
        if empty {
            note!(self.os, "wait", "no memory for it");
            self.os.now += 50 * MS;
            self.excused = true;
        }
        let signals = loop {
            let did = self.act();
            if !empty {
                self.poll(ready);
            }
            let signals = core::mem::take(&mut self.os.signals);
            let late = deadline.is_some_and(|at| at <= self.os.now);
            if empty || !ready.is_empty() || signals.child || signals.stop || signals.status || late
            {
                break signals;
            }
            let next = self.next_time();
            let Some(next) = next.into_iter().chain(deadline).min() else {
                self.fail("the daemon waits for what never comes");
            };
            let least = if did { 0 } else { 1 };
            self.os.now = next.max(self.os.now + least);
        };
        if signals.stop && self.model.stopping.is_none() {
            self.model.stopping = Some(self.os.now);
            let turn = self.model.turn;
            for connection in &mut self.model.connections {
                connection.may_end(turn, crate::model::reason::STOP, None);
            }
        }
        if self.os.trace.wanted {
            let ready: Vec<String> = ready.iter().map(|r| self.token_name(r)).collect();
            let signals = [
                (signals.child, " SIGCHLD"),
                (signals.stop, " SIGTERM"),
                (signals.status, " SIGUSR1"),
            ];
            let signals: String = signals.iter().filter(|s| s.0).map(|s| s.1).collect();
            note!(self.os, "wait", "-> {}{signals}", ready.join(", "));
        }
        self.model.now = self.os.now;
        self.watched.clear();
        self.calls = 0;
        self.progress = self.os.progress;
        signals
    }

    fn token_name(&self, ready: &Ready) -> String {
        let watched = self
            .watched
            .iter()
            .find(|(_, token, _)| *token == ready.token);
        let name = watched.map_or(String::new(), |(fd, ..)| self.fd_name(*fd));
        let (r, w) = (ready.readable, ready.writable);
        format!(
            "{name}{}{}",
            if r { " r" } else { "" },
            if w { " w" } else { "" }
        )
    }

    pub fn fd_name(&self, fd: usize) -> String {
        let Some(Some(descriptor)) = self.os.descriptors.get(fd) else {
            return format!("{fd}?");
        };
        let what = match &descriptor.end {
            End::Stream(s, _) => format!("browser {}", self.owners.streams[*s]),
            End::Reader(p) | End::Writer(p) => match self.owners.pipes[*p] {
                Some(Owner::Child(pid)) => format!("child {pid}"),
                Some(Owner::Up(b) | Owner::Down(b)) => format!("browser {b}"),
                _ => "ready".to_owned(),
            },
            End::Both(_) => "outbox".to_owned(),
            End::Listener(l) => self.os.listeners[*l].address.clone(),
            other => format!("{other:?}"),
        };
        format!("{fd}({what})")
    }

    fn turn_ends(&mut self, deadline: Option<Time>) {
        let mut watched = Watched {
            outbox: false,
            browsers: vec![(false, false); self.browsers.len()],
            children: self.children(),
            goes_on: deadline.is_some_and(|at| at <= self.os.now),
        };
        for (fd, _, interest) in &self.watched {
            let end = &self.os.descriptor(*fd).end;
            if let End::Both(_) = end {
                watched.outbox = true;
            }
            if let Some(b) = self.owners.browser(end) {
                let (reads, writes) = &mut watched.browsers[b];
                *reads |= *interest != Interest::Write;
                *writes |= *interest != Interest::Read;
            }
        }
        self.model.end_of_turn(&self.os, &self.browsers, &watched);
        // A wake-up must change something.
        let late = deadline.is_some_and(|at| at <= self.os.now);
        let moved = self.os.progress != self.progress || core::mem::take(&mut self.excused);
        self.idle_turns = if moved { 0 } else { self.idle_turns + 1 };
        if self.idle_turns > IDLE_TURNS {
            let why = if late {
                "a deadline that has passed"
            } else {
                "a descriptor"
            };
            self.model
                .fail(format!("{IDLE_TURNS} wake-ups change nothing: {why}"));
        }
        if self.model.turn > TURNS {
            self.model.fail("it goes on for ever");
        }
        for (fd, descriptor) in self.os.descriptors.iter().enumerate() {
            if let Some(End::File(..)) = descriptor.as_ref().map(|d| &d.end) {
                self.model
                    .fail(format!("descriptor {fd}, a file, is still open at a wait"));
            }
        }
        if let Some(stopped) = self.model.stopping {
            if self.os.now > stopped + micros(limits::SHUTDOWN) + SECOND + self.jumped {
                self.model.fail("the shutdown does not end");
            }
        }
        self.stop_if_wrong();
    }

    /// A call of the daemon's.
    pub fn called(&mut self) {
        self.calls += 1;
        if self.calls > CALLS {
            self.fail("a turn of the loop does not end");
        }
        if self.os.faults.strikes(self.os.faults.rates.slow) {
            self.os.now += self.os.faults.below(20 * MS);
        }
    }

    fn poll(&mut self, ready: &mut Vec<Ready>) {
        for &(fd, token, interest) in &self.watched {
            let end = &self.os.descriptor(fd).end;
            let mut polled = self.os.poll(end);
            let spurious = match end {
                End::Stream(..) | End::Listener(_) | End::Handoff => self.os.faults.rates.spurious,
                _ => 0,
            };
            if self.os.faults.strikes(spurious) {
                polled.readable = true;
                polled.writable = true;
                self.excused = true;
            }
            let (reads, writes) = match interest {
                Interest::Read => (true, false),
                Interest::Write => (false, true),
                Interest::Both => (true, true),
            };
            let readable = polled.readable && reads || polled.trouble;
            let writable = polled.writable && writes || polled.trouble;
            if readable || writable {
                ready.push(Ready {
                    token,
                    readable,
                    writable,
                });
            }
        }
    }

    // ---- Those who act

    fn act(&mut self) -> bool {
        let mut did = self.give_orders();
        for page in &mut self.pages {
            did |= page.act(&mut self.os, &mut self.owners, &mut self.browsers);
        }
        self.come_again();
        for browser in &self.browsers[self.model.connections.len()..] {
            self.model.connections.push(Connection::new(browser));
        }
        let browsers = self.browsers.len();
        let first = self.os.noise.below(browsers.max(1) as u64) as usize;
        for i in 0..browsers {
            let browser = &mut self.browsers[(first + i) % browsers];
            did |= browser.act(&mut self.os, &mut self.owners);
        }
        let Some(fifo) = self.fifo else {
            return did;
        };
        for writer in &mut self.writers {
            did |= writer.act(&mut self.os, &mut self.names, fifo);
        }
        for process in self.processes.values_mut() {
            did |= process.act(&mut self.os, &mut self.names, fifo);
        }
        did
    }

    /// Those with a WebSocket who come again.
    fn come_again(&mut self) {
        for i in 0..self.browsers.len() {
            let Some(since) = self.browsers[i].again.take() else {
                continue;
            };
            let mut again = Browser::again(self.browsers.len(), &self.browsers[i], since);
            again.at = self.os.now;
            self.browsers.push(again);
        }
    }

    fn next_time(&self) -> Option<Time> {
        let os = &self.os;
        let browsers = self.browsers.iter().filter_map(|b| b.next_time(os));
        let pages = self.pages.iter();
        let pages = pages.filter_map(|page| page.next_time(os.now, &self.browsers));
        let writers = self.writers.iter().filter_map(|w| w.next_time(os));
        let processes = self.processes.values().filter_map(|p| p.next_time(os));
        let streams = os.streams.iter().filter_map(|s| s.starved_until(os.now));
        let orders = (!self.orders.is_empty() || self.checking).then_some(self.order_at);
        browsers
            .chain(pages)
            .chain(writers)
            .chain(processes)
            .chain(streams)
            .chain(orders)
            .min()
    }

    fn give_orders(&mut self) -> bool {
        let mut did = false;
        while self.order_at <= self.os.now {
            if core::mem::take(&mut self.checking) {
                self.check_rest();
                continue;
            }
            let Some(order) = self.orders.front().cloned() else {
                return did;
            };
            match order {
                Order::Wait { ms } => self.order_at = self.os.now + Time::from(ms) * MS,
                Order::Status {} => {
                    note!(self.os, "owner", "SIGUSR1");
                    self.os.signals.status = true;
                }
                Order::Stop {} => {
                    note!(self.os, "owner", "SIGTERM");
                    self.os.signals.stop = true;
                }
                Order::Rest {} => {
                    if !self.at_rest() {
                        return did;
                    }
                }
            }
            did = true;
            self.orders.pop_front();
        }
        did
    }

    /// Everyone leaves; true once nothing is left of them.
    fn at_rest(&mut self) -> bool {
        if self.resting_since.is_none() {
            note!(self.os, "owner", "all leave");
            self.resting_since = Some(self.os.now);
            self.os.faults.off = true;
            self.pages.iter_mut().for_each(Page::retire);
            for browser in &mut self.browsers {
                browser.again = None;
                browser.leave(&mut self.os);
            }
            for writer in &mut self.writers {
                writer.retire();
            }
        }
        let alive = |p: &Process| p.life != Life::Reaped;
        let connected = |end: &End| self.owners.browser(end).is_some();
        let open = self.os.descriptors.iter().flatten();
        // A chain of polls has no descriptor between them.
        let goes_on = |c: &Connection| {
            matches!(
                c.life,
                Connected::Opening | Connected::Accepted | Connected::Closing
            )
        };
        // Those who left before the daemon took them are on their way in.
        let waiting = |listener: &Listener| !listener.waiting.is_empty();
        let coming = !self.os.handoffs.is_empty() || self.os.listeners.iter().any(waiting);
        let busy = coming
            || self.processes.values().any(alive)
            || self.model.connections.iter().any(goes_on)
            || open.into_iter().any(|d| connected(&d.end))
            || self.writers.iter().any(|w| !w.done())
            || self.fifo.is_some_and(|p| self.os.pipes[p].len() > 0);
        if busy {
            self.left_since = None;
            self.order_at = self.os.now + SECOND;
            if self
                .resting_since
                .is_some_and(|since| self.os.now > since + REST)
            {
                self.model
                    .fail("it does not come to rest: something of those who left is still there");
                self.stop_if_wrong();
            }
            return false;
        }
        // The end of a chain of polls is told to the next for some seconds.
        let polls = self.browsers.iter().any(|b| b.ask.asks == Asks::Poll);
        let told = micros(limits::CLOSE_TIMEOUT) + SECOND;
        if polls && self.os.now < *self.left_since.get_or_insert(self.os.now) + told {
            self.order_at = self.os.now + SECOND;
            return false;
        }
        // One turn more, for replies and close events without a program.
        self.os.signals.status = true;
        self.checking = true;
        self.order_at = self.os.now + SECOND;
        true
    }

    fn check_rest(&mut self) {
        self.seen.add("at rest", 1);
        if let Err(why) = crate::check::at_rest(self) {
            self.model.fail(why);
            self.stop_if_wrong();
        }
    }

    // ---- Children

    /// Unreaped ones.
    pub fn children(&self) -> usize {
        let alive = |p: &&Process| p.life != Life::Reaped;
        self.processes.values().filter(alive).count()
    }

    /// A program is started, or could not be.
    pub fn start(&mut self, path: &str, env: &[Vec<u8>], pipes: Option<Pipes>) -> u32 {
        let pid = 100 + self.processes.len() as u32;
        let variable = |name: &str| {
            let find = |v: &Vec<u8>| {
                let rest = v.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some(String::from_utf8_lossy(rest).into_owned())
            };
            env.iter().find_map(find).unwrap_or_default()
        };
        let cookie = variable("HTTP_COOKIE");
        let number = cookie.split(';').next().unwrap_or("");
        let number = number.strip_prefix("browser=").and_then(|n| n.parse().ok());
        let browser: usize = match number {
            Some(browser) if browser < self.browsers.len() => browser,
            _ => self.fail(format!("an event of nobody: HTTP_COOKIE={cookie}")),
        };
        let kind = match variable("WS_EVENT").as_str() {
            "open" => Kind::Open,
            "message" => Kind::Message,
            "close" => Kind::Close,
            other => self.fail(format!("WS_EVENT={other}")),
        };
        let id = variable("WS_ID");
        let run = self.model.connections[browser].messages_run as usize;
        let sender = &self.browsers[browser];
        let number = match kind {
            Kind::Open => sender.open.checked_sub(1),
            Kind::Close => sender.close.checked_sub(1),
            Kind::Message => sender.sent.get(run).map(|m| m.act),
        };
        let act = match number {
            _ if path.ends_with("/broken") => &BROKEN[..],
            Some(number) => self
                .acts
                .get(number as usize)
                .map_or(&[][..], Vec::as_slice),
            None => &[],
        };
        let length = variable("CONTENT_LENGTH");
        let environment = Environment {
            rooms: variable("WS_ROOMS")
                .split_whitespace()
                .map(|room| room.trim_start_matches('@').to_owned())
                .collect(),
            state: variable("WS_STATE").len(),
            transport: variable("WS_TRANSPORT"),
            length: length.parse().ok(),
            binary: variable("CONTENT_TYPE") == "application/octet-stream",
            code: variable("WS_CLOSE_CODE").parse().unwrap_or(0),
            by: variable("WS_CLOSE_BY"),
        };
        if kind == Kind::Close {
            let (code, by) = (environment.code, &environment.by);
            self.seen.add(format!("closed with {code} by {by}"), 1);
        }
        if kind == Kind::Open {
            self.names.ids[self.browsers[browser].page] = Some(id.clone());
        }
        let started = pipes.is_some();
        let pipes = pipes.unwrap_or(Pipes {
            stdin: None,
            stdout: 0,
            stderr: 0,
        });
        for pipe in pipes.stdin.into_iter().chain([pipes.stdout, pipes.stderr]) {
            if started {
                self.owners.pipe(pipe, Owner::Child(pid));
            }
        }
        let mut process = Process::new(pid, browser, kind, &id, act, pipes);
        process.started = self.os.now;
        let sender = &self.browsers[browser];
        self.model
            .spawned(self.os.now, &process, sender, &environment);
        let posted = kind == Kind::Message && sender.ask.asks != Asks::WebSocket;
        if posted {
            let length = environment.length.unwrap_or(0);
            process.unknown = Some((length, environment.binary));
            if length == 0 || !started {
                self.feed(&mut process, &[]);
            }
        } else if kind == Kind::Message {
            process.payload = sender.sent.get(run).map(|m| m.payload.clone());
        }
        if !started {
            process.life = Life::Reaped;
            self.model.not_started(browser);
            let behind = self.fifo.map_or(0, |p| self.os.pipes[p].written);
            let sender = &self.browsers[browser];
            self.model
                .reaped(self.os.now, &process, sender, true, behind);
        }
        self.processes.insert(pid, process);
        let children = self.children();
        self.model.totals.most_jobs = self.model.totals.most_jobs.max(children);
        if children > self.config.jobs {
            self.model.fail(format!(
                "{children} programs at once, --jobs {}",
                self.config.jobs
            ));
        }
        self.stop_if_wrong();
        pid
    }

    /// A message event of a connection without a WebSocket gets its first bytes: they tell which
    /// message it is.
    fn feed(&mut self, process: &mut Process, first: &[u8]) {
        let Some((length, binary)) = process.unknown else {
            return;
        };
        let posted = self
            .model
            .run_post(process.browser, (first, length, binary));
        if let Some(posted) = posted {
            let act = match self.browsers[process.browser].route() {
                "/broken" => &BROKEN[..],
                _ => self
                    .acts
                    .get(posted.act as usize)
                    .map_or(&[][..], Vec::as_slice),
            };
            process.serves(posted.request, &posted.payload, act);
        }
    }

    /// Bytes for a child's stdin.
    pub fn fed(&mut self, pid: u32, bytes: &[u8]) {
        if let Some(mut process) = self.processes.remove(&pid) {
            self.feed(&mut process, bytes);
            self.processes.insert(pid, process);
        }
        self.stop_if_wrong();
    }

    /// A signal for a child. While it lives, there must be a reason.
    pub fn kill(&mut self, pid: u32, signal: Kill) {
        let Some(process) = self.processes.get_mut(&pid) else {
            self.fail(format!("kill of {pid}, which never was"));
        };
        // The daemon's clock stands still within a turn, and calls may be slow.
        let late = self.os.now + SECOND >= process.started + micros(self.config.event_timeout);
        let too_much = process.output > limits::REPLY_HEAD.min(self.config.max_reply);
        match process.life {
            Life::Reaped => self.fail(format!("kill of {pid}, which is reaped")),
            Life::Zombie(_) => {}
            _ if late || too_much || self.model.stopping.is_some() => {}
            _ => self.fail(format!("kill of child {pid}, which does as it should")),
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.signal(&mut self.os, signal);
        }
    }

    pub fn reap(&mut self, pid: u32) -> Exit {
        let Some(process) = self.processes.get_mut(&pid) else {
            self.fail(format!("reap of {pid}, which never was"));
        };
        let Life::Zombie(exit) = process.life else {
            let life = process.life;
            self.fail(format!(
                "reap of {pid}, which is {life:?}: it waits, or fails"
            ));
        };
        process.life = Life::Reaped;
        // The last of its signals is for its group.
        let killed = process.kills > 1;
        let too_much = process.reply.body > self.config.max_reply;
        let failed = killed || exit != Exit::Code(0) || process.malformed() || too_much;
        note!(
            self.os,
            "child",
            "{pid} is reaped: {exit:?}, failed: {failed}"
        );
        if let Some(payload) = &process.payload {
            let input = process.input.as_slice();
            let whole = process.input_whole && input.len() != payload.len();
            if !payload.starts_with(input) || whole {
                let (got, of) = (input.len(), payload.len());
                self.model.fail(format!(
                    "child {pid} read {got} of {of} bytes, or other ones"
                ));
            }
        }
        let behind = self.fifo.map_or(0, |p| self.os.pipes[p].written);
        let sender = &self.browsers[process.browser];
        self.model
            .reaped(self.os.now, process, sender, failed, behind);
        self.stop_if_wrong();
        exit
    }
}

/// What unwinds the daemon once something is wrong.
pub struct Stopped;
