import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import type { EventRecorder } from '../../runtime/kubernetes/events.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { POD_CERTIFICATE_REQUESTS, type ResourceType } from '../../runtime/kubernetes/resource-types.ts';
import { watchResource } from '../../runtime/kubernetes/watch.ts';
import type { Logger } from '../../runtime/log.ts';
import type { PodEntries } from '../ports.ts';
import { parseCertificateRequest, type CertificateRequest } from './certificate-request.ts';
import { grantRequest } from './grant-request.ts';
import type { PodCertificateMetrics } from './pod-certificate-metrics.ts';
import { RequestRefused, RequestWaits } from './refusal.ts';
import { RequestQueue, type Attempt } from './request-queue.ts';
import { refusedStatus, type RequestStatus } from './request-status.ts';
import type { SignSvid } from './sign-svid.ts';

/** What {@link PodCertificateSigner} needs. */
export interface PodCertificateSignerOptions {
  readonly client: KubeClient;
  readonly entries: PodEntries;
  /** {@link signSvidOver} a connection to the CA. */
  readonly sign: SignSvid;
  readonly events: Pick<EventRecorder, 'record'>;
  /** Such as `countersign.dev/svid`. */
  readonly signerName: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: PodCertificateMetrics;
}

/** Requests that are worked on at one time. */
const CONCURRENCY = 16;
/** An entry is made at the CA tens of milliseconds after its pod is bound, which is when the kubelet asks. */
const FIRST_WAIT_MS = 50;
/** How often it is looked, at last, whether somebody declared an identity by now: in memory. */
const MAX_WAIT_MS = 5_000;
/** A failure may come after the signature: each further attempt is one more certificate. */
const MAX_FAILED_WAIT_MS = 60_000;
/** A pod's owner is told after this long: most requests that wait at first are granted before. */
const TELL_AFTER_MS = 3_000;
/** How often it is looked whether the API server serves the API by now. */
const DISCOVER_EVERY_MS = 5 * 60_000;

/**
 * The signer behind `podCertificate` volumes: grants PodCertificateRequests of its name with the X509-SVID of the pod's
 * registered identity. Denied and failed requests are final for a kubelet, so nothing that can still come right is denied: a pod
 * without an identity waits, and an Event on it says what is missing.
 */
export class PodCertificateSigner {
  readonly #options: PodCertificateSignerOptions;

  constructor(options: PodCertificateSignerOptions) {
    this.#options = options;
  }

  /** Works until the signal aborts; then it returns. Where the API is not served, it looks again from time to time. */
  async run(signal: AbortSignal): Promise<void> {
    const type = await this.#served(signal);
    if (type === undefined) return;
    const { client, clock, log, signerName, metrics } = this.#options;
    const work = new Work(this.#options, type, signal);
    using queue = new RequestQueue<Seen>({
      work: (seen, attempt) => work.attempt(seen, attempt),
      concurrency: CONCURRENCY,
      clock,
    });
    metrics.pending(() => queue.size);
    const watch = watchResource<CertificateRequest | undefined>({
      client,
      type,
      fieldSelector: `spec.signerName=${signerName}`,
      trim: (object) => this.#readable(object),
      handler: {
        put: (request, key) => {
          if (request === undefined || request.settled) queue.remove(key);
          else queue.put(key, { request, sinceMs: clock.monotonicMs() });
        },
        remove: (key) => queue.remove(key),
        synced: () => {},
      },
      clock,
      log,
      signal,
    });
    await watch.ended;
  }

  async #served(signal: AbortSignal): Promise<ResourceType | undefined> {
    const { client, clock, log } = this.#options;
    const backoff = new Backoff({ initialMs: 1_000, maxMs: 60_000 });
    let told = false;
    while (!signal.aborted) {
      try {
        const type = await client.firstServed(POD_CERTIFICATE_REQUESTS, { signal });
        if (type !== undefined) return type;
        if (!told) log.info('the API server serves no PodCertificateRequest: pods get no certificates by volume');
        told = true;
        await sleep(clock, DISCOVER_EVERY_MS, signal).catch(() => {});
      } catch (error) {
        if (signal.aborted) return undefined;
        log.warn({ err: error }, 'could not ask the API server what it serves');
        await sleep(clock, backoff.nextMs(), signal).catch(() => {});
      }
    }
    return undefined;
  }

