import type { IncomingMessage } from 'node:http';

import type { Clock } from '../../core/clock.ts';
import { sleep } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../log.ts';
import { inClusterAccess, type ApiServerAccess, type InClusterEnvironment } from './access.ts';
import { chunksOf, parseAnswer, parseIfJson, readText } from './body.ts';
import { withDeadline } from './deadline.ts';
import { errorOf, isRecord } from './errors.ts';
import { LineSplitter, ListSplitter } from './json-stream.ts';
import type { KubeMetrics } from './metrics.ts';
import type { KubeObject, ObjectName } from './object.ts';
import { apiVersionOf, collectionPath, groupVersionPath, objectPath, type ResourceType } from './resource-types.ts';
import { Transport } from './transport.ts';

/** What {@link openKubeClient} needs. Without a kubeconfig the in-cluster environment must be given. */
export interface OpenKubeClientOptions {
  readonly kubeconfigFile?: string;
  /** A context of the kubeconfig; its current one unless given. */
  readonly context?: string;
  /** Where the API server of this pod is: `inClusterEnvironment(process.env)`, read by `main.ts`. */
  readonly inCluster?: InClusterEnvironment | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: KubeMetrics;
  /** Sent as `user-agent`, such as `countersign-controller/0.1.0`. */
  readonly userAgent?: string;
}

/** What {@link KubeClient} needs. */
export interface KubeClientOptions {
  readonly access: ApiServerAccess;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: KubeMetrics;
  readonly userAgent?: string;
}

/** What every call accepts. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  /** How long the call may take, its answer included; 30 s unless given. */
  readonly timeoutMs?: number;
}

/** Which objects of a type a list or watch is about. */
export interface Selection {
  /** All namespaces unless given. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

/** One page of a list. */
export interface ListPage<T> {
  readonly items: readonly T[];
  /** The version that the whole list is of. */
  readonly resourceVersion: string;
}

/** One event of a watch as the server sent it. */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: KubeObject;
}

/** How a field manager applies what it owns. */
export interface ApplyOptions extends CallOptions {
  readonly fieldManager: string;
  /** Takes fields over from other managers instead of failing with `aborted`. */
  readonly force?: boolean;
  readonly subresource?: string;
}

/** What must hold for a delete to happen; else it fails with `aborted`. */
export interface DeleteOptions extends CallOptions {
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number;
}

interface Ask {
  readonly method: string;
  readonly path: string;
  /** For errors and metrics, such as `list` and `pods`. */
  readonly verb: string;
  readonly resource: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly contentType?: string;
  readonly body?: unknown;
  readonly watch?: boolean;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** A page of a list may take longer than a single object. */
const PAGE_TIMEOUT_MS = 60_000;
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const DEFAULT_PAGE_SIZE = 500;
/** How often a call that the server put off (429, 503 with a time) is tried again within its time. */
const MAX_PUT_OFF = 5;
const PATCH_TYPES = { merge: 'application/merge-patch+json', json: 'application/json-patch+json' } as const;

/**
 * Opens a client for the API server that a kubeconfig file names, or for that of the pod's own cluster.
 *
 * @throws IdentityError `invalid_argument` when the kubeconfig is unusable, `failed_precondition` when there is neither
 * @example
 * using client = await openKubeClient({ inCluster: inClusterEnvironment(env), clock, log });
 * const node = await client.get(NODES, { name: 'worker-1' });
 */
export async function openKubeClient(options: OpenKubeClientOptions): Promise<KubeClient> {
  return new KubeClient({ ...options, access: await accessFor(options) });
}

async function accessFor({ kubeconfigFile, context, inCluster, clock }: OpenKubeClientOptions): Promise<ApiServerAccess> {
  if (kubeconfigFile !== undefined) {
    const { kubeconfigAccess } = await import('./kubeconfig.ts');
    return kubeconfigAccess({ file: kubeconfigFile, ...(context === undefined ? {} : { context }) }, clock);
  }
  if (inCluster !== undefined) return inClusterAccess(inCluster, clock);
  throw new IdentityError('failed_precondition', 'no API server is known: name a kubeconfig, or run in a pod of the cluster');
}

/**
 * The Kubernetes API over kept connections: JSON in, JSON out. Failures are IdentityErrors with the server's own message
 * ({@link errorOf}); a call that the server puts off for a while waits for it within its own time.
 */
export class KubeClient implements Disposable {
  readonly #options: KubeClientOptions;
  readonly #transport: Transport;

