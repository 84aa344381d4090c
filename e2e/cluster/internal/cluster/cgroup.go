package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"sluice.dev/e2e/cluster/internal/layout"
)

const cgroupMount = "/sys/fs/cgroup"

// hierarchies are the folders of all mounted cgroup hierarchies: one with
// version 2, one per controller with version 1, both on a hybrid machine.
func hierarchies() []string {
	var found []string
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(mounts), "\n") {
		fields := strings.Fields(line)
		for i, field := range fields {
			if field == "-" && i+1 < len(fields) && (fields[i+1] == "cgroup" || fields[i+1] == "cgroup2") {
				found = append(found, fields[4])
			}
		}
	}
	return found
}

// trackingHierarchy is the one in which the components' own processes are
// moved. One is enough to find them; moving them in all would take them out of
// limits that the machine's owner may have set for this session.
func trackingHierarchy() string {
	for _, dir := range []string{filepath.Join(cgroupMount, "unified"), cgroupMount, filepath.Join(cgroupMount, "systemd")} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && (fs.Type == unix.CGROUP2_SUPER_MAGIC || fs.Type == unix.CGROUP_SUPER_MAGIC) {
			return dir
		}
	}
	return filepath.Join(cgroupMount, "pids")
}

// createCgroups makes the root that the kubelet puts pods below.
func createCgroups(c layout.Cluster) error {
	for _, hierarchy := range hierarchies() {
		dir := filepath.Join(hierarchy, c.CgroupRoot())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// A version 1 cpuset takes no process until it has cores and memory.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(hierarchy, name)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, name), value, 0o644)
			}
		}
	}
	return os.MkdirAll(componentCgroup(c), 0o755)
}

// componentCgroup is a leaf beside the pods' one: version 2 allows no process
// in a cgroup that has children with controllers.
func componentCgroup(c layout.Cluster) string {
	return filepath.Join(trackingHierarchy(), c.CgroupRoot(), "components")
}

func joinCgroup(c layout.Cluster, pid int) {
	// A failure is no obstacle: the record and the namespaces remain.
	_ = os.WriteFile(filepath.Join(componentCgroup(c), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// removeCgroups removes the cluster's tree from every hierarchy, children
// first. A killed process counts until the last of its threads has ended, a
// moment after it is dead to everyone else, so this tries for a while.
func removeCgroups(c layout.Cluster) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		left := tryRemoveCgroups(c)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroups that could not be removed: %s", strings.Join(left, " "))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func tryRemoveCgroups(c layout.Cluster) (left []string) {
	for _, hierarchy := range hierarchies() {
		root := filepath.Join(hierarchy, c.CgroupRoot())
		if _, err := os.Stat(root); err != nil {
			continue
		}
		removeTree(root)
		if _, err := os.Stat(root); err == nil {
			left = append(left, root)
		}
	}
	return left
}

func removeTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.IsDir() {
			removeTree(filepath.Join(dir, entry.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}
