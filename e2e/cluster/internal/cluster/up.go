package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sluice.dev/e2e/cluster/internal/assets"
	"sluice.dev/e2e/cluster/internal/config"
	"sluice.dev/e2e/cluster/internal/image"
	"sluice.dev/e2e/cluster/internal/layout"
	"sluice.dev/e2e/cluster/internal/netns"
	"sluice.dev/e2e/cluster/internal/pki"
	"sluice.dev/e2e/cluster/internal/proc"
)

// Prepare makes everything that does not need the network namespace. After it
// the caller enters that namespace and calls Up. The caller holds the lock.
func Prepare(c layout.Cluster) error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root: namespaces, mounts and cgroups")
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "iptables", "conntrack", "ip", "nsenter", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed; build.sh installs what is missing", program)
		}
	}
	// Namespaces and processes of an earlier boot are gone, and what the state
	// says of pods is not true any more: begin anew.
	if boot, err := os.ReadFile(c.State("boot")); err == nil && string(boot) != proc.BootID() {
		if err := Down(c); err != nil {
			return err
		}
		return errRebooted
	}
	for _, dir := range []string{c.State("etc"), c.Run("pids"), c.State("kubelet")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(c.State("boot"), []byte(proc.BootID()), 0o600); err != nil {
		return err
	}
	return errors.Join(saveSysctls(c), createCgroups(c), netns.Create(c), pki.Ensure(c, c.State("pki")), config.Write(c))
}

var errRebooted = errors.New("the machine was restarted")

// Rebooted tells that Prepare removed what an earlier boot left and has to be
// called again, with a new lock.
func Rebooted(err error) bool { return errors.Is(err, errRebooted) }

// Up starts what does not run and waits until the cluster can be used. This
// process has to be in the cluster's network namespace.
func Up(ctx context.Context, c layout.Cluster, began time.Time) error {
	stage := stages(began)
	stage("namespaces, keys, configuration")
	components := map[string]config.Component{}
	for _, component := range config.Components(c) {
		components[component.Name] = component
	}
	launch := func(names ...string) error {
		for _, name := range names {
			if _, err := start(c, components[name]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := launch("etcd", "kube-apiserver", "containerd"); err != nil {
		return err
	}
	images := make(chan error, 1)
	go func() { images <- loadImages(ctx, c) }()
	api, err := connect(c)
	if err != nil {
		return err
	}
	if err := wait(ctx, c, "the API server", api.ready, "etcd", "kube-apiserver"); err != nil {
		return err
	}
	stage("etcd, API server")
	if err := <-images; err != nil {
		return err
	}
	stage("container runtime, images")
	if err := launch("kubelet", "kube-controller-manager", "kube-scheduler"); err != nil {
		return err
	}
	return finish(ctx, c, api, launch, stage)
}

// finish is what needs an API server.
func finish(ctx context.Context, c layout.Cluster, api *api, launch func(...string) error, stage func(string)) error {
	crds, err := applyManifests(ctx, c, api)
	if err != nil {
		return err
	}
	if err := wait(ctx, c, "the Gateway API", func(ctx context.Context) error { return api.established(ctx, crds) }, "kube-apiserver"); err != nil {
		return err
	}
	stage("Gateway API, DNS and RBAC manifests")
	node := func(ctx context.Context) error { return api.nodeReady(ctx, c.NodeName()) }
	if err := wait(ctx, c, "the node", node, "kubelet", "containerd"); err != nil {
		return err
	}
	stage("node")
	// Not earlier: kube-proxy ends when the node's address appears only later.
	if err := launch("kube-proxy"); err != nil {
		return err
	}
	proxy := func(ctx context.Context) error { return httpHealthy(ctx, layout.KubeProxyHealthPort) }
	if err := wait(ctx, c, "kube-proxy", proxy, "kube-proxy"); err != nil {
		return err
	}
	stage("kube-proxy")
	if err := wait(ctx, c, "the cluster's DNS", api.dnsReady, "kubelet", "kube-controller-manager", "kube-scheduler"); err != nil {
		return err
	}
	stage("DNS")
	return nil
}

// applyManifests returns the names of the Gateway API's CRDs.
func applyManifests(ctx context.Context, c layout.Cluster, api *api) ([]string, error) {
	own, err := config.Render(c, "cluster.yaml")
	if err != nil {
		return nil, err
	}
	if _, err := api.apply(ctx, own); err != nil {
		return nil, err
	}
	manifests, err := assets.GatewayCRDs()
	if err != nil {
		return nil, err
	}
	var crds []string
	for _, manifest := range manifests {
		names, err := api.apply(ctx, manifest)
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(manifest), "kind: CustomResourceDefinition") {
			crds = append(crds, names...)
		}
	}
	return crds, nil
}

// loadImages waits for the runtime and gives it the two images that the
// cluster cannot start without.
func loadImages(ctx context.Context, c layout.Cluster) error {
	runtimeUp := func(context.Context) error { return image.Ping(c) }
	if err := wait(ctx, c, "containerd", runtimeUp, "containerd"); err != nil {
		return err
	}
	pause, err := image.Pause()
	if err != nil {
		return err
	}
	dns, err := assets.CoreDNS()
	if err != nil {
		return err
	}
	for _, own := range []struct {
		tag, name, user string
		program         []byte
	}{{layout.PauseImage, "pause", "65535", pause}, {layout.CoreDNSImage, "coredns", "0", dns}} {
		archive := c.State(own.name + ".tar")
		if err := image.BuildProgram(own.tag, own.name, own.program, own.user, archive); err != nil {
			return err
		}
		_, err := image.Load(c, archive)
		_ = os.Remove(archive)
		if err != nil {
			return err
		}
	}
	return nil
}

// wait polls until check succeeds, and gives up at once when a process that it
// depends on has ended.
func wait(ctx context.Context, c layout.Cluster, what string, check func(context.Context) error, needs ...string) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := check(attempt)
		cancel()
		if err == nil {
			return nil
		}
		for _, component := range needs {
			if !running(c, component) {
				return fmt.Errorf("%s ended while waiting for %s:\n%s", component, what, tail(c.State("log", component+".log")))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %w (logs: %s)", what, err, filepath.Dir(c.AuditLog()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func tail(file string) string {
	text, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// stages prints how long each step took and how long it is since the start.
func stages(began time.Time) func(string) {
	last := began
	return func(name string) {
		now := time.Now()
		fmt.Printf("%6.2f s  %s (%.2f s since start)\n", now.Sub(last).Seconds(), name, now.Sub(began).Seconds())
		last = now
	}
}
