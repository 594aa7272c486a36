//! The figures as a table, and against what was hoped for.

use super::harness::ws2cgi;
use super::plot;
use super::programs::Programs;
use super::run::Figures;
use super::way::Way;
use super::{RATE, Wishes};
use std::fmt::Write;
use std::path::Path;

/// What was measured.
pub struct Report {
    runs: Vec<(Way, usize, Figures)>,
    /// How, in words.
    how: String,
    command: String,
    load: String,
}

/// The goals are for so many browsers, or the number nearest to it.
const GOAL_AT: usize = 20;

impl Report {
    /// `args`: of the command.
    pub fn new(args: &[String], wishes: &Wishes, programs: &Programs) -> Report {
        let words = args.iter().filter_map(|arg| arg.split_once('='));
        let words = words.map(|(name, value)| match value.contains(' ') {
            true => format!(" {name}=\"{value}\""),
            false => format!(" {name}={value}"),
        });
        let server = match wishes.server.as_str() {
            "boa" => "the stand-in for boa 0.94.14rc21, `tests/boa/boa.c`",
            other => other,
        };
        let binary = std::fs::metadata(ws2cgi()).expect("ws2cgi").len();
        let how = format!(
            "- {RATE} updates a second for {} s a run, each run with a web server and a daemon of \
             its own\n- all ways in turn, and the medians of {} such rounds\n\
             - web server: {server}\n\
             - ws2cgi: its default options and `--history 65536`; the program has {} KB\n\
             - CGI programs: {}\n- {}",
            wishes.time.as_secs(),
            wishes.rounds,
            (binary + 500) / 1000,
            programs.how,
            machine(),
        );
        Report {
            runs: Vec::new(),
            how,
            command: format!("make bench-longpoll{}", words.collect::<String>()),
            load: load(),
        }
    }

    /// Adds a run, and says what came of it.
    pub fn add(&mut self, way: Way, clients: usize, figures: Figures) {
        println!("{}", line(way, clients, &figures));
        self.runs.push((way, clients, figures));
    }

