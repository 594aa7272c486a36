//! Web servers in front of a daemon: the stand-in for boa, a real one where BOA names it,
//! lighttpd, apache, busybox, mini-httpd and nginx, each with the configuration that `board/` offers.

use super::{Daemon, Site, compile, free_port, kill_group, ports, run_ok, wait_for};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running web server, on loopback. Dropping it ends it. Its folder is the daemon's:
/// pages are in `www/`, programs in `cgi-bin/`.
pub struct Server {
    /// `boa rc21`, `lighttpd`: for messages.
    pub name: String,
    site: Site,
    /// To start it again.
    command: Command,
    child: Child,
}

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A command that Debian may have in a `sbin` folder.
pub fn server_command(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

impl Server {
    // ---- boa

    /// The stand-in in one of its modes: rc21, uclinux, piped.
    pub fn boa(mode: &str, daemon: &Daemon) -> Server {
        let config = daemon.path(&format!("boa-{mode}.conf"));
        let offered = match mode {
            "uclinux" => "board/uclinux/boa.conf",
            _ => "board/boa.conf",
        };
        pages(daemon);
        std::fs::write(&config, boa_conf(daemon, offered, 0)).expect("boa.conf");
        let mut command = Command::new(compile("tests/boa/boa.c"));
        command.arg(mode).arg(&config).stdout(Stdio::piped());
        log_to(&mut command, daemon, "boa.log");
        let mut child = command.spawn().expect("start boa");
        let stdout = child.stdout.take().expect("its stdout");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its port");
        let port: u16 = line.trim().parse().expect("a port number");
        // Started again, it gets the port that it has now.
        std::fs::write(&config, boa_conf(daemon, offered, port)).expect("boa.conf");
        command.stdout(Stdio::null());
        Server {
            name: format!("boa {mode}"),
            site: Site { port },
            command,
            child,
        }
    }

    /// boa 0.94.14rc21: the stand-in, and the real one if BOA names it.
    pub fn rc21(daemon: &Daemon) -> Vec<Server> {
        let mut servers = vec![Server::boa("rc21", daemon)];
        if let Some(boa) = std::env::var_os("BOA") {
            servers.push(Server::on_a_free_port("real boa", |port| {
                let config = daemon.path("boa-conf");
                std::fs::create_dir_all(&config).expect("boa's folder");
                let text = boa_conf(daemon, "board/boa.conf", port);
                std::fs::write(config.join("boa.conf"), text).expect("boa.conf");
                let mut command = Command::new(&boa);
                command.args(["-d", "-c"]).arg(config).stdout(Stdio::null());
                log_to(&mut command, daemon, "real-boa.log");
                command
            }));
        }
        servers
    }

    // ---- lighttpd

    /// lighttpd with `board/lighttpd.conf`.
    pub fn lighttpd(daemon: &Daemon) -> Server {
        Server::lighttpd_with(daemon, &project("board/lighttpd.conf"))
    }

    /// lighttpd with `board/lighttpd-tls.conf`, and a [`certificate`] of its own.
    pub fn lighttpd_tls(daemon: &Daemon) -> Server {
        certificate(daemon);
        Server::lighttpd_with(daemon, &project("board/lighttpd-tls.conf"))
    }

    /// lighttpd with another configuration that reads the same environment.
    pub fn lighttpd_with(daemon: &Daemon, config: &Path) -> Server {
        let root = pages(daemon);
        Server::on_a_free_port("lighttpd", |port| {
            let mut command = server_command("lighttpd");
            command.arg("-D").arg("-f").arg(config).envs([
                ("WS2CGI_PORT", port.to_string()),
                ("WS2CGI_WWW", root.join("www").display().to_string()),
                ("WS2CGI_CGIBIN", root.join("cgi-bin").display().to_string()),
                ("WS2CGI_PEM", root.join("pem").display().to_string()),
            ]);
            log_to(&mut command, daemon, "lighttpd.log");
            command
        })
    }

    // ---- busybox

    /// busybox's httpd, whose programs lie below its pages.
    pub fn busybox(daemon: &Daemon) -> Server {
        let www = pages(daemon).join("www");
        symlink("../cgi-bin", www.join("cgi-bin")).expect("link");
        Server::on_a_free_port("busybox httpd", |port| {
            let mut command = Command::new("busybox");
            command.args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"]);
            command.arg(&www);
            log_to(&mut command, daemon, "busybox.log");
            command
        })
    }

    // ---- mini-httpd

    /// mini-httpd, whose programs lie below its pages.
    #[allow(dead_code)] // `make compat` has it
    pub fn mini_httpd(daemon: &Daemon) -> Server {
        let www = pages(daemon).join("www");
        symlink("../cgi-bin", www.join("cgi-bin")).expect("link");
        Server::on_a_free_port("mini-httpd", |port| {
            let mut command = server_command("mini_httpd");
            command.args(["-D", "-h", "127.0.0.1", "-p", &port.to_string()]);
            command.args(["-c", "cgi-bin/*", "-u", &user(), "-d"]);
            command.arg(&www).current_dir(&www);
            log_to(&mut command, daemon, "mini-httpd.log");
            command
        })
    }

    // ---- apache

    /// apache with `board/apache.conf`; `changes` to its text. Where tests run as root it is
    /// www-data, who needs [`Start::for_www_data`](super::Start::for_www_data).
    pub fn apache(daemon: &Daemon, changes: &[(&str, &str)]) -> Server {
        let root = pages(daemon);
        let config = root.join("apache.conf");
        std::fs::write(&config, changed("board/apache.conf", changes)).expect("apache.conf");
        let files = root.join("apache");
        std::fs::create_dir_all(&files).expect("a folder");
        Server::on_a_free_port("apache", |port| {
            let mut command = server_command("apache2");
            command.arg("-DFOREGROUND").arg("-f").arg(&config).envs([
                ("WS2CGI_PORT", port.to_string()),
                ("WS2CGI_WWW", root.join("www").display().to_string()),
                ("WS2CGI_CGIBIN", root.join("cgi-bin").display().to_string()),
                ("WS2CGI_DIR", files.display().to_string()),
            ]);
            log_to(&mut command, daemon, "apache.log");
            command
        })
    }

    // ---- nginx

    /// nginx with `board/nginx.conf` in front of `backend`, as `--listen` has it;
    /// `changes` to its text.
    pub fn nginx(daemon: &Daemon, backend: &str, changes: &[(&str, &str)]) -> Server {
        let root = pages(daemon).display().to_string();
        let text = changed("board/nginx.conf", changes);
        let text = text.replace("@BACKEND@", backend).replace("@DIR@", &root);
        Server::on_a_free_port("nginx", |port| {
            let config = daemon.path("nginx.conf");
            let text = text.replace("@PORT@", &port.to_string());
            std::fs::write(&config, text).expect("nginx.conf");
            let mut command = server_command("nginx");
            // Its workers would else be nobody's, who may not enter a temporary folder.
            let directives = format!("daemon off; user {};", user());
            command.args(["-p", &root, "-g", &directives, "-c"]);
            command.arg(config);
            log_to(&mut command, daemon, "nginx.log");
            command
        })
    }

    // ---- Starting and ending

    /// A server that can't be told to find a port itself, and may lose a race for it.
    fn on_a_free_port(name: &str, make: impl Fn(u16) -> Command) -> Server {
        for _ in 0..10 {
            let port = free_port();
            let mut command = make(port);
            let mut server = Server {
                name: name.to_owned(),
                site: Site { port },
                child: command.spawn().unwrap_or_else(|e| panic!("{name}: {e}")),
                command,
            };
            if server.comes_up() {
                return server;
            }
        }
        panic!("{name} does not start; {:?}", make(0));
    }

    /// Waits until it listens; false: it has ended.
    fn comes_up(&mut self) -> bool {
        let (pid, port) = (self.child.id(), self.port);
        wait_for(&format!("{} to listen", self.name), || {
            if self.child.try_wait().expect("wait").is_some() {
                return Some(false);
            }
            ports(pid, "tcp").contains(&port).then_some(true)
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts it again, on the same port, after [`Server::kill`] or [`Server::end`].
    pub fn start_again(&mut self) {
        let what = format!("{} to start again", self.name);
        wait_for(&what, || {
            self.child = self.command.spawn().expect("start it again");
            // For a moment its port may be held by what the one before had just forked.
            self.comes_up().then_some(())
        });
    }

    /// Ends it properly.
    pub fn end(&mut self) {
        if self.child.try_wait().expect("wait").is_none() {
            run_ok(Command::new("kill").arg(self.pid().to_string()));
            let child = &mut self.child;
            wait_for("the web server to end", || child.try_wait().expect("wait"));
        }
    }
}

impl Deref for Server {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It may be hung: that may be what has failed. nginx has workers in its group.
            kill_group(self.pid());
            let _ = self.child.wait();
        } else {
            self.end();
        }
    }
}

/// A file of the project with changes to its text.
fn changed(path: &str, changes: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(project(path)).expect(path);
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "no {from} in {path}");
        text.replace(from, to)
    })
}

