package pki

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"sluice.dev/e2e/cluster/internal/layout"
)

func read(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestEachCertificateIsOfItsOwnAuthorityOnly(t *testing.T) {
	c, dir := layout.Cluster{Name: "test"}, t.TempDir()
	if err := Ensure(c, dir); err != nil {
		t.Fatal(err)
	}
	for _, leaf := range Leaves(c) {
		certificate := read(t, dir, leaf.File)
		for _, authority := range authorities {
			pool := x509.NewCertPool()
			pool.AddCert(read(t, dir, authority))
			_, err := certificate.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			if (err == nil) != (authority == leaf.CA) {
				t.Errorf("%s against %s: %v", leaf.File, authority, err)
			}
		}
		if groups := certificate.Subject.Organization; len(groups) > 0 && groups[0] == "system:masters" && leaf.File != "admin" {
			t.Errorf("%s may do everything", leaf.File)
		}
	}
}

func TestASecondRunKeepsTheKeys(t *testing.T) {
	c, dir := layout.Cluster{Name: "test"}, t.TempDir()
	for range 2 {
		if err := Ensure(c, dir); err != nil {
			t.Fatal(err)
		}
	}
	first := read(t, dir, "ca")
	if err := Ensure(c, dir); err != nil || !first.Equal(read(t, dir, "ca")) {
		t.Fatal("the authority was made anew", err)
	}
}
