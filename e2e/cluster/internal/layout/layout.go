// Package layout says where everything of one cluster is kept and what its
// addresses are. It holds no behaviour, so that every other package may use it.
package layout

import (
	"fmt"
	"path/filepath"
	"regexp"
)

// Addresses. They exist inside the cluster's network namespace only, so two
// clusters may have the same ones at the same time.
const (
	NodeIP      = "10.99.0.1"
	NodePrefix  = "10.99.0.1/24"
	PodCIDR     = "10.244.0.0/16"
	ServiceCIDR = "10.96.0.0/16"
	APIService  = "10.96.0.1"
	DNSService  = "10.96.0.10"
	DNSDomain   = "cluster.local"
	APIPort     = 6443
	APIServer   = "https://10.99.0.1:6443"
	EtcdURL     = "https://127.0.0.1:2379"
)

// Ports of the components' health endpoints.
const (
	KubeletHealthPort    = 10248
	KubeProxyHealthPort  = 10256
	ControllerHealthPort = 10257
	SchedulerHealthPort  = 10259
)

// Images that the cluster itself needs. The tags never reach a registry: both
// are imported before the kubelet starts.
const (
	PauseImage   = "sluice.local/pause:1"
	CoreDNSImage = "sluice.local/coredns:1"
)

// Cluster is one named cluster on this machine.
type Cluster struct{ Name string }

// DefaultName is the cluster used when none is named.
const DefaultName = "sluice"

const (
	stateRoot = "/var/lib/sluice-cluster"
	runRoot   = "/run/sluice-cluster"
)

// A name becomes part of paths, of a cgroup, of a node name and of a socket's
// path, which must stay below 108 bytes.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)

// New checks the name.
func New(name string) (Cluster, error) {
	if !validName.MatchString(name) {
		return Cluster{}, fmt.Errorf("invalid cluster name %q: use at most 20 of a-z, 0-9 and -", name)
	}
	return Cluster{Name: name}, nil
}

// State is a path among what has to survive a restart of a component.
func (c Cluster) State(parts ...string) string {
	return filepath.Join(append([]string{stateRoot, c.Name}, parts...)...)
}

// Run is a path among the sockets, process records and namespace handles.
func (c Cluster) Run(parts ...string) string {
	return filepath.Join(append([]string{runRoot, c.Name}, parts...)...)
}

// Lock is the file that serializes up, down and image load.
func (c Cluster) Lock() string { return filepath.Join(runRoot, c.Name+".lock") }

// Roots are the two parent folders that all clusters share: of the states, and
// of what lasts no longer than the machine's uptime.
func Roots() []string { return []string{stateRoot, runRoot} }

// Kubeconfig is the administrator's.
func (c Cluster) Kubeconfig() string { return c.State("admin.kubeconfig") }

// AuditLog is where the API server writes who did what.
func (c Cluster) AuditLog() string { return c.State("log", "audit.log") }

// NetNS is the handle of the network namespace, which `ip netns` lists too.
func (c Cluster) NetNS() string { return "/run/netns/" + c.NetNSName() }

// NetNSName is the namespace's name for `ip netns`.
func (c Cluster) NetNSName() string { return "sluice-cluster-" + c.Name }

// MountNS is the handle of the private mount namespace.
func (c Cluster) MountNS() string { return c.Run("ns", "mnt") }

// CgroupRoot is the parent of all of the cluster's cgroups, in every hierarchy.
func (c Cluster) CgroupRoot() string { return "/sluice-cluster-" + c.Name }

// Containerd is the socket of the container runtime.
func (c Cluster) Containerd() string { return c.Run("containerd", "containerd.sock") }

// NodeName is the name of the only node.
func (c Cluster) NodeName() string { return c.Name + "-node" }
