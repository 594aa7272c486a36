//! X-Forwarded-For and -Proto, of which the last word is the proxy's and all else a stranger's.

use core::net::{IpAddr, SocketAddr};
use ws2cgi::head::{Head, parse};
use ws2cgi::variables::Variables;

/// Whatever a client sends, a trusted proxy's word counts, and without one a client's does not.
pub fn run(bytes: &[u8]) {
    // What the client sends: a line each, of one of the two fields or of another.
    let fields = bytes
        .split(|&b| b == b'\n')
        .map(|line| match line.split_first() {
            Some((b'f', value)) => (&b"X-Forwarded-For: "[..], value),
            Some((b'p', value)) => (&b"X-FORWARDED-PROTO: "[..], value),
            _ => (&b"X-Other: "[..], line),
        });
    let fields: Vec<_> = fields.collect();
    let client: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| [*name, value, b"\r\n"].concat())
        .collect();

    let Some(plain) = read(&client, false) else {
        return; // no HTTP
    };
    assert_eq!(plain.text("REMOTE_ADDR"), "192.0.2.7");
    assert_eq!(plain.text("REMOTE_PORT"), "5000");
    assert_eq!(plain.get("HTTPS"), None);

    // A proxy that adds fields of its own, and one that adds to the client's last.
    let fields = b"X-Forwarded-For: 203.0.113.9\r\nx-forwarded-proto: https\r\n";
    let mut ways = vec![[&client[..], fields].concat()];
    if let Some(before) = client.strip_suffix(b"\r\n") {
        let last = bytes.rsplit(|&b| b == b'\n').next().unwrap_or_default();
        if last.first() == Some(&b'f') {
            let fields = b", 203.0.113.9\r\nx-forwarded-proto: https\r\n";
            ways.push([before, fields].concat());
        }
    }
    for head in ways {
        if let Some(trusted) = read(&head, true) {
            assert_eq!(trusted.text("REMOTE_ADDR"), "203.0.113.9");
            assert_eq!(trusted.get("REMOTE_PORT"), None);
            assert_eq!(trusted.text("HTTPS"), "on");
        }
    }

    // What a proxy passes as it came: an address in its usual form, or the proxy's own.
    if let Some(trusted) = read(&client, true) {
        let address = trusted.text("REMOTE_ADDR");
        let parsed: IpAddr = address.parse().expect("an address");
        assert_eq!(parsed.to_canonical().to_string(), address);
        assert!(address == "192.0.2.7" || trusted.get("REMOTE_PORT").is_none());
        assert!(["", "on"].contains(&trusted.text("HTTPS")));
    }
}

fn read(fields: &[u8], trust: bool) -> Option<Variables> {
    let remote: SocketAddr = "192.0.2.7:5000".parse().expect("an address");
    let head = [b"GET /a HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n"].concat();
    match parse(&head, Some(remote), None, trust) {
        Head::Whole { variables, .. } => Some(variables),
        _ => None,
    }
}
