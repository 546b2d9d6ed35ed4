#!/usr/bin/env bash
# Holds the manifests to Kubernetes' own schemas, of the oldest version that they promise to work with and of the
# newest one known.
set -euo pipefail
cd "$(dirname "$0")/../.."

validate=$(packaging/fetch-python.sh kubernetes-validate)
for version in 1.29 1.37; do
  "$validate" --strict --quiet --kubernetes-version "$version" packaging/kubernetes/*.yaml
done
echo "the Kubernetes manifests fit 1.29 and 1.37"
