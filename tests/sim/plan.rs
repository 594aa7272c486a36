//! What is to happen: the options of the daemon, who does what when, and which faults the
//! operating system has. A plan and nothing else decides a run.

use crate::words::words;
use std::fmt;

words! {
    /// Who comes as a browser, and how.
    Come {
        /// `way`: see [`way`]. `at`: ms. `room`: bytes of a socket buffer, 0: many. `latency`:
        /// µs until it reads what has come. `piece`: bytes a write, 0: all; `gap`: µs between.
        /// `via`: see [`via`]; `named`: by a program whose name does not begin with nph-.
        /// `since`: see [`since`].
        Browser "browser" (
            way, route, at, room, latency, piece, gap, eager, deaf, rude, head, offer, linger,
            open, close, via, named, since
        ),
    }
}

/// Ways to the daemon.
pub mod way {
    pub const HANDOFF_TCP: u32 = 0;
    pub const HANDOFF_UNIX: u32 = 1;
    pub const HANDOFF_PIPES: u32 = 2;
    pub const LISTEN_TCP: u32 = 3;
    pub const LISTEN_UNIX: u32 = 4;
}

/// How it speaks with the daemon once it is there.
pub mod via {
    pub const WEBSOCKET: u32 = 0;
    /// The subprotocol `ws2cgi1`.
    pub const MARKED: u32 = 1;
    /// An event stream, `?via=sse`.
    pub const EVENTS: u32 = 2;
    /// The same by its Accept field.
    pub const ACCEPT: u32 = 3;
    /// Polls, `?via=poll`.
    pub const POLLS: u32 = 4;
    /// Polls for all that waits.
    pub const BATCHES: u32 = 5;
    /// Polls of a page that knows nothing of us, and has a cookie.
    pub const OLD: u32 = 6;
    /// Nothing but POSTs.
    pub const POSTS: u32 = 7;
    pub const KINDS: u32 = 8;
}

/// Where in the history a page begins.
pub mod since {
    pub const NOTHING: u32 = 0;
    /// The newest mark it has seen.
    pub const NEWEST: u32 = 1;
    /// The first.
    pub const FIRST: u32 = 2;
    /// What is no mark.
    pub const GARBAGE: u32 = 3;
    /// A mark of another start of the daemon's.
    pub const FOREIGN: u32 = 4;
    pub const KINDS: u32 = 5;

    /// The mark, of those that a page has seen.
    pub fn mark(kind: u32, seen: &[String]) -> Option<String> {
        match kind {
            NEWEST => seen.last().cloned(),
            FIRST => seen.first().cloned(),
            GARBAGE => Some("yesterday".to_owned()),
            FOREIGN => Some("bbbbbbbbbbbbb-3".to_owned()),
            _ => None,
        }
    }
}

/// To whom a POST goes.
pub mod post {
    pub const OWN: u32 = 0;
    pub const WRONG_KEY: u32 = 1;
    /// A connection that never was.
    pub const GONE: u32 = 2;
    /// No id: an event on its own.
    pub const ALONE: u32 = 3;
    /// What is wrong with it: nothing; it never ends; it ends too soon; it is too long for the
    /// daemon; it is not UTF-8; more comes than it says; it leaves before the answer.
    pub const WHOLE: u32 = 0;
    pub const ENDLESS: u32 = 1;
    pub const CUT: u32 = 2;
    pub const TOO_LONG: u32 = 3;
    pub const UTF8: u32 = 4;
    pub const MORE: u32 = 5;
    pub const LEAVES: u32 = 6;
    pub const FAULTS: u32 = 7;
}

/// Kinds of request heads.
pub mod head {
    pub const GOOD: u32 = 0;
    pub const VERSION: u32 = 1;
    pub const KEY: u32 = 2;
    pub const UPGRADE: u32 = 3;
    pub const ORIGIN: u32 = 4;
    pub const METHOD: u32 = 5;
    pub const NO_HOST: u32 = 6;
    /// No request at all; a record that is none.
    pub const GARBAGE: u32 = 7;
    /// Never whole; a record that is cut off.
    pub const CUT: u32 = 8;
    pub const KINDS: u32 = 9;
}

