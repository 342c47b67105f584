// Agents as the CA sees them: attested by a join token, each with a connection and a watch stream of its own, in one process.
import { connectToCa } from '../../runtime/ca-connection.ts';
import { attestAgent } from '../../agent/attest/attest-agent.ts';
import { WatchSync } from '../../agent/sync/watch-sync.ts';
import { sleep, systemClock } from '../../core/clock.ts';
import { createLogger } from '../../runtime/log.ts';
import { parseWireBundle } from '../../runtime/bundle-conversion.ts';
import { Agent as AgentService } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { adminOf, type Server } from './stacks.ts';

/** A crowd of simulated agents that follow the CA, and come back at once when they lose it. */
export interface Crowd extends AsyncDisposable {
  readonly ids: readonly string[];
  /** How often each was synchronised since {@link Crowd.reset}; a snapshot is a full synchronisation. */
  readonly counts: { synchronised: Set<number>; snapshots: number; updates: number };
  reset(): void;
}

const log = createLogger({ level: 'fatal', name: 'bench' });
const trustDomain = parseTrustDomain('example.org');
const ATTEST_AT_ONCE = 20;
// At once, and then without a pause that would spread them: harder than real agents are.
const RETRY_MS = 200;

/** Attests so many agents and starts following. */
export async function startCrowd(server: Server, size: number): Promise<Crowd> {
  using admin = adminOf(server);
  const wire = await admin.client(BundleService).getBundle({});
  const bundle = parseWireBundle(wire);
  const stop = new AbortController();
  const counts = { synchronised: new Set<number>(), snapshots: 0, updates: 0 };
  const agents: { readonly id: string; readonly run: (index: number) => Promise<void> }[] = [];
  while (agents.length < size) {
    const batch = Array.from({ length: Math.min(ATTEST_AT_ONCE, size - agents.length) }, async () => {
      const { value: token } = await admin.client(AgentService).createJoinToken({ ttl: 600 });
      return attest({ server, token, bundle, counts, signal: stop.signal });
    });
    agents.push(...(await Promise.all(batch)));
  }
  const running = agents.map(({ run }, index) => run(index));
  return {
    ids: agents.map(({ id }) => id),
    counts,
    reset() {
      counts.synchronised.clear();
      counts.snapshots = 0;
      counts.updates = 0;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.allSettled(running);
    },
  };
}

interface AttestOptions {
  readonly server: Server;
  readonly token: string;
  readonly bundle: Bundle;
  readonly counts: Crowd['counts'];
  readonly signal: AbortSignal;
}

async function attest({ server, token, bundle, counts, signal }: AttestOptions) {
  const [host = '', port] = server.address.split(':');
  const common = {
    target: { kind: 'tcp', host, port: Number(port) } as const,
    trustDomain,
    clock: systemClock,
    bundle: () => bundle,
  };
  using first = connectToCa({ ...common, svid: () => undefined });
  const prepare = () => Promise.resolve({ payload: Buffer.from(token) });
  const svid = await attestAgent(first, { type: 'join_token', prepare }, signal);
  const connection = connectToCa({ ...common, svid: () => svid });
  let isSnapshot = false;
  const sync = new WatchSync({
    connection,
    trustDomain,
    clock: systemClock,
    log,
    apply: (update) => {
      isSnapshot = update.isSnapshot;
    },
  });
  const run = async (index: number): Promise<void> => {
    while (!signal.aborted) {
      await sync
        .follow(() => {
          counts.synchronised.add(index);
          counts.updates += 1;
          if (isSnapshot) counts.snapshots += 1;
        }, signal)
        .catch(() => undefined);
      await sleep(systemClock, RETRY_MS, signal).catch(() => undefined);
    }
    connection[Symbol.dispose]();
  };
  return { id: svid.id.toString(), run };
}

/** Waits until all of a crowd are synchronised; returns how long that took in milliseconds. */
export async function untilSynchronised(crowd: Crowd, timeoutMs = 120_000): Promise<number> {
  const startedMs = systemClock.monotonicMs();
  while (crowd.counts.synchronised.size < crowd.ids.length) {
    if (systemClock.monotonicMs() - startedMs > timeoutMs) {
      throw new Error(`only ${crowd.counts.synchronised.size} of ${crowd.ids.length} agents are synchronised`);
    }
    await sleep(systemClock, 10);
  }
  return systemClock.monotonicMs() - startedMs;
}
