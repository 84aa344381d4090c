//! Copies of requests to other backends. Nobody waits for one, and what becomes of it is nobody's concern: neither the
//! client's, nor that of the counters.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use sluice_proxy_core::table::{Matched, Mirror, Rule};
use tokio::time::timeout;

use super::body::{Progress, RequestBody};
use super::exchange::{self, Exchange, Sending};
use super::failure::Failure;
use crate::serve::worker::{Served, Worker};
use crate::upstream::Upstream;

/// Copies that one worker has on their way at most; beyond that none is made.
pub(crate) const MOST: u32 = 256;
/// How long one may take.
const TIME: Duration = Duration::from_secs(15);
/// Most bytes of a response that are read so that the connection can be used again.
const READ: usize = 64 * 1024;

/// Copies that are to be sent as soon as the request's body has been passed on.
#[derive(Debug)]
pub(super) struct Copies {
    head: Parts,
    mirrors: Vec<Mirror>,
    /// Id of the certificate that backends are shown.
    identity: Option<Arc<str>>,
    progress: Progress,
}

impl Copies {
    /// Draws, for each mirror of the rule by itself, whether it gets a copy. The body is kept from here on if one does.
    pub(super) fn draw(
        worker: &Worker,
        (matched, rule): (Matched<'_>, &Rule),
        head: &Parts,
        body: &RequestBody,
    ) -> Option<Self> {
        let mirrors: Vec<Mirror> =
            rule.mirrors.iter().filter(|mirror| mirror.takes(worker.random())).copied().collect();
        if mirrors.is_empty() {
            return None;
        }
        body.keep();
        let identity = matched.identity.map(Arc::clone);
        Some(Self { head: head.clone(), mirrors, identity, progress: body.progress() })
    }

    /// Sends them. A body that has not been passed on wholly by now, or is too large to be kept, is not copied.
    pub(super) fn send(self, worker: &Rc<Worker>, snapshot: &Rc<Served>) {
        for mirror in self.mirrors {
            let Some(body) = self.progress.replay().filter(|_| worker.copies.get() < MOST) else {
                tracing::debug!("A request was not mirrored");
                return;
            };
            let (worker, snapshot, head) = (Rc::clone(worker), Rc::clone(snapshot), self.head.clone());
            let identity = self.identity.clone();
            worker.copies.set(worker.copies.get() + 1);
            tokio::task::spawn_local(async move {
                let counted = Counted(Rc::clone(&worker));
                match timeout(
                    TIME,
                    copy(&worker, &snapshot, (mirror, identity.as_deref()), Request::from_parts(head, body)),
                )
                .await
                {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => tracing::debug!(?failure, "A copy of a request came to nothing"),
                    Err(_) => tracing::debug!("A copy of a request was given up"),
                }
                drop(counted);
            });
        }
    }
}

/// One copy that is on its way.
struct Counted(Rc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get() - 1);
    }
}

async fn copy(
    worker: &Rc<Worker>,
    snapshot: &Served,
    (mirror, identity): (Mirror, Option<&str>),
    request: Request<RequestBody>,
) -> Result<(), Failure> {
    let backend = snapshot.mirrored(mirror).ok_or(Failure::NoEndpoint)?;
    deliver(worker, snapshot.upstream_of(backend, identity)?, request).await.map(drop)
}

/// Sends a request of which only the status of the answer matters.
pub(crate) async fn deliver(
    worker: &Rc<Worker>,
    upstream: Upstream<'_>,
    request: Request<RequestBody>,
) -> Result<StatusCode, Failure> {
    let mut sending = Sending::new(false, None, None);
    let Exchange { response, lease, progress, .. } =
        exchange::exchange(worker, upstream, &mut sending, &mut Some(request)).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::BadResponse)?;
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > READ {
            return Ok(status);
        }
    }
    if progress.is_done() {
        lease.put_back(worker.now());
    }
    Ok(status)
}
