//! A board without an MMU, in QEMU. `tests/nommu/build` has made what it boots.

use super::{PATIENCE, Site, free_port, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running board; dropping it switches it off. Without an earlier [`Board::expect`] for it,
/// a word of the kernel, a warning of the daemon's, or the end of a program that init looks
/// after fails the test: all of them speak on the console.
pub struct Board {
    qemu: Child,
    console: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    expected: Vec<String>,
    /// From the start of QEMU to a daemon that is ready.
    pub boot: Duration,
    /// busybox httpd.
    pub pages: Site,
    /// boa of uClinux-dist, the stand-in.
    pub uclinux: Site,
    /// boa 0.94.14rc21, the stand-in.
    pub rc21: Site,
    /// The daemon's own `--listen`.
    pub direct: Site,
}

impl Board {
    /// Boots a board with so much memory. `options` are the daemon's, behind those of
    /// `board/uclinux/rc`: of two with the same name the later one holds.
    pub fn boot(megabytes: u32, options: &str) -> Board {
        let [pages, uclinux, rc21, direct] = [80, 8081, 8082, 8080].map(|inside| {
            let port = free_port();
            (format!("hostfwd=tcp:127.0.0.1:{port}-:{inside}"), port)
        });
        let forwards = [&pages, &uclinux, &rc21, &direct].map(|(forward, _)| forward.as_str());
        // The kernel hands on to init what it does not know itself.
        let command_line = format!(
            "console=ttyS0 loglevel=5 panic=-1 ip=10.0.2.15::10.0.2.2:255.255.255.0:board:eth0:off \
             RUST_LOG=info WS2CGI=\"{} {options}\"",
            uclinux_options()
        );
        let mut qemu = Command::new("qemu-system-riscv64");
        qemu.args("-M virt -cpu rv64,mmu=off -bios none -display none -monitor none".split(' '));
        qemu.args("-serial stdio -no-reboot -device virtio-net-device,netdev=net".split(' '));
        qemu.args(["-m", &format!("{megabytes}M"), "-append", &command_line]);
        // restrict: nothing inside reaches anything outside.
        let net = format!("user,id=net,restrict=on,{}", forwards.join(","));
        qemu.args(["-netdev", &net]);
        qemu.arg("-kernel").arg(built("Image"));
        qemu.arg("-initrd").arg(built("initramfs.cpio"));
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let start = Instant::now();
        let mut qemu = qemu.spawn().expect("start qemu-system-riscv64");
        let stdout = qemu.stdout.take().expect("its console");
        let console = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let console = console.clone();
            move || follow(stdout, &console)
        });
        let site = |(_, port): (String, u16)| Site { port };
        let mut board = Board {
            qemu,
            console,
            reader: Some(reader),
            expected: Vec::new(),
            boot: Duration::ZERO,
            pages: site(pages),
            uclinux: site(uclinux),
            rc21: site(rc21),
            direct: site(direct),
        };
        board.until_said(" ready in ", 1);
        board.boot = start.elapsed();
        // Both boas say where they listen; httpd says nothing.
        board.until_said("\n8081\n", 1);
        board.until_said("\n8082\n", 1);
        wait_for("httpd", || board.answers().then_some(()));
        board
    }

    /// Whether httpd answers yet. QEMU accepts a connection before the board does, so that is
    /// no sign.
    fn answers(&self) -> bool {
        let mut stream = self.pages.connect();
        super::send_head(&mut stream, "GET", "/index.html", &[]);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && !answer.is_empty()
    }

    // ---- What it says

    /// All that stood on the console so far.
    pub fn console(&self) -> String {
        self.console.lock().unwrap().clone()
    }

    /// Waits until something stands on the console so often.
    pub fn until_said(&mut self, text: &str, times: usize) {
        let start = Instant::now();
        while self.console().matches(text).count() < times {
            let ended = self.qemu.try_wait().expect("wait");
            assert_eq!(ended, None, "the board has ended");
            assert!(start.elapsed() < PATIENCE, "waited in vain for '{text}'");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until something stands on the console; from now on lines with it are all right.
    pub fn expect(&mut self, part: &str) {
        self.allow(part);
        self.until_said(part, 1);
    }

    /// Lines with this are all right.
    pub fn allow(&mut self, part: &str) {
        self.expected.push(part.to_owned());
    }

    /// What nobody expected, since the kernel has started init.
    fn complaints(&self) -> Vec<String> {
        let console = self.console();
        let since = console.find("init started").unwrap_or(0);
        let loud = |line: &&str| {
            let starts = |with: &&str| line.starts_with(with);
            ["[", "WARN", "ERROR", "process '"].iter().any(starts)
        };
        let expected = |line: &&str| !self.expected.iter().any(|part| line.contains(part));
        let lines = console[since..].lines().filter(loud).filter(expected);
        lines.map(str::to_owned).collect()
    }

    // ---- What is in it

    /// Runs a script on the board, which must succeed; returns what it said.
    pub fn run(&self, script: &str) -> String {
        let length = script.len().to_string();
        let fields = [("Content-Length", length.as_str())];
        let answer = self.pages.request("POST", "/cgi-bin/look", &fields, script);
        let said = answer.body.strip_suffix("exit 0\n");
        said.unwrap_or_else(|| panic!("{script}: {answer:?}"))
            .to_owned()
    }

    /// Waits until a script says what is waited for.
    pub fn run_until(&self, script: &str, found: impl Fn(&str) -> bool) -> String {
        wait_for(script, || Some(self.run(script)).filter(|said| found(said)))
    }

    /// Free memory in KB, page cache aside. The processes that look are the same each time.
    pub fn free(&self) -> i64 {
        self.run("echo 3 > /proc/sys/vm/drop_caches");
        self.field("MemFree:", "/proc/meminfo")
    }

    /// A number from a file of /proc; `$pid` is the daemon's. In words of the shell alone: a
    /// command beside it would take 300 KB of what is looked at.
    fn field(&self, name: &str, file: &str) -> i64 {
        let said = self.run(&format!(
            "read pid < /var/run/ws2cgi/pid; \
             while read name value unit; do [ $name != {name} ] || echo $value; done < {file}"
        ));
        said.trim().parse().expect("a number")
    }

    /// How many KB less are free than before, once there are no more than `slack`: what has
    /// ended, the kernel takes down when it has time. Less may even be in use.
    pub fn lost(&self, before: i64, slack: i64) -> i64 {
        let mut lost = 0;
        for _ in 0..20 {
            lost = before - self.free();
            if lost <= slack {
                break;
            }
        }
        lost
    }

    /// The memory that is the daemon's own, in KB: its image, stack and heap.
    pub fn daemons(&self) -> i64 {
        self.field("Mem:", "/proc/$pid/status") / 1024
    }

    /// How many bytes of its stack the daemon has ever used. Behind the zeros, that is: the heap
    /// grows towards it from the other end of the same mapping.
    pub fn stack(&self) -> usize {
        let maps = self.run("read pid < /var/run/ws2cgi/pid; exec grep stack /proc/$pid/maps");
        let hex = |text: &str| usize::from_str_radix(text, 16).expect("an address");
        let (from, rest) = maps.split_once('-').expect("a mapping");
        let (page, pages) = (hex(from) / 4096, (hex(&rest[..8]) - hex(from)) / 4096);
        let said = self.run(&format!(
            "read pid < /var/run/ws2cgi/pid; \
             dd if=/proc/$pid/mem bs=4096 skip={page} count={pages} 2>/dev/null | \
             tr '\\000-\\377' '0x'"
        ));
        assert_eq!(said.len(), pages * 4096);
        let zeros = said
            .split('x')
            .max_by_key(|zeros| zeros.len())
            .expect("some");
        said.len() - said.find(zeros).expect("zeros") - zeros.len()
    }

    /// A fresh status.json, by httpd: for one more command there may be no memory.
    pub fn status(&self) -> Value {
        self.run("cd /var/run/ws2cgi; read pid < pid; : > status.json; kill -USR1 $pid");
        // The daemon puts the new one in place of this empty one.
        let text = wait_for("status.json", || {
            let text = self.pages.get("/status.json").body;
            (!text.is_empty()).then_some(text)
        });
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Waits until no connection is left.
    pub fn until_empty(&self) {
        wait_for("all connections to end", || {
            let status = self.status();
            let connections = status["connections"].as_array().expect("a list");
            connections.is_empty().then_some(())
        });
    }

    /// The lines that `act` has noted, oldest first.
    pub fn events(&self) -> Vec<String> {
        let noted = self.run("cat /usr/lib/ws-bin/events");
        noted.lines().map(str::to_owned).collect()
    }

    /// Writes a line to the outbox, as a program on the board does.
    pub fn outbox(&self, line: &str) {
        self.run(&format!("echo '{line}' > /var/run/ws2cgi/outbox"));
    }

    // ---- The end

    /// Begins to switch it off. Who looks ends with it, so there is no answer to wait for.
    pub fn switch_off(&self) -> TcpStream {
        let mut stream = self.pages.connect();
        let fields = [("Content-Length", "8")];
        super::send_head(&mut stream, "POST", "/cgi-bin/look", &fields);
        stream.write_all(b"poweroff").expect("send");
        stream
    }

    /// Waits for the end of a board that is being switched off.
    pub fn until_off(mut self) {
        let qemu = &mut self.qemu;
        let ended = wait_for("the board to end", || qemu.try_wait().expect("wait"));
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("---- the board's console\n{}", self.console());
        } else {
            let complaints = self.complaints();
            assert!(complaints.is_empty(), "on the console: {complaints:#?}");
        }
    }
}

fn follow(console: ChildStdout, said: &Mutex<String>) {
    let mut lines = BufReader::new(console);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line).replace('\r', "");
        said.lock().unwrap().push_str(&text);
        line.clear();
    }
}

fn built(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nommu");
    folder.join(name)
}

/// The options of the daemon in `board/uclinux/rc`, for pages of `http://board`.
fn uclinux_options() -> String {
    let rc = include_str!("../../board/uclinux/rc").replace("\\\n", " ");
    let line = rc.lines().find(|line| line.starts_with("ws2cgi "));
    let words = line
        .expect("a line")
        .trim_end_matches('&')
        .split_whitespace();
    // Where the handlers are, the board's inittab says.
    let words: Vec<_> = words.skip(3).collect();
    words
        .join(" ")
        .replace("http://192.168.0.15", "http://board")
}
