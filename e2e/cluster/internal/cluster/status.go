package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"sluice.dev/e2e/cluster/internal/assets"
	"sluice.dev/e2e/cluster/internal/config"
	"sluice.dev/e2e/cluster/internal/image"
	"sluice.dev/e2e/cluster/internal/layout"
)

// Status prints a line per component and tells whether all are healthy. This
// process has to be in the cluster's network namespace.
func Status(ctx context.Context, c layout.Cluster, out io.Writer) bool {
	healthy := true
	line := func(name string, err error) {
		word := "ok"
		if err != nil {
			word, healthy = "FAILED: "+firstLine(err.Error()), false
		}
		fmt.Fprintf(out, "%-24s %s\n", name, word)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	api, err := connect(c)
	if err != nil {
		line("kubeconfig", err)
		return false
	}
	for _, component := range config.Components(c) {
		err := errors.New("not running")
		if running(c, component.Name) {
			err = check(ctx, c, api, component.Name)
		}
		line(component.Name, err)
	}
	line("node", api.nodeReady(ctx, c.NodeName()))
	line("coredns", api.dnsReady(ctx))
	line("gateway-api", gatewayAPI(ctx, api))
	return healthy
}

// check asks a component itself whether it is healthy.
func check(ctx context.Context, c layout.Cluster, api *api, component string) error {
	switch component {
	case "containerd":
		return image.Ping(c)
	case "etcd":
		return apiCheck(ctx, api, "/readyz/etcd")
	case "kube-apiserver":
		return api.ready(ctx)
	case "kube-controller-manager":
		return httpsHealthy(ctx, layout.ControllerHealthPort)
	case "kube-scheduler":
		return httpsHealthy(ctx, layout.SchedulerHealthPort)
	case "kubelet":
		return httpHealthy(ctx, layout.KubeletHealthPort)
	case "kube-proxy":
		return httpHealthy(ctx, layout.KubeProxyHealthPort)
	}
	return fmt.Errorf("no component %q", component)
}

func gatewayAPI(ctx context.Context, api *api) error {
	manifests, err := assets.GatewayCRDs()
	if err != nil {
		return err
	}
	var names []string
	for _, manifest := range manifests {
		for _, line := range strings.Split(string(manifest), "\n") {
			name, found := strings.CutPrefix(line, "  name: ")
			if found && strings.HasSuffix(name, ".gateway.networking.k8s.io") && !strings.HasPrefix(name, "safe-upgrades") {
				names = append(names, name)
			}
		}
	}
	return api.established(ctx, names)
}

func apiCheck(ctx context.Context, api *api, path string) error {
	return api.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Error()
}

func httpHealthy(ctx context.Context, port int) error {
	return healthy(ctx, fmt.Sprintf("http://127.0.0.1:%d/healthz", port), http.DefaultClient)
}

// httpsHealthy does not check the certificate: the control loops make one up
// at each start, and nothing but a yes or no is exchanged over loopback.
func httpsHealthy(ctx context.Context, port int) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	return healthy(ctx, fmt.Sprintf("https://127.0.0.1:%d/healthz", port), &http.Client{Transport: transport})
}

func healthy(ctx context.Context, url string, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Exists tells whether there is anything of that cluster on this machine.
func Exists(c layout.Cluster) bool {
	_, err := os.Stat(c.State())
	return err == nil
}
