//! Bytes that are made as they are written: a part of them at a time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How a text is spelled: writes what stands for a byte, and returns how many bytes that takes. If
/// one, it is the byte itself.
pub type Spelling = fn(u8, &mut [u8; SPELLED]) -> usize;

/// The most bytes that stand for one.
pub const SPELLED: usize = 7;

/// The most bytes that are copied at once where they stand for themselves.
const RUN: usize = 64;

/// How far a text is spelled: so many bytes, which stand for so many of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    spelled: usize,
    own: usize,
}

#[cfg(test)]
thread_local! {
    /// How many bytes of texts have been looked at to copy them.
    pub static LOOKED_AT: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// Parts one after the other, without the first `from` bytes, as far as they fit.
pub struct Copy<'a> {
    from: usize,
    to: &'a mut [u8],
    len: usize,
}

impl Copy<'_> {
    /// Into `to`.
    pub fn new(from: usize, to: &mut [u8]) -> Copy<'_> {
        Copy { from, to, len: 0 }
    }

    /// How many bytes have been copied.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No more fit.
    pub fn full(&self) -> bool {
        self.len == self.to.len()
    }

    /// The next part.
    pub fn part(&mut self, part: &[u8]) {
        let skipped = self.from.min(part.len());
        self.from -= skipped;
        let part = &part[skipped..];
        let fits = part.len().min(self.to.len() - self.len);
        self.to[self.len..self.len + fits].copy_from_slice(&part[..fits]);
        self.len += fits;
    }

    /// The next part: a text as it is spelled. That begins at `place`, where an earlier copy has
    /// left it, not at the text's beginning each time: a long one takes many copies. `place` goes
    /// on to what is copied, or shortly before it.
    pub fn text(&mut self, text: &[u8], spelling: Spelling, place: &mut Place) {
        let (mut now, mut bytes, mut len) = (*place, [0; SPELLED], 0);
        self.from -= now.spelled;
        while now.own < text.len() && !self.full() {
            if self.is_empty() {
                *place = now;
            }
            let rest = &text[now.own..];
            let itself = rest.iter().take(RUN).take_while(|&&byte| {
                #[cfg(test)]
                LOOKED_AT.set(LOOKED_AT.get() + 1);
                len = spelling(byte, &mut bytes);
                len == 1
            });
            let (part, own) = match itself.count() {
                0 => (&bytes[..len], 1),
                run => (&rest[..run], run),
            };
            self.part(part);
            now.spelled += part.len();
            now.own += own;
        }
    }

    /// The next part: base64 of these bytes.
    pub fn base64(&mut self, bytes: &[u8]) {
        // As many groups as a slice on the stack holds.
        const GROUPS: usize = 16;
        let mut digits = [0; 4 * GROUPS];
        // What is skipped whole is not made.
        let skipped = (self.from / digits.len()).min(bytes.len() / (3 * GROUPS));
        self.from -= skipped * digits.len();
        for chunk in bytes[skipped * 3 * GROUPS..].chunks(3 * GROUPS) {
            let len = STANDARD.encode_slice(chunk, &mut digits).unwrap_or(0);
            self.part(&digits[..len]);
            if self.full() {
                return;
            }
        }
    }
}

/// The length of a text as it is spelled.
pub fn text_len(text: &[u8], spelling: Spelling) -> usize {
    let mut bytes = [0; SPELLED];
    text.iter().map(|&byte| spelling(byte, &mut bytes)).sum()
}

/// The length of base64 of so many bytes.
pub fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}
