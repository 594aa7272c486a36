//! `make compat`: what works behind which web server, found by running it, as README's table. It
//! ends with 1 where README says something else. `cargo test` runs it too.

// The ban is on the daemon's floors.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// It needs a part of it only.
#[allow(dead_code, unused_imports)]
#[path = "../suite/harness/mod.rs"]
mod harness;

mod http;
mod probe;

use harness::{Daemon, Server, Site, Start, compile, project};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A web server, running, and what a page would know of it.
struct Front {
    daemon: Daemon,
    /// None: the daemon's own `--listen`.
    server: Option<Server>,
    /// URL paths that lead to the event program `act`: for what comes down, and for POST.
    down: &'static str,
    up: &'static str,
    /// One where an ordinary CGI program was before.
    old: &'static str,
}

impl Front {
    fn site(&self) -> Site {
        let port = match &self.server {
            Some(server) => server.port,
            None => self.daemon.port("tcp"),
        };
        Site { port }
    }
}

/// A row of the table: its name, what the server needs, and how it is started.
struct Row {
    name: &'static str,
    needs: &'static str,
    start: fn() -> Front,
}

const ROWS: &[Row] = &[
    Row {
        name: "boa 0.94.14rc21",
        needs: "–",
        start: || boa("rc21"),
    },
    Row {
        name: "boa 0.93.15 of uClinux",
        needs: "names: `nph-chat`, `post-chat`; `--upgrade-delay 40`, `--origin`",
        start: || Front {
            down: "/cgi-bin/nph-act",
            up: "/cgi-bin/post-act",
            ..boa("uclinux")
        },
    },
    Row {
        name: "boa 0.94.13",
        needs: "for the rest: `\\|\\| 1` taken out of its cgi.c",
        start: || boa("piped"),
    },
    Row {
        name: "lighttpd 1.4.46 and later",
        needs: "`cgi.upgrade`, `server.stream-response-body` (board/lighttpd.conf)",
        start: || behind(Daemon::with, Server::lighttpd),
    },
    Row {
        name: "apache 2.4, mod_cgid",
        needs: "board/apache.conf; more workers than browsers",
        start: || apache(&[]),
    },
    Row {
        name: "apache 2.4, mpm_prefork and mod_cgi",
        needs: "the same",
        start: || {
            apache(&[
                ("mpm_event_module  ", "mpm_prefork_module "),
                ("mod_mpm_event", "mod_mpm_prefork"),
                ("cgid_module ", "cgi_module "),
                ("mod_cgid.so", "mod_cgi.so"),
            ])
        },
    },
    Row {
        name: "busybox httpd",
        needs: "–",
        start: || behind(Daemon::with, Server::busybox),
    },
    Row {
        name: "mini-httpd 1.30",
        needs: "for POST: `--listen` (it can run no program with one)",
        start: || behind(Daemon::with, Server::mini_httpd),
    },
    Row {
        name: "nginx, with `--listen`",
        needs: "board/nginx.conf",
        start: || {
            let listen = |args: &str| Daemon::with(&format!("{args} --listen unix:{{}}/listen"));
            let nginx = |daemon: &Daemon| {
                let backend = format!("unix:{}", daemon.path("listen").display());
                Server::nginx(daemon, &backend, &[])
            };
            let own = "/cgi-bin/nph-ws/act";
            Front {
                up: own,
                old: own,
                ..behind(listen, nginx)
            }
        },
    },
    Row {
        name: "none: `--listen` alone",
        needs: "a port of its own, with `--origin`",
        start: || Front {
            daemon: Daemon::with(&format!("{OPTIONS} --listen 127.0.0.1:0")),
            server: None,
            down: "/act",
            up: "/act",
            old: "/act",
        },
    },
];

/// Of every daemon here.
const OPTIONS: &str = "--ping 1";

fn behind(daemon: impl Fn(&str) -> Daemon, server: impl Fn(&Daemon) -> Server) -> Front {
    let daemon = daemon(OPTIONS);
    // A program that pages know, and that we have taken the place of.
    let act = daemon.path("handlers/longpoll");
    std::fs::copy(compile("tests/programs/act.c"), act).expect("copy act");
    symlink("ws-post", daemon.path("cgi-bin/longpoll")).expect("link");
    Front {
        server: Some(server(&daemon)),
        daemon,
        down: "/cgi-bin/nph-ws/act",
        up: "/cgi-bin/ws-post/act",
        old: "/cgi-bin/longpoll",
    }
}

fn boa(mode: &str) -> Front {
    let daemon = |args: &str| match mode {
        "uclinux" => Daemon::with(&format!("{args} --upgrade-delay 40")),
        _ => Daemon::with(args),
    };
    behind(daemon, |daemon| Server::boa(mode, daemon))
}

fn apache(changes: &[(&str, &str)]) -> Front {
    let daemon = |args: &str| Start::for_www_data().args(args).ready();
    behind(daemon, |daemon| Server::apache(daemon, changes))
}

/// The real one that BOA names.
fn real_boa() -> Front {
    let real = |daemon: &Daemon| Server::rc21(daemon).pop().expect("a boa");
    behind(Daemon::with, real)
}

const HEAD: &str = "\
| web server | WebSocket | event stream | long poll | old page, same URL | POST \
| waiting takes | needs |
|---|---|---|---|---|---|---|---|";

fn line(name: &str, needs: &str, start: fn() -> Front) -> Option<String> {
    let found = catch_unwind(AssertUnwindSafe(|| probe::columns(&mut start())));
    let columns = found.ok()?.join(" | ");
    Some(format!("| {name} | {columns} | {needs} |"))
}

fn main() {
    let lines: Vec<_> = std::thread::scope(|scope| {
        let rows = ROWS.iter().map(|row| {
            let run = move || line(row.name, row.needs, row.start);
            let named = std::thread::Builder::new().name(row.name.to_owned());
            named.spawn_scoped(scope, run).expect("a thread")
        });
        let rows: Vec<_> = rows.collect();
        rows.into_iter()
            .map(|row| row.join().expect("a row"))
            .collect()
    });
    println!("{HEAD}");
    let readme = std::fs::read_to_string(project("README.md")).expect("README.md");
    let mut wrong = !readme.contains(HEAD);
    for (row, line) in ROWS.iter().zip(lines) {
        let line = line.unwrap_or_else(|| format!("| {} | failed: see above |", row.name));
        println!("{line}");
        wrong |= !readme.contains(&format!("{line}\n"));
    }
    if std::env::var_os("BOA").is_some() {
        let stand_in = &ROWS[0];
        let line = line(stand_in.name, stand_in.needs, real_boa);
        let line = line.unwrap_or_else(|| "failed: see above".to_owned());
        println!("\nThe boa that BOA names:\n\n{line}");
        wrong |= !readme.contains(&format!("{line}\n"));
    }
    if wrong {
        eprintln!("compat: README.md says something else; what is true stands above");
        std::process::exit(1);
    }
}
