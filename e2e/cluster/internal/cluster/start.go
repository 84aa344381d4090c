// Package cluster brings a cluster up, tells how it is, and takes it down.
package cluster

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice.dev/e2e/cluster/internal/config"
	"sluice.dev/e2e/cluster/internal/layout"
	"sluice.dev/e2e/cluster/internal/netns"
	"sluice.dev/e2e/cluster/internal/proc"
)

func record(c layout.Cluster, component string) string { return c.Run("pids", component) }

// running tells whether the component's recorded process is alive.
func running(c layout.Cluster, component string) bool {
	identity, _, err := proc.Load(record(c, component))
	return err == nil && identity.Alive()
}

// start runs a component unless it runs already with the same arguments. It
// reports whether it started one.
func start(c layout.Cluster, component config.Component) (bool, error) {
	print := fingerprint(component)
	if identity, old, err := proc.Load(record(c, component.Name)); err == nil && identity.Alive() {
		if old == print {
			return false, nil
		}
		stop(identity)
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	line := netns.Prefix(c)
	if component.Program != "" {
		line = append(line, component.Program)
	} else {
		line = append(line, self, Hidden, component.Name)
	}
	line = append(line, component.Args...)
	log, err := os.OpenFile(c.State("log", component.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return false, err
	}
	defer log.Close()
	command := exec.Command(line[0], line[1:]...)
	command.Stdout, command.Stderr = log, log
	command.Dir = "/"
	command.Env = environment()
	// A session of its own: the terminal's or the caller's signals are not for it.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return false, fmt.Errorf("start %s: %w", component.Name, err)
	}
	// Reaped here if it ends while this program runs, so that it is not taken
	// for alive; afterwards the machine's process 1 does it.
	go func() { _ = command.Wait() }()
	return true, adopt(c, command.Process.Pid, component.Name, print)
}

// Hidden is the subcommand that runs a component.
const Hidden = "component"

// adopt puts the process where `down` finds it even without the record.
func adopt(c layout.Cluster, pid int, name, print string) error {
	joinCgroup(c, pid)
	identity, err := proc.Of(pid)
	if err != nil {
		return fmt.Errorf("%s ended at once; see %s", name, c.State("log", name+".log"))
	}
	return identity.Save(record(c, name), print)
}

// environment leaves out what would change a component's behaviour: proxies,
// a caller's KUBECONFIG and Go's tuning variables.
func environment() []string {
	path := os.Getenv("PATH")
	if !strings.Contains(path, "/usr/sbin") {
		path += ":/usr/sbin:/sbin" // iptables and conntrack
	}
	// The heaps are small and the cores few: collecting less often is cheaper.
	return []string{"PATH=" + path, "HOME=/root", "LANG=C.UTF-8", "GOGC=200"}
}

// fingerprint changes with the arguments, so that `up` applies a change. The
// configuration files are in it by their content.
func fingerprint(component config.Component) string {
	sum := sha256.New()
	for _, argument := range component.Args {
		fmt.Fprintln(sum, argument)
		_, file, found := strings.Cut(argument, "=")
		if !found {
			file = argument
		}
		if strings.Contains(file, "/etc/") && filepath.IsAbs(file) {
			text, _ := os.ReadFile(file)
			sum.Write(text)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))[:16]
}

func stop(identity proc.Identity) {
	identity.Kill(syscall.SIGTERM)
	for deadline := time.Now().Add(5 * time.Second); identity.Alive(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			identity.Kill(syscall.SIGKILL)
		}
	}
}
