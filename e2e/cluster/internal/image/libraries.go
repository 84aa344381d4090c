package image

import (
	"bufio"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Libraries lists what a program needs besides itself, as path in the image ->
// file on this machine: nothing for a static program, its loader and shared
// libraries otherwise. It reads the ELF headers and runs nothing.
func Libraries(program string) (map[string]string, error) {
	interpreter, needed, paths, err := dynamic(program)
	if err != nil {
		return nil, err
	}
	if interpreter == "" && len(needed) == 0 {
		return nil, nil
	}
	search := append(paths, systemPaths()...)
	found := map[string]string{}
	for len(needed) > 0 {
		name := needed[0]
		needed = needed[1:]
		if _, done := found[name]; done {
			continue
		}
		file, err := locate(name, search)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", program, err)
		}
		found[name] = file
		_, more, own, err := dynamic(file)
		if err != nil {
			return nil, err
		}
		needed = append(needed, more...)
		search = append(search, own...)
	}
	return place(interpreter, found), nil
}

// place puts all libraries beside the C library. That folder is compiled into
// the loader, so the image needs neither a loader cache nor a search path.
func place(interpreter string, found map[string]string) map[string]string {
	folder := filepath.Dir(interpreter)
	if libc, ok := found["libc.so.6"]; ok {
		folder = filepath.Dir(libc)
	}
	files := map[string]string{interpreter: interpreter}
	for name, file := range found {
		inside := filepath.Join(folder, name)
		// The loader is a needed library too: keep just its absolute place.
		if name != filepath.Base(interpreter) {
			files[inside] = file
		}
	}
	return files
}

func dynamic(file string) (interpreter string, needed, paths []string, err error) {
	program, err := elf.Open(file)
	if err != nil {
		return "", nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	defer program.Close()
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			text, err := io.ReadAll(segment.Open())
			if err != nil {
				return "", nil, nil, err
			}
			interpreter = strings.TrimRight(string(text), "\x00")
		}
	}
	if needed, err = program.ImportedLibraries(); err != nil {
		return "", nil, nil, err
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, _ := program.DynString(tag)
		for _, value := range values {
			for _, dir := range strings.Split(value, ":") {
				dir = strings.NewReplacer("$ORIGIN", filepath.Dir(file), "${ORIGIN}", filepath.Dir(file)).Replace(dir)
				paths = append(paths, dir)
			}
		}
	}
	return interpreter, needed, paths, nil
}

func locate(name string, search []string) (string, error) {
	for _, dir := range search {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
	}
	return "", fmt.Errorf("library %s not found", name)
}

// systemPaths are the loader's folders: those configured, then the built-in.
func systemPaths() []string {
	var paths []string
	files, _ := filepath.Glob("/etc/ld.so.conf.d/*.conf")
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, "/") {
				paths = append(paths, line)
			}
		}
		file.Close()
	}
	return append(paths, "/lib64", "/usr/lib64", "/lib", "/usr/lib")
}
