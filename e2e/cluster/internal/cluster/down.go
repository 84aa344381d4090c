package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"sluice.dev/e2e/cluster/internal/layout"
	"sluice.dev/e2e/cluster/internal/netns"
	"sluice.dev/e2e/cluster/internal/proc"
)

// Down removes a cluster and everything of it, in whatever state it is. The
// caller holds the lock.
func Down(c layout.Cluster) error {
	err := errors.Join(killAll(c), unmountAll(c))
	netns.Destroy(c)
	err = errors.Join(err, removeCgroups(c))
	// The state goes last and only when nothing mounted is left in it: a
	// volume of a pod must never be emptied through its mount.
	if err == nil {
		err = errors.Join(os.RemoveAll(c.State()), os.RemoveAll(c.Run()))
	}
	restoreSysctls(c, err == nil)
	_ = os.Remove(c.Lock())
	for _, root := range layout.Roots() {
		_ = os.Remove(root) // only if no other cluster is there
	}
	return err
}

// matches are the ways to recognize the cluster's processes. Any one is
// enough, so that losing a record, a handle or a cgroup loses no process.
func matches(c layout.Cluster) []proc.Match {
	found := []proc.Match{
		proc.InCgroup(c.CgroupRoot()),
		proc.WithArgument(c.Containerd()),
	}
	for kind, handle := range map[string]string{"net": c.NetNS(), "mnt": c.MountNS()} {
		if inode := netns.Inode(handle); inode != 0 {
			found = append(found, proc.InNamespace(kind, inode))
		}
	}
	recorded := map[string]bool{}
	entries, _ := os.ReadDir(c.Run("pids"))
	for _, entry := range entries {
		if identity, _, err := proc.Load(c.Run("pids", entry.Name())); err == nil && identity.Alive() {
			recorded[fmt.Sprintf("/proc/%d", identity.PID)] = true
		}
	}
	return append(found, func(dir string) bool { return recorded[dir] })
}

// killAll looks again after each round, as a process may have started another
// before it died. No round is gentle: nothing here has anything to save.
func killAll(c layout.Cluster) error {
	looks := matches(c)
	var killed []int
	deadline := time.Now().Add(20 * time.Second)
	for {
		pids := proc.Find(looks...)
		if len(pids) == 0 {
			awaitReaping(killed)
			return nil
		}
		killed = append(killed, pids...)
		if time.Now().After(deadline) {
			return fmt.Errorf("processes that do not end: %v", pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// awaitReaping gives the machine's process 1 a moment to forget the dead, which
// are its children by now. What holds no resource any more is not worth failing
// for, so the wait is bounded.
func awaitReaping(pids []int) {
	deadline := time.Now().Add(3 * time.Second)
	for _, pid := range pids {
		for time.Now().Before(deadline) {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// unmountAll removes what is mounted below the cluster's folders in this mount
// namespace, the innermost first. Pods' own mounts are in the private one.
func unmountAll(c layout.Cluster) error {
	var failed []string
	for range 3 {
		failed = nil
		mounts := mountsBelow(c.State(), c.Run())
		for i := len(mounts) - 1; i >= 0; i-- {
			if err := unix.Unmount(mounts[i], unix.MNT_DETACH); err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", mounts[i], err))
			}
		}
		if len(failed) == 0 && len(mountsBelow(c.State(), c.Run())) == 0 {
			return nil
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("mounts that could not be removed: %s", strings.Join(failed, ", "))
}

func mountsBelow(dirs ...string) []string {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer file.Close()
	var found []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		for _, dir := range dirs {
			if fields[4] == dir || strings.HasPrefix(fields[4], dir+"/") {
				found = append(found, fields[4])
			}
		}
	}
	return found
}
