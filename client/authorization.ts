import { Agent, request as send } from 'node:http';
import { IdentityError } from '../core/errors.ts';
import type { User } from '../policy/model.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe/spiffe-id.ts';
import { isJsonObject, type JsonObject } from '../spiffe/strict-json.ts';

/** A call to this workload that is to be decided. */
export interface AuthorizationCall {
  /** SPIFFE ID of the caller's verified certificate; absent where it has shown none. */
  readonly sourceId?: SpiffeId | undefined;
  /** Address of the peer of the connection, never one from a header. */
  readonly sourceAddress?: string | undefined;
  /** Which of this workload's identities is called; needed where it has several. */
  readonly destinationId?: SpiffeId | undefined;
  /** Port that was called. */
  readonly port?: number | undefined;
  /** Absent: a connection whose requests are not seen. */
  readonly request?: AuthorizationRequest | undefined;
}

/** A request as it came, before any library has changed it. */
export interface AuthorizationRequest {
  readonly method: string;
  /** The request target with its query, such as `/a/b?q=1`. */
  readonly target: string;
  /** `:authority` of HTTP/2; the `host` header says it otherwise. */
  readonly authority?: string;
  /** In order and with repetitions. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** The answer to a call. */
export interface AuthorizationAnswer {
  readonly verdict: 'allow' | 'deny';
  /** 200 where it is allowed; else 400, 401, 403 or 503. */
  readonly status: number;
  /** Such as `allowed_by_rule`; `agent_unavailable` where the agent cannot be asked. */
  readonly reason: string;
  /** For the answer to the caller, in lower case, such as `www-authenticate`. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON for a caller that is denied. */
  readonly body?: string;
  /** Which policy decided, such as `shop/orders`, and the place of its rule. */
  readonly policy?: string;
  readonly rule?: number;
  readonly user?: User;
  /** This workload's identity that the call was decided for. */
  readonly destinationId?: SpiffeId;
}

/** Asks the agent. */
export interface AuthorizationClient extends Disposable {
  /** Decides one call. Never throws: where the agent does not answer, the call is denied with status 503. */
  authorize(call: AuthorizationCall): Promise<AuthorizationAnswer>;
}

/** How to reach the agent. */
export interface AuthorizationClientOptions {
  /** Path of the agent's `listen.authz` socket. */
  readonly socket: string;
  /** How long an answer may take, in milliseconds; 5 s unless given. */
  readonly timeoutMs?: number;
  /** Told why the agent could not be asked. */
  readonly onError?: (error: unknown) => void;
}

const MAX_CONNECTIONS = 64;
const MAX_ANSWER_BYTES = 256 * 1024;

/**
 * A client of the agent's `listen.authz` socket, with connections that it keeps. The agent attests this process: policies that
 * select its workload decide.
 *
 * @example
 * const client = createAuthorizationClient({ socket: '/run/countersign/authz.sock' });
 * const { verdict, reason } = await client.authorize({ sourceId, request: { method: 'GET', target: '/orders/7', headers: [] } });
 */
export function createAuthorizationClient(options: AuthorizationClientOptions): AuthorizationClient {
  return new UnixClient(options);
}

class UnixClient implements AuthorizationClient {
  readonly #options: AuthorizationClientOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS, scheduling: 'lifo' });

  constructor(options: AuthorizationClientOptions) {
    this.#options = options;
  }

  async authorize(call: AuthorizationCall): Promise<AuthorizationAnswer> {
    try {
      return readAnswer(await this.#ask(JSON.stringify(call)));
    } catch (error) {
      this.#options.onError?.(error);
      return UNAVAILABLE;
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #ask(question: string): Promise<string> {
    try {
      return await this.#askOnce(question);
    } catch (error) {
      // The agent may close a kept connection just when it is used again.
      if (error instanceof ClosedWhileIdle) return this.#askOnce(question);
      throw error;
    }
  }

  #askOnce(question: string): Promise<string> {
    const { socket: socketPath, timeoutMs = 5_000 } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(question) };
    const options = { socketPath, agent: this.#agent, method: 'POST', path: '/v1/authorize', headers, setHost: false };
    const asked = send({ ...options, headers: { ...headers, host: 'agent' } }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) asked.destroy(new IdentityError('internal', 'the answer is too large'));
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new IdentityError('unavailable', `the agent answered ${response.statusCode}: ${text || 'no decision'}`));
      });
    });
    const timer = setTimeout(
      () => asked.destroy(new IdentityError('deadline_exceeded', `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    asked.once('close', () => clearTimeout(timer));
    asked.once('error', (error: NodeJS.ErrnoException) => {
      reject(asked.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE') ? new ClosedWhileIdle() : error);
    });
    asked.end(question);
    return promise;
  }
}

class ClosedWhileIdle extends Error {}

const UNAVAILABLE: AuthorizationAnswer = {
  verdict: 'deny',
  status: 503,
  reason: 'agent_unavailable',
  headers: {},
  body: JSON.stringify({
    code: 'unavailable',
    message: 'It cannot be told now whether the request is allowed.',
    action: 'Try again later.',
  }),
};

/** Reads an answer. Nothing but `allow` with status 200 is a permission. */
function readAnswer(text: string): AuthorizationAnswer {
  const answer: unknown = JSON.parse(text);
  if (!isJsonObject(answer)) throw unreadable();
  const { verdict, status, reason, headers, body, policy, rule, user, destinationId } = answer;
  if ((verdict !== 'allow' && verdict !== 'deny') || typeof status !== 'number' || (verdict === 'allow') !== (status === 200))
    throw unreadable();
  return {
    verdict,
    status,
    reason: typeof reason === 'string' ? reason : '',
    headers: isJsonObject(headers) ? textsOf(headers) : {},
    ...(typeof body === 'string' ? { body } : {}),
    ...(typeof policy === 'string' ? { policy } : {}),
    ...(typeof rule === 'number' ? { rule } : {}),
    // The cast is sound: the agent writes a `User`, whose claims may be anything in JSON.
    ...(isJsonObject(user) ? { user: user as unknown as User } : {}),
    ...(typeof destinationId === 'string' ? { destinationId: parseSpiffeId(destinationId) } : {}),
  };
}

function unreadable(): IdentityError {
  return new IdentityError('internal', 'the agent gave an answer that cannot be read');
}

function textsOf(object: JsonObject): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(object).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  );
}
