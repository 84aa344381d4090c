//! The terminal: headings with seconds, and a block that is redrawn in place, or plain lines where there is no terminal.

use std::{
    io::{IsTerminal, Write, stdout},
    time::Instant,
};

/// Up by n lines, then clear to the end of the screen.
const REDRAW: (&str, &str) = ("\x1b[", "A\x1b[J");
/// Longest line of the live block: a line that wraps could not be redrawn.
const WIDTH: usize = 118;

/// What is printed and how long its parts took.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    drawn: usize,
    started: Instant,
    phases: Vec<(String, Instant)>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { terminal: stdout().is_terminal(), drawn: 0, started: Instant::now(), phases: Vec::new() }
    }

    /// A new phase begins.
    pub(crate) fn phase(&mut self, name: &str) {
        self.drawn = 0;
        self.phases.push((name.to_owned(), Instant::now()));
        println!("\n[{:6.1} s] {name}", self.started.elapsed().as_secs_f64());
    }

    /// A fact that stays on the screen.
    pub(crate) fn say(&mut self, fact: &str) {
        self.drawn = 0;
        println!("[{:6.1} s]   {fact}", self.started.elapsed().as_secs_f64());
    }

    /// The live block: replaces the one before, or is one line in a log.
    pub(crate) fn live(&mut self, lines: &[String]) {
        if self.terminal {
            let mut out = stdout().lock();
            if self.drawn > 0 {
                let _ = write!(out, "{}{}{}", REDRAW.0, self.drawn, REDRAW.1);
            }
            for line in lines {
                let line: String = line.chars().take(WIDTH).collect();
                let _ = writeln!(out, "    {line}");
            }
            let _ = out.flush();
            self.drawn = lines.len();
        } else {
            println!("[{:6.1} s]   {}", self.started.elapsed().as_secs_f64(), lines.join(" | "));
        }
    }

    /// Name and seconds of each phase so far.
    pub(crate) fn phases(&self) -> Vec<(String, f64)> {
        let ends = self.phases.iter().skip(1).map(|(_, start)| *start).chain([Instant::now()]);
        let seconds = self
            .phases
            .iter()
            .zip(ends)
            .map(|((name, start), end)| (name.clone(), end.saturating_duration_since(*start).as_secs_f64()));
        seconds.collect()
    }
}
