//! What the documents say that a test shows: there is that test.

use crate::harness::project;
use std::collections::BTreeSet;
use std::fs::read_to_string;

/// The words of the form `room::test` between backticks.
fn tests_named(text: &str) -> BTreeSet<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|word| word.split_once("::"));
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = named.filter(|(_, test)| !test.is_empty() && test.chars().all(name));
    let named = named.filter(|(room, _)| room.chars().all(|c| name(c) || c == '/'));
    // `Client::ready` is none.
    let named = named.filter(|(room, _)| room.starts_with(|c: char| c.is_ascii_lowercase()));
    named
        .map(|(room, test)| (room.to_owned(), test.to_owned()))
        .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    for (document, at_least) in [("SECURITY.md", 50), ("ARCHITECTURE.md", 20)] {
        let text = read_to_string(project(document)).expect(document);
        let named = tests_named(&text);
        assert!(named.len() >= at_least, "{document}: {}", named.len());
        for (room, test) in named {
            let files = [
                format!("tests/suite/{room}.rs"),
                format!("tests/faults/{room}.rs"),
                format!("{room}.rs"),
            ];
            let test = format!("#[test]\nfn {test}() {{\n");
            let holds = |file: &String| {
                let text = read_to_string(project(file)).unwrap_or_default();
                let lines: Vec<_> = text.lines().map(str::trim_start).collect();
                lines.join("\n").contains(&test)
            };
            assert!(files.iter().any(holds), "{document}: {room}, {test}");
        }
    }
}

#[test]
fn a_name_is_told_from_other_words() {
    let text = "`a::b_c`, `src/a::b`, `Client::ready`, a::no, `std::{net}`, `a::`, `x`";
    let named = tests_named(text);
    let named: Vec<_> = named
        .iter()
        .map(|(room, test)| format!("{room} {test}"))
        .collect();
    assert_eq!(named, ["a b_c", "src/a b"]);
}
