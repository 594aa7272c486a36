//! A program beside the events that writes to the outbox, and waits while that is full.

use crate::lines::Names;
use crate::os::{MS, Os, SECOND, Time};
use crate::plan::Write;
use crate::trace::note;
use std::collections::VecDeque;

pub struct Writer {
    name: String,
    steps: VecDeque<Write>,
    next: Time,
    line: Vec<u8>,
    /// The rest of a line that is split: it goes at `next`.
    rest: Option<Vec<u8>>,
    /// Since when it waits for room in the FIFO.
    pub blocked_since: Option<Time>,
    pub longest_wait: Time,
}

impl Writer {
    pub fn new(index: usize, steps: &[Write]) -> Writer {
        Writer {
            name: format!("writer {index}"),
            steps: steps.iter().cloned().collect(),
            next: SECOND,
            line: Vec::new(),
            rest: None,
            blocked_since: None,
            longest_wait: 0,
        }
    }

    /// It has nothing to do any more.
    pub fn done(&self) -> bool {
        self.steps.is_empty() && self.line.is_empty() && self.rest.is_none()
    }

    /// It finishes the line that it is at.
    pub fn retire(&mut self) {
        self.steps.clear();
    }

    pub fn next_time(&self, os: &Os) -> Option<Time> {
        match self.done() || self.blocked_since.is_some() {
            true => None,
            false => Some(self.next.max(os.now)),
        }
    }

    pub fn act(&mut self, os: &mut Os, names: &mut Names, fifo: usize) -> bool {
        let mut did = false;
        loop {
            if !self.line.is_empty() {
                match os.pipes[fifo].write(&self.line) {
                    Ok(count) => {
                        self.line.drain(..count);
                        if let Some(since) = self.blocked_since.take() {
                            self.longest_wait = self.longest_wait.max(os.now - since);
                        }
                        did = true;
                    }
                    Err(_) => {
                        self.blocked_since.get_or_insert(os.now);
                        return did;
                    }
                }
                continue;
            }
            if self.next > os.now {
                return did;
            }
            if let Some(rest) = self.rest.take() {
                self.line = rest;
                continue;
            }
            let Some(step) = self.steps.pop_front() else {
                return did;
            };
            note!(os, self.name, "{step}");
            let mut line = |os: &mut Os, verb, target, size| {
                names.line(os, &self.name, None, (verb, target, size))
            };
            match step {
                Write::Wait { ms } => self.next = os.now + Time::from(ms) * MS,
                Write::Line { verb, target, size } => self.line = line(os, verb, target, size),
                Write::Burst {
                    count,
                    verb,
                    target,
                    size,
                } => {
                    self.line = line(os, verb, target, size);
                    if count > 1 {
                        let count = count - 1;
                        self.steps.push_front(Write::Burst {
                            count,
                            verb,
                            target,
                            size,
                        });
                    }
                }
                Write::Split {
                    verb,
                    target,
                    size,
                    ms,
                } => {
                    self.line = line(os, verb, target, size);
                    let rest = self.line.split_off(self.line.len() / 2);
                    self.next = os.now + Time::from(ms) * MS;
                    self.rest = Some(rest);
                }
            }
            did = true;
        }
    }
}
