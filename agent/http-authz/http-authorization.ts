import type { IncomingMessage } from 'node:http';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Clock } from '../../core/clock.ts';
import type { Authorizer, Check, Outcome } from '../authz/check.ts';
import type { DecidedCallObserver } from '../authz/decided-call.ts';
import type { UserCheck } from '../authz/user-check.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import { type Answer, proxyAnswer, refusal } from './answer.ts';
import { hasBody, readBody } from './body.ts';
import { jsonAnswer, jsonCall } from './json-call.ts';
import { type CertificateReader, proxyCall } from './proxy-call.ts';

/** What the HTTP enforcement point asks. */
export interface HttpAuthorizationOptions {
  readonly authorizer: Authorizer;
  readonly users: Pick<UserCheck, 'authenticate'>;
  readonly readCertificate: CertificateReader;
  readonly clock: Clock;
  /** Told of calls that are denied before anybody is asked. */
  readonly onDecided?: DecidedCallObserver | undefined;
  /** Told when the configuration of a proxy is at fault, or something failed that should not. */
  readonly onFault: (error: unknown) => void;
}

interface ProxyQuestion {
  readonly request: IncomingMessage;
  readonly query: string;
  readonly asking: SelectorSet;
}

type Decider = (check: Check) => Outcome | Promise<Outcome>;

const UNEXPECTED_BODY = 'must be empty; the configuration must set it';

/**
 * The HTTP enforcement point, without its socket: `/authorize` and `/authenticate` for `auth_request` of nginx, and `POST /v1/authorize` for
 * the client library. Whatever goes wrong is no permission.
 */
export class HttpAuthorization {
  readonly #options: HttpAuthorizationOptions;

  constructor(options: HttpAuthorizationOptions) {
    this.#options = options;
  }

  /** Never throws. */
  async answer(request: IncomingMessage, asking: SelectorSet): Promise<Answer> {
    const url = request.url ?? '';
    const mark = url.indexOf('?');
    const path = mark === -1 ? url : url.slice(0, mark);
    const query = mark === -1 ? '' : url.slice(mark + 1);
    try {
      if (path === '/v1/authorize' && query === '') return await this.#forWorkload(request, asking);
      if (path === '/authorize')
        return await this.#forProxy({ request, query, asking }, (check) => this.#options.authorizer.authorize(check));
      if (path === '/authenticate')
        return await this.#forProxy({ request, query, asking }, (check) => this.#options.users.authenticate(check));
      return refusal(404, 'not_found');
    } catch (error) {
      return this.#failed(error, asking);
    }
  }

  async #forProxy({ request, query, asking }: ProxyQuestion, decide: Decider): Promise<Answer> {
    // What a client calls the body of its request would be read as the next request of the proxy.
    if (hasBody(request)) throw new IdentityError('failed_precondition', UNEXPECTED_BODY, { field: 'content-length' });
    const { rawHeaders } = request;
    const question = { asking, query: new URLSearchParams(query), rawHeaders };
    const { check, refused } = proxyCall(question, this.#options.readCertificate);
    return proxyAnswer(refused === undefined ? await decide(check) : this.#refuse(check, refused), check);
  }

  async #forWorkload(request: IncomingMessage, asking: SelectorSet): Promise<Answer> {
    if (request.method !== 'POST') return refusal(405, 'method_not_allowed');
    const check = jsonCall(await readBody(request), asking);
    const body = jsonAnswer(await this.#options.authorizer.authorize(check));
    return { status: 200, headers: { 'content-type': 'application/json' }, body };
  }

  #refuse(check: Check, reason: string): Outcome {
    const outcome: Outcome = { verdict: 'deny', status: 403, headers: new Map(), reason };
    const { onDecided, clock } = this.#options;
    onDecided?.({ check, outcome, atMs: clock.nowMs(), durationMs: 0 });
    return outcome;
  }

  #failed(error: unknown, asking: SelectorSet): Answer {
    if (isIdentityError(error, 'invalid_argument')) return { ...refusal(400, 'malformed'), body: error.message };
    if (isIdentityError(error, 'resource_exhausted')) return refusal(413, 'too_large');
    this.#options.onFault(error);
    if (!isIdentityError(error, 'failed_precondition')) return refusal(503, 'internal');
    const check: Check = { point: 'http', asking };
    return proxyAnswer(this.#refuse(check, 'proxy_misconfigured'), check);
  }
}
