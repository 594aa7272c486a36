//! A daemon under test.

use super::{
    PATIENCE, Ws, command, compile, copy_program, linked, narrow_pair, os_words, tcp_pair,
    wait_for, ws2cgi,
};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;
use tempfile::TempDir;

/// How a daemon is to be started.
pub struct Start {
    args: Vec<String>,
    env: Vec<(String, String)>,
    shell: String,
    folder: Option<TempDir>,
    log_level: String,
    program: PathBuf,
}

/// A running daemon. Dropping it kills it; without an earlier [`Daemon::quiet`] or
/// [`Daemon::expect`] for each of them, a warning or error in its log fails the test.
pub struct Daemon {
    /// Holds `handlers/`, `run/` and whatever a test puts there.
    folder: Option<TempDir>,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    expected: Vec<String>,
}

impl Default for Start {
    fn default() -> Start {
        Start {
            args: Vec::new(),
            env: Vec::new(),
            shell: String::new(),
            folder: None,
            log_level: "info".to_owned(),
            program: ws2cgi(),
        }
    }
}

impl Start {
    /// More options of the daemon, separated by blanks. A later one wins over an earlier
    /// one of the same name. `{}` stands for the temporary folder.
    pub fn args(mut self, args: &str) -> Start {
        self.args.extend(args.split_whitespace().map(str::to_owned));
        self
    }

    /// A shell command to run before, in the process that becomes the daemon: `ulimit -n 30`.
    /// Its working folder is the temporary one.
    pub fn shell(mut self, shell: &str) -> Start {
        self.shell = format!("{shell}; ");
        self
    }

    /// Another ws2cgi than the one under test: the benchmark compares two.
    #[allow(dead_code)]
    pub fn program(mut self, program: PathBuf) -> Start {
        self.program = program;
        self
    }

    /// RUST_LOG; otherwise `info`.
    pub fn log(mut self, level: &str) -> Start {
        self.log_level = level.to_owned();
        self
    }

    /// The folder of an earlier daemon ([`Daemon::end`]).
    pub fn again_in(mut self, folder: TempDir) -> Start {
        self.folder = Some(folder);
        self
    }

    /// A folder with `handlers/` (`act` under that name, as `act2` and as `deep/act`) and
    /// `cgi-bin/` (`nph-ws`, `nph-act`, `ws-push`, `ws-post`, `post-act`, `.ws2cgi`).
    pub fn folder() -> TempDir {
        let folder = TempDir::new().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let act = compile("tests/programs/act.c");
        std::fs::create_dir_all(at("handlers/deep")).expect("handlers");
        for name in ["act", "act2", "deep/act"] {
            copy_program(&act, &at("handlers").join(name));
        }
        std::fs::create_dir(at("cgi-bin")).expect("cgi-bin");
        for name in ["nph-ws", "nph-act", "ws-push", "ws-post", "post-act"] {
            symlink(linked(), at("cgi-bin").join(name)).expect("link");
        }
        let run = at("run").display().to_string();
        std::fs::write(at("cgi-bin/.ws2cgi"), format!("{run}\n")).expect(".ws2cgi");
        folder
    }

