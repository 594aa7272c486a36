//! The world around the daemon: the operating system, those who act in it, and the model that
//! watches. It moves while the daemon waits.

use crate::browser::Browser;
use crate::child::Process;
use crate::lines::Names;
use crate::model::{Connection, Model, Rules};
use crate::options::{HANDLERS, arguments, config};
use crate::os::fault::Faults;
use crate::os::file::Node;
use crate::os::{Os, SECOND, Time};
use crate::owners::Owners;
use crate::page::Page;
use crate::plan::{Act, Come, Order, Plan, Setting, via, way};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::writer::Writer;
use std::collections::{BTreeMap, VecDeque};
use ws2cgi::config::Config;
use ws2cgi::limits;
use ws2cgi::sys::Interest;

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
    pub acts: Vec<Vec<Act>>,
    pub orders: VecDeque<Order>,
    pub order_at: Time,
    pub resting_since: Option<Time>,
    /// Nothing of those who left is seen any more.
    pub left_since: Option<Time>,
    pub checking: bool,
    pub fifo: Option<usize>,
    pub config: Config,
    /// Descriptors that were open when it waited first: what it holds for nobody.
    pub held: Option<usize>,
    pub watched: Vec<(usize, usize, Interest)>,
    pub calls: u32,
    /// Time that jumps have taken since the shutdown began.
    pub jumped: Time,
    pub idle_turns: usize,
    pub progress: u64,
    pub excused: bool,
    pub seen: Seen,
}

pub fn micros(duration: core::time::Duration) -> Time {
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
            held: None,
            watched: Vec::new(),
            calls: 0,
            jumped: 0,
            idle_turns: 0,
            progress: 0,
            excused: false,
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

    // ---- Those who act

    pub fn act(&mut self) -> bool {
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

    pub fn next_time(&self) -> Option<Time> {
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
}

/// What unwinds the daemon once something is wrong.
pub struct Stopped;
