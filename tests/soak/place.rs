//! Where the daemon runs: on this machine, native or by way of C, or on a board without an MMU.

use crate::board::Board;
use crate::harness::{
    Daemon, PATIENCE, Server, Site, Start, children, command, compile, outcome, proc_stat, ws2cgi,
};
use crate::rooms::TOKEN;
use nix::sys::socket::sockopt::{RcvBuf, TcpMaxSeg};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;

/// What the load and who measures ask of a place.
pub trait Place: Sync {
    /// How much it bears while it stays mostly idle.
    fn pace(&self) -> Pace;
    /// The longest message that its daemon takes, nearly.
    fn largest(&self) -> usize;
    /// The ways in.
    fn doors(&self) -> Vec<&Door>;
    /// The web server that has `ws-push`.
    fn pushes(&self) -> &Site;
    /// Writes a line to the outbox.
    fn line(&self, line: &str);
    /// Runs a script beside the daemon, which must succeed. `$RUN` is the run folder.
    fn shell(&self, script: &str);
    /// A fresh status.json.
    fn status(&self) -> Value;
    /// What is measured.
    fn look(&self) -> Look;
    /// What daemon and kernel have said that nobody expected.
    fn complaints(&self) -> Vec<String>;
}

/// Events are about as many as steps.
pub struct Pace {
    pub visitors: usize,
    /// Of all visitors, a second.
    pub steps: f64,
    /// To rooms, a second.
    pub lines: f64,
}

/// One look at a daemon.
pub struct Look {
    /// By name, in KB.
    pub memory: Vec<(&'static str, f64)>,
    pub descriptors: usize,
    pub children: usize,
    /// Their process ids. One that is still there at the next look was never reaped.
    pub zombies: Vec<u32>,
    /// Processor time of the daemon in seconds.
    pub seconds: f64,
}

/// A way to a daemon.
pub struct Door {
    site: Site,
    /// What stands before `/act` in the URL, or replaces the slash if it ends in `-`.
    prefix: &'static str,
    origin: Option<&'static str>,
}

impl Door {
    fn new(site: &Site, prefix: &'static str, origin: Option<&'static str>) -> Door {
        let site = Site { port: site.port };
        Door {
            site,
            prefix,
            origin,
        }
    }

    /// boa of uClinux, boa 0.94.14, and the daemon's own.
    fn all(uclinux: &Site, rc21: &Site, direct: &Site) -> [Door; 3] {
        [
            Door::new(uclinux, "/cgi-bin/nph-", Some("http://board")),
            Door::new(rc21, "/cgi-bin/nph-ws", None),
            Door::new(direct, "", None),
        ]
    }

    /// Asks for a WebSocket to `/act?open=…`.
    pub fn knock(&self, url: &str) -> TcpStream {
        let mut stream = self.site.connect();
        self.ask(&mut stream, url);
        stream
    }

    /// The same, where the kernels on the way hold little that is not read: their buffers grow
    /// with the segment's size, which on loopback is 64 KB.
    pub fn knock_narrowly(&self, url: &str) -> TcpStream {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("socket");
        setsockopt(&socket, RcvBuf, &4096).expect("SO_RCVBUF");
        setsockopt(&socket, TcpMaxSeg, &536).expect("TCP_MAXSEG");
        let to = SockaddrIn::new(127, 0, 0, 1, self.site.port);
        connect(socket.as_raw_fd(), &to).expect("connect");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        self.ask(&mut stream, url);
        stream
    }

