// One small service of the demo: answers `GET /` to the callers it knows and, when it has a downstream, calls that itself.
// Reports on standard output, a JSON object a line. Arguments: NAME PORT CALLER_ID|- DOWNSTREAM_PORT|- DOWNSTREAM_ID|-
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request } from 'node:https';

import {
  authorizeId,
  createSpiffeHttpsServer,
  peerIdOf,
  SpiffeHttpsAgent,
  X509Source,
  type X509Context,
} from '../../client/index.ts';
import { sleep, systemClock } from '../../core/clock.ts';
import type { ServiceEvent } from './events.ts';

const CALL_INTERVAL_MS = 100;

const [name = '', port = '0', caller = '-', downstreamPort = '-', downstreamId = '-'] = process.argv.slice(2);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort()).on('SIGINT', () => {});

await using source = await X509Source.open({ signal: stop.signal });
reportIdentity(source.value, 'got');
source.subscribe((context) => reportIdentity(context, 'rotated'));

const agent = new SpiffeHttpsAgent(source, { authorize: authorizeId(...(downstreamId === '-' ? [] : [downstreamId])) });
const server = createSpiffeHttpsServer(source, { authorize: authorizeId(...(caller === '-' ? [] : [caller])) }, answer);
server.on('tlsClientError', (error: Error) => report({ event: 'refused', reason: error.message }));
await new Promise<void>((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
report({ event: 'listening' });

if (caller === '-') await callUntilStopped();
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

/** One request over the kept connection, with the newest identity when a new one must be made. */
function callDownstream(): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port: Number(downstreamPort), agent }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
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