    /// The same where also another user's daemon can run its programs.
    pub fn folder_for_anyone() -> TempDir {
        let folder = Start::folder();
        for (name, mode) in [("", 0o755), ("handlers", 0o777)] {
            let mode = Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path().join(name), mode).expect("chmod");
        }
        folder
    }

    /// A daemon for a web server that runs its programs as www-data, as apache does where it
    /// is root.
    pub fn for_www_data() -> Start {
        let folder = Start::folder_for_anyone();
        let at = |name: &str| folder.path().join(name);
        // The one under test may lie where nobody else may look.
        copy_program(&linked(), &at("small"));
        for entry in std::fs::read_dir(at("cgi-bin")).expect("cgi-bin") {
            let link = entry.expect("an entry").path();
            if link.is_symlink() {
                std::fs::remove_file(&link).expect("remove");
                symlink("../small", &link).expect("link");
            }
        }
        let start = Start::default().again_in(folder);
        match nix::unistd::getuid().is_root() {
            true => start.args("--group www-data"),
            false => start,
        }
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn ready(self) -> Daemon {
        self.ready_when(|daemon| daemon.log().contains(" ready in "))
    }

    /// Starts the daemon and waits until something shows that it is ready.
    pub fn ready_when(self, ready: impl Fn(&Daemon) -> bool) -> Daemon {
        let mut daemon = self.launch();
        let start = Instant::now();
        while !ready(&daemon) {
            if let Some(status) = daemon.child.try_wait().expect("wait") {
                panic!("the daemon ended with {status}: {}", daemon.log());
            }
            assert!(start.elapsed() < PATIENCE, "not ready: {}", daemon.log());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        daemon
    }

    /// Starts a daemon that must not come up. Returns its exit code and what it said, by
    /// [`os_words`].
    pub fn fails(self) -> (i32, String) {
        let mut daemon = self.launch();
        let status = daemon.wait();
        daemon.quiet();
        (status.code().unwrap_or(-1), os_words(&daemon.log()))
    }

    fn launch(self) -> Daemon {
        let folder = self.folder.unwrap_or_else(Start::folder);
        let root = folder.path().display().to_string();
        let mut args = vec![
            format!("--handlers={root}/handlers"),
            format!("--run={root}/run"),
        ];
        args.extend(self.args.iter().map(|arg| arg.replace("{}", &root)));
        let program = command(&self.program);
        // Through a shell, for `ulimit` and the like; exec keeps the pid.
        let mut command = Command::new("/usr/bin/env");
        command
            // Signals may be ignored around the tests, as by nohup.
            .args(["--default-signal", "/bin/sh"])
            .arg("-c")
            .arg(format!("{}exec \"$@\"", self.shell))
            .arg("sh");
        command
            .arg(program.get_program())
            .args(program.get_args())
            .args(&args);
        command
            .current_dir(folder.path())
            .env_clear()
            .env("RUST_LOG", &self.log_level)
            .envs(self.env);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the daemon");
        let stderr = child.stderr.take().expect("its stderr");
        let log = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let log = log.clone();
            move || follow(stderr, &log)
        });
        Daemon {
            folder: Some(folder),
            child,
            log,
            reader: Some(reader),
            expected: Vec::new(),
        }
    }
}

fn follow(stderr: ChildStderr, log: &Mutex<String>) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        log.lock()
            .unwrap()
            .push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
}

impl Daemon {
    /// With the usual options.
    pub fn start() -> Daemon {
        Start::default().ready()
    }

    /// With these options.
    pub fn with(args: &str) -> Daemon {
        Start::default().args(args).ready()
    }

    /// A path in the temporary folder: `run/outbox`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().expect("its folder").path().join(name)
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    // ---- Browsers

    /// The client's end of a TCP connection whose other end the real `cgi-bin/PROGRAM` has
    /// handed over, as boa would: `variables` beside those of a plain upgrade request.
    pub fn hand_off(&self, program: &str, variables: &[(&str, &str)]) -> TcpStream {
        let (client, server) = tcp_pair();
        self.hand_over(server, program, variables);
        client
    }

    /// Hands over the server's end of a connection.
    pub fn hand_over(&self, server: TcpStream, program: &str, variables: &[(&str, &str)]) {
        let mut nph = self.nph(program, variables);
        nph.stdout(Stdio::from(std::os::fd::OwnedFd::from(server)));
        let status = nph.status().expect("run the hand-off");
        assert!(status.success(), "{program}: {status}");
    }

    /// The hand-off program with a web server's environment; stdin is /dev/null. An empty
    /// value takes a variable away.
    pub fn nph(&self, program: &str, variables: &[(&str, &str)]) -> Command {
        let mut nph = command(&self.path("cgi-bin").join(program));
        nph.current_dir(self.path("cgi-bin")).stdin(Stdio::null());
        nph.env("SCRIPT_NAME", format!("/cgi-bin/{program}"));
        nph.envs(super::UPGRADE);
        for (name, value) in variables {
            match *value {
                "" => nph.env_remove(name),
                value => nph.env(name, value),
            };
        }
        nph
    }

    /// The variables of a URL path and query below `/cgi-bin/nph-ws`.
    pub(super) fn variables(url: &str) -> [(&str, &str); 2] {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        [("PATH_INFO", path), ("QUERY_STRING", query)]
    }

    /// A WebSocket to a route: `/act?open=head%20WS-Join:%20@a`. Blanks in it are encoded.
    pub fn connect(&self, url: &str) -> Ws {
        self.connect_with(url, &[])
    }

    /// The same with more variables.
    pub fn connect_with(&self, url: &str, more: &[(&str, &str)]) -> Ws {
        Ws::accepted(self.raw(url, more))
    }

