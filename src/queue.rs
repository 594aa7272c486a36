//! What waits to be written to one browser: messages, shared with other queues, and what is
//! said to it alone.

use crate::copy::Place;
use crate::element::Element;
use crate::frame::{Frame, Mark};
use crate::limits::QUEUE_SLOT;
use crate::memory::Charge;
use std::collections::VecDeque;
use std::rc::Rc;

/// A ring is at most twice as large as what is in it.
const _: () = assert!(2 * size_of::<Item>() <= QUEUE_SLOT);

#[derive(Debug)]
enum Item {
    /// A message, and its slot's charge. It may be dropped whole while nothing of it is written.
    Data { frame: Rc<Frame>, _slot: Charge },
    /// A message in an HTTP answer of many.
    Element {
        element: Box<Element>,
        _slot: Charge,
    },
    /// The answer to a ping. Only the newest is worth sending (RFC 6455 §5.5.3).
    Pong(Vec<u8>),
    /// An HTTP answer, charged if a program wrote it.
    Answer {
        bytes: Vec<u8>,
        _charge: Option<Charge>,
    },
    /// The 101, pings, the close, and their kin.
    Other(Vec<u8>),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Item::Data { frame, .. } => frame.len(),
            Item::Element { element, .. } => element.len(),
            Item::Answer { bytes, .. } | Item::Pong(bytes) | Item::Other(bytes) => bytes.len(),
        }
    }

    /// Its bytes from offset `from` on, where they are there as they are.
    fn rest(&self, from: usize) -> Option<&[u8]> {
        match self {
            Item::Data { frame, .. } => frame.rest(from),
            Item::Element { .. } => None,
            Item::Answer { bytes, .. } | Item::Pong(bytes) | Item::Other(bytes) => {
                Some(&bytes[from..])
            }
        }
    }

    /// Copies bytes from offset `from` on; returns how many fitted.
    fn copy(&self, from: usize, place: &mut Place, to: &mut [u8]) -> usize {
        match self {
            Item::Data { frame, .. } => frame.copy(from, place, to),
            Item::Element { element, .. } => element.copy(from, place, to),
            Item::Answer { bytes, .. } | Item::Pong(bytes) | Item::Other(bytes) => {
                let rest = &bytes[from..];
                let fits = rest.len().min(to.len());
                to[..fits].copy_from_slice(&rest[..fits]);
                fits
            }
        }
    }

    /// What it counts of `--queue`. Control frames count nothing: there are few, and they
    /// must go even when the queue is full.
    fn counts(&self) -> usize {
        match self {
            Item::Data { frame, .. } => frame.len() + QUEUE_SLOT,
            Item::Element { .. } | Item::Answer { .. } | Item::Pong(_) | Item::Other(_) => 0,
        }
    }
}

/// One browser's queue.
#[derive(Debug)]
pub struct Queue {
    /// It doubles as it fills, and shrinks as it empties.
    items: VecDeque<Item>,
    /// Bytes of the first item that are written.
    begun: usize,
    /// How far it was spelled then, or shortly before.
    place: Place,
    size: usize,
    bound: usize,
}

impl Queue {
    /// `bound`: `--queue`.
    pub fn new(bound: usize) -> Queue {
        Queue {
            items: VecDeque::new(),
            begun: 0,
            place: Place::default(),
            size: 0,
            bound,
        }
    }

    /// What it counts of its bound, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// No message may be added. A frame is taken while this is false, so the bound is
    /// `--queue` and one frame.
    pub fn is_full(&self) -> bool {
        self.size >= self.bound
    }

    /// Adds a message. `slot` charges [`QUEUE_SLOT`].
    pub fn push(&mut self, frame: Rc<Frame>, slot: Charge) {
        self.add(Item::Data { frame, _slot: slot });
    }

    /// Adds an HTTP answer of many messages, whose place in another queue they had: its head, and
    /// its end.
    pub fn push_array(&mut self, head: Vec<u8>, elements: Vec<(Box<Element>, Charge)>, end: &str) {
        // No more than that: what is left of their slots, the boxes take.
        self.items.reserve_exact(elements.len() + 2);
        self.push_answer(head, None);
        for (element, _slot) in elements {
            self.add(Item::Element { element, _slot });
        }
        self.push_answer(end.into(), None);
    }

    /// Adds an HTTP answer; `charge`: where a program wrote it.
    pub fn push_answer(&mut self, bytes: Vec<u8>, charge: Option<Charge>) {
        self.add(Item::Answer {
            bytes,
            _charge: charge,
        });
    }

    /// Adds a close, a ping or what else is said to this browser alone.
    pub fn push_control(&mut self, bytes: Vec<u8>) {
        self.add(Item::Other(bytes));
    }

