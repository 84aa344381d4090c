// Command sluice-cluster runs a whole Kubernetes cluster on this machine, in a
// network namespace with no way out: see README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"sluice.dev/e2e/cluster/internal/cluster"
	"sluice.dev/e2e/cluster/internal/components"
	"sluice.dev/e2e/cluster/internal/layout"
)

const usage = `usage: sluice-cluster [--name NAME] COMMAND

  up                     start what does not run, and wait until it can be used
  down                   stop and remove everything of the cluster
  status                 a line per component; exit code 0 if all are healthy
  stop COMPONENT         kill a component, as a crash would
  freeze COMPONENT       halt it with its connections open, as a lost machine would
  start COMPONENT [FLAG...]
                         start it or let it go on, and wait until it is healthy;
                         the flags are for it, until the next up
  kubeconfig             print the path of the administrator's kubeconfig
  audit                  print the path of the API server's audit log
  exec -- CMD [ARG...]   run a command in the cluster's network, KUBECONFIG set
  kubectl ARG...         the same for kubectl
  image build --tag NAME:TAG --bin PATH [--bin PATH...] [--file INSIDE=PATH...]
              [--entrypoint /bin/x] [--user 65532] [--env K=V...] -o out.tar
  image load FILE.tar...
  image ensure           as build, and load, only if something changed

The name is "sluice", or $SLUICE_CLUSTER.`

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		exit(kubectl(environmentCluster(), os.Args[1:]))
	}
	if len(os.Args) > 2 && os.Args[1] == cluster.Hidden {
		code, found := components.Run(os.Args[2], os.Args[3:])
		if !found {
			exit(fmt.Errorf("no component %q", os.Args[2]))
		}
		os.Exit(code)
	}
	exit(run(os.Args[1:]))
}

func exit(err error) {
	switch {
	case err == nil:
		os.Exit(0)
	case errors.Is(err, errUnhealthy):
		os.Exit(1)
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "sluice-cluster:", err)
	os.Exit(1)
}

func environmentCluster() string {
	if name := os.Getenv("SLUICE_CLUSTER"); name != "" {
		return name
	}
	return layout.DefaultName
}

func run(args []string) error {
	name := environmentCluster()
	args, err := takeName(args, &name)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return flag.ErrHelp
	}
	command, rest := args[0], args[1:]
	// Only these end the flags there: what follows is another program's.
	if command != "exec" && command != "kubectl" {
		if rest, err = takeName(rest, &name); err != nil {
			return err
		}
	}
	c, err := layout.New(name)
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch command {
	case "up":
		return up(ctx, c)
	case upInside:
		return finishUp(ctx, c, rest)
	case "down":
		return down(c)
	case "status", statusInside:
		return status(ctx, c, command == statusInside)
	case "stop":
		return outage(c, cluster.Stop, rest)
	case "freeze":
		return outage(c, cluster.Freeze, rest)
	case "start", startInside:
		return startComponent(ctx, c, rest, command == startInside)
	case "kubeconfig":
		return printPath(c, c.Kubeconfig())
	case "audit":
		return printPath(c, c.AuditLog())
	case "exec":
		return execute(c, rest)
	case "kubectl":
		return kubectl(name, rest)
	case "image":
		return images(c, rest)
	}
	return flag.ErrHelp
}

// takeName removes --name from the flags before the first other word.
func takeName(args []string, name *string) ([]string, error) {
	for len(args) > 0 {
		switch {
		case args[0] == "--name" && len(args) > 1:
			*name, args = args[1], args[2:]
		case len(args[0]) > 7 && args[0][:7] == "--name=":
			*name, args = args[0][7:], args[1:]
		case args[0] == "-h" || args[0] == "--help":
			return nil, flag.ErrHelp
		default:
			return args, nil
		}
	}
	return args, nil
}
