//! What /proc tells of the daemon.

use super::Daemon;

impl Daemon {
    /// What its descriptors are: `socket:[123]`, `/dev/null`.
    pub fn descriptors(&self) -> Vec<String> {
        let folder =
            std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("its descriptors");
        let link = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
        let links = folder.filter_map(|entry| link(entry.expect("an entry")));
        links.map(|link| link.display().to_string()).collect()
    }

    /// Processor time used, in clock ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let fields: Vec<_> = rest.split(' ').collect();
        // utime and stime, fields 14 and 15 of proc(5).
        fields[11..13]
            .iter()
            .map(|n| n.parse::<u64>().expect("ticks"))
            .sum()
    }

    /// A line of /proc/PID/status: `Uid`.
    pub fn process(&self, field: &str) -> Vec<String> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.expect("the field")
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }
}
