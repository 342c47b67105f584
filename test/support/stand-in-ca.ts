// A CA as an agent sees it, on a real TLS port, that does what a test tells it to: refuse, forget, be away, rotate.
import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';

import type { Clock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import {
  AuthorizationSettingsSchema,
  Node,
  WorkloadMetadataSchema,
  type ResourceSchema,
  type WatchRequest,
  type WatchResponseSchema,
} from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { ResourceSchema as PolicyResourceSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Agent, type AttestAgentRequest } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import {
  Entry,
  type EntryRevisionSchema,
  type SyncAuthorizedEntriesRequest,
  type SyncAuthorizedEntriesResponseSchema,
} from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { BundleSchema } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import { EntrySchema, type Entry as WireEntry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import { PermissionDeniedDetailsSchema, type PermissionDeniedDetails_Reason } from '../../proto/gen/spire/api/types/status_pb.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { listenTls, type TlsListener } from '../../runtime/grpc/tls-listener.ts';
import { DetailedError } from '../../runtime/wire-errors.ts';
import { X509Authority, type Bundle } from '../../spiffe/bundle.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { parseCsr } from '../../spiffe/csr.ts';
import { TestCa } from './test-ca.ts';
import { createTestKey, type TestKey } from './test-keys.ts';

/** An entry as a test writes it. */
export interface StandInEntry {
  readonly id: string;
  readonly path: string;
  /** `type:value` texts. */
  readonly selectors: readonly string[];
  readonly createdAt?: number;
  readonly more?: Partial<
    Pick<
      WireEntry,
      | 'x509SvidTtl'
      | 'hint'
      | 'federatesWith'
      | 'admin'
      | 'downstream'
      | 'dnsNames'
      | 'storeSvid'
      | 'countersignJwtClaims'
      | 'countersignWorkload'
    >
  >;
  readonly disableX509SvidPrefetch?: boolean;
  readonly jwtSvidIncludeJti?: boolean;
}

interface Peer {
  /** The SPIFFE ID in the certificate that the client presented. */
  readonly id: string | undefined;
}

interface Change {
  readonly revision: bigint;
  readonly kind: string;
  readonly name: string;
  /** Undefined when it was removed. */
  readonly value: Uint8Array | undefined;
}

/** The selector of this test process under the attestor `unix`. */
export const ownUid = `unix:uid:${process.getuid?.() ?? 0}`;

export class StandInCa implements AsyncDisposable {
  /** The root of now; {@link rotate} replaces it. */
  signer: TestCa;
  readonly clock: Clock;
  readonly joinTokens = new Set<string>();
  /** What is refused to agents, with this reason in the details. */
  denial: PermissionDeniedDetails_Reason | undefined;
  /** What signing fails with. */
  signingFailure: IdentityError | undefined;
  /** What GetBundle fails with. */
  bundleFailure: IdentityError | undefined;
  /** What attestation fails with. */
  attestationFailure: IdentityError | undefined;
  /** What X509-SVIDs wait for before they are signed. */
  signingGate: Promise<void> | undefined;
  isWatchable = true;
  isReattestable = false;
  agentTtlMs = 3_600_000;
  x509TtlMs = 3_600_000;
  jwtTtlMs = 300_000;
  /** The methods that were called, in order. */
  readonly calls: string[] = [];
  /** The entries that X509-SVIDs were signed for, in order. */
  readonly signed: string[] = [];
  /** What each watch began with, and what was acknowledged since. */
  readonly subscriptions: { readonly feedId: string; readonly revision: bigint }[] = [];
  readonly acknowledged: bigint[] = [];
  readonly refused: string[] = [];
  /** What a test does at the moment of an acknowledgement. */
  onAcknowledged: (revision: bigint) => void = () => {};
  feedId = 'feed-1';
  /** The most entries in one message of a poll. */
  pageSize = 500;
  /** The entries that polls asked for by ID. */
  readonly requestedEntries: string[] = [];
  #bundles: readonly Bundle[];
  readonly #watchEnds = new Set<(error: IdentityError) => void>();
  readonly #entries = new Map<string, WireEntry>();
  readonly #revision = new Current(1n);
  readonly #changes: Change[] = [];
  /** What there is besides entries and bundles, by kind and name. */
  readonly #others = new Map<string, Change & { readonly value: Uint8Array }>();
  #server: GrpcServer<Peer> | undefined;
  #listener: TlsListener | undefined;

  private constructor(clock: Clock) {
    this.clock = clock;
    this.signer = TestCa.create({ nowMs: clock.nowMs() });
    this.#bundles = [this.signer.bundle()];
  }

  static async start(clock: Clock): Promise<StandInCa> {
    const ca = new StandInCa(clock);
    await ca.up();
    return ca;
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** The bundle that an operator would give to an agent. */
  get rootPem(): string {
    return this.signer.rootPem;
  }

  /** Serves again, on the port from before. */
  async up(port = 0): Promise<void> {
    const server = new GrpcServer<Peer>({ clock: this.clock, authorize: (call) => this.#authorize(call.method, call.peer) });
    this.#addServices(server);
    const { chainPem: cert, keyPem: key } = this.#issue('/spire/server', createTestKey(), 24 * 3_600_000);
    this.#server = server;
    this.#listener = await listenTls<Peer>(server, {
      host: '127.0.0.1',
      port,
      credentials: { cert, key },
      verifyPeer: ([leaf]) => ({ id: leaf === undefined ? undefined : parseCertificate(leaf).uriSans[0] }),
    });
  }

  /** Is away: connections end and none is accepted. Returns the port. */
  async down(): Promise<number> {
    const { port } = this;
    await this.#listener?.close();
    await this.#server?.close({ graceMs: 0 });
    return port;
  }

  put(...entries: readonly StandInEntry[]): void {
    this.#transact(() => {
      for (const entry of entries) this.#putEntry(entry);
    });
  }

  remove(...ids: readonly string[]): void {
    this.#transact((revision) => {
      for (const id of ids) {
        this.#entries.delete(id);
        this.#changes.push({ revision, kind: 'entry', name: id, value: undefined });
      }
    });
  }

  putBundle(bundle: Bundle): void {
    this.#transact((revision) => {
      this.#bundles = [...this.#bundles.filter(({ trustDomain }) => !trustDomain.equals(bundle.trustDomain)), bundle];
      this.#changes.push({ revision, kind: 'bundle', name: bundle.trustDomain.name, value: encodeBundle(bundle) });
    });
  }

  removeBundle(name: string): void {
    this.#transact((revision) => {
      this.#bundles = this.#bundles.filter(({ trustDomain }) => trustDomain.name !== name);
      this.#changes.push({ revision, kind: 'bundle', name, value: undefined });
    });
  }

  /** Signs with a new root from now on and publishes it; the old one is tainted if asked for. */
  rotate({ taintOld = false } = {}): void {
    const old = new X509Authority(this.signer.root.der, { tainted: taintOld });
    this.signer = TestCa.create({ nowMs: this.clock.nowMs() });
    this.putBundle(this.signer.bundle({ x509Authorities: [new X509Authority(this.signer.root.der), old] }));
  }

  /** Does several things in one change: they reach agents in one answer. */
  together(work: () => void): void {
    this.#transaction = this.#revision.value + 1n;
    work();
    const revision = this.#transaction;
    this.#transaction = undefined;
    this.#revision.set(revision);
  }

  /** Delivers policy, with these settings. */
  putSettings({ defaultAction = 'deny', exchangeIssuer = '', exchangeJwks = '' } = {}): void {
    const settings = create(AuthorizationSettingsSchema, {
      defaultAction,
      exchangeIssuer,
      exchangeJwks: Buffer.from(exchangeJwks),
    });
    this.putResource('settings', 'authorization', toBinary(AuthorizationSettingsSchema, settings));
  }

  /** Puts a policy resource of any kind, as it would be in a file. */
  putPolicy(resource: object): void {
    // The cast is sound: tests write whole resources.
    const { kind, metadata } = resource as { kind: string; metadata: { name: string; namespace?: string } };
    const document =
      kind === 'RequestAuthentication'
        ? encodeRequestAuthentication(parseRequestAuthentication(resource))
        : encodePolicy(parsePolicy(resource));
    const { namespace = '', name } = metadata;
    const wire = create(PolicyResourceSchema, { name: { kind, namespace, name }, document });
    this.putResource('policy', `${kind}/${namespace}/${name}`, toBinary(PolicyResourceSchema, wire));
  }

  putWorkload(spiffeId: string, metadata: { readonly namespace?: string; readonly serviceAccount?: string }): void {
    this.putResource('workload', spiffeId, toBinary(WorkloadMetadataSchema, create(WorkloadMetadataSchema, metadata)));
  }

  /** Puts bytes as a resource, readable or not; without them it is gone. */
  putResource(kind: string, name: string, value: Uint8Array | undefined): void {
    this.#transact((revision) => {
      if (value === undefined) this.#others.delete(`${kind} ${name}`);
      else this.#others.set(`${kind} ${name}`, { revision, kind, name, value });
      this.#changes.push({ revision, kind, name, value });
    });
  }

  /** Sends something unreadable under an entry's name. */
  corrupt(id: string): void {
    this.#transact((revision) => {
      const value = toBinary(EntrySchema, create(EntrySchema, { id }));
      this.#changes.push({ revision, kind: 'entry', name: id, value });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  #transact(work: (revision: bigint) => void): void {
    if (this.#transaction !== undefined) return work(this.#transaction);
    const revision = this.#revision.value + 1n;
    work(revision);
    this.#revision.set(revision);
  }

  #transaction: bigint | undefined;

  #putEntry({ id, path, selectors, createdAt = 1, more = {}, ...attributes }: StandInEntry): void {
    const revision = this.#revision.value + 1n;
    const entry = create(EntrySchema, {
      id,
      spiffeId: { trustDomain: 'example.org', path },
      parentId: { trustDomain: 'example.org', path: '/spire/agent/join_token/x' },
      selectors: selectors.map(readSelector),
      createdAt: BigInt(createdAt),
      revisionNumber: revision,
      additionalAttributes: attributes,
      ...more,
    });
    this.#entries.set(id, entry);
    this.#changes.push({ revision, kind: 'entry', name: id, value: toBinary(EntrySchema, entry) });
  }

  #authorize(method: string, peer: Peer): void {
    this.calls.push(method.slice(method.lastIndexOf('/') + 1));
    const isOpen = method.endsWith('/AttestAgent') || method.endsWith('/GetBundle');
    if (isOpen) return;
    if (peer.id === undefined) throw new IdentityError('permission_denied', 'an agent only');
    if (this.denial === undefined) return;
    const details = [
      { desc: PermissionDeniedDetailsSchema, message: create(PermissionDeniedDetailsSchema, { reason: this.denial }) },
    ];
    throw new DetailedError('permission_denied', 'agent is denied', { details });
  }

  #addServices(server: GrpcServer<Peer>): void {
    server.addService(Agent, {
      attestAgent: (requests) => this.#attest(requests),
      renewAgent: ({ params }, { peer }) => ({
        svid: this.#agentSvid(params?.csr ?? new Uint8Array(), (peer.id ?? '').replace('spiffe://example.org', '')),
      }),
      postStatus: () => ({}),
    });
    server.addService(BundleService, {
      getBundle: () => {
        if (this.bundleFailure !== undefined) throw this.bundleFailure;
        return wireBundle(this.#own);
      },
      getFederatedBundle: ({ trustDomain }) => wireBundle(this.#bundleOf(trustDomain)),
    });
    server.addService(Entry, { syncAuthorizedEntries: (requests) => this.#syncEntries(requests) });
    server.addService(SVID, {
      batchNewX509SVID: async ({ params }) => {
        await this.signingGate;
        return { results: params.map(({ entryId, csr }) => this.#signX509(entryId, csr)) };
      },
      newJWTSVID: ({ entryId, audience }) => ({ svid: this.#signJwt(entryId, audience) }),
      batchNewWITSVID: ({ params }) => ({ results: params.map(({ entryId }) => this.#signWit(entryId)) }),
    });
    server.addService(Node, {
      watch: (requests) => {
        if (!this.isWatchable) throw new IdentityError('unimplemented', 'unknown service');
        return this.#watch(requests);
      },
    });
  }

  get #own(): Bundle {
    return this.#bundleOf('example.org');
  }

  #bundleOf(name: string): Bundle {
    const found = this.#bundles.find(({ trustDomain }) => trustDomain.name === name);
    if (found === undefined) throw new IdentityError('not_found', 'no such bundle');
    return found;
  }

  async *#attest(requests: AsyncIterable<AttestAgentRequest>) {
    for await (const { step } of requests) {
      if (step.case !== 'params') continue;
      if (this.attestationFailure !== undefined) throw this.attestationFailure;
      const token = Buffer.from(step.value.data?.payload ?? []).toString();
      if (!this.joinTokens.delete(token) && !this.isReattestable) {
        throw new IdentityError('invalid_argument', 'join token does not exist or has already been used');
      }
      const svid = this.#agentSvid(step.value.params?.csr ?? new Uint8Array(), `/spire/agent/join_token/${token}`);
      // As SPIRE's server, it ends the stream only after the agent has ended its side.
      yield { step: { case: 'result', value: { svid, reattestable: this.isReattestable } } } as const;
    }
  }

  #agentSvid(csr: Uint8Array, path: string) {
    const { chain, certificate } = this.#issue(path, keyOfCsr(csr), this.agentTtlMs);
    return { certChain: [...chain], id: { trustDomain: 'example.org', path }, expiresAt: BigInt(certificate.notAfterMs / 1000) };
  }

  #issue(path: string, key: TestKey, ttlMs: number) {
    const nowMs = this.clock.nowMs();
    return this.signer.issueX509Svid(path, { key, notBeforeMs: nowMs - 10_000, notAfterMs: nowMs + ttlMs });
  }

  #signX509(entryId: string, csr: Uint8Array) {
    if (this.signingFailure !== undefined) throw this.signingFailure;
    const entry = this.#entries.get(entryId);
    if (entry === undefined) return { status: { code: 5, message: 'entry not found' } };
    this.signed.push(entryId);
    const ttlMs = entry.x509SvidTtl === 0 ? this.x509TtlMs : entry.x509SvidTtl * 1000;
    const { chain, certificate } = this.#issue(entry.spiffeId?.path ?? '', keyOfCsr(csr), ttlMs);
    return { status: { code: 0 }, svid: { certChain: [...chain], expiresAt: BigInt(certificate.notAfterMs / 1000) } };
  }

  #signJwt(entryId: string, aud: readonly string[]) {
    if (this.signingFailure !== undefined) throw this.signingFailure;
    const path = this.#entries.get(entryId)?.spiffeId?.path ?? '';
    const iat = Math.floor(this.clock.nowMs() / 1000);
    const exp = iat + this.jwtTtlMs / 1000;
    // A serial makes each token another one.
    const token = this.signer.signJwt({ sub: `spiffe://example.org${path}`, aud, iat, exp, n: this.calls.length });
    return { token, issuedAt: BigInt(iat), expiresAt: BigInt(exp) };
  }

  #signWit(entryId: string) {
    const path = this.#entries.get(entryId)?.spiffeId?.path ?? '';
    const iat = Math.floor(this.clock.nowMs() / 1000);
    const token = this.signer.signWit({ sub: `spiffe://example.org${path}`, iat, exp: iat + 3600, n: this.calls.length });
    return { status: { code: 0 }, svid: { token, issuedAt: BigInt(iat), expiresAt: BigInt(iat + 3600) } };
  }

  // As SPIRE's server: few entries at once; many by revisions, of which the agent asks for those that it lacks.
  async *#syncEntries(
    requests: AsyncIterable<SyncAuthorizedEntriesRequest>,
  ): AsyncGenerator<MessageInitShape<typeof SyncAuthorizedEntriesResponseSchema>> {
    const all = [...this.#entries.values()];
    let isFirst = true;
    for await (const { ids } of requests) {
      if (!isFirst) {
        this.requestedEntries.push(...ids);
        yield* pages(
          all.filter(({ id }) => ids.includes(id)),
          this.pageSize,
          (entries) => ({ entries: [...entries] }),
        );
      } else if (all.length <= this.pageSize) yield { entries: all };
      else yield* pages(all, this.pageSize, (entries) => ({ entryRevisions: entries.map(revisionOf) }));
      isFirst = false;
    }
  }

  async *#watch(requests: AsyncIterable<WatchRequest>): AsyncGenerator<MessageInitShape<typeof WatchResponseSchema>> {
    const iterator = requests[Symbol.asyncIterator]();
    const first = await iterator.next();
    const { message } = first.value as WatchRequest;
    if (message.case !== 'subscribe') throw new IdentityError('invalid_argument', 'subscribe first');
    const { feedId, resumeRevision } = message.value;
    this.subscriptions.push({ feedId, revision: resumeRevision });
    const ended = new AbortController();
    let failure: IdentityError | undefined;
    const end = (error: IdentityError): void => {
      failure = error;
      ended.abort();
    };
    this.#watchEnds.add(end);
    void this.#readAnswers(iterator).finally(() => ended.abort());
    let revision = feedId === this.feedId ? resumeRevision : 0n;
    // As the real one, it answers at once to an agent that resumes, also where nothing has changed.
    for await (const head of this.#revision.changes(ended.signal)) {
      const isSnapshot = revision === 0n;
      const resources = isSnapshot ? this.#snapshot() : this.#since(revision);
      yield { revision: head, feedId: this.feedId, snapshot: isSnapshot, complete: true, resources };
      revision = head;
    }
    this.#watchEnds.delete(end);
    if (failure !== undefined) throw failure;
  }

  /** Ends every watch with an error. */
  endWatches(error: IdentityError): void {
    for (const end of this.#watchEnds) end(error);
  }

  async #readAnswers(iterator: AsyncIterator<WatchRequest>): Promise<void> {
    try {
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
        const { message } = next.value;
        if (message.case === 'ack') {
          this.acknowledged.push(message.value.revision);
          this.onAcknowledged(message.value.revision);
        }
        if (message.case === 'nack') this.refused.push(message.value.name);
      }
    } catch {
      // The agent has gone.
    }
  }

  #snapshot(): MessageInitShape<typeof ResourceSchema>[] {
    const entries = [...this.#entries.values()].map((entry) => ({
      kind: 'entry',
      name: entry.id,
      value: toBinary(EntrySchema, entry),
    }));
    const bundles = this.#bundles.map((bundle) => ({
      kind: 'bundle',
      name: bundle.trustDomain.name,
      value: encodeBundle(bundle),
    }));
    return [...entries, ...bundles, ...this.#others.values()];
  }

  #since(revision: bigint): MessageInitShape<typeof ResourceSchema>[] {
    const newest = new Map(
      this.#changes.filter((change) => change.revision > revision).map((change) => [`${change.kind} ${change.name}`, change]),
    );
    return [...newest.values()].map(({ kind, name, value, revision: at }) =>
      value === undefined ? { kind, name, revision: at, removed: true } : { kind, name, revision: at, value },
    );
  }
}

