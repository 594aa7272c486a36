//! The daemon's command line.

use crate::frame::Form;
use crate::handshake::{Origin, Origins};
use crate::limits::{self, CONNECTION_CHARGE, OUTBOX_LINE, REPLY_HEAD};
use crate::memory::Bounds;
use crate::sys::Address;
use core::time::Duration;
use lexopt::prelude::*;
use std::ffi::OsString;

/// Where the daemon and the small programs meet unless told otherwise.
pub const DEFAULT_RUN: &str = "/var/run/ws2cgi";

/// The options, checked. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--handlers`
    pub handlers: String,
    /// `--run`
    pub run: String,
    /// `--listen`
    pub listen: Vec<Address>,
    /// `--trust-forwarded`
    pub trust_forwarded: bool,
    /// `--origin`
    pub origins: Origins,
    /// `--max-connections`
    pub max_connections: usize,
    /// `--jobs`
    pub jobs: usize,
    /// `--max-message`
    pub max_message: usize,
    /// `--max-reply`
    pub max_reply: usize,
    /// `--queue`
    pub queue: usize,
    /// `--memory`; 0: computed
    pub memory: usize,
    /// `--event-timeout`
    pub event_timeout: Duration,
    /// `--slow-timeout`
    pub slow_timeout: Duration,
    /// `--poll-wait`
    pub poll_wait: Duration,
    /// `--history`
    pub history: usize,
    /// `--ping`; None: never
    pub ping: Option<Duration>,
    /// `--upgrade-delay`
    pub upgrade_delay: Duration,
    /// `--close-on-error`
    pub close_on_error: bool,
    /// `--user`
    pub user: Option<String>,
    /// `--group`
    pub group: Option<String>,
    /// `--ready-fd`
    pub ready_fd: Option<u32>,
    /// `--status`; None: on SIGUSR1 only
    pub status: Option<Duration>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Wish {
    /// Serve.
    Serve(Box<Config>),
    /// `--help`
    Help,
    /// `--version`
    Version,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            handlers: String::new(),
            run: DEFAULT_RUN.to_owned(),
            listen: Vec::new(),
            trust_forwarded: false,
            origins: Origins::default(),
            max_connections: 64,
            jobs: 4,
            max_message: 65536,
            max_reply: 65536,
            queue: 65536,
            memory: 0,
            event_timeout: Duration::from_secs(10),
            slow_timeout: Duration::from_secs(5),
            poll_wait: Duration::from_secs(25),
            history: 0,
            ping: Some(Duration::from_secs(25)),
            upgrade_delay: Duration::ZERO,
            close_on_error: false,
            user: None,
            group: None,
            ready_fd: None,
            status: None,
        }
    }
}

/// Printed by `--help`.
pub const HELP: &str = "\
ws2cgi: WebSockets for web servers that only know CGI

usage: ws2cgi --handlers DIR [--run DIR] [options]
       ws2cgi NAME ...            be ws-send, ws-push, ws-post or nph-NAME

  --handlers DIR         the event programs
  --run DIR              FIFO, sockets, status [/var/run/ws2cgi]
  --listen ADDR:PORT     take requests directly; also unix:PATH; may repeat
  --trust-forwarded      believe X-Forwarded-For and -Proto on --listen
  --origin ORIGIN        pages that may connect beside our own; also any, null
  --max-connections N    [64]
  --jobs N               programs at once [4]
  --max-message BYTES    of one message from a browser [65536]
  --max-reply BYTES      of one message to browsers [65536]
  --queue BYTES          waiting for one browser [65536]
  --memory BYTES         all buffers together [computed, logged at start]
  --event-timeout SECS   for one program [10]
  --slow-timeout SECS    that a full queue may hold others up [5]
  --poll-wait SECS       a long poll is held at most [25]
  --history BYTES        of messages, kept for those who come back [0]
  --ping SECS            0: never [25]
  --upgrade-delay MS     before the 101; uClinux boa: 40 [0]
  --close-on-error       a failed message event closes with 1011
  --user NAME, --group NAME
                         drop root once the run folder stands
  --ready-fd N           write a newline there when ready, then close it
  --status SECS          refresh status.json at most that often [0: on SIGUSR1]
  --help, --version

