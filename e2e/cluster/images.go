package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"sluice.dev/e2e/cluster/internal/cluster"
	"sluice.dev/e2e/cluster/internal/image"
	"sluice.dev/e2e/cluster/internal/layout"
)

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func images(c layout.Cluster, args []string) error {
	if len(args) == 0 {
		return flag.ErrHelp
	}
	switch args[0] {
	case "build":
		spec, out, err := imageFlags(args[1:])
		if err != nil {
			return err
		}
		if out == "" {
			return errors.New("image build needs -o out.tar")
		}
		return image.BuildFile(spec, out)
	case "ensure":
		spec, _, err := imageFlags(args[1:])
		if err != nil {
			return err
		}
		return locked(c, func() error {
			loaded, err := image.Ensure(c, spec)
			return report(spec.Tag, loaded, err)
		})
	case "load":
		return locked(c, func() error {
			for _, archive := range args[1:] {
				loaded, err := image.Load(c, archive)
				if err := report(archive, loaded, err); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return flag.ErrHelp
}

// locked keeps two loads of the same image, or a load and a down, apart.
func locked(c layout.Cluster, change func() error) error {
	if !cluster.Exists(c) {
		return fmt.Errorf("cluster %q is not up", c.Name)
	}
	lock, err := cluster.Lock(c)
	if err != nil {
		return err
	}
	defer lock.Close()
	return change()
}

func report(what string, loaded bool, err error) error {
	if err != nil {
		return err
	}
	word := "unchanged"
	if loaded {
		word = "loaded"
	}
	fmt.Printf("%s %s\n", word, what)
	return nil
}

func imageFlags(args []string) (image.Spec, string, error) {
	var bins, files, env list
	var spec image.Spec
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&spec.Tag, "tag", "", "name and tag of the image")
	flags.Var(&bins, "bin", "a program, put into /bin")
	flags.Var(&files, "file", "INSIDE=PATH, any other file")
	flags.Var(&env, "env", "NAME=VALUE")
	flags.StringVar(&spec.Entrypoint, "entrypoint", "", "default: the first program")
	flags.StringVar(&spec.User, "user", "65532", "user number")
	out := flags.String("o", "", "the archive to write")
	if err := flags.Parse(args); err != nil {
		return spec, "", err
	}
	if flags.NArg() > 0 {
		return spec, "", fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	spec.Bins, spec.Env, spec.Files = bins, env, map[string]string{}
	for _, pair := range files {
		inside, outside, found := strings.Cut(pair, "=")
		if !found {
			return spec, "", fmt.Errorf("--file %s: want INSIDE=PATH", pair)
		}
		spec.Files[inside] = outside
	}
	return spec, *out, nil
}
