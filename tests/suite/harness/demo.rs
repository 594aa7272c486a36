//! The demo of `make run`, as it is run there.

use super::{kill_group, project, run_ok, wait_for};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// A running demo. Dropping it ends it.
pub struct Demo {
    child: Child,
    /// Where it makes its folder.
    pub temp: TempDir,
    /// Of its page.
    pub url: String,
    /// The line to paste in another shell.
    pub line: String,
}

impl Demo {
    /// Starts it, in a process group of its own, and waits until it says where its page is.
    pub fn start() -> Demo {
        let temp = TempDir::new().expect("a folder");
        // A shell can't trap a signal that its parent ignores, as those of background jobs do.
        let mut command = Command::new("env");
        command
            .args([
                "--default-signal=INT",
                "make",
                "--no-print-directory",
                "run",
            ])
            .current_dir(project(""))
            // The tests' own make is another one.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .env("PORT", "18080")
            .env("TMPDIR", temp.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().expect("start the demo");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut demo = Demo {
            child,
            temp,
            url: String::new(),
            line: String::new(),
        };
        for line in stdout.lines() {
            let line = line.expect("text");
            if let Some((_, url)) = line.split_once("Open ") {
                demo.url = url.trim().to_owned();
            } else if let Some((_, text)) = line.split_once("in a shell ") {
                demo.line = text.trim().to_owned();
            } else if line.contains("Ctrl-C ends the demo") {
                return demo;
            }
        }
        panic!("the demo ended before it began");
    }

    /// Its process group.
    pub fn group(&self) -> u32 {
        self.child.id()
    }

    /// What is left of it: folders in its temporary folder.
    pub fn folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.temp.path()).expect("its folder");
        entries.flatten().map(|entry| entry.path()).collect()
    }

    /// What Ctrl-C does: SIGINT to the whole group.
    pub fn interrupt(&mut self) -> ExitStatus {
        let group = format!("-{}", self.group());
        run_ok(Command::new("kill").args(["-s", "INT", "--", &group]));
        let child = &mut self.child;
        wait_for("the demo to end", || child.try_wait().expect("wait"))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.child.try_wait().expect("wait").is_some() {
            return;
        }
        if std::thread::panicking() {
            // It may be hung: that may be what has failed.
            kill_group(self.group());
            let _ = self.child.wait();
        } else {
            self.interrupt();
        }
    }
}
