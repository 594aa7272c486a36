//! The target grammar of the outbox and of `WS-To`, and the names in it.

use super::rules;
use ws2cgi::close::Close;
use ws2cgi::target::{Boot, Id, Target, room};
use ws2cgi::{name, route};

/// Any id has one spelling, and it reads back; what is read is of the grammar.
pub fn run(bytes: &[u8]) {
    if let Some((numbers, _)) = bytes.split_first_chunk::<16>() {
        let [boot, number] = [0, 8].map(|at| {
            let bytes = numbers[at..at + 8].try_into().expect("8 bytes");
            u64::from_be_bytes(bytes)
        });
        let id = Id {
            boot: Boot(boot),
            number,
        };
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        for scope in ["@all", "@a.b", "/a/b", &id.to_string()] {
            let target = Target::parse(&format!("{scope}~{id}")).expect("a target");
            assert_eq!(target.except, Some(id));
            rules::check_target(&target, None);
        }
    }
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(target) = Target::parse(text) {
        rules::check_target(&target, Some(text));
        assert!(!text.contains(|c: char| c.is_whitespace() || c.is_control()));
    }
    if let Some(id) = Id::parse(text) {
        assert_eq!(id.to_string(), text);
        assert_eq!(Target::parse(text), Ok(Target::connection(id)));
    }
    let named = text.strip_prefix('@').unwrap_or_default();
    assert_eq!(room(text).is_ok(), rules::room(named) && named != "all");
    assert_eq!(name::valid(text), rules::room(text));
    assert_eq!(route::valid(text), rules::route(text));
    if route::valid(text) {
        assert!(Target::parse(text).is_ok());
        let prefixes: Vec<_> = route::prefixes(text).collect();
        assert_eq!(prefixes.len(), text.matches('/').count());
        for (prefix, rest) in &prefixes {
            assert_eq!(format!("{prefix}{rest}"), text);
            assert!(rules::route(prefix) && (rest.is_empty() || rules::route(rest)));
        }
        assert_eq!(prefixes.last(), Some(&(text, "")));
    }
    if let Ok(close) = Close::parse(text) {
        rules::check_close(&close);
    }
}
