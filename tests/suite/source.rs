//! Rules on the source tree, which no compiler checks.

use crate::harness::{built, command, run_ok, ws2cgi};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file's name below the root, and its text.
fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The files below a folder whose names end so, as names below the root. Never none.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let (mut folders, mut found) = (vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = folder.join(entry.file_name());
            match entry.file_type().expect("a type").is_dir() {
                true => folders.push(name),
                false => found.push(name.display().to_string()),
            }
        }
    }
    found.retain(|name| name.ends_with(ending));
    found.sort();
    assert!(!found.is_empty(), "no {ending} in {folder}");
    found
}

/// Rust source without its comments, strings and characters.
fn code(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_len(rest),
            '\'' => char_len(rest),
            _ => 0,
        };
        match skipped {
            0 => code.push(c),
            _ => code.push(' '),
        }
        rest = &rest[skipped.max(c.len_utf8())..];
    }
    code
}

/// The length of a string literal, its quotes included. Raw ones hold no quote here.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    let end = text[1..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// The length of a character literal; 0 where the quote begins a lifetime.
fn char_len(text: &str) -> usize {
    let inner = &text[1..];
    match inner.strip_prefix('\\') {
        Some(escape) => escape[1..].find('\'').map_or(0, |end| end + 4),
        None => {
            let len = inner.chars().next().map_or(0, char::len_utf8);
            if inner[len..].starts_with('\'') {
                len + 2
            } else {
                0
            }
        }
    }
}

/// The words of a piece of code.
fn words(code: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(|c| !is_word(c))
        .filter(|w| !w.is_empty())
        .collect()
}

/// What stands right behind `NAME::` anywhere in the code, whichever way it is written:
/// `NAME::a::b` and `NAME::{a::b, c}` give `a`, `a` and `c`. Any other use of NAME gives
/// `?`.
fn behind(code: &str, name: &str) -> BTreeSet<String> {
    let dense: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let dense = dense.replace(" ::", "::").replace(":: ", "::");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let first = |path: &str| {
        let word: String = path.trim().chars().take_while(|&c| is_word(c)).collect();
        if word.is_empty() {
            "?".to_owned()
        } else {
            word
        }
    };
    let mut found = BTreeSet::new();
    for (at, _) in dense.match_indices(name) {
        let rest = &dense[at + name.len()..];
        if dense[..at].ends_with(is_word) || rest.starts_with(is_word) {
            continue; // a part of another word
        }
        match rest.strip_prefix("::") {
            None => drop(found.insert("?".to_owned())),
            Some(group) if group.starts_with('{') => found.extend(members(group).map(first)),
            Some(path) => drop(found.insert(first(path))),
        }
    }
    found
}

/// The members of a group in braces, without what is in inner ones.
fn members(group: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut begin, mut members) = (0, 1, Vec::new());
    for (i, c) in group.char_indices() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 || depth == 1 && c == ',' {
            members.push(group[begin..i].trim());
            begin = i + 1;
        }
        if depth == 0 {
            break;
        }
    }
    members.into_iter().filter(|member| !member.is_empty())
}

#[test]
fn these_rules_see_every_way_of_writing_a_path() {
    let source = "use std::{io::{self, Read}, net as n, fs::File};\n// std::env\n\
        let s = \"std::thread \\\" std::x\"; let c = ('\"', '\\n', '\\''); fn f<'a>() {}\n\
        std :: process\n  ::exit(0); use std as s; let not_std::y = 1; /* std::time */";
    let code = code(source);
    let seen: Vec<_> = behind(&code, "std").into_iter().collect();
    assert_eq!(seen, ["?", "fs", "io", "net", "process"]);
    assert!(words(&code).contains("exit") && !words(&code).contains("thread"));
}

#[test]
fn only_sys_is_unsafe_and_asks_the_operating_system() {
    for file in files("src", ".rs") {
        if file.starts_with("src/sys/") {
            continue;
        }
        let code = code(&text(&file));
        let words = words(&code);
        for word in ["unsafe", "nix", "libc", "extern"] {
            assert!(!words.contains(word), "{file}: {word}");
        }
        let std = behind(&code, "std");
        for part in ["?", "env", "fs", "net", "os", "process", "thread", "time"] {
            assert!(!std.contains(part), "{file}: std::{part}");
        }
    }
}

#[test]
fn nothing_forks_and_nothing_has_a_seed() {
    for file in files("src", ".rs") {
        let code = code(&text(&file));
        let words = words(&code);
        for word in ["fork", "vfork", "forkpty", "posix_spawn", "popen"] {
            assert!(!words.contains(word), "{file}: {word}");
        }
        // std's own may fork.
        assert!(
            !file.starts_with("src/sys/") || !words.contains("Command"),
            "{file}"
        );
        for word in ["HashMap", "HashSet", "RandomState"] {
            assert!(!words.contains(word), "{file}: {word}");
        }
    }
}

/// The rooms by name, each with the number of its block in lib.rs.
fn rooms() -> BTreeMap<String, usize> {
    let lib = text("src/lib.rs");
    let rooms = lib.split("\n\n").enumerate().flat_map(|(block, lines)| {
        let names = lines
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod "));
        names.map(move |name| (name.trim_end_matches(';').to_owned(), block))
    });
    rooms.collect()
}

