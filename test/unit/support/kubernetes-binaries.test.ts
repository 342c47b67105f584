import { expect, test } from 'vitest';

import { goModFor } from '../../support/kubernetes/binaries.ts';

const OWN = `module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

require (
	github.com/google/uuid v1.6.0
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.140.0
	k8s.io/kube-openapi v0.0.0-20260127142750-a19766b6e2d4
	k8s.io/utils v0.0.0-20260108192941-914a6e750570
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/sample-cli-plugin => ./staging/src/k8s.io/sample-cli-plugin
)
`;

test('the module that builds Kubernetes replaces its parts, and nothing else, with those published for its version', () => {
  expect(goModFor('v1.36.3', OWN).split('\n')).toEqual([
    'module countersign.dev/kubernetes',
    'go 1.26.0',
    'godebug default=go1.26',
    'require k8s.io/kubernetes v1.36.3',
    'replace k8s.io/api => k8s.io/api v0.36.3',
    'replace k8s.io/sample-cli-plugin => k8s.io/sample-cli-plugin v0.36.3',
    '',
  ]);
});
