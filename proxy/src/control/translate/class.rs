//! GatewayClasses of ours.

use crate::control::{
    objects::Objects,
    translate::{
        conditions::Condition,
        parameters::{self, Parameters},
    },
};

/// Features of the conformance suite that this implementation has, in the order that the specification asks for.
pub const SUPPORTED_FEATURES: [&str; 50] = [
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetryCodes",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// What is said of one GatewayClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassPlan {
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// Whether its Gateways are served.
    pub accepted: Condition,
    /// What it asks for all of them.
    pub parameters: Option<Parameters>,
}

/// Plans for the classes that name this controller.
pub fn plans(objects: &Objects, controller: &str) -> Vec<ClassPlan> {
    let ours = objects.classes.iter().filter(|class| class.spec.controller_name == controller);
    ours.map(|class| {
        let (accepted, parameters) = match parameters::of_class(class, objects) {
            Ok(parameters) => (Condition::accepted(), parameters),
            Err(refusal) => (refusal, None),
        };
        let name = class.metadata.name.clone().unwrap_or_default();
        ClassPlan { name, generation: class.metadata.generation.unwrap_or_default(), accepted, parameters }
    })
    .collect()
}
