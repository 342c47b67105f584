// One small service of the demo: answers `GET /` to callers that policy allows and, when it has a downstream, calls that itself.
// The first in the chain also tries one call that policy does not allow. Reports on standard output, a JSON object a line.
// Arguments: NAME PORT AUTHORIZATION_SOCKET DOWNSTREAM_PORT|- DOWNSTREAM_ID|- FORBIDDEN_PORT|- FORBIDDEN_ID|-
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request } from 'node:https';

import {
  authorizeId,
  authorizeMemberOf,
  createAuthorizationClient,
  createSpiffeHttpsServer,
  peerIdOf,
  requireAuthorization,
  SpiffeHttpsAgent,
  X509Source,
  type X509Context,
} from '../../client/index.ts';
import { sleep, systemClock } from '../../core/clock.ts';
import type { ServiceEvent } from './events.ts';

const CALL_INTERVAL_MS = 100;

const [name = '', port = '0', socket = '', downstreamPort = '-', downstreamId = '-', forbiddenPort = '-', forbiddenId = '-'] =
  process.argv.slice(2);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort()).on('SIGINT', () => {});

await using source = await X509Source.open({ signal: stop.signal });
reportIdentity(source.value, 'got');
source.subscribe((context) => reportIdentity(context, 'rotated'));

const agent = agentFor(downstreamId);
using authorization = createAuthorizationClient({ socket });
const authorize = requireAuthorization(authorization);
// Whoever has an identity may connect; whether a call is allowed, policy says.
const member = { authorize: authorizeMemberOf('example.org') };
const server = createSpiffeHttpsServer(source, member, (incoming, response) =>
  authorize(incoming, response, () => answer(incoming, response)),
);
server.on('tlsClientError', (error: Error) => report({ event: 'refused', reason: error.message }));
await new Promise<void>((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
report({ event: 'listening' });

if (forbiddenPort !== '-') await callForbidden();
if (forbiddenPort !== '-') await callUntilStopped();
else await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));
agent.destroy();
server.closeAllConnections();
server.close();

function answer(incoming: IncomingMessage, response: ServerResponse): void {
  const text = `${name} serves ${peerIdOf(incoming.socket)?.toString() ?? 'nobody'}\n`;
  const status = downstreamPort === '-' ? Promise.resolve(200) : callDownstream();
  status.then(
    (code) => response.writeHead(code === 200 ? 200 : 502).end(text),
    () => response.writeHead(502).end(),
  );
}

async function callUntilStopped(): Promise<void> {
  while (!stop.signal.aborted) {
    const status = await callDownstream().catch((error: Error) => error.message);
    report({ event: 'call', ok: status === 200, detail: String(status) });
    await sleep(systemClock, CALL_INTERVAL_MS, stop.signal).catch(() => {});
  }
}

async function callForbidden(): Promise<void> {
  const { status, body } = await call(Number(forbiddenPort), agentFor(forbiddenId));
  // The cast is sound: the middleware answers so.
  report({ event: 'denied', status, message: status === 200 ? body : (JSON.parse(body) as { message: string }).message });
}

/** One request over the kept connection, with the newest identity when a new one must be made. */
async function callDownstream(): Promise<number> {
  return (await call(Number(downstreamPort), agent)).status;
}

function agentFor(id: string): SpiffeHttpsAgent {
  return new SpiffeHttpsAgent(source, { authorize: authorizeId(...(id === '-' ? [] : [id])) });
}

function call(at: number, over: SpiffeHttpsAgent): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port: at, agent: over }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    outgoing.once('error', reject).end();
  });
}

function reportIdentity({ svids: [svid] }: X509Context, verb: 'got' | 'rotated'): void {
  report({
    event: 'identity',
    verb,
    id: svid.id.toString(),
    serial: svid.chain[0]?.serialHex ?? '',
    expiresAtMs: svid.expiresAtMs,
  });
}

function report(event: ServiceEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}
