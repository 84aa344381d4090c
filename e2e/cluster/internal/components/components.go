// Package components holds the programs of a Kubernetes node and control
// plane, linked into this one binary and started by re-executing it.
//
// One binary instead of seven: they share nearly all of their code, so it is
// linked, stripped and kept in the page cache once.
package components

import (
	"context"
	"os"
	_ "time/tzdata" // CronJobs may name a time zone, and a test machine may have none installed

	"github.com/spf13/cobra"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

// Run runs the component of that name with args and reports its exit code,
// or false if no component has that name.
func Run(name string, args []string) (int, bool) {
	switch name {
	case "etcd":
		return runEtcd(args), true
	case "kubectl":
		return runKubectl(args), true
	}
	command := command(name)
	if command == nil {
		return 0, false
	}
	// Some of them look at os.Args themselves, so it has to agree with args.
	os.Args = append([]string{name}, args...)
	command.SetArgs(args)
	return cli.Run(command), true
}

func command(name string) *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kube-proxy":
		return kubeproxy.NewProxyCommand()
	case "kubelet":
		// Not the API server's signal context: only one may exist in a
		// process, and the command sets it up itself.
		return kubelet.NewKubeletCommand(context.Background())
	case "metrics-server":
		return metricsserver.NewMetricsServerCommand(server.SetupSignalHandler())
	}
	return nil
}
