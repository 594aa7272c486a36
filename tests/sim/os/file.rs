//! The file system: a table of paths.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use ws2cgi::sys::{FileType, Stat};

#[derive(Clone, Debug)]
pub enum Node {
    Folder,
    Regular {
        bytes: Vec<u8>,
        executable: bool,
    },
    /// A pipe.
    Fifo(usize),
    Socket,
    Link(String),
}

/// Paths to inodes, and those.
pub struct Files {
    paths: BTreeMap<String, u64>,
    nodes: BTreeMap<u64, Node>,
    last: u64,
}

impl Files {
    pub fn new() -> Files {
        Files {
            paths: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last: 0,
        }
    }

    /// A new name and what it names.
    pub fn make(&mut self, path: &str, node: Node) -> io::Result<u64> {
        if self.paths.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.last += 1;
        self.paths.insert(path.to_owned(), self.last);
        self.nodes.insert(self.last, node);
        Ok(self.last)
    }

    pub fn link(&mut self, from: &str, to: &str) {
        if let Some(&inode) = self.paths.get(from) {
            self.paths.insert(to.to_owned(), inode);
        }
    }

    pub fn find(&self, path: &str) -> io::Result<u64> {
        let found = self.paths.get(path).copied();
        found.ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub fn node(&self, inode: u64) -> &Node {
        &self.nodes[&inode]
    }

    pub fn node_mut(&mut self, inode: u64) -> &mut Node {
        self.nodes.get_mut(&inode).expect("an inode")
    }

    pub fn read_all(&self, path: &str) -> Option<&[u8]> {
        match self.node(self.find(path).ok()?) {
            Node::Regular { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    pub fn unlink(&mut self, path: &str) -> io::Result<()> {
        match self.paths.remove(path) {
            // Who has it open goes on with it.
            Some(_) => Ok(()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(from)?;
        self.paths.remove(from);
        self.paths.insert(to.to_owned(), inode);
        Ok(())
    }

    pub fn list(&self, folder: &str) -> Vec<String> {
        let below = format!("{folder}/");
        let range = self.paths.range(below.clone()..);
        let names = range.map_while(|(path, _)| path.strip_prefix(&below));
        names
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    pub fn stat(&self, inode: u64) -> Stat {
        let links = self.paths.values().filter(|&&i| i == inode).count();
        let (file_type, size) = match self.node(inode) {
            Node::Folder => (FileType::Folder, 0),
            Node::Regular { bytes, .. } => (FileType::Regular, bytes.len()),
            Node::Fifo(_) => (FileType::Fifo, 0),
            Node::Socket => (FileType::Socket, 0),
            Node::Link(_) => (FileType::Link, 0),
        };
        let id = match self.node(inode) {
            // As its descriptors have it.
            Node::Fifo(pipe) => (2, *pipe as u64),
            _ => (1, inode),
        };
        Stat {
            file_type,
            size: size as u64,
            links: links as u64,
            id,
            // No inode comes again, so it does for a time.
            changed: inode,
            roots: file_type == FileType::Folder,
        }
    }
}
