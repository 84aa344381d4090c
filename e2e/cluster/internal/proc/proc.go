// Package proc starts, records and finds processes without a supervisor.
//
// A supervisor would be one more process to lose: a record of pid and start
// time names a process for good, and whatever has no record any more is found
// by the namespaces and the cgroup it is in.
package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Identity names one process of one boot: a pid alone may be another's by now.
type Identity struct {
	PID   int
	Start string
	Boot  string
}

// Of is the identity of a live process.
func Of(pid int) (Identity, error) {
	start, err := startTime(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, Start: start, Boot: BootID()}, nil
}

// BootID differs after every reboot.
func BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Alive tells whether that very process still runs; a zombie does not.
func (i Identity) Alive() bool {
	if i.PID <= 0 || i.Boot != BootID() {
		return false
	}
	start, err := startTime(i.PID)
	return err == nil && start == i.Start
}

// startTime is the process's start in clock ticks, field 22 of its stat line.
// Fields are counted from the last parenthesis, as the name may hold anything.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	return parseStart(string(stat))
}

func parseStart(stat string) (string, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return "", errors.New("malformed stat line")
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return "", errors.New("short stat line")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", errors.New("the process has ended")
	}
	return fields[19], nil
}

// Save writes the identity down, together with a fingerprint of how the
// process was started.
func (i Identity) Save(file, fingerprint string) error {
	text := fmt.Sprintf("%d %s %s %s\n", i.PID, i.Start, i.Boot, fingerprint)
	temporary := file + ".new"
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}

// Load reads what Save wrote.
func Load(file string) (Identity, string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Identity{}, "", err
	}
	fields := strings.Fields(string(text))
	if len(fields) != 4 {
		return Identity{}, "", fmt.Errorf("%s: malformed process record", file)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return Identity{}, "", fmt.Errorf("%s: malformed process record", file)
	}
	return Identity{PID: pid, Start: fields[1], Boot: fields[2]}, fields[3], nil
}

// Kill ends the process if it is still the one that was recorded.
func (i Identity) Kill(signal syscall.Signal) {
	if i.Alive() {
		_ = syscall.Kill(i.PID, signal)
	}
}

// Match decides by a process's /proc folder whether it is one looked for.
type Match func(dir string) bool

// Find lists the processes that match, leaving out this one and its ancestors:
// whoever runs `down` from inside the namespace wants to see it return.
func Find(matches ...Match) []int {
	spared := ancestors()
	entries, _ := os.ReadDir("/proc")
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || spared[pid] {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		if _, err := startTime(pid); err != nil {
			continue
		}
		for _, match := range matches {
			if match(dir) {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

func ancestors() map[int]bool {
	found := map[int]bool{1: true}
	for pid := os.Getpid(); pid > 1 && !found[pid]; pid = parent(pid) {
		found[pid] = true
	}
	return found
}

func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 1
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 {
		return 1
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// InNamespace matches processes in the namespace of that kind and inode.
func InNamespace(kind string, inode uint64) Match {
	want := fmt.Sprintf("%s:[%d]", kind, inode)
	return func(dir string) bool {
		link, err := os.Readlink(filepath.Join(dir, "ns", kind))
		return err == nil && inode != 0 && link == want
	}
}

// InCgroup matches processes in or below that cgroup of any hierarchy.
func InCgroup(root string) Match {
	return func(dir string) bool {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		return err == nil && underCgroup(string(text), root)
	}
}

func underCgroup(text, root string) bool {
	for _, line := range strings.Split(text, "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) == 3 && (parts[2] == root || strings.HasPrefix(parts[2], root+"/")) {
			return true
		}
	}
	return false
}

// WithArgument matches processes one of whose arguments lies below a folder of
// the cluster: a shim names its runtime's socket, and so is found even when
// its namespace's handle is lost.
func WithArgument(prefix string) Match {
	return func(dir string) bool {
		text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(filepath.Base(strings.SplitN(string(text), "\x00", 2)[0]), "containerd-shim") {
			return false
		}
		return strings.Contains(string(text), prefix)
	}
}
