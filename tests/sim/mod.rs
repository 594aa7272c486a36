//! The rooms of the simulation: ARCHITECTURE.md, "Simulation", says what lives in each. They name
//! each other by `crate`, so a program of them says `use sim::*` at its root: `main.rs`, and the
//! fuzz target (`fuzz/src/simulation.rs`).
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod arrive;
pub mod browser;
pub mod call;
pub mod check;
pub mod child;
pub mod children;
pub mod conditions;
pub mod draw;
pub mod frames;
pub mod heap;
pub mod http;
pub mod lines;
pub mod model;
pub mod options;
pub mod orders;
pub mod os;
pub mod owners;
pub mod page;
pub mod plan;
pub mod request;
pub mod rng;
pub mod run;
pub mod shrink;
pub mod sys;
pub mod trace;
pub mod transfer;
pub mod wait;
pub mod websocket;
pub mod words;
pub mod world;
pub mod writer;
