// `npm run demo`: a CA, an agent and three services that call each other over mTLS, in one terminal. Their SVIDs live for a
// minute; the terminal shows each rotation and every failed call. Options: --seconds N (90 unless given), --keep (until Ctrl-C).
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { sleep, systemClock } from '../../core/clock.ts';
import type { ServiceEvent } from './events.ts';
import { DemoFolder, enrolAgent, registerService, TRUST_DOMAIN, untilServing } from './identity-plane.ts';
import { declarePolicies, explainDenial } from './policies.ts';
import { startProcess, type DemoProcess } from './processes.ts';

const ROOT = join(import.meta.dirname, '../..');
const COMMAND = join(ROOT, 'cli/main.ts');

/** Each service, whom it calls, and whom it may not call though it tries, last in the chain first. */
const SERVICES = [
  { name: 'payments', downstream: undefined, forbidden: undefined },
  { name: 'orders', downstream: 'payments', forbidden: undefined },
  { name: 'web', downstream: 'orders', forbidden: 'payments' },
] as const;

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '90' }, keep: { type: 'boolean', default: false } },
});
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());

const startedMs = systemClock.monotonicMs();
const tally = { calls: 0, failed: 0, rotations: 0, broken: '' };
process.exitCode = await demo();

async function demo(): Promise<number> {
  await using resources = new AsyncDisposableStack();
  const path = await mkdtemp(join(tmpdir(), 'countersign-demo-'));
  resources.defer(() => rm(path, { recursive: true }));
  const folder = new DemoFolder(path);
  const ports = await freePorts(['ca', ...SERVICES.map(({ name }) => name)]);

  say(`starting a CA and a node agent in ${path} …`);
  await folder.writeConfigurations(ports.get('ca') ?? 0);
  const ca = resources.use(startDaemon('ca', folder.caConfig));
  await untilServing(folder.caSocket, ca);
  const agentId = await enrolAgent(folder);
  const agent = resources.use(startDaemon('agent', folder.agentConfig));
  await untilServing(folder.workloadSocket, agent);
  say(`the agent attested with a join token as ${agentId}`);

  for (const { name } of SERVICES) {
    await folder.addProgram(name);
    await registerService(folder, agentId, name);
  }
  say('three entries registered: web may get spiffe://example.org/web, and so on; lifetime 60 s');
  await declarePolicies(folder.caSocket);
  say('three policies: web may ask orders, orders may ask payments, nobody else may ask anybody');
  for (const service of SERVICES) resources.use(await startService(folder, service, ports));
  showStranger(folder, ports.get('orders') ?? 0);

  say(
    values.keep
      ? 'web calls orders calls payments, ten times a second, until Ctrl-C'
      : `web calls orders calls payments, ten times a second, for ${values.seconds} s`,
  );
  await showProgress(values.keep ? Number.POSITIVE_INFINITY : Number(values.seconds) * 1000);
  if (tally.broken !== '') process.stderr.write(`${tally.broken}\n`);
  say(`${soFar()}; stopping`);
  process.stdout.write(nextSteps());
  return tally.broken === '' && tally.failed === 0 ? 0 : 1;
}

function startDaemon(kind: 'ca' | 'agent', config: string): DemoProcess {
  return startProcess({
    name: kind,
    command: process.execPath,
    args: [COMMAND, kind, 'run', '--config', config],
    onUnexpectedEnd,
  });
}

async function startService(
  folder: DemoFolder,
  { name, downstream, forbidden }: (typeof SERVICES)[number],
  ports: ReadonlyMap<string, number>,
): Promise<DemoProcess> {
  const id = (service: string | undefined): string => (service === undefined ? '-' : `spiffe://${TRUST_DOMAIN}/${service}`);
  const listening = Promise.withResolvers<void>();
  const started = startProcess({
    name,
    command: folder.program(name),
    args: [
      join(import.meta.dirname, 'service.ts'),
      name,
      String(ports.get(name)),
      folder.authorizationSocket,
      String(ports.get(downstream ?? '') ?? '-'),
      id(downstream),
      String(ports.get(forbidden ?? '') ?? '-'),
      id(forbidden),
    ],
    environment: { SPIFFE_ENDPOINT_SOCKET: `unix://${folder.workloadSocket}` },
    onUnexpectedEnd: (ended) => {
      onUnexpectedEnd(ended);
      listening.reject(new Error(`${name} ended:\n${ended.lastWords()}`));
    },
    // The cast is sound: service.ts writes exactly these.
    onLine: (line) => onEvent(name, JSON.parse(line) as ServiceEvent, listening.resolve),
  });
  await listening.promise;
  return started;
}

