package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sluice.dev/e2e/cluster/internal/layout"
)

// api is the administrator's access. This process has to be in the cluster's
// network namespace.
type api struct {
	*kubernetes.Clientset
	dynamic dynamic.Interface
}

func connect(c layout.Cluster) (*api, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	config.Timeout = 10 * time.Second
	config.WarningHandler = rest.NoWarnings{}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dynamic, err := dynamic.NewForConfig(config)
	return &api{clients, dynamic}, err
}

// kinds are those of our manifests. Discovery would tell the same, a round
// trip later.
var kinds = map[string]string{
	"ServiceAccount":                   "serviceaccounts",
	"ConfigMap":                        "configmaps",
	"Service":                          "services",
	"Deployment":                       "deployments",
	"ClusterRole":                      "clusterroles",
	"ClusterRoleBinding":               "clusterrolebindings",
	"CustomResourceDefinition":         "customresourcedefinitions",
	"ValidatingAdmissionPolicy":        "validatingadmissionpolicies",
	"ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// apply makes the objects of a manifest as it says, server-side, and returns
// their names.
func (a *api) apply(ctx context.Context, manifest []byte) ([]string, error) {
	var names []string
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := a.applyOne(ctx, object); err != nil {
			return nil, fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		names = append(names, object.GetName())
	}
}

func (a *api) applyOne(ctx context.Context, object *unstructured.Unstructured) error {
	resource, found := kinds[object.GetKind()]
	if !found {
		return fmt.Errorf("kind %s is not expected here", object.GetKind())
	}
	// What an API server writes at creation stays unset in ours.
	unstructured.RemoveNestedField(object.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(object.Object, "status")
	target := a.dynamic.Resource(object.GroupVersionKind().GroupVersion().WithResource(resource)).
		Namespace(object.GetNamespace())
	options := metav1.ApplyOptions{FieldManager: "sluice-cluster", Force: true}
	for {
		_, err := target.Apply(ctx, object.GetName(), object, options)
		// kube-system and the priority classes appear shortly after readiness.
		if err == nil || !(apierrors.IsNotFound(err) || apierrors.IsForbidden(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (a *api) ready(ctx context.Context) error {
	return a.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (a *api) nodeReady(ctx context.Context, name string) error {
	node, err := a.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" {
			if condition.Status == "True" {
				return nil
			}
			return fmt.Errorf("node not ready: %s", condition.Message)
		}
	}
	return errors.New("the node has not reported yet")
}

func (a *api) dnsReady(ctx context.Context) error {
	deployment, err := a.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if deployment.Status.AvailableReplicas < 1 || deployment.Status.ObservedGeneration < deployment.Generation {
		return errors.New("no DNS pod is available")
	}
	return nil
}

// established tells whether all those CRDs are served.
func (a *api) established(ctx context.Context, names []string) error {
	list, err := a.dynamic.Resource(crdResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	served := map[string]bool{}
	for _, crd := range list.Items {
		conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
		for _, condition := range conditions {
			if fields, ok := condition.(map[string]any); ok && fields["type"] == "Established" && fields["status"] == "True" {
				served[crd.GetName()] = true
			}
		}
	}
	for _, name := range names {
		if !served[name] {
			return fmt.Errorf("CRD %s is not established", name)
		}
	}
	return nil
}
