//! How a browser comes: by a socket, or the pipes of its web server, and who hands them over.

use crate::browser::{Browser, Phase, Ways};
use crate::os::file::Node;
use crate::os::stream::Stream;
use crate::os::{Datagram, Descriptor, End, Os, SECOND, Time};
use crate::plan::way;
use crate::request::Asks;
use crate::trace::note;

impl Browser {
    pub fn come(&mut self, os: &mut Os, ways: &mut dyn Ways) {
        note!(os, self.name, "comes, {}", self.route());
        let descriptor = |end, waits_at_close| Descriptor {
            end,
            non_blocking: false,
            waits_at_close,
            resets: false,
        };
        let mut theirs = Vec::new();
        if self.way == way::HANDOFF_PIPES {
            let mut pipe = |room, to_daemon| {
                let pipe = os.new_pipe(room);
                ways.pipe_made(pipe, self.index, to_daemon);
                os.pipes[pipe].readers = 1;
                os.pipes[pipe].writers = 1;
                pipe
            };
            self.ends = vec![End::Null];
            let file = self.comes_in_file();
            // Without an upgrade or a body there is nothing to read.
            if matches!(self.ask.asks, Asks::WebSocket | Asks::Post) && !file {
                let up = pipe(65536, true);
                theirs.push(descriptor(End::Reader(up), false));
                self.ends[0] = End::Writer(up);
            }
            let down = pipe(65536.min(self.room.max(4096)), false);
            if file {
                theirs.push(descriptor(self.body_in_file(os, ways), false));
            }
            theirs.push(descriptor(End::Writer(down), false));
            self.ends.push(End::Reader(down));
        } else {
            let tcp = matches!(self.way, way::HANDOFF_TCP | way::LISTEN_TCP);
            os.streams.push(Stream::new(tcp, self.room));
            let stream = os.streams.len() - 1;
            ways.stream_made(stream, self.index);
            theirs.push(descriptor(End::Stream(stream, 0), self.linger));
            self.ends = vec![End::Stream(stream, 1)];
        }
        if matches!(self.way, way::LISTEN_TCP | way::LISTEN_UNIX) {
            let address = match self.way {
                way::LISTEN_TCP => "127.0.0.1:8000",
                _ => "unix:/run/ws.sock",
            };
            let End::Stream(stream, _) = self.ends[0] else {
                return;
            };
            if os.connect(address, stream) {
                self.phase = Phase::Waiting;
                let head = self.request_head();
                self.head_len = head.len() as u64;
                self.queue(&head);
                self.queue_body();
            } else {
                note!(os, self.name, "nobody listens");
                os.streams[stream].release(0, true);
                self.leave(os);
            }
            return;
        }
        // The program that hands over knocks.
        let bytes = self.record();
        let datagram = Datagram {
            bytes,
            ends: theirs,
            uid: 33,
        };
        self.queue_body();
        self.phase = Phase::Knocking(os.now);
        self.send_record(os, datagram);
    }

    /// All that comes, as boa keeps it: in a file.
    fn body_in_file(&mut self, os: &mut Os, ways: &mut dyn Ways) -> End {
        let bytes = self.ask.body.clone();
        let node = Node::Regular {
            bytes,
            executable: false,
        };
        let made = os.files.make(&format!("/tmp/body{}", self.index), node);
        let inode = made.unwrap_or_default();
        ways.file_made(inode, self.index);
        End::File(inode, 0)
    }

    fn queue_body(&mut self) {
        if self.comes_in_file() {
            return;
        }
        let body = core::mem::take(&mut self.ask.body);
        self.queue(&body);
        self.ask.body = body;
    }

    fn send_record(&mut self, os: &mut Os, datagram: Datagram) {
        match os.hand_off(datagram) {
            Ok(()) => self.phase = Phase::Waiting,
            Err(Some(datagram)) => {
                note!(os, self.name, "finds the queue of records full");
                self.knocking = Some(datagram);
            }
            Err(None) => {
                note!(os, self.name, "there is no daemon");
                self.leave(os);
            }
        }
    }

    /// As nph-* does: again and again for a second.
    pub fn knock(&mut self, os: &mut Os, since: Time) {
        let Some(datagram) = self.knocking.take() else {
            return;
        };
        if os.now < since + SECOND {
            return self.send_record(os, datagram);
        }
        note!(os, self.name, "is told that the daemon is busy");
        for end in datagram.ends {
            os.release(end);
        }
        self.leave(os);
    }
}
