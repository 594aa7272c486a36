//! What /proc tells of the daemon, and of web servers and browsers.

use super::{Daemon, proc_stat, running};
use std::process::{Command, Stdio};

impl Daemon {
    /// What its descriptors are: `socket:[123]`, `/dev/null`.
    pub fn descriptors(&self) -> Vec<String> {
        descriptors(self.pid())
    }

    /// The number that the next descriptor gets.
    pub fn lowest_free_descriptor(&self) -> usize {
        let taken =
            |n: &usize| std::fs::symlink_metadata(format!("/proc/{}/fd/{n}", self.pid())).is_ok();
        (0..).find(|n| !taken(n)).expect("a number")
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

    /// Kilobytes of its own memory. Not by RssAnon, which is what the processors have told of it
    /// (proc(5): inaccurate): a few hundred more or less.
    pub fn anonymous(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        let rollup = std::fs::read_to_string(path).expect("smaps_rollup");
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"));
        let kb = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kb.expect("Anonymous").parse().expect("a number")
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

fn descriptors(pid: u32) -> Vec<String> {
    // It may just have ended.
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
    let links = folder.flatten().flatten().map(|entry| entry.path());
    let links = links.filter_map(|path| std::fs::read_link(path).ok());
    links.map(|link| link.display().to_string()).collect()
}

/// The ports that a process listens on. `table`: `tcp` or `tcp6`.
pub fn ports(pid: u32, table: &str) -> Vec<u16> {
    let table = std::fs::read_to_string(format!("/proc/net/{table}")).expect("/proc/net");
    let sockets = descriptors(pid);
    let ports = table.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let listens = words[3] == "0A" && sockets.contains(&format!("socket:[{}]", words[9]));
        let (_, port) = words[1].rsplit_once(':')?;
        listens.then(|| u16::from_str_radix(port, 16).expect("a port"))
    });
    ports.collect()
}

/// The processes whose parent this is.
pub fn children(pid: u32) -> Vec<u32> {
    processes(4, pid)
}

/// The processes of a process group.
pub fn group_members(group: u32) -> Vec<u32> {
    processes(5, group)
}

/// SIGKILL to a process group.
pub fn kill_group(group: u32) {
    let target = format!("-{group}");
    let mut kill = Command::new("kill");
    kill.args(["-s", "KILL", "--", &target]);
    // It may have ended by itself.
    let _ = kill.stderr(Stdio::null()).status();
}

/// The running processes by a field of /proc/PID/stat (proc(5) counts them).
fn processes(field: usize, value: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let value = Some(value.to_string());
    pids.filter(|&pid| running(pid) && proc_stat(pid, field) == value)
        .collect()
}
