//! Where the daemon runs: on this machine, native or by way of C, or on a board without an MMU.

use crate::board::Board;
use crate::door::Door;
use crate::ear::POLL_WAIT;
use crate::harness::{
    Daemon, Server, Site, Start, children, command, compile, linked, outcome, proc_stat,
};
use crate::rooms::TOKEN;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;

/// What the load and who measures ask of a place.
pub trait Place: Sync {
    /// How much it bears while it stays mostly idle.
    fn pace(&self) -> Pace;
    /// The longest message that its daemon takes, nearly.
    fn largest(&self) -> usize;
    /// Of its daemon, bytes: `--history`.
    fn history(&self) -> usize;
    /// What a message takes of that beside its payload and its target's name.
    fn entry(&self) -> usize;
    /// The ways in.
    fn doors(&self) -> Vec<&Door>;
    /// More of them, for who needs no WebSocket.
    fn pipes(&self) -> Vec<&Door>;
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
    /// Who are cut off and come again.
    pub readers: usize,
    /// Of all visitors, a second; of readers as many each.
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

/// What a message takes in the history beside its payload and its target's name, where a
/// pointer has so many bytes (`limits.rs`, `HISTORY_ENTRY`).
fn entry(word: usize) -> usize {
    128 + 16 * word
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
    pipe: Door,
    /// Of a pointer, bytes.
    word: usize,
    status: Mutex<()>,
    servers: [Server; 3],
    daemon: Daemon,
}

/// Some ten seconds of lines to rooms.
const HISTORY: usize = 262_144;

/// The daemon's options, on all places; of two with the same name the later one holds.
fn options(history: usize) -> String {
    let wait = POLL_WAIT.as_secs();
    format!(
        "--status 2 --slow-timeout 2 --event-timeout 15 --ping 20 --poll-wait {wait} \
         --history {history}"
    )
}

impl Here {
    /// Starts all of it. `word`: what a pointer of the daemon's takes, in bytes.
    pub fn start(word: usize) -> Here {
        let daemon = Start::default()
            .args("--listen 127.0.0.1:0 --upgrade-delay 40 --origin http://board")
            .args(&options(HISTORY))
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
            symlink(linked(), daemon.path(link)).expect("link");
        }
        // Hours of them are of no use.
        symlink("/dev/null", daemon.path("handlers/events")).expect("link");
        let [uclinux, rc21] = ["uclinux", "rc21"].map(|mode| Server::boa(mode, &daemon));
        let servers = [uclinux, rc21, Server::lighttpd(&daemon)];
        let direct = Site {
            port: daemon.port("tcp"),
        };
        Here {
            doors: Door::all(&servers[0], &servers[1], &direct),
            pipe: Door::by_path(&servers[2]),
            word,
            status: Mutex::new(()),
            servers,
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
            readers: 4,
            steps: 25.0,
            lines: 4.0,
        }
    }

    fn largest(&self) -> usize {
        60_000
    }

    fn history(&self) -> usize {
        HISTORY
    }

    fn entry(&self) -> usize {
        entry(self.word)
    }

    fn pipes(&self) -> Vec<&Door> {
        vec![&self.pipe]
    }

    fn doors(&self) -> Vec<&Door> {
        self.doors.iter().collect()
    }

    fn pushes(&self) -> &Site {
        &self.servers[1]
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

/// The same.
const SMALL_HISTORY: usize = 16_384;

/// A daemon on a board of 16 MB, in QEMU, behind the same stand-ins.
pub struct NoMmu {
    doors: [Door; 3],
    busybox: Door,
    status: Mutex<()>,
    board: Board,
}

impl NoMmu {
    /// Boots it.
    pub fn boot() -> NoMmu {
        let mut board = Board::boot(16, &options(SMALL_HISTORY));
        board.allow("");
        board.run(&format!(
            "echo {TOKEN} > /var/run/ws2cgi/token; \
             cd /home/httpd/cgi-bin; \
             for name in ws-push nph-echo nph-act2 post-act; do \
                 ln -s /bin/ws2cgi-small $name; \
             done; \
             cd /usr/lib/ws-bin; ln -s act act2; ln -s /dev/null events"
        ));
        NoMmu {
            doors: Door::all(&board.uclinux, &board.rc21, &board.direct),
            busybox: Door::busybox(&board.pages),
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
        case $name in MemTotal:|MemFree:|Slab:) echo $name $value;; esac
    done < /proc/meminfo
    all=0
    for status in /proc/[0-9]*/status; do
        while read name value unit; do
            [ $name = Mem: ] || continue
            all=$((all + value))
            [ $status != /proc/$pid/status ] || echo $name $value
        done < $status
    done
    echo All: $all
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
            readers: 3,
            steps: 6.0,
            lines: 0.8,
        }
    }

    fn largest(&self) -> usize {
        4000
    }

    fn history(&self) -> usize {
        SMALL_HISTORY
    }

    fn entry(&self) -> usize {
        entry(8)
    }

    fn pipes(&self) -> Vec<&Door> {
        vec![&self.busybox]
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
                ("other programs'", (fields["All"] - fields["Mem"]) / 1024.0),
                ("the kernel's objects", fields["Slab"]),
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
