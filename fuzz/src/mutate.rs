//! Changes of inputs, drawn at random: of bytes, of blocks, and by words that mean something to a target.

use fastrand::Rng;

/// Bytes at which parsers change their mind.
const TELLING: &[u8] = b"\0\t\n\r !\"#%&'*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~\x7f\x80\xff";

/// A changed input of at most `most` bytes. `others` lend parts, `words` are put in whole.
pub fn mutate(rng: &mut Rng, input: &[u8], others: &[Vec<u8>], words: &[&str], most: usize) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..1 << rng.u32(0..4) {
        change(rng, &mut bytes, others, words);
    }
    bytes.truncate(most);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str]) {
    match rng.u32(0..9) {
        0 => on_byte(rng, bytes, |rng, byte| *byte ^= 1 << rng.u32(0..8)),
        1 => on_byte(rng, bytes, |rng, byte| *byte = TELLING[rng.usize(..TELLING.len())]),
        2 => on_byte(rng, bytes, |rng, byte| *byte = rng.u8(..)),
        3 => {
            let at = rng.usize(..=bytes.len());
            bytes.insert(at, TELLING[rng.usize(..TELLING.len())]);
        }
        4 => {
            let block = block(rng, bytes.len());
            bytes.drain(block);
        }
        5 => {
            let copied = bytes[block(rng, bytes.len())].to_vec();
            put(rng, bytes, &copied);
        }
        6 if !words.is_empty() => {
            let word = words[rng.usize(..words.len())];
            put(rng, bytes, word.as_bytes());
        }
        7 if !others.is_empty() => {
            let other = &others[rng.usize(..others.len())];
            let lent = other[block(rng, other.len())].to_vec();
            put(rng, bytes, &lent);
        }
        // The beginning of this one and the end of another.
        _ => {
            bytes.truncate(rng.usize(..=bytes.len()));
            if let Some(other) = rng.choice(others) {
                bytes.extend_from_slice(&other[rng.usize(..=other.len())..]);
            }
        }
    }
}

fn on_byte(rng: &mut Rng, bytes: &mut [u8], change: impl Fn(&mut Rng, &mut u8)) {
    if !bytes.is_empty() {
        let at = rng.usize(..bytes.len());
        change(rng, &mut bytes[at]);
    }
}

fn block(rng: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let from = rng.usize(..=length);
    // Mostly short ones.
    let most = if rng.bool() { 8 } else { length };
    from..(from + rng.usize(..=most)).min(length)
}

/// Puts a part in, or over what is there.
fn put(rng: &mut Rng, bytes: &mut Vec<u8>, part: &[u8]) {
    let at = rng.usize(..=bytes.len());
    let to = if rng.bool() { at } else { (at + part.len()).min(bytes.len()) };
    bytes.splice(at..to, part.iter().copied());
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::mutate;

    #[test]
    fn a_seed_gives_the_same_inputs_each_time_and_none_is_too_long() {
        let run = |seed| {
            let (mut rng, others) = (Rng::with_seed(seed), vec![b"another".to_vec(), vec![]]);
            let mut input = b"GET / HTTP/1.1".to_vec();
            for _ in 0..2_000 {
                input = mutate(&mut rng, &input, &others, &["chunked"], 64);
                assert!(input.len() <= 64);
            }
            input
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