    fn ask(&self, stream: &mut TcpStream, url: &str) {
        let url = match self.prefix.strip_suffix('-') {
            Some(_) => &url[1..],
            None => url,
        };
        let origin = self.origin.map(|origin| ("Origin", origin));
        let changes: Vec<_> = origin.into_iter().collect();
        let url = format!("{}{url}", self.prefix);
        self.site.ask_upgrade(stream, &url, &changes);
    }
}

/// Parts of what is said about that which the load does on purpose.
const EXPECTED: [&str; 4] = [
    " /act: open event failed: ",
    " /act: message event failed: ",
    ": not done within --event-timeout",
    ": too slow a reader, closed with 1013",
];

/// The loud lines with none of the expected parts.
fn unexpected(said: &str) -> Vec<String> {
    let loud = |line: &&str| {
        let starts = |with: &&str| line.starts_with(with);
        ["[", "WARN", "ERROR", "process '"].iter().any(starts)
    };
    let expected = |line: &&str| !EXPECTED.iter().any(|part| line.contains(part));
    let lines = said.lines().filter(loud).filter(expected);
    lines.map(str::to_owned).collect()
}

// ---- On this machine

/// A daemon on this machine behind two stand-ins for boa; WS2CGI_BIN is another one than cargo's.
pub struct Here {
    doors: [Door; 3],
    status: Mutex<()>,
    _servers: [Server; 2],
    daemon: Daemon,
}

/// The daemon's options, on all places; of two with the same name the later one holds.
const OPTIONS: &str = "--status 2 --slow-timeout 2 --event-timeout 15 --ping 20";

impl Here {
    /// Starts all of it.
    pub fn start() -> Here {
        let daemon = Start::default()
            .args("--listen 127.0.0.1:0 --upgrade-delay 40 --origin http://board")
            .args(OPTIONS)
            .shell("ulimit -c 0");
        let mut daemon = daemon.ready();
        daemon.quiet();
        let copy = |from: &Path, to: &str| {
            std::fs::copy(from, daemon.path("handlers").join(to)).expect("copy");
        };
        copy(&compile("cgi-bin/echo.c"), "echo");
        std::fs::write(daemon.path("run/token"), TOKEN).expect("token");
        std::fs::create_dir(daemon.path("bin")).expect("bin");
        for link in ["bin/ws-send", "cgi-bin/nph-echo", "cgi-bin/nph-act2"] {
            symlink(ws2cgi(), daemon.path(link)).expect("link");
        }
        // Hours of them are of no use.
        symlink("/dev/null", daemon.path("handlers/events")).expect("link");
        let servers = ["uclinux", "rc21"].map(|mode| Server::boa(mode, &daemon));
        let direct = Site {
            port: daemon.port("tcp"),
        };
        Here {
            doors: Door::all(&servers[0], &servers[1], &direct),
            status: Mutex::new(()),
            _servers: servers,
            daemon,
        }
    }

    fn zombies(&self) -> Vec<u32> {
        let parent = Some(self.daemon.pid().to_string());
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| proc_stat(pid, 4) == parent)
            .filter(|&pid| proc_stat(pid, 3).is_some_and(|state| state == "Z"))
            .collect()
    }
}

/// The lines `Name: 12 kB`.
fn fields(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let number = |text: &str| text.split_whitespace().next()?.parse().ok();
    lines
        .filter_map(|(name, rest)| Some((name, number(rest)?)))
        .collect()
}

impl Place for Here {
    fn pace(&self) -> Pace {
        Pace {
            visitors: 16,
            steps: 25.0,
            lines: 4.0,
        }
    }

    fn largest(&self) -> usize {
        60_000
    }

    fn doors(&self) -> Vec<&Door> {
        self.doors.iter().collect()
    }

    fn pushes(&self) -> &Site {
        &self.doors[1].site
    }

    fn line(&self, line: &str) {
        self.daemon.outbox(line);
    }

    fn shell(&self, script: &str) {
        let mut shell = command(Path::new("/bin/sh"));
        let path = self.daemon.path("bin").display().to_string();
        shell.env("PATH", format!("{path}:/usr/bin:/bin"));
        shell.env("WS2CGI_RUN", self.daemon.path("run"));
        shell.env("RUN", self.daemon.path("run"));
        let done = outcome(shell.args(["-c", script]), b"");
        assert_eq!(done, (0, String::new(), String::new()), "{script:.200}");
    }

    fn status(&self) -> Value {
        let _one = self.status.lock().unwrap_or_else(|e| e.into_inner());
        self.daemon.status()
    }

