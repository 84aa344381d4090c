package config

import (
	"fmt"

	"sluice.dev/e2e/cluster/internal/layout"
)

// Component is one long-running process of the cluster.
type Component struct {
	Name string
	// Program is empty for those inside this binary.
	Program string
	Args    []string
}

// Components are all of them, in the order they are listed in.
func Components(c layout.Cluster) []Component {
	return []Component{
		{Name: "containerd", Program: "containerd",
			Args: []string{"--config", c.State("etc", "containerd.toml"), "--log-level", "warn"}},
		{Name: "etcd", Args: []string{c.State("etc", "etcd.yaml")}},
		{Name: "kube-apiserver", Args: apiserver(c)},
		{Name: "kube-controller-manager", Args: controllerManager(c)},
		{Name: "kube-scheduler", Args: scheduler(c)},
		{Name: "kubelet", Args: kubelet(c)},
		{Name: "kube-proxy", Args: []string{"--config=" + c.State("etc", "kube-proxy.yaml")}},
	}
}

func apiserver(c layout.Cluster) []string {
	pki := func(file string) string { return c.State("pki", file) }
	return []string{
		"--advertise-address=" + layout.NodeIP,
		fmt.Sprintf("--secure-port=%d", layout.APIPort),
		"--etcd-servers=" + layout.EtcdURL,
		"--etcd-cafile=" + pki("etcd-ca.crt"),
		"--etcd-certfile=" + pki("apiserver-etcd-client.crt"),
		"--etcd-keyfile=" + pki("apiserver-etcd-client.key"),
		"--tls-cert-file=" + pki("apiserver.crt"),
		"--tls-private-key-file=" + pki("apiserver.key"),
		"--client-ca-file=" + pki("ca.crt"),
		"--anonymous-auth=false",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--kubelet-certificate-authority=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-cluster-ip-range=" + layout.ServiceCIDR,
		"--service-account-issuer=https://kubernetes.default.svc." + layout.DNSDomain,
		"--service-account-key-file=" + pki("service-account.pub"),
		"--service-account-signing-key-file=" + pki("service-account.key"),
		// For extension API servers, such as one for metrics.
		"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + pki("front-proxy-client.key"),
		"--audit-policy-file=" + c.State("etc", "audit.yaml"),
		"--audit-log-path=" + c.AuditLog(),
		"--profiling=false",
	}
}

func controllerManager(c layout.Cluster) []string {
	pki := func(file string) string { return c.State("pki", file) }
	return append(client(c, "controller-manager"),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", layout.ControllerHealthPort),
		"--leader-elect=false",
		// Each controller acts as its own service account, as on a real cluster.
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+pki("service-account.key"),
		"--root-ca-file="+pki("ca.crt"),
		"--cluster-signing-cert-file="+pki("ca.crt"),
		"--cluster-signing-key-file="+pki("ca.key"),
		"--client-ca-file="+pki("ca.crt"),
		"--requestheader-client-ca-file="+pki("front-proxy-ca.crt"),
		// The defaults of 20 and 30 delay rollouts of many objects at once.
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--profiling=false",
	)
}

func scheduler(c layout.Cluster) []string {
	return append(client(c, "scheduler"),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", layout.SchedulerHealthPort),
		"--leader-elect=false",
		"--client-ca-file="+c.State("pki", "ca.crt"),
		"--requestheader-client-ca-file="+c.State("pki", "front-proxy-ca.crt"),
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--profiling=false",
	)
}

// client are the flags of a control loop that also serves its metrics.
func client(c layout.Cluster, identity string) []string {
	file := c.State("etc", identity+".kubeconfig")
	return []string{
		"--kubeconfig=" + file,
		"--authentication-kubeconfig=" + file,
		"--authorization-kubeconfig=" + file,
	}
}

func kubelet(c layout.Cluster) []string {
	return []string{
		"--config=" + c.State("etc", "kubelet.yaml"),
		"--kubeconfig=" + c.State("etc", "kubelet.kubeconfig"),
		"--root-dir=" + c.State("kubelet"),
		"--cert-dir=" + c.State("kubelet", "pki"),
		"--hostname-override=" + c.NodeName(),
		"--node-ip=" + layout.NodeIP,
	}
}
