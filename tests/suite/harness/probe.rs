//! What tests put into the handlers folder, and what they look at outside the daemon.

use super::{Daemon, Start, Ws, command, run_ok, wait_for, ws2cgi};
use std::process::Command;

impl Daemon {
    /// Puts an executable file into the handlers folder, in place of what has its name. Another
    /// process writes it, as with [`copy_program`](super::copy_program).
    pub fn program(&self, name: &str, text: &str) {
        let path = self.path("handlers").join(name);
        let write = "printf %s \"$2\" > \"$1.new\" && chmod 755 \"$1.new\" && mv \"$1.new\" \"$1\"";
        run_ok(
            Command::new("/bin/sh")
                .args(["-c", write, "sh"])
                .arg(path)
                .arg(text),
        );
    }

    /// A connection to `/act2` that is in these rooms (`@a @b`).
    pub fn member(&self, rooms: &str) -> Ws {
        self.connect(&format!("/act2?open=head WS-Join: {rooms}"))
    }

    /// Makes the file that `act`'s `until NAME` waits for.
    pub fn let_go(&self, name: &str) {
        std::fs::write(self.path("handlers").join(name), "").expect("write");
    }

    /// Waits for the number that `act`'s `pid NAME` writes.
    pub fn pid_in(&self, name: &str) -> u32 {
        let path = self.path("handlers").join(name);
        wait_for(&format!("a process id in {name}"), || {
            std::fs::read_to_string(&path).ok()?.parse().ok()
        })
    }

    /// How many log lines hold all these parts.
    pub fn logged(&self, parts: &[&str]) -> usize {
        let log = self.log();
        let all = |line: &&str| parts.iter().all(|part| line.contains(part));
        log.lines().filter(all).count()
    }

    /// Waits until so many log lines hold all these parts.
    pub fn logged_until(&self, parts: &[&str], count: usize) {
        let what = format!("{count} lines with {parts:?} in the log:\n{}", self.log());
        wait_for(&what, || (self.logged(parts) == count).then_some(()));
    }

    /// Another daemon on the same folders, which must not come up: its exit code, and what
    /// it said.
    pub fn another(&self) -> (Option<i32>, String) {
        let mut other = command(&ws2cgi());
        other.arg("--handlers").arg(self.path("handlers"));
        let output = other
            .arg("--run")
            .arg(self.path("run"))
            .output()
            .expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }

    /// A number in a fresh status.json.
    pub fn number(&self, field: &str) -> u64 {
        let status = self.status();
        let value = status.pointer(field).and_then(serde_json::Value::as_u64);
        value.unwrap_or_else(|| panic!("no number {field} in {status}"))
    }
}

/// A daemon with a bystander whose connection is older than what goes wrong.
pub fn with_bystander(args: &str) -> (Daemon, Ws) {
    let daemon = Start::default().args(args).shell("ulimit -c 0").ready();
    let bystander = daemon.connect("/act2");
    (daemon, bystander)
}

impl Ws {
    /// The connection still works, and has heard nothing meanwhile.
    pub fn works(&mut self) {
        self.works_after(None);
    }

    /// The connection has heard this message, no other one, and still works.
    pub fn works_after(&mut self, message: Option<&str>) {
        self.send("head X-A: b;out still");
        for message in message.into_iter().chain(["still"]) {
            assert_eq!(self.text(), message);
        }
    }
}

/// A field of /proc/PID/stat behind the name, counted from 3 as proc(5) does; None: gone.
pub fn proc_stat(pid: u32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(field - 3).map(str::to_owned)
}

/// Whether a process runs: it exists and is no zombie.
pub fn running(pid: u32) -> bool {
    proc_stat(pid, 3).is_some_and(|state| state != "Z" && state != "X")
}
