//! A plan's vocabulary: a line is a verb and its arguments, each a named number. What is printed
//! reads back.

/// Makes an enum whose values print as `verb name=number ...` and are read from that.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$about:meta])* $variant:ident $word:literal ($($arg:ident),*)),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about])* $variant { $($arg: u32),* }),*
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                match self {
                    $($name::$variant { $($arg),* } => {
                        f.write_str($word)?;
                        $(if *$arg != 0 {
                            write!(f, " {}={}", stringify!($arg), $arg)?;
                        })*
                        Ok(())
                    })*
                }
            }
        }

        impl $name {
            /// Reads a line; an argument that is not there is 0.
            pub fn parse(line: &str) -> Option<$name> {
                let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
                match word {
                    $($word => Some($name::$variant {
                        $($arg: $crate::words::argument(rest, stringify!($arg))?),*
                    }),)*
                    _ => None,
                }
            }

            /// This line with one of its arguments smaller, for each that can be.
            #[allow(unused_mut, unused_variables, irrefutable_let_patterns)]
            pub fn simpler(&self) -> Vec<$name> {
                let mut simpler = Vec::new();
                match self {
                    $($name::$variant { $($arg),* } => {
                        $(for smaller in $crate::words::smaller(*$arg) {
                            let mut other = self.clone();
                            if let $name::$variant { $arg, .. } = &mut other {
                                *$arg = smaller;
                            }
                            simpler.push(other);
                        })*
                    })*
                }
                simpler
            }
        }
    };
}
pub(crate) use words;

/// The number of an argument in a line; 0 where it is not there.
pub fn argument(line: &str, name: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    match words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')) {
        Some(number) => number.parse().ok(),
        None => Some(0),
    }
}

/// Numbers to try in place of one.
pub fn smaller(number: u32) -> Vec<u32> {
    match number {
        0 => vec![],
        1 => vec![0],
        n => vec![0, n / 2],
    }
}
