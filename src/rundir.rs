//! The run folder: where the daemon and the small programs meet.

use crate::config::DEFAULT_RUN;
use crate::sys::{Environment, FileType, Open, Sys, variable, write_all};
use log::warn;
use std::io::ErrorKind;

/// The run folder's paths.
#[derive(Clone, Debug)]
pub struct RunDir(String);

/// What the daemon holds of it.
pub struct Held<S: Sys> {
    /// Hand-off records arrive here.
    pub handoff: Handoff<S::Fd>,
    /// The FIFO, open for both.
    pub outbox: S::Fd,
    /// The folder, locked: the test for a live daemon. It is what nobody else can open, and so
    /// lock: its group may enter it, but not read it.
    pub lock: S::Fd,
}

/// The hand-off socket.
pub struct Handoff<F> {
    /// Its descriptor.
    pub socket: F,
    /// Device and inode of its name, which are not those of the descriptor.
    pub name: Option<(u64, u64)>,
}

/// What the daemon puts back where it was removed, beside what it has open.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The pid file.
    Pid,
    /// The spool folder.
    Spool,
}

impl RunDir {
    /// A run folder at an absolute path.
    pub fn new(path: &str) -> RunDir {
        RunDir(path.trim_end_matches('/').to_owned())
    }

    /// Where a small program finds it: WS2CGI_RUN, else a one-line file `.ws2cgi` in the
    /// folder it was called from (`called_as` is argv\[0\]: the link's folder, not the flashed
    /// binary's) or, as a CGI program, in the working folder (boa gives CGI programs no
    /// environment of yours), else the default.
    pub fn find<S: Sys>(sys: &S, called_as: &str, env: &Environment) -> RunDir {
        let named = variable(env, "WS2CGI_RUN");
        if let Some(run) = named.filter(|run| !run.is_empty()) {
            return RunDir::new(run);
        }
        let mut places = Vec::new();
        if let Some((folder, _)) = called_as.rsplit_once('/') {
            places.push(format!("{folder}/.ws2cgi"));
        }
        if variable(env, "GATEWAY_INTERFACE").is_some() {
            places.push(".ws2cgi".to_owned());
        }
        let found = places.iter().find_map(|place| first_line(sys, place));
        RunDir::new(found.as_deref().unwrap_or(DEFAULT_RUN))
    }

    /// The folder itself.
    pub fn path(&self) -> &str {
        &self.0
    }
    /// The hand-off socket.
    pub fn handoff(&self) -> String {
        format!("{}/handoff.sock", self.0)
    }
    /// The FIFO.
    pub fn outbox(&self) -> String {
        format!("{}/outbox", self.0)
    }
    /// A file of the spool folder, or the folder itself.
    pub fn spool(&self, name: &str) -> String {
        format!("{}/spool/{name}", self.0)
    }
    /// status.json, and the name it is written under before.
    pub fn status(&self) -> (String, String) {
        (
            format!("{}/status.json", self.0),
            format!("{}/.status.json.new", self.0),
        )
    }
    /// The pid file.
    pub fn pid(&self) -> String {
        format!("{}/pid", self.0)
    }
    /// The path of a place.
    pub fn of(&self, place: Place) -> String {
        match place {
            Place::Pid => self.pid(),
            Place::Spool => format!("{}/spool", self.0),
        }
    }
    /// The token of ws-push, if any.
    pub fn token(&self) -> String {
        format!("{}/token", self.0)
    }

