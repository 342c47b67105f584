import { writeFileSync } from 'node:fs';

import type { KeyPairPem } from './pki.ts';

/** Who a kubeconfig file speaks for. */
export type KubeconfigUser = KeyPairPem | { readonly token: string };

/** Writes a kubeconfig file of one cluster and one user, readable by its owner only. @returns its path */
export function writeKubeconfig(path: string, url: string, caPem: string, user: KubeconfigUser): string {
  const credentials =
    'token' in user
      ? { token: user.token }
      : { 'client-certificate-data': base64(user.certificate), 'client-key-data': base64(user.key) };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server: url, 'certificate-authority-data': base64(caPem) } }],
    users: [{ name: 'test', user: credentials }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  };
  // JSON is YAML.
  writeFileSync(path, JSON.stringify(config, null, 2), { mode: 0o600 });
  return path;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
