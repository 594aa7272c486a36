//! The daemon: its tables, and the loop. One turn: build the poll set, wait, dispatch, expire,
//! make room, flush, sweep, settle, launch. Nothing is freed while it is being walked over.

mod admit;
mod arrive;
mod deliver;
mod events;
mod launch;
mod posts;
mod refusals;
mod start;
mod status;
mod upkeep;

pub use start::serve;

use crate::client::Client;
use crate::close::{By, Close};
use crate::config::Config;
use crate::counters::Counters;
use crate::history::History;
use crate::job::{Fault, Job};
use crate::key::Keys;
use crate::limits::{HANDOFF_RECORD, KILL_GRACE, READS_PER_TURN, SCRATCH, SHUTDOWN, UNFINISHED};
use crate::memory::{Charge, Memory};
use crate::rundir::{Handoff, Held, RunDir};
use crate::shared::Shared;
use crate::sys::{Interest, Ready, Sys};
use crate::table::Table;
use crate::target::Boot;
use crate::wire::Farewell;
use arrive::Newcomer;
use core::time::Duration;
use deliver::Outbox;
use events::Answering;
use log::{info, warn};
use posts::Post;

/// The daemon.
pub struct Server<S: Sys> {
    shared: Shared<S>,
    run: RunDir,
    boot: Boot,
    /// Connections of this start.
    count: u64,
    started: Duration,
    /// None: shutting down.
    handoff: Option<Handoff<S::Fd>>,
    /// What its records are read into, one buffer for all: of one this large that came and went,
    /// musl would keep seven.
    record: Vec<u8>,
    listeners: Vec<S::Fd>,
    /// The run folder's lock, for as long as we live.
    lock: S::Fd,
    /// On `--listen`, before their request head is complete.
    newcomers: Vec<Option<Newcomer<S::Fd>>>,
    /// By POST, before their body is complete.
    posts: Vec<Option<Post<S::Fd>>>,
    clients: Table<u64, Client<S::Fd>>,
    /// Connections with only their last bytes to write.
    farewells: Vec<Farewell<S::Fd>>,
    jobs: Vec<Job<S::Fd>>,
    /// Replies that are being carried out.
    answers: Vec<Answering>,
    outbox: Outbox<S::Fd>,
    /// No descriptor could be had: newcomers wait until then.
    admit_again: Duration,
    /// What came last from the history is not written yet.
    catching_up: bool,
    /// A program could not be started: none is before a job has ended.
    out_of_means: bool,
    /// When a shutdown ends.
    stopping: Option<Duration>,
    status: status::Writer,
    upkeep: upkeep::Upkeep,
}

/// Whose message has not come in whole.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Late {
    Client(u64),
    Post(usize),
}

/// What a place in the poll set belongs to.
#[derive(Clone, Copy)]
enum Token {
    Handoff,
    Listener(usize),
    Newcomer(usize),
    Post(usize),
    Client(u64),
    Farewell(usize),
    Outbox,
    Stdin(usize),
    Stdout(usize),
    Stderr(usize),
}

