import { Backoff } from '../core/backoff.ts';
import { sleep } from '../core/clock.ts';
import { isIdentityError } from '../core/errors.ts';
import type { BootstrapContext, BundleConfigMap } from './bootstrap.ts';
import { openKubeClient, type KubeClient } from './kubernetes/client.ts';
import { CONFIG_MAPS } from './kubernetes/resource-types.ts';

// The CA writes it seconds after it first starts; a thousand agents that wait for it must not be a burden meanwhile.
const RETRY = { initialMs: 500, maxMs: 5_000 };

/**
 * The text under a key of a ConfigMap, as soon as there is one: in a new installation agents may start before the CA.
 *
 * @throws IdentityError `permission_denied` when it may not be read, `failed_precondition` when no API server is known; the
 *   signal's reason
 */
export async function awaitConfigMap(from: BundleConfigMap, context: BootstrapContext): Promise<string> {
  const { clock, log, inCluster, signal } = context;
  const { kubeconfigFile } = from;
  using client = await openKubeClient({ clock, log, inCluster, ...(kubeconfigFile === undefined ? {} : { kubeconfigFile }) });
  const backoff = new Backoff(RETRY);
  let told = '';
  for (;;) {
    const { text, why } = await readKey(client, from);
    if (text !== undefined) return text;
    if (why !== told) log.warn({ namespace: from.namespace, configMap: from.name, why }, 'waiting for the bootstrap bundle');
    told = why;
    await sleep(clock, backoff.nextMs(), signal);
  }
}

type Found = { readonly text: string; readonly why: '' } | { readonly text: undefined; readonly why: string };

async function readKey(client: KubeClient, { namespace, name, key }: BundleConfigMap): Promise<Found> {
  try {
    const object = await client.find(CONFIG_MAPS, { namespace, name });
    if (object === undefined) return { text: undefined, why: 'it does not exist yet; the CA makes it' };
    const data: unknown = object['data'];
    // The cast is sound: any object may be asked for a property.
    const text = typeof data === 'object' && data !== null ? (data as Record<string, unknown>)[key] : undefined;
    if (typeof text === 'string' && text.trim() !== '') return { text, why: '' };
    return { text: undefined, why: `it has no key ${key} yet` };
  } catch (error) {
    if (isIdentityError(error) && PASSING.has(error.code)) return { text: undefined, why: error.message };
    throw error;
  }
}

const PASSING: ReadonlySet<string> = new Set(['unavailable', 'deadline_exceeded', 'resource_exhausted', 'aborted']);