#[test]
fn each_room_knows_only_those_of_the_blocks_above() {
    let rooms = rooms();
    let room_of = |file: &str| {
        let name = file.trim_start_matches("src/").trim_end_matches(".rs");
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let mut seen = BTreeSet::new();
    for file in files("src", ".rs") {
        let room = room_of(&file);
        if ["lib", "bin"].contains(&room.as_str()) {
            continue;
        }
        let code = code(&text(&file));
        let block = *rooms
            .get(&room)
            .unwrap_or_else(|| panic!("{room} is not in lib.rs"));
        for other in behind(&code, "crate") {
            // A macro names its own room.
            let above = other == room || rooms.get(&other).is_some_and(|&b| b < block);
            assert!(
                above,
                "{file} knows {other}, which does not stand in a block above"
            );
        }
        // Another way to reach a neighbour; the tests at a file's end use it for their file.
        if !file["src/".len()..].contains('/') {
            assert!(!code.contains("super::super"), "{file}");
            let own = code.split("mod tests").next().unwrap_or_default();
            assert_eq!(behind(own, "super"), BTreeSet::new(), "{file}");
        }
        seen.insert(room);
    }
    assert_eq!(seen, rooms.into_keys().collect());
}

#[test]
fn the_plan_has_a_place_for_every_file() {
    let plan = text("ARCHITECTURE.md");
    let table = plan.split("\n## ").next().unwrap_or_default();
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|row| {
            let names = row.split('`').skip(1).step_by(2);
            let names = names.map(|name| name.trim_end_matches('/').trim_end_matches(".rs"));
            names.collect()
        })
        .collect();
    for file in files("src", ".rs") {
        let path = file.trim_start_matches("src/").trim_end_matches(".rs");
        // A folder's own file is named by the folder; those of its folders are named with them.
        let names: Vec<_> = path.trim_end_matches("/mod").split('/').take(2).collect();
        let named = |row: &Vec<&str>| names.iter().all(|name| row.contains(name));
        assert!(rows.iter().any(named), "{file}");
    }
}

#[test]
fn no_line_is_over_100_columns() {
    for file in files("src", ".rs") {
        for (i, line) in text(&file).lines().enumerate() {
            assert!(line.chars().count() <= 100, "{file}:{}", i + 1);
        }
    }
}

/// The options in a text: each word behind `mark`, up to something that is none of it.
fn options(text: &str, mark: &str) -> BTreeSet<String> {
    let behind = text.split(mark).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    behind.filter(|option| !option.is_empty()).collect()
}

/// What `ws2cgi ARGS` prints.
fn printed(args: &[&str]) -> String {
    let output = run_ok(command(&ws2cgi()).args(args));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_man_pages_know_every_option_of_help_and_no_other() {
    for (page, args) in [
        ("man/ws2cgi.8", &["--help"][..]),
        ("man/ws-send.1", &["ws-send", "--help"]),
    ] {
        let help = options(&printed(args), "--");
        let page_text = text(page);
        let list = page_text
            .lines()
            .filter(|line| line.starts_with(".It Fl -"));
        let listed = options(&list.collect::<Vec<_>>().join("\n"), "Fl -");
        assert_eq!(listed, help, "the list of {page} against --help");
        let named = options(&page_text, "Fl -");
        let foreign: Vec<_> = named.difference(&help).collect();
        assert!(foreign.len() <= 1, "{page}: {foreign:?}");
        // ws-send(1) names an option of the daemon.
        assert!(
            foreign
                .iter()
                .all(|o| text("man/ws2cgi.8").contains(&format!("Fl -{o}")))
        );
    }
}

#[test]
fn the_man_pages_are_clean() {
    if Command::new("mandoc").arg("/dev/null").output().is_err() {
        return println!("no mandoc here");
    }
    let mut mandoc = Command::new("mandoc");
    mandoc
        .args(["-T", "lint", "-W", "warning"])
        .current_dir(root());
    let output = run_ok(mandoc.args(files("man", "")));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn every_text_that_states_the_version_states_the_same() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(text("Cargo.toml").contains(&format!("\nversion = \"{version}\"\n")));
    let locked = format!("name = \"ws2cgi\"\nversion = \"{version}\"\n");
    assert!(text("Cargo.lock").contains(&locked));
    assert_eq!(printed(&["--version"]), format!("ws2cgi {version}\n"));
    assert_eq!(
        printed(&["ws-send", "--version"]),
        format!("ws-send {version}\n")
    );
    let mut texts = [files("man", ""), files("board", "")].concat();
    texts.extend(["README.md", "ARCHITECTURE.md"].map(str::to_owned));
    for file in texts {
        let text = std::fs::read_to_string(root().join(&file)).unwrap_or_default();
        for behind in text.split("ws2cgi").skip(1) {
            let stated = behind.trim_start_matches(['-', '/', ' ', 'v']);
            let number = stated.split(|c: char| c != '.' && !c.is_ascii_digit());
            let number = number.map(|n| n.trim_end_matches('.')).next();
            if let Some(number) = number.filter(|n| n.contains('.')) {
                assert_eq!(number, version, "{file}");
            }
        }
    }
}

#[test]
fn every_c_file_compiles_without_a_warning() {
    let object = built().join(format!("warnings.{}.o", std::process::id()));
    for folder in ["cgi-bin", "tests/programs", "tests/boa", "tests/bench"] {
        for file in files(folder, ".c") {
            for level in ["-O0", "-O2"] {
                let mut cc = Command::new("cc");
                cc.args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", level, "-c"]);
                run_ok(cc.arg("-o").arg(&object).arg(root().join(&file)));
            }
        }
    }
    let _ = std::fs::remove_file(object);
}

#[test]
fn the_licences_are_there() {
    assert!(text("Cargo.toml").contains("license = \"MIT OR Apache-2.0\""));
    assert!(text("LICENSE-MIT").contains("Permission is hereby granted"));
    assert!(text("LICENSE-APACHE").contains("Version 2.0, January 2004"));
}
