// Package assets holds what build.sh puts into the binary: the Gateway API's
// CRDs, taken from the Go module at the version in go.mod, and the program of
// the cluster's DNS image. Neither is kept in git.
package assets

import (
	"embed"
	"errors"
	"io/fs"

	_ "sigs.k8s.io/gateway-api/pkg/consts" // keeps the module, and so its checksum, in go.mod
)

//go:embed all:generated
var generated embed.FS

// CoreDNS is the DNS server's program.
func CoreDNS() ([]byte, error) {
	program, err := generated.ReadFile("generated/coredns")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("this binary was not built by build.sh: it has no DNS server inside")
	}
	return program, err
}

// GatewayCRDs are the manifests of the standard channel.
func GatewayCRDs() ([][]byte, error) {
	files, err := fs.Glob(generated, "generated/crds/*.yaml")
	if err != nil || len(files) == 0 {
		return nil, errors.New("this binary was not built by build.sh: it has no Gateway API CRDs inside")
	}
	var manifests [][]byte
	for _, file := range files {
		manifest, err := generated.ReadFile(file)
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, manifest)
	}
	return manifests, nil
}
