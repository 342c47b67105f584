import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import type { ListenAddress } from '../../runtime/config-file.ts';
import type { Logger } from '../../runtime/log.ts';
import type { AdmissionMetrics, Verdict } from './admission-metrics.ts';
import { admissionAnswer, parseAdmissionReview, unreadableAnswer } from './admission-review.ts';
import { judge } from './judge.ts';
import { readBody } from './request-body.ts';
import type { AdmissionRequest, Reviewer } from './review.ts';
import { reviewPath, REVIEWED_KINDS } from './reviewed-kinds.ts';
import { followCredentials, servingContext, type ServingCredentials } from './serving-certificate.ts';

/** What {@link startAdmission} needs. */
export interface AdmissionOptions {
  readonly address: ListenAddress;
  /** The server's certificate, with the DNS name of its Service; followed as it is renewed. */
  readonly credentials: Source<ServingCredentials | undefined>;
  /** By kind, such as `ClusterWorkloadIdentity`; a kind without one is not served. */
  readonly reviewers: Readonly<Record<string, Reviewer>>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: AdmissionMetrics;
}

/** The webhook server, once it listens. */
export interface Admission extends AsyncDisposable {
  readonly port: number;
}

/** Reviews at one time; more are told to come back. Each holds a body of up to {@link MAX_BODY_BYTES}. */
const MAX_CONCURRENT = 32;
/** An object is at most 3 MiB at the API server, and a question holds two of them. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_CONNECTIONS = 256;

/**
 * Serves the admission webhooks: HTTPS with one path for each kind (see `reviewed-kinds.ts`), `AdmissionReview` of
 * `admission.k8s.io/v1` in and out. It answers every question that it can read with status 200 and a verdict; what it cannot
 * read gets 4xx and a refusal in the same form.
 *
 * @throws IdentityError `failed_precondition` without a certificate; the system's error when the address cannot be bound
 */
export async function startAdmission(options: AdmissionOptions): Promise<Admission> {
  const handler = new AdmissionHandler(options);
  const server = createServer(
    servingContext(options.credentials.value),
    (request, response) => void handler.serve(request, response),
  );
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  // Longer than the 90 s for which the API server keeps an idle connection: it is the one to close, and never finds it closed.
  server.keepAliveTimeout = 120_000;
  server.maxConnections = MAX_CONNECTIONS;
  server.on('tlsClientError', (error) => options.log.debug({ err: error }, 'webhook TLS handshake failed'));
  const unfollow = followCredentials(server, options.credentials);
  const port = await listen(server, options.address);
  return {
    port,
    async [Symbol.asyncDispose]() {
      unfollow();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      options.clock.setTimer(2_000, () => server.closeAllConnections());
      await closed;
    },
  };
}

/** What of an answer goes over HTTP. */
interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

class AdmissionHandler {
  readonly #options: AdmissionOptions;
  readonly #kinds: ReadonlyMap<string, string>;
  #running = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    const served = REVIEWED_KINDS.filter(({ kind }) => Object.hasOwn(options.reviewers, kind));
    this.#kinds = new Map(served.map((kind) => [reviewPath(kind), kind.kind]));
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The API server adds ?timeout=…s to the path. It is not parsed as a URL: what a caller writes there may be none.
    const [path = ''] = (request.url ?? '').split('?', 1);
    const kind = this.#kinds.get(path);
    const started = this.#options.clock.monotonicMs();
    const { status, body, verdict } = await this.#answer(kind, request);
    this.#options.metrics.reviews.inc({ kind: kind ?? 'unknown', verdict });
    if (kind !== undefined) this.#options.metrics.seconds.observe({ kind }, (this.#options.clock.monotonicMs() - started) / 1000);
    if (response.destroyed) return;
    // What was not read to its end cannot be followed by another request.
    if (!request.complete) response.setHeader('connection', 'close');
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  async #answer(kind: string | undefined, request: IncomingMessage): Promise<Answer & { readonly verdict: Verdict }> {
    const unreadable = (status: number, message: string) =>
      ({ status, body: unreadableAnswer(status, message), verdict: 'unreadable' }) as const;
    if (kind === undefined) return unreadable(404, 'nothing is judged at this path');
    if (request.method !== 'POST') return unreadable(405, 'questions are asked by POST');
    if (!/^application\/json(;|$)/i.test(request.headers['content-type'] ?? '')) {
      return unreadable(415, 'questions are asked as application/json');
    }
    if (this.#running >= MAX_CONCURRENT) {
      const message = 'too many reviews at one time: try again in a moment';
      return { status: 429, body: unreadableAnswer(429, message), verdict: 'overloaded' };
    }
    this.#running += 1;
    try {
      return await this.#review(kind, await readBody(request, MAX_BODY_BYTES));
    } catch (error) {
      if (error instanceof IdentityError) return unreadable(error.code === 'resource_exhausted' ? 413 : 400, error.message);
      this.#options.log.error({ err: error }, 'webhook request failed');
      return { status: 500, body: unreadableAnswer(500, 'internal error'), verdict: 'error' };
    } finally {
      this.#running -= 1;
    }
  }

  async #review(kind: string, body: string): Promise<Answer & { readonly verdict: Verdict }> {
    const question = parseAdmissionReview(body);
    const reviewer = this.#options.reviewers[kind];
    if (question.kind !== kind || reviewer === undefined) {
      throw new IdentityError('invalid_argument', `this path judges ${kind}`, { field: 'request.kind.kind' });
    }
    const judgesDeletion = REVIEWED_KINDS.some((each) => each.kind === kind && each.judgesDeletion === true);
    const review = await judge(question, { ...this.#options, reviewer, judgesDeletion });
    const allowed = review.faults.length === 0;
    if (!allowed) this.#logRefusal(question, review.faults.length);
    return { status: 200, body: admissionAnswer(question, review), verdict: allowed ? 'allowed' : 'refused' };
  }

  #logRefusal({ kind, namespace, name, operation }: AdmissionRequest, faults: number): void {
    this.#options.log.info({ kind, namespace, name, operation, faults }, 'object refused');
  }
}

async function listen(server: Server, address: ListenAddress): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if (address.kind === 'unix') server.listen(address.path, resolve);
    else server.listen(address.port, address.host, resolve);
  });
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}
