import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Clock, Timer } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Node, Subscribe } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import type { WatchRequest, WatchResponseSchema } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Settings, SettingsSource } from '../authorization-settings.ts';
import { StreamPolicyProgress } from '../policies/stream-progress.ts';
import type { PolicyProgress } from '../policies/progress.ts';
import type { AuthorizationKind } from '../registry/authorization-watch.ts';
import { MultiMap } from '../registry/multi-map.ts';
import type { Registry } from '../registry/registry.ts';
import type { AgentStreams, TrackedStream } from './agent-streams.ts';
import { WatchEncoder } from './watch-encoding.ts';

/** What {@link nodeService} is built on. `P` is what a connection's peer is known by. */
export interface NodeServiceOptions<P> {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
  readonly streams: AgentStreams;
  /** Whether the caller may still be served; asked before each push, when its record changes and when its certificate ends. Throws to refuse. */
  readonly assertStillAuthorized: (call: Call<P>) => void | Promise<void>;
  /** What holds for authorization in all of the trust domain. */
  readonly settings: SettingsSource;
  /** Told what of policy is in force at agents. */
  readonly policyProgress: Pick<PolicyProgress, 'of' | 'note'>;
  /** Who the caller is, and until when its certificate is good. */
  readonly agentOf: (call: Call<P>) => { readonly id: SpiffeId; readonly expiresAtMs: number };
}

/** The agent behind a connection over TLS. @throws IdentityError `internal`: only such connections are authorized to come here */
export function agentOfPeer({ peer }: Call<Peer>): ReturnType<NodeServiceOptions<Peer>['agentOf']> {
  if (peer.kind === 'x509') return { id: peer.id, expiresAtMs: peer.expiresAtMs };
  throw new IdentityError('internal', 'caller ID missing from request context');
}

type Response = MessageInitShape<typeof WatchResponseSchema> | EncodedMessage;

const AUTHORIZATION_KINDS: readonly AuthorizationKind[] = ['policy', 'workload'];

/** `countersign.node.v1.Node`: pushes to each agent its entries and bundles, and every change of them. */
export function nodeService<P>(options: NodeServiceOptions<P>): ServiceHandlers<typeof Node, P> {
  const streams = new MultiMap<Stream<P>>();
  const encoder = new WatchEncoder();
  options.registry.onAgentChange((agentId) => {
    for (const stream of streams.get(agentId)) stream.checkAgain();
  });
  return {
    watch: (requests, call) => {
      const stream = new Stream(call, { ...options, encoder });
      streams.add(stream.agentId, stream);
      call.onEnd(() => streams.delete(stream.agentId, stream));
      return stream.responses(requests);
    },
  };
}

const MAX_LOGGED_ERROR = 500;

/** One agent's stream. It makes the next delta only once the agent has taken the last: a slow agent holds no queue. */
class Stream<P> {
  readonly agentId: string;
  readonly #call: Call<P>;
  readonly #options: NodeServiceOptions<P> & { readonly encoder: WatchEncoder };
  readonly #id: SpiffeId;
  readonly #progress: TrackedStream;
  readonly #policyProgress: StreamPolicyProgress;
  readonly #ended = new AbortController();
  #expiry: Timer | undefined;

  constructor(call: Call<P>, options: NodeServiceOptions<P> & { readonly encoder: WatchEncoder }) {
    const { id, expiresAtMs } = options.agentOf(call);
    this.#call = call;
    this.#options = options;
    this.#id = id;
    this.agentId = id.toString();
    this.#progress = options.streams.open(this.agentId);
    this.#policyProgress = new StreamPolicyProgress(id, options.policyProgress);
    call.onEnd(() => {
      this.#progress[Symbol.dispose]();
      this.#expiry?.cancel();
      this.#ended.abort();
    });
    this.#awaitExpiry(expiresAtMs);
  }