    /// Makes the folder itself, for `owner`, before the change of user, and locks it. The error
    /// is one line that names the cure.
    pub fn make<S: Sys>(&self, sys: &S, owner: Option<(u32, u32)>) -> Result<S::Fd, String> {
        let folder = self.path();
        match sys.make_dir(folder) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => self.check_ours(sys)?,
            result => result.map_err(|e| {
                format!(
                    "cannot make the run folder {folder}: {e} (make it, or choose another --run)"
                )
            })?,
        }
        let fail = |e| {
            format!(
                "cannot own the run folder {folder}: {e} (give it to this user, or choose \
                 another --run)"
            )
        };
        let made = sys.open(folder, Open::Folder).map_err(fail)?;
        if !sys.lock(&made).map_err(fail)? {
            return Err(self.taken(sys));
        }
        sys.set_access(&made, owner, 0o710).map_err(fail)?;
        Ok(made)
    }

    /// A folder that was there is taken only if it is empty or has been a run folder: a slip
    /// such as `--run /tmp` would shut everyone else out of it.
    fn check_ours<S: Sys>(&self, sys: &S) -> Result<(), String> {
        let folder = self.path();
        // A link would give away what it points to.
        if sys.lstat(folder).map(|stat| stat.file_type).ok() != Some(FileType::Folder) {
            return Err(format!("{folder} is no folder; choose another --run"));
        }
        // Where it can't be listed it is not this user's, and can't be owned either.
        let names = sys.list(folder).unwrap_or_default();
        let ours = ["outbox", "spool", "handoff.sock", "pid", "token"];
        match names.is_empty() || names.iter().any(|name| ours.contains(&name.as_str())) {
            true => Ok(()),
            false => Err(format!("{folder} holds other things; choose another --run")),
        }
    }

    /// Makes all that is in the folder ready for the one daemon that has locked it, as the user
    /// that it runs as.
    pub fn prepare<S: Sys>(&self, sys: &S, lock: S::Fd) -> Result<Held<S>, String> {
        self.write_pid(sys)?;
        self.prepare_spool(sys)?;
        let outbox = self.prepare_outbox(sys)?;
        let handoff = self.bind_handoff(sys)?;
        Ok(Held {
            handoff,
            outbox,
            lock,
        })
    }

    /// Makes the hand-off socket.
    pub fn bind_handoff<S: Sys>(&self, sys: &S) -> Result<Handoff<S::Fd>, String> {
        let path = self.handoff();
        let fail = |e| format!("cannot use {path}: {e}");
        // Whoever bound it is gone: the lock is ours.
        match sys.unlink(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(fail(e)),
            _ => {}
        }
        let socket = sys.bind_handoff(&path).map_err(fail)?;
        let name = sys.lstat(&path).map(|stat| stat.id).ok();
        Ok(Handoff { socket, name })
    }

    /// Whether the folder of this name is still the one that was locked.
    pub fn is_locked_by<S: Sys>(&self, sys: &S, lock: &S::Fd) -> bool {
        let now = sys.lstat(self.path()).map(|stat| stat.id).ok();
        now.is_some() && now == sys.fstat(lock).map(|stat| stat.id).ok()
    }

    /// Makes what is not there any more. False: it is there.
    pub fn put_back<S: Sys>(&self, sys: &S, place: Place) -> Result<bool, String> {
        match sys.lstat(&self.of(place)) {
            Err(e) if e.kind() == ErrorKind::NotFound => match place {
                Place::Pid => self.write_pid(sys).map(|()| true),
                Place::Spool => self.prepare_spool(sys).map(|()| true),
            },
            _ => Ok(false),
        }
    }

    /// Files in the spool folder.
    pub fn spooled<S: Sys>(&self, sys: &S) -> Vec<String> {
        sys.list(&self.of(Place::Spool)).unwrap_or_default()
    }

    /// Why another daemon can't have it.
    fn taken<S: Sys>(&self, sys: &S) -> String {
        let pid = first_line(sys, &self.pid()).unwrap_or_default();
        let folder = self.path();
        format!("another ws2cgi, pid {pid}, serves {folder}; stop it, or choose another --run")
    }

    fn write_pid<S: Sys>(&self, sys: &S) -> Result<(), String> {
        let path = self.pid();
        let fail = |e| format!("cannot use {path}: {e}");
        // Left by a daemon that was killed here.
        match sys.unlink(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(fail(e)),
            _ => {}
        }
        let pid = sys.open(&path, Open::Create(0o644)).map_err(fail)?;
        sys.set_access(&pid, None, 0o644).map_err(fail)?;
        write_all(sys, &pid, format!("{}\n", sys.pid()).as_bytes()).map_err(fail)
    }

    fn prepare_spool<S: Sys>(&self, sys: &S) -> Result<(), String> {
        let path = self.of(Place::Spool);
        let fail = |e| format!("cannot use {path}: {e}");
        match sys.make_dir(&path) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(fail(e)),
            _ => {}
        }
        if sys.lstat(&path).map_err(fail)?.file_type != FileType::Folder {
            return Err(format!("{path} is no folder; remove it"));
        }
        let spool = sys.open(&path, Open::Folder).map_err(fail)?;
        // Sticky and without r: writers can't list, nor take each other's files.
        // What lies there is kept: a writer may wait with the line that names it.
        sys.set_access(&spool, None, 0o3730).map_err(fail)
    }

    /// Makes the FIFO, or opens the one that is there.
    pub fn prepare_outbox<S: Sys>(&self, sys: &S) -> Result<S::Fd, String> {
        let path = self.outbox();
        let fail = |e| format!("cannot use {path}: {e}");
        match sys.lstat(&path).map(|stat| stat.file_type) {
            // Kept, so that writers who wait in it go on.
            Ok(FileType::Fifo) => {}
            Ok(FileType::Regular) => {
                warn!("{path} was a regular file, made by a writer where no FIFO was; replaced");
                sys.unlink(&path).map_err(fail)?;
                sys.make_fifo(&path).map_err(fail)?;
            }
            Ok(_) => return Err(format!("{path} is no FIFO; remove it")),
            Err(e) if e.kind() == ErrorKind::NotFound => sys.make_fifo(&path).map_err(fail)?,
            Err(e) => return Err(fail(e)),
        }
        let outbox = sys.open(&path, Open::Fifo).map_err(fail)?;
        if sys.fstat(&outbox).map_err(fail)?.file_type != FileType::Fifo {
            return Err(format!("{path} is no FIFO; remove it"));
        }
        sys.set_access(&outbox, None, 0o620).map_err(fail)?;
        Ok(outbox)
    }

    /// Whoever comes from now on finds no daemon.
    pub fn shut<S: Sys>(&self, sys: &S) {
        // Gone already, or the folder is: nothing to mend at the end.
        let _ = sys.unlink(&self.handoff());
    }

    /// An ended daemon leaves the FIFO, so that waiting writers go on with the next. The lock
    /// goes with its process: until then no other daemon may serve this folder.
    pub fn leave<S: Sys>(&self, sys: &S) {
        let _ = sys.unlink(&self.pid());
    }
}

/// The first line of a small file, without blanks around it.
pub fn first_line<S: Sys>(sys: &S, path: &str) -> Option<String> {
    let file = sys.open(path, Open::Read).ok()?;
    let mut buf = [0; 512];
    let len = sys.read(&file, &mut buf).ok()?;
    let text = core::str::from_utf8(&buf[..len]).ok()?;
    let line = text.lines().next()?.trim_ascii();
    (!line.is_empty()).then(|| line.to_owned())
}
