//! What programs write into the outbox.

use crate::frames::payload;
use crate::os::Os;
use crate::os::file::Node;
use crate::plan::{target, verb};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Names that only a run gives.
#[derive(Default)]
pub struct Names {
    /// WS_ID of each browser whose open program has started.
    pub ids: Vec<Option<String>>,
    /// Tells spool files and payloads apart.
    pub last: u32,
}

pub const RUN: &str = "/run/ws";
pub const ROUTES: [&str; 2] = ["/a", "/b/sub"];
pub const GONE: &str = "aaaaaaaaaaaaa-999";

/// A room's name, without `@`.
pub fn room(number: u32) -> Option<String> {
    let number = number.checked_sub(target::ROOM)?;
    (number < target::ROOMS).then(|| format!("r{number}"))
}

impl Names {
    pub fn id(&self, browser: usize) -> &str {
        self.ids
            .get(browser)
            .and_then(Option::as_deref)
            .unwrap_or(GONE)
    }

    /// A target as a line names it. `own`: the id of who writes.
    pub fn target(&self, number: u32, own: Option<&str>) -> String {
        let scope = match number % target::NOT_SELF {
            target::NONE | target::SELF => own.unwrap_or("@all").to_owned(),
            target::ALL => "@all".to_owned(),
            t @ target::ROOM..target::ROUTE => format!("@r{}", t - target::ROOM),
            t @ target::ROUTE..target::GONE => ROUTES[(t - target::ROUTE) as usize].to_owned(),
            target::GONE => GONE.to_owned(),
            t => self.id((t - target::ID) as usize).to_owned(),
        };
        match number >= target::NOT_SELF {
            true => format!("{scope}~{}", own.unwrap_or(self.id(0))),
            false => scope,
        }
    }

    fn unique(&mut self, who: &str) -> String {
        self.last += 1;
        format!("{who}.{} ", self.last)
    }

    /// A line, its newline included. Its spool file is made.
    pub fn line(
        &mut self,
        os: &mut Os,
        who: &str,
        own: Option<&str>,
        (kind, to, size): (u32, u32, u32),
    ) -> Vec<u8> {
        let target = self.target(to, own);
        let tag = self.unique(who);
        let text = || payload(&tag, size as usize, false);
        let text_line = |verb: &str, bytes: &[u8]| {
            let mut line = format!("{verb} {target} ").into_bytes();
            line.extend(bytes);
            line
        };
        let mut line = match kind {
            verb::TEXT64 => text_line("text64", STANDARD.encode(text()).as_bytes()),
            verb::BINARY => {
                let bytes = payload(&tag, size as usize, true);
                text_line("binary", STANDARD.encode(bytes).as_bytes())
            }
            verb::TEXT_FILE | verb::BINARY_FILE => {
                let binary = kind == verb::BINARY_FILE;
                let name = format!("f{}", self.last);
                let bytes = payload(&tag, size as usize, binary);
                let node = Node::Regular {
                    bytes,
                    executable: false,
                };
                let _ = os.files.make(&format!("{RUN}/spool/{name}"), node);
                let verb = if binary { "binaryfile" } else { "textfile" };
                text_line(verb, name.as_bytes())
            }
            verb::JOIN | verb::LEAVE => {
                let verb = if kind == verb::JOIN { "join" } else { "leave" };
                let room = room(size).unwrap_or_else(|| "r0".to_owned());
                text_line(verb, format!("@{room}").as_bytes())
            }
            verb::CLOSE if size == 0 => format!("close {target}").into_bytes(),
            verb::CLOSE => format!("close {target} {size} so long").into_bytes(),
            verb::BAD => match size % 4 {
                0 => b"TEXT @all x".to_vec(),
                1 => b"text nobody x".to_vec(),
                2 => b"text @all \xff".to_vec(),
                _ => b"close @all 1005".to_vec(),
            },
            verb::COMMENT => b"# a comment".to_vec(),
            verb::TOO_LONG => payload("text @all ", 17_000 + size as usize, false),
            verb::BAD_FILE => {
                let name = format!("f{}", self.last);
                self.bad_file(os, &name, size);
                text_line("textfile", name.as_bytes())
            }
            _ => text_line("text", &text()),
        };
        line.push(b'\n');
        line
    }

    fn bad_file(&self, os: &mut Os, name: &str, kind: u32) {
        let path = format!("{RUN}/spool/{name}");
        let regular = |bytes| Node::Regular {
            bytes,
            executable: false,
        };
        let node = match kind % 5 {
            0 => return,
            1 => regular(vec![b'x'; 70_000]),
            2 => regular(b"two names".to_vec()),
            3 => Node::Link("/etc/passwd".to_owned()),
            _ => regular(b"\xff\xfe".to_vec()),
        };
        let _ = os.files.make(&path, node);
        if kind % 5 == 2 {
            os.files.link(&path, &format!("/tmp/{name}"));
        }
    }
}
