//! Writing to the outbox, for the small programs: one atomic line, or a spool file and the
//! line that names it.

use crate::limits::{INPUT_STEP, OUTLET_PAYLOAD};
use crate::outbox::{Opcode, encode, encode_spooled};
use crate::rundir::RunDir;
use crate::sys::{FileType, Open, Sys, write_all};
use crate::target::Target;
use std::io::{self, ErrorKind};

/// Where the outbox is.
pub struct Outlet {
    outbox: String,
    run: RunDir,
}

/// Why a message could not be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The caller's mistake.
    Usage(String),
    /// The daemon is not there.
    NotRunning(String),
    /// Anything else.
    System(String),
}

impl Outlet {
    /// The outbox of a run folder.
    pub fn new(run: RunDir) -> Outlet {
        Outlet {
            outbox: run.outbox(),
            run,
        }
    }

    /// Sends a message. Waits while the FIFO is full.
    pub fn send<S: Sys>(
        &self,
        sys: &S,
        opcode: Opcode,
        target: &Target,
        payload: &[u8],
    ) -> Result<(), Failure> {
        if opcode == Opcode::Text && core::str::from_utf8(payload).is_err() {
            let why = "the text is not UTF-8; send it as binary";
            return Err(Failure::Usage(why.to_owned()));
        }
        let fifo = self.open(sys)?;
        match encode(opcode, target, payload) {
            Some(line) => self.write(sys, &fifo, &line),
            None => {
                let name = hex(&sys.seed());
                let path = self.run.spool(&name);
                let line = encode_spooled(opcode, target, &name);
                let spooled = spool(sys, &path, payload)
                    .map_err(|e| Failure::System(format!("cannot write {path}: {e}")));
                let result = spooled.and_then(|()| self.write(sys, &fifo, &line));
                if result.is_err() {
                    // Nobody will fetch it. It may never have been made.
                    let _ = sys.unlink(&path);
                }
                result
            }
        }
    }

    /// Sends a line as it is, newline included.
    pub fn command<S: Sys>(&self, sys: &S, line: &str) -> Result<(), Failure> {
        let fifo = self.open(sys)?;
        self.write(sys, &fifo, line.as_bytes())
    }

    fn open<S: Sys>(&self, sys: &S) -> Result<S::Fd, Failure> {
        let outbox = &self.outbox;
        let gone =
            |what| Failure::NotRunning(format!("the daemon is not running: {what} {outbox}"));
        let fifo = sys
            .open(outbox, Open::FifoWriter)
            .map_err(|e| match e.kind() {
                ErrorKind::NotConnected => gone("nobody reads"),
                ErrorKind::NotFound => gone("there is no"),
                _ => Failure::System(format!("cannot write to {outbox}: {e}")),
            })?;
        match sys.fstat(&fifo).map(|stat| stat.file_type) {
            Ok(FileType::Fifo) => Ok(fifo),
            _ => Err(gone("no FIFO is")),
        }
    }

    fn write<S: Sys>(&self, sys: &S, fifo: &S::Fd, line: &[u8]) -> Result<(), Failure> {
        let written = sys.write(fifo, line);
        let fail = |why: String| Failure::System(format!("cannot write to {}: {why}", self.outbox));
        match written {
            Ok(count) if count == line.len() => Ok(()),
            Ok(_) => Err(fail("only a part was taken".to_owned())),
            Err(e) => Err(fail(e.to_string())),
        }
    }
}

/// A new file that the daemon can read: the folder's set-group-id bit gives it its group.
fn spool<S: Sys>(sys: &S, path: &str, payload: &[u8]) -> io::Result<()> {
    let file = sys.open(path, Open::Create(0o640))?;
    sys.set_access(&file, None, 0o640)?;
    write_all(sys, &file, payload)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads standard input to its end, or `len` bytes of it.
pub fn read_input<S: Sys>(sys: &S, len: Option<usize>) -> Result<Vec<u8>, Failure> {
    let fail = |e: io::Error| Failure::System(format!("cannot read standard input: {e}"));
    let stdin = sys.inherited(0).map_err(fail)?;
    let (mut input, mut buf) = (Vec::new(), [0; 4096]);
    let bound = len.unwrap_or(OUTLET_PAYLOAD + 1);
    while input.len() < bound {
        let want = buf.len().min(bound - input.len());
        match sys.read(&stdin, &mut buf[..want]).map_err(fail)? {
            0 => break,
            count => {
                // By steps: doubling would take three times as much for a moment.
                if input.capacity() - input.len() < count {
                    let no_memory = |_| Failure::System("no memory for the message".to_owned());
                    input.try_reserve_exact(INPUT_STEP).map_err(no_memory)?;
                }
                input.extend_from_slice(&buf[..count]);
            }
        }
    }
    if len.is_none() && input.len() > OUTLET_PAYLOAD {
        return Err(Failure::Usage(format!(
            "the message is longer than {OUTLET_PAYLOAD} bytes"
        )));
    }
    Ok(input)
}
