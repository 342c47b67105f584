import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { remembered, type AccessMaterial, type ApiServerAccess } from './access.ts';
import { isRecord } from './errors.ts';

/** What may be in a cluster and a user of a kubeconfig that is read here; anything else is left to the library. */
const CLUSTER_KEYS = ['server', 'certificate-authority', 'certificate-authority-data', 'tls-server-name', 'extensions'];
const USER_KEYS = ['client-certificate', 'client-certificate-data', 'client-key', 'client-key-data', 'token', 'tokenFile'];

type Mapping = Readonly<Record<string, unknown>>;

/**
 * Access as a kubeconfig says it that holds certificates or a token and nothing that would need a program or a proxy: what
 * scripts and clusters of one node write. The library that knows everything costs 0.7 s and 84 MB, so it is spared.
 *
 * @returns undefined when there is anything else in it, or anything wrong with it
 */
export function plainKubeconfigAccess(
  config: unknown,
  place: { readonly file: string; readonly context: string | undefined; readonly clock: Clock },
): ApiServerAccess | undefined {
  const { file, context: given, clock } = place;
  const root = isRecord(config) ? config : {};
  const context = named(root['contexts'], given ?? root['current-context'], 'context');
  const cluster = named(root['clusters'], context?.['cluster'], 'cluster');
  const user = named(root['users'], context?.['user'], 'user');
  if (cluster === undefined || user === undefined || !isPlain(cluster, CLUSTER_KEYS) || !isPlain(user, USER_KEYS))
    return undefined;
  const server = cluster['server'];
  if (typeof server !== 'string' || !URL.canParse(server) || !server.startsWith('https:')) return undefined;
  const read = async (): Promise<AccessMaterial> => {
    try {
      return await readMaterial(cluster, user, dirname(file));
    } catch (cause) {
      throw new IdentityError('unauthenticated', `cannot read a certificate, key or token that the kubeconfig ${file} names`, {
        cause,
      });
    }
  };
  return { url: new URL(server), material: remembered(clock, read) };
}

function named(list: unknown, name: unknown, what: string): Mapping | undefined {
  if (!Array.isArray(list) || typeof name !== 'string') return undefined;
  const found: unknown = list.find((each: unknown) => isRecord(each) && each['name'] === name);
  const value = isRecord(found) ? found[what] : undefined;
  return isRecord(value) ? value : undefined;
}

function isPlain(value: Mapping, keys: readonly string[]): boolean {
  return Object.entries(value).every(([key, each]) => keys.includes(key) && (typeof each === 'string' || key === 'extensions'));
}

async function readMaterial(cluster: Mapping, user: Mapping, folder: string): Promise<AccessMaterial> {
  const [ca, cert, key] = await Promise.all([
    pemOf(cluster, 'certificate-authority', folder),
    pemOf(user, 'client-certificate', folder),
    pemOf(user, 'client-key', folder),
  ]);
  const servername = text(cluster, 'tls-server-name');
  const tokenFile = text(user, 'tokenFile');
  const token = tokenFile === undefined ? text(user, 'token') : (await readFile(resolve(folder, tokenFile), 'utf8')).trim();
  const tls = Object.entries({ ca, cert, key, servername }).filter(([, value]) => value !== undefined);
  return { tls: Object.fromEntries(tls), ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
}

/** What is given in the file itself goes before the name of another. */
async function pemOf(from: Mapping, name: string, folder: string): Promise<string | undefined> {
  const data = text(from, `${name}-data`);
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
  const file = text(from, name);
  return file === undefined ? undefined : readFile(resolve(folder, file), 'utf8');
}

function text(from: Mapping, name: string): string | undefined {
  const value = from[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
