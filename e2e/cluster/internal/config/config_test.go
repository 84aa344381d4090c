package config

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
	"sluice.dev/e2e/cluster/internal/layout"
)

func cluster(t *testing.T) layout.Cluster {
	t.Helper()
	c, err := layout.New("test")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryTemplateRendersToItsFormat(t *testing.T) {
	entries, err := templates.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		text, err := Render(cluster(t), entry.Name())
		if err != nil {
			t.Errorf("%s: %v", entry.Name(), err)
			continue
		}
		switch {
		case strings.HasSuffix(entry.Name(), ".yaml"):
			for _, document := range strings.Split(string(text), "\n---\n") {
				var value map[string]any
				if err := yaml.Unmarshal([]byte(document), &value); err != nil {
					t.Errorf("%s: %v", entry.Name(), err)
				}
			}
		case strings.HasSuffix(entry.Name(), ".conflist"):
			if !json.Valid(text) {
				t.Errorf("%s is not JSON:\n%s", entry.Name(), text)
			}
		}
	}
}

// Each of these would hide a missing permission of our own programs.
func TestNothingIsAllowedThatAClusterWouldRefuse(t *testing.T) {
	args := strings.Join(apiserver(cluster(t)), " ")
	for _, want := range []string{"--anonymous-auth=false", "--authorization-mode=Node,RBAC", "--audit-policy-file="} {
		if !strings.Contains(args, want) {
			t.Errorf("the API server runs without %s", want)
		}
	}
	kubelet, err := Render(cluster(t), "kubelet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"anonymous: {enabled: false}", "authorization: {mode: Webhook}"} {
		if !strings.Contains(string(kubelet), want) {
			t.Errorf("the kubelet's configuration lacks %s", want)
		}
	}
}

func TestNoFileOfAClusterIsAnothers(t *testing.T) {
	for _, component := range Components(cluster(t)) {
		for _, argument := range component.Args {
			if strings.Contains(argument, "/var/lib/") && !strings.Contains(argument, "/sluice-cluster/test/") {
				t.Errorf("%s: %s", component.Name, argument)
			}
		}
	}
}

func TestNamesThatWouldBreakPathsAreRefused(t *testing.T) {
	for _, name := range []string{"", "..", "a/b", "-a", "A", strings.Repeat("a", 21), "a\n"} {
		if _, err := layout.New(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}
