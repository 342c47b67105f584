import { readFile } from 'node:fs/promises';
import type { Agent } from 'node:http';
import type { ConnectionOptions } from 'node:tls';

import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';

/** What a connection to the API server is made with, and what a request proves itself with. */
export interface AccessMaterial {
  readonly tls: Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'servername' | 'rejectUnauthorized'>;
  /** Value of the `authorization` header. */
  readonly authorization?: string;
  /** Makes the connections instead, where a kubeconfig names a proxy. */
  readonly proxy?: Agent;
}

/** Where the API server is, and who we are there. */
export interface ApiServerAccess {
  readonly url: URL;
  /**
   * The material for the next request. `refused` after a 401: whatever is remembered is read anew.
   *
   * @throws IdentityError `unavailable` or `unauthenticated` when there is none
   */
  material(refused: boolean): Promise<AccessMaterial>;
}

/** How a process in a pod finds its API server. */
export interface InClusterEnvironment {
  readonly host: string;
  readonly port: string;
  /** Folder with `token` and `ca.crt`; the usual one unless given. */
  readonly folder?: string;
}

const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';
/** How long a token and CA file are taken as read; the kubelet renews a token at four fifths of its life. */
const REREAD_AFTER_MS = 10_000;

/** Finds the in-cluster environment in a process's variables; undefined outside a cluster. Called by `main.ts` alone. */
export function inClusterEnvironment(env: Readonly<Record<string, string | undefined>>): InClusterEnvironment | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  return host === undefined || host === '' ? undefined : { host, port };
}

/** Access by the pod's own service account: its token and CA files are read again as they are renewed. */
export function inClusterAccess({ host, port, folder }: InClusterEnvironment, clock: Clock): ApiServerAccess {
  const from = folder ?? SERVICE_ACCOUNT_FOLDER;
  return {
    url: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    material: remembered(clock, () => readServiceAccount(from)),
  };
}

/** Remembers what was read for a few seconds, unless it was refused. */
export function remembered(clock: Clock, read: () => Promise<AccessMaterial>): ApiServerAccess['material'] {
  let known: { readonly material: Promise<AccessMaterial>; readonly readAtMs: number } | undefined;
  return (refused) => {
    if (known === undefined || refused || clock.monotonicMs() - known.readAtMs >= REREAD_AFTER_MS) {
      const material = read();
      known = { material, readAtMs: clock.monotonicMs() };
      material.catch(() => {
        if (known?.material === material) known = undefined;
      });
    }
    return known.material;
  };
}

async function readServiceAccount(folder: string): Promise<AccessMaterial> {
  try {
    const [token, ca] = await Promise.all([readFile(`${folder}/token`, 'utf8'), readFile(`${folder}/ca.crt`, 'utf8')]);
    return { tls: { ca }, authorization: `Bearer ${token.trim()}` };
  } catch (cause) {
    throw new IdentityError(
      'unauthenticated',
      `cannot read the service account's token and ca.crt in ${folder}; mount them (automountServiceAccountToken) or name a kubeconfig`,
      { cause },
    );
  }
}
