//! What `board/` offers: the init script, the demo, the configurations.

use crate::harness::{
    Demo, Start, group_members, project, run_ok, server_command, wait_for, ws2cgi,
};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The shells that its scripts are written for. busybox is what boards have.
const SHELLS: [&[&str]; 2] = [&["sh"], &["busybox", "sh"]];

fn shell(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

// ---- The init script

/// The init script with every path in a temporary folder. Dropping it stops the daemon.
struct Init {
    folder: TempDir,
    shell: &'static [&'static str],
}

impl Init {
    fn new(shell: &'static [&'static str]) -> Init {
        let folder = Start::folder();
        let root = folder.path().display();
        let defaults = format!(
            "DAEMON={}\nHANDLERS={root}/handlers\nRUN={root}/run\nLOG={root}/log\nOPTIONS='--jobs 2'\n",
            ws2cgi().display()
        );
        std::fs::write(folder.path().join("defaults"), defaults).expect("defaults");
        Init { folder, shell }
    }

    fn run(&self, verb: &str) -> Output {
        let mut command = shell(self.shell);
        command.arg(project("board/init.d/ws2cgi")).arg(verb);
        command.env("WS2CGI_DEFAULT", self.folder.path().join("defaults"));
        command.output().expect("run the init script")
    }

    /// What it says and its exit code.
    fn says(&self, verb: &str) -> (String, i32) {
        let output = self.run(verb);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("text");
        (text.trim().to_owned(), output.status.code().unwrap_or(-1))
    }

    fn pid(&self) -> String {
        let pid = std::fs::read_to_string(self.folder.path().join("run/pid"));
        pid.expect("a pid file").trim().to_owned()
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.run("stop");
    }
}

fn said(text: &str, code: i32) -> (String, i32) {
    (text.to_owned(), code)
}

#[test]
fn the_init_script_starts_and_stops_one_daemon() {
    for shell in SHELLS {
        let init = Init::new(shell);
        let not_running = said("ws2cgi is not running", 3);
        assert_eq!(init.says("status"), not_running);
        assert_eq!(init.says("start"), said("ws2cgi started", 0));
        let pid = init.pid();
        let status = format!("ws2cgi is running, pid {pid}");
        assert_eq!(init.says("status"), said(&status, 0));
        let already = format!("ws2cgi is running already, pid {pid}");
        assert_eq!(init.says("start"), said(&already, 0));
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it lives");
        assert!(String::from_utf8_lossy(&line).ends_with("--jobs\x002\0"));
        let restarted = said("ws2cgi stopped\nws2cgi started", 0);
        assert_eq!(init.says("restart"), restarted);
        assert_ne!(init.pid(), pid);
        assert_eq!(init.says("stop"), said("ws2cgi stopped", 0));
        assert_eq!(init.says("status"), not_running);
        assert_eq!(init.says("stop"), said("ws2cgi is not running", 0));
    }
}

#[test]
fn a_pid_that_a_crash_left_is_nobodys() {
    for shell in SHELLS {
        let init = Init::new(shell);
        assert_eq!(init.says("start"), said("ws2cgi started", 0));
        let crashed = init.pid();
        run_ok(Command::new("kill").args(["-s", "KILL", &crashed]));
        let gone = format!("/proc/{crashed}/exe");
        wait_for("the daemon to end", || {
            Path::new(&gone).read_link().is_err().then_some(())
        });
        // Its number now belongs to a living process, ours.
        let file = init.folder.path().join("run/pid");
        std::fs::write(file, format!("{}\n", std::process::id())).expect("pid");
        assert_eq!(init.says("status"), said("ws2cgi is not running", 3));
        assert_eq!(init.says("stop"), said("ws2cgi is not running", 0));
        assert_eq!(init.says("start"), said("ws2cgi started", 0));
    }
}

#[test]
fn a_daemon_that_cannot_start_is_no_success() {
    for shell in SHELLS {
        let init = Init::new(shell);
        std::fs::remove_dir_all(init.folder.path().join("handlers")).expect("remove");
        let (text, code) = init.says("start");
        assert_eq!(code, 1);
        assert!(text.starts_with("ws2cgi did not start;"), "{text}");
        let log = std::fs::read_to_string(init.folder.path().join("log")).expect("a log");
        assert!(log.contains("/handlers"), "{log}");
    }
}