function onEvent(service: string, event: ServiceEvent, onListening: () => void): void {
  if (event.event === 'listening') onListening();
  else if (event.event === 'denied') showDenial(service, event);
  else if (event.event === 'refused') say(`${service.padEnd(8)} refused a connection (${briefly(event.reason)})`);
  else if (event.event === 'identity') {
    if (event.verb === 'rotated') tally.rotations += 1;
    const validForSeconds = Math.round((event.expiresAtMs - systemClock.nowMs()) / 1000);
    say(`${service.padEnd(8)} ${event.verb} ${event.id}, serial ${event.serial.slice(0, 8)}…, valid for ${validForSeconds} s`);
  } else {
    tally.calls += 1;
    if (event.ok) return;
    tally.failed += 1;
    say(`${service.padEnd(8)} a call FAILED (${event.detail})`);
  }
}

/** A call that policy does not allow, and why not. */
function showDenial(service: string, { status, message }: Extract<ServiceEvent, { event: 'denied' }>): void {
  const callee = SERVICES.find(({ name }) => name === service)?.forbidden ?? '';
  say(`${service.padEnd(8)} asks ${callee} and gets ${status}: ${message} Why, in full:`);
  for (const line of explainDenial(service, callee).trimEnd().split('\n')) say(`           ${line}`);
  if (status !== 403) tally.broken = `${service} was not denied a call that no policy allows`;
}

/** A fourth program, which no entry names, asks for an identity and then calls without one. */
function showStranger(folder: DemoFolder, port: number): void {
  const { stdout, status } = spawnSync(process.execPath, [join(import.meta.dirname, 'stranger.ts'), String(port)], {
    env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${folder.workloadSocket}` },
    encoding: 'utf8',
  });
  for (const line of stdout.trim().split('\n')) say(`stranger, without an entry, asks ${line}`);
  if (status !== 0) tally.broken = 'the stranger was not refused, or could not be tried';
}

async function showProgress(durationMs: number): Promise<void> {
  const endMs = systemClock.monotonicMs() + durationMs;
  while (!stop.signal.aborted && tally.broken === '') {
    const remainingMs = endMs - systemClock.monotonicMs();
    if (remainingMs <= 0) return;
    await sleep(systemClock, Math.min(10_000, remainingMs), stop.signal).catch(() => {});
    if (systemClock.monotonicMs() < endMs && !stop.signal.aborted) say(`${soFar()} so far`);
  }
}

function soFar(): string {
  const { calls, failed, rotations } = tally;
  return `${calls} calls, ${failed} failed, ${rotations} ${rotations === 1 ? 'rotation' : 'rotations'}`;
}

/** OpenSSL's errors say it in the words after the last function's name. */
function briefly(reason: string): string {
  return /:SSL routines:[^:]*:([^:]+):/.exec(reason)?.[1] ?? reason.trim();
}

function onUnexpectedEnd(ended: DemoProcess): void {
  tally.broken = `${ended.name} ended though nobody stopped it:\n${ended.lastWords()}`;
  stop.abort();
}

function say(text: string): void {
  const seconds = (systemClock.monotonicMs() - startedMs) / 1000;
  process.stdout.write(`${seconds.toFixed(1).padStart(6)} s  ${text}\n`);
}

async function freePorts(names: readonly string[]): Promise<Map<string, number>> {
  const ports = new Map<string, number>();
  const servers = names.map((name) => ({ name, server: createServer() }));
  for (const { name, server } of servers) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    ports.set(name, typeof address === 'object' && address !== null ? address.port : 0);
  }
  for (const { server } of servers) server.close();
  return ports;
}

function nextSteps(): string {
  return [
    '',
    'What to try next:',
    '  npm run demo -- --keep                      keep it running; the folder it prints has the sockets',
    '  npm run -s countersign -- --help            every command',
    '  README.md                                   your own CA, agent, entries and client, step by step',
    '',
  ].join('\n');
}
