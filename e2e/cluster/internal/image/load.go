package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"sluice.dev/e2e/cluster/internal/layout"
)

// Load imports an archive into the cluster's runtime, unless every tag in it
// already names the same contents there. It reports whether it imported.
func Load(c layout.Cluster, archive string) (bool, error) {
	entries, err := readManifest(archive)
	if err != nil {
		return false, fmt.Errorf("%s: %w", archive, err)
	}
	if allPresent(c, entries) {
		return false, nil
	}
	if out, err := ctr(c, "images", "import", archive).CombinedOutput(); err != nil {
		return false, fmt.Errorf("import %s: %w: %s", archive, err, out)
	}
	return true, remember(c, entries)
}

func ctr(c layout.Cluster, args ...string) *exec.Cmd {
	return exec.Command("ctr", append([]string{"--address", c.Containerd(), "--namespace", "k8s.io"}, args...)...)
}

// readManifest finds the manifest wherever in the archive it is: other tools
// put it last.
func readManifest(archive string) ([]manifestEntry, error) {
	file, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	contents := tar.NewReader(file)
	for {
		header, err := contents.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("no manifest.json: not an archive as `image build` or `docker save` writes it")
		}
		if err != nil {
			return nil, err
		}
		if header.Name != "manifest.json" {
			continue
		}
		var entries []manifestEntry
		return entries, json.NewDecoder(contents).Decode(&entries)
	}
}

// allPresent asks our own record for the contents, which the config's digest
// names, and the runtime for the tag: the runtime's digest is of a manifest
// that it makes up while importing, so it cannot be compared.
func allPresent(c layout.Cluster, entries []manifestEntry) bool {
	for _, entry := range entries {
		if len(entry.RepoTags) == 0 {
			return false
		}
		for _, tag := range entry.RepoTags {
			config, err := os.ReadFile(recordFile(c, tag))
			if err != nil || string(config) != entry.Config || !present(c, tag) {
				return false
			}
		}
	}
	return len(entries) > 0
}

func present(c layout.Cluster, tag string) bool {
	name, err := reference.ParseDockerRef(tag)
	if err != nil {
		return false
	}
	out, err := ctr(c, "images", "list", "--quiet", "name=="+name.String()).Output()
	return err == nil && strings.TrimSpace(string(out)) != ""
}

func remember(c layout.Cluster, entries []manifestEntry) error {
	if err := os.MkdirAll(c.State("images"), 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		for _, tag := range entry.RepoTags {
			if err := os.WriteFile(recordFile(c, tag), []byte(entry.Config), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func recordFile(c layout.Cluster, tag string) string {
	return filepath.Join(c.State("images"), strings.NewReplacer("/", "_", ":", "_").Replace(tag))
}

// Ensure builds and loads an image unless the programs in it are unchanged.
func Ensure(c layout.Cluster, spec Spec) (bool, error) {
	inputs, err := spec.fingerprint()
	if err != nil {
		return false, err
	}
	record := recordFile(c, spec.Tag) + ".inputs"
	if known, err := os.ReadFile(record); err == nil && string(known) == inputs && present(c, spec.Tag) {
		return false, nil
	}
	if err := os.MkdirAll(c.State("images"), 0o755); err != nil {
		return false, err
	}
	archive := recordFile(c, spec.Tag) + ".tar"
	defer os.Remove(archive)
	if err := BuildFile(spec, archive); err != nil {
		return false, err
	}
	loaded, err := Load(c, archive)
	if err != nil {
		return false, err
	}
	return loaded, os.WriteFile(record, []byte(inputs), 0o644)
}

// fingerprint is of the inputs' names, sizes and times: reading the programs
// to hash them would take about as long as building the image.
func (s Spec) fingerprint() (string, error) {
	text := fmt.Sprintf("%q %q %q %q\n", s.Tag, s.entrypoint(), s.User, s.Env)
	files, err := s.contents()
	if err != nil {
		return "", err
	}
	for _, name := range sortedNames(files) {
		if source := files[name].source; source != "" {
			info, err := os.Stat(source)
			if err != nil {
				return "", err
			}
			text += fmt.Sprintf("%q %q %d %d\n", name, source, info.Size(), info.ModTime().UnixNano())
		}
	}
	return text, nil
}

// Ping tells whether the cluster's runtime answers.
func Ping(c layout.Cluster) error {
	if _, err := os.Stat(c.Containerd()); err != nil {
		return err
	}
	out, err := ctr(c, "--connect-timeout", "2s", "version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("containerd does not answer: %s", out)
	}
	return nil
}
