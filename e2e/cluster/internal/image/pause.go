package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// pauseAMD64 waits for ever. Each pod has one such process to hold its
// namespaces; in this form it costs a page of memory and starts at once, which
// a hundred Go or C programs on a small machine would not.
var pauseAMD64 = []byte{
	// rt_sigaction(SIGCHLD, &ignore, NULL, 8): as process 1 of a pod with a
	// shared process namespace it inherits orphans, and ignored ones need no
	// wait().
	0xb8, 0x0d, 0x00, 0x00, 0x00, // mov eax, 13
	0xbf, 0x11, 0x00, 0x00, 0x00, // mov edi, 17
	0x48, 0x8d, 0x35, 0x13, 0x00, 0x00, 0x00, // lea rsi, [rip + 19]
	0x31, 0xd2, // xor edx, edx
	0x41, 0xba, 0x08, 0x00, 0x00, 0x00, // mov r10d, 8
	0x0f, 0x05, // syscall
	0xb8, 0x22, 0x00, 0x00, 0x00, // again: mov eax, 34 (pause)
	0x0f, 0x05, // syscall
	0xeb, 0xf7, // jmp again
	0x90, 0x90, // padding
	// ignore: SIG_IGN, no flags, no restorer, no mask
	0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
}

// Pause is a complete program for this machine.
func Pause() ([]byte, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("no pause program for %s", runtime.GOARCH)
	}
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(pauseAMD64))
	var program bytes.Buffer
	program.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, field := range []any{
		uint16(2), uint16(62), uint32(1), // executable, x86-64, version
		uint64(base + headers), uint64(64), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), // one segment to load, readable and executable
		uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000),
	} {
		if err := binary.Write(&program, binary.LittleEndian, field); err != nil {
			return nil, err
		}
	}
	program.Write(pauseAMD64)
	return program.Bytes(), nil
}

// BuildProgram writes an image of one program that is in memory.
func BuildProgram(tag, name string, program []byte, user, out string) error {
	dir, err := os.MkdirTemp("", "image-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, program, 0o755); err != nil {
		return err
	}
	return BuildFile(Spec{Tag: tag, Bins: []string{file}, User: user}, out)
}

// BuildFile writes the archive to a file, whole or not at all.
func BuildFile(spec Spec, out string) error {
	temporary, err := os.CreateTemp(filepath.Dir(out), ".image-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	err = Build(spec, temporary)
	if closing := temporary.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), out)
}