    /// Adds a pong; one that has not begun gives way to it.
    pub fn push_pong(&mut self, bytes: Vec<u8>) {
        let begun = self.items.iter_mut().skip((self.begun > 0) as usize);
        let mut waiting = begun.filter(|item| matches!(item, Item::Pong(_)));
        match waiting.next() {
            Some(older) => *older = Item::Pong(bytes),
            None => self.add(Item::Pong(bytes)),
        }
    }

    /// Puts the 101 before frames that came while the open program ran.
    pub fn push_head(&mut self, bytes: Vec<u8>) {
        self.items.push_front(Item::Other(bytes));
    }

    fn add(&mut self, item: Item) {
        self.size += item.counts();
        self.items.push_back(item);
    }

    /// How many messages are in it, a begun one among them.
    pub fn messages(&self) -> usize {
        let data = |item: &&Item| matches!(item, Item::Data { .. } | Item::Element { .. });
        self.items.iter().filter(data).count()
    }

    /// Drops every message of which nothing is written; returns how many.
    pub fn drop_waiting(&mut self) -> usize {
        let (before, mut begun) = (self.items.len(), self.begun > 0);
        self.items
            .retain(|item| core::mem::take(&mut begun) || !matches!(item, Item::Data { .. }));
        self.shrink();
        self.size = self.items.iter().map(Item::counts).sum();
        before - self.items.len()
    }

    /// The first message, if it is the first of all, and nothing of it is written.
    pub fn first_message(&self) -> Option<&Frame> {
        match self.items.front() {
            Some(Item::Data { frame, .. }) if self.begun == 0 => Some(frame),
            _ => None,
        }
    }

    /// Takes it out.
    pub fn take_message(&mut self) -> Option<(Rc<Frame>, Charge)> {
        self.first_message()?;
        let first = self.items.pop_front()?;
        self.size -= first.counts();
        self.shrink();
        match first {
            Item::Data { frame, _slot } => Some((frame, _slot)),
            _ => None,
        }
    }

    /// The mark of the first message that has one.
    pub fn first_mark(&self) -> Option<Mark> {
        self.items.iter().find_map(|item| match item {
            Item::Data { frame, .. } => frame.mark,
            _ => None,
        })
    }

    /// The next bytes to write: a large item's own, several small ones gathered in
    /// `scratch`, so that a burst of small frames is one system call and one segment.
    pub fn next<'a>(&'a mut self, scratch: &'a mut [u8]) -> &'a [u8] {
        let Some(first) = self.items.front() else {
            return &[];
        };
        if let Some(rest) = first.rest(self.begun) {
            if self.items.len() < 2 || rest.len() >= scratch.len() / 2 {
                return rest;
            }
        }
        let (mut len, mut from, mut place) = (0, self.begun, &mut self.place);
        let mut start = Place::default();
        for item in &self.items {
            let copied = item.copy(from, place, &mut scratch[len..]);
            len += copied;
            if from + copied < item.len() {
                break;
            }
            (from, place) = (0, &mut start);
        }
        &scratch[..len]
    }

    /// That many bytes of [`next`](Queue::next) are written.
    pub fn wrote(&mut self, mut count: usize) {
        while let Some(first) = self.items.front() {
            let left = first.len() - self.begun;
            if count < left {
                self.begun += count;
                return;
            }
            count -= left;
            (self.begun, self.place) = (0, Place::default());
            self.size -= first.counts();
            self.items.pop_front();
            self.shrink();
        }
    }

