package pki

import "encoding/base64"

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: sluice
  cluster:
    certificate-authority-data: %s
    server: %s
users:
- name: user
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: sluice
  context: {cluster: sluice, user: user}
current-context: sluice
`

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
