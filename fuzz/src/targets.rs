//! What is fuzzed, and what each target promises.

mod configuration;
mod framing;
mod matching;
mod proxied;
mod quantities;
mod sessions;

/// A function of bytes that panics when a promise is broken.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and its folder's.
    pub name: &'static str,
    /// Reads an input.
    pub run: fn(&[u8]),
    /// What means something to it.
    pub words: &'static [&'static str],
    /// Most bytes of an input.
    pub longest: usize,
}

/// All of them, by name.
pub const TARGETS: [Target; 12] = [
    Target { name: "edits", run: matching::edits, words: matching::EDIT_WORDS, longest: 256 },
    Target { name: "framing", run: framing::framing, words: framing::WORDS, longest: 2048 },
    Target { name: "hosts", run: matching::hosts, words: &[".", "*.", ":80", "[::1]", "a.test", "\n"], longest: 256 },
    Target { name: "manifests", run: configuration::manifests, words: configuration::MANIFEST_WORDS, longest: 4096 },
    Target {
        name: "paths",
        run: framing::paths,
        words: &["/..", "/.", "%2e", "%2F", "%5c", "//", "%00"],
        longest: 256,
    },
    Target { name: "proxy-headers", run: proxied::proxy_headers, words: proxied::WORDS, longest: 320 },
    Target { name: "quantities", run: quantities::quantities, words: quantities::WORDS, longest: 64 },
    Target { name: "queries", run: matching::queries, words: &["&", "=", "%2", "+", "%C3%A9", "\n"], longest: 256 },
    Target { name: "requests", run: framing::requests, words: framing::WORDS, longest: 2048 },
    Target { name: "rollouts", run: configuration::rollouts, words: configuration::ROLLOUT_WORDS, longest: 4096 },
    Target { name: "tokens", run: sessions::tokens, words: sessions::WORDS, longest: 512 },
    Target { name: "updates", run: configuration::updates, words: configuration::UPDATE_WORDS, longest: 4096 },
];

/// The input as text; what is none of it is of no interest.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
