//! Bytes that are made as they are written: a part of them at a time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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

/// The length of base64 of so many bytes.
pub fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}
