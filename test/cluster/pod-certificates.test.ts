// An SVID by projected volume: asked for by a real kubelet, granted by the controller, with no agent in between.
import { createPublicKey, X509Certificate } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Bundle, X509Authority } from '../../spiffe/bundle.ts';
import { decodePem } from '../../spiffe/pem.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { verifyX509Svid } from '../../spiffe/x509-svid.ts';
import type { Cluster } from '../support/kubernetes/cluster.ts';
import { Installation } from '../support/kubernetes/installation.ts';
import { IDLE, podObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';
import { bundleSource } from '../support/test-ca.ts';
import { createTestCsr } from '../support/test-csr.ts';

const SIGNER = 'countersign.dev/svid';
const FOLDER = '/var/run/svid';

describe.skipIf(noCluster !== undefined)(`certificates of pods by volume${lacking}`, () => {
  const name = 'by-volume';
  let cluster: Cluster;
  let image: string;
  let namespace: TestNamespace;
  beforeAll(async () => {
    cluster = await useCluster();
    await Installation.ready(cluster);
    image = await workloadImage();
    namespace = await TestNamespace.create(cluster, name);
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  /** A pod that mounts its SVID and the trust bundle, and no agent's socket. */
  const pod = (podName: string, podCertificate: Readonly<Record<string, unknown>> = {}) => {
    const sources = [
      {
        podCertificate: { signerName: SIGNER, keyType: 'ECDSAP256', credentialBundlePath: 'credentials.pem', ...podCertificate },
      },
      { clusterTrustBundle: { signerName: SIGNER, labelSelector: {}, path: 'bundle.pem' } },
    ];
    return podObject({
      name: podName,
      image,
      command: IDLE,
      container: { volumeMounts: [{ name: 'svid', mountPath: FOLDER, readOnly: true }] },
      spec: { volumes: [{ name: 'svid', projected: { sources } }] },
    });
  };

  const identity = (app: string, spec: Readonly<Record<string, unknown>> = {}) => ({
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'WorkloadIdentity',
    metadata: { name: app },
    spec: { pathTemplate: 'app/{{ .PodMeta.Labels.app }}', podSelector: { matchLabels: { app } }, ...spec },
  });

  const read = (podName: string, file: string): Promise<string> => {
    const script = `process.stdout.write(require('node:fs').readFileSync('${FOLDER}/${file}', 'utf8'))`;
    return namespace.exec(podName, ['/usr/bin/node', '-e', script]);
  };

  /** What is told about a pod. */
  const eventsOf = (podName: string): Promise<string> => {
    const fields = `involvedObject.kind=Pod,involvedObject.name=${podName}`;
    return namespace.kubectl([
      'get',
      'events',
      '--field-selector',
      fields,
      '-o',
      'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}',
    ]);
  };

  it('gives a pod the SVID of its identity, which verifies by the bundle beside it', async () => {
    await namespace.apply(identity('orders'), pod('orders'));
    await namespace.ready('pod/orders');
    const [credentials, bundle] = [await read('orders', 'credentials.pem'), await read('orders', 'bundle.pem')];
    const [key = '', ...certificates] = credentials.split(/(?=-----BEGIN CERTIFICATE-----)/);
    const chain = decodePem(certificates.join(''), 'CERTIFICATE');
    const x509Authorities = decodePem(bundle, 'CERTIFICATE').map((der) => new X509Authority(der));
    const source = bundleSource(new Bundle({ trustDomain: parseTrustDomain('cluster.local'), x509Authorities }));
    const { id, leaf } = verifyX509Svid(chain, source, Date.now());
    expect(id.toString()).toBe(`spiffe://cluster.local/ns/${name}/app/orders`);
    expect(createPublicKey(key).equals(new X509Certificate(leaf.raw).publicKey)).toBe(true);
  });

  it('lets a pod that nothing declares an identity for wait, says so, and gives it its SVID when something does', async () => {
    await namespace.apply(pod('later'));
    await expect.poll(() => eventsOf('later')).toContain('NoIdentity: the podCertificate volume waits: no identity is declared');
    expect(await namespace.read('pod/later', '.status.phase')).toBe('Pending');
    await namespace.apply(identity('later'));
    await namespace.ready('pod/later');
  });

  it('denies what can never be right, with the reason on the pod', async () => {
    await namespace.apply(identity('annotated'), pod('annotated', { userAnnotations: { 'example.org/other': 'x' } }));
    await namespace.apply(identity('short', { ttl: '10m' }), pod('short'));
    await expect.poll(() => eventsOf('annotated')).toContain('reason="InvalidUnverifiedUserAnnotations"');
    await expect.poll(() => eventsOf('short')).toContain('reason="LifetimeTooShort"');
  });

  it('refuses a request by anybody but the kubelet', async () => {
    const spec = {
      signerName: SIGNER,
      podName: 'orders',
      podUID: await namespace.read('pod/orders', '.metadata.uid'),
      serviceAccountName: 'default',
      serviceAccountUID: await namespace.read('serviceaccount/default', '.metadata.uid'),
      nodeName: await namespace.read('pod/orders', '.spec.nodeName'),
      nodeUID: await cluster.kubectl(['get', 'node', '-o', 'jsonpath={.items[0].metadata.uid}']),
      stubPKCS10Request: Buffer.from(createTestCsr({ uris: [], attributes: [] })).toString('base64'),
    };
    const request = {
      apiVersion: 'certificates.k8s.io/v1beta1',
      kind: 'PodCertificateRequest',
      metadata: { name: 'mine' },
      spec,
    };
    await expect(namespace.apply(request)).rejects.toThrow("only the kubelet of the pod's node may ask");
  });
});