    /// The medians.
    pub fn figures(&self, way: Way, clients: usize) -> Figures {
        let runs = self.runs.iter();
        let runs = runs.filter(|(w, c, _)| (*w, *c) == (way, clients));
        let runs: Vec<_> = runs.map(|(_, _, figures)| figures).collect();
        let median = |figure: fn(&Figures) -> f64| {
            let mut all: Vec<_> = runs.iter().map(|figures| figure(figures)).collect();
            all.sort_by(f64::total_cmp);
            (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
        };
        Figures {
            cpu: median(|f| f.cpu),
            processes: median(|f| f.processes),
            memory: median(|f| f.memory),
            p50: median(|f| f.p50),
            p99: median(|f| f.p99),
            missed: median(|f| f.missed),
        }
    }

    /// The numbers of browsers, the smallest first.
    pub fn clients(&self) -> Vec<usize> {
        let mut clients: Vec<_> = self.runs.iter().map(|(_, clients, _)| *clients).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// What one more browser adds to the memory, in KB; None where there is one number only.
    fn slope(&self, way: Way) -> Option<f64> {
        let clients = self.clients();
        let (few, many) = (*clients.first()?, *clients.last()?);
        let memory = |clients| self.figures(way, clients).memory;
        (few < many).then(|| (memory(many) - memory(few)) / (many - few) as f64)
    }

    fn table(&self) -> String {
        let mut table = HEAD.to_owned();
        for clients in self.clients() {
            for way in Way::ALL {
                table.push_str(&line(way, clients, &self.figures(way, clients)));
                table.push('\n');
            }
        }
        table
    }

    fn goals(&self) -> String {
        let clients = self.clients();
        let at = *clients
            .iter()
            .min_by_key(|c| c.abs_diff(GOAL_AT))
            .expect("a run");
        let mut goals = format!("| at {at} browsers, WebSocket against |");
        for way in Way::CLASSIC {
            write!(goals, " {} |", way.name()).expect("text");
        }
        goals.push_str("\n|---|---|---|---|\n");
        let ours = self.figures(Way::WebSocket, at);
        let mut row = |what: &str, cell: &dyn Fn(Way, Figures) -> (bool, String)| {
            write!(goals, "| {what} |").expect("text");
            for way in Way::CLASSIC {
                let (met, figure) = cell(way, self.figures(way, at));
                let word = if met { "yes" } else { "NO" };
                write!(goals, " {word}: {figure} |").expect("text");
            }
            goals.push('\n');
        };
        let part = |ours: f64, theirs: f64| {
            let times = theirs / ours;
            (times >= 20.0, format!("1/{times:.1}"))
        };
        row("processor time of an update at most 1/20", &|_, theirs| {
            part(ours.cpu, theirs.cpu)
        });
        row("memory of all while waiting at most 1/20", &|_, theirs| {
            part(ours.memory, theirs.memory)
        });
        if let Some(ours) = self.slope(Way::WebSocket) {
            row("memory of one more browser at most 1/20", &|way, _| {
                part(ours, self.slope(way).expect("several"))
            });
        }
        row("p99 of the latency below its p50", &|_, theirs| {
            let figure = format!("{:.1} and {:.1} ms", ours.p99, theirs.p50);
            (ours.p99 < theirs.p50, figure)
        });
        row("no update missed by any way of ws2cgi", &|_, theirs| {
            let ours = [Way::Poll, Way::Events, Way::WebSocket];
            let ours = self.runs.iter().filter(|(way, _, _)| ours.contains(way));
            let ours = ours
                .map(|(_, _, figures)| figures.missed)
                .fold(0.0, f64::max);
            (ours == 0.0, format!("{ours:.1} and {:.1} %", theirs.missed))
        });
        goals
    }

    /// On stdout.
    pub fn print_goals(&self) {
        println!("\n{}", self.goals());
    }

    /// Writes `longpoll.md` and `longpoll.svg`.
    pub fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut slopes = String::new();
        for way in Way::ALL {
            if let Some(slope) = self.slope(way) {
                writeln!(slopes, "| {} | {slope:.1} |", way.name()).expect("text");
            }
        }
        let text = format!(
            "# Long polling over CGI, and ws2cgi\n\nMade by `{}`:\n\n{}, load average {} at the \
             start, {} at the end\n\n![plot](longpoll.svg)\n\n{ABOUT}\n{}\n{}\n\
             | one more browser that waits | KB |\n|---|---|\n{slopes}",
            self.command,
            self.how,
            self.load,
            load(),
            self.table(),
            self.goals(),
        );
        for (name, text) in [("longpoll.md", text), ("longpoll.svg", plot::plot(self))] {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("write");
            println!("{}", path.display());
        }
    }
}

const HEAD: &str = "| browsers | way | CPU of an update, µs | processes | memory, KB \
    | p50, ms | p99, ms | missed, % |\n|---|---|---|---|---|---|---|---|\n";

fn line(way: Way, clients: usize, figures: &Figures) -> String {
    format!(
        "| {clients} | {} | {:.1} | {} | {:.0} | {:.1} | {:.1} | {:.1} |",
        way.name(),
        figures.cpu,
        figures.processes,
        figures.memory,
        figures.p50,
        figures.p99,
        figures.missed,
    )
}

const ABOUT: &str = "\
CPU: user and system time of web server, daemon and all their programs, for each update that came
to a browser; not that of the browsers, nor that of whoever measures. Processes and memory (PSS):
the same ones, while all browsers wait, where long polling over CGI needs no daemon. PSS leaves out
what the kernel itself needs for a process. Latency: from the update's creation until a browser has
it. Missed: updates that never came to a browser that was there all the time.

`cgi-bin/longpoll.c` looks at the sensor's file each 100 ms, as is usual. So that nobody has to
wonder: once more with a look each 10 ms, and once more with inotify, which wakes it at once.
";

/// What it ran on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (kernel, info) = (read("/proc/sys/kernel/osrelease"), read("/proc/cpuinfo"));
    let cpus = info.matches("processor\t").count();
    // `-` and what follows are the builder's.
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!("{cpus} CPUs, {}, Linux {kernel}", std::env::consts::ARCH)
}

/// The load average of the last minute.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").expect("loadavg");
    load.split(' ').next().unwrap_or_default().to_owned()
}
