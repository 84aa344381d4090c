// Package image makes container images without Docker: a docker-archive tar of
// one layer, the same bytes for the same input on every machine.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"time"
)

// Spec says what an image holds.
type Spec struct {
	Tag        string
	Bins       []string          // programs, put into /bin under their own names
	Files      map[string]string // path in the image -> file on this machine
	Entrypoint string            // /bin/<the first program> if empty
	User       string
	Env        []string
}

// file is an entry of the layer: its contents are read only when written.
type file struct {
	mode   int64
	source string // a file on this machine, or
	text   []byte // the contents themselves
	dir    bool
}

// epoch is every entry's time: a build's own time would make each build differ.
var epoch = time.Unix(0, 0).UTC()

// Build writes the archive.
func Build(spec Spec, out io.Writer) error {
	files, err := spec.contents()
	if err != nil {
		return err
	}
	// On disk and not in memory: a layer may be several hundred megabytes.
	layer, err := os.CreateTemp("", "layer-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	sum := sha256.New()
	if err := writeLayer(files, io.MultiWriter(layer, sum)); err != nil {
		return err
	}
	size, err := layer.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return spec.writeArchive(out, layer, size, fmt.Sprintf("%x", sum.Sum(nil)))
}

func (s Spec) entrypoint() string {
	if s.Entrypoint != "" {
		return s.Entrypoint
	}
	return "/bin/" + filepath.Base(s.Bins[0])
}

func (s Spec) contents() (map[string]file, error) {
	if s.Tag == "" || len(s.Bins) == 0 {
		return nil, fmt.Errorf("an image needs a tag and at least one program")
	}
	files := map[string]file{"tmp": {mode: 0o1777, dir: true}}
	files["etc/passwd"] = file{mode: 0o644, text: []byte(
		"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")}
	files["etc/group"] = file{mode: 0o644, text: []byte("root:x:0:\nnonroot:x:65532:\n")}
	// Without it glibc asks its own default order, which tries DNS before hosts.
	files["etc/nsswitch.conf"] = file{mode: 0o644, text: []byte("hosts: files dns\n")}
	for _, program := range s.Bins {
		files["bin/"+filepath.Base(program)] = file{mode: 0o755, source: program}
		libraries, err := Libraries(program)
		if err != nil {
			return nil, err
		}
		for inside, outside := range libraries {
			files[strings.TrimPrefix(inside, "/")] = file{mode: 0o755, source: outside}
		}
	}
	for inside, outside := range s.Files {
		info, err := os.Stat(outside)
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		files[strings.TrimPrefix(path.Clean(inside), "/")] = file{mode: mode, source: outside}
	}
	addParents(files)
	return files, nil
}

func addParents(files map[string]file) {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	for _, name := range names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, found := files[dir]; !found {
				files[dir] = file{mode: 0o755, dir: true}
			}
		}
	}
}

func writeLayer(files map[string]file, out io.Writer) error {
	layer := tar.NewWriter(out)
	for _, name := range sortedNames(files) {
		if err := writeFile(layer, name, files[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return layer.Close()
}

// sortedNames puts parents before what is in them, and is always the same.
func sortedNames(files map[string]file) []string {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func writeFile(layer *tar.Writer, name string, entry file) error {
	header := &tar.Header{Name: name, Mode: entry.mode, ModTime: epoch, Format: tar.FormatPAX, Typeflag: tar.TypeReg}
	if entry.dir {
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
		return layer.WriteHeader(header)
	}
	var contents io.Reader = bytes.NewReader(entry.text)
	header.Size = int64(len(entry.text))
	if entry.source != "" {
		source, err := os.Open(entry.source)
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return err
		}
		contents, header.Size = source, info.Size()
	}
	if err := layer.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(layer, contents)
	return err
}

func (s Spec) writeArchive(out io.Writer, layer io.Reader, size int64, digest string) error {
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      epoch.Format(time.RFC3339),
		"config": map[string]any{
			"Entrypoint": []string{s.entrypoint()},
			"User":       s.User,
			"Env":        append([]string{"PATH=/bin"}, s.Env...),
			"WorkingDir": "/",
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]manifestEntry{{
		Config: configName, RepoTags: []string{s.Tag}, Layers: []string{digest + ".tar"},
	}})
	if err != nil {
		return err
	}
	// The manifest first, so that `image load` learns the digest from the head.
	archive := tar.NewWriter(out)
	for _, part := range []struct {
		name string
		size int64
		body io.Reader
	}{
		{"manifest.json", int64(len(manifest)), bytes.NewReader(manifest)},
		{configName, int64(len(config)), bytes.NewReader(config)},
		{digest + ".tar", size, layer},
	} {
		header := &tar.Header{Name: part.name, Mode: 0o644, Size: part.size, ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(archive, part.body); err != nil {
			return err
		}
	}
	return archive.Close()
}

type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}
