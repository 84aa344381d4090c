//! Why a request has no response of a backend, and the one place where that becomes an answer.

use http::{Response, StatusCode};
use sluice_proxy_core::framing::Rejection;

use super::body::ResponseBody;
use crate::serve::counters::Outcome;

/// Everything that the proxy answers itself, redirects apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The reference to the backend does not resolve.
    BackendInvalid,
    /// The backend said something that is not a response to the request.
    BadResponse,
    /// The client stopped in the middle of its body.
    ClientBody,
    /// No endpoint took the connection in time.
    ConnectTimeout {
        /// Whether the endpoint is on its way out.
        leaving: bool,
    },
    /// The rule has no backend with any weight.
    NoBackend,
    /// The backend has no endpoint.
    NoEndpoint,
    /// No rule matches.
    NoRoute,
    /// The endpoint refused the connection.
    Refused,
    /// The request cannot be forwarded as it is.
    Rejected(Rejection),
    /// The route's time for it is over.
    TooSlow,
    /// The connection ended before there was a response.
    Reset {
        /// Whether the endpoint is on its way out.
        leaving: bool,
    },
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Client,
    Configuration,
    Upstream,
}

impl Failure {
    fn describe(self) -> (Source, StatusCode, &'static str) {
        match self {
            Self::BackendInvalid => {
                (Source::Configuration, StatusCode::INTERNAL_SERVER_ERROR, "the backend reference does not resolve\n")
            }
            Self::BadResponse => (Source::Upstream, StatusCode::BAD_GATEWAY, "the backend's response is not valid\n"),
            Self::ClientBody => (Source::Client, StatusCode::BAD_REQUEST, "the request's body ended early\n"),
            Self::ConnectTimeout { .. } => {
                (Source::Upstream, StatusCode::GATEWAY_TIMEOUT, "the backend did not take the connection in time\n")
            }
            Self::NoBackend => (Source::Configuration, StatusCode::INTERNAL_SERVER_ERROR, "the rule has no backend\n"),
            Self::NoEndpoint => {
                (Source::Upstream, StatusCode::SERVICE_UNAVAILABLE, "the backend has no ready endpoint\n")
            }
            Self::NoRoute => (Source::Configuration, StatusCode::NOT_FOUND, "no route matches\n"),
            Self::Refused => (Source::Upstream, StatusCode::BAD_GATEWAY, "the backend refused the connection\n"),
            Self::Rejected(rejection) => (Source::Client, rejection.status(), "the request is not acceptable\n"),
            Self::TooSlow => (Source::Upstream, StatusCode::GATEWAY_TIMEOUT, "the backend did not answer in time\n"),
            Self::Reset { .. } => (Source::Upstream, StatusCode::BAD_GATEWAY, "the backend closed the connection\n"),
        }
    }

    /// The answer.
    pub(super) fn response(self) -> Response<ResponseBody> {
        let (source, status, text) = self.describe();
        tracing::debug!(?source, %status, failure = ?self, "Answered for the backend");
        super::plain(status, text)
    }

    /// How it is counted at the backend that the request was assigned to.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::ClientBody => Outcome::Abandoned,
            Self::ConnectTimeout { leaving: true } | Self::Refused | Self::Reset { leaving: true } => {
                Outcome::Disruption
            }
            Self::BadResponse | Self::ConnectTimeout { leaving: false } | Self::Reset { leaving: false } => {
                Outcome::ConnectionFailure
            }
            Self::BackendInvalid
            | Self::NoBackend
            | Self::NoEndpoint
            | Self::NoRoute
            | Self::Rejected(_)
            | Self::TooSlow => Outcome::of(self.describe().1),
        }
    }
}
