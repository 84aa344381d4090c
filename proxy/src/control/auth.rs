//! Who calls, and whether it may. Data planes and the operator present service account tokens that were made for this
//! service alone; the API server says whose they are.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest, Sha256};
use tonic::{Status, metadata::MetadataMap};

/// How long the answer to a review is used again.
const REMEMBERED: Duration = Duration::from_secs(30);
/// The extra field of a bound token that names its pod.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Such as `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// The pod that its token is bound to.
    pub pod: Option<String>,
}

/// Which account may do what.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// User name of data planes.
    pub data_plane: String,
    /// User name of the operator.
    pub observer: String,
}

impl Accounts {
    /// Whether the caller may be sent configuration.
    pub fn authorise_data_plane(&self, caller: &Caller) -> Result<(), Status> {
        require(caller, &self.data_plane, "be sent configuration")
    }

    /// Whether the caller may read what data planes serve and count.
    pub fn authorise_observer(&self, caller: &Caller) -> Result<(), Status> {
        require(caller, &self.observer, "observe")
    }
}

/// Whether the caller is the pod that it says it is: without this, one data plane could speak for another.
pub fn authorise_pod(caller: &Caller, pod: &str) -> Result<(), Status> {
    match &caller.pod {
        Some(bound) if bound == pod => Ok(()),
        Some(bound) => Err(Status::permission_denied(format!("the token is bound to pod {bound:?}, not to {pod:?}"))),
        None => Err(Status::permission_denied("the token is not bound to a pod")),
    }
}

fn require(caller: &Caller, account: &str, action: &str) -> Result<(), Status> {
    if caller.username == account {
        return Ok(());
    }
    Err(Status::permission_denied(format!("{} may not {action}", caller.username)))
}

/// The bearer token of a call.
pub fn bearer(metadata: &MetadataMap) -> Result<&str, Status> {
    let header = metadata.get("authorization").ok_or_else(|| Status::unauthenticated("there is no bearer token"))?;
    let text = header.to_str().map_err(|_| Status::unauthenticated("the authorization header is not text"))?;
    let token = text.strip_prefix("Bearer ").map(str::trim).filter(|token| !token.is_empty());
    token.ok_or_else(|| Status::unauthenticated("the authorization header has no bearer token"))
}

/// Says whose a token is.
#[tonic::async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// The caller that presents this token, or `Unauthenticated`, or `Unavailable` when nobody can say.
    async fn authenticate(&self, token: &str) -> Result<Caller, Status>;
}

/// Asks the API server.
pub struct TokenReviewer {
    reviews: Api<TokenReview>,
    known: Mutex<HashMap<[u8; 32], (Instant, Caller)>>,
}

impl TokenReviewer {
    /// Reviews through this client.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), known: Mutex::default() }
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Caller> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        known.get(digest).map(|(_, caller)| caller.clone())
    }
}

#[tonic::async_trait]
impl Authenticate for TokenReviewer {
    async fn authenticate(&self, token: &str) -> Result<Caller, Status> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(caller) = self.remembered(&digest) {
            return Ok(caller);
        }
        let audiences = Some(vec![sluice_wire::TOKEN_AUDIENCE.to_owned()]);
        let spec = TokenReviewSpec { audiences, token: token.to_owned() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.reviews.create(&PostParams::default(), &review).await.map_err(|error| {
            tracing::warn!(%error, "Cannot review a token");
            Status::unavailable("the API server cannot review the token now")
        })?;
        let caller = judge(&answer.status.unwrap_or_default())?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(digest, (Instant::now(), caller.clone()));
        Ok(caller)
    }
}

/// What the answer to a review means. The audience is compared again: an authenticator that does not know of audiences
/// leaves them out of its answer, and its tokens are good for everything.
fn judge(status: &TokenReviewStatus) -> Result<Caller, Status> {
    let ours = status.audiences.iter().flatten().any(|audience| audience == sluice_wire::TOKEN_AUDIENCE);
    if status.authenticated != Some(true) || !ours {
        let message = format!("the token is not valid for audience {}", sluice_wire::TOKEN_AUDIENCE);
        return Err(Status::unauthenticated(message));
    }
    let user = status.user.clone().unwrap_or_default();
    let pod = user.extra.as_ref().and_then(|extra| extra.get(POD_NAME)?.first().cloned());
    Ok(Caller { username: user.username.unwrap_or_default(), pod })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;
    use tonic::Code;

    use super::*;

    fn review(authenticated: bool, audiences: &[&str]) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(authenticated),
            audiences: Some(audiences.iter().map(|&audience| audience.to_owned()).collect()),
            error: None,
            user: Some(UserInfo {
                username: Some("system:serviceaccount:sluice-system:sluice-proxy".to_owned()),
                extra: Some([(POD_NAME.to_owned(), vec!["pod-1".to_owned()])].into()),
                ..UserInfo::default()
            }),
        }
    }

    #[test]
    fn only_an_authenticated_token_of_our_audience_has_a_caller() {
        let cases = [
            (review(true, &[sluice_wire::TOKEN_AUDIENCE]), true),
            (review(false, &[sluice_wire::TOKEN_AUDIENCE]), false),
            (review(true, &["https://kubernetes.default.svc"]), false),
            (review(true, &[]), false),
            (TokenReviewStatus::default(), false),
        ];
        for (status, expected) in cases {
            assert_eq!(judge(&status).is_ok(), expected, "{status:?}");
        }
    }

    #[test]
    fn each_account_may_do_its_part_and_only_for_its_own_pod() {
        let accounts = Accounts { data_plane: "dp".to_owned(), observer: "op".to_owned() };
        let caller =
            |username: &str, pod: Option<&str>| Caller { username: username.to_owned(), pod: pod.map(str::to_owned) };
        assert!(accounts.authorise_data_plane(&caller("dp", None)).is_ok());
        assert!(accounts.authorise_observer(&caller("op", None)).is_ok());
        let denied = accounts.authorise_observer(&caller("dp", None)).unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert!(accounts.authorise_data_plane(&caller("op", None)).is_err());
        assert!(authorise_pod(&caller("dp", Some("a")), "a").is_ok());
        assert!(authorise_pod(&caller("dp", Some("a")), "b").is_err());
        assert!(authorise_pod(&caller("dp", None), "a").is_err());
    }

    #[test]
    fn a_call_without_a_bearer_token_is_unauthenticated() {
        let mut metadata = MetadataMap::new();
        assert_eq!(bearer(&metadata).unwrap_err().code(), Code::Unauthenticated);
        for (value, expected) in [("Basic abc", None), ("Bearer ", None), ("Bearer abc", Some("abc"))] {
            metadata.insert("authorization", value.parse().unwrap());
            assert_eq!(bearer(&metadata).ok(), expected, "{value}");
        }
    }
}
