//! Routes: which path of a request names which program.

use crate::limits::ROUTE;
use crate::name;

/// A route: `/` and segments of `[A-Za-z0-9._-]` without a leading dot. So no `..`, no
/// `%2F`, no `//`, no trailing slash.
pub fn valid(route: &str) -> bool {
    route.len() <= ROUTE
        && route
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(segment))
}

fn segment(segment: &str) -> bool {
    !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(name::byte)
}

/// The NAME of `nph-NAME` or `post-NAME`; of what has another name, that. None: it routes by
/// PATH_INFO, as `nph-ws` and `ws-post` do.
pub fn named(program: &str) -> Option<&str> {
    let name = program.strip_prefix("nph-");
    let name = name.or(program.strip_prefix("post-")).unwrap_or(program);
    Some(name).filter(|name| *name != "ws" && *name != "ws-post")
}

/// The route of a hand-off by the program's name: by PATH_INFO, or `/NAME` + PATH_INFO, which
/// reaches nothing outside `/NAME`, so that a web server's access rule on that one program holds.
/// None: no route.
pub fn of_handoff(program: &str, path_info: &[u8]) -> Option<String> {
    let path_info = core::str::from_utf8(path_info).ok()?;
    if !path_info.is_empty() && !path_info.starts_with('/') {
        return None;
    }
    let route = match named(program) {
        None => path_info.to_owned(),
        // One segment: whoever sends it may be anyone.
        Some(name) if segment(name) => format!("/{name}{path_info}"),
        Some(_) => return None,
    };
    valid(&route).then_some(route)
}

/// The route of a request target on `--listen` (RFC 9112 §3.2, origin form), and its query.
pub fn of_target(target: &str) -> Option<(String, &str)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    valid(path).then(|| (path.to_owned(), query))
}

/// The prefixes of a route, shortest first, each with the rest behind it:
/// `/a/b` gives (`/a`, `/b`), (`/a/b`, ``).
pub fn prefixes(route: &str) -> impl Iterator<Item = (&str, &str)> {
    let slashes = route.match_indices('/').map(|(i, _)| i).skip(1);
    slashes.chain([route.len()]).map(|i| route.split_at(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handoff_routes() {
        assert_eq!(
            of_handoff("nph-ws", b"/chat/room").as_deref(),
            Some("/chat/room")
        );
        assert_eq!(of_handoff("nph-chat", b"").as_deref(), Some("/chat"));
        assert_eq!(
            of_handoff("nph-chat", b"/room").as_deref(),
            Some("/chat/room")
        );
        // A program that the page had before, and that we stand in for.
        assert_eq!(
            of_handoff("long-poll.cgi", b"/a").as_deref(),
            Some("/long-poll.cgi/a")
        );
        assert_eq!(of_handoff("ws-post", b"/chat").as_deref(), Some("/chat"));
        for (program, path_info) in [
            ("nph-ws", &b""[..]),
            ("nph-ws", b"/"),
            ("nph-ws", b"chat"),
            ("nph-ws", b"/chat/"),
            ("nph-ws", b"//chat"),
            ("nph-ws", b"/../etc"),
            ("nph-ws", b"/.hidden"),
            ("nph-ws", b"/a%2Fb"),
            ("nph-ws", b"/a b"),
            ("nph-ws", b"/a\0b"),
            ("nph-ws", b"/a\xff"),
            ("nph-admin", b"x"),
            ("nph-admin", b"/../chat"),
            ("nph-admin", b"/\xff"),
            ("nph-", b""),
            ("nph-..", b""),
            ("post-", b""),
            ("nph-chat/room", b""),
            (".hidden", b""),
            ("", b"/chat"),
        ] {
            let shown = path_info.escape_ascii();
            assert_eq!(of_handoff(program, path_info), None, "{program} {shown}");
        }
        let long = format!("/{}", "x".repeat(ROUTE));
        assert_eq!(of_handoff("nph-ws", long.as_bytes()), None);
    }

    #[test]
    fn prefixes_shortest_first() {
        let all: Vec<_> = prefixes("/a/b/c").collect();
        assert_eq!(all, [("/a", "/b/c"), ("/a/b", "/c"), ("/a/b/c", "")]);
    }
}
