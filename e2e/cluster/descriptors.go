package main

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// inherit makes the file stay open in the program that this one becomes, and
// returns its number there.
func inherit(file *os.File) (string, error) {
	number, err := unix.Dup(int(file.Fd())) // without close-on-exec
	return strconv.Itoa(number), err
}

func disinherit(number string) error {
	descriptor, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	unix.CloseOnExec(descriptor)
	return nil
}

func become(program string, args, env []string) error {
	return syscall.Exec(program, args, env)
}