function revisionOf({ id, revisionNumber, createdAt }: WireEntry): MessageInitShape<typeof EntryRevisionSchema> {
  return { id, revisionNumber, createdAt };
}

function* pages<T>(
  items: readonly WireEntry[],
  size: number,
  make: (page: readonly WireEntry[]) => T,
): Generator<T & { more: boolean }> {
  for (let start = 0; start === 0 || start < items.length; start += size) {
    yield { ...make(items.slice(start, start + size)), more: start + size < items.length };
  }
}

function readSelector(text: string): { readonly type: string; readonly value: string } {
  const colon = text.indexOf(':');
  return { type: text.slice(0, colon), value: text.slice(colon + 1) };
}

function keyOfCsr(csr: Uint8Array): TestKey {
  const { publicKeyInfo, spki } = parseCsr(csr);
  return { ...createTestKey(), publicKey: publicKeyInfo.keyObject(), spki };
}

function wireBundle({
  trustDomain,
  x509Authorities,
  jwtAuthorities,
  witAuthorities,
}: Bundle): MessageInitShape<typeof BundleSchema> {
  const key = ({ keyId, spki, tainted }: { keyId: string; spki: Uint8Array; tainted: boolean }) => ({
    keyId,
    publicKey: spki,
    tainted,
  });
  return {
    trustDomain: trustDomain.name,
    x509Authorities: x509Authorities.map(({ der, tainted }) => ({ asn1: der, tainted })),
    jwtAuthorities: [...jwtAuthorities.values()].map(key),
    witAuthorities: [...witAuthorities.values()].map(key),
  };
}

function encodeBundle(bundle: Bundle): Uint8Array {
  return toBinary(BundleSchema, create(BundleSchema, wireBundle(bundle)));
}