  #readable(object: KubeObject): CertificateRequest | undefined {
    try {
      return parseCertificateRequest(object);
    } catch (error) {
      const { namespace, name } = object.metadata;
      this.#options.log.error({ err: error, namespace, name }, 'pod certificate request cannot be read');
      return undefined;
    }
  }
}

/** A request in the queue. */
interface Seen {
  readonly request: CertificateRequest;
  /** Monotonic. */
  readonly sinceMs: number;
}

class Work {
  readonly #options: PodCertificateSignerOptions;
  readonly #type: ResourceType;
  readonly #signal: AbortSignal;

  constructor(options: PodCertificateSignerOptions, type: ResourceType, signal: AbortSignal) {
    this.#options = options;
    this.#type = type;
    this.#signal = signal;
  }

  async attempt(seen: Seen, attempt: number): Promise<Attempt> {
    const { metrics, clock, log } = this.#options;
    const { request } = seen;
    try {
      const { status, outcome } = await this.#decide(request, attempt);
      await this.#write(request, status);
      metrics.requests.inc({ outcome });
      if (outcome === 'issued') metrics.seconds.observe((clock.monotonicMs() - seen.sinceMs) / 1000);
      log.info({ ...named(request), outcome }, 'pod certificate request settled');
      return { done: true };
    } catch (error) {
      return this.#again(seen, attempt, error);
    }
  }

  async #decide(
    request: CertificateRequest,
    attempt: number,
  ): Promise<{ readonly status: RequestStatus; readonly outcome: string }> {
    try {
      return { status: await grantRequest(request, this.#options, { attempt, signal: this.#signal }), outcome: 'issued' };
    } catch (error) {
      if (!(error instanceof RequestRefused)) throw error;
      return { status: refusedStatus(error, this.#options.clock.nowMs()), outcome: error.reason };
    }
  }

  async #write(request: CertificateRequest, status: RequestStatus): Promise<void> {
    const { namespace, name, uid, resourceVersion } = request;
    // With the version: it was this request, with this key, that was decided over.
    const patch = { metadata: { uid, resourceVersion }, status };
    const options = { kind: 'merge', subresource: 'status', signal: this.#signal } as const;
    await this.#options.client.patch(this.#type, { namespace, name }, patch, options);
  }

  #again(seen: Seen, attempt: number, error: unknown): Attempt {
    const { metrics, log } = this.#options;
    const { request } = seen;
    // Gone, or newer than what was decided over: the watch tells.
    if (this.#signal.aborted || isIdentityError(error, 'not_found') || isIdentityError(error, 'aborted')) return { done: true };
    const waits = error instanceof RequestWaits;
    metrics.requests.inc({ outcome: waits ? 'waiting' : 'error' });
    if (!waits) log.warn({ err: error, ...named(request), attempt }, 'pod certificate request could not be settled');
    this.#tell(seen, waits ? error.reason : 'SigningFailed', waits ? error.message : unavailableText(error));
    return { done: false, retryAfterMs: retryAfterMs(attempt, error) };
  }

  /** Says on the pod what it waits for, once it has waited for a moment; the recorder counts what is repeated. */
  #tell(seen: Seen, reason: string, message: string): void {
    const { clock, events } = this.#options;
    if (clock.monotonicMs() - seen.sinceMs < TELL_AFTER_MS) return;
    const { namespace, podName, podUid } = seen.request;
    const regarding = { apiVersion: 'v1', kind: 'Pod', namespace, name: podName, uid: podUid };
    const note = `the podCertificate volume waits: ${message}`;
    events.record({ regarding, type: 'Warning', reason, action: 'SignPodCertificate', note });
  }
}

function retryAfterMs(attempt: number, error: unknown): number {
  const asked = isIdentityError(error) ? (error.retryAfterMs ?? 0) : 0;
  const doubledMs = FIRST_WAIT_MS * 2 ** Math.min(attempt, 20);
  if (error instanceof RequestWaits) return Math.min(MAX_WAIT_MS, doubledMs);
  // Not in step with other requests that failed at the same time.
  return Math.max(asked, Math.min(MAX_FAILED_WAIT_MS, doubledMs) * (0.5 + Math.random() / 2));
}

function unavailableText(error: unknown): string {
  if (isIdentityError(error, 'unimplemented'))
    return 'the CA cannot sign pod certificates: it is no Countersign CA, or an older one';
  if (isIdentityError(error)) return `the CA or the API server failed: ${error.message}`;
  return 'the controller failed; its log says why';
}

function named({ namespace, name, podName }: CertificateRequest): Record<string, string> {
  return { namespace, request: name, pod: podName };
}
