import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAuthorizationClient, parseSpiffeId, type AuthorizationClient } from '../../../client/index.ts';

const CALL = { request: { method: 'GET', target: '/orders/7?q=1', headers: [['host', 'orders']] as const } };
const ALLOWED = { verdict: 'allow', status: 200, reason: 'allowed_by_rule', headers: {} };
const DENIED = { verdict: 'deny', status: 503, reason: 'agent_unavailable' };

let folder: string;
let socket: string;
let client: AuthorizationClient;
let errors: unknown[];
let resources: DisposableStack;

beforeEach(async () => {
  resources = new DisposableStack();
  folder = await mkdtemp(join(tmpdir(), 'client-'));
  socket = join(folder, 's');
  errors = [];
  client = resources.use(createAuthorizationClient({ socket, timeoutMs: 500, onError: (error) => errors.push(error) }));
});
afterEach(async () => {
  resources.dispose();
  await rm(folder, { recursive: true, force: true });
});

/** An agent that answers as it is told. */
async function agentThat(answers: RequestListener): Promise<Server> {
  const server = createServer(answers);
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  resources.defer(() => server.close().closeAllConnections());
  return server;
}

const json =
  (body: unknown, status = 200): RequestListener =>
  (_request, response) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

describe('the authorization client', () => {
  it('asks with what was given, and reads the answer', async () => {
    const asked: string[] = [];
    await agentThat((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => asked.push(text));
      request.on('end', () => {
        const user = { issuer: 'https://login', subject: 'alice', claims: {}, actors: [] };
        json({ ...ALLOWED, policy: 'shop/p', rule: 1, user, destinationId: 'spiffe://example.org/orders' })(request, response);
      });
    });
    const answer = await client.authorize({ ...CALL, sourceId: parseSpiffeId('spiffe://example.org/web'), port: 8443 });
    expect(answer).toMatchObject({ ...ALLOWED, policy: 'shop/p', rule: 1, user: { subject: 'alice' } });
    expect(answer.destinationId?.toString()).toBe('spiffe://example.org/orders');
    expect(JSON.parse(asked.join(''))).toEqual({ ...CALL, sourceId: 'spiffe://example.org/web', port: 8443 });
  });

  it('keeps its connection, and goes on when the agent has started anew', async () => {
    let connections = 0;
    const first = await agentThat(json(ALLOWED));
    first.on('connection', () => connections++);
    for (let count = 0; count < 3; count++) expect(await client.authorize(CALL)).toMatchObject(ALLOWED);
    expect(connections).toBe(1);
    first.closeAllConnections();
    await new Promise((resolve) => first.close(resolve));
    expect(await client.authorize(CALL)).toMatchObject(DENIED);
    await agentThat(json(ALLOWED));
    expect(await client.authorize(CALL)).toMatchObject(ALLOWED);
  });

  it.each([
    ['no JSON', (_request, response) => response.end('yes')],
    ['nothing', (_request, response) => response.end()],
    ['null', json(null)],
    ['a list', json([ALLOWED])],
    ['no verdict', json({ status: 200 })],
    ['another verdict', json({ ...ALLOWED, verdict: 'allowed' })],
    ['true', json({ ...ALLOWED, verdict: true })],
    ['allow with another status', json({ ...ALLOWED, status: 403 })],
    ['deny with status 200', json({ ...ALLOWED, verdict: 'deny' })],
    ['an error', json(ALLOWED, 500)],
    ['a redirect', (_request, response) => response.writeHead(302, { location: '/' }).end(JSON.stringify(ALLOWED))],
    ['201', json(ALLOWED, 201)],
    ['too much', (_request, response) => response.end(JSON.stringify({ ...ALLOWED, filler: 'x'.repeat(300_000) }))],
    [
      'half an answer',
      (request, response) => {
        response.writeHead(200, { 'content-length': 1000 });
        response.write(JSON.stringify(ALLOWED), () => request.socket.destroy());
      },
    ],
    ['a closed connection', (request) => request.socket.destroy()],
    ['nothing in time', () => {}],
  ] satisfies [string, RequestListener][])('denies where the agent answers %s', async (_name, answers) => {
    await agentThat(answers);
    expect(await client.authorize(CALL)).toMatchObject(DENIED);
    expect(errors.length).toBe(1);
  });

  it('denies without an agent', async () => {
    expect(await client.authorize(CALL)).toMatchObject(DENIED);
    expect(errors).toMatchObject([{ code: 'ENOENT' }]);
  });

  it('gives a denial as the agent words it', async () => {
    const denied = {
      verdict: 'deny',
      status: 401,
      reason: 'user_missing',
      headers: { 'www-authenticate': 'Bearer' },
      body: '{}',
    };
    await agentThat(json(denied));
    expect(await client.authorize(CALL)).toEqual(denied);
  });
});
