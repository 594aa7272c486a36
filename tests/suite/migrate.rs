//! `board/migrate.md`: its pages and its commands, with the places of a test.

use crate::harness::{
    Browser, Daemon, Server, children, command, compile, project, read_answer, run_ok, wait_for,
    ws2cgi,
};
use std::path::Path;

/// A board of the document.
struct Board {
    text: String,
    daemon: Daemon,
    lighttpd: Server,
    number: u32,
}

impl Board {
    /// As it is before.
    fn before() -> Board {
        // With more warnings than the document asks for.
        for program in ["cgi-bin/longpoll.c", "cgi-bin/newest.c"] {
            compile(program);
        }
        let text = std::fs::read_to_string(project("board/migrate.md")).expect("migrate.md");
        let daemon = Daemon::start();
        // The links that it makes itself.
        for name in ["nph-ws", "ws-post"] {
            std::fs::remove_file(daemon.path("cgi-bin").join(name)).expect("remove");
        }
        let mut board = Board {
            lighttpd: Server::lighttpd(&daemon),
            text,
            daemon,
            number: 0,
        };
        board.page("page-before", "before.html");
        board.page("page", "after.html");
        board.run("install-before");
        board.change("sensor-before");
        board
    }

    /// What stands in a fence of the document.
    fn block(&self, kind: &str) -> String {
        let (_, rest) = self
            .text
            .split_once(&format!("\n```{kind}\n"))
            .unwrap_or_else(|| panic!("no {kind}"));
        rest.split_once("```\n").expect("its end").0.to_owned()
    }

    /// Runs the commands of a block.
    fn run(&self, name: &str) {
        let path = |name: &str| self.daemon.path(name).display().to_string();
        let places = [
            ("/usr/lib/cgi-bin", path("cgi-bin")),
            ("/usr/lib/ws-bin", path("handlers")),
            ("/usr/lib/longpoll.old", path("longpoll.old")),
            ("/usr/sbin/ws2cgi", ws2cgi().display().to_string()),
            ("/var/run/ws2cgi", path("run")),
            ("/var/run/sensor", path("sensor")),
            (" cgi-bin/", format!(" {}/", project("cgi-bin").display())),
        ];
        let script = self.block(&format!("sh {name}"));
        let script = places
            .iter()
            .fold(script, |text, (from, to)| text.replace(from, to));
        let mut shell = command(Path::new("/bin/sh"));
        let path = std::env::var("PATH").expect("PATH");
        shell.args(["-euc", &script]).env("PATH", path);
        let number = self.number.to_string();
        shell
            .env("value", format!("{number}.5"))
            .env("number", number);
        run_ok(&mut shell);
    }

    /// The next change of the sensor: 1.5, 2.5.
    fn change(&mut self, sensor: &str) {
        self.number += 1;
        self.run(sensor);
    }

    /// Writes a page with the document's script in it.
    fn page(&self, block: &str, name: &str) {
        let script = self.block(&format!("js {block}"));
        let page = format!(
            "<!DOCTYPE html><script src=\"ws2cgi.js\"></script><script>\n\
             var shown = [];\nfunction show(value) {{ shown.push(value); }}\n{script}</script>"
        );
        let www = self.daemon.path("www");
        std::fs::write(www.join(name), page).expect("write");
        std::fs::copy(project("board/www/ws2cgi.js"), www.join("ws2cgi.js")).expect("copy");
    }

    fn url(&self, page: &str) -> String {
        format!("{}/{page}", self.lighttpd.origin())
    }