  #awaitExpiry(expiresAtMs: number): void {
    const { clock } = this.#options;
    const remainingMs = expiresAtMs + 1 - clock.nowMs();
    if (remainingMs <= 0) return this.checkAgain();
    // A timer may fire a moment early, and the wall clock may have been set back meanwhile: so it looks again.
    this.#expiry = clock.setTimer(remainingMs, () => this.#awaitExpiry(expiresAtMs));
  }

  /** Ends the stream when the agent was banned or evicted, or its SVID has run out or been replaced. */
  checkAgain(): void {
    if (!this.#call.ended) this.#check().catch((error: unknown) => this.#call.fail(error));
  }

  async #check(): Promise<void> {
    try {
      await this.#options.assertStillAuthorized(this.#call);
    } catch (error) {
      const mayBeOutdated = isIdentityError(error, 'permission_denied') || isIdentityError(error, 'unavailable');
      throw mayBeOutdated && this.#hasNewerSvid() ? comeBack(error) : error;
    }
  }

  /** An agent in good standing whose SVID on this connection is no good has renewed it since. */
  #hasNewerSvid(): boolean {
    const agent = this.#options.registry.agents.get(this.#id);
    if (agent === undefined || agent.banned) return false;
    return Math.max(agent.expiresAtMs, agent.nextExpiresAtMs) > this.#options.clock.nowMs();
  }

  async *responses(requests: AsyncIterable<WatchRequest>): AsyncGenerator<Response, void, undefined> {
    const iterator = requests[Symbol.asyncIterator]();
    const subscribe = await firstOf(iterator);
    this.#readAnswers(iterator).catch((error: unknown) => this.#call.fail(error));
    const { registry, encoder } = this.#options;
    const kinds = new Set(subscribe.kinds);
    const wanted = new Set(AUTHORIZATION_KINDS.filter((kind) => kinds.size === 0 || kinds.has(kind)));
    const feedId = feedOf(registry.feedId, wanted);
    // A revision of a feed with other kinds says nothing of what the agent has of these.
    const isSame = subscribe.feedId === feedId;
    const resume = isSame ? { feedId: registry.feedId, revision: Number(subscribe.resumeRevision) } : undefined;
    const resumedAt = resume?.revision ?? 0;
    let sent: Settings | undefined;
    for await (const delta of registry.watchAgent(this.#id, { resume, kinds: wanted, signal: this.#ended.signal })) {
      await this.#check();
      this.#progress.sent(delta.revision);
      // To resume is to say what is in force.
      this.#policyProgress.sent(delta.authorization?.policyRevision ?? 0, delta.snapshot);
      if (!delta.snapshot && sent === undefined) this.#policyProgress.acknowledged(resumedAt);
      // They change with authorities only, and these wake every watch.
      const { value } = this.#options.settings;
      const settings = delta.snapshot || value !== sent ? value : undefined;
      sent = value;
      yield* encoder.responses(delta, { feedId, kinds, settings });
    }
  }

  #acknowledged(revision: number): void {
    this.#progress.acknowledged(revision);
    this.#policyProgress.acknowledged(revision);
  }

  async #readAnswers(iterator: AsyncIterator<WatchRequest>): Promise<void> {
    for (let next = await nextOf(iterator, this.#call); next !== undefined; next = await nextOf(iterator, this.#call)) {
      const { message } = next;
      if (message.case === 'subscribe') throw new IdentityError('invalid_argument', 'only the first message may subscribe');
      if (message.case === 'ack') this.#acknowledged(Number(message.value.revision));
      if (message.case !== 'nack') continue;
      const { kind, name, revision, error } = message.value;
      const reason = error.slice(0, MAX_LOGGED_ERROR);
      if (kind === 'policy') this.#policyProgress.refused(name, Number(revision), reason);
      const refusal = { agentId: this.agentId, kind, resource: name, revision: Number(revision), reason };
      this.#options.log.warn(refusal, 'agent refused a resource');
    }
  }
}

/** What the feed is called to an agent: with the kinds that were not always there, if it gets any. */
function feedOf(feedId: string, kinds: ReadonlySet<AuthorizationKind>): string {
  return [feedId, ...kinds].join('+');
}

// To a denial an agent would answer with a new attestation, which one with a join token cannot do.
function comeBack(cause: unknown): IdentityError {
  return new IdentityError('aborted', 'the agent has a newer SVID; watch again with that', { cause });
}

async function firstOf(iterator: AsyncIterator<WatchRequest>): Promise<Subscribe> {
  const first = await iterator.next();
  if (first.done !== true && first.value.message.case === 'subscribe') return first.value.message.value;
  throw new IdentityError('invalid_argument', 'the first message must subscribe', { field: 'subscribe' });
}

/** The next request; undefined when there is none any more, because the agent has said all or the call is over. */
async function nextOf<P>(iterator: AsyncIterator<WatchRequest>, call: Call<P>): Promise<WatchRequest | undefined> {
  try {
    const next = await iterator.next();
    return next.done === true ? undefined : next.value;
  } catch (error) {
    if (call.ended) return undefined;
    throw error;
  }
}
