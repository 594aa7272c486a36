//! The query of a URL.

/// A parameter of a query, percent-decoded.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name));
    let mut bytes = pair?.1.bytes();
    let mut decoded = Vec::new();
    while let Some(b) = bytes.next() {
        decoded.push(match b {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(core::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => b,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(
            parameter("a=b&to=%40chat~x", "to").as_deref(),
            Some("@chat~x")
        );
        assert_eq!(parameter("to=%2", "to"), None);
        assert_eq!(parameter("to=%zz", "to"), None);
        assert_eq!(parameter("to", "to"), None);
    }
}
