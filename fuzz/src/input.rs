//! Inputs made of few bytes: long ones, and the pieces in which they arrive.

/// No bound that is looked at here is larger; one input takes no longer than a few milliseconds.
const LONGEST: usize = 20_000;

/// `ff N` repeats the byte before it N × 128 times, `ff 00` is a byte ff: so a bound of many
/// kilobytes is a few bytes away.
pub fn stretch(bytes: &[u8]) -> Vec<u8> {
    let mut long = Vec::new();
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        match (byte, rest.as_slice().first()) {
            (0xff, Some(&times)) => {
                rest.next();
                match (times, long.last()) {
                    (1.., Some(&last)) => {
                        long.extend(core::iter::repeat_n(last, usize::from(times) * 128));
                    }
                    _ => long.push(0xff),
                }
            }
            _ => long.push(byte),
        }
        if long.len() > LONGEST {
            long.truncate(LONGEST);
            break;
        }
    }
    long
}

/// Cuts bytes as a peer and the kernel may: `how` chooses the sizes, of one byte or many; of
/// long inputs no hundreds of pieces.
pub fn pieces(bytes: &[u8], how: u8) -> Vec<&[u8]> {
    let most = [1, 2, 7, 13, 100, 512, 4096, 4097][usize::from(how & 7)];
    let most = most.max(bytes.len() / 100);
    let mut state = u32::from(how) | 1;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = (1 + (state >> 16) as usize % most).min(rest.len());
        let (piece, left) = rest.split_at(len);
        pieces.push(piece);
        rest = left;
    }
    pieces
}
