//! Names of spool files, as outbox lines say them.

use super::rules;
use std::path::Path;
use ws2cgi::outbox::{Command, Opcode, Payload, encode_spooled, parse};
use ws2cgi::rundir::RunDir;
use ws2cgi::target::Target;

/// What is accepted names a file that lies in the spool folder itself.
pub fn run(bytes: &[u8]) {
    for (verb, opcode) in [("textfile", Opcode::Text), ("binaryfile", Opcode::Binary)] {
        let line = [verb.as_bytes(), b" @a ", bytes].concat();
        let said = core::str::from_utf8(bytes).ok().map(str::trim_ascii_end);
        let good = said.is_some_and(rules::spool_file);
        let name = match parse(&line) {
            Ok(Some(Command::Send(opc, _, Payload::Spooled(name)))) => {
                assert_eq!(opc, opcode);
                name
            }
            Err(_) => {
                assert!(!good, "refused: {}", bytes.escape_ascii());
                continue;
            }
            other => panic!("{other:?}"),
        };
        assert!(good && said == Some(&name), "{name}");
        let path = RunDir::new("/run/ws").spool(&name);
        let path = Path::new(&path);
        assert_eq!(path.parent(), Some(Path::new("/run/ws/spool")));
        assert_eq!(path.file_name(), Some(name.as_ref()));
        assert_eq!(path.components().count(), 5);
        let target = Target::parse("@a").expect("a target");
        let line = encode_spooled(opcode, &target, &name);
        let line = line.strip_suffix(b"\n").expect("a line");
        let command = Command::Send(opcode, target, Payload::Spooled(name));
        assert_eq!(parse(line), Ok(Some(command)));
    }
}
