package cluster

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"sluice.dev/e2e/cluster/internal/layout"
)

// Lock serializes the commands that change a cluster. It is let go when this
// process ends, however it ends. down removes the file while it holds the lock,
// so whoever waited has to look whether the file is still the one it locked.
func Lock(c layout.Cluster) (*os.File, error) {
	for {
		if err := os.MkdirAll(filepath.Dir(c.Lock()), 0o755); err != nil {
			return nil, err
		}
		file, err := os.OpenFile(c.Lock(), os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			continue // the last cluster's down removed the folder just now
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			file.Close()
			return nil, err
		}
		held, err1 := file.Stat()
		named, err2 := os.Stat(c.Lock())
		if err1 == nil && err2 == nil && os.SameFile(held, named) {
			return file, nil
		}
		file.Close()
	}
}