/// Makes `www/` with the tests' pages; returns the daemon's folder.
fn pages(daemon: &Daemon) -> PathBuf {
    let www = daemon.path("www");
    std::fs::create_dir_all(&www).expect("www");
    for (from, to) in [
        ("tests/peers/page.html", "index.html"),
        ("tests/peers/line.html", "line.html"),
        ("board/www/ws2cgi.js", "ws2cgi.js"),
    ] {
        std::fs::copy(project(from), www.join(to)).expect(from);
    }
    daemon.path("")
}

fn log_to(command: &mut Command, daemon: &Daemon, name: &str) {
    let log = File::options()
        .append(true)
        .create(true)
        .open(daemon.path(name));
    command.stdin(Stdio::null()).stderr(log.expect("a log"));
    command.process_group(0);
}

/// A boa.conf of ours with the places of a test.
fn boa_conf(daemon: &Daemon, offered: &str, port: u16) -> String {
    let text = std::fs::read_to_string(project(offered)).expect("boa.conf");
    let path = |name: &str| daemon.path(name).display().to_string();
    let places = [
        ("Port", port.to_string()),
        ("Listen", "127.0.0.1".to_owned()),
        ("User", user()),
        ("Group", group()),
        ("ErrorLog", path("boa-error.log")),
        ("AccessLog", path("boa-access.log")),
        ("DocumentRoot", path("www")),
        ("ScriptAlias", format!("/cgi-bin/ {}/", path("cgi-bin"))),
    ];
    let line = |line: &str| {
        let word = line.split(' ').next();
        let place = places.iter().find(|(name, _)| Some(*name) == word);
        place.map_or(line.to_owned(), |(name, value)| format!("{name} {value}"))
    };
    text.lines().map(|l| line(l) + "\n").collect()
}

fn id(option: &str) -> String {
    let output = run_ok(Command::new("id").arg(option));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn user() -> String {
    id("-un")
}

fn group() -> String {
    id("-gn")
}

/// Makes `pem`: a key and a certificate for 127.0.0.1 in one file.
fn certificate(daemon: &Daemon) {
    let pem = daemon.path("pem");
    let mut openssl = Command::new("openssl");
    openssl.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
         -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
            .split_whitespace(),
    );
    openssl.arg("-keyout").arg(&pem);
    // The certificate goes to stdout, the key has gone to the file.
    let output = run_ok(&mut openssl);
    let mut file = File::options().append(true).open(&pem).expect("pem");
    file.write_all(&output.stdout).expect("the certificate");
}

/// A case of tests/peers/peer.py; `pem` for `wss:`. Debian's own Python, as its package
/// with `websockets` is for that.
pub fn peer(case: &str, url: &str, pem: Option<&Path>) {
    let mut python = Command::new("/usr/bin/python3");
    python.arg(project("tests/peers/peer.py")).args([case, url]);
    run_ok(python.args(pem));
}