RUST_LOG=info shows more, RUST_LOG=error less. See ws2cgi(8).
";

impl Config {
    /// Reads the arguments, without the program's name. The error is one line.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
        let mut config = Config::default();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next().map_err(complaint)? {
            let name = match arg {
                Long("help") | Short('h') => return Ok(Wish::Help),
                Long("version") | Short('V') => return Ok(Wish::Version),
                Long(name) => name.to_owned(),
                other => {
                    return Err(format!(
                        "{} (--help lists the options)",
                        complaint(other.unexpected())
                    ));
                }
            };
            config
                .option(&name, &mut parser)
                .map_err(|e| format!("--{name}: {e}"))?;
        }
        config.check()?;
        Ok(Wish::Serve(Box::new(config)))
    }

    fn option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<(), String> {
        let mut value = || {
            let value = parser.value().map_err(|_| "needs a value".to_owned())?;
            // An unset variable of a script's.
            if value.is_empty() {
                return Err("needs a value".to_owned());
            }
            value.into_string().map_err(|_| "is not UTF-8".to_owned())
        };
        match name {
            "handlers" => self.handlers = value()?,
            "run" => self.run = value()?,
            "listen" => self.listen.push(address(&value()?)?),
            "trust-forwarded" => self.trust_forwarded = true,
            "origin" => match value()?.as_str() {
                "any" => self.origins.any = true,
                "null" => self.origins.null = true,
                text => {
                    let origin = Origin::parse(text);
                    let help = || format!("'{text}' is no origin such as http://board.local:8080");
                    self.origins.also.push(origin.ok_or_else(help)?);
                }
            },
            "max-connections" => self.max_connections = number(&value()?, 1, 1 << 20)?,
            "jobs" => self.jobs = number(&value()?, 1, 1024)?,
            "max-message" => self.max_message = number(&value()?, 1, 1 << 30)?,
            "max-reply" => self.max_reply = number(&value()?, 1, 1 << 30)?,
            "queue" => self.queue = number(&value()?, 1, 1 << 30)?,
            "memory" => self.memory = number(&value()?, 1, usize::MAX >> 1)?,
            "event-timeout" => self.event_timeout = seconds(&value()?, 1)?,
            "poll-wait" => self.poll_wait = seconds(&value()?, 1)?,
            "history" => self.history = number(&value()?, 0, 1 << 30)?,
            "slow-timeout" => self.slow_timeout = seconds(&value()?, 0)?,
            "ping" => self.ping = Some(seconds(&value()?, 0)?).filter(|p| !p.is_zero()),
            "upgrade-delay" => {
                self.upgrade_delay = Duration::from_millis(number(&value()?, 0, 60_000)? as u64);
            }
            "close-on-error" => self.close_on_error = true,
            "user" => self.user = Some(value()?),
            "group" => self.group = Some(value()?),
            // It is closed, and 0 to 2 must never be free: a client could land there.
            "ready-fd" => self.ready_fd = Some(number(&value()?, 3, 1 << 20)? as u32),
            "status" => self.status = Some(seconds(&value()?, 0)?).filter(|p| !p.is_zero()),
            _ => return Err("no such option (--help lists them)".to_owned()),
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        if self.handlers.is_empty() {
            return Err("--handlers DIR is needed: the folder of the event programs".to_owned());
        }
        if self.slow_timeout >= self.event_timeout {
            // A program that writes to the outbox would die waiting for a slow browser.
            return Err("--slow-timeout must be less than --event-timeout".to_owned());
        }
        let (need, floor) = (self.computed_memory(), self.least_memory());
        match self.memory {
            0 => self.memory = need,
            given if given < floor => {
                return Err(format!(
                    "--memory {given} is too little: {} jobs and one message each way take \
                     {floor} (lower --jobs, --max-message, --max-reply or --queue)",
                    self.jobs
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// How `--memory` is shared out.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            all: self.memory,
            set_aside: self.set_aside(),
            for_outbound: self.for_outbound(),
            for_slots: self.for_slots(),
        }
    }

    /// In use from the start: what jobs may print, the loop's own buffers, and the history.
    fn set_aside(&self) -> usize {
        let job = REPLY_HEAD + self.max_reply + limits::STDERR_LOGGED + limits::SCRATCH;
        let loops = limits::SCRATCH + limits::HANDOFF_RECORD + 2 * OUTBOX_LINE;
        // While a message is encoded, its payload is there too.
        let encoding = self.max_reply;
        job.saturating_mul(self.jobs)
            .saturating_add(loops + encoding)
            .saturating_add(self.history)
    }

    /// What messages from browsers leave free: one message out, to all of them.
    fn for_outbound(&self) -> usize {
        let forms = Form::COUNT * limits::FORM_CHARGE;
        self.max_reply.max(OUTBOX_LINE) + limits::MESSAGE_CHARGE + forms + self.for_slots()
    }

    fn for_slots(&self) -> usize {
        self.max_connections.saturating_mul(limits::QUEUE_SLOT)
    }

    /// Less would let a message wait for ever.
    pub fn least_memory(&self) -> usize {
        let connection = CONNECTION_CHARGE + limits::HANDOFF_RECORD;
        // A message in fragments takes three times its size while it is put together.
        let message = self.max_message.saturating_mul(3);
        let one = message.saturating_add(self.for_outbound() + connection);
        self.set_aside().saturating_add(one)
    }

    /// Every connection idle, and one in eight busy with a message in and a full queue.
    fn computed_memory(&self) -> usize {
        let idle = self
            .max_connections
            .saturating_mul(CONNECTION_CHARGE + 2048);
        let busy = self.max_message.saturating_add(self.queue);
        let busy = busy.saturating_mul(self.max_connections.div_ceil(8));
        self.least_memory()
            .saturating_add(idle)
            .saturating_add(busy)
    }
}

/// What is wrong with an argument. lexopt's own words use `Debug`, which a build for small boards
/// leaves out.
pub fn complaint(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::UnexpectedArgument(word) => {
            format!("unexpected argument '{}'", word.to_string_lossy())
        }
        lexopt::Error::UnexpectedValue { option, value } => format!(
            "unexpected argument for option '{option}': '{}'",
            value.to_string_lossy()
        ),
        other => other.to_string(),
    }
}

fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("'{text}' is not a number from {least} to {most}")),
    }
}

