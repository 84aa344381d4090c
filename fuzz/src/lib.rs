//! Fuzzing without anything but the stable toolchain.
//!
//! ```text
//! corpus/<target>/* ──► cargo test: each input once (tests/corpus.rs)
//!        │
//!        └──► engine: mutate ──► target ──► new lines reached? ──► pool
//!                        ▲                        (coverage)        │
//!                        └──────────────────────────────────────────┘
//! ```
//! A target is a function of bytes that panics when a promise is broken. Inputs are plain files, so that any other fuzzer
//! can start from them too.

pub mod corpus;
pub mod coverage;
pub mod engine;
pub mod mutate;
pub mod targets;
