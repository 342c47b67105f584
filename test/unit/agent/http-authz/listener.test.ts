import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SelectorSet } from '../../../../agent/cache/selectors.ts';
import type { Answer } from '../../../../agent/http-authz/answer.ts';
import { type CallListenerLimits, listenForCalls } from '../../../../agent/http-authz/listener.ts';
import type { Workload } from '../../../../agent/workload-attest/attestation.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { UnixHttp } from '../../../support/unix-http.ts';

const CALLER = SelectorSet.of([{ type: 'unix', value: 'uid:1' }]);
const ASK = 'GET /a HTTP/1.1\r\nHost: a\r\n\r\n';

let folder: string;
let path: string;
let resources: AsyncDisposableStack;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  folder = await mkdtemp(join(tmpdir(), 'listener-'));
  path = join(folder, 's');
});
afterEach(async () => {
  await resources.disposeAsync();
  await rm(folder, { recursive: true, force: true });
});

function workload(attest: Workload['attest'] = () => CALLER): Workload {
  const inspect = (): never => {
    throw new Error('not inspected');
  };
  return { pid: 7, attest, inspect, [Symbol.dispose]: () => {} };
}

interface Given {
  readonly limits?: Partial<CallListenerLimits>;
  readonly answer?: (url: string | undefined) => Promise<Answer>;
  readonly caller?: () => Workload;
}

/** A listener that answers with the path that was asked for. */
async function listen({ limits = {}, answer, caller = () => workload() }: Given = {}): Promise<void> {
  const echo = async (url = ''): Promise<Answer> => ({ status: 200, headers: {}, body: url });
  const options = { path, mode: 0o600, accept: caller, limits };
  resources.use(await listenForCalls({ ...options, answer: ({ url }) => (answer ?? echo)(url) }));
}

describe('the listener', () => {
  test('answers one request after the other on a connection, in order', async () => {
    await listen();
    using connection = await UnixHttp.open(path);
    connection.send('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await connection.next()).toMatchObject({ status: 200, body: '/1' });
    expect(await connection.next()).toMatchObject({ status: 200, body: '/2' });
    expect(connection.isEnded).toBe(false);
  });

  test.each([
    ['permission_denied', 403],
    ['unavailable', 503],
  ] as const)('a caller that cannot be told (%s) is answered %i', async (code, status) => {
    const refused = () => {
      throw new IdentityError(code, 'no');
    };
    await listen({ caller: () => workload(refused) });
    using connection = await UnixHttp.open(path);
    expect(await connection.ask(ASK)).toMatchObject({ status });
  });

  test('attests again at each request, and waits for it', async () => {
    const answers = [Promise.resolve(CALLER), Promise.reject(new IdentityError('permission_denied', 'it has ended'))];
    // Looked at when its turn comes.
    answers[1]?.catch(() => {});
    await listen({ caller: () => workload(() => answers.shift() ?? CALLER) });
    using connection = await UnixHttp.open(path);
    expect(await connection.ask(ASK)).toMatchObject({ status: 200 });
    expect(await connection.ask(ASK)).toMatchObject({ status: 403 });
  });

  test('an answer that fails is no permission', async () => {
    await listen({ answer: () => Promise.reject(new Error('unforeseen')) });
    using connection = await UnixHttp.open(path);
    const answer = await connection.ask(ASK);
    expect(answer?.status).toBe(503);
    expect(answer?.body).toBe('');
  });

  test.each([
    ['what is no HTTP', 'hello\r\n\r\n', 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
    ['length and chunks', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
    ['a header over two lines', 'GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n 2\r\n\r\n', 400],
    ['a header without end', `GET / HTTP/1.1\r\nHost: a\r\nx: ${'a'.repeat(5_000)}`, 431],
    ['too many headers', `GET / HTTP/1.1\r\nHost: a\r\n${'x: 1\r\n'.repeat(2_000)}\r\n`, 431],
  ])('refuses %s', async (_name, bytes, status) => {
    await listen({ limits: { maxHeaderBytes: 4_096 } });
    using connection = await UnixHttp.open(path);
    expect(await connection.ask(bytes)).toMatchObject({ status });
    await connection.ended();
  });

  test.each([
    ['headers', 'GET / HTTP/1.1\r\nHost'],
    ['nothing', ''],
  ])('does not wait for who sends %s and no more', async (_name, bytes) => {
    await listen({ limits: { headersTimeoutMs: 50, requestTimeoutMs: 100 } });
    using connection = await UnixHttp.open(path);
    connection.send(bytes);
    await connection.ended();
  });

  test('closes quiet connections', async () => {
    await listen({ limits: { keepAliveMs: 20 } });
    using connection = await UnixHttp.open(path);
    await connection.ask(ASK);
    await connection.ended();
  });

  test('one process has so many connections, and gets more when it closes some', async () => {
    await listen({ limits: { maxConnectionsOfProcess: 2 } });
    const [first, second, third] = await Promise.all([UnixHttp.open(path), UnixHttp.open(path), UnixHttp.open(path)]);
    await third.ended();
    expect(await first.ask(ASK)).toMatchObject({ status: 200 });
    first[Symbol.dispose]();
    const again = async (): Promise<number | undefined> => {
      using fourth = await UnixHttp.open(path);
      const answer = await fourth.ask(ASK);
      return answer?.status;
    };
    await expect.poll(again).toBe(200);
    second[Symbol.dispose]();
  });

  test('stops with the requests that are open', async () => {
    const never = Promise.withResolvers<Answer>();
    await listen({ answer: () => never.promise });
    using connection = await UnixHttp.open(path);
    connection.send(ASK);
    await resources.disposeAsync();
    await connection.ended();
  });
});
