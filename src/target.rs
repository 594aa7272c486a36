//! Who gets it: connection ids, rooms, routes, and the TARGET grammar of the outbox and
//! of `WS-To`.

use crate::limits::NAME;
use crate::{name, route};
use core::fmt;

/// A connection, `BOOT-N`: never reused, as BOOT is chosen anew at every start. A name,
/// never a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// 64 random bits of this daemon start.
    pub boot: Boot,
    /// Counts the connections of one start from 1.
    pub number: u64,
}

/// A daemon start, shown as 13 base32 characters (RFC 4648, lower case).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot(pub u64);

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BOOT_CHARS: u32 = 13;

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for place in (0..BOOT_CHARS).rev() {
            let digit = (self.0 >> (5 * place)) & 31;
            write!(f, "{}", BASE32[digit as usize] as char)?;
        }
        Ok(())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}-{}", self.boot, self.number)
    }
}

impl Id {
    /// None: not of the form `BOOT-N`.
    pub fn parse(text: &str) -> Option<Id> {
        let (boot, number) = text.split_once('-')?;
        let mut bits: u64 = 0;
        for c in boot.bytes() {
            let digit = BASE32.iter().position(|&b| b == c)?;
            bits = bits << 5 | digit as u64;
        }
        let id = Id {
            boot: Boot(bits),
            number: number.parse().ok()?,
        };
        // One spelling only: no sign, no leading zero, 13 characters.
        (id.to_string() == text).then_some(id)
    }
}

/// A set of connections: `ID`, `@room`, `/route` or `@all`, less one with `~ID` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which.
    pub scope: Scope,
    /// Left out.
    pub except: Option<Id>,
}

/// The part of a [`Target`] before `~`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One connection.
    Connection(Id),
    /// All that joined a room; the name without `@`.
    Room(String),
    /// All whose WS_ROUTE equals it.
    Route(String),
    /// `@all`.
    All,
}

impl Target {
    /// One connection.
    pub fn connection(id: Id) -> Target {
        Target {
            scope: Scope::Connection(id),
            except: None,
        }
    }

    /// Reads a target; the error names what is wrong.
    pub fn parse(text: &str) -> Result<Target, String> {
        let bad = || {
            format!(
                "no target: '{}' (ID, @room, /route or @all, then ~ID)",
                text
            )
        };
        let (scope, except) = match text.split_once('~') {
            Some((scope, id)) => (scope, Some(Id::parse(id).ok_or_else(bad)?)),
            None => (text, None),
        };
        let scope = if scope == "@all" {
            Scope::All
        } else if let Some(name) = scope.strip_prefix('@') {
            Scope::Room(name::valid(name).then(|| name.to_owned()).ok_or_else(bad)?)
        } else if scope.starts_with('/') {
            if !route::valid(scope) {
                return Err(bad());
            }
            Scope::Route(scope.to_owned())
        } else {
            Scope::Connection(Id::parse(scope).ok_or_else(bad)?)
        };
        Ok(Target { scope, except })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.scope {
            Scope::Connection(id) => write!(f, "{id}"),
            Scope::Room(name) => write!(f, "@{name}"),
            Scope::Route(route) => write!(f, "{route}"),
            Scope::All => write!(f, "@all"),
        }?;
        self.except
            .iter()
            .try_for_each(|id: &Id| write!(f, "~{id}"))
    }
}

/// Reads `@name` of a room that can be joined.
pub fn room(text: &str) -> Result<String, String> {
    match text.strip_prefix('@') {
        Some("all") => Err("the room @all is everyone's already".to_owned()),
        Some(name) if name::valid(name) => Ok(name.to_owned()),
        _ => Err(format!(
            "no room: '{}' (@ and 1 to {NAME} of A-Za-z0-9._-)",
            text
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_has_one_spelling() {
        for boot in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = Id {
                boot: Boot(boot),
                number: 7,
            };
            assert_eq!(id.to_string().len(), 15);
            assert_eq!(Id::parse(&id.to_string()), Some(id));
        }
        let good = Id {
            boot: Boot(5),
            number: 7,
        }
        .to_string();
        for bad in [
            "",
            "7",
            "-7",
            &good.replace('-', "-0"),
            &good.replace('-', "-+"),
            &format!("z{good}"),
            &good.to_uppercase(),
        ] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn targets() {
        let id = Id {
            boot: Boot(9),
            number: 1,
        };
        let parsed = Target::parse(&format!("@chat~{id}")).unwrap();
        assert_eq!(parsed.scope, Scope::Room("chat".into()));
        assert_eq!(parsed.except, Some(id));
        assert_eq!(Target::parse("@all").unwrap().scope, Scope::All);
        assert_eq!(
            Target::parse("/chat/room").unwrap().scope,
            Scope::Route("/chat/room".into())
        );
        assert_eq!(
            Target::parse(&id.to_string()).unwrap(),
            Target::connection(id)
        );
        for bad in [
            "", "@", "@a b", "/", "//", "/a/", "/a/../b", "chat", "@chat~", "@chat~x", "~",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
        assert!(room("@all").is_err());
        assert!(Target::parse(&format!("@{}", "x".repeat(65))).is_err());
    }
}
