//! Why a request has no response of a backend, and the one place where that becomes an answer.

use http::{HeaderValue, Response, StatusCode, header};
use sluice_proxy_core::framing::Rejection;
use sluice_proxy_core::grpc::{self, Code};
use sluice_proxy_core::table::Unmatched;

use super::response::ResponseBody;
use crate::serve::counters::Outcome;
use crate::serve::limits::Limit;
use crate::serve::worker::Worker;
use crate::upstream::Endpoint;
use crate::upstream::connect::ConnectError;

/// Everything that the proxy answers itself, redirects apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The reference to the backend does not resolve.
    BackendInvalid,
    /// The backend said something that is not a response to the request.
    BadResponse,
    /// The client stopped in the middle of its body.
    ClientBody,
    /// The client took too long to send its body.
    ClientTooSlow,
    /// No endpoint took the connection in time.
    ConnectTimeout {
        /// Whether the endpoint is on its way out.
        leaving: bool,
    },
    /// Its host belongs to another listener than the one that its connection was made to.
    Misdirected,
    /// The rule has no backend with any weight.
    NoBackend,
    /// The backend has no endpoint.
    NoEndpoint,
    /// No rule matches.
    NoRoute,
    /// The backend is to be spoken to in TLS, and nobody knows how.
    NoTls,
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
    /// The endpoint did not prove that it is the backend, or TLS with it failed otherwise.
    Tls {
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

impl From<Unmatched> for Failure {
    fn from(unmatched: Unmatched) -> Self {
        match unmatched {
            Unmatched::NoRoute => Self::NoRoute,
            Unmatched::Misdirected => Self::Misdirected,
        }
    }
}

impl Failure {
    /// An endpoint did not take a connection.
    pub(crate) fn to_connect(worker: &Worker, endpoint: &Endpoint, error: &ConnectError) -> Self {
        tracing::debug!(address = %endpoint.target.address, %error, "Cannot connect to an endpoint");
        let leaving = !worker.is_ready(&endpoint.target);
        match error {
            ConnectError::Refused(_) => Self::Refused,
            ConnectError::Handshake(_) => Self::Reset { leaving },
            ConnectError::TimedOut => Self::ConnectTimeout { leaving },
            ConnectError::Tls(_) => Self::Tls { leaving },
        }
    }

    fn describe(self) -> (Source, StatusCode, &'static str) {
        match self {
            Self::BackendInvalid => {
                (Source::Configuration, StatusCode::INTERNAL_SERVER_ERROR, "the backend reference does not resolve\n")
            }
            Self::BadResponse => (Source::Upstream, StatusCode::BAD_GATEWAY, "the backend's response is not valid\n"),
            Self::ClientBody => (Source::Client, StatusCode::BAD_REQUEST, "the request's body ended early\n"),
            Self::ClientTooSlow => {
                (Source::Client, StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time\n")
            }
            Self::ConnectTimeout { .. } => {
                (Source::Upstream, StatusCode::GATEWAY_TIMEOUT, "the backend did not take the connection in time\n")
            }
            Self::Misdirected => {
                (Source::Client, StatusCode::MISDIRECTED_REQUEST, "the host needs a connection of its own\n")
            }
            Self::NoBackend => (Source::Configuration, StatusCode::INTERNAL_SERVER_ERROR, "the rule has no backend\n"),
            Self::NoEndpoint => {
                (Source::Upstream, StatusCode::SERVICE_UNAVAILABLE, "the backend has no ready endpoint\n")
            }
            Self::NoRoute => (Source::Configuration, StatusCode::NOT_FOUND, "no route matches\n"),
            Self::NoTls => {
                (Source::Configuration, StatusCode::INTERNAL_SERVER_ERROR, "the backend's TLS is not configured well\n")
            }
            Self::Refused => (Source::Upstream, StatusCode::BAD_GATEWAY, "the backend refused the connection\n"),
            Self::Rejected(rejection) => (Source::Client, rejection.status(), "the request is not acceptable\n"),
            Self::TooSlow => (Source::Upstream, StatusCode::GATEWAY_TIMEOUT, "the backend did not answer in time\n"),
            Self::Reset { .. } => (Source::Upstream, StatusCode::BAD_GATEWAY, "the backend closed the connection\n"),
            Self::Tls { .. } => (Source::Upstream, StatusCode::BAD_GATEWAY, "TLS with the backend failed\n"),
        }
    }

    /// As it is called in the access log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BackendInvalid => "backend_invalid",
            Self::BadResponse => "bad_response",
            Self::ClientBody => "client_body",
            Self::ClientTooSlow => "client_too_slow",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::Misdirected => "misdirected",
            Self::NoBackend => "no_backend",
            Self::NoEndpoint => "no_endpoint",
            Self::NoRoute => "no_route",
            Self::NoTls => "no_tls",
            Self::Refused => "refused",
            Self::Rejected(_) => "rejected",
            Self::TooSlow => "too_slow",
            Self::Reset { .. } => "reset",
            Self::Tls { .. } => "tls",
        }
    }

    /// The answer, in the words of HTTP or of gRPC.
    pub(super) fn response(self, grpc: bool) -> Response<ResponseBody> {
        let (source, status, text) = self.describe();
        tracing::debug!(?source, %status, failure = ?self, "Answered for the backend");
        if grpc { trailers_only(self.code(), text) } else { super::plain(status, text) }
    }

    /// The code for gRPC clients. `GRPCRouteRule.backendRefs` asks for `UNAVAILABLE` where there is no backend.
    fn code(self) -> Code {
        match self {
            Self::BackendInvalid | Self::ConnectTimeout { .. } | Self::NoBackend | Self::NoTls => Code::Unavailable,
            Self::ClientBody | Self::ClientTooSlow => Code::Cancelled,
            Self::TooSlow => Code::DeadlineExceeded,
            Self::BadResponse
            | Self::Misdirected
            | Self::NoEndpoint
            | Self::NoRoute
            | Self::Refused
            | Self::Rejected(_)
            | Self::Reset { .. }
            | Self::Tls { .. } => Code::of(self.describe().1),
        }
    }

    /// Whether nothing more of what the client says can be trusted, or waited for.
    pub(super) fn ends_connection(self) -> bool {
        matches!(self, Self::ClientBody | Self::ClientTooSlow | Self::Rejected(_))
    }

    /// The limit that its client met, if it did.
    pub(super) fn limit(self) -> Option<Limit> {
        match self {
            Self::ClientTooSlow => Some(Limit::SlowBody),
            Self::Rejected(Rejection::BadRequest) => Some(Limit::Framing),
            Self::Rejected(Rejection::TargetTooLong | Rejection::TooLarge) => Some(Limit::Head),
            _ => None,
        }
    }

    /// How it is counted at the backend that the request was assigned to.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::ClientBody | Self::ClientTooSlow => Outcome::Abandoned,
            Self::ConnectTimeout { leaving: true }
            | Self::Refused
            | Self::Reset { leaving: true }
            | Self::Tls { leaving: true } => Outcome::Disruption,
            Self::BadResponse
            | Self::ConnectTimeout { leaving: false }
            | Self::Reset { leaving: false }
            | Self::Tls { leaving: false } => Outcome::ConnectionFailure,
            Self::BackendInvalid
            | Self::Misdirected
            | Self::NoBackend
            | Self::NoEndpoint
            | Self::NoRoute
            | Self::NoTls
            | Self::Rejected(_)
            | Self::TooSlow => Outcome::of(self.describe().1),
        }
    }
}