    /// How many processes wait while 20 browsers do, and what they get at the next change.
    fn waiting(&mut self, sensor: &str) -> usize {
        let path = format!("/cgi-bin/longpoll?last={}", self.number);
        let close = [
            ("Connection", "close"),
            ("Upgrade", ""),
            ("Sec-WebSocket-Key", ""),
        ];
        let accepted = || self.daemon.number("/accepted");
        let before = accepted();
        let browsers: Vec<_> = (0..20)
            .map(|_| self.lighttpd.upgrade(&path, &close))
            .collect();
        let children = || {
            let mut pids = children(self.lighttpd.pid());
            pids.extend(children(self.daemon.pid()));
            pids
        };
        // Not the hand-off by that name.
        let classic = |pid: &u32| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe"));
            program.is_ok_and(|path| path.ends_with("cgi-bin/longpoll"))
        };
        let processes = wait_for("20 browsers to wait", || {
            let all = children();
            let begun = match all.is_empty() {
                true => accepted() == before + 20,
                false => all.iter().filter(|pid| classic(pid)).count() == 20,
            };
            begun.then_some(all.len())
        });
        self.change(sensor);
        for mut browser in browsers {
            let answer = read_answer(&mut browser);
            let line = format!("{0} {0}.5", self.number);
            assert_eq!((answer.status, answer.body.trim_end()), (200, &*line));
        }
        processes
    }

    /// Two of one browser, the first of which waits: the second, too, is answered by changes
    /// only, whatever else its page puts into the query.
    fn a_second_window(&mut self) {
        let poll = |last: u32, cookie: &str| {
            let path = format!("/cgi-bin/longpoll?_=1&last={last}&x=y");
            let plain = [
                ("Upgrade", ""),
                ("Sec-WebSocket-Key", ""),
                ("Cookie", cookie),
            ];
            let fields = [&[("Connection", "close")], &plain[..]].concat();
            self.lighttpd.upgrade(&path, &fields)
        };
        let accepted = || self.daemon.number("/accepted");
        let first = read_answer(&mut poll(0, ""));
        assert_eq!(first.body.trim_end(), format!("{0} {0}.5", self.number));
        let cookie = first.field("set-cookie").expect("a cookie");
        let cookie = cookie.split(';').next().expect("its value").to_owned();
        let pipes = || {
            let mut all = self.daemon.descriptors();
            all.retain(|descriptor| descriptor.starts_with("pipe:"));
            all
        };
        let before = (accepted(), pipes());
        let mut waits = poll(self.number, &cookie);
        wait_for("the first window to wait", || {
            let new = |pipe| !before.1.contains(pipe);
            pipes().iter().any(new).then_some(())
        });
        let mut second = poll(self.number, &cookie);
        wait_for("the second window to be let in", || {
            (accepted() == before.0 + 1).then_some(())
        });
        self.change("sensor");
        for window in [&mut waits, &mut second] {
            let line = format!("{0} {0}.5", self.number);
            assert_eq!(read_answer(window).body.trim_end(), line);
        }
    }
}

#[test]
fn no_process_waits_from_the_first_step_on() {
    let mut board = Board::before();
    assert_eq!(board.waiting("sensor-before"), 20);
    board.run("step-1");
    assert_eq!(board.waiting("sensor"), 0);
    board.a_second_window();
    board.run("step-2");
    board.run("step-3");
    assert_eq!(board.waiting("sensor"), 0);
    board.a_second_window();
    board.run("back-1");
    assert_eq!(board.waiting("sensor"), 20);
}

#[test]
fn the_page_goes_on_through_every_step() {
    let mut board = Board::before();
    let mut browser = Browser::start();
    let shows = |browser: &mut Browser, page: &_, values: &str| {
        browser.until(page, &format!("String(shown) === '{values}'"));
    };
    let old = browser.open(&board.url("before.html"));
    shows(&mut browser, &old, "1.5");
    board.change("sensor-before");
    shows(&mut browser, &old, "1.5,2.5");

    // Its poll of the time before ends, and the next one goes another way.
    board.run("step-1");
    board.change("sensor");
    shows(&mut browser, &old, "1.5,2.5,3.5");
    board.daemon.status_until("/accepted", 1);
    for _ in 0..5 {
        board.change("sensor");
    }
    shows(&mut browser, &old, "1.5,2.5,3.5,4.5,5.5,6.5,7.5,8.5");
    assert_eq!(board.daemon.number("/accepted"), 1);

    board.run("step-2");
    let new = browser.open(&board.url("after.html"));
    shows(&mut browser, &new, "8.5");
    let programs = || children(board.lighttpd.pid()).len() + children(board.daemon.pid()).len();
    wait_for("no process to wait", || (programs() == 0).then_some(()));
    let ask = board.block("js ask");
    board.run("step-3");
    // The program is another one from the next event on.
    browser.eval(&new, &ask);
    shows(&mut browser, &new, "8.5,8.5");
    for _ in 0..5 {
        board.change("sensor");
    }
    shows(&mut browser, &new, "8.5,8.5,9.5,10.5,11.5,12.5,13.5");
    shows(
        &mut browser,
        &old,
        "1.5,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5,10.5,11.5,12.5,13.5",
    );

    // Of two tabs that ask for the same, Chromium lets one wait for the other's answer.
    browser.close(old);
    board.run("back-1");
    let back = browser.open(&board.url("before.html"));
    shows(&mut browser, &back, "13.5");
    board.change("sensor-before");
    shows(&mut browser, &back, "13.5,14.5");
    // lighttpd would wait for the program that waits.
    drop(browser);
    board.change("sensor-before");
    board.daemon.quiet();
}
