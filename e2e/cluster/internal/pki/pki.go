// Package pki makes the certificates and keys of a cluster.
//
// Every component has an identity of its own with the groups that Kubernetes
// gives it, so that RBAC is as strict here as on any other cluster. etcd has a
// CA of its own: otherwise a certificate for the API server's clients would
// open the store behind it.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"sluice.dev/e2e/cluster/internal/layout"
)

// Leaf is a certificate to be made.
type Leaf struct {
	File, CA   string
	CommonName string
	Groups     []string
	Hosts      []string // of a server
	Client     bool
}

var authorities = []string{"ca", "etcd-ca", "front-proxy-ca"}

// Leaves are all certificates of a cluster.
func Leaves(c layout.Cluster) []Leaf {
	api := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + layout.DNSDomain, "localhost",
		"127.0.0.1", layout.APIService, layout.NodeIP,
	}
	node := c.NodeName()
	return []Leaf{
		{File: "etcd", CA: "etcd-ca", CommonName: "etcd", Hosts: []string{"localhost", "127.0.0.1"}, Client: true},
		{File: "apiserver-etcd-client", CA: "etcd-ca", CommonName: "kube-apiserver", Client: true},
		{File: "apiserver", CA: "ca", CommonName: "kube-apiserver", Hosts: api},
		{File: "apiserver-kubelet-client", CA: "ca", CommonName: "kube-apiserver-kubelet-client", Client: true},
		{File: "front-proxy-client", CA: "front-proxy-ca", CommonName: "front-proxy-client", Client: true},
		{File: "controller-manager", CA: "ca", CommonName: "system:kube-controller-manager", Client: true},
		{File: "scheduler", CA: "ca", CommonName: "system:kube-scheduler", Client: true},
		{File: "kube-proxy", CA: "ca", CommonName: "system:kube-proxy", Client: true},
		{File: "kubelet", CA: "ca", CommonName: "system:node:" + node, Groups: []string{"system:nodes"}, Client: true},
		{File: "kubelet-server", CA: "ca", CommonName: "system:node:" + node, Groups: []string{"system:nodes"},
			Hosts: []string{node, layout.NodeIP, "127.0.0.1"}},
		{File: "admin", CA: "ca", CommonName: "sluice-admin", Groups: []string{"system:masters"}, Client: true},
	}
}

// Ensure writes what is missing into dir. The last file tells that all are
// there: a start that was cut short begins again.
func Ensure(c layout.Cluster, dir string) error {
	done := filepath.Join(dir, "service-account.key")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	type pair struct {
		certificate *x509.Certificate
		key         *ecdsa.PrivateKey
	}
	made := map[string]pair{}
	for _, name := range authorities {
		certificate, key, err := authority(dir, name)
		if err != nil {
			return err
		}
		made[name] = pair{certificate, key}
	}
	for _, leaf := range Leaves(c) {
		signer := made[leaf.CA]
		if err := issue(dir, leaf, signer.certificate, signer.key); err != nil {
			return err
		}
	}
	return serviceAccountKey(dir)
}

func authority(dir, name string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	template := base(name, nil)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return template, key, write(dir, name, template, template, key, key)
}

func issue(dir string, leaf Leaf, ca *x509.Certificate, caKey *ecdsa.PrivateKey) error {
	template := base(leaf.CommonName, leaf.Groups)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if leaf.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if len(leaf.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range leaf.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return write(dir, leaf.File, template, ca, key, caKey)
}

func base(commonName string, groups []string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName, Organization: groups},
		// An hour of grace: virtual machines' clocks are set back at times.
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().AddDate(1, 0, 0),
	}
}

func write(dir, name string, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, name+".key"), key)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func serviceAccountKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "service-account.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "service-account.key"), key)
}

// Kubeconfig renders a client configuration for the identity of that file,
// with everything inside so that it can be copied.
func Kubeconfig(dir, identity string) ([]byte, error) {
	ca, err1 := os.ReadFile(filepath.Join(dir, "ca.crt"))
	certificate, err2 := os.ReadFile(filepath.Join(dir, identity+".crt"))
	key, err3 := os.ReadFile(filepath.Join(dir, identity+".key"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, kubeconfig, b64(ca), layout.APIServer, b64(certificate), b64(key)), nil
}
