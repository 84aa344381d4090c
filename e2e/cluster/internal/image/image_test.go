package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func pauseFile(t *testing.T) string {
	t.Helper()
	program, err := Pause()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheSameInputsMakeTheSameBytes(t *testing.T) {
	file := pauseFile(t)
	spec := Spec{Tag: "a:1", Bins: []string{file}, User: "65532", Files: map[string]string{"/etc/x": file}}
	var first, second bytes.Buffer
	if err := Build(spec, &first); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := Build(spec, &second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Fatal("two builds differ")
	}
}

func TestArchiveHoldsProgramAndUser(t *testing.T) {
	var archive bytes.Buffer
	if err := Build(Spec{Tag: "a:1", Bins: []string{pauseFile(t)}, User: "65532"}, &archive); err != nil {
		t.Fatal(err)
	}
	parts := entries(t, archive.Bytes())
	var manifest []manifestEntry
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		} `json:"config"`
	}
	if err := json.Unmarshal(parts[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532" || config.Config.Entrypoint[0] != "/bin/pause" {
		t.Fatalf("config %+v", config)
	}
	layer := entries(t, parts[manifest[0].Layers[0]])
	for _, name := range []string{"bin/pause", "etc/passwd", "etc/nsswitch.conf", "tmp/"} {
		if _, found := layer[name]; !found {
			t.Errorf("%s is missing from the layer", name)
		}
	}
}

func entries(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for contents := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := contents.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if found[header.Name], err = io.ReadAll(contents); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPauseWaitsUntilKilled(t *testing.T) {
	command := exec.Command(pauseFile(t))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case err := <-ended:
		t.Fatal("ended by itself:", err)
	case <-time.After(200 * time.Millisecond):
	}
	_ = command.Process.Signal(syscall.SIGKILL)
	<-ended
}

func TestADynamicProgramBringsItsLoader(t *testing.T) {
	libraries, err := Libraries("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if len(libraries) == 0 {
		t.Fatal("the shell is static here: name a program that is not")
	}
	var loader, libc bool
	for name := range libraries {
		loader = loader || filepath.Base(name)[:3] == "ld-"
		libc = libc || filepath.Base(name) == "libc.so.6"
	}
	if !loader || !libc {
		t.Fatalf("incomplete: %v", libraries)
	}
}