    fn look(&self) -> Look {
        let pid = self.daemon.pid();
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        let text = rollup.expect("smaps_rollup") + &status.expect("status");
        let fields = fields(&text);
        Look {
            memory: vec![
                ("RSS", fields["Rss"]),
                ("heap and stack", fields["Pss_Anon"]),
                ("VmData", fields["VmData"]),
            ],
            descriptors: self.daemon.descriptors().len(),
            children: children(pid).len(),
            zombies: self.zombies(),
            seconds: self.daemon.ticks() as f64 / 100.0,
        }
    }

    fn complaints(&self) -> Vec<String> {
        unexpected(&self.daemon.log())
    }
}

// ---- Without an MMU

/// A daemon on a board of 16 MB, in QEMU, behind the same stand-ins.
pub struct NoMmu {
    doors: [Door; 3],
    status: Mutex<()>,
    board: Board,
}

impl NoMmu {
    /// Boots it.
    pub fn boot() -> NoMmu {
        let mut board = Board::boot(16, OPTIONS);
        board.allow("");
        board.run(&format!(
            "echo {TOKEN} > /var/run/ws2cgi/token; \
             cd /home/httpd/cgi-bin; \
             for name in ws-push nph-echo nph-act2; do ln -s /bin/ws2cgi $name; done; \
             cd /usr/lib/ws-bin; ln -s act act2; ln -s /dev/null events"
        ));
        NoMmu {
            doors: Door::all(&board.uclinux, &board.rc21, &board.direct),
            status: Mutex::new(()),
            board,
        }
    }
}

/// In words of the shell alone: a command beside it would take 300 KB of what is looked at.
const LOOK: &str = "
    echo 3 > /proc/sys/vm/drop_caches
    read pid < /var/run/ws2cgi/pid
    while read name value unit; do
        case $name in MemTotal:|MemFree:) echo $name $value;; esac
    done < /proc/meminfo
    while read name value unit; do
        case $name in Mem:) echo $name $value;; esac
    done < /proc/$pid/status
    for fd in /proc/$pid/fd/*; do echo fd; done
    for stat in /proc/[0-9]*/stat; do
        state=gone parent=0
        read p name state parent rest < $stat
        [ $state != Z ] || echo zombie $p
        [ $parent != $pid ] || echo child
    done
    read p n s a b c d e f g h i j user system rest < /proc/$pid/stat
    echo Ticks: $((user + system))
";

impl Place for NoMmu {
    fn pace(&self) -> Pace {
        Pace {
            visitors: 8,
            steps: 6.0,
            lines: 0.8,
        }
    }

    fn largest(&self) -> usize {
        4000
    }

    fn doors(&self) -> Vec<&Door> {
        self.doors.iter().collect()
    }

    fn pushes(&self) -> &Site {
        &self.board.rc21
    }

    fn line(&self, line: &str) {
        self.board.outbox(line);
    }

    fn shell(&self, script: &str) {
        let said = self.board.run(&format!("RUN=/var/run/ws2cgi; {script}"));
        assert_eq!(said, "", "{script:.200}");
    }

    fn status(&self) -> Value {
        let _one = self.status.lock().unwrap_or_else(|e| e.into_inner());
        self.board.status()
    }

    fn look(&self) -> Look {
        let said = self.board.run(LOOK);
        let fields = fields(&said);
        let zombie = |line: &str| line.strip_prefix("zombie ")?.parse().ok();
        let count = |word: &str| said.lines().filter(|line| *line == word).count();
        Look {
            memory: vec![
                (
                    "in use on the board",
                    fields["MemTotal"] - fields["MemFree"],
                ),
                ("the daemon's", fields["Mem"] / 1024.0),
            ],
            descriptors: count("fd"),
            children: count("child"),
            zombies: said.lines().filter_map(zombie).collect(),
            seconds: fields["Ticks"] / 100.0,
        }
    }

    fn complaints(&self) -> Vec<String> {
        let console = self.board.console();
        unexpected(&console[console.find("init started").unwrap_or(0)..])
    }
}
