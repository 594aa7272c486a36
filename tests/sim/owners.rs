//! Whose things are: what only the world knows.

use crate::browser::Ways;
use crate::os::End;
use std::collections::BTreeMap;

/// Whose a pipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Fifo,
    Ready,
    Up(usize),
    Down(usize),
    Child(u32),
}

/// Whose things are.
#[derive(Default)]
pub struct Owners {
    pub pipes: Vec<Option<Owner>>,
    pub streams: Vec<usize>,
    pub files: BTreeMap<u64, usize>,
}

impl Owners {
    pub fn pipe(&mut self, pipe: usize, owner: Owner) {
        self.pipes.resize(self.pipes.len().max(pipe + 1), None);
        self.pipes[pipe] = Some(owner);
    }

    /// The browser at a descriptor's other end.
    pub fn browser(&self, end: &End) -> Option<usize> {
        match *end {
            End::Stream(s, _) => self.streams.get(s).copied(),
            End::File(inode, _) => self.files.get(&inode).copied(),
            End::Reader(p) | End::Writer(p) => match self.pipes.get(p) {
                Some(Some(Owner::Up(b) | Owner::Down(b))) => Some(*b),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Ways for Owners {
    fn stream_made(&mut self, stream: usize, browser: usize) {
        self.streams
            .resize(self.streams.len().max(stream + 1), usize::MAX);
        self.streams[stream] = browser;
    }

    fn file_made(&mut self, inode: u64, browser: usize) {
        self.files.insert(inode, browser);
    }

    fn pipe_made(&mut self, pipe: usize, browser: usize, to_daemon: bool) {
        let owner = if to_daemon { Owner::Up } else { Owner::Down };
        self.pipe(pipe, owner(browser));
    }
}
