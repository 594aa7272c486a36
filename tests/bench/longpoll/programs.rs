//! The CGI programs of the classic way, compiled as the Makefile says.

use super::harness::{Daemon, project, run_ok};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Compiled programs.
pub struct Programs {
    folder: TempDir,
    /// How: `cc -Os`.
    pub how: String,
}

/// Their names in `cgi-bin/`, what they are made of, and how it differs.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("longpoll", "cgi-bin/longpoll.c", ""),
    ("eager", "cgi-bin/longpoll.c", "-DPAUSE=10"),
    ("inotify", "tests/bench/longpoll/inotify.c", ""),
];

/// Beside the programs, whose working folder is theirs.
const SENSOR: &str = "sensor";

impl Programs {
    /// With CC, CFLAGS and LDFLAGS of the environment.
    pub fn compile() -> Programs {
        let word = |name, usual: &str| std::env::var(name).unwrap_or(usual.to_owned());
        let (cc, ldflags) = (word("CC", "cc"), word("LDFLAGS", ""));
        let cflags = word("CFLAGS", "-Os");
        let folder = TempDir::new().expect("a folder");
        for (name, source, difference) in PROGRAMS {
            let mut command = Command::new(&cc);
            let options = [&cflags, difference, &ldflags].map(str::split_whitespace);
            command.args(options.into_iter().flatten());
            command.arg(format!("-DSENSOR=\"{SENSOR}\""));
            command.arg("-o").arg(folder.path().join(name));
            run_ok(command.arg(project(source)));
        }
        let linked = if ldflags.contains("-static") {
            "static"
        } else {
            "dynamic"
        };
        Programs {
            folder,
            how: format!("`{cc} {cflags}`, {linked}"),
        }
    }

    /// Puts them, and a first value, where a web server finds them.
    pub fn install(&self, daemon: &Daemon) -> Sensor {
        for (name, _, _) in PROGRAMS {
            let to = daemon.path("cgi-bin").join(name);
            std::fs::copy(self.folder.path().join(name), to).expect("copy");
        }
        let sensor = Sensor {
            file: daemon.path("cgi-bin").join(SENSOR),
        };
        sensor.say("0 0.0");
        sensor
    }
}

/// The file that holds the newest update, as the sensor's daemon keeps it.
pub struct Sensor {
    file: std::path::PathBuf,
}

impl Sensor {
    /// Replaces it.
    pub fn say(&self, update: &str) {
        let new: &Path = &self.file.with_extension("new");
        std::fs::write(new, format!("{update}\n")).expect("write");
        std::fs::rename(new, &self.file).expect("rename");
    }
}