/// An answer without a message, which gRPC allows to consist of what would be its trailers.
fn trailers_only(code: Code, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    headers.insert(grpc::STATUS, code.value());
    headers.insert(grpc::MESSAGE, HeaderValue::from_static(text.trim_ascii_end()));
    response
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use sluice_proxy_core::framing::Rejection;

    use super::Failure;

    #[test]
    fn grpc_clients_are_told_in_their_words() {
        let cases = [
            (Failure::BackendInvalid, 14),
            (Failure::BadResponse, 14),
            (Failure::ClientBody, 1),
            (Failure::ClientTooSlow, 1),
            (Failure::ConnectTimeout { leaving: false }, 14),
            (Failure::NoBackend, 14),
            (Failure::NoEndpoint, 14),
            (Failure::NoRoute, 12),
            (Failure::NoTls, 14),
            (Failure::Refused, 14),
            (Failure::Rejected(Rejection::BadRequest), 13),
            (Failure::TooSlow, 4),
            (Failure::Reset { leaving: true }, 14),
            (Failure::Tls { leaving: false }, 14),
        ];
        for (failure, code) in cases {
            let response = failure.response(true);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["grpc-status"], code.to_string(), "{failure:?}");
            assert_ne!(failure.response(false).status(), StatusCode::OK);
        }
    }
}