#[test]
fn the_init_script_knows_four_words() {
    let (text, code) = Init::new(SHELLS[0]).says("reload");
    assert_eq!(code, 2);
    assert!(
        text.ends_with("/ws2cgi start|stop|restart|status"),
        "{text}"
    );
}

// ---- The demo

#[test]
fn ctrl_c_ends_the_demo_and_leaves_nothing() {
    let mut demo = Demo::start();
    let outbox = demo.line.rsplit(' ').next().expect("a path").to_owned();
    assert!(Path::new(&outbox).exists());
    assert_eq!(demo.folders().len(), 1);
    // make and its shell, the demo, the daemon, lighttpd, the feeder; the demo's shell may still
    // be looking around.
    wait_for("six processes", || {
        (group_members(demo.group()).len() == 6).then_some(())
    });
    demo.interrupt();
    assert_eq!(demo.folders(), Vec::<PathBuf>::new());
    assert!(group_members(demo.group()).is_empty());
}

#[test]
fn two_demos_do_not_get_in_each_others_way() {
    let (one, two) = (Demo::start(), Demo::start());
    assert_ne!(one.url, two.url);
    assert_ne!(one.line, two.line);
}

#[test]
fn the_demo_says_what_is_missing() {
    for (name, value, said) in [
        ("WS2CGI", "/nowhere", "/nowhere is not there"),
        ("LIGHTTPD", "nowhere", "apt install lighttpd"),
    ] {
        let mut command = Command::new(project("board/demo"));
        command.env("WS2CGI", ws2cgi()).env("SENSORS", "/bin/true");
        let handlers = TempDir::new().expect("handlers");
        for program in ["chat", "board"] {
            symlink("/bin/true", handlers.path().join(program)).expect("link");
        }
        command.env("HANDLERS", handlers.path()).env(name, value);
        let output = command.output().expect("run the demo");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

// ---- The files

#[test]
fn every_script_is_a_shell_script() {
    for script in [
        "board/demo",
        "board/init.d/ws2cgi",
        "board/openwrt/ws2cgi/files/ws2cgi.init",
        "board/uclinux/rc",
        "tests/install",
    ] {
        for words in SHELLS {
            run_ok(shell(words).arg("-n").arg(project(script)));
        }
    }
    run_ok(Command::new("bash").arg("-n").arg(project(".ci/run")));
}

#[test]
fn lighttpd_and_nginx_accept_their_configurations() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().display().to_string();
    for config in ["board/lighttpd.conf", "board/lighttpd-tls.conf"] {
        let mut lighttpd = server_command("lighttpd");
        lighttpd.arg("-t").arg("-f").arg(project(config));
        lighttpd.env("WS2CGI_PORT", "8080").env("WS2CGI_PEM", "pem");
        run_ok(
            lighttpd
                .env("WS2CGI_WWW", &root)
                .env("WS2CGI_CGIBIN", &root),
        );
    }
    let text = std::fs::read_to_string(project("board/nginx.conf")).expect("nginx.conf");
    let text = text.replace("@PORT@", "8080").replace("@DIR@", &root);
    let config = folder.path().join("nginx.conf");
    std::fs::write(&config, text.replace("@BACKEND@", "127.0.0.1:81")).expect("write");
    let mut nginx = server_command("nginx");
    run_ok(nginx.args(["-t", "-p", &root, "-c"]).arg(config));
}

#[test]
fn every_file_of_ours_that_is_named_exists() {
    let mut named = 0;
    for file in [
        "Makefile",
        ".ci/run",
        "tests/install",
        "board/boa.conf",
        "board/demo",
        "board/init.d/ws2cgi",
        "board/lighttpd.conf",
        "board/lighttpd-tls.conf",
        "board/nginx.conf",
    ] {
        let text = std::fs::read_to_string(project(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let part = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
        for word in text.split(|c: char| !part(c)) {
            let word = word.trim_end_matches(['.', '/']);
            let ours = ["board/", "tests/", "cgi-bin/"];
            if ours.iter().any(|folder| word.starts_with(folder)) && word.contains('.') {
                assert!(project(word).exists(), "{file} names {word}");
                named += 1;
            }
        }
        for include in text
            .lines()
            .filter_map(|line| line.strip_prefix("include "))
        {
            let beside = project(file).with_file_name(include.trim_matches('"'));
            assert!(beside.exists(), "{file} includes {include}");
            named += 1;
        }
    }
    assert!(named > 3, "{named}");
}