  constructor(options: KubeClientOptions) {
    this.#options = options;
    const { access, clock, userAgent = 'countersign' } = options;
    this.#transport = new Transport({ access, clock, userAgent });
  }

  /** One object. @throws IdentityError `not_found` */
  get<T extends KubeObject = KubeObject>(
    type: ResourceType,
    name: ObjectName,
    options: CallOptions & { readonly subresource?: string } = {},
  ): Promise<T> {
    const path = objectPath(type, name, options.subresource);
    return this.#object<T>({ method: 'GET', path, verb: 'get', resource: type.plural }, options);
  }

  /** One object, or undefined when there is none. */
  async find<T extends KubeObject = KubeObject>(
    type: ResourceType,
    name: ObjectName,
    options: CallOptions = {},
  ): Promise<T | undefined> {
    try {
      return await this.get<T>(type, name, options);
    } catch (error) {
      if (isIdentityError(error, 'not_found')) return undefined;
      throw error;
    }
  }

  /** A list in pages, all of one version. @throws IdentityError `out_of_range` when that version expired meanwhile */
  async *list<T extends KubeObject = KubeObject>(
    type: ResourceType,
    options: Selection & CallOptions & { readonly pageSize?: number } = {},
  ): AsyncGenerator<ListPage<T>, void, undefined> {
    let next: string | undefined;
    do {
      const items: T[] = [];
      // The cast is sound as far as the caller knows what objects of this type are.
      const page = await this.listPage(type, { ...options, continue: next }, (object) => items.push(object as T));
      yield { items, resourceVersion: page.resourceVersion };
      next = page.continue;
    } while (next !== undefined);
  }

