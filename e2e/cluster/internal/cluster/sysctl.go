package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/e2e/cluster/internal/layout"
)

// kubeletSysctls belong to the whole machine, and a kubelet sets them. The
// first cluster notes their values and the last one puts them back.
var kubeletSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

func sysctlFile(c layout.Cluster) string {
	return filepath.Join(filepath.Dir(c.Run()), "sysctls")
}

func saveSysctls(c layout.Cluster) error {
	var text strings.Builder
	for _, name := range kubeletSysctls {
		value, err := os.ReadFile("/proc/sys/" + name)
		if err == nil {
			fmt.Fprintf(&text, "%s %s\n", name, strings.TrimSpace(string(value)))
		}
	}
	file, err := os.OpenFile(sysctlFile(c), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if os.IsExist(err) {
		return nil // noted before any kubelet ran
	}
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(text.String())
	return err
}

func restoreSysctls(c layout.Cluster, gone bool) {
	others, _ := filepath.Glob(filepath.Join(filepath.Dir(c.Run()), "*", "pids"))
	text, err := os.ReadFile(sysctlFile(c))
	if err != nil || !gone || len(others) > 0 {
		return
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if name, value, found := strings.Cut(line, " "); found {
			_ = os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
		}
	}
	_ = os.Remove(sysctlFile(c))
}
