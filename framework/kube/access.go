package kube

import (
	"context"
	"fmt"
	"strings"

	authv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// May asks the API server whether this user may do something.
func May(ctx context.Context, cs kubernetes.Interface, what authv1.ResourceAttributes) (bool, error) {
	r := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	got, err := cs.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, r, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask the API server what this user may do: %w", err)
	}
	return got.Status.Allowed, nil
}

// Permission is what May asks for in words, as "VERB GROUP/RESOURCE NAME in namespace NAMESPACE".
func Permission(a authv1.ResourceAttributes) string {
	what := strings.TrimPrefix(a.Group+"/"+a.Resource, "/")
	if a.Subresource != "" {
		what += "/" + a.Subresource
	}
	if a.Name != "" && a.Name != a.Namespace { // a namespace is in itself
		what += " " + a.Name
	}
	where := "in the whole cluster"
	if a.Namespace != "" {
		where = "in namespace " + a.Namespace
	}
	return fmt.Sprintf("%s %s %s", a.Verb, what, where)
}