    /// A WebSocket of which the kernel holds little that the client has not read.
    pub fn narrow(&self, url: &str) -> Ws {
        let (client, server) = narrow_pair();
        let url = url.replace(' ', "%20");
        self.hand_over(server, "nph-ws", &Daemon::variables(&url));
        Ws::accepted(client)
    }

    /// A connection to a route of which nothing has been read yet.
    pub fn raw(&self, url: &str, more: &[(&str, &str)]) -> TcpStream {
        let url = url.replace(' ', "%20");
        let mut variables = Daemon::variables(&url).to_vec();
        variables.extend(more);
        self.hand_off("nph-ws", &variables)
    }

    // ---- The outbox

    /// Writes lines to the outbox, as `echo` does; the newline is added.
    pub fn outbox(&self, lines: impl AsRef<[u8]>) {
        let lines = [lines.as_ref(), b"\n"].concat();
        let written = self.writer().write_all(&lines);
        written.expect("write to the outbox");
    }

    /// The outbox, opened by one more writer.
    pub fn writer(&self) -> File {
        let fifo = OpenOptions::new().write(true).open(self.path("run/outbox"));
        fifo.expect("open the outbox")
    }

    // ---- What it says

    /// All of its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log holds a line with `part`; a warning or error with it is then
    /// expected, however often.
    pub fn expect(&mut self, part: &str) {
        self.expected.push(part.to_owned());
        let log = self.log.clone();
        wait_for(&format!("'{part}' in the log:\n{}", self.log()), || {
            log.lock().unwrap().contains(part).then_some(())
        });
    }

    /// Whatever it logs is expected.
    pub fn quiet(&mut self) {
        self.expected.push(String::new());
    }

    /// A fresh status.json.
    pub fn status(&self) -> serde_json::Value {
        let path = self.path("run/status.json");
        let _ = std::fs::remove_file(&path);
        self.signal("USR1");
        let text = wait_for("status.json", || std::fs::read_to_string(&path).ok());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Waits until a field of status.json (`/messages/dropped`) has a value.
    pub fn status_until(&self, field: &str, value: impl Into<serde_json::Value>) {
        let value = value.into();
        wait_for(
            &format!("{field} = {value}; at last {}", self.status()),
            || (self.status().pointer(field) == Some(&value)).then_some(()),
        );
    }

    /// The lines that `act` has noted in `handlers/events`, oldest first.
    pub fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("handlers/events")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until `act` has noted a line that begins so, and returns it.
    pub fn event(&self, begins: &str) -> String {
        wait_for(&format!("event '{begins}' in {:?}", self.events()), || {
            self.events()
                .into_iter()
                .find(|line| line.starts_with(begins))
        })
    }

    /// Waits until the close event of a connection is done and nothing of it is left.
    pub fn until_gone(&self, id: &str) {
        self.event(&format!("done close {id}"));
        wait_for(&format!("{id} to be gone"), || {
            let status = self.status();
            let connections = status["connections"].as_array().expect("a list");
            connections.iter().all(|c| c["id"] != id).then_some(())
        });
    }

    /// Waits until no connection is left.
    pub fn until_empty(&self) {
        wait_for("all connections to end", || {
            let status = self.status();
            status["connections"]
                .as_array()
                .expect("a list")
                .is_empty()
                .then_some(())
        });
    }

    // ---- The end

    /// Sends a signal by name: TERM, USR1, KILL.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = wait_for("the daemon to end", || child.try_wait().expect("wait"));
        self.join_log();
        status
    }

    /// SIGKILL; returns the folder, for another daemon.
    pub fn kill(mut self) -> TempDir {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_log();
        self.check_log();
        self.folder.take().expect("its folder")
    }

    /// Stops it; returns the folder, for another daemon.
    pub fn end(mut self) -> TempDir {
        assert_eq!(self.stop().code(), Some(0));
        self.check_log();
        self.folder.take().expect("its folder")
    }

    fn join_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    fn check_log(&mut self) {
        let log = self.log();
        let loud = |line: &&str| line.starts_with("WARN") || line.starts_with("ERROR");
        let expected = |line: &&str| !self.expected.iter().any(|part| line.contains(part));
        let unexpected: Vec<_> = log.lines().filter(loud).filter(expected).collect();
        assert!(unexpected.is_empty(), "in the log: {unexpected:#?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.folder.is_none() {
            return; // ended and checked
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_log();
        if std::thread::panicking() {
            eprintln!("---- the daemon's log\n{}", self.log());
        } else {
            self.check_log();
        }
    }
}
