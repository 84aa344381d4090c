//! Follows the bytes of an HTTP/1 connection ahead of the parser, and refuses what two parsers could read in two ways.
//!
//! The parser takes one of several lengths and drops the others, accepts a bare LF, and cuts a fragment off a target:
//! all allowed, and all of use to somebody who wants a request to be read as two. So what it would tidy up is refused
//! here: `Transfer-Encoding` together with `Content-Length`, either of them twice, any coding but `chunked`, lines that do
//! not end in CRLF, request lines that are not three words of visible ASCII (with `#` in none of the latter two), chunk
//! sizes of more than 15 digits, long chunk extensions, and trailers that are long or no fields.

use std::ops::ControlFlow;

/// Longest chunk-size line, extensions included.
pub const MAX_CHUNK_LINE: usize = 256 + 16;
/// Most digits of a chunk size.
pub const MAX_CHUNK_DIGITS: usize = 15;
/// Most digits of a length: what fits into 63 bits in any case.
pub const MAX_LENGTH_DIGITS: usize = 18;
/// Most bytes of trailers.
pub const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// Most fields of trailers.
pub const MAX_TRAILERS: usize = 32;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// In a body. The request that it belongs to is already on its way.
    Body,
    /// In a head, of which this many bytes of the slice that was looked at last are in front.
    Head(usize),
}

/// The state of one connection. After a violation it is not to be used any more.
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In front of a request line.
    #[default]
    Start,
    Headers,
    /// Bytes that are left of a body of known length.
    Fixed(u64),
    ChunkSize,
    ChunkData(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Bytes and fields so far.
    Trailers(usize, usize),
}

/// What the head has said so far about its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Scanner {
    /// Looks at the next bytes.
    pub fn look(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest.len();
            let in_head = matches!(self.state, State::Start | State::Headers);
            let taken = match self.state {
                State::Fixed(left) | State::ChunkData(left) => Some(self.skip(left, before)),
                _ => self.look_at_line(rest),
            };
            match taken {
                Some(taken) => rest = &rest[taken..],
                None if in_head => return Err(Violation::Head(bytes.len() - before)),
                None => return Err(Violation::Body),
            }
        }
        Ok(())
    }

    /// Takes what there is of a body, and returns how much that was.
    fn skip(&mut self, left: u64, available: usize) -> usize {
        let taken = left.min(available as u64);
        let after = left - taken;
        self.state = match self.state {
            State::ChunkData(_) if after == 0 => State::ChunkEnd,
            State::ChunkData(_) => State::ChunkData(after),
            _ if after == 0 => State::Start,
            _ => State::Fixed(after),
        };
        taken as usize
    }

    /// Takes a line, or what there is of it, and returns how much that was; none when it is not acceptable.
    fn look_at_line(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            return (self.line.len() <= self.longest_line()).then_some(bytes.len());
        };
        let accepted = if self.line.is_empty() {
            self.take_line(&bytes[..=end])
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..=end]);
            let accepted = self.take_line(&line);
            line.clear();
            self.line = line;
            accepted
        };
        accepted.is_continue().then_some(end + 1)
    }

    fn longest_line(&self) -> usize {
        match self.state {
            State::ChunkSize => MAX_CHUNK_LINE,
            State::ChunkEnd => 2,
            State::Trailers(..) => MAX_TRAILER_BYTES,
            // The parser has limits of its own for heads, and answers them better.
            State::Start | State::Headers | State::Fixed(_) | State::ChunkData(_) => super::MAX_HEAD_BYTES * 2,
        }
    }

    fn take_line(&mut self, line: &[u8]) -> ControlFlow<()> {
        let Some(line) = line.strip_suffix(b"\r\n") else { return ControlFlow::Break(()) };
        let next = match self.state {
            // The end of a request, or an empty line in front of one, as clumsy clients leave it over.
            State::Start | State::Trailers(..) if line.is_empty() => Some(State::Start),
            State::Start => {
                self.framing = Framing::default();
                is_request_line(line).then_some(State::Headers)
            }
            State::Headers if line.is_empty() => Some(self.framing.body()),
            State::Headers => self.framing.read(line).then_some(State::Headers),
            State::ChunkSize => chunk_size(line).map(|size| match size {
                0 => State::Trailers(0, 0),
                size => State::ChunkData(size),
            }),
            State::ChunkEnd => line.is_empty().then_some(State::ChunkSize),
            State::Trailers(bytes, fields) => {
                let (bytes, fields) = (bytes + line.len(), fields + 1);
                let few = bytes <= MAX_TRAILER_BYTES && fields <= MAX_TRAILERS;
                (few && is_field(line)).then_some(State::Trailers(bytes, fields))
            }
            State::Fixed(_) | State::ChunkData(_) => None,
        };
        match next {
            Some(next) => {
                self.state = next;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }
}

impl Framing {
    /// Takes in one header line; false when it is not acceptable.
    fn read(&mut self, line: &[u8]) -> bool {
        // Most names are told apart by their first letter, so that most lines cost no more than that.
        match line[0] {
            b'c' | b'C' => match value(line, b"content-length") {
                Some(value) => {
                    let length = digits(value, MAX_LENGTH_DIGITS, 10);
                    let first = self.length.is_none() && !self.chunked;
                    self.length = length;
                    first && length.is_some()
                }
                None => true,
            },
            b't' | b'T' => match value(line, b"transfer-encoding") {
                Some(value) => {
                    let first = self.length.is_none() && !self.chunked;
                    self.chunked = true;
                    first && value.eq_ignore_ascii_case(b"chunked")
                }
                None => true,
            },
            b' ' | b'\t' => false,
            _ => true,
        }
    }

    fn body(self) -> State {
        match self.length {
            _ if self.chunked => State::ChunkSize,
            Some(0) | None => State::Start,
            Some(length) => State::Fixed(length),
        }
    }
}

/// The value of a header line of this name.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    // A space in front of the colon makes another name of it, which the parser refuses.
    Some(rest.strip_prefix(b":")?.trim_ascii())
}

