package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice.dev/e2e/cluster/internal/cluster"
	"sluice.dev/e2e/cluster/internal/layout"
	"sluice.dev/e2e/cluster/internal/netns"
)

// The hidden commands that up, status and start go on as, inside the network
// namespace: a Go program has many threads and cannot move them all.
const (
	upInside     = "up-inside"
	statusInside = "status-inside"
	startInside  = "start-inside"
)

// upTimeout is generous: on a loaded machine a slow start is no failure.
const upTimeout = 3 * time.Minute

var errUnhealthy = errors.New("not healthy")

func up(ctx context.Context, c layout.Cluster) error {
	began := time.Now()
	lock, err := cluster.Lock(c)
	if err != nil {
		return err
	}
	err = cluster.Prepare(c)
	if cluster.Rebooted(err) {
		lock.Close()
		return up(ctx, c)
	}
	if err != nil {
		return err
	}
	// The lock stays held across the exec: its descriptor goes along.
	descriptor, err := inherit(lock)
	if err != nil {
		return err
	}
	return again(c, upInside, strconv.FormatInt(began.UnixNano(), 10), descriptor)
}

func finishUp(ctx context.Context, c layout.Cluster, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: up")
	}
	began, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	// Not for the components started from here, or the lock would never end.
	if err := disinherit(args[1]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	start := time.Unix(0, began)
	if err := cluster.Up(ctx, c, start); err != nil {
		return err
	}
	fmt.Printf("cluster %s is ready after %.1f s; kubeconfig: %s\n", c.Name, time.Since(start).Seconds(), c.Kubeconfig())
	return nil
}

func down(c layout.Cluster) error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster is root's: down needs root")
	}
	lock, err := cluster.Lock(c)
	if err != nil {
		return err
	}
	defer lock.Close()
	return cluster.Down(c)
}

func status(ctx context.Context, c layout.Cluster, inside bool) error {
	if !inside {
		if !netns.Ready(c) {
			fmt.Printf("cluster %s is not up\n", c.Name)
			return errUnhealthy
		}
		return again(c, statusInside)
	}
	if !cluster.Status(ctx, c, os.Stdout) {
		return errUnhealthy
	}
	return nil
}

// outage does to one component what a failure of its machine would.
func outage(c layout.Cluster, do func(layout.Cluster, string) error, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: stop|freeze COMPONENT")
	}
	lock, err := cluster.Lock(c)
	if err != nil {
		return err
	}
	defer lock.Close()
	return do(c, args[0])
}

func startComponent(ctx context.Context, c layout.Cluster, args []string, inside bool) error {
	if len(args) == 0 {
		return errors.New("usage: start COMPONENT [FLAG...]")
	}
	if !inside {
		return again(c, startInside, args...)
	}
	lock, err := cluster.Lock(c)
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	return cluster.Start(ctx, c, args[0], args[1:])
}

func printPath(c layout.Cluster, path string) error {
	if !cluster.Exists(c) {
		return fmt.Errorf("cluster %q is not up", c.Name)
	}
	fmt.Println(path)
	return nil
}

func execute(c layout.Cluster, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return errors.New("usage: exec -- CMD [ARG...]")
	}
	return netns.Become(c, args[0], args, withKubeconfig(c.Kubeconfig()))
}

// kubectl enters the network namespace only for a cluster of this machine:
// SLUICE_KUBECONFIG may name one elsewhere.
func kubectl(name string, args []string) error {
	c, err := layout.New(name)
	if err != nil {
		return err
	}
	kubeconfig := c.Kubeconfig()
	if other := os.Getenv("SLUICE_KUBECONFIG"); other != "" {
		kubeconfig = other
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	line := append([]string{"sluice-cluster", cluster.Hidden, "kubectl"}, args...)
	text, err := os.ReadFile(kubeconfig)
	if err == nil && !strings.Contains(string(text), layout.APIServer) {
		return become(self, line, withKubeconfig(kubeconfig))
	}
	return netns.Become(c, self, line, withKubeconfig(kubeconfig))
}

func withKubeconfig(path string) []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KUBECONFIG=") {
			env = append(env, variable)
		}
	}
	return append(env, "KUBECONFIG="+path)
}

// again goes on as another command of this program in the network namespace.
func again(c layout.Cluster, command string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	line := append([]string{"sluice-cluster", "--name", c.Name, command}, args...)
	return netns.Become(c, self, line, os.Environ())
}