impl<S: Sys> Server<S> {
    fn new(sys: S, config: Config, run: RunDir, held: Held<S>, listeners: Vec<S::Fd>) -> Server<S> {
        let seed = sys.seed();
        let boot = Boot(u64::from_le_bytes(core::array::from_fn(|i| seed[i])));
        // Not of the same bytes as what everybody may know.
        let keys = Keys::new(sha1_smol::Sha1::from(seed).digest().bytes());
        let history = History::new(boot, config.history);
        let now = sys.now();
        let memory = Memory::new(config.bounds());
        Server {
            status: status::Writer::new(config.status),
            upkeep: upkeep::Upkeep::new(now),
            shared: Shared {
                sys,
                config,
                memory,
                history,
                keys,
                counters: Counters::default(),
                now,
                scratch: Box::new([0; SCRATCH]),
                tickets: 0,
            },
            run,
            boot,
            count: 0,
            started: now,
            handoff: Some(held.handoff),
            record: vec![0; HANDOFF_RECORD],
            listeners,
            lock: held.lock,
            newcomers: Vec::new(),
            posts: Vec::new(),
            clients: Table::new(),
            farewells: Vec::new(),
            jobs: Vec::new(),
            answers: Vec::new(),
            outbox: Outbox::new(held.outbox),
            admit_again: Duration::ZERO,
            catching_up: false,
            out_of_means: false,
            stopping: None,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let mut ready = Vec::new();
        while !self.ended() {
            let watched = self.build_poll_set();
            let due = self.next_due();
            let deadline = due.into_iter().chain(self.status.due());
            // A shutdown puts nothing back.
            let upkeep = Some(self.upkeep.due()).filter(|_| self.stopping.is_none());
            let unwritten = Some(self.shared.now).filter(|_| self.catching_up);
            let deadline = deadline.chain(upkeep).chain(unwritten).min();
            let signals = self.shared.sys.wait(deadline, &mut ready);
            let signals = signals.map_err(|e| format!("waiting failed: {e}"))?;
            self.shared.now = self.shared.sys.now();
            let expires = due.is_some_and(|at| at <= self.shared.now);
            let active = !ready.is_empty() || signals.child || expires || self.catching_up;

            for ready in ready.drain(..) {
                self.dispatch(watched[ready.token], ready);
            }
            if signals.child {
                self.collect_jobs();
            }
            if signals.stop {
                self.stop();
            }
            self.expire();
            // What one of these frees another may wait for, and no descriptor would tell.
            loop {
                self.make_room();
                self.flush();
                self.sweep();
                let settled = self.settle();
                let answered = self.launch();
                if !settled && !answered {
                    break;
                }
            }
            self.look_after_folder();
            if self.shared.memory.ebbed() {
                self.shared.sys.give_memory_back();
            }
            self.write_status(active, signals.status);
        }
        self.leave();
        Ok(())
    }

    fn build_poll_set(&mut self) -> Vec<Token> {
        let mut watched = Vec::new();
        let mut token = |t| {
            watched.push(t);
            watched.len() - 1
        };
        let (admitting, listening) = (self.admitting(), self.listening());
        if !admitting {
            self.farewells.iter_mut().for_each(Farewell::hurry);
        }
        let sys = &mut self.shared.sys;
        if let Some(fifo) = self.outbox.wants_reading() {
            sys.watch(fifo, token(Token::Outbox), Interest::Read);
        }
        for (number, client) in self.clients.iter() {
            client.watch(sys, token(Token::Client(number)));
        }
        for (i, farewell) in self.farewells.iter().enumerate() {
            farewell.watch(sys, token(Token::Farewell(i)));
        }
        for (i, job) in self.jobs.iter().enumerate() {
            for (pipe, t, interest) in [
                (job.stdin(), Token::Stdin(i), Interest::Write),
                (job.stdout(), Token::Stdout(i), Interest::Read),
                (job.stderr(), Token::Stderr(i), Interest::Read),
            ] {
                if let Some(pipe) = pipe {
                    sys.watch(pipe, token(t), interest);
                }
            }
        }
        // Last: whoever left before makes room for them.
        for (i, newcomer) in self.newcomers.iter().enumerate() {
            if let Some(newcomer) = newcomer {
                newcomer.watch(sys, token(Token::Newcomer(i)));
            }
        }
        for (i, post) in self.posts.iter().enumerate() {
            if let Some(post) = post {
                post.watch(sys, token(Token::Post(i)));
            }
        }
        if let Some(handoff) = self.handoff.as_ref().filter(|_| admitting) {
            sys.watch(&handoff.socket, token(Token::Handoff), Interest::Read);
        }
        for (i, listener) in self.listeners.iter().enumerate().filter(|_| listening) {
            sys.watch(listener, token(Token::Listener(i)), Interest::Read);
        }
        watched
    }

    /// The next moment at which something is due without anything happening, beside
    /// status.json and a look at the run folder.
    fn next_due(&self) -> Option<Duration> {
        let config = &self.shared.config;
        let posts = self.posts.iter().flatten().map(Post::deadline);
        let clients = self
            .clients
            .values()
            .filter_map(|client| client.deadline(config));
        let farewells = self.farewells.iter().map(Farewell::deadline);
        let jobs = self.jobs.iter().filter_map(Job::deadline);
        let paused = Some(self.admit_again).filter(|at| *at > self.shared.now);
        posts
            .chain(clients)
            .chain(farewells)
            .chain(jobs)
            .chain(paused)
            .chain(self.head_due().map(|(at, _)| at))
            .chain(self.stopping)
            .min()
    }

    fn dispatch(&mut self, token: Token, ready: Ready) {
        let shared = &mut self.shared;
        let (sys, scratch) = (&shared.sys, &mut shared.scratch[..]);
        match token {
            Token::Handoff => drop(self.take_handoffs()),
            Token::Listener(i) => self.take_connections(i),
            Token::Newcomer(i) => self.hear_newcomer(i),
            Token::Post(i) => self.hear_post(i),
            Token::Client(number) => {
                if let Some(client) = self.clients.get_mut(number) {
                    client.ready(ready, shared);
                }
            }
            Token::Farewell(i) => self.farewells[i].ready(),
            Token::Outbox => self.outbox.read(sys, scratch),
            Token::Stdin(i) => self.jobs[i].feed(sys),
            Token::Stdout(i) => {
                self.jobs[i].read_stdout(sys, scratch, READS_PER_TURN);
            }
            Token::Stderr(i) => self.jobs[i].read_stderr(sys, scratch, READS_PER_TURN),
        }
    }

    fn expire(&mut self) {
        let now = self.shared.now;
        for job in &mut self.jobs {
            job.expire(&self.shared.sys, now);
        }
        for client in self.clients.values_mut() {
            client.expire(&mut self.shared);
        }
        self.expire_newcomer();
        self.expire_posts();
    }

    /// Carries out outbox lines and replies until nothing moves, and notes who is in the way
    /// of the rest. True: something was carried out.
    fn settle(&mut self) -> bool {
        let mut settled = false;
        self.catching_up = false;
        loop {
            self.clients.values_mut().for_each(Client::unblock);
            let outbox = self.carry_out_outbox();
            let answers = self.carry_out_answers();
            // Last: it leaves no room in a queue, and others may be waiting for that.
            let past = self.catch_up();
            if !outbox && !answers && !past {
                break;
            }
            // What comes from the history is written in the next turn: whoever takes it as fast as
            // it is there would keep all others waiting to its end.
            self.catching_up |= past;
            settled |= outbox || answers;
        }
        // Behind a line that waits there may be one for each of those who are full: the last
        // writer must not wait for them one after the other.
        let standing = self.outbox.wants_reading().is_none();
        for client in self.clients.values_mut() {
            client.held_up(standing, self.shared.now);
        }
        settled
    }

    /// Messages on their way in that found no memory get it from whoever is late with his, or,
    /// where nobody is, are those who have to go.
    fn make_room(&mut self) {
        let unpaid = |clients: &Table<u64, Client<_>>| {
            let mut unpaid = clients.iter().filter(|(_, client)| client.unpaid());
            unpaid.next().map(|(number, _)| number)
        };
        while let Some(number) = unpaid(&self.clients) {
            if let Some(client) = self.clients.get_mut(number) {
                client.resume(&mut self.shared);
            }
            if unpaid(&self.clients) == Some(number) && !self.give_way() {
                if let Some(client) = self.clients.get_mut(number) {
                    client.give_way(&mut self.shared);
                }
            }
        }
    }

    /// Memory for a newcomer, likewise.
    fn charge_inbound(&mut self, bytes: usize) -> Option<Charge> {
        loop {
            let charge = self.shared.memory.inbound(bytes);
            if charge.is_some() || !self.give_way() {
                return charge;
            }
        }
    }

    /// Whoever has not finished a message for the longest gives its memory up: a few who send a
    /// little now and then must not shut out all others. Before all who are in go those who have
    /// not even finished a head, however new. False: nobody is that late.
    fn give_way(&mut self) -> bool {
        let late = self.shared.now.saturating_sub(UNFINISHED);
        let holds = |newcomer: &Option<Newcomer<_>>| newcomer.as_ref().is_some_and(Newcomer::holds);
        if let Some(i) = self.newcomers.iter().position(holds) {
            self.refuse_newcomer(i, &refusals::no_memory());
            return true;
        }
        let clients = self.clients.iter();
        let clients =
            clients.filter_map(|(n, client)| Some((client.unfinished()?, Late::Client(n))));
        let posts = self.posts.iter().enumerate();
        let posts = posts.filter_map(|(i, post)| Some((post.as_ref()?.since(), Late::Post(i))));
        let first = clients.chain(posts).min();
        match first.filter(|(since, _)| *since <= late) {
            Some((_, Late::Client(number))) => {
                if let Some(client) = self.clients.get_mut(number) {
                    client.give_way(&mut self.shared);
                }
                true
            }
            Some((_, Late::Post(i))) => {
                self.refuse_post(i, &refusals::no_memory());
                true
            }
            None => false,
        }
    }

    /// What this turn has put into queues goes out in this turn.
    fn flush(&mut self) {
        for client in self.clients.values_mut() {
            client.flush(&mut self.shared);
        }
    }

    fn sweep(&mut self) {
        let shared = &mut self.shared;
        let parted = self.clients.values_mut().flat_map(Client::farewells);
        self.farewells.extend(parted);
        for farewell in &mut self.farewells {
            farewell.step(&shared.sys, &mut shared.scratch[..], shared.now);
            if farewell.over() {
                shared.counters.bytes_out += farewell.written() as u64;
                shared.counters.messages_dropped += farewell.unsent() as u64;
            }
        }
        self.farewells.retain(|farewell| !farewell.over());
        self.clients.retain(|client| !client.finished());
        self.newcomers.retain(Option::is_some);
        self.posts.retain(Option::is_some);
    }

    // ---- The end

    /// Stops taking, and closes everyone with 1001.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let end = self.shared.now + SHUTDOWN;
        self.stopping = Some(end);
        info!("shutting down");
        // No one can come any more; those who wait in the kernel's queues get an answer, as far
        // as there are descriptors for them.
        if self.has_folder() {
            self.run.shut(&self.shared.sys);
        }
        self.take_handoffs();
        for i in 0..self.listeners.len() {
            self.take_connections(i);
        }
        self.handoff = None;
        self.listeners.clear();
        let refusal = refusals::stopping();
        for i in 0..self.newcomers.len() {
            self.refuse_newcomer(i, &refusal);
        }
        for i in 0..self.posts.len() {
            self.refuse_post(i, &refusal);
        }
        for client in self.clients.values_mut() {
            if client.unstarted() {
                self.shared.counters.refused(refusal.cause);
                client.refuse(refusal.answer(), None, &mut self.shared);
            } else {
                client.close(
                    &Close::new(1001, "going away"),
                    By::Server,
                    &mut self.shared,
                );
                client.tell_nobody(&mut self.shared);
            }
        }
        for job in &mut self.jobs {
            job.hurry(end.saturating_sub(KILL_GRACE));
        }
    }

