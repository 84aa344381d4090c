//! Sessions (GEP-1619): a client comes back to the endpoint that it had, by a token that it is given with a response and
//! shows with its next requests.
//!
//! Which backend a request goes to is drawn before and whatever the token says; the token only says which endpoint of it
//! the client had. It remembers one of each of the last few backends, so that a client to whom a rollout deals now one
//! version and now the other finds its endpoint of either again.

mod token;

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::model;
use token::{Key, Places};

/// Most cookies of one name that are tried: a client can have several, of other paths or from others than us.
const TRIED: usize = 4;

/// Why a session cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The name of the cookie or header.
    #[error("{0:?} cannot be the name of a session's cookie or header")]
    Name(String),
    /// The cookie's path.
    #[error("{0:?} cannot be the path of a cookie")]
    Path(String),
    /// A permanent cookie has to end some time.
    #[error("a permanent cookie needs an absolute timeout")]
    NoTimeout,
}

/// A compiled session.
#[derive(Debug)]
pub struct Session {
    carrier: Carrier,
    /// Seconds that one lasts.
    timeout: Option<u32>,
    key: Key,
}

#[derive(Debug)]
enum Carrier {
    Cookie {
        name: Box<str>,
        /// What follows the value, but for what depends on the request.
        attributes: Box<str>,
        permanent: bool,
    },
    Header(HeaderName),
}

/// What a request's token says: nothing, when it has none that is valid.
#[derive(Debug, Default)]
pub struct Visit {
    places: Places,
}

/// An endpoint that has answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Name of its backend.
    pub backend: &'a str,
    /// Its address.
    pub address: SocketAddr,
    /// Whether the client's connection is in TLS.
    pub secure: bool,
}

impl Session {
    /// Compiles one.
    pub fn new(spec: &model::Session) -> Result<Self, SessionError> {
        // Names of cookies and of headers are made of the same characters.
        let header = |name: &str| HeaderName::try_from(name).map_err(|_| SessionError::Name(name.to_owned()));
        let timeout = spec.timeout.map(|millis| u32::try_from(millis.div_ceil(1_000)).unwrap_or(u32::MAX));
        let carrier = match &spec.carrier {
            model::Carrier::Header { name } => Carrier::Header(header(name)?),
            model::Carrier::Cookie { name, path, permanent } => {
                header(name)?;
                if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
                    return Err(SessionError::Path(path.clone()));
                }
                if *permanent && timeout.is_none() {
                    return Err(SessionError::NoTimeout);
                }
                let attributes = format!("; Path={path}; HttpOnly; SameSite=Strict").into();
                Carrier::Cookie { name: name.as_str().into(), attributes, permanent: *permanent }
            }
        };
        Ok(Self { carrier, timeout, key: Key::new(&spec.seed) })
    }

    /// Whether it matters what time it is.
    pub fn ends(&self) -> bool {
        self.timeout.is_some()
    }

    /// Reads a request's token. `now` is in seconds since the epoch.
    pub fn read(&self, headers: &HeaderMap, now: u32) -> Visit {
        let open = |token: &[u8]| {
            let places = self.key.open(token)?;
            let is_over = self.timeout.is_some_and(|timeout| now.saturating_sub(places.begun) >= timeout);
            (!is_over).then_some(places)
        };
        let places = match &self.carrier {
            Carrier::Header(name) => headers.get(name).and_then(|value| open(value.as_bytes())),
            Carrier::Cookie { name, .. } => cookies(headers, name).take(TRIED).find_map(open),
        };
        Visit { places: places.unwrap_or_default() }
    }

    /// The header that has the client come back to where its request was answered; none when it would anyhow.
    pub fn tell(&self, visit: Visit, answered: Answered<'_>, now: u32) -> Option<(HeaderName, HeaderValue)> {
        let Answered { backend, address, secure } = answered;
        let mut places = visit.places;
        if places.of(backend) == Some(address) {
            return None;
        }
        if places.is_empty() {
            places.begun = if self.ends() { now } else { 0 };
        }
        places.put(backend, address);
        let token = self.key.seal(&places)?;
        let (name, value) = match &self.carrier {
            Carrier::Header(name) => (name.clone(), token),
            Carrier::Cookie { name, attributes, permanent } => {
                let secure = if secure { "; Secure" } else { "" };
                let left = self.timeout.map(|timeout| timeout.saturating_sub(now.saturating_sub(places.begun)));
                let age = left.filter(|_| *permanent).map(|left| format!("; Max-Age={left}")).unwrap_or_default();
                (header::SET_COOKIE, format!("{name}={token}{attributes}{secure}{age}"))
            }
        };
        Some((name, HeaderValue::try_from(value).ok()?))
    }
}

impl Visit {
    /// Where the client was at a backend.
    pub fn endpoint(&self, backend: &str) -> Option<SocketAddr> {
        self.places.of(backend)
    }
}

