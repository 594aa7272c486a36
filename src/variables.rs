//! The CGI variables of a request: an allowlist, as everything in them was chosen by a peer.

/// RFC 3875 §4.1, and what every server adds to it. PATH_TRANSLATED is not among them:
/// it means nothing to a program that is not under the document root.
const KNOWN: [&str; 21] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PATH_INFO",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_NAME",
    "SERVER_ADDR",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
];

/// Header fields that are not passed. A client's "Proxy:" would redirect what the program itself
/// fetches; the length and type of the request's own body are in no event the payload's (RFC
/// 3875 §4.1.18).
const NEVER: [&str; 3] = ["PROXY", "CONTENT_LENGTH", "CONTENT_TYPE"];

/// Name and value pairs in the order they came; the first of a repeated name wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Vec<(String, Vec<u8>)>);

impl Variables {
    /// Takes what is on the allowlist, with control bytes made `?`; leaves the rest out.
    pub fn offer(&mut self, name: &str, value: &[u8]) {
        if allowed(name) && self.get(name).is_none() {
            let header = name.starts_with("HTTP_");
            self.set(name, if header { field_value(value) } else { value });
        }
    }

    /// Takes a header field as [`offer`](Variables::offer) does; behind one of its name as an
    /// element of the same list (RFC 9110 §5.3, RFC 6265 §5.4 for cookies).
    pub fn append(&mut self, name: &str, value: &[u8]) {
        let separator: &[u8] = match name {
            "HTTP_COOKIE" => b"; ",
            _ => b", ",
        };
        match (self.get(name).unwrap_or_default(), field_value(value)) {
            (b"", value) => {
                self.remove(name);
                self.offer(name, value);
            }
            (_, b"") => {}
            (old, more) => self.set(name, [old, separator, more].concat()),
        }
    }

    /// Sets a variable of our own choice, replacing what a peer said.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let clean = |&b: &u8| if b < 0x20 || b == 0x7f { b'?' } else { b };
        let value = value.as_ref().iter().map(clean).collect();
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a variable away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_slice())
    }

    /// A variable's value; empty where there is none or it is not UTF-8.
    pub fn text(&self, name: &str) -> &str {
        let value = self.get(name).unwrap_or_default();
        core::str::from_utf8(value).unwrap_or_default()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_slice()))
    }

    /// Bytes they hold.
    pub fn bytes(&self) -> usize {
        self.iter()
            .map(|(n, v)| n.len() + v.len() + 2 * size_of::<Vec<u8>>())
            .sum()
    }
}

/// Blanks around a header's value are no part of it (RFC 9110 §5.5); boa keeps trailing ones.
fn field_value(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn allowed(name: &str) -> bool {
    match name.strip_prefix("HTTP_") {
        Some(header) => {
            !header.is_empty() && header.bytes().all(header_byte) && !NEVER.contains(&header)
        }
        None => KNOWN.contains(&name),
    }
}

fn header_byte(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_allowlist_passes() {
        let mut vars = Variables::default();
        for name in [
            "PATH",
            "LD_PRELOAD",
            "HTTP_PROXY",
            "HTTP_CONTENT_LENGTH",
            "HTTP_CONTENT_TYPE",
            "HTTP_",
            "HTTP_x",
            "IFS",
            "WS_ID",
            "PATH_TRANSLATED",
        ] {
            vars.offer(name, b"evil");
        }
        assert_eq!(vars, Variables::default());
        vars.offer("HTTP_COOKIE", b"a=1\r\nb\0c\x7f");
        vars.offer("HTTP_COOKIE", b"second");
        assert_eq!(vars.get("HTTP_COOKIE"), Some(&b"a=1??b?c?"[..]));
        vars.offer("QUERY_STRING", "é".as_bytes());
        assert_eq!(vars.text("QUERY_STRING"), "é");
    }

    #[test]
    fn fields_of_one_name_are_one_list() {
        let mut vars = Variables::default();
        for (name, value) in [
            ("HTTP_VIA", ""),
            ("HTTP_VIA", "a "),
            ("HTTP_VIA", " "),
            ("HTTP_VIA", "b, c"),
            ("HTTP_COOKIE", "d=1"),
            ("HTTP_COOKIE", "e=2"),
            ("HTTP_PROXY", "x"),
            ("HTTP_PROXY", "y"),
        ] {
            vars.append(name, value.as_bytes());
        }
        assert_eq!(vars.text("HTTP_VIA"), "a, b, c");
        assert_eq!(vars.text("HTTP_COOKIE"), "d=1; e=2");
        assert_eq!(vars.iter().count(), 2);
    }

    #[test]
    fn blanks_around_a_header_are_no_part_of_it() {
        let mut vars = Variables::default();
        vars.offer("HTTP_X", b" \ta b\t ");
        vars.offer("HTTP_Y", b" \t");
        vars.offer("PATH_INFO", b"/chat ");
        assert_eq!((vars.text("HTTP_X"), vars.text("HTTP_Y")), ("a b", ""));
        assert_eq!(vars.text("PATH_INFO"), "/chat ");
    }
}
