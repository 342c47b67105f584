import { expect, test } from 'vitest';

import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { EVERYTHING } from '../../../../controller/identity/trim.ts';
import { nodeRecord, podRecord } from '../../../../controller/sources/records.ts';
import { parseTemplate } from '../../../../controller/template/template.ts';
import { parseClusterWorkloadIdentity } from '../../../../crds/cluster-workload-identity.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';

// What the signer of pod certificates rests on: without a wish of the pod, its certificate is that of the oldest resource.
test('the entries of a pod are told with the oldest declaration first, whatever selects it', () => {
  const index = new IdentityIndex({
    trustDomain: parseTrustDomain('example.org'),
    clusterName: 'main',
    clusterDomain: 'cluster.local',
    parentIdTemplate: parseTemplate('spiffe://{{ .TrustDomain }}/spire/agent/{{ .NodeMeta.UID }}', 'parentIdTemplate'),
    className: '',
    watchClassless: true,
    ignoreNamespaces: [],
    namespacePath: (namespace) => `/ns/${namespace}`,
    allowAdminIdentities: false,
    declaresWorkloads: false,
  });
  index.putNode('n1', nodeRecord({ metadata: { name: 'n1', uid: 'node-1' } }, EVERYTHING));
  index.putNamespace('shop', { name: 'shop', labels: {} });
  const metadata = { namespace: 'shop', name: 'web', uid: 'pod-1', labels: { app: 'web' } };
  index.putPod('shop/web', podRecord({ metadata, spec: { nodeName: 'n1' } }, EVERYTHING));
  const declare = (name: string, day: number, podSelector: object): void => {
    const meta = { name, uid: name, creationTimestamp: `2026-01-0${day}T00:00:00Z` };
    const spec = { spiffeIDTemplate: `spiffe://example.org/${name}`, ...podSelector };
    index.putDeclaration(parseClusterWorkloadIdentity({ metadata: meta, spec }));
  };
  declare('third', 3, {});
  declare('first', 1, { podSelector: { matchLabels: { app: 'web' } } });
  declare('second', 2, {});
  index.settle();
  expect(index.entriesOfPod('pod-1').map(({ declaredBy }) => declaredBy.name)).toEqual(['first', 'second', 'third']);
});