    /// Gives back what it need not hold: not at each step, as it may fill again.
    fn shrink(&mut self) {
        let len = self.items.len();
        if len < self.items.capacity() / 2 {
            self.items.shrink_to(len + len / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::LOOKED_AT;
    use crate::frame::{Form, Message};
    use crate::memory::{Bounds, Memory};
    use crate::outbox::Opcode;

    const MEMORY: Bounds = Bounds {
        all: 2000,
        set_aside: 0,
        for_outbound: 0,
        for_slots: 0,
    };

    fn text(payload: &str, form: Form, memory: &Memory) -> Rc<Frame> {
        let charge = memory.outbound(payload.len()).unwrap();
        let message = Message::new(Opcode::Text, payload.as_bytes().to_vec(), charge);
        message.frame(form, memory).unwrap()
    }

    fn push(queue: &mut Queue, memory: &Memory, payload: &str) {
        let frame = text(payload, Form::WebSocket, memory);
        queue.push(frame, memory.slots(QUEUE_SLOT).unwrap());
    }

    fn write(queue: &mut Queue, count: usize) -> Vec<u8> {
        let mut scratch = [0; 16];
        let bytes = queue.next(&mut scratch);
        let bytes = bytes[..count.min(bytes.len())].to_vec();
        queue.wrote(bytes.len());
        bytes
    }

    #[test]
    fn short_writes_keep_the_bytes_in_order() {
        let memory = Memory::new(Bounds {
            all: 1 << 20,
            ..MEMORY
        });
        let slot = || memory.slots(QUEUE_SLOT).unwrap();
        for step in 1..20 {
            let mut queue = Queue::new(1000);
            push(&mut queue, &memory, "one");
            push(&mut queue, &memory, "a longer one, past the scratch");
            push(&mut queue, &memory, "two");
            queue.push(text("\nlines\n\n", Form::Event, &memory), slot());
            let element = Element::new(text("\"\0\"three", Form::Body, &memory), true);
            queue.push_array(b"OK".to_vec(), vec![(Box::new(element), slot())], "]");
            queue.push_head(b"HEAD".to_vec());
            let mut all = Vec::new();
            while !queue.is_empty() {
                all.extend(write(&mut queue, step));
            }
            let frames = b"HEAD\x81\x03one\x81\x1ea longer one, past the scratch\x81\x03two";
            let all = all.strip_prefix(frames).unwrap();
            let event = b"data: \ndata: lines\ndata: \ndata: \n\n";
            let all = all.strip_prefix(event).unwrap();
            assert_eq!(all, br#"OK["\"\u0000\"three"]"#);
            assert_eq!(queue.size(), 0);
        }
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_long_text_is_not_begun_anew_for_each_write() {
        let memory = Memory::new(Bounds {
            all: 1 << 20,
            ..MEMORY
        });
        let slot = || memory.slots(QUEUE_SLOT).unwrap();
        // In longer pieces than are taken.
        let write = |mut queue: Queue| {
            let (mut all, before) = (Vec::new(), LOOKED_AT.get());
            let mut scratch = [0; 4096];
            while !queue.is_empty() {
                let bytes = queue.next(&mut scratch);
                let bytes = &bytes[..bytes.len().min(3000)];
                all.extend_from_slice(bytes);
                let taken = bytes.len();
                queue.wrote(taken);
            }
            (String::from_utf8(all).unwrap(), LOOKED_AT.get() - before)
        };
        for payload in ["a", "\"", "\u{1}", "\n", "a\"\u{e9}\n"] {
            let payload = payload.repeat(65536 / payload.len());
            let most = 4 * payload.len();

            let mut queue = Queue::new(0);
            queue.push(text(&payload, Form::Event, &memory), slot());
            let (written, looked_at) = write(queue);
            let lines = payload.replace('\n', "\ndata: ");
            assert!(written == format!("data: {lines}\n\n"));
            assert!(looked_at <= most, "{looked_at}");

            let mut queue = Queue::new(0);
            let element = Element::new(text(&payload, Form::Body, &memory), true);
            queue.push_array(Vec::new(), vec![(Box::new(element), slot())], "]");
            let (written, looked_at) = write(queue);
            assert!(serde_json::json!([payload]) == written.parse::<serde_json::Value>().unwrap());
            assert!(looked_at <= most, "{looked_at}");
        }
    }

    #[test]
    fn a_begun_frame_is_finished_and_the_rest_dropped() {
        let memory = Memory::new(MEMORY);
        let mut queue = Queue::new(2 * QUEUE_SLOT);
        push(&mut queue, &memory, "one");
        assert!(!queue.is_full());
        push(&mut queue, &memory, "two");
        assert!(queue.is_full());
        write(&mut queue, 1);
        assert_eq!(queue.drop_waiting(), 1);
        queue.push_control(b"C".to_vec());
        assert_eq!(write(&mut queue, 99), b"\x03oneC");
        push(&mut queue, &memory, "two");
        assert_eq!(queue.drop_waiting(), 1);
        assert!(queue.is_empty() && memory.used() == 0);
    }

    #[test]
    fn it_takes_what_its_slots_are_charged() {
        let memory = Memory::new(Bounds {
            all: 1 << 20,
            ..MEMORY
        });
        let mut queue = Queue::new(1 << 20);
        let fits = |queue: &Queue| {
            let takes = queue.items.capacity() * size_of::<Item>();
            // The smallest ring holds a few.
            takes <= queue.messages() * QUEUE_SLOT + 4 * size_of::<Item>()
        };
        for _ in 0..3 {
            for _ in 0..1000 {
                push(&mut queue, &memory, "");
                assert!(fits(&queue));
            }
            for _ in 0..995 {
                write(&mut queue, 2);
                assert!(fits(&queue));
            }
        }
        queue.drop_waiting();
        assert!(fits(&queue) && memory.used() == 0);
    }

    #[test]
    fn one_pong() {
        let mut queue = Queue::new(30);
        queue.push_pong(b"P1".to_vec());
        write(&mut queue, 1);
        queue.push_pong(b"P2".to_vec());
        queue.push_pong(b"P3".to_vec());
        assert_eq!(write(&mut queue, 99), b"1P3");
    }
}
