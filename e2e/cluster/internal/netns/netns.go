// Package netns makes and enters the cluster's two namespaces.
//
// The network namespace has no link to the machine's own network: that is what
// keeps a test from reaching anything but the cluster. The mount namespace is
// private, so every mount made for a pod vanishes with the last process in it,
// however that process ended.
package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"sluice.dev/e2e/cluster/internal/layout"
)

// shared are folders whose place is compiled into containerd, its shims, the
// CNI library and the kubelet. Inside the mount namespace each is a folder of
// the cluster's own, so that clusters do not mix and nothing stays behind.
var shared = map[string]string{
	"/run/containerd":     "shims",
	"/var/log/containers": "container-logs",
	"/var/lib/cni":        "cni-cache",
}

// Ready tells whether both namespaces exist.
func Ready(c layout.Cluster) bool {
	return Inode(c.NetNS()) != 0 && Inode(c.MountNS()) != 0
}

// Inode identifies the namespace whose handle that file is, or is 0 if the
// file is none (any more).
func Inode(handle string) uint64 {
	var fs unix.Statfs_t
	var stat unix.Stat_t
	if unix.Statfs(handle, &fs) != nil || fs.Type != unix.NSFS_MAGIC || unix.Stat(handle, &stat) != nil {
		return 0
	}
	return stat.Ino
}

// Create makes what is missing of the two namespaces.
func Create(c layout.Cluster) error {
	if Inode(c.NetNS()) == 0 {
		if err := createNetwork(c); err != nil {
			return err
		}
	}
	if Inode(c.MountNS()) == 0 {
		return exclusively(func() error { return createMounts(c) })
	}
	return nil
}

// createNetwork gives the namespace its node address. A bridge carries it,
// with a veth end plugged in because a bridge without a port has no carrier;
// the default route leads to that bridge, so there is no way out.
func createNetwork(c layout.Cluster) error {
	name := c.NetNSName()
	_ = run("ip", "netns", "del", name) // a handle whose namespace was lost
	if err := run("ip", "netns", "add", name); err != nil {
		return err
	}
	commands := strings.Join([]string{
		"link set lo up",
		"link add node0 type bridge",
		"address add " + layout.NodePrefix + " dev node0",
		"link add node0-port type veth peer name node0-peer",
		"link set node0-port master node0",
		"link set node0-port up",
		"link set node0-peer up",
		"link set node0 up",
		"route add default dev node0",
	}, "\n")
	command := exec.Command("ip", "-n", name, "-batch", "-")
	command.Stdin = strings.NewReader(commands + "\n")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("set up the network: %w: %s", err, out)
	}
	// nsenter and not `ip netns exec`: the latter mounts another /sys.
	// The bridge setting may be missing: a kernel with it compiled out has
	// nothing to switch on, and kube-proxy then says what does not work.
	err := run("nsenter", "--net="+c.NetNS(), "sh", "-c", `set -e; cd /proc/sys/net
echo 1 > ipv4/ip_forward
if [ -e bridge/bridge-nf-call-iptables ]; then echo 1 > bridge/bridge-nf-call-iptables; fi`)
	if err != nil {
		return err
	}
	return refuse(c)
}

// refuse answers at once what is meant for outside, instead of letting it time
// out. The default route is there for addresses that kube-proxy translates
// first, so the rules look at where a packet goes after that.
func refuse(c layout.Cluster) error {
	rules := "*filter\n:SLUICE-OUTSIDE - [0:0]\n"
	for _, chain := range []string{"OUTPUT", "FORWARD"} {
		rules += "-A " + chain + " -o node0 -j SLUICE-OUTSIDE\n"
	}
	for _, inside := range []string{layout.NodePrefix, layout.PodCIDR, layout.ServiceCIDR} {
		rules += "-A SLUICE-OUTSIDE -d " + inside + " -j RETURN\n"
	}
	rules += "-A SLUICE-OUTSIDE -j REJECT --reject-with icmp-net-unreachable\nCOMMIT\n"
	command := exec.Command("nsenter", "--net="+c.NetNS(), "iptables-restore", "--noflush", "--wait")
	command.Stdin = strings.NewReader(rules)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, out)
	}
	return nil
}

// createMounts makes the mount namespace and keeps it by its handle. The
// handle's own folder has to be a private mount, or the kernel refuses it.
func createMounts(c layout.Cluster) error {
	folder := filepath.Dir(c.MountNS())
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(folder, folder, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", folder, err)
	}
	if err := unix.Mount("", folder, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", folder, err)
	}
	if err := os.WriteFile(c.MountNS(), nil, 0o600); err != nil {
		return err
	}
	// Shared again within: volumes mounted by the kubelet have to appear to
	// containerd's shims, and pods may ask for mount propagation.
	script := "set -e; mount --make-rshared /\n"
	for target, own := range shared {
		source := c.Run("own", own)
		for _, dir := range []string{source, target} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		script += fmt.Sprintf("mount --bind %s %s\n", source, target)
	}
	return run("unshare", "--mount="+c.MountNS(), "--propagation", "private", "sh", "-c", script)
}

// Destroy removes the handles and the folders that Create made for them.
// Nothing may run in the namespaces any more.
func Destroy(c layout.Cluster) {
	for range 3 { // a crash between two binds can have stacked them
		_ = unix.Unmount(c.MountNS(), unix.MNT_DETACH)
		_ = unix.Unmount(filepath.Dir(c.MountNS()), unix.MNT_DETACH)
	}
	if _, err := os.Lstat(c.NetNS()); err == nil {
		_ = run("ip", "netns", "del", c.NetNSName())
	}
	_ = exclusively(func() error {
		_ = os.Remove(filepath.Dir(c.MountNS()))
		// Removing a folder takes away what is mounted on it in every other
		// mount namespace, so as long as there is another cluster they stay.
		if others, _ := filepath.Glob(filepath.Join(filepath.Dir(c.Run()), "*", "ns")); len(others) > 0 {
			return nil
		}
		for target := range shared {
			_ = os.Remove(target) // only if empty: it may be another runtime's
		}
		return nil
	})
}

// exclusively keeps two clusters' changes of the shared folders apart.
func exclusively(change func() error) error {
	root := layout.Roots()[1]
	folder, err := os.Open(root)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	return change()
}

// Enter puts the calling thread, and the program it is about to become, into
// the cluster's network namespace. /sys and the mounts stay the caller's.
func Enter(c layout.Cluster) error {
	runtime.LockOSThread()
	handle, err := os.Open(c.NetNS())
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cluster %q is not up", c.Name)
	}
	if err != nil {
		return err
	}
	defer handle.Close()
	return unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET)
}

// Become enters the network namespace and replaces this process with program,
// so exit code, signals and standard streams are the program's own.
func Become(c layout.Cluster, program string, args, env []string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return err
	}
	if err := Enter(c); err != nil {
		return err
	}
	return syscall.Exec(path, args, env)
}

// Prefix is the start of a command line that runs the rest in both namespaces.
func Prefix(c layout.Cluster) []string {
	return []string{"nsenter", "--net=" + c.NetNS(), "--mount=" + c.MountNS(), "--"}
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
