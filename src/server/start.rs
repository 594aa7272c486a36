//! The start: from options to a daemon that serves.

use super::Server;
use crate::config::Config;
use crate::limits;
use crate::logging;
use crate::rundir::RunDir;
use crate::sys::{Address, FileType, Sys, only_roots, write_all};
use log::{info, warn};
use std::io::ErrorKind;

/// Serves until SIGTERM. The error is one line: why the daemon could not start, or go on.
pub fn serve<S: Sys>(mut sys: S, mut config: Config) -> Result<(), String> {
    make_absolute(&sys, &mut config)?;
    match sys.stat(&config.handlers) {
        Ok(stat) if stat.file_type == FileType::Folder => {}
        Ok(_) => return Err(format!("--handlers {} is no folder", config.handlers)),
        Err(e) => {
            let why = format!("--handlers {}: {e}", config.handlers);
            return Err(format!(
                "{why} (name the folder that holds your event programs)"
            ));
        }
    }
    // Before anything of ours could be opened there.
    let ready = match config.ready_fd {
        Some(number) => {
            let taken = sys.take_inherited(number);
            Some(taken.map_err(|e| format!("--ready-fd {number}: {e}"))?)
        }
        None => None,
    };
    fit_descriptors(&sys, &mut config)?;
    fit_memory(&sys, &mut config)?;
    let owner = owner(&sys, &config)?;
    let run = RunDir::new(&config.run);
    // Where others can change a folder, root would follow whatever links they have laid: what
    // lies there is USER's to make. A second daemon ends here, not where its addresses are found
    // in use.
    let made = match only_roots(&sys, run.path()) {
        true => Some(run.make(&sys, owner)?),
        false => None,
    };
    // Ports below 1024 are root's, and so may be a socket's folder; never the run folder.
    let (roots, users): (Vec<_>, Vec<_>) = (config.listen.iter()).partition(|address| {
        matches!(address, Address::Tcp(_))
            || matches!(address, Address::Unix(path) if only_roots(&sys, path))
    });
    let mut listeners = Vec::new();
    for address in roots {
        listeners.push(listen(&sys, address, owner)?);
    }
    if let Some((uid, gid)) = owner {
        sys.become_user(uid, gid)
            .map_err(|e| format!("cannot become the user and group asked for: {e}"))?;
    }
    let lock = match made {
        Some(lock) => lock,
        None => run.make(&sys, None)?,
    };
    for address in users {
        listeners.push(listen(&sys, address, None)?);
    }
    let held = run.prepare(&sys, lock)?;
    sys.catch_signals()
        .map_err(|e| format!("cannot catch signals: {e}"))?;
    let mut server = Server::new(sys, config, run, held, listeners);
    server.announce(ready)?;
    server.run()
}

fn make_absolute<S: Sys>(sys: &S, config: &mut Config) -> Result<(), String> {
    let unix = config
        .listen
        .iter_mut()
        .filter_map(|address| match address {
            Address::Unix(path) => Some(path),
            Address::Tcp(_) => None,
        });
    for path in [&mut config.handlers, &mut config.run]
        .into_iter()
        .chain(unix)
    {
        if !path.starts_with('/') {
            let here = sys
                .current_dir()
                .map_err(|e| format!("the working folder: {e}"))?;
            *path = format!("{here}/{path}");
        }
        while path.len() > 1 && path.ends_with('/') {
            path.pop();
        }
    }
    Ok(())
}

