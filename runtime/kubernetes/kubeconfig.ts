import { readFile } from 'node:fs/promises';
import type { Agent, RequestOptions } from 'node:https';

import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { remembered, type AccessMaterial, type ApiServerAccess } from './access.ts';
import { plainKubeconfigAccess } from './plain-kubeconfig.ts';

/** Which kubeconfig, and which of its contexts. */
export interface KubeconfigChoice {
  readonly file: string;
  /** The file's current context unless given. */
  readonly context?: string;
}

/**
 * Access as a kubeconfig file says it: client certificates, tokens, token files, exec plugins, proxies. The library that
 * knows all of these is large, so it is loaded here, and only for a file that needs it.
 *
 * @throws IdentityError `invalid_argument` when the file, the context or its cluster is unusable
 */
export async function kubeconfigAccess({ file, context }: KubeconfigChoice, clock: Clock): Promise<ApiServerAccess> {
  const plain = plainKubeconfigAccess(await parsedIfAny(file), { file, context, clock });
  if (plain !== undefined) return plain;
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  try {
    config.loadFromFile(file);
  } catch (cause) {
    // The library's message may quote the file, which holds keys: only the system's own code is told.
    throw new IdentityError('invalid_argument', `cannot read the kubeconfig ${file}${systemCode(cause)}`, {
      field: 'kubeconfig',
    });
  }
  if (context !== undefined) config.setCurrentContext(context);
  const cluster = config.getCurrentCluster();
  if (cluster === null || !URL.canParse(cluster.server)) {
    const which = context === undefined ? 'its current context' : `the context "${context}"`;
    throw new IdentityError('invalid_argument', `the kubeconfig ${file} has no usable cluster for ${which}`, {
      field: 'kubeconfig',
    });
  }
  const proxied = cluster.proxyUrl !== undefined;
  return {
    url: new URL(cluster.server),
    material: remembered(clock, async () => materialOf(await optionsFrom(config), proxied)),
  };
}

async function parsedIfAny(file: string): Promise<unknown> {
  const { parse } = await import('../yaml.ts');
  try {
    return parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
}

function systemCode(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return typeof code === 'string' ? ` (${code})` : ': it is no valid kubeconfig';
}

async function optionsFrom(config: { applyToHTTPSOptions(options: RequestOptions): Promise<void> }): Promise<RequestOptions> {
  const options: RequestOptions = {};
  try {
    await config.applyToHTTPSOptions(options);
  } catch {
    // No cause: what an exec plugin printed may be a token.
    throw new IdentityError('unauthenticated', 'the credentials of the kubeconfig could not be obtained; try them with kubectl');
  }
  return options;
}

function materialOf(options: RequestOptions, proxied: boolean): AccessMaterial {
  const { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized, auth } = options;
  const given = Object.entries({ ca, cert, key, pfx, passphrase, servername, rejectUnauthorized });
  const basic = auth === undefined || auth === null ? undefined : `Basic ${Buffer.from(auth).toString('base64')}`;
  const authorization = authorizationIn(options) ?? basic;
  return {
    tls: Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null)),
    ...(authorization === undefined ? {} : { authorization }),
    // The cast is sound: the library puts an agent there, never a boolean.
    ...(proxied ? { proxy: options.agent as Agent } : {}),
  };
}

function authorizationIn({ headers }: RequestOptions): string | undefined {
  if (headers === undefined || Array.isArray(headers)) return undefined;
  const value = Object.entries(headers).find(([name]) => name.toLowerCase() === 'authorization')?.[1];
  return typeof value === 'string' ? value : undefined;
}
