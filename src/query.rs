//! The query of a URL.

/// A parameter of a query, percent-decoded: what is no escape stands for itself, as in browsers
/// (WHATWG URL, "percent-decode").
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name));
    let mut rest = pair?.1.as_bytes();
    let mut decoded = Vec::new();
    while let Some((&first, behind)) = rest.split_first() {
        let escape = behind.first_chunk().filter(|_| first == b'%');
        match escape.and_then(|[high, low]| Some(16 * digit(*high)? + digit(*low)?)) {
            Some(byte) => {
                decoded.push(byte);
                rest = &behind[2..];
            }
            None => {
                decoded.push(first);
                rest = behind;
            }
        }
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

fn digit(b: u8) -> Option<u8> {
    // Less than 16.
    (b as char).to_digit(16).map(|digit| digit as u8)
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
        for (query, value) in [
            ("to=%2", "%2"),
            ("to=%zz%41", "%zzA"),
            ("to=%+f", "%+f"),
            ("to=%%41", "%A"),
            ("to=%ff", "\u{fffd}"),
            ("to=", ""),
        ] {
            assert_eq!(parameter(query, "to").as_deref(), Some(value), "{query}");
        }
        assert_eq!(parameter("to", "to"), None);
    }
}
