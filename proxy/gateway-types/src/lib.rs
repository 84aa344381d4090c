//! Gateway API v1.7 types, as far as the proxy reads them.
//!
//! Written by hand rather than generated from the CRDs, for three reasons. A generator gives the filters of a rule and
//! those of a backendRef different types, so that all code for them is written twice. It closes enumerations, so that
//! one new value in a cluster with newer CRDs makes the whole object unreadable; here they are strings, and a value
//! that the proxy does not know becomes a condition. And it drops fields that it does not know, where the
//! specification wants a route with an unsupported field refused; here [`Unknown`] catches them.
//!
//! Defaults of the CRDs are not relied on: every optional field is an `Option`, so that manifests from a folder read
//! like objects from the API server. Status is kept as JSON, because the entries of other controllers must be written
//! back as they were.
#![forbid(unsafe_code)]

mod backend_tls_policy;
mod gateway;
mod gateway_class;
mod grpc_route;
mod http_route;
mod l4_route;
mod listener_set;
mod reference_grant;
mod session;
mod shared;
mod tls;

pub use backend_tls_policy::{BackendTlsPolicy, BackendTlsPolicySpec, BackendValidation, PolicyTarget, SubjectAltName};
pub use gateway::{
    AllowedListeners, Gateway, GatewayAddress, GatewayInfrastructure, GatewaySpec, Listener, ListenerAllowedRoutes,
    NamespaceSelection, RouteGroupKind,
};
pub use gateway_class::{GatewayClass, GatewayClassSpec};
pub use grpc_route::{GrpcMethodMatch, GrpcRoute, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec};
pub use http_route::{
    CorsFilter, Fraction, HeaderFilter, HeaderValue, HttpBackendRef, HttpRoute, HttpRouteSpec, MirrorFilter, PathMatch,
    PathModifier, RedirectFilter, RewriteFilter, RouteFilter, RouteMatch, RouteRetry, RouteRule, RouteTimeouts,
    ValueMatch,
};
pub use l4_route::{L4RouteRule, TcpRoute, TcpRouteSpec, TlsRoute, TlsRouteSpec, UdpRoute, UdpRouteSpec};
pub use listener_set::{ListenerSet, ListenerSetSpec};
pub use reference_grant::{GrantFrom, GrantTo, ReferenceGrant, ReferenceGrantSpec};
pub use session::{SessionCookie, SessionHeader, SessionPersistence};
pub use shared::{ParentReference, Unknown};
pub use tls::{
    FrontendTls, FrontendTlsConfig, FrontendTlsPort, FrontendValidation, GatewayBackendTls, GatewayTls, ListenerTls,
    ObjectReference,
};

/// The API group of everything here.
pub const GROUP: &str = "gateway.networking.k8s.io";
