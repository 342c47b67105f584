import { lockFolder } from '../runtime/folder-lock.ts';
import type { RunningProcess } from '../runtime/lifecycle.ts';
import { LogLevels } from '../runtime/log-levels.ts';
import { assertPeerCredentialsWork } from '../runtime/peer-credentials.ts';
import type { AgentOptions } from './assembly.ts';
import { openRelations, readIssuerRoots } from './authorization-parts.ts';
import { loadHashKey } from './authz/subject-hash.ts';
import { createParts, type Parts } from './parts.ts';
import { serveAdmins, serveProxies, serveWorkloads } from './serving.ts';
import { postStatus } from './sync/post-status.ts';

export type { AgentOptions } from './assembly.ts';

/** An agent that runs. Disposing of it lets calls finish, then closes everything. */
export interface RunningAgent extends RunningProcess {
  /** Rejects when the agent has lost its identity for good. */
  readonly ended: Promise<void>;
  /** Undefined when `listen.http` is not configured. */
  readonly httpPort: number | undefined;
}

/** Starts an agent: it serves at once, and answers UNAVAILABLE until it has attested and synchronised. */
export async function startAgent(given: AgentOptions, signal: AbortSignal): Promise<RunningAgent> {
  // An agent that cannot tell who is calling serves nobody.
  assertPeerCredentialsWork();
  await using resources = new AsyncDisposableStack();
  const stop = new AbortController();
  resources.defer(() => stop.abort());
  resources.use(await lockFolder(given.config.dataDir));
  const issuerRootsPem = await readIssuerRoots(given.config);
  const levels = new LogLevels(given.log);
  const hashKey = await loadHashKey(given.config.authorization.decisionLog.hashKeyFile);
  const relations = await openRelations(given, levels, resources);
  const options = { ...given, levels, issuerRootsPem, hashKey, relations };
  const parts = createParts(options, resources);
  await serveWorkloads(options, parts, resources);
  await serveProxies(options, parts, resources);
  await serveAdmins(options, parts, resources);
  const ended = work(parts, AbortSignal.any([signal, stop.signal]));
  // Whoever runs the agent awaits this; until then a rejection must not end the process by itself.
  ended.catch(() => {});
  const { http: address } = options.config.listen;
  const http = address && resources.use(await parts.observability.serve(address));
  const owned = resources.move();
  return { ended, httpPort: http?.port, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** The agent's work in the background. */
async function work({ node, synchronizer, books, log }: Parts, signal: AbortSignal): Promise<void> {
  try {
    await node.start(signal);
    const posted = postStatus(node.connection, log, signal);
    await Promise.all([node.keepRenewed(signal), synchronizer.run(signal), books.run(signal), posted]);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
