//go:build tools

package conformance

// The server that the suite's pods run: named here so that go.mod keeps its module.
import _ "sigs.k8s.io/gateway-api-conformance-images/echo-basic"