/// The values of cookies of this name, in the order in which they stand.
pub fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(header::COOKIE).iter();
    fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::{HeaderMap, HeaderName, HeaderValue, header};

    use super::{Answered, Session, SessionError, cookies};
    use crate::model::{self, Carrier};

    const APP: &str = "shop/app:80";
    const CANARY: &str = "shop/app-canary:80";

    fn cookie(permanent: bool, timeout: Option<u64>) -> model::Session {
        let carrier = Carrier::Cookie { name: "s".into(), path: "/".into(), permanent };
        model::Session { seed: "seed".into(), carrier, timeout }
    }

    fn session(spec: &model::Session) -> Session {
        Session::new(spec).expect("a session")
    }

    fn at(backend: &'static str, host: u8) -> Answered<'static> {
        Answered { backend, address: address(host), secure: false }
    }

    fn address(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 80).into()
    }

    /// What a client sends that was told this.
    fn back(told: &(HeaderName, HeaderValue)) -> HeaderMap {
        let value = told.1.to_str().expect("text");
        let pair = value.split(';').next().expect("a pair");
        let name = if told.0 == header::SET_COOKIE { header::COOKIE } else { told.0.clone() };
        HeaderMap::from_iter([(name, HeaderValue::try_from(pair).expect("value"))])
    }

    #[test]
    fn a_client_finds_its_endpoint_of_each_backend_again() {
        let session = session(&cookie(false, None));
        let first = session.tell(session.read(&HeaderMap::new(), 0), at(APP, 1), 0).expect("told");
        let visit = session.read(&back(&first), 0);
        assert_eq!((visit.endpoint(APP), visit.endpoint(CANARY)), (Some(address(1)), None));
        let second = session.tell(visit, at(CANARY, 2), 0).expect("told");
        let visit = session.read(&back(&second), 0);
        assert_eq!((visit.endpoint(APP), visit.endpoint(CANARY)), (Some(address(1)), Some(address(2))));
        assert_eq!(session.tell(visit, at(APP, 1), 0), None, "it is where it was");
        let moved = session.tell(session.read(&back(&second), 0), at(APP, 3), 0).expect("told");
        assert_eq!(session.read(&back(&moved), 0).endpoint(APP), Some(address(3)));
    }

    #[test]
    fn a_token_shows_no_address_and_cannot_be_made_by_others() {
        let ours = session(&cookie(false, None));
        let told = ours.tell(ours.read(&HeaderMap::new(), 0), at(APP, 1), 0).expect("told");
        let token = told.1.to_str().expect("text").to_owned();
        assert_eq!(ours.tell(ours.read(&HeaderMap::new(), 0), at(APP, 1), 9), Some(told.clone()), "any replica's");
        let theirs = session(&model::Session { seed: "another".into(), ..cookie(false, None) });
        assert_eq!(theirs.read(&back(&told), 0).endpoint(APP), None);
        let end = token.find(';').expect("attributes");
        for position in 2..end {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let forged = (told.0.clone(), HeaderValue::from_bytes(&bytes).expect("value"));
            assert_eq!(ours.read(&back(&forged), 0).endpoint(APP), None, "byte {position}");
        }
    }

    #[test]
    fn attributes_are_those_of_the_api() {
        let tell = |spec: &model::Session, secure, now| {
            let session = session(spec);
            let answered = Answered { secure, ..at(APP, 1) };
            let told = session.tell(session.read(&HeaderMap::new(), now), answered, now).expect("told");
            told.1.to_str().expect("text").split_once(';').expect("attributes").1.to_owned()
        };
        let always = " Path=/; HttpOnly; SameSite=Strict";
        assert_eq!(tell(&cookie(false, None), false, 0), always);
        assert_eq!(tell(&cookie(false, Some(60_000)), true, 5), format!("{always}; Secure"));
        assert_eq!(tell(&cookie(true, Some(1_500)), false, 5), format!("{always}; Max-Age=2"));
    }

    #[test]
    fn a_session_is_over_after_its_timeout_however_often_it_is_used() {
        let session = session(&cookie(true, Some(60_000)));
        let first = session.tell(session.read(&HeaderMap::new(), 1_000), at(APP, 1), 1_000).expect("told");
        let visit = session.read(&back(&first), 1_059);
        assert_eq!(visit.endpoint(APP), Some(address(1)));
        let moved = session.tell(visit, at(APP, 2), 1_059).expect("told");
        assert!(moved.1.to_str().expect("text").ends_with("; Max-Age=1"), "{moved:?}");
        for told in [&first, &moved] {
            assert_eq!(session.read(&back(told), 1_060).endpoint(APP), None);
        }
    }

    #[test]
    fn headers_carry_it_too() {
        let spec = model::Session { carrier: Carrier::Header { name: "X-Session".into() }, ..cookie(false, None) };
        let session = session(&spec);
        let told = session.tell(session.read(&HeaderMap::new(), 0), at(APP, 1), 0).expect("told");
        assert_eq!(told.0, "x-session");
        assert_eq!(session.read(&back(&told), 0).endpoint(APP), Some(address(1)));
    }

    #[test]
    fn the_last_few_backends_are_remembered() {
        let session = session(&cookie(false, None));
        let mut headers = HeaderMap::new();
        for backend in ["a", "b", "c", "d", "e"] {
            let answered = Answered { backend, address: address(1), secure: false };
            headers = back(&session.tell(session.read(&headers, 0), answered, 0).expect("told"));
        }
        let visit = session.read(&headers, 0);
        let known: Vec<_> = ["a", "b", "c", "d", "e"].iter().filter(|name| visit.endpoint(name).is_some()).collect();
        assert_eq!(known, [&"b", &"c", &"d", &"e"]);
    }

    #[test]
    fn cookies_are_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1;  s=2; ss=3; s"));
        headers.append(header::COOKIE, HeaderValue::from_static("s=4=5"));
        assert_eq!(cookies(&headers, "s").collect::<Vec<_>>(), [&b"2"[..], b"4=5"]);
    }

    #[test]
    fn what_cannot_be_a_session_is_refused() {
        let with = |name: &str, path: &str, permanent| model::Session {
            carrier: Carrier::Cookie { name: name.into(), path: path.into(), permanent },
            ..cookie(false, None)
        };
        for (spec, error) in [
            (with("a b", "/", false), SessionError::Name("a b".into())),
            (with("a", "b", false), SessionError::Path("b".into())),
            (with("a", "/; Domain=com", false), SessionError::Path("/; Domain=com".into())),
            (with("a", "/", true), SessionError::NoTimeout),
        ] {
            assert_eq!(Session::new(&spec).err(), Some(error));
        }
    }
}
