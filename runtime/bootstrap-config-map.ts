import { Backoff } from '../core/backoff.ts';
import { sleep } from '../core/clock.ts';
import { isIdentityError } from '../core/errors.ts';
import type { BootstrapContext, BundleConfigMap } from './bootstrap.ts';
import { openKubeClient, type KubeClient } from './kubernetes/client.ts';
import type { KubeObject } from './kubernetes/object.ts';
import { CONFIG_MAPS } from './kubernetes/resource-types.ts';
import { watchResource } from './kubernetes/watch.ts';

// While the API server cannot be asked; a thousand agents that start meanwhile must not be a burden when it comes back.
const RETRY = { initialMs: 500, maxMs: 5_000 };

/**
 * The text under a key of a ConfigMap, as soon as there is one: in a new installation agents may start before the CA.
 *
 * @throws IdentityError `permission_denied` when it may not be read, `failed_precondition` when no API server is known; the
 *   signal's reason
 */
export async function awaitConfigMap(from: BundleConfigMap, context: BootstrapContext): Promise<string> {
  const { clock, log, inCluster } = context;
  const { kubeconfigFile } = from;
  using client = await openKubeClient({ clock, log, inCluster, ...(kubeconfigFile === undefined ? {} : { kubeconfigFile }) });
  const reading = { ...context, ...from, client, tell: warnOf(from, context) };
  return (await readPatiently(reading)) ?? (await watchUntilThere(reading));
}

interface Reading extends BootstrapContext, BundleConfigMap {
  readonly client: KubeClient;
  /** Tells why there is still nothing to go by. */
  readonly tell: (why: string) => void;
}

function warnOf({ namespace, name }: BundleConfigMap, { log }: BootstrapContext): (why: string) => void {
  let told = '';
  return (why) => {
    if (why !== told) log.warn({ namespace, configMap: name, why }, 'waiting for the bootstrap bundle');
    told = why;
  };
}

/** What is there now; undefined when nothing is. Most often it is, so that nobody has to watch for it. */
async function readPatiently({ client, namespace, name, key, clock, signal, tell }: Reading): Promise<string | undefined> {
  const backoff = new Backoff(RETRY);
  for (;;) {
    try {
      // By a list, for which the permission is there anyway: a watch begins with one.
      const selection = { namespace, fieldSelector: `metadata.name=${name}` };
      for await (const { items } of client.list(CONFIG_MAPS, selection)) {
        for (const object of items) return textOf(object, key);
      }
      return undefined;
    } catch (error) {
      if (!isIdentityError(error) || !PASSING.has(error.code)) throw error;
      tell(error.message);
    }
    await sleep(clock, backoff.nextMs(), signal);
  }
}

const PASSING: ReadonlySet<string> = new Set(['unavailable', 'deadline_exceeded', 'resource_exhausted', 'aborted']);

async function watchUntilThere({ client, namespace, name, key, clock, log, signal, tell }: Reading): Promise<string> {
  const stop = new AbortController();
  const found = Promise.withResolvers<string>();
  const ends = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  ends.addEventListener('abort', () => found.reject(ends.reason), { once: true });
  const watch = watchResource({
    client,
    type: CONFIG_MAPS,
    namespace,
    fieldSelector: `metadata.name=${name}`,
    trim: (object) => textOf(object, key),
    handler: {
      put: (text) => (text === undefined ? tell(`it has no key ${key} yet`) : found.resolve(text)),
      remove: () => tell('it was deleted; the CA makes it'),
      synced: () => (watch.size === 0 ? tell('it does not exist yet; the CA makes it') : undefined),
    },
    clock,
    log,
    signal: ends,
  });
  try {
    return await found.promise;
  } finally {
    stop.abort();
    await watch.ended;
  }
}

function textOf({ data }: KubeObject & { readonly data?: unknown }, key: string): string | undefined {
  // The cast is sound: any object may be asked for a property.
  const text = typeof data === 'object' && data !== null ? (data as Record<string, unknown>)[key] : undefined;
  return typeof text === 'string' && text.trim() !== '' ? text : undefined;
}
