package cluster

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"sluice.dev/e2e/cluster/internal/config"
	"sluice.dev/e2e/cluster/internal/layout"
	"sluice.dev/e2e/cluster/internal/proc"
)

// Stop kills a component, as a crash would: its connections break, and new
// ones are refused.
func Stop(c layout.Cluster, name string) error {
	identity, err := recorded(c, name)
	if err != nil {
		return err
	}
	for identity.Alive() {
		identity.Kill(syscall.SIGKILL)
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// Freeze halts a component: its connections stay open and nothing answers, as
// when a machine is lost.
func Freeze(c layout.Cluster, name string) error {
	identity, err := recorded(c, name)
	if err != nil {
		return err
	}
	identity.Kill(syscall.SIGSTOP)
	return nil
}

// Start starts a component, or lets it go on, and waits until it is healthy.
// With more flags than its own it is started anew; the next `up` takes them
// away. This process has to be in the cluster's network namespace.
func Start(ctx context.Context, c layout.Cluster, name string, flags []string) error {
	component, err := component(c, name)
	if err != nil {
		return err
	}
	component.Args = append(component.Args, flags...)
	if identity, err := recorded(c, name); err == nil {
		identity.Kill(syscall.SIGCONT)
	}
	if _, err := start(c, component); err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	healthy := func(ctx context.Context) error { return check(ctx, c, api, name) }
	return wait(ctx, c, name, healthy, name)
}

// recorded is the component's live process.
func recorded(c layout.Cluster, name string) (proc.Identity, error) {
	if _, err := component(c, name); err != nil {
		return proc.Identity{}, err
	}
	identity, _, err := proc.Load(record(c, name))
	if err != nil || !identity.Alive() {
		return proc.Identity{}, fmt.Errorf("%s does not run", name)
	}
	return identity, nil
}

func component(c layout.Cluster, name string) (config.Component, error) {
	var names []string
	for _, component := range config.Components(c) {
		if component.Name == name {
			return component, nil
		}
		names = append(names, component.Name)
	}
	return config.Component{}, fmt.Errorf("no component %q; there are %s", name, strings.Join(names, ", "))
}
