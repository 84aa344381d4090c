//! Session persistence of rules (GEP-1619).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};
use sluice_gateway_types::{SessionCookie, SessionPersistence};
use sluice_proxy_core::model::{Carrier, Session};

use crate::control::{
    objects::RouteName,
    translate::{
        duration,
        filter::{self, Refusal},
    },
};

/// Whose sessions they are.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its route: a cookie that nobody has named has the same name in all of its rules, so that a rule which comes or goes
    /// leaves the names of the others alone.
    route: String,
    /// What its tokens' key is made of. A UID stays with the route, is the same for every replica, and no client knows it.
    seed: String,
}

impl Owner {
    /// The sessions of a route.
    pub fn new(name: &RouteName, metadata: &ObjectMeta) -> Self {
        let route = name.to_string();
        let seed = metadata.uid.clone().unwrap_or_else(|| route.clone());
        Self { route, seed }
    }

    /// Translates what a rule at `place` says.
    pub fn session(&self, spec: &SessionPersistence, place: &str) -> Result<Session, Refusal> {
        let place = format!("{place}.sessionPersistence");
        let no = |message: &str| Err(Refusal::unsupported(format!("{place}{message}")));
        filter::known(&spec.unknown, &place)?;
        let carrier = match (spec.type_.as_deref().unwrap_or("Cookie"), &spec.cookie, &spec.header) {
            ("Cookie", cookie, None) => self.cookie(cookie.as_ref(), &place)?,
            ("Header", None, Some(header)) => {
                filter::known(&header.unknown, &format!("{place}.header"))?;
                Carrier::Header { name: header.name.clone() }
            }
            ("Cookie", _, Some(_)) => return no(".header: type Cookie has none"),
            ("Header", Some(_), _) => return no(".cookie: type Header has none"),
            ("Header", None, None) => return no(".header: type Header needs it"),
            (other, ..) => return no(&format!(".type: {other} is not supported")),
        };
        let timeout = duration::field(spec.absolute_timeout.as_ref(), &format!("{place}.absoluteTimeout"))?;
        if timeout == Some(0) {
            return no(".absoluteTimeout: a session that is over at once is none");
        }
        Ok(Session { seed: self.seed.clone(), carrier, timeout })
    }

    fn cookie(&self, spec: Option<&SessionCookie>, place: &str) -> Result<Carrier, Refusal> {
        let absent = SessionCookie::default();
        let SessionCookie { name, path, lifetime_type, unknown } = spec.unwrap_or(&absent);
        let place = format!("{place}.cookie");
        filter::known(unknown, &place)?;
        let permanent = match lifetime_type.as_deref().unwrap_or("Session") {
            "Session" => false,
            "Permanent" => true,
            other => {
                return Err(Refusal::unsupported(format!("{place}.lifetimeType: {other} is not supported")));
            }
        };
        let name = name.clone().unwrap_or_else(|| self.cookie_name());
        Ok(Carrier::Cookie { name, path: path.clone().unwrap_or_else(|| "/".to_owned()), permanent })
    }

    /// A name that no other route has, which says nothing of this one.
    fn cookie_name(&self) -> String {
        let hash = Sha256::digest(self.route.as_bytes());
        let hash: [u8; 4] = std::array::from_fn(|index| hash[index]);
        format!("sluice-session-{:08x}", u32::from_be_bytes(hash))
    }
}