fn seconds(text: &str, least: usize) -> Result<Duration, String> {
    number(text, least, 1_000_000).map(|s| Duration::from_secs(s as u64))
}

fn address(text: &str) -> Result<Address, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("'unix:' needs a path".to_owned()),
        Some(path) => Ok(Address::Unix(path.to_owned())),
        None => text.parse().map(Address::Tcp).map_err(|_| {
            format!("'{text}' is neither ADDR:PORT (127.0.0.1:8000, [::1]:8000) nor unix:PATH")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, String> {
        match Config::parse(line.split_whitespace().map(OsString::from))? {
            Wish::Serve(config) => Ok(*config),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn defaults_and_values() {
        let config = parse("--handlers /h --ping 0 --listen [::1]:80 --listen unix:/s").unwrap();
        assert_eq!(
            (config.jobs, config.ping, config.listen.len()),
            (4, None, 2)
        );
        assert!(
            config.memory > 1 << 20 && config.memory < 4 << 20,
            "{}",
            config.memory
        );
        assert!(HELP.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn errors_name_option_and_cure() {
        for (line, part) in [
            ("", "--handlers DIR is needed"),
            ("--handlers", "--handlers: needs a value"),
            (
                "--handlers /h --jobs 0",
                "--jobs: '0' is not a number from 1",
            ),
            ("--handlers /h --listen 80", "--listen: '80' is neither"),
            (
                "--handlers /h --origin board",
                "--origin: 'board' is no origin",
            ),
            (
                "--handlers /h --slow-timeout 10",
                "less than --event-timeout",
            ),
            ("--handlers /h --memory 1000", "--memory 1000 is too little"),
            ("--handlers /h --wat", "--wat: no such option"),
            ("--handlers /h wat", "--help lists"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