  /** One page of a list, object by object as it arrives: nothing of the page is kept. */
  async listPage(
    type: ResourceType,
    options: Selection & CallOptions & { readonly pageSize?: number; readonly continue?: string | undefined },
    each: (object: KubeObject) => void,
  ): Promise<{ readonly resourceVersion: string; readonly continue: string | undefined }> {
    const { labelSelector, fieldSelector, namespace, pageSize: limit = DEFAULT_PAGE_SIZE } = options;
    const query = { labelSelector, fieldSelector, limit, continue: options.continue };
    const ask = { method: 'GET', path: collectionPath(type, namespace), verb: 'list', resource: type.plural, query };
    return this.#within(ask, { timeoutMs: PAGE_TIMEOUT_MS, ...options }, async (signal) => {
      const response = await this.#send(ask, signal);
      const splitter = new ListSplitter();
      for await (const chunk of chunksOf(response, signal)) {
        for (const text of splitter.push(chunk)) each(listedObject(parseAnswer(text, ask.verb), type));
      }
      return listMetadata(parseAnswer(splitter.end(), ask.verb));
    });
  }

  /**
   * The events after a version, until the server ends the stream or the signal aborts. Most callers want `watchResource`.
   *
   * @throws IdentityError `out_of_range` when the version is too old
   */
  async *watch(
    type: ResourceType,
    options: Selection & {
      readonly resourceVersion: string;
      readonly timeoutSeconds: number;
      readonly signal: AbortSignal;
      /** Called when the server has accepted the watch, and with each chunk that arrives. */
      readonly alive?: () => void;
    },
  ): AsyncGenerator<WatchEvent, void, undefined> {
    const { labelSelector, fieldSelector, namespace, resourceVersion, timeoutSeconds, signal, alive } = options;
    const query = { labelSelector, fieldSelector, resourceVersion, timeoutSeconds, watch: true, allowWatchBookmarks: true };
    const path = collectionPath(type, namespace);
    const ask = { method: 'GET', path, verb: 'watch', resource: type.plural, query, watch: true };
    const response = await this.#send(ask, signal);
    const splitter = new LineSplitter();
    alive?.();
    try {
      for await (const chunk of chunksOf(response, signal)) {
        alive?.();
        for (const line of splitter.push(chunk)) yield watchEvent(parseAnswer(line, ask.verb), `watch ${type.plural}`);
      }
    } finally {
      response.destroy();
    }
  }

  /** Creates an object, or what a subresource such as `token` or `eviction` takes. Answers what the server made of it. */
  create<T extends KubeObject = KubeObject>(
    type: ResourceType,
    object: KubeObject,
    options: CallOptions & { readonly subresource?: string; readonly fieldManager?: string } = {},
  ): Promise<T> {
    const { subresource, fieldManager } = options;
    const { namespace } = object.metadata;
    const path = subresource === undefined ? collectionPath(type, namespace) : objectPath(type, named(object), subresource);
    const body = subresource === undefined ? typed(type, object) : object;
    return this.#object<T>(
      { method: 'POST', path, verb: 'create', resource: type.plural, query: { fieldManager }, body },
      options,
    );
  }

  /** Replaces an object; with its `metadata.resourceVersion` only while that is current. @throws IdentityError `aborted` */
  update<T extends KubeObject = KubeObject>(
    type: ResourceType,
    object: KubeObject,
    options: CallOptions & { readonly subresource?: string } = {},
  ): Promise<T> {
    const path = objectPath(type, named(object), options.subresource);
    return this.#object<T>({ method: 'PUT', path, verb: 'update', resource: type.plural, body: typed(type, object) }, options);
  }

  /** Server-side apply: the fields given are owned by the field manager, those it gave before and no more are removed. */
  apply<T extends KubeObject = KubeObject>(type: ResourceType, object: KubeObject, options: ApplyOptions): Promise<T> {
    const { fieldManager, force, subresource } = options;
    const path = objectPath(type, named(object), subresource);
    const query = { fieldManager, ...(force === true ? { force } : {}) };
    const contentType = 'application/apply-patch+yaml';
    const body = typed(type, object);
    return this.#object<T>({ method: 'PATCH', path, verb: 'patch', resource: type.plural, query, contentType, body }, options);
  }

  /** A JSON merge patch or a JSON patch, on the object or a subresource such as `status`. */
  patch<T extends KubeObject = KubeObject>(
    type: ResourceType,
    name: ObjectName,
    patch: unknown,
    options: CallOptions & { readonly kind: 'merge' | 'json'; readonly subresource?: string },
  ): Promise<T> {
    const path = objectPath(type, name, options.subresource);
    const contentType = PATCH_TYPES[options.kind];
    return this.#object<T>({ method: 'PATCH', path, verb: 'patch', resource: type.plural, contentType, body: patch }, options);
  }

  /** Deletes an object. @throws IdentityError `not_found`; `aborted` when a precondition does not hold */
  async delete(type: ResourceType, name: ObjectName, options: DeleteOptions = {}): Promise<void> {
    const { preconditions, propagationPolicy, gracePeriodSeconds } = options;
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions, propagationPolicy, gracePeriodSeconds };
    await this.#json({ method: 'DELETE', path: objectPath(type, name), verb: 'delete', resource: type.plural, body }, options);
  }

  /** Whether the API server serves a type, by discovery. */
  async serves(type: ResourceType, options: CallOptions = {}): Promise<boolean> {
    const ask = { method: 'GET', path: groupVersionPath(type), verb: 'discover', resource: apiVersionOf(type) };
    try {
      const found = await this.#json(ask, options);
      const resources = isRecord(found) && Array.isArray(found['resources']) ? found['resources'] : [];
      return resources.some((each) => isRecord(each) && each['name'] === type.plural);
    } catch (error) {
      if (isIdentityError(error, 'not_found')) return false;
      throw error;
    }
  }

  /** The first of several versions of a type that is served; undefined when none is. */
  async firstServed(types: readonly ResourceType[], options: CallOptions = {}): Promise<ResourceType | undefined> {
    for (const type of types) if (await this.serves(type, options)) return type;
    return undefined;
  }

  /** The text at any path, such as `/version` or `/readyz`. */
  raw(path: string, options: CallOptions = {}): Promise<string> {
    return this.#text({ method: 'GET', path, verb: 'get', resource: path }, options);
  }

  /** As {@link raw}, with the time that whoever answered says it is, by the `date` header: wall time, to the second. */
  rawDated(path: string, options: CallOptions = {}): Promise<{ readonly text: string; readonly dateMs: number | undefined }> {
    const ask = { method: 'GET', path, verb: 'get', resource: path };
    return this.#within(ask, options, async (signal) => {
      const response = await this.#send(ask, signal);
      const dateMs = Date.parse(response.headers.date ?? '');
      const text = await readText(response, MAX_ANSWER_BYTES, signal);
      return { text, dateMs: Number.isNaN(dateMs) ? undefined : dateMs };
    });
  }

  /** Closes every connection, watches included. */
  [Symbol.dispose](): void {
    this.#transport[Symbol.dispose]();
  }

  async #object<T extends KubeObject>(ask: Ask, options: CallOptions): Promise<T> {
    // The cast is sound as far as the caller knows what objects of this type are.
    return asObject(await this.#json(ask, options), `${ask.verb} ${ask.resource}`) as T;
  }

  async #json(ask: Ask, options: CallOptions): Promise<unknown> {
    return parseAnswer(await this.#text(ask, options), `${ask.verb} ${ask.resource}`);
  }

  #text(ask: Ask, options: CallOptions): Promise<string> {
    return this.#within(ask, options, async (signal) => readText(await this.#send(ask, signal), MAX_ANSWER_BYTES, signal));
  }

  async #within<T>(
    ask: Ask,
    { signal, timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const what = `the API server did not answer to ${ask.verb} ${ask.resource} within ${timeoutMs / 1000} s`;
    return withDeadline({ clock: this.#options.clock, timeoutMs, signal, what }, run);
  }

  /** Sends until the answer is neither an error nor put off. */
  async #send(ask: Ask, signal: AbortSignal): Promise<IncomingMessage> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#sendOnce(ask, signal);
      } catch (error) {
        const putOffMs = isIdentityError(error) ? error.retryAfterMs : undefined;
        if (putOffMs === undefined || ask.watch === true || attempt >= MAX_PUT_OFF) throw error;
        await sleep(this.#options.clock, putOffMs, signal);
      }
    }
  }

  async #sendOnce(ask: Ask, signal: AbortSignal): Promise<IncomingMessage> {
    const { method, verb, resource, contentType, watch } = ask;
    const body = ask.body === undefined ? {} : { body: JSON.stringify(ask.body) };
    const request = { method, path: `${ask.path}${queryText(ask.query)}`, signal, ...body };
    let code = '0';
    try {
      const response = await this.#transport.send({
        ...request,
        ...(contentType === undefined ? {} : { contentType }),
        ...(watch === undefined ? {} : { watch }),
      });
      const status = response.statusCode ?? 0;
      code = String(status);
      if (status >= 200 && status < 300) return response;
      throw errorOf({
        status,
        body: parseIfJson(await readText(response, MAX_ANSWER_BYTES, signal)),
        retryAfter: response.headers['retry-after'],
        asked: `${verb} ${resource}`,
      });
    } finally {
      this.#options.metrics?.requests.inc({ verb, resource, code });
    }
  }
}

