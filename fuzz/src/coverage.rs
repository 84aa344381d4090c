//! Which lines of our crates an input reaches, and how often.
//!
//! With `-C instrument-coverage` the compiler counts into one section of the program, whose ends the linker names. That is
//! all a fuzzer needs, and stable. Without the feature there is nothing to read, and no input is ever new.

/// What has been reached so far.
#[derive(Debug, Default)]
pub struct Coverage {
    /// For each counter, which magnitudes it has had.
    seen: Vec<u8>,
}

impl Coverage {
    /// Forgets what was counted before the next run.
    pub fn reset(&self) {
        counters().fill(0);
    }

    /// Takes in what the last run has counted; whether some of it is new.
    pub fn is_new(&mut self) -> bool {
        let counters = counters();
        self.seen.resize(counters.len(), 0);
        let mut new = false;
        for (seen, count) in self.seen.iter_mut().zip(&*counters).filter(|(_, count)| **count > 0) {
            let magnitude = magnitude(*count);
            new |= *seen & magnitude == 0;
            *seen |= magnitude;
        }
        new
    }

    /// Counters that have been reached.
    pub fn reached(&self) -> usize {
        self.seen.iter().filter(|magnitudes| **magnitudes > 0).count()
    }
}

/// One bit for each magnitude: a loop that turns five times instead of six is nothing new.
fn magnitude(count: u64) -> u8 {
    match count {
        0..=3 => 1 << (count.max(1) - 1),
        4..=7 => 1 << 3,
        8..=15 => 1 << 4,
        16..=31 => 1 << 5,
        32..=127 => 1 << 6,
        _ => 1 << 7,
    }
}

#[cfg(feature = "coverage")]
#[allow(unsafe_code)]
fn counters() -> &'static mut [u64] {
    unsafe extern "C" {
        #[link_name = "__start___llvm_prf_cnts"]
        static mut START: u64;
        #[link_name = "__stop___llvm_prf_cnts"]
        static mut STOP: u64;
    }
    // SAFETY: the linker puts both names around the section, which holds nothing but counters of eight bytes and lives as
    // long as the program. Targets count on the one thread that calls this, between the calls; what other threads of the
    // program count meanwhile may be lost, and that is all that can happen to a counter.
    unsafe {
        let start = &raw mut START;
        let length = (&raw mut STOP).offset_from(start);
        std::slice::from_raw_parts_mut(start, length.unsigned_abs())
    }
}

#[cfg(not(feature = "coverage"))]
fn counters() -> &'static mut [u64] {
    &mut []
}

#[cfg(test)]
mod tests {
    use super::magnitude;

    #[test]
    fn magnitudes_are_told_apart_and_numbers_within_one_are_not() {
        let of: Vec<u8> = [1, 2, 3, 4, 7, 8, 16, 32, 127, 128, u64::MAX].into_iter().map(magnitude).collect();
        assert_eq!(of, [1, 2, 4, 8, 8, 16, 32, 64, 64, 128, 128]);
    }
}
