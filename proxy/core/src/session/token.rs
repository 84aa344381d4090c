//! Tokens: the endpoints that a client had, sealed so that it can neither read them nor make some up.
//!
//! The nonce is derived from what is sealed by a keyed hash. So sealing needs no random numbers, no two texts share a nonce
//! but by a collision of that hash, and every replica, and the next process, makes the same token of the same text.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{digest, hmac};

/// Backends of which the endpoint is remembered.
const MOST: usize = 4;
/// Bytes of the time, of a backend's tag, and of an endpoint with that.
const TIME: usize = 4;
const TAG: usize = 4;
const ENTRY: usize = TAG + 16 + 2;
/// Most bytes of a token as text: longer ones are not looked at.
const LONGEST: usize = 256;
/// What the sealed text is.
const PURPOSE: &[u8] = b"sluice session 1";

/// The endpoints of a client, by backend, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// When the session began, in seconds since the epoch.
    pub(super) begun: u32,
    entries: Vec<([u8; TAG], SocketAddr)>,
}

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn of(&self, backend: &str) -> Option<SocketAddr> {
        if self.is_empty() {
            return None;
        }
        let tag = tag(backend);
        self.entries.iter().find(|(of, _)| *of == tag).map(|(_, address)| *address)
    }

    pub(super) fn put(&mut self, backend: &str, address: SocketAddr) {
        let tag = tag(backend);
        self.entries.retain(|(of, _)| *of != tag);
        self.entries.insert(0, (tag, address));
        self.entries.truncate(MOST);
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TIME + MOST * ENTRY + 32);
        bytes.extend_from_slice(&self.begun.to_be_bytes());
        for (tag, address) in &self.entries {
            let ip = match address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            bytes.extend_from_slice(tag);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (begun, rest) = bytes.split_first_chunk::<TIME>()?;
        let (entries, rest) = rest.as_chunks::<ENTRY>();
        if !rest.is_empty() || entries.len() > MOST {
            return None;
        }
        let entry = |entry: &[u8; ENTRY]| {
            let (tag, rest) = entry.split_first_chunk::<TAG>()?;
            let (ip, port) = rest.split_first_chunk::<16>()?;
            let ip = Ipv6Addr::from(*ip).to_canonical();
            Some((*tag, SocketAddr::new(ip, u16::from_be_bytes(port.try_into().ok()?))))
        };
        Some(Self { begun: u32::from_be_bytes(*begun), entries: entries.iter().map(entry).collect::<Option<_>>()? })
    }
}

/// What a backend is called in a token.
fn tag(backend: &str) -> [u8; TAG] {
    let digest = digest::digest(&digest::SHA256, backend.as_bytes());
    std::array::from_fn(|index| digest.as_ref()[index])
}

/// What the tokens of one route are sealed with.
#[derive(Debug)]
pub(super) struct Key {
    seal: LessSafeKey,
    nonces: hmac::Key,
}

impl Key {
    pub(super) fn new(seed: &str) -> Self {
        let seed = hmac::Key::new(hmac::HMAC_SHA256, seed.as_bytes());
        let derived = |purpose: &[u8]| hmac::sign(&seed, purpose);
        let seal = UnboundKey::new(&CHACHA20_POLY1305, derived(b"sluice session seal").as_ref());
        Self {
            seal: LessSafeKey::new(seal.expect("a hash of 32 bytes is a key")),
            nonces: hmac::Key::new(hmac::HMAC_SHA256, derived(b"sluice session nonce").as_ref()),
        }
    }

    /// None when there is too much to be sealed, which cannot be.
    pub(super) fn seal(&self, places: &Places) -> Option<String> {
        let mut bytes = places.to_bytes();
        let hash = hmac::sign(&self.nonces, &bytes);
        let nonce: [u8; NONCE_LEN] = *hash.as_ref().first_chunk()?;
        self.seal.seal_in_place_append_tag(nonce_of(nonce), Aad::from(PURPOSE), &mut bytes).ok()?;
        let token = [&nonce[..], &bytes].concat();
        Some(URL_SAFE_NO_PAD.encode(token))
    }

    /// None when it was not sealed with this key.
    pub(super) fn open(&self, token: &[u8]) -> Option<Places> {
        if token.len() > LONGEST {
            return None;
        }
        let mut token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = token.split_first_chunk_mut::<NONCE_LEN>()?;
        let opened = self.seal.open_in_place(nonce_of(*nonce), Aad::from(PURPOSE), sealed).ok()?;
        Places::from_bytes(opened)
    }
}

fn nonce_of(bytes: [u8; NONCE_LEN]) -> Nonce {
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Key, Places};

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(
            begun in any::<u32>(),
            addresses in prop::collection::vec(any::<SocketAddr>(), 0..4),
        ) {
            let mut places = Places { begun, ..Places::default() };
            for (number, address) in addresses.iter().enumerate() {
                // A token has no room for scopes, and tells an IPv4 address in an IPv6 one from the plain one not.
                places.put(&number.to_string(), SocketAddr::new(address.ip().to_canonical(), address.port()));
            }
            let key = Key::new("seed");
            let token = key.seal(&places).expect("sealed");
            prop_assert_eq!(key.open(token.as_bytes()), Some(places));
        }

        #[test]
        fn nonsense_is_nothing(token in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Key::new("seed").open(&token), None);
        }
    }
}
