/** What the templates are rendered with: one of each kind of field that they can name. */
export const SOURCE = {
  trustDomain: 'example.org',
  clusterName: 'main',
  clusterDomain: 'cluster.local',
  pod: {
    metadata: {
      name: 'web-0',
      namespace: 'shop',
      uid: '8a2f7c1e-0d5b-4c3a-9e6f-1b2c3d4e5f60',
      resourceVersion: '4711',
      generation: 3,
      creationTimestamp: '2026-05-04T03:02:01Z',
      labels: {
        app: 'web',
        'app.kubernetes.io/name': 'web-front',
        tier: 'front',
        empty: '',
        upper: 'ABC',
        zone: 'eu-1',
        number: '42',
        '': 'no key',
      },
      annotations: { note: 'a "quoted" <note> & more', wide: 'grüße, 世界', 'example.org/path': 'a/b c', lines: 'one\ntwo\ttab' },
      finalizers: ['one', 'two'],
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'web', uid: 'o-1', controller: true },
        { apiVersion: 'v1', kind: 'Node', name: 'n', uid: 'o-2' },
      ],
    },
    spec: {
      serviceAccountName: 'shopper',
      nodeName: 'node-1',
      hostname: 'web-0',
      subdomain: 'web',
      restartPolicy: 'Always',
      hostNetwork: false,
      hostPID: true,
      priority: 100,
      terminationGracePeriodSeconds: 30,
      automountServiceAccountToken: false,
      shareProcessNamespace: true,
      priorityClassName: '',
      dnsPolicy: 'ClusterFirst',
      nodeSelector: { disk: 'ssd', arch: 'amd64' },
      securityContext: {
        runAsUser: 1000,
        runAsNonRoot: true,
        supplementalGroups: [1, 2, 3],
        seccompProfile: { type: 'RuntimeDefault' },
      },
      tolerations: [{ key: 'k', operator: 'Exists', effect: 'NoSchedule', tolerationSeconds: 60 }],
      volumes: [
        { name: 'config', configMap: { name: 'web-config', optional: true, defaultMode: 420 } },
        { name: 'scratch', emptyDir: { sizeLimit: '1Gi' } },
      ],
      containers: [
        {
          name: 'web',
          image: 'registry.example.org/web:1.2',
          args: ['-v', '--port=80'],
          env: [
            { name: 'A', value: '1' },
            { name: 'B', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
          ],
          ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }, { containerPort: 9090 }],
          resources: { limits: { cpu: '500m', memory: '1Gi' } },
          livenessProbe: { httpGet: { path: '/live', port: 'http' }, periodSeconds: 5 },
          stdin: true,
        },
        { name: 'side', image: 'side' },
      ],
      initContainers: [],
    },
  },
  node: {
    metadata: { name: 'node-1', uid: 'node-uid-1', labels: { 'topology.kubernetes.io/zone': 'eu-1a', role: 'worker' } },
    spec: { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24', 'fd00::/64'], providerID: 'aws:///eu-1a/i-1', taints: [] },
  },
} as const;

/** Nothing that an API server would leave out when it is empty. */
export const BARE_SOURCE = {
  trustDomain: 'example.org',
  clusterName: '',
  clusterDomain: '',
  pod: { metadata: { name: 'bare' }, spec: {} },
} as const;
