//! From the bytes of a client's connection to a request that goes to a backend.

use http::{HeaderValue, Method, Request, Uri, header, request};
use sluice_proxy_core::filter::redirect::Scheme;
use sluice_proxy_core::forward::{self, Peer};
use sluice_proxy_core::framing::{self, path, scanner::Scanner};

pub(super) const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.0\r\n",
    "host: a\r\n",
    "content-length: 4\r\n",
    "Content-Length:",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding:",
    "chunked",
    "0\r\n\r\n",
    "4\r\nabcd\r\n",
    "1;x=y\r\n",
    "trailer: t\r\n",
    "connection: upgrade\r\n",
    "upgrade: websocket\r\n",
    "http://a:80/",
    "x_forwarded_for: 1\r\n",
    "te: trailers\r\n",
    "cookie: a=b\r\n",
];

/// What the scanner lets pass is read as the same requests by the parser behind it, however the bytes are cut.
pub(super) fn framing(input: &[u8]) {
    // The first byte says where the rest is cut.
    let Some((cut, stream)) = input.split_first() else { return };
    let (mut whole, mut cut_up) = (Scanner::default(), Scanner::default());
    let accepted = whole.look(stream).is_ok();
    let parts = stream.chunks(usize::from(*cut).max(1));
    assert_eq!(accepted, parts.into_iter().all(|part| cut_up.look(part).is_ok()), "cutting makes a difference");
    if accepted {
        let mut at = 0;
        while let Some(length) = message(&stream[at..]) {
            at += length;
            assert!(ends_at(stream, at), "the parser sees a request end at {at}, and the scanner does not");
        }
    }
}

/// Whether the scanner takes what follows for a new request.
fn ends_at(stream: &[u8], at: usize) -> bool {
    let mut scanner = Scanner::default();
    let mut taken = |bytes: &[u8]| scanner.look(bytes).is_ok();
    // As a body it would take both, as a head the first line only.
    taken(&stream[..at]) && taken(b"GET / HTTP/1.1\r\n") && !taken(b"no field\n")
}

/// Bytes of the first request as RFC 9112 delimits it; none when it is not whole, or the parser refuses it.
fn message(stream: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; framing::MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = parsed.parse(stream).ok()? else { return None };
    let value = |name: &str| parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|f| f.value);
    let body = &stream[head..];
    if value("transfer-encoding").is_some() {
        return chunked(body).map(|length| head + length);
    }
    let length = value("content-length").map_or(Some(0), |text| std::str::from_utf8(text).ok()?.trim().parse().ok())?;
    (body.len() >= length).then_some(head + length)
}

/// Bytes of a chunked body.
fn chunked(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(&body[at..]).ok()? else {
            return None;
        };
        at += line;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?.checked_add(2).filter(|end| *end <= body.len())?;
    }
    let mut fields = [httparse::EMPTY_HEADER; framing::MAX_FIELDS];
    match httparse::parse_headers(&body[at..], &mut fields).ok()? {
        httparse::Status::Complete((length, _)) => Some(at + length),
        httparse::Status::Partial => None,
    }
}

/// A path has one form, which has no dot segments and stays what it is; or it is refused.
pub(super) fn paths(input: &[u8]) {
    let Some(mut head) = super::text(input).and_then(get) else { return };
    let query = head.uri.query().map(str::to_owned);
    if path::normalise_request(&mut head).is_err() {
        return;
    }
    let once = head.uri.clone();
    assert!(once.path() == "*" || once.path().starts_with('/'), "{once} is no path");
    assert!(!once.path().split('/').any(|segment| matches!(segment, "." | "..")), "{once} has dot segments");
    assert!(!once.path().contains('\\'), "{once} has a backslash");
    assert_eq!(once.query().map(str::to_owned), query, "the query has changed");
    path::normalise_request(&mut head).expect("what was accepted is accepted");
    assert_eq!(head.uri, once, "the one form has another form");
}

fn get(path: &str) -> Option<request::Parts> {
    let uri: Uri = path.parse().ok().filter(|_| path.starts_with('/'))?;
    Some(Request::get(uri).body(()).ok()?.into_parts().0)
}

/// A head that is accepted goes to a backend as one that says nothing twice, and nothing of the connection it came by.
pub(super) fn requests(input: &[u8]) {
    let Some(mut head) = parse(input) else { return };
    if framing::check(&head).is_err() || path::normalise_request(&mut head).is_err() {
        return;
    }
    assert!(!forward::asks_for_websocket(&head) || head.method == Method::GET, "a WebSocket by another method");
    let address = HeaderValue::from_static("192.0.2.1");
    forward::prepare_request(&mut head, Peer { address: &address, scheme: Scheme::Http, trusted: false }, false);
    assert!(head.uri.authority().is_none(), "{} is not in origin form", head.uri);
    assert!(head.uri.to_string().is_ascii(), "{} is more than ASCII", head.uri);
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "expect", "forwarded"] {
        assert!(!head.headers.contains_key(name), "{name} is passed on");
    }
    for name in [header::HOST, header::CONTENT_LENGTH, header::COOKIE, header::TE] {
        assert!(head.headers.get_all(&name).iter().count() <= 1, "{name} is there twice");
    }
    assert_eq!(head.headers["x-forwarded-for"], "192.0.2.1");
    let impostor = |name: &header::HeaderName| name.as_str().replace('_', "-").starts_with("x-forwarded-");
    let of_ours = head.headers.keys().filter(|name| impostor(name)).count();
    assert_eq!(of_ours, 2 + usize::from(head.headers.contains_key(header::HOST)), "somebody else's X-Forwarded");
    assert!(framing::is_framed(&head.headers), "its length is unclear");
}

/// A head as the server's parser makes it.
fn parse(input: &[u8]) -> Option<request::Parts> {
    let mut fields = [httparse::EMPTY_HEADER; framing::MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(_) = parsed.parse(input).ok()? else { return None };
    let version = if parsed.version? == 1 { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
    let request = Request::builder().method(parsed.method?).uri(parsed.path?).version(version);
    let request = parsed.headers.iter().fold(request, |request, field| request.header(field.name, field.value));
    Some(request.body(()).ok()?.into_parts().0)
}
