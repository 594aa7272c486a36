//! The fuzz targets on their committed corpora and findings, without libFuzzer: so what was found
//! once is looked at in every `make test`.

// The ban is on the daemon's floors; the tests stand outside.
#![allow(clippy::disallowed_methods)]

// Of what is there for people the target has no use.
#[allow(dead_code)]
#[path = "../tests/sim/mod.rs"]
mod sim;
#[path = "src/targets.rs"]
mod targets;

use sim::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use targets::TARGETS;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Runs a target on each file of a folder; a panic names the file.
fn replay(run: fn(&[u8]), folder: &Path) -> usize {
    let names = names(folder);
    for name in &names {
        let path = folder.join(name);
        let input = std::fs::read(&path).expect("an input");
        let outcome = std::panic::catch_unwind(|| run(&input));
        assert!(outcome.is_ok(), "{} fails, see above", path.display());
    }
    names.len()
}

#[test]
fn every_input_of_the_corpora_holds() {
    // For `fuzz/run coverage`: which targets, and where what has been learnt lies.
    let only = std::env::var("WS2CGI_FUZZ_TARGETS").ok();
    let found = std::env::var_os("WS2CGI_FUZZ_FOUND");
    for (name, run) in TARGETS {
        if only
            .as_ref()
            .is_some_and(|only| !only.split(' ').any(|n| n == name))
        {
            continue;
        }
        let count = replay(run, &fuzz().join("corpus").join(name));
        assert!(count > 0, "{name} has no corpus");
        let findings = fuzz().join("findings").join(name);
        if findings.exists() {
            replay(run, &findings);
        }
        if let Some(found) = &found {
            replay(run, &Path::new(found).join(name));
        }
    }
}

#[test]
fn each_target_has_a_program_and_a_corpus_and_nothing_else_has() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| name.to_string()).collect();
    let programs = names(&fuzz().join("fuzz_targets"));
    let programs: BTreeSet<_> = programs
        .iter()
        .map(|file| file.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(programs, targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
    for folder in ["dictionaries", "findings"] {
        assert!(names(&fuzz().join(folder)).is_subset(&targets), "{folder}");
    }
}

#[test]
fn what_is_fuzzed_is_what_the_daemon_is_made_of() {
    let versions = |lock: PathBuf| {
        let text = std::fs::read_to_string(&lock).unwrap_or_else(|e| panic!("{lock:?}: {e}"));
        let packages = text.split("[[package]]").skip(1).map(|package| {
            let mut values = package.lines().filter_map(|line| line.split_once(" = "));
            let mut value = |key| values.find(|(k, _)| *k == key).expect(key).1.to_owned();
            (value("name"), value("version"))
        });
        packages.collect::<BTreeSet<_>>()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let daemons = versions(root.join("Cargo.lock"));
    let fuzzed = versions(root.join("fuzz/Cargo.lock"));
    // libFuzzer's own.
    let more = [
        "arbitrary",
        "cc",
        "find-msvc-tools",
        "jobserver",
        "libfuzzer-sys",
        "shlex",
        "ws2cgi-fuzz",
    ];
    for (name, version) in fuzzed.difference(&daemons) {
        let known = more.contains(&name.trim_matches('"'));
        assert!(
            known,
            "fuzz/Cargo.lock has {name} {version}, which the daemon's has not"
        );
    }
}

/// Inputs of a random walk, so that a target that has gone wrong is noticed without libFuzzer
/// too: bytes of the corpus, changed, cut and put together.
#[test]
fn neighbours_of_the_corpora_hold() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as usize % below.max(1)
    };
    for (name, run) in TARGETS {
        let folder = fuzz().join("corpus").join(name);
        let names = names(&folder);
        let corpus: Vec<_> = names
            .iter()
            .map(|name| std::fs::read(folder.join(name)).expect("an input"))
            .collect();
        // One run of the whole daemon takes as long as many of the others.
        let runs = if name == "simulation" { 100 } else { 1000 };
        for _ in 0..runs {
            let mut input = corpus[random(corpus.len())].clone();
            for _ in 0..1 + random(3) {
                let (at, other) = (random(input.len()), &corpus[random(corpus.len())]);
                match random(4) {
                    0 if at < input.len() => input[at] ^= 1 << random(8),
                    1 => drop(input.splice(at..at, other[..random(other.len())].iter().copied())),
                    2 => input.truncate(at),
                    _ => input.extend_from_slice(&other[random(other.len())..]),
                }
            }
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(
                outcome.is_ok(),
                "{name} fails on {:?}",
                input.escape_ascii().to_string()
            );
        }
    }
}
