//go:build tools

// Package tools pins helm and kubeconform. Nothing here is compiled; `go build` takes the commands by their import path.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
	_ "helm.sh/helm/v3/cmd/helm"
)
