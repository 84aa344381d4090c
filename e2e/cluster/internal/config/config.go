// Package config renders the configuration of every component.
package config

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"sluice.dev/e2e/cluster/internal/layout"
	"sluice.dev/e2e/cluster/internal/pki"
)

//go:embed templates
var templates embed.FS

// data is what a template may use.
type data struct {
	layout.Cluster
	RestrictOOM bool
	CNIPlugins  string
}

func (data) EtcdURL() string          { return layout.EtcdURL }
func (data) NodeIP() string           { return layout.NodeIP }
func (data) PodCIDR() string          { return layout.PodCIDR }
func (data) DNSDomain() string        { return layout.DNSDomain }
func (data) DNSService() string       { return layout.DNSService }
func (data) PauseImage() string       { return layout.PauseImage }
func (data) CoreDNSImage() string     { return layout.CoreDNSImage }
func (data) KubeletHealthPort() int   { return layout.KubeletHealthPort }
func (data) KubeProxyHealthPort() int { return layout.KubeProxyHealthPort }

func (d data) PKI(file string) string { return d.State("pki", file) }

// Render fills in one template.
func Render(c layout.Cluster, name string) ([]byte, error) {
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(templates, "templates/"+name)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	err = parsed.ExecuteTemplate(&text, name, data{
		Cluster: c, RestrictOOM: !mayLowerOOMScore(), CNIPlugins: cniPlugins(),
	})
	return []byte(text.String()), err
}

// Write puts every configuration file where the components look for it.
func Write(c layout.Cluster) error {
	files := map[string]string{
		"etcd.yaml":       c.State("etc", "etcd.yaml"),
		"containerd.toml": c.State("etc", "containerd.toml"),
		"kubelet.yaml":    c.State("etc", "kubelet.yaml"),
		"kube-proxy.yaml": c.State("etc", "kube-proxy.yaml"),
		"audit.yaml":      c.State("etc", "audit.yaml"),
		"cni.conflist":    c.State("cni", "10-pods.conflist"),
	}
	for _, dir := range []string{c.State("etc"), c.State("cni"), c.State("log"), c.State("pod-logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, file := range files {
		text, err := Render(c, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
	}
	// No name server: a pod that asks for the node's DNS gets an answer at once.
	if err := os.WriteFile(c.State("etc", "resolv.conf"), []byte("options timeout:1\n"), 0o644); err != nil {
		return err
	}
	return kubeconfigs(c)
}

func kubeconfigs(c layout.Cluster) error {
	files := map[string]string{"admin": c.Kubeconfig()}
	for _, identity := range []string{"controller-manager", "scheduler", "kubelet", "kube-proxy"} {
		files[identity] = c.State("etc", identity+".kubeconfig")
	}
	for identity, file := range files {
		text, err := pki.Kubeconfig(c.State("pki"), identity)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// mayLowerOOMScore tells whether this process has CAP_SYS_RESOURCE, bit 24.
func mayLowerOOMScore() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(status), "\n") {
		if mask, found := strings.CutPrefix(line, "CapEff:"); found {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits&(1<<24) != 0
		}
	}
	return false
}

// cniPlugins is where the distribution installs them.
func cniPlugins() string {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	return "/usr/lib/cni"
}