words! {
    /// What a browser does once it has its 101, or its page where it has none.
    Browse {
        Text "text" (size, act),
        Binary "binary" (size, act),
        /// `ping`: a ping between the pieces.
        Fragments "fragments" (size, pieces, ping, act),
        Ping "ping" (size),
        Pong "pong" (size),
        /// Waits for so many messages in all, at most so many ms.
        Await "await" (count, ms),
        Wait "wait" (ms),
        /// Reads nothing for so long; 0: never again.
        Stall "stall" (ms),
        /// `code` 0: without one.
        Close "close" (code, reason),
        /// Breaks the protocol: see [`wrong`].
        Wrong "wrong" (kind),
        HalfClose "half-close" (),
        Vanish "vanish" (),
        Reset "reset" (),
        /// A POST: see [`post`]. `number`: 1: the next, 2: one that was there before.
        Post "post" (size, act, binary, to, fault, number),
        /// Comes again: see [`since`].
        Again "again" (since),
        /// A second poll while one waits; another window's, where pages know nothing of us.
        Twice "twice" (),
        /// Its polls wait no longer than so many seconds, less one; 0: as long as they may.
        Patience "patience" (secs),
    }
}

/// Ways to break the protocol.
pub mod wrong {
    pub const UNMASKED: u32 = 0;
    pub const RESERVED_BIT: u32 = 1;
    pub const OPCODE: u32 = 2;
    pub const CONTINUATION: u32 = 3;
    pub const LONG_PING: u32 = 4;
    pub const CLOSE_CODE: u32 = 5;
    pub const UTF8: u32 = 6;
    pub const TOO_BIG: u32 = 7;
    pub const KINDS: u32 = 8;

    /// The code that it is closed with.
    pub fn code(kind: u32) -> u16 {
        match kind {
            UTF8 => 1007,
            TOO_BIG => 1009,
            _ => 1002,
        }
    }
}

words! {
    /// What an event program does.
    Act {
        /// Reads all of its stdin.
        Read "read" (),
        ReadSome "read-some" (size),
        CloseStdin "close-stdin" (),
        Sleep "sleep" (ms),
        /// `to`, `join`, `leave`: see [`target`], less one room each, 0: none. `piece`: bytes a
        /// write, 0: all. `protocol`: 1: one that was offered, if any was; 2: another. `fields`:
        /// so many more in the head.
        Reply "reply" (
            to, join, leave, state, close, kind, size, status, piece, protocol, fields
        ),
        /// Output that is no reply.
        Malformed "malformed" (kind),
        Flood "flood" (kilobytes),
        Complain "complain" (size),
        Line "line" (verb, target, size),
        CloseStdout "close-stdout" (),
        IgnoreTerm "ignore-term" (),
        /// A process that holds stdout for so long. `away`: in a group of its own.
        Grandchild "grandchild" (ms, away),
        Exit "exit" (code),
        Die "die" (signal),
        Hang "hang" (),
    }
}

words! {
    /// What a program beside the events does with the outbox.
    Write {
        Wait "wait" (ms),
        /// `verb`: see [`verb`].
        Line "line" (verb, target, size),
        /// Many of one kind.
        Burst "burst" (count, verb, target, size),
        /// A line in two writes.
        Split "split" (verb, target, size, ms),
    }
}

/// Lines of the outbox.
pub mod verb {
    pub const TEXT: u32 = 0;
    pub const TEXT64: u32 = 1;
    pub const BINARY: u32 = 2;
    pub const TEXT_FILE: u32 = 3;
    pub const BINARY_FILE: u32 = 4;
    pub const JOIN: u32 = 5;
    pub const LEAVE: u32 = 6;
    pub const CLOSE: u32 = 7;
    pub const BAD: u32 = 8;
    pub const COMMENT: u32 = 9;
    pub const TOO_LONG: u32 = 10;
    /// A spool file that must not be sent: missing, too large, of two names, a link.
    pub const BAD_FILE: u32 = 11;
    pub const KINDS: u32 = 12;
}

/// Targets.
pub mod target {
    pub const NONE: u32 = 0;
    pub const SELF: u32 = 1;
    pub const ALL: u32 = 2;
    /// And the next three.
    pub const ROOM: u32 = 3;
    pub const ROOMS: u32 = 4;
    /// And the next.
    pub const ROUTE: u32 = 7;
    /// A connection that never was.
    pub const GONE: u32 = 9;
    /// Of browser 0, and so on.
    pub const ID: u32 = 10;
    /// Added: all but self.
    pub const NOT_SELF: u32 = 100;
}

words! {
    /// What the board's owner does.
    Order {
        Wait "wait" (ms),
        Status "status" (),
        /// All browsers leave; later nothing may be left of them.
        Rest "rest" (),
        Stop "stop" (),
    }
}

