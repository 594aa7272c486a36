//! The CGI variables of a request: an allowlist, as everything in them was chosen by a peer.

use core::ops::Range;

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

/// Name and value pairs in the order they came; the first of a repeated name wins. One piece of
/// memory, `NAME=VALUE` and a zero for each: a connection keeps some thirty as long as it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Vec<u8>);

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
        let value = value.as_ref();
        // A zero, too, so that none is in a value.
        let clean = |&b: &u8| if b < 0x20 || b == 0x7f { b'?' } else { b };
        let old = self.place(name);
        let at = old.as_ref().map_or(self.0.len(), |old| old.start);
        let new = name.bytes().chain([b'=']);
        let new = new.chain(value.iter().map(clean)).chain([0]);
        self.0.reserve_exact(name.len() + value.len() + 2);
        self.0.splice(old.unwrap_or(at..at), new);
    }

    /// Takes a variable away.
    pub fn remove(&mut self, name: &str) {
        if let Some(old) = self.place(name) {
            self.0.drain(old);
        }
    }

    /// Where a variable is, with its zero.
    fn place(&self, name: &str) -> Option<Range<usize>> {
        let mut begin = 0;
        self.pairs().find_map(|pair| {
            let place = begin..begin + pair.len() + 1;
            begin = place.end;
            let rest = pair.strip_prefix(name.as_bytes())?;
            rest.starts_with(b"=").then_some(place)
        })
    }

    fn pairs(&self) -> impl Iterator<Item = &[u8]> {
        let whole = self.0.strip_suffix(&[0]);
        whole.into_iter().flat_map(|all| all.split(|&b| b == 0))
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let place = self.place(name)?;
        self.0.get(place.start + name.len() + 1..place.end - 1)
    }

    /// A variable's value; empty where there is none or it is not UTF-8.
    pub fn text(&self, name: &str) -> &str {
        let value = self.get(name).unwrap_or_default();
        core::str::from_utf8(value).unwrap_or_default()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs().filter_map(|pair| {
            let equals = pair.iter().position(|&b| b == b'=')?;
            let name = core::str::from_utf8(&pair[..equals]).ok()?;
            Some((name, &pair[equals + 1..]))
        })
    }

    /// Bytes they hold.
    pub fn bytes(&self) -> usize {
        self.0.capacity()
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
    fn each_can_be_replaced_and_taken_away() {
        let mut vars = Variables::default();
        for (name, value) in [("A", "1"), ("AB", "=2="), ("B", ""), ("A", "one")] {
            vars.set(name, value);
        }
        let pairs = |vars: &Variables| -> Vec<_> {
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            vars.iter()
                .map(|(name, value)| format!("{name} {}", text(value)))
                .collect()
        };
        assert_eq!(pairs(&vars), ["A one", "AB =2=", "B "]);
        assert_eq!((vars.text("B"), vars.get("=2=")), ("", None));
        vars.remove("AB");
        vars.remove("none");
        assert_eq!(pairs(&vars), ["A one", "B "]);
        vars.remove("B");
        vars.remove("A");
        assert_eq!(vars, Variables::default());
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
