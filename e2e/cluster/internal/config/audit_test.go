package config

import (
	"strings"
	"testing"

	auditapi "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Asked of the API server's own loader and evaluator.
func TestTheAuditLogHoldsWhatTheAuditorJudges(t *testing.T) {
	text, err := Render(cluster(t), "audit.yaml")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := policy.LoadPolicyFromBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	evaluator := policy.NewPolicyRuleEvaluator(loaded)
	const operator = "system:serviceaccount:sluice-system:sluice-operator"
	for _, row := range []struct {
		user, verb, resource string
		want                 auditapi.Level
	}{
		{operator, "get", "apps/deployments", auditapi.LevelMetadata},
		{operator, "watch", "sluice.dev/rollouts", auditapi.LevelMetadata},
		{"kubernetes-admin", "get", "apps/deployments", auditapi.LevelNone},
		{operator, "patch", "sluice.dev/rollouts/status", auditapi.LevelRequestResponse},
		{operator, "create", "policy/poddisruptionbudgets", auditapi.LevelRequestResponse},
		{operator, "patch", "coordination.k8s.io/leases", auditapi.LevelMetadata},
		{operator, "create", "events.k8s.io/events", auditapi.LevelMetadata},
		{"kubernetes-admin", "patch", "apps/deployments", auditapi.LevelRequestResponse},
		{"kubernetes-admin", "update", "apps/deployments/status", auditapi.LevelRequestResponse},
		{"kubernetes-admin", "create", "/secrets", auditapi.LevelMetadata},
		{"system:serviceaccount:sluice-system:sluice-proxy-controller", "create", "/secrets", auditapi.LevelMetadata},
		{"system:node:a", "update", "coordination.k8s.io/leases", auditapi.LevelNone},
	} {
		parts := append(strings.SplitN(row.resource, "/", 3), "")
		attributes := authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: row.user}, Verb: row.verb, ResourceRequest: true,
			APIGroup: parts[0], Resource: parts[1], Subresource: parts[2],
		}
		if level := evaluator.EvaluatePolicyRule(attributes).Level; level != row.want {
			t.Errorf("%s %s by %s is at level %s, want %s", row.verb, row.resource, row.user, level, row.want)
		}
	}
}
