package components

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // the auth plugins a foreign kubeconfig may name
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func runKubectl(args []string) int {
	os.Args = append([]string{"kubectl"}, args...)
	// kubectl logs while it builds its commands, before it parses its flags.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
		return 1
	}
	return 0
}