/// Whether a line begins a request as RFC 9112 writes it, with a version that we speak.
fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    is_token(method)
        && !target.is_empty()
        && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
        && matches!(version, b"HTTP/1.1" | b"HTTP/1.0")
}

/// Whether a line is a field: a name, a colon, and no control characters but tabs.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    is_token(&line[..colon]) && line[colon..].iter().copied().all(is_text)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// Whether it can be a name (RFC 9110, 5.6.2).
fn is_token(word: &[u8]) -> bool {
    let sign = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || sign(byte))
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    if line.len() > MAX_CHUNK_LINE || !line.iter().copied().all(is_text) {
        return None;
    }
    let size = line.split(|byte| *byte == b';').next()?;
    digits(size, MAX_CHUNK_DIGITS, 16)
}

fn digits(text: &[u8], most: usize, radix: u32) -> Option<u64> {
    if text.is_empty() || text.len() > most {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        Some(number * u64::from(radix) + u64::from(char::from(*digit).to_digit(radix)?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Scanner, Violation};

    const HEAD: &str = "POST / HTTP/1.1\r\nhost: a\r\n";

    fn looked(text: &str) -> Result<(), Violation> {
        Scanner::default().look(text.as_bytes())
    }

    #[test]
    fn heads_that_could_be_read_in_two_ways_are_refused() {
        let refused = [
            "content-length: 3\r\ntransfer-encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "content-length: 3\r\ncontent-length: 3\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: xchunked\r\n",
            "content-length: +3\r\n",
            "content-length: 3, 3\r\n",
            "content-length:\r\n",
            "content-length: 9999999999999999999\r\n",
            "x: y\n",
            "x: y\r\n folded\r\n",
        ];
        for lines in refused {
            assert!(matches!(looked(&format!("{HEAD}{lines}\r\n")), Err(Violation::Head(_))), "{lines:?}");
        }
    }

    #[test]
    fn request_lines_are_three_words() {
        for line in ["GET / HTTP/1.1", "M-SEARCH * HTTP/1.0", "OPTIONS http://a:80/b?c=%20 HTTP/1.1"] {
            assert_eq!(looked(&format!("{line}\r\n")), Ok(()), "{line}");
        }
        let refused = [
            "GET / HTTP/1.1\n",
            "GET /#fragment HTTP/1.1\r\n",
            "GET  / HTTP/1.1\r\n",
            "GET / HTTP/1.1 \r\n",
            " GET / HTTP/1.1\r\n",
            "GET\t/ HTTP/1.1\r\n",
            "GET / /admin HTTP/1.1\r\n",
            "GET /\r HTTP/1.1\r\n",
            "GET /\0 HTTP/1.1\r\n",
            "GET /\x7f HTTP/1.1\r\n",
            "GET /é HTTP/1.1\r\n",
            "GET HTTP/1.1\r\n",
            "GET /\r\n",
            "G(T / HTTP/1.1\r\n",
            "GET / HTTP/1.2\r\n",
            "GET / HTTP/2.0\r\n",
            "GET / http/1.1\r\n",
            "GET / HTTP/1.10\r\n",
        ];
        for line in refused {
            assert_eq!(looked(line), Err(Violation::Head(0)), "{line:?}");
        }
    }

    #[test]
    fn one_request_after_another_is_followed() {
        let requests = [
            "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            format!("{HEAD}content-length: 5\r\ncookie: x\r\n\r\na\nb#c"),
            format!(
                "{HEAD}Transfer-Encoding:  Chunked \r\ntrailer: t\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: 1\r\n\r\n"
            ),
            format!("{HEAD}content-length: 0\r\n\r\n"),
        ];
        let stream = requests.concat().repeat(2);
        assert_eq!(looked(&stream), Ok(()));
        let smuggled = format!("{stream}{HEAD}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(matches!(looked(&smuggled), Err(Violation::Head(at)) if at > stream.len()));
    }

    #[test]
    fn bodies_whose_chunks_are_not_plain_are_refused() {
        let long = format!("1;{}\r\n", "x".repeat(300));
        let many = format!("0\r\n{}\r\n", "t: 1\r\n".repeat(33));
        let refused = [
            "3\nabc",
            "\r\n",
            "x\r\n",
            "0x3\r\n",
            "-3\r\n",
            "+3\r\n",
            "1 \r\n",
            "1234567890abcdef\r\n",
            &long,
            "3;x=\r\r\n",
            "3;\0\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc3\r\n",
            &many,
            "0\r\nGET / HTTP/1.1\r\n",
            "0\r\n: empty\r\n",
            "0\r\nt : 1\r\n",
            "0\r\n t: 1\r\n",
            "0\r\nt: \0\r\n",
            "0\r\nt: 1\n",
        ];
        for chunks in refused {
            let request = format!("{HEAD}transfer-encoding: chunked\r\n\r\n{chunks}");
            assert_eq!(looked(&request), Err(Violation::Body), "{chunks:?}");
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "host: a\r\n", "\r\n", "content-length: 4\r\n", "transfer-encoding: chunked\r\n",
                "3\r\nabc\r\n", "0\r\n", "abcd", "x\n", "#", ":", "\r",
            ]), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = pieces.concat().into_bytes();
            let whole = Scanner::default().look(&stream).is_ok();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([stream.len()]).collect();
            ends.sort_unstable();
            let (mut scanner, mut from) = (Scanner::default(), 0);
            let in_parts = ends.into_iter().all(|end| {
                let part = &stream[from..end];
                from = end;
                scanner.look(part).is_ok()
            });
            prop_assert_eq!(whole, in_parts);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Scanner::default().look(&bytes);
        }
    }
}