words! {
    /// An option of the daemon.
    Setting {
        Jobs "jobs" (n),
        Connections "max-connections" (n),
        Message "max-message" (bytes),
        Reply "max-reply" (bytes),
        Queue "queue" (bytes),
        /// Above the least that is accepted.
        Memory "memory" (more),
        EventTimeout "event-timeout" (secs),
        SlowTimeout "slow-timeout" (secs),
        Ping "ping" (secs),
        PollWait "poll-wait" (secs),
        History "history" (bytes),
        Delay "upgrade-delay" (ms),
        CloseOnError "close-on-error" (),
        StatusEvery "status" (secs),
        /// Descriptors above the least that is accepted.
        Descriptors "descriptors" (more),
    }
}

words! {
    /// A fault of the operating system, and in how many of 1000 calls it strikes.
    Fault {
        ShortRead "short-read" (rate),
        ShortWrite "short-write" (rate),
        /// A wait says ready, and it is not.
        Spurious "spurious" (rate),
        /// A socket takes nothing for a while.
        NoBuffers "no-buffers" (rate),
        Reset "reset" (rate),
        /// No descriptor can be had for a while.
        NoDescriptors "no-descriptors" (rate),
        /// The descriptors of a datagram are gone.
        LostDescriptors "lost-descriptors" (rate),
        NoClone "no-clone" (rate),
        /// accept: its peer has gone.
        Aborted "aborted" (rate),
        /// A wait that finds no memory.
        EmptyTurn "empty-turn" (rate),
        /// Time passes in a wait, as for a process that was stopped.
        Jump "jump" (rate),
        /// Each call takes its time.
        Slow "slow" (rate),
        DiskFull "disk-full" (rate),
        /// A file of the spool folder can't be read.
        BadDisk "bad-disk" (rate),
        /// A pipe of one page, as users get who have many.
        SmallPipe "small-pipe" (rate),
    }
}

/// A browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    pub come: Come,
    pub steps: Vec<Browse>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What all other chance follows from.
    pub noise: u64,
    pub settings: Vec<Setting>,
    pub faults: Vec<Fault>,
    /// What programs do; browsers' steps name them by number.
    pub acts: Vec<Vec<Act>>,
    pub browsers: Vec<Browser>,
    pub writers: Vec<Vec<Write>>,
    pub orders: Vec<Order>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "noise {}", self.noise)?;
        for setting in &self.settings {
            writeln!(f, "setting {setting}")?;
        }
        for fault in &self.faults {
            writeln!(f, "fault {fault}")?;
        }
        fn steps<T: fmt::Display>(f: &mut fmt::Formatter, steps: &[T]) -> fmt::Result {
            steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
        }
        for (i, act) in self.acts.iter().enumerate() {
            writeln!(f, "act {i}")?;
            steps(f, act)?;
        }
        for browser in &self.browsers {
            writeln!(f, "{}", browser.come)?;
            steps(f, &browser.steps)?;
        }
        for writer in &self.writers {
            writeln!(f, "writer")?;
            steps(f, writer)?;
        }
        writeln!(f, "owner")?;
        steps(f, &self.orders)
    }
}

impl Plan {
    /// Reads what was printed. Lines that begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Plan, String> {
        let mut plan = Plan::default();
        let mut section = "";
        for line in text.lines() {
            let words = line.trim();
            if words.is_empty() || words.starts_with('#') {
                continue;
            }
            let wrong = || format!("no line of a plan: {line}");
            if line.starts_with(' ') {
                let plan = &mut plan;
                match section {
                    "act" => push(plan.acts.last_mut(), Act::parse(words)),
                    "browser" => push(
                        plan.browsers.last_mut().map(|b| &mut b.steps),
                        Browse::parse(words),
                    ),
                    "writer" => push(plan.writers.last_mut(), Write::parse(words)),
                    "owner" => push(Some(&mut plan.orders), Order::parse(words)),
                    _ => None,
                }
                .ok_or_else(wrong)?;
                continue;
            }
            let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
            section = first;
            match first {
                "noise" => plan.noise = rest.parse().map_err(|_| wrong())?,
                "setting" => plan.settings.push(Setting::parse(rest).ok_or_else(wrong)?),
                "fault" => plan.faults.push(Fault::parse(rest).ok_or_else(wrong)?),
                "act" => plan.acts.push(Vec::new()),
                "browser" => plan.browsers.push(Browser {
                    come: Come::parse(words).ok_or_else(wrong)?,
                    steps: Vec::new(),
                }),
                "writer" => plan.writers.push(Vec::new()),
                "owner" => {}
                _ => return Err(wrong()),
            }
        }
        Ok(plan)
    }
}

fn push<T>(list: Option<&mut Vec<T>>, item: Option<T>) -> Option<()> {
    list?.push(item?);
    Some(())
}