/// Descriptors are budgeted beforehand: with none free, a hand-off would be lost, as
/// recvmsg then succeeds without its descriptor.
fn fit_descriptors<S: Sys>(sys: &S, config: &mut Config) -> Result<(), String> {
    let limit = sys.descriptor_limit();
    let fixed = limits::FIXED_DESCRIPTORS
        + config.listen.len()
        + config.jobs * limits::DESCRIPTORS_PER_JOB
        + limits::REFUSALS * limits::DESCRIPTORS_PER_CONNECTION;
    let fits = limit.saturating_sub(fixed) / limits::DESCRIPTORS_PER_CONNECTION;
    if fits == 0 {
        return Err(format!(
            "a limit of {limit} descriptors is too low: {fixed} are needed beside those of \
             connections (raise ulimit -n, or lower --jobs)"
        ));
    }
    if fits < config.max_connections {
        warn!("--max-connections lowered to {fits}: the limit is {limit} descriptors (ulimit -n)");
        config.max_connections = fits;
    }
    Ok(())
}

/// An allocation that fails ends the daemon, so `--memory` must be there to be taken, and room
/// for what an allocator cannot use of it.
fn fit_memory<S: Sys>(sys: &S, config: &mut Config) -> Result<(), String> {
    let limit = sys.memory_limit();
    let fits = fits(limit);
    if fits < config.least_memory() {
        return Err(format!(
            "a limit of {limit} bytes of memory is too low: at least {} are needed (raise it, \
             ulimit -v or the build's MEMORY, or lower --jobs, --max-message or --max-reply)",
            needed(config.least_memory())
        ));
    }
    if fits < config.memory {
        warn!("--memory lowered to {fits}: the limit is {limit} bytes");
        config.memory = fits;
    }
    Ok(())
}

/// What of a limit may be `--memory`.
fn fits(limit: usize) -> usize {
    limit.saturating_sub(limits::UNCOUNTED_MEMORY) / 5 * 4
}

/// The limit that a `--memory` needs.
fn needed(memory: usize) -> usize {
    let room = memory.div_ceil(4).saturating_mul(5);
    room.saturating_add(limits::UNCOUNTED_MEMORY)
}

fn owner<S: Sys>(sys: &S, config: &Config) -> Result<Option<(u32, u32)>, String> {
    if config.user.is_none() && config.group.is_none() {
        return Ok(None);
    }
    let (mut uid, mut gid) = sys.identity();
    if let Some(name) = &config.user {
        (uid, gid) = sys.user(name).map_err(|e| format!("--user {name}: {e}"))?;
    }
    if let Some(name) = &config.group {
        gid = sys
            .group(name)
            .map_err(|e| format!("--group {name}: {e}"))?;
    }
    Ok(Some((uid, gid)))
}

fn listen<S: Sys>(sys: &S, address: &Address, owner: Option<(u32, u32)>) -> Result<S::Fd, String> {
    let fail = |e: std::io::Error| match e.kind() {
        ErrorKind::AddrInUse => format!(
            "--listen {address}: {e} (stop whoever listens there, or choose another address)"
        ),
        _ => format!("--listen {address}: {e}"),
    };
    let listener = sys.listen(address).map_err(fail)?;
    if let (Address::Unix(path), Some(owner)) = (address, owner) {
        sys.give(path, owner).map_err(fail)?;
    }
    Ok(listener)
}

impl<S: Sys> Server<S> {
    fn announce(&self, ready: Option<S::Fd>) -> Result<(), String> {
        let config = &self.shared.config;
        info!(
            target: logging::START,
            "ws2cgi {} ready in {}: {} connections, {} jobs, {} bytes of memory",
            env!("CARGO_PKG_VERSION"),
            self.run.path(),
            config.max_connections,
            config.jobs,
            config.memory
        );
        match ready {
            Some(fd) => {
                write_all(&self.shared.sys, &fd, b"\n").map_err(|e| format!("--ready-fd: {e}"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_would_fit() {
        for least in [
            1,
            7,
            8,
            2_310_000,
            usize::MAX / 5 * 4 - limits::UNCOUNTED_MEMORY,
        ] {
            assert!(fits(needed(least)) >= least, "{least}");
            assert!(fits(needed(least) - 1) < least, "{least}");
        }
        for least in [usize::MAX / 5 * 4 + 5, usize::MAX - 1, usize::MAX] {
            assert_eq!(needed(least), usize::MAX, "{least}");
        }
    }
}