function queryText(query: Ask['query']): string {
  const text = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined) text.set(name, String(value));
  return text.size === 0 ? '' : `?${text.toString()}`;
}

function named({ metadata: { namespace, name = '' } }: KubeObject): ObjectName {
  return namespace === undefined ? { name } : { namespace, name };
}

function typed(type: ResourceType, object: KubeObject): KubeObject {
  return { ...object, apiVersion: apiVersionOf(type), kind: type.kind };
}

function asObject(value: unknown, asked: string): KubeObject {
  if (isRecord(value) && isRecord(value['metadata'] ?? {})) return { metadata: {}, ...value };
  throw new IdentityError('unavailable', `what answered to ${asked} is no API server: it sent no object`);
}

/** Items of built-in lists come without their type. */
function listedObject(value: unknown, type: ResourceType): KubeObject {
  const object = asObject(value, `list ${type.plural}`);
  return object.kind === undefined ? { apiVersion: apiVersionOf(type), kind: type.kind, ...object } : object;
}

function listMetadata(envelope: unknown): { readonly resourceVersion: string; readonly continue: string | undefined } {
  const metadata = isRecord(envelope) && isRecord(envelope['metadata']) ? envelope['metadata'] : {};
  const { resourceVersion, continue: next } = metadata;
  if (typeof resourceVersion !== 'string') {
    throw new IdentityError('unavailable', 'what answered to a list is no API server: the list has no version');
  }
  return { resourceVersion, continue: typeof next === 'string' && next !== '' ? next : undefined };
}

const EVENT_TYPES: readonly WatchEvent['type'][] = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'];

function watchEvent(value: unknown, asked: string): WatchEvent {
  const { type, object } = isRecord(value) ? value : {};
  if (type === 'ERROR') {
    const status = isRecord(object) && typeof object['code'] === 'number' ? object['code'] : 500;
    throw errorOf({ status, body: object, asked });
  }
  const known = EVENT_TYPES.find((each) => each === type);
  if (known === undefined) throw new IdentityError('unavailable', `what answered to ${asked} is no API server: it sent no event`);
  return { type: known, object: asObject(object, asked) };
}