    fn ended(&self) -> bool {
        let Some(end) = self.stopping else {
            return false;
        };
        let idle = self.clients.is_empty() && self.farewells.is_empty() && self.jobs.is_empty();
        idle || end <= self.shared.now
    }

    fn leave(&mut self) {
        for job in &mut self.jobs {
            // Not waited for: init reaps what we leave.
            job.end(&self.shared.sys, Fault::Timeout);
        }
        self.fail_rest();
        self.sweep();
        let left = self
            .clients
            .values()
            .filter(|client| client.owes_close())
            .count();
        if left > 0 {
            self.shared.counters.closes_not_run += left as u64;
            let seconds = SHUTDOWN.as_secs();
            warn!("{left} close events not run: the {seconds} s of a shutdown are over");
        }
        let clients = self.clients.values().map(Client::unsent);
        let unsent = clients.chain(self.farewells.iter().map(Farewell::unsent));
        self.shared.counters.messages_dropped += unsent.sum::<usize>() as u64;
        let sys = &self.shared.sys;
        self.clients.values().for_each(|client| client.abandon(sys));
        self.farewells
            .iter()
            .for_each(|farewell| farewell.abandon(sys));
        self.write_status(true, true);
        if self.has_folder() {
            self.run.leave(&self.shared.sys);
        }
    }
}
